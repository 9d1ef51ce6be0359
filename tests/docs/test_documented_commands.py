"""Every shell block of the README and the documentation runs in a clean checkout, or says why not.

A block is preceded by ``<!-- test: NAME -->`` or ``<!-- not run: REASON -->``. Tested blocks run
word by word in the order of PAGES, at the smallest sizes: SIZE and CLIPS come from the
environment, and long lengths are cut. A block that several pages repeat runs once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import soundfile

from emo_lightning.commands.demo import write_astronaut

PAGES = (
    "docs/howto/prepare-data.md",
    "README.md",
    "docs/howto/train.md",
    "docs/howto/generate.md",
    "docs/howto/emotion-tracks.md",
    "docs/howto/evaluate.md",
    "docs/howto/clusters.md",
)
"""Pages with tested blocks; the first makes the data that the others train on."""
SHORTER = {"--clips 240": "--clips 8", "max_steps=200": "max_steps=4"}
SECONDS = 1.2
BLOCK = re.compile(
    r"(?:^<!-- (?P<kind>test|not run): (?P<what>.+?) -->\n)?^```sh\n(?P<code>.*?)^```", re.S | re.M
)
Block = tuple[str | None, str, str]


def blocks(page: Path) -> list[Block]:
    """(kind, name or reason, code) of each shell block of a page."""
    text = page.read_text(encoding="utf-8")
    return [(m["kind"], m["what"] or "", m["code"]) for m in BLOCK.finditer(text)]


def pages(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def test_every_shell_block_is_tested_or_says_why_not(repository: Path) -> None:
    found = {p.relative_to(repository).as_posix(): blocks(p) for p in pages(repository)}
    unmarked = [(page, code) for page, all_ in found.items() for kind, _, code in all_ if not kind]
    assert not unmarked
    tested = {page for page, all_ in found.items() if any(kind == "test" for kind, _, _ in all_)}
    assert tested == set(PAGES)


@pytest.fixture(scope="module")
def checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, with the environment in ``.venv`` and a user's own files."""
    if not list(Path(sys.prefix).glob(".installed-*")):
        pytest.skip("the environment was not made by make install")
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and not name.startswith("tests/") and (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, folder / name)
            # Older than the installation's stamp, or make would install the copy.
            os.utime(folder / name, (0, 0))
    (folder / ".venv").symlink_to(sys.prefix)
    write_astronaut(folder).rename(folder / "me.jpg")
    with (files("emo_lightning") / "samples" / "speech.flac").open("rb") as stream:
        wave, rate = soundfile.read(stream)
    soundfile.write(folder / "hello.wav", wave[: int(SECONDS * rate)], rate)
    track = re.search(r"```yaml\n(.*?)```", (folder / PAGES[4]).read_text(encoding="utf-8"), re.S)
    assert track
    (folder / "story.yaml").write_text(track[1], encoding="utf-8")
    words = "--portrait me.jpg --audio hello.wav --out videos/a.mp4"
    run(f"mkdir videos && .venv/bin/emo generate {words}", folder)
    return folder


def run(code: str, folder: Path) -> None:
    """Run a block in bash, as a user would, and fail with what it printed."""
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    stamp = next(Path(sys.prefix).glob(".installed-*")).name.removeprefix(".installed-")
    inherited = ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")  # of a make that runs the tests
    env = {name: value for name, value in os.environ.items() if name not in inherited} | {
        "PYTHONPATH": str(folder),
        "SIZE": "debug",
        "CLIPS": "8",
        "TORCH": stamp,
        "WANDB_MODE": "offline",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{code}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", PAGES)
def test_documented_commands_run(page: str, checkout: Path) -> None:
    earlier = {c for p in PAGES[: PAGES.index(page)] for _, _, c in blocks(checkout / p)}
    for kind, _, code in blocks(checkout / page):
        if kind == "test" and commands(code) not in map(commands, earlier):
            run(code, checkout)


def commands(code: str) -> str:
    """A block without its comments."""
    return "\n".join(line.split("  #")[0].rstrip() for line in code.splitlines())
