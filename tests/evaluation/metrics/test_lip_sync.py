"""Lip-sync scores: syncnet_python's numbers given the same weights, the sign of the offset, short
clips."""

from __future__ import annotations

import importlib.util
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from emo_lightning.core.errors import UserError
from evaluation.judges import syncnet
from evaluation.metrics.lip_sync import (
    overlap_distances,
    padded_distances,
    sync_score,
)


def embeddings(frames: int, seed: int = 0) -> torch.Tensor:
    """Unit vectors that change smoothly, as neighbouring windows' do."""
    noise = torch.randn(frames + 4, 32, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(noise.unfold(0, 5, 1).mean(-1), dim=1)


@pytest.fixture(scope="module")
def reference() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The model and scoring files of the package syncnet-python, without its video tools."""
    pytest.importorskip("python_speech_features")
    spec = importlib.util.find_spec("syncnet_python")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("syncnet-python is not installed")
    folder, modules = Path(next(iter(spec.submodule_search_locations))), []
    for name in ("SyncNetModel", "SyncNetInstance"):
        part = importlib.util.spec_from_file_location(f"reference_{name}", folder / f"{name}.py")
        assert part is not None and part.loader is not None
        module = importlib.util.module_from_spec(part)
        sys.modules[part.name] = module
        part.loader.exec_module(module)
        modules.append(module)
    yield modules[0], modules[1]


@pytest.fixture(scope="module")
def weights(reference: tuple[ModuleType, ModuleType]) -> dict[str, torch.Tensor]:
    """Random weights, statistics included."""
    torch.manual_seed(0)
    net = reference[0].S()
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.state_dict()


def test_scores_are_syncnet_pythons(
    reference: tuple[ModuleType, ModuleType],
    weights: dict[str, torch.Tensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Same weights, same pictures, same wav file: the same offset, confidence and distance."""
    rng, frames = np.random.default_rng(0), 11
    coarse = rng.integers(0, 255, (frames, 8, 8, 3), dtype=np.uint8)
    pictures = np.stack([cv2.resize(p, (224, 224), interpolation=cv2.INTER_CUBIC) for p in coarse])
    for number, picture in enumerate(pictures):
        # Lossless content under the name that the reference looks for.
        (tmp_path / f"{number:06d}.jpg").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    sound = (3000 * rng.standard_normal(frames * 640 + 100)).astype(np.int16)
    with wave.open(str(tmp_path / "audio.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    model = reference[0].S()
    model.load_state_dict(weights)
    with torch.no_grad():
        instance = reference[1].SyncNetInstance(model, device="cpu")
        expected = instance.evaluate(
            SimpleNamespace(tmp_dir=str(tmp_path), batch_size=20, vshift=15)
        )
    capsys.readouterr()

    torch.save(weights, tmp_path / "syncnet_v2.model")
    judge = syncnet.SyncNetJudge(syncnet.load(tmp_path / "syncnet_v2.model"), torch.device("cpu"))
    voice = judge.voice(sound)
    windows = np.stack([pictures[n : n + 5] for n in range(len(voice))])
    score = sync_score(
        padded_distances(torch.from_numpy(judge.lips(windows)), torch.from_numpy(voice))
    )
    assert score.offset == expected[0]
    assert (score.confidence, score.distance) == pytest.approx(expected[1:], abs=1e-6)


def test_pairwise_distances_are_syncnet_pythons(reference: tuple[ModuleType, ModuleType]) -> None:
    lips, sound = embeddings(60), embeddings(60, 1)
    theirs = torch.stack(reference[1].calc_pdist(lips, sound, vshift=15), 1).mean(1)
    assert torch.equal(padded_distances(lips, sound), theirs)


def test_weights_must_be_syncnets(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """A missing tensor and a file of something else are named, not half loaded."""
    short = dict(weights)
    short.pop("netfclip.3.bias")
    torch.save(short, tmp_path / "short.model")
    with pytest.raises(UserError, match=r"netfclip\.3\.bias"):
        syncnet.load(tmp_path / "short.model")
    (tmp_path / "bad.model").write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read"):
        syncnet.load(tmp_path / "bad.model")


def test_face_windows_follow_the_protocol() -> None:
    """2.8 half sides of the box wide, the box's top edge at the picture's top; windows without a
    face are marked."""
    crops = np.zeros((6, 320, 320, 3), np.uint8)
    points = np.zeros((6, 4, 3), np.float32)
    points[:, :, 0], points[:, :, 1] = [110, 210, 110, 210], [120, 120, 220, 220]
    half, y = 50 * syncnet.BOX_SCALE, 170 - 50 * syncnet.BOX_RISE
    for row, column in ((y - half + 4, 160), (y, 160 + 1.4 * half - 4)):
        crops[:, round(row) - 1 : round(row) + 1, round(column) - 1 : round(column) + 1] = (
            0,
            0,
            255,
        )
    windows, seen = syncnet.face_windows(crops, points)
    assert windows.shape == (2, 5, 224, 224, 3) and seen.all()
    blue = windows[0, 0, ..., 0] > 100
    assert not windows[..., 2].any()
    scale = 224 / (2.8 * half)
    top, side = np.argwhere(blue[:, 90:134]).mean(axis=0), np.argwhere(blue[:, 190:]).mean(axis=0)
    assert top == pytest.approx([4 * scale, 22], abs=1.5)
    assert side == pytest.approx([half * scale, 34 - 4 * scale], abs=1.5)
    points[:] = np.nan
    assert not syncnet.face_windows(crops, points)[1].any()


@pytest.mark.parametrize("distances", [padded_distances, overlap_distances])
def test_positive_offset_is_early_sound(distances: object) -> None:
    lips = embeddings(80)
    sound = lips + 0.05 * embeddings(80, 1)
    for early in (-15, -5, 0, 7, 15):
        shifted = torch.roll(sound, -early, 0)
        score = sync_score(distances(lips, shifted))
        assert score.offset == early
        assert score.distance_at_0 >= score.distance and score.confidence_at_0 <= score.confidence
        assert (score.distance_at_0 == score.distance) == (early == 0)


def test_other_sound_has_less_confidence() -> None:
    lips = embeddings(80)
    matched, other = (
        sync_score(overlap_distances(lips, lips)),
        sync_score(overlap_distances(lips, embeddings(80, 1))),
    )
    assert matched.confidence > 3 * other.confidence and matched.distance < other.distance


def test_short_clips() -> None:
    """Shifts with too few pairs do not count; a clip with too few windows at all is refused."""
    curve = overlap_distances(embeddings(20), embeddings(20))
    assert int(curve.isnan().sum()) == 2 * 7 and sync_score(curve).offset == 0
    with pytest.raises(ValueError, match="at least 12"):
        overlap_distances(embeddings(11), embeddings(11))
    with pytest.raises(ValueError, match="one shape"):
        padded_distances(embeddings(11), embeddings(12))
    with pytest.raises(ValueError, match="odd length"):
        sync_score(torch.zeros(4))
