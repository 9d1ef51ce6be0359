"""What renderers are compared on: clips of people out of shards, portraits, and what one head's
movement is on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from datamodules.shards.reader import iter_samples
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.crop import CropBox, crop_image
from emo_lightning.face.portrait import Portrait, load_portrait
from emo_lightning.media.video_reader import decode_mp4_bytes

LEAST_FRAMES = 25
POINTS = 478
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
PARTS = ("coefficients", "landmarks", "video")


@dataclass(frozen=True)
class Clip:
    """One video of one person's head in a square; frame 0 is the portrait, the others are what is
    to be drawn.

    Attributes:
        key, person: whose.
        video: the frames as mp4.
        coefficients: T frames, as preprocessing read them.
        points: ``(T, 478, 3)`` landmarks in crop units.
    """

    key: str
    person: str
    video: bytes
    coefficients: Coefficients
    points: np.ndarray

    @property
    def side(self) -> int:
        """Pixels a side, as real."""
        return decode_mp4_bytes(self.video, [0]).shape[1]

    def frames(self, size: int) -> np.ndarray:
        """The true frames, ``(T, S, S, 3)`` uint8."""
        return resized(list(decode_mp4_bytes(self.video))[: len(self.points)], size)

    def portrait(self, frames: np.ndarray) -> Portrait:
        """Frame 0 of :meth:`frames`, with what was read from it."""
        return Portrait(frames[0], self.points[0], self.coefficients.frames(slice(0, 1)))


def resized(frames: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Square frames at another size, all of them by the crop's own resampling; ``(T, S, S, 3)``
    uint8.
    """
    if frames[0].shape[0] == size:
        return np.stack(frames)
    half = frames[0].shape[0] / 2
    return np.stack([crop_image(frame, CropBox(half, half, half), size) for frame in frames])


def read_clips(
    folders: Sequence[Path], splits: Sequence[str], most_frames: int, most_clips: int
) -> list[Clip]:
    """Clips of shard sets, of each person the first few, each cut to its first frames.

    Raises:
        UserError: no shard set, or no clip with pictures and 478 landmarks in these splits.
    """
    found: list[Clip] = []
    count: dict[str, int] = {}
    for folder in folders:
        for split in splits:
            for sample in iter_samples(folder, split, PARTS, argument="--data"):
                person = f"{sample.meta.source}/{sample.meta.speaker}"
                usable = (
                    sample.landmarks.shape[1] == POINTS and len(sample.landmarks) >= LEAST_FRAMES
                )
                if not usable or count.get(person, 0) == most_clips:
                    continue
                count[person] = count.get(person, 0) + 1
                kept = slice(0, most_frames)
                points = sample.landmarks[kept].astype(np.float32)
                found.append(
                    Clip(sample.key, person, sample.video, sample.coefficients.frames(kept), points)
                )
    if not found:
        wanted = (
            f"shards with videos of a second and more and 478 landmarks in split "
            f"{' or '.join(splits)}"
        )
        raise UserError("--data", ",".join(map(str, folders)), wanted, "holds no such clip")
    return found


@dataclass(frozen=True)
class Target:
    """A portrait that is to move as somebody else did."""

    name: str
    portrait: Portrait


def read_portraits(folder: Path, size: int) -> list[Target]:
    """Every picture of a folder.

    Raises:
        UserError: no such folder, no picture in it, or one without one clear face.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES)
    if not files:
        raise UserError(
            "--portraits",
            folder,
            f"a folder with {', '.join(sorted(PICTURES))} files",
            "holds no pictures",
        )
    return [Target(path.stem, load_portrait(path, size, "--portraits")) for path in files]


def own_targets(clips: Sequence[Clip], size: int) -> list[Target]:
    """Each person's first frame of the first clip."""
    first: dict[str, Clip] = {}
    for clip in clips:
        first.setdefault(clip.person, clip)
    return [Target(person, clip.portrait(clip.frames(size))) for person, clip in first.items()]


def in_turn(people: Sequence[str]) -> list[int]:
    """Everyone's first, then everyone's second, and so on: places in ``people``."""
    return sorted(range(len(people)), key=lambda i: (people[:i].count(people[i]), i))


def pairs(
    targets: Sequence[Target], clips: Sequence[Clip], count: int
) -> list[tuple[Target, Clip]]:
    """A fixed choice of portraits and of other people's clips to move them, all of either as evenly
    as may be.
    """
    ordered = [clips[i] for i in in_turn([clip.person for clip in clips])]
    others = {
        target.name: [clip for clip in ordered if clip.person != target.name] for target in targets
    }
    turns = range(max(map(len, others.values()), default=0))
    found = (
        (place, target, turn)
        for turn in turns
        for place, target in enumerate(targets)
        if turn < len(others[target.name])
    )
    chosen = (
        (target, others[target.name][(place + turn) % len(others[target.name])])
        for place, target, turn in found
    )
    return list(islice(chosen, count))


def transfer(portrait: Portrait, driver: Coefficients) -> Coefficients:
    """A driver's coefficients on another head.

    The expression is the driver's, absolute, as :class:`emo_lightning.renderers.base.Renderer`
    wants it; build and skin stay the portrait's; the head turns, goes and comes nearer by as much
    as the driver's since frame 0, in distances between the eyes.
    """
    own = portrait.coefficients
    angle = own["angle"] + driver["angle"] - driver["angle"][:1]
    moved = driver["trans"] - driver["trans"][:1]
    moved[:, :2] *= np.exp(own["trans"][0, 2] - driver["trans"][0, 2])
    return driver.replace(id=own["id"], tex=own["tex"], angle=angle, trans=own["trans"] + moved)
