"""Operator schemas that torchvision needs where its compiled extension does not load.

The registry's torchvision wheel is built for a CUDA build of torch. Beside a CPU build its
extension does not load, and importing torchvision (as lightning, torchmetrics and lpips do) fails
with ``operator torchvision::nms does not exist``. With the two schemas declared the import works;
the operators have no kernel then, and nothing here calls them.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_operators(package: Path) -> None:
    """Declare the schemas of ``nms`` and ``qnms`` unless torchvision's own extension brings them.

    Args:
        package: torchvision's folder. Its extension is loaded first, as torchvision does on import:
            an operator declared here and defined by the extension would be an error.
    """
    import torch

    for extension in package.glob("_C*.so"):
        with suppress(OSError):
            torch.ops.load_library(str(extension))
    for name in OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", SCHEMA)


class TorchvisionFinder(importlib.abc.MetaPathFinder):
    """Finds torchvision as usual, after declaring the operators that it would miss."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """torchvision's own import specification; ``None`` for every other module."""
        if fullname != "torchvision":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.submodule_search_locations:
            declare_operators(Path(next(iter(spec.submodule_search_locations))))
        return spec


def install() -> None:
    """Put the finder in front of the others, once a process; no import happens here."""
    if not any(isinstance(finder, TorchvisionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchvisionFinder())
