"""The geometric renderer: coefficients move the portrait's own landmarks, and the picture follows.

It needs no training. Geometry turns coefficients into vertices (retarget) and those into a dense
flow (warp, background_mesh, raster). Painted on top are folds of the skin (wrinkles), closing lids
and the skin below raised brows (eyes) and the mouth's interior (mouth). The person is composited
over a static background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.motion.gaze import GazeProcess
from emo_lightning.renderers.mesh.background import compositing, matte
from emo_lightning.renderers.mesh.background.follow_weights import follow_weights
from emo_lightning.renderers.mesh.eyes import eyelids
from emo_lightning.renderers.mesh.eyes.glasses import glasses_rigidity
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.background_mesh import build_background_mesh
from emo_lightning.renderers.mesh.geometry.coordinates import FaceView, Pose
from emo_lightning.renderers.mesh.geometry.gaze import prepare_gaze
from emo_lightning.renderers.mesh.geometry.landmark_refinement import pull_onto_person, snap_lips
from emo_lightning.renderers.mesh.geometry.raster import smooth_tears
from emo_lightning.renderers.mesh.geometry.retarget import Retarget, unposed
from emo_lightning.renderers.mesh.geometry.warp import Warp
from emo_lightning.renderers.mesh.mouth import interior
from emo_lightning.renderers.mesh.wrinkles import Wrinkles, prepare_wrinkles
from emo_lightning.renderers.registry import register

if TYPE_CHECKING:
    from emo_lightning.face.portrait import Portrait

TEAR = 0.008
"""Share of the frame's side between the sources of neighbours that is a tear."""


@dataclass(frozen=True)
class PreparedMesh:
    """A portrait prepared for :class:`MeshRenderer`."""

    image: np.ndarray
    retarget: Retarget
    warp: Warp
    pose: Pose
    mouth: interior.MouthInterior
    lids: eyelids.Lids
    wrinkles: Wrinkles
    layers: compositing.PortraitLayers | None


@register("mesh")
class MeshRenderer:
    """Animates a photograph through the built-in face model's mesh.

    Args:
        gaze: directions of the eyes over time; without, they stay on the camera.
    """

    name = "mesh"
    context = (0, 0)
    margin = 1.5
    timed = True

    def __init__(self, gaze: GazeProcess | None = None) -> None:
        self.gaze = gaze
        self.model = BuiltinFaceModel.load()
        rims = [*(np.concatenate(eye) for eye in topology.EYES), topology.LIP_INNER]
        triangles = self.model.triangles
        holes = np.any([np.isin(triangles, rim).all(axis=1) for rim in rims], axis=0)
        self.skin = triangles[~holes]

    def prepare(self, portrait: Portrait) -> PreparedMesh:
        """Everything that does not change from frame to frame.

        Raises:
            MismatchError: the portrait's coefficients are not the built-in model's.
        """
        own, model = portrait.coefficients, self.model
        model.layout.check_same(own.layout, "the geometric renderer", "the portrait's coefficients")
        image, exp = np.ascontiguousarray(portrait.image), own["exp"][0]
        rest, pose = unposed(portrait.points[: topology.VERTICES], own, model)
        rest, cleared = snap_lips(rest, pose, image)
        person, layers = matte.person_mask(image, pose.apply(rest)), None
        if person is not None:
            alpha = matte.person_alpha(image, person)
            rest = pull_onto_person(rest, pose, alpha)
            layers = compositing.separate_layers(image, alpha)
        view, points = FaceView(rest, pose, portrait.size), pose.apply(rest)
        rigid = glasses_rigidity(image, view)
        retarget = Retarget(rest, cleared, exp, model, own["id"][0], rigid)
        follow = follow_weights(points, pose, person, portrait.still)
        rings = build_background_mesh(points, pose.scale, follow)
        gaze = prepare_gaze(portrait.points, rest, pose)
        warp = Warp(self.skin, points, pose, rings, gaze, portrait.size)
        mouth = interior.prepare_mouth(image, view, retarget.neutral)
        lids, folds = eyelids.prepare_lids(image, view), prepare_wrinkles(image, view, exp)
        return PreparedMesh(image, retarget, warp, pose, mouth, lids, folds, layers)

    def render(
        self, source: PreparedMesh, coefficients: Coefficients, first: int = 0
    ) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame for each frame of coefficients.

        Args:
            source: the prepared portrait.
            coefficients: absolute.
            first: number of the first frame, for the gaze.

        Raises:
            MismatchError: the coefficients are not the built-in model's.
        """
        self.model.layout.check_same(
            coefficients.layout, "the geometric renderer", "the coefficients"
        )
        for t in range(len(coefficients)):
            exp = coefficients["exp"][t]
            vertices = source.retarget.vertices(exp, coefficients["id"][t])
            pose, glance = Pose.of(coefficients, t), self.glance(first + t)
            yield render_frame(source, vertices, pose, exp, glance)

    def glance(self, frame: int) -> np.ndarray | None:
        """Radians ``(2,)`` of the gaze beside the camera; None if it stays there."""
        return None if self.gaze is None else self.gaze.offsets(frame, 1)[0]


def render_frame(
    source: PreparedMesh, vertices: np.ndarray, pose: Pose, exp: np.ndarray,
    glance: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """One frame ``(S, S, 3)`` uint8.

    Args:
        source: the prepared portrait.
        vertices: ``(468, 3)`` model space.
        pose: of the head.
        exp: ``(E,)`` expression, for the folds.
        glance: ``(2,)`` radians of the gaze beside the camera; none without.
    """
    rest, size = source.retarget.rest, source.warp.size
    visible = eyelids.without_occluded_lids(source.lids, rest, vertices)
    flow = source.warp.flow(visible, pose, glance)
    frame = warp_image(source.wrinkles.apply(source.image, exp), flow)
    if source.layers is not None:
        source.layers.composite(frame, flow)
    smooth_tears(frame, flow, TEAR * size)
    view = FaceView(vertices, pose, size)
    eyelids.smooth_lower_rims(frame, flow, source.lids, rest, view)
    interior.paint_mouth(frame, source.mouth, rest, view)
    eyelids.paint_lids(frame, source.lids, rest, view)
    return frame


def warp_image(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The picture ``(S, S, 3)`` through a backward flow ``(2, S, S)``.

    Cubic, so that a head that drifts stays sharp; mirrored beyond its border, so that hair that the
    frame cuts off goes on.
    """
    return cv2.remap(image, flow[0], flow[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
