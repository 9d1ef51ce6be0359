"""The command line's manners: instant help, one line and exit code 2 for a mistake, nothing left after an interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from emo_lightning import __version__, cli
from emo_lightning.commands.arguments import integer
from emo_lightning.core.errors import UserError


def emo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "emo_lightning.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_imports_nothing_heavy():
    code = "import sys; from emo_lightning import cli; cli.build_parser(); print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & {
        "torch",
        "cv2",
        "mediapipe",
        "lightning",
        "av",
        "librosa",
        "scipy",
        "numba",
        "webdataset",
        "skimage",
    }


@pytest.mark.parametrize("command", [None, *cli.COMMANDS])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([*([command] if command else []), "--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: emo")
    if command:
        assert cli.COMMANDS[command].SUMMARY


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert (exit_.value.code, capsys.readouterr().out.strip()) == (0, f"emo {__version__}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND"]),
        (["sing"], ["'sing'", "generate", "train"]),
        (["generate", "--portrait", "p.png", "--out", "o.mp4"], ["--audio"]),
        (
            [
                "generate",
                "--portrait",
                "p.png",
                "--audio",
                "a.wav",
                "--out",
                "o.mp4",
                "--levle",
                "3",
            ],
            ["--levle"],
        ),
        (
            ["generate", "--portrait", "p.png", "--audio", "a.wav", "--out", "o.mp4", "--level"],
            ["--level"],
        ),
    ],
)
def test_argparse_errors_are_one_line(arguments, words, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    line = capsys.readouterr().err
    assert (
        line.startswith("emo: ") and line.count("\n") == 1 and all(word in line for word in words)
    )


def test_integers_name_what_they_accept():
    size = integer("--size", 128, 1024, multiple=16)
    assert size("256") == 256
    for text in ("255", "64", "2048", "big", "256.0", ""):
        with pytest.raises(
            UserError, match=r"--size .*accepted: a whole number from 128 to 1024, a multiple of 16"
        ):
            size(text)


def test_a_mistake_from_the_shell():
    done = emo(
        "generate",
        "--portrait",
        "p.png",
        "--audio",
        "a.wav",
        "--out",
        "o.mp4",
        "--emotion",
        "happy",
        "--level",
        "16",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "emo: --level '16' is out of range; accepted: a number from 1 to 15\n"


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli.COMMANDS["assets"], "run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["assets", "list"])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_unwind(tmp_path, number, code):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom emo_lightning import cli\nfrom emo_lightning.core.atomic_files import staging\n"
        "def run(args):\n    with staging(Path(sys.argv[1]), '--out') as stage:\n        (stage / 'half').write_text('x')\n"
        "        print('ready', flush=True)\n        time.sleep(60)\n"
        "cli.COMMANDS['assets'].run = run\nsys.exit(cli.main(['assets', 'list']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    time.sleep(0.1)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
