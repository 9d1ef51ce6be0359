"""Shard sets as a LightningDataModule for the refined renderer.

A few frames of each clip serve as portraits; the geometric renderer is prepared for each once.
Every item animates one of them to another frame of the clip, and crops a part around mouth, eyes or
cheeks, of the rendered frame as the input and of the true one as the target.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from datamodules.loading.datamodule import Shards
from datamodules.loading.image_augmentation import ImageAugmentation
from datamodules.loading.sampler import ClipReader, ShardFile
from datamodules.loading.windows import Labels, planes, resized
from datamodules.shards.index import LIGHT, VIDEO
from datamodules.shards.reader import Members, read_samples
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
"""Share of training crops around the middle of each: mouth, eyes, cheeks, chin, forehead."""
JITTER = 0.2
"""Standard deviation in IOD of a crop's distance from there."""
SALIENT = ("AU45_L", "AU45_R", "AU26", "AU25", "AU27", "AU12_L", "AU12_R", "AU4", "AU9")
"""Units that change a face most: frames that differ in them are sampled more often."""
VALIDATION_FRAMES = 12
"""Frames of a clip in validation, at most."""
LANDMARKS = "landmarks.npy"
MAX_PREPARED = 400
"""Prepared portraits that are held in memory."""
STILL_SIDE = 256
"""Side of the work picture of a portrait's own planes."""
FLOW_SIGMA, MAX_FLOW = 0.12, 0.06
"""IOD over which the alignment flow is smoothed, and its greatest length."""
INNER_WEIGHT = 0.02
"""Weight of the flow inside mouth and eyes, where content appears and vanishes."""


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
        """From a sample; frames are decoded when an item needs them."""
        assert sample.video is not None and sample.landmarks is not None
        assert sample.coefficients is not None
        parts = (sample.video, sample.coefficients, sample.landmarks)
        return RefinedClip(sample.meta.frames, labels(sample), *parts)

    def image(self, frame: int) -> np.ndarray:
        """A frame ``(S, S, 3)`` uint8; SampleError ``bad_video`` when it cannot be decoded."""
        try:
            return decode_mp4_bytes(self.video, [frame])[0]
        except ValueError as error:
            raise SampleError("bad_video", str(error)) from None

    def frame_probabilities(self, source: int) -> np.ndarray:
        """``(T,)``: half uniform, half by how much lids, mouth and brows differ from ``source``."""
        columns = [EXP_NAMES.index(name) for name in SALIENT if name in EXP_NAMES]
        exp = self.coefficients["exp"][:, columns].astype(np.float64)
        difference = np.abs(exp - exp[source]).max(axis=1)
        if difference.sum() == 0:
            return np.full(self.frames, 1.0 / self.frames)
        return 0.5 / self.frames + 0.5 * difference / difference.sum()


@dataclass
class TwinReader(ClipReader):
    """Reads video shards whose landmarks are in their light twins.

    Args:
        twins: one for each shard, None where it needs none.
    """

    twins: list[ShardFile | None] = field(default_factory=list)

    def samples(self, shard: int) -> Iterator[tuple[str, Members | SampleError]]:
        """As of :class:`ClipReader`, the twin's landmarks added."""
        twin, found = self.twins[shard], {}
        if twin is not None:
            with twin.open() as stream:
                pairs = list(read_samples(stream, {LANDMARKS}))
            found = {key: members for key, members in pairs if isinstance(members, dict)}
        for key, members in super().samples(shard):
            yield key, members if isinstance(members, SampleError) else found.pop(key, {}) | members


@dataclass(frozen=True)
class RefinerItem:
    """A portrait frame and the frame to animate it to, with the crop.

    Attributes:
        place: of the crop, among PLACES; -1 for validation's, around the face.
        offset: of the crop from there, in IOD.
        augmentation: of the pictures; none in validation.
    """

    clip: RefinedClip
    source: int
    driving: int
    place: int = -1
    offset: tuple[float, float] = (0.0, 0.0)
    augmentation: ImageAugmentation | None = None


class RefinedShards(Shards):
    """Frames of the geometric renderer beside the true frames; options as of :class:`Shards`.

    A batch: ``still (B, 6, 128, 128)`` of cells, ``frame`` and ``target`` ``(B, 3, H, H)`` uint8
    (float32 in [0, 1] in a training step) with H the ``crop``, ``flow (B, H / 2, H / 2, 2)``,
    ``moving (B, 6, H / 2, H / 2)``, ``condition (B, n)``, as in
    :mod:`emo_lightning.renderers.refined.conditioning`; ``target`` follows the rendered frame's
    geometry, see :func:`aligned`. The labels are those of
    :class:`datamodules.loading.datamodule.AudioShards`.

    Args:
        crop: side in pixels of the work picture, a multiple of 8; validation takes half as much
            again, around the face. A work picture smaller than that is enlarged to it.
        sources: frames of a clip that serve as portraits.
    """

    kind, parts, default_workers = VIDEO, ("video", "coefficients", "landmarks"), 8

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

    def training_items(
        self, clip: RefinedClip, generator: np.random.Generator
    ) -> list[RefinerItem]:
        """One for each second of the clip, at least one."""
        portraits = self.portraits(clip)
        items = []
        for _ in range(max(1, clip.frames // FPS)):
            source = int(generator.choice(portraits))
            driving = int(generator.choice(clip.frames, p=clip.frame_probabilities(source)))
            place = int(generator.choice(len(PLACES), p=SHARES))
            x, y = (float(value) for value in generator.normal(0.0, JITTER, 2))
            augmentation = ImageAugmentation.random(generator)
            items.append(RefinerItem(clip, source, driving, place, (x, y), augmentation))
        return items

    def validation_items(self, clip: RefinedClip) -> list[RefinerItem]:
        """The first portrait, to frames spread over the clip and to those that differ most."""
        source, half = self.portraits(clip)[0], VALIDATION_FRAMES // 2
        spread = np.linspace(0, clip.frames - 1, half).astype(int).tolist()
        order = np.argsort(-clip.frame_probabilities(source), kind="stable")
        far = order[:: max(1, clip.frames // (5 * VALIDATION_FRAMES))][:half].tolist()
        frames = sorted({*spread, *far} - {source} or {source})
        return [RefinerItem(clip, source, frame) for frame in frames]

    def portraits(self, clip: RefinedClip) -> list[int]:
        """The frames of a clip that serve as portraits, always the same."""
        generator = np.random.default_rng([self.seed, zlib.crc32(clip.labels["key"].encode())])
        count = min(self.sources, clip.frames)
        return sorted(generator.choice(clip.frames, count, replace=False).tolist())

    def row(self, item: RefinerItem) -> dict[str, Any]:
        """The animated, aligned and cropped pictures.

        Raises:
            SampleError: ``bad_video``; ``bad_array`` when the geometric renderer cannot use the
                portrait.
        """
        clip, frame, augmentation = item.clip, item.driving, item.augmentation
        mesh, still = self._prepare(clip, item.source)
        truth = clip.image(frame)
        exp, pose = clip.coefficients["exp"][frame], Pose.of(clip.coefficients, frame)
        length = self.crop if item.place >= 0 else self.crop + SNAP * round(self.crop / 2 / SNAP)
        side = work_side(len(truth), mesh.pose.scale)
        if augmentation is not None:
            side = SNAP * round(side * augmentation.zoom / SNAP)
        # All crops of a batch have one size, so a small frame is enlarged.
        side = max(side, length)
        unit = pose.scale * side / 2.0
        vertices = mesh.retarget.vertices(exp, clip.coefficients["id"][frame])
        inputs = frame_inputs(mesh, side, vertices, pose, exp, whole=True)
        rendered, truth = resized(inputs.frame, side), resized(truth, side)
        rows, columns = _crop(item, pixels(pose.apply(vertices), side), unit, side, length)
        target = aligned(truth, rendered, inputs.moving[:2].max(axis=0), unit)
        cells = tuple(slice(part.start // CELL, part.stop // CELL) for part in (rows, columns))
        row = {
            "still": still,
            "frame": planes(rendered[rows, columns]),
            "target": planes(target[rows, columns]),
            "flow": inputs.flow[cells],
            "moving": inputs.moving[:, *cells],
            "condition": inputs.condition,
        }
        row = row if augmentation is None else augmentation(row)
        pictures = {name: row.pop(name) for name in ("frame", "target")}
        row = {name: np.ascontiguousarray(value, np.float32) for name, value in row.items()}
        return row | pictures | clip.labels

    def clip(self, sample: Sample) -> RefinedClip:
        """The clip with its mp4."""
        return RefinedClip.of(sample, self.labels)

    def reader(self, split: str, keep: bool) -> ClipReader:
        files = self.files(split)
        light = {(f.source.name, f.info.name): f for f in self.files(split, LIGHT)}
        twins = [light.get((file.source.name, file.info.twin or "")) for file in files]
        options = (files, self.parts, self.layout, self.clip, keep, self._failures)
        return TwinReader(*options, twins=twins)

    def _prepare(self, clip: RefinedClip, frame: int) -> tuple[PreparedMesh, np.ndarray]:
        """The geometric renderer's source and the network's planes of a portrait frame."""
        name = (clip.labels["key"], frame)
        if name not in self._prepared:
            coefficients = clip.coefficients.frames(slice(frame, frame + 1))
            portrait = Portrait(clip.image(frame), clip.landmarks[frame], coefficients)
            try:
                mesh = self.mesh.prepare(portrait)
            except (ValueError, IndexError, RuntimeError, np.linalg.LinAlgError) as error:
                raise SampleError("bad_array", f"landmarks: {str(error)[:120]}") from None
            still = portrait_planes(mesh, self.mesh.model.triangles, STILL_SIDE)
            self._prepared[name] = mesh, still
        self._prepared.move_to_end(name)
        if len(self._prepared) > MAX_PREPARED:
            self._prepared.popitem(last=False)
        return self._prepared[name]


def _crop(
    item: RefinerItem, points: np.ndarray, unit: float, side: int, length: int
) -> tuple[slice, slice]:
    """Rows and columns of the work picture, ``length`` each and inside it."""
    if item.place < 0:
        middle = points[topology.OVAL].mean(axis=0)
    else:
        middle = points[list(PLACES[item.place])].mean(axis=0) + unit * np.array(item.offset)
    first = SNAP * np.round((middle - length / 2) / SNAP)
    left, top = np.clip(first, 0, side - length).astype(int).tolist()
    return slice(top, top + length), slice(left, left + length)


def aligned(truth: np.ndarray, rendered: np.ndarray, inside: np.ndarray, unit: float) -> np.ndarray:
    """The true frame, moved onto the rendered one by the little that they are apart.

    A network trained on pictures a pixel apart learns to blur. The flow between the two (DIS;
    Kroeger et al., ECCV 2016) is smoothed over half an eye's width, so that what differs in content
    (teeth, lids, wrinkles) stays.

    Args:
        truth, rendered: ``(S, S, 3)`` uint8 RGB.
        inside: ``(h, h)`` in 0..1, inside of mouth and eyes of the rendered one.
        unit: pixels per IOD.
    """
    side = len(truth)
    small, area = (side // 2, side // 2), cv2.INTER_AREA
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (rendered, truth)]
    halves = [cv2.resize(image, small, interpolation=area) for image in grey]
    flow = _dis_flow().calc(halves[0], halves[1], None)
    closed = 1.0 - cv2.blur(cv2.resize(inside, small, interpolation=area), (3, 3))
    weight, sigma = INNER_WEIGHT + (1.0 - INNER_WEIGHT) * closed, FLOW_SIGMA * unit / 2.0
    blurred = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    smooth = 2.0 * cv2.GaussianBlur(flow * weight[..., None], (0, 0), sigma) / blurred
    length = np.linalg.norm(smooth, axis=2, keepdims=True)
    smooth *= np.minimum(1.0, MAX_FLOW * unit / np.maximum(length, 1e-6))
    smooth = cv2.resize(smooth, (side, side), interpolation=cv2.INTER_LINEAR)
    row, column = np.mgrid[:side, :side].astype(np.float32)
    x, y = column + smooth[..., 0], row + smooth[..., 1]
    return cv2.remap(truth, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=1)
def _dis_flow() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
