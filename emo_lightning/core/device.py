"""Inference device: one context owns device, precision, memory format and compilation.

torch is imported when a device is resolved, so that commands without networks start quickly.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emo_lightning.core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import torch

ACCEPTED = "auto, cpu, cuda, cuda:N or mps"
PRECISIONS = ("float32", "bfloat16", "float16")


def resolve_device(text: str = "auto", argument: str = "--device") -> torch.device:
    """Device by name; ``auto`` is the first CUDA device where there is one, else the CPU.

    Args:
        text: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        argument: name of the setting in error messages.

    Raises:
        UserError: another name, or a device that this machine or this build of PyTorch lacks.
    """
    import torch

    found = re.fullmatch(r"(auto|cpu|mps|cuda)(?::(\d+))?", text.strip().lower())
    if found is None or (found[2] and found[1] != "cuda"):
        raise UserError(argument, text, ACCEPTED, "is not a device")
    kind, index = found[1], int(found[2] or 0)
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        remedy = "cpu, or PyTorch's CUDA build (make install TORCH=cuda)"
        raise UserError(argument, text, remedy, "needs a CUDA build; this PyTorch is for CPUs")
    if kind == "cuda" and index >= torch.cuda.device_count():
        names = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
        raise UserError(argument, text, ", ".join(["cpu", *names]), "is not on this machine")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(argument, text, "cpu", "is not on this machine")
    return torch.device(kind, index) if kind == "cuda" else torch.device(kind)


@dataclass(frozen=True)
class InferenceContext:
    """Where and how networks run in inference.

    Attributes:
        device: of weights and inputs.
        dtype: of matrix products and convolutions; geometry stays float32.
        channels_last: memory format of the image networks; by default on accelerators alone.
        compiled: compile the image networks with ``torch.compile`` at their first call.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool = False
    compiled: bool = False

    @classmethod
    def create(
        cls,
        device: str = "auto",
        precision: str = "float32",
        compiled: bool = False,
        channels_last: bool | None = None,
    ) -> InferenceContext:
        """Context by names, see :func:`resolve_device`; ``precision`` is one of PRECISIONS.

        Raises:
            UserError: a device that does not exist, or an unknown precision.
        """
        import torch

        if precision not in PRECISIONS:
            raise UserError("precision", precision, ", ".join(PRECISIONS), "is not a precision")
        place = resolve_device(device)
        last = place.type != "cpu" if channels_last is None else channels_last
        return cls(place, getattr(torch, precision), last, compiled)

    def prepare(self, network: torch.nn.Module, images: bool = False) -> torch.nn.Module:
        """Network on the device, in evaluation mode; ``images`` for those with 2D convolutions."""
        import torch

        network = network.to(self.device).eval().requires_grad_(False)
        for weight in network.parameters() if images and self.channels_last else ():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        for part in (network, *network.children()) if images and self.compiled else ():
            part.compile()  # parts too: a renderer is called by methods other than forward
        return network

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Array as a tensor on the device, without a copy on the CPU."""
        import torch

        return torch.from_numpy(array).to(self.device, non_blocking=True)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Without gradients, and under autocast where the precision asks for it."""
        import torch

        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            if self.dtype != torch.float32:
                stack.enter_context(torch.autocast(self.device.type, self.dtype))
            yield

    def describe(self) -> dict[str, Any]:
        """Plain values for a record."""
        dtype = str(self.dtype).removeprefix("torch.")
        return {"device": str(self.device), "precision": dtype, "compiled": self.compiled}
