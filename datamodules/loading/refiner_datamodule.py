"""Shard sets as a LightningDataModule for the refined renderer: what geometry draws, and what it should have drawn.

A few frames of each clip serve as portraits; the geometric renderer is prepared for each once and kept. Every draw animates one of
them to another frame of the clip, and cuts a part around mouth, eyes or cheeks.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np

from datamodules.loading.datamodule import Shards
from datamodules.loading.flow_align import align
from datamodules.loading.image_augmentation import ImageAugmentation
from datamodules.loading.sampler import ClipReader, ShardFile
from datamodules.loading.windows import Labels
from datamodules.shards.index import LIGHT, VIDEO
from datamodules.shards.reader import read_samples
from datamodules.shards.schema import Sample, SampleError
from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import EXP_NAMES, Coefficients
from emo_lightning.face.portrait import Portrait
from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels
from emo_lightning.renderers.mesh.renderer import MeshRenderer, PreparedMesh
from emo_lightning.renderers.refined.conditioning import (
    CELL,
    SNAP,
    frame_inputs,
    portrait_planes,
    work_side,
)

PLACES = (
    (13, 14),
    (159, 145),
    (386, 374),
    (50, 280),
    (topology.CHIN,),
    (topology.FOREHEAD, topology.NASION),
)
SHARES = (0.45, 0.15, 0.15, 0.1, 0.05, 0.1)
"""Landmarks in whose middle a training crop lies, and how often: mouth, eyes, cheeks, chin, forehead."""
JITTER = 0.2
"""IOD by which it lies beside."""
STRIKING = ("AU45_L", "AU45_R", "AU26", "AU25", "AU27", "AU12_L", "AU12_R", "AU4", "AU9")
"""Units that change what a face shows most, where the model has them: frames that differ in them are drawn more often."""
GRID = 12
"""Frames of a clip in validation, at most."""
LANDMARKS = "landmarks.npy"
KEPT = 400
"""Prepared portraits that are held in memory."""
STILL_SIDE = 256
"""Side of the work picture on which a portrait's own planes lie."""


@dataclass(frozen=True)
class RefinedClip:
    """A clip: its mp4, coefficients, ``landmarks (T, 478, 3)`` in crop units, and its labels."""

    frames: int
    labels: dict[str, Any]
    video: bytes
    coefficients: Coefficients
    landmarks: np.ndarray

    @staticmethod
    def of(sample: Sample, labels: Labels) -> RefinedClip:
        """Keep the mp4 as it is: frames are decoded when they are drawn."""
        assert (
            sample.video is not None
            and sample.coefficients is not None
            and sample.landmarks is not None
        )
        return RefinedClip(
            sample.meta.frames, labels(sample), sample.video, sample.coefficients, sample.landmarks
        )

    def image(self, frame: int) -> np.ndarray:
        """A frame ``(S, S, 3)`` uint8; SampleError ``bad_video`` when the mp4 cannot be decoded or lacks it."""
        try:
            return decode_mp4_bytes(self.video, [frame])[0]
        except ValueError as error:
            raise SampleError("bad_video", str(error)) from None


@dataclass
class TwinReader(ClipReader):
    """Reads video archives whose landmarks lie in their light twins; ``twins`` has one for each, None where it needs none."""

    twins: list[ShardFile | None] = field(default_factory=list)

    def members(self, shard: int) -> Iterator[tuple[str, dict[str, bytes] | SampleError]]:
        """As of :class:`ClipReader`, the twin's landmarks added."""
        twin, found = self.twins[shard], {}
        if twin is not None:
            with twin.open() as stream:
                found = {
                    key: found
                    for key, found in read_samples(stream, {LANDMARKS})
                    if isinstance(found, dict)
                }
        for key, members in super().members(shard):
            yield key, members if isinstance(members, SampleError) else found.pop(key, {}) | members


@dataclass(frozen=True)
class Drive:
    """One draw: the clip, the frame that is the portrait, the frame to be drawn, the crop's place (of PLACES) and its distance from
    there in IOD, and what is done to the colours; none for validation."""

    clip: RefinedClip
    source: int
    driving: int
    place: int = -1
    beside: tuple[float, float] = (0.0, 0.0)
    spice: ImageAugmentation | None = None


class RefinedShards(Shards):
    """What the geometric renderer draws, beside the true frames; the options are :class:`Shards`'s.

    A batch: ``still (B, 6, 128, 128)`` of cells, ``frame`` and ``target`` ``(B, 3, H, H)`` in [0, 1] with H the ``crop``, ``flow (B, H /
    2, H / 2, 2)``, ``moving (B, 6, H / 2, H / 2)``, ``condition (B, n)``, as in :mod:`emo_lightning.renderers.refined.conditioning`;
    ``target`` follows the drawn frame's geometry (see :mod:`datamodules.loading.flow_align`). The labels are those of
    :class:`datamodules.loading.datamodule.AudioShards`.

    Args:
        crop: side of what is cut, pixels of the work picture, a multiple of 8; validation takes half as much again, around the face.
        sources: frames of a clip that serve as portraits.
    """

    kind = VIDEO
    automatic = 8

    def __init__(
        self,
        data: str | Sequence[str],
        *,
        crop: int = 128,
        sources: int = 3,
        batch_size: int = 8,
        **options: Any,
    ) -> None:
        super().__init__(data, batch_size=batch_size, **options)
        if crop % SNAP or not 32 <= crop <= 256:
            raise UserError("model.crop", crop, f"pixels, 32 to 256, a multiple of {SNAP}")
        if sources < 1:
            raise UserError("sources", sources, "1 or more")
        self.crop, self.sources = crop, sources
        self.mesh = MeshRenderer()
        self._prepared: OrderedDict[tuple[str, int], tuple[PreparedMesh, np.ndarray]] = (
            OrderedDict()
        )

    def draw(self, clip: RefinedClip, generator: np.random.Generator) -> list[Drive]:
        """One for each second of the clip, at least one."""
        portraits = self.portraits(clip)
        drives = []
        for _ in range(max(1, clip.frames // FPS)):
            source = int(generator.choice(portraits))
            driving = int(generator.choice(clip.frames, p=_striking(clip, source)))
            place = int(generator.choice(len(PLACES), p=SHARES))
            beside = tuple(float(x) for x in generator.normal(0.0, JITTER, 2))
            drives.append(
                Drive(
                    clip,
                    source,
                    driving,
                    place,
                    (beside[0], beside[1]),
                    ImageAugmentation.draw(generator),
                )
            )
        return drives

    def grid(self, clip: RefinedClip) -> list[Drive]:
        """The first portrait of the clip drives to frames spread over it, and to those that differ most from it."""
        source = self.portraits(clip)[0]
        spread = np.linspace(0, clip.frames - 1, GRID // 2).astype(int).tolist()
        far = np.argsort(-_striking(clip, source), kind="stable")[
            :: max(1, clip.frames // (5 * GRID))
        ][: GRID // 2].tolist()
        return [Drive(clip, source, t) for t in sorted({*spread, *far} - {source} or {source})]

    def portraits(self, clip: RefinedClip) -> list[int]:
        """The frames of a clip that serve as portraits, always the same."""
        generator = np.random.default_rng([self.seed, zlib.crc32(clip.labels["key"].encode())])
        return sorted(
            int(t)
            for t in generator.choice(clip.frames, min(self.sources, clip.frames), replace=False)
        )

    def realise(self, item: Drive) -> dict[str, Any]:
        """Animate, align, cut.

        Raises:
            SampleError: ``bad_video``; ``bad_array`` when the geometric renderer cannot use the portrait.
        """
        clip, t = item.clip, item.driving
        mesh, still = self._portrait(clip, item.source)
        truth = clip.image(t)
        exp, pose = clip.coefficients["exp"][t], Pose.of(clip.coefficients, t)
        side = work_side(len(truth), mesh.pose.scale)
        if item.spice is not None:
            side = SNAP * round(side * item.spice.zoom / SNAP)
        vertices = mesh.retarget.vertices(exp, clip.coefficients["id"][t])
        drawn = frame_inputs(mesh, side, vertices, pose, exp, whole=True)
        frame, truth = (_sized(image, side) for image in (drawn.frame, truth))
        rows, columns = self._cut(
            item, pixels(pose.apply(vertices), side), pose.scale * side / 2.0, side
        )
        inside = drawn.moving[:2].max(axis=0)
        target = align(truth, frame, inside, pose.scale * side / 2.0)
        cells = tuple(slice(part.start // CELL, part.stop // CELL) for part in (rows, columns))
        row = {
            "still": still,
            "frame": _planes(frame[rows, columns]),
            "target": _planes(target[rows, columns]),
            "flow": drawn.flow[cells],
            "moving": drawn.moving[:, *cells],
            "condition": drawn.condition,
        }
        if item.spice is not None:
            row = item.spice(row)
        return {
            **{name: np.ascontiguousarray(value, np.float32) for name, value in row.items()},
            **clip.labels,
        }

    def _portrait(self, clip: RefinedClip, frame: int) -> tuple[PreparedMesh, np.ndarray]:
        """The geometric renderer's source and the network's planes of a frame."""
        name = (clip.labels["key"], frame)
        if name not in self._prepared:
            portrait = Portrait(
                clip.image(frame),
                clip.landmarks[frame],
                clip.coefficients.frames(slice(frame, frame + 1)),
            )
            try:
                mesh = self.mesh.prepare(portrait)
            except (ValueError, IndexError, RuntimeError, np.linalg.LinAlgError) as error:
                raise SampleError("bad_array", f"landmarks: {str(error)[:120]}") from None
            self._prepared[name] = (
                mesh,
                portrait_planes(mesh, self.mesh.model.triangles, STILL_SIDE),
            )
        self._prepared.move_to_end(name)
        if len(self._prepared) > KEPT:
            self._prepared.popitem(last=False)
        return self._prepared[name]

    def _cut(self, item: Drive, points: np.ndarray, unit: float, side: int) -> tuple[slice, slice]:
        """Rows and columns of the work picture; all of it where it is no larger."""
        if item.place < 0:
            length, middle = (
                self.crop + SNAP * round(self.crop / 2 / SNAP),
                points[topology.OVAL].mean(axis=0),
            )
        else:
            length, middle = (
                self.crop,
                points[list(PLACES[item.place])].mean(axis=0) + unit * np.array(item.beside),
            )
        length = min(length, side)
        left, top = (
            int(np.clip(SNAP * round((m - length / 2) / SNAP), 0, side - length)) for m in middle
        )
        return slice(top, top + length), slice(left, left + length)

    def _draws(self, split: str) -> float:
        return max(self._seconds(split), self.samples(split))

    def _bytes(self, split: str) -> float:
        return sum(shard.bytes for index in self.indexes for shard in index.of(VIDEO, split))

    def _reader(self, split: str, workers: int) -> ClipReader:
        plain = super()._reader(split, workers)
        make = partial(RefinedClip.of, labels=Labels(self.speakers, self.unlabelled))
        parts = ("video", "coefficients", "landmarks")
        reader = TwinReader(plain.shards, parts, self.layout, make, plain.keep, self._failures)
        for shards in self.sets:
            light = {shard.name: shard for shard in shards.index.of(LIGHT, split)}
            for shard in shards.index.of(VIDEO, split):
                twin = (
                    light.get(shard.name.replace(f"{VIDEO}-{split}", f"{LIGHT}-{split}"))
                    if shard.set == VIDEO
                    else None
                )
                reader.twins.append(
                    None if twin is None else ShardFile(shards.path(twin), twin, shards)
                )
        return reader


def _striking(clip: RefinedClip, source: int) -> np.ndarray:
    """Chances ``(T,)`` of the clip's frames: half even, half by how much lids, mouth and brows differ from the portrait's."""
    columns = [EXP_NAMES.index(name) for name in STRIKING if name in EXP_NAMES]
    exp = clip.coefficients["exp"][:, columns].astype(np.float64)
    far = np.abs(exp - exp[source]).max(axis=1)
    return (
        0.5 / clip.frames + 0.5 * far / far.sum()
        if far.sum() > 0
        else np.full(clip.frames, 1.0 / clip.frames)
    )


def _sized(image: np.ndarray, side: int) -> np.ndarray:
    if len(image) == side:
        return image
    return cv2.resize(
        image, (side, side), interpolation=cv2.INTER_AREA if len(image) > side else cv2.INTER_CUBIC
    )


def _planes(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1).astype(np.float32) / np.float32(255.0)
