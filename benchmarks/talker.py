"""Sound to coefficients: speed on one core, memory and latency, with fresh weights of the default sizes.

  python -m benchmarks talker [MINUTES]
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import numpy as np
import torch

from emo_lightning.coefficients import BUILTIN, Coefficients
from emo_lightning.emotions import EmotionKey, EmotionTrack
from emo_lightning.losses.masked import prototype_table
from emo_lightning.models.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.heads import Heads, HeadsConfig
from emo_lightning.models.layers import parameter_count
from emo_lightning.models.talker import FPS, Talker

ROWS = 100
"""Mel rows that arrive at a time: one second."""


def main(arguments: list[str]) -> None:
    """Print the table for a recording of some minutes, 10 by default."""
    minutes = float(arguments[0]) if arguments else 10.0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    decoupler = AudioDecoupler(DecouplerConfig())
    heads = Heads(HeadsConfig(), BUILTIN, decoupler.config.content, prototype_table(BUILTIN))
    talker = Talker.from_modules(decoupler, heads)
    source = Coefficients(BUILTIN, {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths})
    track = EmotionTrack((EmotionKey(0.0, 5, 8.0), EmotionKey(30.0, 6, 12.0)))
    rows = int(minutes * 60 * ROWS)
    before, start, frames = _memory(), time.perf_counter(), 0
    for piece in talker.generate(_sound(rows), source, track):
        frames += len(piece)
    took = time.perf_counter() - start
    print("| decoupler, M parameters | heads, M | frames | seconds | times real time | memory grown, MB | latency, s |")
    print("|---|---|---|---|---|---|---|")
    sizes = f"{parameter_count(decoupler) / 1e6:.2f} | {parameter_count(heads) / 1e6:.2f}"
    print(f"| {sizes} | {frames} | {took:.2f} | {frames / FPS / took:.0f} | {_memory() - before:.0f} | {talker.latency:.2f} |")
    torch.set_num_threads(threads)


def _sound(rows: int) -> Iterator[np.ndarray]:
    """Noise, a second at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, ROWS):
        yield rng.standard_normal((min(ROWS, rows - start), 80)).astype(np.float32) - 6.0


def _memory() -> float:
    """Most memory that the process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
