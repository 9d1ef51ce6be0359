"""The rows of the comparison: a name, and how it turns a portrait and coefficients into frames."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.portrait import Portrait
from emo_lightning.renderers import base, registry
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose
from emo_lightning.renderers.mesh.renderer import PreparedMesh, render_frame

WARM_UP = 2 * base.BLOCK
"""Frames drawn before the clock starts: code is compiled in them."""


@dataclass(frozen=True)
class Speed:
    """Frames a second through :func:`emo_lightning.renderers.base.stream`, seconds to prepare a
    portrait (the second time), and the process's peak memory in MB, interpreter and libraries
    included."""

    rate: float
    prepare: float
    peak: float


def measure(
    name: str, folder: Path | None, portrait: Portrait, coefficients: Coefficients, threads: int
) -> Speed:
    """Measure in this process."""
    cv2.setNumThreads(threads)
    renderer = registry.create(name, folder)
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


MESH, STILL, POSE, CEILING = "mesh", "still portrait", "pose only", "ceiling"
Draw = Callable[[Portrait, Coefficients, np.ndarray], Sequence[np.ndarray]]
"""From a portrait, T frames of coefficients and the driver's ``(T, 478, 3)`` landmarks, which the
ceiling alone looks at, to T frames.
"""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: what the table calls it.
        about: one line.
        draw: None where it cannot be drawn, for ``reason``.
        renderer, folder: what to open to measure its speed; None where there is nothing of its own
            to measure.
        crosses: whether it can move another person's face.
        files: its trained weights.
        crosses: whether it can move another person's face.
    """

    name: str
    about: str
    draw: Draw | None
    reason: str = ""
    renderer: str | None = None
    folder: Path | None = None
    crosses: bool = True
    files: tuple[Path, ...] = ()


def rows(names: Sequence[str], folders: Mapping[str, Sequence[Path]]) -> list[Row]:
    """All rows: still, pose only, every renderer with each folder of weights that is named for it,
    the ceiling.

    A renderer that cannot be opened is a row with the reason.
    """
    mesh = registry.create(MESH)
    listed = [
        Row(
            STILL,
            "the portrait, held",
            lambda portrait, coefficients, points: [portrait.image] * len(coefficients),
        )
    ]
    listed.append(
        Row(POSE, "the mesh with the portrait's own expression: head motion alone", _posed(mesh))
    )
    for name in sorted(names, key=lambda name: (name != MESH, name)):
        given = folders.get(name, [None])
        listed += [
            _row(name, folder, name if len(given) == 1 else f"{name} ({folder.name})")
            for folder in given
        ]
    about = (
        "the mesh moved by the driver's landmarks in place of coefficients: what no coefficients "
        "can beat on this mesh"
    )
    return [*listed, Row(CEILING, about, _ceiling(mesh), crosses=False)]


def _row(name: str, folder: Path | None, label: str) -> Row:
    about = registry.about(name)
    try:
        renderer = registry.create(name, folder)
    except UserError as error:
        # Without the folder's path, which is nobody's business in a table.
        return Row(
            label,
            about,
            None,
            f"{Path(str(error.value)).name} {error.problem}; accepted: {error.accepted}",
        )
    files = tuple(map(Path, getattr(renderer, "files", ())))
    if folder is not None and not (files and all(file.is_relative_to(folder) for file in files)):
        return Row(label, about, None, f"{folder.name} has no weights that it takes")
    return Row(label, about, _drawn(renderer), "", name, folder, files=files)


def _drawn(renderer: base.Renderer) -> Draw:
    def draw(
        portrait: Portrait, coefficients: Coefficients, points: np.ndarray
    ) -> list[np.ndarray]:
        del points
        return list(base.stream(renderer, renderer.prepare(portrait), [coefficients]))

    return draw


def _posed(mesh: base.Renderer) -> Draw:
    draw = _drawn(mesh)
    return lambda portrait, coefficients, points: draw(
        portrait, coefficients.replace(exp=portrait.coefficients["exp"]), points
    )


def _ceiling(mesh: base.Renderer) -> Draw:
    def draw(
        portrait: Portrait, coefficients: Coefficients, points: np.ndarray
    ) -> list[np.ndarray]:
        source, model = mesh.prepare(portrait), BuiltinFaceModel.load()
        return [
            landmark_frame(source, points[t], coefficients, t, model) for t in range(len(points))
        ]

    return draw


def landmark_frame(
    source: PreparedMesh,
    points: np.ndarray,
    fitted: Coefficients,
    frame: int,
    model: BuiltinFaceModel,
) -> np.ndarray:
    """The portrait moved by tracked landmarks in place of coefficients."""
    pose = Pose.of(fitted, frame)
    depth = points[: topology.VERTICES].astype(np.float64).copy()
    depth[:, 2] -= (
        depth[:, 2] - model.project(fitted.frames(slice(frame, frame + 1)))[0, :, 2]
    ).mean()
    return render_frame(source, pose.undo(depth), pose, fitted["exp"][frame])
