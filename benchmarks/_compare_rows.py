"""The rows of the comparison: a name, and how it turns a portrait and coefficients into frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
