"""THEval's measures against its published loops on the same points; the score over our parts."""

from __future__ import annotations

import statistics
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.media.audio_reader import load_audio
from evaluation.metrics import theval
from evaluation.protocol import Unavailable
from evaluation.records import Record
from evaluation.suite.theval import EXTRACTORS, PARTS, SPEECH, part_scores

FRAMES, FPS = 12, 25.0


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """Random landmarks in pixels of a 256 px frame; one frame has no face."""
    rng = np.random.default_rng(0)
    found = rng.uniform(40, 220, (478, 2)) + rng.normal(0, 2, (FRAMES, 478, 2))
    found[5] = np.nan
    return found


def faces(points: np.ndarray) -> list[np.ndarray]:
    return [frame for frame in points if np.isfinite(frame).all()]


def test_lip_dynamics_are_the_published_loop(points: np.ndarray) -> None:
    vectors = [
        [np.linalg.norm(f[a] - f[b]) for a, b in combinations(theval.LIPS, 2)]
        for f in faces(points)
    ]
    expected = float(np.mean(np.std(np.array(vectors), axis=0)))
    assert len(theval.LIPS) == 40 and theval.lip_dynamics(points) == pytest.approx(expected)


def test_eyebrow_dynamics_are_the_published_loop(points: np.ndarray) -> None:
    sums, count, before = 0.0, 0, None
    for frame in faces(points):
        eyes = [frame[list(side)].mean(axis=0) for side in theval.EYES]
        scale = np.linalg.norm(eyes[0] - eyes[1])
        brows = [frame[list(side)].mean(axis=0) for side in theval.BROWS]
        now = [np.linalg.norm(b - e) / scale for b, e in zip(brows, eyes, strict=True)]
        if before is not None:
            sums += sum(abs(a - b) for a, b in zip(now, before, strict=True))
            count += 2
        before = now
    assert theval.eyebrow_dynamics(points) == pytest.approx(sums / count)


def test_head_motion_dynamics_are_the_published_formula() -> None:
    rng = np.random.default_rng(1)
    angles, centres = rng.normal(0, 4, (20, 3)), rng.normal(128, 3, (20, 2))
    spread = sum(np.std(a) for a in angles.T) / 3
    uneven = sum(np.var(np.diff(a)) for a in angles.T) / 3
    moved = (np.var(centres[:, 0]) + np.var(centres[:, 1])) / 2
    found = theval.head_motion_dynamics(angles, centres)
    assert found == pytest.approx(np.sqrt(spread * uneven + moved))


def published_silences(speech: list[tuple[float, float]], frames: int) -> set[int]:
    """The published code's walk over the frames."""
    silent = set(range(frames))
    for start, end in speech:
        silent -= set(range(int(start * FPS), int(end * FPS) + 1))
    kept: set[int] = set()
    run: list[int] = []
    for frame in [*sorted(silent), None]:
        if run and (frame is None or frame != run[-1] + 1):
            kept |= set(run) if len(run) >= 0.3 * FPS else set()
            run = []
        run.append(frame)
    return kept


@pytest.mark.parametrize(
    "speech", [[], [(0.0, 4.0)], [(0.4, 1.0), (1.25, 1.6), (2.5, 2.51)], [(0.2, 0.3)]]
)
def test_silences_are_the_published_ones(speech: list[tuple[float, float]]) -> None:
    found = theval.silent_frames(np.array(speech).reshape(-1, 2), 75, FPS)
    assert set(np.flatnonzero(found)) == published_silences(speech, 75)


def test_silent_lips_are_the_published_deviation(points: np.ndarray) -> None:
    gaps = []
    for frame in faces(points):
        pairs = zip(theval.UPPER_LIP, theval.LOWER_LIP, strict=True)
        unit = np.linalg.norm(frame[33] - frame[263])
        gaps.append(np.mean([abs(frame[u][1] - frame[v][1]) / unit for u, v in pairs]))
    openings = theval.lip_openings(points)
    assert openings == pytest.approx(gaps)
    expected = statistics.median(abs(gap - np.mean(gaps)) for gap in gaps)
    assert theval.silent_lip_stability(openings) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least 2"):
        theval.silent_lip_stability(openings[:1])


def test_speech_is_found_where_somebody_speaks(repository: Path) -> None:
    """A second of silence, the shipped recording, and a second of silence."""
    speech = next(extractor for extractor in EXTRACTORS if extractor.name == SPEECH)
    if find_spec("silero_vad") is None:
        with pytest.raises(Unavailable, match="pip install silero-vad"):
            speech.judge()
        return
    threads = torch.get_num_threads()
    voice = load_audio(repository / "emo_lightning" / "samples" / "speech.flac")[: 4 * SAMPLE_RATE]
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    found = speech.open(torch.device("cpu"))(np.concatenate([quiet, voice, quiet]))[SPEECH]
    assert len(found) and 0.7 < found[0, 0] < 2.5 and found[-1, 1] < 5.3
    assert (found[:, 1] - found[:, 0]).sum() > 1.0 and speech.judge().sha256
    assert torch.get_num_threads() == threads


def clips(*rows: list[float]) -> list[Record]:
    return [Record("s", str(i), features={"theval": row}) for i, row in enumerate(rows)]


def test_the_score_is_over_the_parts_that_both_sides_have_and_says_which_are_absent() -> None:
    nan = float("nan")
    reference = SimpleNamespace(records=clips([2.0, 0.01, 10.0, nan]), reference=None)
    mine = clips([1.0, 0.01, 10.0, 0.5], [1.0, 0.01, 20.0, nan])
    found = part_scores(SimpleNamespace(records=mine, reference=reference))
    assert found.details["THEval, part"]["values"] == pytest.approx(
        {"lip dynamics": 0.5, "eyebrow dynamics": 1.0, "head motion dynamics": 0.5}
    )
    estimate = found.estimates["theval_part"]
    assert estimate.value == pytest.approx(2 / 3) and estimate.n == 2
    assert estimate.flag == f"without {PARTS['theval_silent_lips']}"
