"""Frames a second and memory of a renderer, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2

from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.portrait import Portrait
from emo_lightning.renderers import base

WARM_UP = 2 * base.BLOCK
"""Frames drawn before the clock starts: code is compiled in them."""


@dataclass(frozen=True)
class Speed:
    """Frames a second through :func:`emo_lightning.renderers.base.stream`, seconds to prepare a portrait (the second time), and the
    process's peak memory in MB, interpreter and libraries included."""

    rate: float
    prepare: float
    peak: float


def measure(
    name: str, folder: Path | None, portrait: Portrait, coefficients: Coefficients, threads: int
) -> Speed:
    """Measure in this process."""
    cv2.setNumThreads(threads)
    renderer = base.create(name, folder)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    source = renderer.prepare(portrait)
    for _ in islice(base.stream(renderer, source, [coefficients]), WARM_UP):
        pass
    start = time.perf_counter()
    source = renderer.prepare(portrait)
    prepared = time.perf_counter()
    count = sum(1 for _ in base.stream(renderer, source, [coefficients]))
    rate = count / (time.perf_counter() - prepared)
    return Speed(rate, prepared - start, peak_mb())


def peak_mb() -> float:
    """The most memory that this process has held; nan where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next(
        (int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan")
    )


def apart(
    name: str, folder: Path | None, portrait: Portrait, coefficients: Coefficients, threads: int
) -> Speed:
    """:func:`measure` in a process that nothing else has used."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (name, folder, portrait, coefficients, threads))
