"""Named coefficient blocks: what flows from the networks to the renderers and into the shards.

A :class:`Layout` defines the blocks and their widths; :class:`Coefficients` holds one ``(T, n)``
array for each. No code slices a coefficient vector by number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emo_lightning.core.errors import MismatchError

AU_NAMES: tuple[str, ...] = tuple(
    f"AU{n}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
)
"""The seventeen units of ``au.npy``, in OpenFace's order; 0..1, where OpenFace has 0..5."""

EXP_NAMES: tuple[str, ...] = (
    "AU1_L", "AU1_R", "AU2_L", "AU2_R", "AU4", "AU5", "AU6", "AU7", "AU9", "AU10", "AU12_L",
    "AU12_R", "AU14_L", "AU14_R", "AU15", "AU16", "AU17", "AU20", "AU23", "AU25", "AU26",
    "AU45_L", "AU45_R", "jaw", "pucker", "funnel", "press", "tuck",
)  # fmt: skip
"""Expression directions of the built-in model; ``_L`` and ``_R`` are the subject's left and right.

``jaw`` lowers the mandible while the lips stay together (AU26 parts them with it); ``pucker`` is
AU18, ``funnel`` AU22, ``press`` AU24, ``tuck`` the lower lip under the upper teeth, as in /f/, /v/.
"""

BLOCKS: tuple[str, ...] = ("id", "exp", "tex", "angle", "trans")


@dataclass(frozen=True)
class Layout:
    """Widths and names of the coefficient blocks of one face model.

    ``angle`` is (pitch, yaw, roll) in radians; ``trans`` differs between face models.
    """

    name: str
    version: int
    widths: tuple[tuple[str, int], ...]
    exp_names: tuple[str, ...] = ()

    def width(self, block: str) -> int:
        """Number of coefficients in a block; KeyError names the blocks there are."""
        widths = dict(self.widths)
        if block not in widths:
            raise KeyError(f"layout {self.name} has no block {block!r}, only {tuple(widths)}")
        return widths[block]

    @property
    def blocks(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.widths)

    @property
    def size(self) -> int:
        return sum(width for _, width in self.widths)

    def slice(self, block: str) -> slice:
        """Where a block lies in a joined vector."""
        start = 0
        for name, width in self.widths:
            if name == block:
                return slice(start, start + width)
            start += width
        raise KeyError(f"layout {self.name} has no block {block!r}, only {self.blocks}")

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON and checkpoints."""
        return {
            "name": self.name,
            "version": self.version,
            "widths": [list(w) for w in self.widths],
            "exp_names": list(self.exp_names),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Layout:
        """The inverse of :meth:`to_dict`; KeyError or TypeError for anything else."""
        widths = tuple((str(name), int(width)) for name, width in data["widths"])
        return Layout(
            str(data["name"]),
            int(data["version"]),
            widths,
            tuple(str(n) for n in data["exp_names"]),
        )

    def check_same(self, other: Layout, mine: str, theirs: str) -> None:
        """Raise MismatchError unless equal; ``mine`` and ``theirs`` name them to the user."""
        if self != other:
            raise MismatchError(
                theirs,
                other.describe(),
                f"{self.describe()}, as {mine} has",
                "has another coefficient layout",
            )

    def describe(self) -> str:
        """One line for messages."""
        widths = ", ".join(f"{name} {width}" for name, width in self.widths)
        return f"{self.name} v{self.version} ({widths})"


BUILTIN = Layout(
    "builtin",
    1,
    (("id", 40), ("exp", len(EXP_NAMES)), ("tex", 24), ("angle", 3), ("trans", 3)),
    EXP_NAMES,
)
BFM = Layout(
    "bfm2009", 1, (("id", 80), ("exp", 64), ("tex", 80), ("angle", 3), ("gamma", 27), ("trans", 3))
)
"""Deep3DFaceRecon's order; see :mod:`emo_lightning.face.bfm` for its camera."""
LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (BUILTIN, BFM)}


@dataclass
class Coefficients:
    """One clip's coefficients: every block of the layout as a float32 ``(T, n)`` array.

    Raises ValueError for a missing block, a wrong width or length, or a value that is not finite.
    """

    layout: Layout
    values: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        if set(self.values) != set(self.layout.blocks):
            given, wanted = sorted(self.values), self.layout.blocks
            raise ValueError(f"blocks {given} given, layout {self.layout.name} has {wanted}")
        lengths = set()
        for block in self.layout.blocks:
            array = np.asarray(self.values[block], np.float32)
            if array.ndim != 2 or array.shape[1] != self.layout.width(block):
                expected = f"(T, {self.layout.width(block)})"
                raise ValueError(f"block {block} has shape {array.shape}, expected {expected}")
            if not np.isfinite(array).all():
                raise ValueError(f"block {block} holds values that are not finite")
            self.values[block] = array
            lengths.add(len(array))
        if len(lengths) != 1:
            raise ValueError(f"blocks have different lengths {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.values[self.layout.blocks[0]])

    def __getitem__(self, block: str) -> np.ndarray:
        return self.values[block]

    def frames(self, index: slice) -> Coefficients:
        """The same coefficients for some of the frames."""
        return Coefficients(self.layout, {b: v[index] for b, v in self.values.items()})

    def replace(self, **blocks: np.ndarray) -> Coefficients:
        """A copy with some blocks replaced; one frame, ``(n,)`` or ``(1, n)``, is repeated."""
        new = {name: np.atleast_2d(np.asarray(value, np.float32)) for name, value in blocks.items()}
        new = {
            name: np.repeat(value, len(self), axis=0) if len(value) == 1 else value
            for name, value in new.items()
        }
        return Coefficients(self.layout, {**self.values, **new})

    def joined(self) -> np.ndarray:
        """All blocks side by side in layout order, ``(T, layout.size)``."""
        return np.concatenate([self.values[b] for b in self.layout.blocks], axis=1)

    @staticmethod
    def from_joined(layout: Layout, array: np.ndarray) -> Coefficients:
        """The inverse of :meth:`joined`."""
        return Coefficients(layout, {b: array[:, layout.slice(b)] for b in layout.blocks})

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        return iter(self.values.items())


def read_aus(exp: np.ndarray, exp_names: tuple[str, ...] = EXP_NAMES) -> np.ndarray:
    """AU intensities from built-in expression coefficients: both sides averaged, clipped to 0..1.

    Args:
        exp: ``(..., len(exp_names))``.

    Returns:
        ``(..., 17)`` in the order of :data:`AU_NAMES`.
    """
    table = np.zeros((len(exp_names), len(AU_NAMES)), np.float32)
    for column, unit in enumerate(AU_NAMES):
        sides = (unit, f"{unit}_L", f"{unit}_R")
        rows = [i for i, name in enumerate(exp_names) if name in sides]
        table[rows, column] = 1.0 / max(len(rows), 1)
    return np.clip(exp @ table, 0.0, 1.0)
