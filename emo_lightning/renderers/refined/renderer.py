"""The refined renderer: the geometric renderer's frames, corrected by a small trained network.

The network sees the face alone, at the size at which it was trained; its correction is upsampled to
larger frames, so their detail stays. Away from the face a frame is the geometric renderer's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from emo_lightning.core.device import InferenceContext
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.models.checkpoint_io import SHIPPED, load_refiner, read_network
from emo_lightning.models.renderer.refiner import Prepared
from emo_lightning.motion.gaze import GazeProcess
from emo_lightning.renderers.mesh.geometry.coordinates import Pose
from emo_lightning.renderers.mesh.renderer import MeshRenderer, PreparedMesh
from emo_lightning.renderers.refined.conditioning import (
    FrameInputs,
    frame_inputs,
    portrait_planes,
    work_side,
)
from emo_lightning.renderers.registry import register

if TYPE_CHECKING:
    from emo_lightning.face.portrait import Portrait

FILE = "refiner.safetensors"


@dataclass(frozen=True)
class PreparedRefined:
    """A portrait prepared for both renderers, the work picture's side, network features."""

    mesh: PreparedMesh
    side: int
    prepared: Prepared


@register("refined")
class RefinedRenderer:
    """The geometric renderer and its trained refinement; frames depend on themselves alone.

    Args:
        folder: holds ``refiner.safetensors``; where it has none, and by default, the shipped
            weights are used.
        inference: device and precision; float32 on the CPU by default.
        gaze: see :class:`emo_lightning.renderers.mesh.renderer.MeshRenderer`.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """

    name = "refined"
    context = (0, 0)
    margin = MeshRenderer.margin
    timed = True

    def __init__(
        self,
        folder: str | Path | None = None,
        inference: InferenceContext | None = None,
        gaze: GazeProcess | None = None,
    ) -> None:
        own = None if folder is None else Path(folder) / FILE
        path = own if own is not None and own.is_file() else SHIPPED / FILE
        weights = read_network(path, "refiner", "--checkpoint-dir")
        self.files = (path,)
        self.mesh = MeshRenderer(gaze)
        weights.layout.check_same(
            self.mesh.model.layout, "the geometric renderer", "the trained refinement"
        )
        self.inference = inference or InferenceContext.create("cpu")
        network = load_refiner(weights, "--checkpoint-dir")
        # Channels last is faster for this network on a CPU too.
        network = network.to(memory_format=torch.channels_last)
        self.network = self.inference.prepare(network, images=True)

    def prepare(self, portrait: Portrait) -> PreparedRefined:
        """Everything that does not change from frame to frame.

        Raises:
            MismatchError: the portrait's coefficients are not the built-in model's.
        """
        mesh = self.mesh.prepare(portrait)
        side = work_side(portrait.size, mesh.pose.scale)
        still = portrait_planes(mesh, self.mesh.model.triangles, side)
        with self.inference.inference():
            prepared = self.network.prepare(self.inference.tensor(still)[None])
        return PreparedRefined(mesh, side, prepared)

    def render(
        self, source: PreparedRefined, coefficients: Coefficients, first: int = 0
    ) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame for each frame of coefficients.

        Raises:
            MismatchError: the coefficients are not the built-in model's.
        """
        self.mesh.model.layout.check_same(
            coefficients.layout, "the geometric renderer", "the coefficients"
        )
        for t in range(len(coefficients)):
            exp = coefficients["exp"][t]
            vertices = source.mesh.retarget.vertices(exp, coefficients["id"][t])
            pose = Pose.of(coefficients, t)
            glance = self.mesh.glance(first + t)
            inputs = frame_inputs(source.mesh, source.side, vertices, pose, exp, glance=glance)
            yield self.refine(source, inputs)[0]

    def refine(self, source: PreparedRefined, inputs: FrameInputs) -> tuple[np.ndarray, np.ndarray]:
        """A corrected frame ``(S, S, 3)`` uint8, and the work picture's mask ``(s, s)`` float32."""
        frame, small, side = inputs.frame, inputs.frame, source.side
        if len(frame) != side:
            small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
        rows, columns = inputs.region
        scaled = small[rows, columns].astype(np.float32) / np.float32(255.0)
        picture = self.inference.tensor(scaled).permute(2, 0, 1)[None]
        planes = (inputs.flow, inputs.moving, inputs.condition)
        with _one_thread(), self.inference.inference():
            repair = self.network(
                picture, source.prepared, *(self.inference.tensor(plane)[None] for plane in planes)
            )
            residual = (repair.mask * repair.residual)[0].permute(1, 2, 0).float().cpu().numpy()
        change, mask = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
        mask[rows, columns] = repair.mask[0, 0].float().cpu().numpy()
        change[rows, columns] = 255.0 * residual
        if len(frame) != side:
            change = cv2.resize(change, frame.shape[:2], interpolation=cv2.INTER_CUBIC)
        return np.clip(np.rint(frame + change), 0, 255).astype(np.uint8), mask


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run PyTorch on one thread: at this size a second hardly helps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
