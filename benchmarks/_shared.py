"""What benchmarks that train share: a small embedded corpus, short runs of stages 1 and 2, and
intervals by resampling.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from emo_lightning.face.coefficients import Coefficients
    from evaluation.suite.emotion import ExternalJudge

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
RESAMPLES = 1000
CONFIDENCE = 1.96


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def small_corpus(folder: Path, clips: int) -> Path:
    """An embedded corpus without video; 16 people say 96 clips or more, so four or more of them are
    held out.
    """
    from datamodules.corpus.build import build_corpus

    build_corpus(folder, clips, video=False, speakers=min(16, max(3, clips // 6)))
    return folder


def train_stage(stage: int | str, out: Path, words: Sequence[str]) -> Path:
    """Train a stage as ``experiments/stageN.yaml`` and the overrides say, without a word; the
    exported network.

    ``stage`` may name a variant, as ``1_contrast`` of ``experiments/stage1_contrast.yaml``.
    """
    from emo_lightning.training.config import load_config
    from emo_lightning.training.train import train

    given = [f"out={out}", "resume=never", "wandb.mode=disabled", "trainer.threads=1", *words]
    with contextlib.redirect_stdout(io.StringIO()):
        return train(load_config(EXPERIMENTS / f"stage{stage}.yaml", given))


def interval(
    rows: np.ndarray, statistic: Callable[[np.ndarray], float], seed: int = 0
) -> tuple[float, float, float]:
    """A statistic of ``(N, ...)`` rows and its 95 % interval over resampled rows."""
    rng = np.random.default_rng(seed)
    drawn = [statistic(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(statistic(rows)), float(low), float(high)


def mean_cell(values: Sequence[float] | np.ndarray, places: int = 2) -> str:
    """Mean and 95 % interval of the mean, as a table says them."""
    mean, low, high = interval(np.asarray(values, np.float64), lambda rows: float(np.nanmean(rows)))
    return f"{mean:.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927)."""
    share, z = right / count, CONFIDENCE**2 / count
    middle, half = (
        share + z / 2,
        CONFIDENCE * np.sqrt(share * (1 - share) / count + z / (4 * count)),
    )
    return float((middle - half) / (1 + z)), float((middle + half) / (1 + z))


def external_judges() -> list[ExternalJudge]:
    """Those of others' judges who can be asked; why the rest cannot is printed."""
    from emo_lightning.core.errors import UserError
    from evaluation.protocol import Unavailable
    from evaluation.suite.emotion import EXTERNAL_JUDGES

    found = []
    for judge in EXTERNAL_JUDGES:
        try:
            judge.describe()
            found.append(judge)
        except (UserError, Unavailable) as error:
            print(f"{judge.label} is not asked: {error}")
    return found


def neutral_face() -> Coefficients:
    """Coefficients ``(1, C)`` of the mean face, frontal and without expression."""
    from emo_lightning.face.coefficients import BUILTIN, Coefficients

    blocks = {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
    return Coefficients(BUILTIN, blocks)
