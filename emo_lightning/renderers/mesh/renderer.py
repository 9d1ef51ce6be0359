"""The geometric renderer: coefficients move the portrait's own landmarks, and the picture follows.

It needs no training. The parts have a file each: vertices (retarget), flow (warp, background_mesh, raster), folds of the skin
(wrinkles), where the eyes look (gaze), the mouth's inside (mouth), closing lids (eyelids), what is person and what
wall (matte, compositing), how much moves with the head (follow_weights).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.renderers.base import register
from emo_lightning.renderers.mesh import wrinkles
from emo_lightning.renderers.mesh.background import compositing, follow_weights, matte, silhouette
from emo_lightning.renderers.mesh.eyes import eyelids, gaze
from emo_lightning.renderers.mesh.geometry import background_mesh, topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose
from emo_lightning.renderers.mesh.geometry.raster import soften
from emo_lightning.renderers.mesh.geometry.retarget import Retarget, unposed
from emo_lightning.renderers.mesh.geometry.warp import Warp
from emo_lightning.renderers.mesh.mouth import lip_seam, mouth

if TYPE_CHECKING:
    from emo_lightning.face.portrait import Portrait

HIDDEN = 0.008
"""Share of the frame's side by which what neighbours show lies apart where one thing hides another."""


@dataclass(frozen=True)
class Source:
    """A prepared portrait."""

    image: np.ndarray
    retarget: Retarget
    warp: Warp
    pose: Pose
    mouth: mouth.Mouth
    lids: tuple[eyelids.Lid, eyelids.Lid]
    wrinkles: wrinkles.Wrinkles
    layers: compositing.Layers | None


@register("mesh")
class MeshRenderer:
    """Animates a photograph through the built-in face model's mesh; frames depend on themselves alone."""

    name = "mesh"
    context = (0, 0)
    margin = 1.5

    def __init__(self) -> None:
        self.model = BuiltinFaceModel.load()
        self.skin = _without_holes(self.model.triangles)

    def prepare(self, portrait: Portrait) -> Source:
        """Everything that does not change from frame to frame.

        Raises:
            MismatchError: the portrait's coefficients are not the built-in model's.
        """
        own = portrait.coefficients
        self.model.layout.check_same(
            own.layout, "the geometric renderer", "the portrait's coefficients"
        )
        image = np.ascontiguousarray(portrait.image)
        rest, pose = unposed(portrait.points[: topology.VERTICES], own, self.model)
        rest, cleared = lip_seam.snap(rest, pose, image)
        person = matte.person(image, pose.apply(rest))
        apart = None
        if person is not None:
            alpha = matte.alpha(image, person)
            rest, apart = silhouette.draw_in(rest, pose, alpha), compositing.build(image, alpha)
        retarget = Retarget(rest, cleared, own["exp"][0], self.model, own["id"][0])
        points = pose.apply(rest)
        rings = background_mesh.build(
            points, pose.scale, follow_weights.follow(points, pose, person, portrait.still)
        )
        warp = Warp(
            self.skin, points, pose, rings, gaze.read(portrait.points, rest, pose), portrait.size
        )
        inside = mouth.read(image, rest, retarget.neutral, pose)
        folds = wrinkles.read(image, rest, pose, own["exp"][0])
        return Source(
            image, retarget, warp, pose, inside, eyelids.read(image, rest, pose), folds, apart
        )

    def render(self, source: Source, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame for each frame of coefficients.

        Raises:
            MismatchError: the coefficients are not the built-in model's.
        """
        self.model.layout.check_same(
            coefficients.layout, "the geometric renderer", "the coefficients"
        )
        for t in range(len(coefficients)):
            exp = coefficients["exp"][t]
            shape = source.retarget.vertices(exp, coefficients["id"][t])
            yield draw(source, shape, Pose.of(coefficients, t), exp)


def draw(source: Source, vertices: np.ndarray, pose: Pose, exp: np.ndarray) -> np.ndarray:
    """One frame ``(S, S, 3)`` uint8 from vertices ``(468, 3)`` in model space, a pose, and the expression ``(E,)`` for folds."""
    rest = source.retarget.rest
    flow = source.warp.flow(eyelids.held(source.lids, rest, vertices), pose)
    frame = remap(source.wrinkles.lay(source.image, exp), flow)
    if source.layers is not None:
        source.layers.compose(frame, flow)
    soften(frame, flow, HIDDEN * source.warp.size)
    eyelids.soften_rims(frame, flow, source.lids, rest, vertices, pose)
    inner = np.concatenate([topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER])
    moved = float(np.abs(vertices[inner, 1] - rest[inner, 1]).max())
    mouth.draw(frame, source.image, source.mouth, vertices, pose, source.pose, moved)
    eyelids.draw(frame, source.lids, rest, vertices, pose)
    return frame


def remap(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The picture ``(S, S, 3)`` seen through a backward flow ``(2, S, S)``; cubic, so that a head that drifts stays sharp;
    beyond its border it is mirrored, so that hair that the frame cuts off goes on."""
    return cv2.remap(image, flow[0], flow[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def _without_holes(triangles: np.ndarray) -> np.ndarray:
    """The model's triangles less those that span the eyes and the mouth's opening."""
    keep = np.ones(len(triangles), bool)
    rims = [
        *(np.concatenate(eye) for eye in topology.EYES),
        np.concatenate([topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER]),
    ]
    for rim in rims:
        keep &= ~np.isin(triangles, rim).all(axis=1)
    return triangles[keep]
