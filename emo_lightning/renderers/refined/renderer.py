"""The refined renderer: the geometric renderer's frames, repaired by a small trained network.

The network looks at the face alone, at the size at which it was trained; what it adds is scaled up to larger frames, so
their detail stays. Away from the face a frame is the geometric renderer's own.
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

from emo_lightning.face.coefficients import Coefficients
from emo_lightning.models.checkpoint_io import SHIPPED, load_refiner, read_network
from emo_lightning.models.renderer.refiner import Prepared
from emo_lightning.renderers.base import register
from emo_lightning.renderers.mesh.geometry.coordinates import Pose
from emo_lightning.renderers.mesh.renderer import MeshRenderer
from emo_lightning.renderers.mesh.renderer import Source as MeshSource
from emo_lightning.renderers.refined.planes import Look, look, read, work_side

if TYPE_CHECKING:
    from emo_lightning.face.portrait import Portrait

FILE = "refiner.safetensors"


@dataclass(frozen=True)
class Source:
    """A prepared portrait: what the geometric renderer knows of it, the work picture's side, and the network's features."""

    mesh: MeshSource
    side: int
    prepared: Prepared


@register("refined")
class RefinedRenderer:
    """The geometric renderer and its trained refinement; frames depend on themselves alone.

    Args:
        folder: holds ``refiner.safetensors``; where it has none, and by default, the shipped weights are taken.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """

    name = "refined"
    context = (0, 0)
    margin = MeshRenderer.margin

    def __init__(self, folder: str | Path | None = None) -> None:
        own = None if folder is None else Path(folder) / FILE
        path = own if own is not None and own.is_file() else SHIPPED / FILE
        network = read_network(path, "refiner", "--checkpoint-dir")
        self.files = (path,)
        self.mesh = MeshRenderer()
        network.layout.check_same(
            self.mesh.model.layout, "the geometric renderer", "the trained refinement"
        )
        self.network = load_refiner(network, "--checkpoint-dir").to(
            memory_format=torch.channels_last
        )

    @torch.no_grad()
    def prepare(self, portrait: Portrait) -> Source:
        """Everything that does not change from frame to frame.

        Raises:
            MismatchError: the portrait's coefficients are not the built-in model's.
        """
        mesh = self.mesh.prepare(portrait)
        side = work_side(portrait.size, mesh.pose.scale)
        still = read(mesh, self.mesh.model.triangles, side)
        return Source(mesh, side, self.network.prepare(torch.from_numpy(still)[None]))

    def render(self, source: Source, coefficients: Coefficients) -> Iterator[np.ndarray]:
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
            drawn = look(source.mesh, source.side, vertices, Pose.of(coefficients, t), exp)
            yield self.refine(source, drawn)[0]

    @torch.no_grad()
    def refine(self, source: Source, drawn: Look) -> tuple[np.ndarray, np.ndarray]:
        """A repaired frame ``(S, S, 3)`` uint8, and the mask ``(s, s)`` float32 of the work picture that says where."""
        frame, side = drawn.frame, source.side
        small = (
            frame
            if len(frame) == side
            else cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
        )
        rows, columns = drawn.region
        # Channels stay last in memory, which is faster.
        picture = torch.from_numpy(
            small[rows, columns].astype(np.float32) / np.float32(255.0)
        ).permute(2, 0, 1)
        flow, moving, condition = (
            torch.from_numpy(part)[None] for part in (drawn.flow, drawn.moving, drawn.condition)
        )
        with _one_thread():
            repair = self.network(picture[None], source.prepared, flow, moving, condition)
        change, mask = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
        mask[rows, columns] = repair.mask[0, 0].numpy()
        change[rows, columns] = 255.0 * (repair.mask * repair.residual)[0].permute(1, 2, 0).numpy()
        if len(frame) != side:
            change = cv2.resize(change, frame.shape[:2], interpolation=cv2.INTER_CUBIC)
        return np.clip(np.rint(frame + change), 0, 255).astype(np.uint8), mask


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread: at this size a second hardly helps, and waits long for its turn on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
