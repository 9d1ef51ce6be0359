"""A renderer of the user's own: named on the command line, or offered by an installed package."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from skimage.data import astronaut

from emo_lightning import cli
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.portrait import Portrait, load_portrait
from emo_lightning.renderers import base, registry

SKETCH = '''
"""A picture of a head that moves as a whole."""

import cv2
import numpy as np


class Sketch:
    """The portrait as it is, turned and moved as the head does."""

    def prepare(self, portrait):
        return portrait.image, portrait.coefficients

    def render(self, source, coefficients):
        image, own = source
        size = image.shape[0]
        angles, shifts = coefficients["angle"] - own["angle"], coefficients["trans"] - own["trans"]
        for angle, trans in zip(angles, shifts):
            centre = (own["trans"][0, :2] + 1) / 2 * size
            roll, zoom = -np.degrees(float(angle[2])), float(np.exp(trans[2]))
            matrix = cv2.getRotationMatrix2D(centre.tolist(), roll, zoom)
            matrix[:, 2] += trans[:2] / 2 * size
            yield cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)


class Calm(Sketch):
    """The same, steadied over five frames, with weights that say how much of each counts."""

    context = (2, 2)

    def __init__(self, folder=None):
        self.weights = np.full(5, 0.2) if folder is None else np.loadtxt(folder / "weights.txt")
        self.files = () if folder is None else (folder / "weights.txt",)

    def render(self, source, coefficients):
        rows = coefficients.joined()
        steady = np.stack([self.weights @ rows[t : t + 5] for t in range(len(rows) - 4)])
        steady = coefficients.from_joined(coefficients.layout, steady.astype(np.float32))
        return super().render(source, steady)


class Wordy(Sketch):
    def __init__(self, words):
        self.words = words


class Half:
    def prepare(self, portrait):
        return portrait


number = 3
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module in the current folder."""
    (tmp_path / "my_sketch.py").write_text(SKETCH)
    (tmp_path / "my_broken.py").write_text("import a_package_that_nobody_has\n")
    (tmp_path / "my_typo.py").write_text("class :\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "my_sketch"
    for name in ("my_sketch", "my_broken", "my_typo"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Portrait:
    path = tmp_path_factory.mktemp("portrait") / "face.png"
    cv2.imwrite(str(path), astronaut()[:, :, ::-1])
    return load_portrait(path, 96)


def swaying(portrait: Portrait, frames: int) -> Coefficients:
    moving = portrait.coefficients.frames(np.zeros(frames, int))
    turn = 0.2 * np.sin(np.arange(frames, dtype=np.float32))[:, None] * np.float32([0, 0, 1])
    return moving.replace(angle=moving["angle"] + turn)


@pytest.mark.parametrize("name", ["mesh", "my_sketch:Sketch", "my_sketch:Calm"])
def test_a_whole_sequence_and_a_stream_give_the_same_frames(
    name: str, module: str, portrait: Portrait
) -> None:
    renderer, moving = registry.create(name), swaying(portrait, 11)
    source = renderer.prepare(portrait)
    before, after = getattr(renderer, "context", (0, 0))
    edges = np.clip(np.arange(-before, 11 + after), 0, 10)
    whole = np.stack(list(renderer.render(source, moving.frames(edges))))
    pieces = [moving.frames(slice(*cut)) for cut in ((0, 3), (3, 3), (3, 10), (10, 11))]
    streamed = np.stack(list(base.stream(renderer, source, pieces)))
    assert whole.shape == (11, 96, 96, 3)
    assert np.array_equal(whole, streamed)
    assert np.abs(np.diff(whole.astype(int), axis=0)).max() > 20


def test_a_folder_of_weights_goes_to_who_takes_one(module: str, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "weights.txt", [0, 0, 1, 0, 0])
    assert registry.create(f"{module}:Calm", tmp_path).weights[2] == 1
    assert registry.create(f"{module}:Calm").weights[2] == 0.2
    registry.create(f"{module}:Sketch", tmp_path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sketch", "is not a renderer; accepted: .*mesh.*module:Class"),
        ("./my_sketch.py:Sketch", "does not have the form module:Class"),
        ("my_sketch:", "does not have the form module:Class"),
        ("no_such_module_here:Sketch", "names a module that cannot be found: no_such_module_here"),
        ("my_broken:Sketch", "cannot be imported .No module named 'a_package_that_nobody_has'"),
        ("my_typo:Sketch", "cannot be imported .SyntaxError"),
        ("my_sketch:Skitch", "my_sketch has no Skitch"),
        ("my_sketch:number", "names something that is no class"),
        ("my_sketch:Half", "has no method render"),
        ("my_sketch:Wordy", "cannot be made: missing a required argument: 'words'"),
    ],
)
def test_mistakes_are_one_line(name: str, problem: str, module: str) -> None:
    with pytest.raises(UserError, match=f"^--renderer '.*{problem}") as caught:
        registry.create(name)
    assert "\n" not in str(caught.value)


def test_an_installed_package_offers_one_by_name(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "sketches-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sketches\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{registry.GROUP}]\nsketch = my_sketch:Sketch\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.offered.cache_clear()
    try:
        assert "sketch" in registry.names()
        assert registry.about("sketch") == "my_sketch:Sketch, of the package sketches"
        assert type(registry.create("sketch")).__name__ == "Sketch"
    finally:
        registry.offered.cache_clear()


def test_the_command_line_draws_with_it_and_records_it(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite("face.png", astronaut()[:, :, ::-1])
    soundfile.write("noise.wav", 0.1 * np.random.default_rng(0).standard_normal(8_000), 16_000)
    words = [
        "generate",
        "--portrait",
        "face.png",
        "--audio",
        "noise.wav",
        "--size",
        "128",
        "--out",
        "out.mp4",
        "--renderer",
    ]
    assert cli.main([*words, f"{module}:Sketch"]) in (0, None)
    about = json.loads(Path("out.json").read_text())
    assert about["renderer"] == "my_sketch:Sketch"
    assert about["renderer_origin"] == {
        "class": "my_sketch:Sketch",
        "file": "my_sketch.py",
        "sha256": sha256_of("my_sketch.py"),
    }
    assert not any("renderer" in name for name in about["weights"])
    capsys.readouterr()
    assert cli.main([*words, f"{module}:Skitch"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_renderer_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["generate", "--help"])
    listed = capsys.readouterr().out.partition("renderers:\n")[2]
    assert len(listed.strip().splitlines()) == len(registry.names()) + 1
    assert all(
        f"  {name} " in listed and registry.about(name) in listed for name in registry.names()
    )
