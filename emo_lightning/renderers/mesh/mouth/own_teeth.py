"""The teeth that a portrait itself shows: where they end, and how its picture of them goes on where lips hide the rest."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels, smoothstep
from emo_lightning.renderers.mesh.mouth.mouth_kernel import ARCH, DEEPEST, lights
from emo_lightning.renderers.mesh.mouth.teeth import grid

INSET = 0.013
"""IOD by which the own interior is kept away from the lips, whose edge blurs into it."""
BARE = 0.62
"""Share of the brightest row of an open mouth below which a row is no teeth."""
HIGH, HIGHER, DROPPED = 0.3, 0.34, 0.03
"""Share of the opening below whose top teeth must begin to be the lower ones if the jaw hangs down and if it does not, and IOD
from which it does."""
PAST = 1.1
"""Share of the opening at which upper teeth end that go on behind the lower lip."""
PALE, BRIGHT = 0.58, 0.5
"""Least ratio of the darkest to the brightest channel, and of brightness to the enamel expected, that teeth have."""
FLESH = (0.3, 0.7)
"""Where between the teeth's redness and the lips' flesh begins, and has begun for sure."""
LIPS = (0, 17, 37, 267, 84, 314)
APART = 0.11
"""IOD of a gap between teeth that still belongs to the row."""
DEEPER = 0.8
"""Light on what of the lower teeth lies behind the lip against what stands out of it."""
SURE = 0.2
"""Weight of a row's mean tone against that of the places around."""
SHADED = 0.7
"""How much of the shadow that the upper lip is taken to cast lies on a photograph's teeth; lower ones are kept as lit as they are."""
EVEN = 0.035
"""IOD over which tones along a row are even, contacts between teeth aside."""


def rows(image: np.ndarray, rest: np.ndarray, pose: Pose, jaw: float) -> tuple[float, np.ndarray]:
    """What an open mouth shows from the upper lip (0) to the lower (1): where the jaw's part begins, and the edges ``(2,)`` of
    upper and lower teeth, nan where they do not show."""
    steps = np.linspace(0.0, 1.0, 41)
    upper, lower = rest[topology.LIP_INNER_UPPER[3:8]], rest[topology.LIP_INNER_LOWER[3:8]]
    places = upper + steps[:, None, None] * (lower - upper)
    at = (
        (pixels(pose.apply(places.reshape(-1, 3)), image.shape[0]) - 0.5)
        .astype(np.float32)
        .reshape(*places.shape[:2], 2)
    )
    tone = cv2.remap(
        image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float64)
    tone = np.median(tone[..., 1], axis=1)  # green: lips and tongue are dark in it
    bright = tone > BARE * tone[6:35].max()
    if bright[6:35].all() or tone[6:35].min() > 0.75 * tone[6:35].max():
        return 1.0, np.array([PAST, np.nan])
    first = 4 + int(np.argmax(bright[4:]))
    if steps[first] > (HIGH if jaw > DROPPED else HIGHER):
        return 0.0, np.array([-0.05, steps[first]])
    ends = first + int(np.argmin(bright[first:])) if not bright[first:].all() else len(steps) - 1
    again = ends + int(np.argmax(bright[ends:])) if bright[ends:36].any() else 0
    if again and jaw > DROPPED:
        return float(steps[(ends + again) // 2]), np.array([steps[ends], steps[again]])
    return 1.0, np.array([steps[ends] if steps[ends] < 0.85 else PAST, np.nan])


def shown(
    size: int, rest: np.ndarray, pose: Pose, start: float, end: float, blur: float
) -> np.ndarray | None:
    """Where the portrait shows the part of its mouth between two shares of the opening, ``(S, S)`` uint8, off the lips, by the
    more the more the photograph is blurred."""
    if end - start < 0.1:
        return None
    upper, lower = rest[topology.LIP_INNER_UPPER], rest[topology.LIP_INNER_LOWER]
    parts = [upper + share * (lower - upper) for share in (start, end)]
    part = _filled(np.concatenate([parts[0], parts[1][-2:0:-1]]), pose, size)
    inset = _filled(np.concatenate([upper, lower[-2:0:-1]]), pose, size)
    inset = cv2.erode(
        inset,
        np.ones((3, 3), np.uint8),
        iterations=max(1, round((INSET + 0.8 * blur) * pose.scale * size / 2)),
    )
    return cv2.GaussianBlur(np.minimum(part, inset), (0, 0), max(0.5, size / 400))


def tone(
    image: np.ndarray, where: list[np.ndarray | None], enamel: np.ndarray
) -> np.ndarray | None:
    """RGB ``(3,)`` of the brightest teeth shown; none if what shows does not look like teeth in this light."""
    cover = (
        np.max([w for w in where if w is not None], axis=0, initial=0)
        if any(w is not None for w in where)
        else None
    )
    if cover is None or (cover > 200).sum() < 12:
        return None
    inside = image[cover > 200].astype(np.float64)
    value = inside.mean(axis=1)
    best = inside[value >= np.percentile(value, 75)].mean(axis=0)
    return best if best.mean() > BRIGHT * enamel.mean() and best.min() > PALE * best.max() else None


def throat(image: np.ndarray, rest: np.ndarray, pose: Pose) -> np.ndarray:
    """RGB ``(3,)`` of the darkest part of an open mouth."""
    where = shown(image.shape[0], rest, pose, 0.0, 1.0, 0.0)
    inside = image[where > 128] if where is not None and (where > 128).any() else image[:1, 0]
    value = inside.mean(axis=1)
    return inside[value <= np.percentile(value, 30)].mean(axis=0)


def lay(
    drawn: np.ndarray, per: float, image: np.ndarray, where: np.ndarray, rest: np.ndarray, pose: Pose,
    centre: np.ndarray, scale: float, edge: float, upper: bool, tone: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """A drawn row with the portrait's own picture in its place; where lips hid them, own teeth go on in their own tones.

    Args:
        drawn: ``(H, W, 5)`` from :func:`emo_lightning.renderers.mesh.mouth.teeth.draw`, at ``per`` pixels per IOD.
        image, where: the portrait and :func:`shown`.
        rest, pose: of the portrait.
        centre, scale: of the mouth; ``edge``: height of the row's edge in model space.
        upper: which row.
        tone: ``(3,)`` RGB of its brightest teeth.
    """
    x, y = (np.broadcast_to(v * scale, drawn.shape[:2]) for v in grid(per))
    down = edge + (y if upper else -y)
    places = np.stack([centre[0] + x, down, centre[2] + np.minimum(ARCH * x**2, DEEPEST)], axis=2)
    at = (
        (pixels(pose.apply(places.reshape(-1, 3)), image.shape[0]) - 0.5)
        .astype(np.float32)
        .reshape(*drawn.shape[:2], 2)
    )
    own = cv2.remap(
        image, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    seen = cv2.remap(where, at[..., 0], at[..., 1], cv2.INTER_LINEAR).astype(np.float32) / 255.0
    lips = [
        np.interp(places[..., 0], rest[r, 0], rest[r, 1])
        for r in (topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)
    ]
    ends = [rest[topology.LIP_INNER_UPPER[i], 0] for i in (0, -1)]
    away = np.maximum(np.minimum(places[..., 0] - ends[0], ends[1] - places[..., 0]), 0.0)
    seen = seen * _no_flesh(
        own, rest, pose, image, tone, np.broadcast_to(y, seen.shape), per, upper
    )
    if upper:
        own /= lights(down - lips[0], lips[1] - down, away)[..., None] ** SHADED
    value = own.mean(axis=2)
    if (seen > 0.5).sum() < 12:
        return drawn[..., :4]
    value /= np.percentile(value[seen > 0.5], 85)
    white = (smoothstep(0.42, 0.65, value) * seen).astype(np.float32)
    # From the lip down to the first of the teeth there is nothing but its shadow.
    side = 2 * round(0.5 * APART * per) + 1
    whole = cv2.morphologyEx(white, cv2.MORPH_CLOSE, np.ones((1, side), np.uint8))
    seen = seen * smoothstep(0.6, 1.0, np.maximum.accumulate(whole, axis=0))
    beyond = _continued(
        drawn, own, smoothstep(0.55, 0.85, value) * seen, seen, per, 1.0 if upper else DEEPER
    )
    # The dark between the rows is no part of either.
    near = smoothstep(-0.035, -0.015, y)
    cover = drawn[..., 3] * (1.0 - seen) + seen * (1.0 - near + near * smoothstep(0.3, 0.55, value))
    colour = beyond + seen[..., None] * (own - beyond)
    return np.concatenate([colour * cover[..., None], cover[..., None]], axis=2).astype(np.float32)


def _no_flesh(
    own: np.ndarray,
    rest: np.ndarray,
    pose: Pose,
    image: np.ndarray,
    tone: np.ndarray,
    y: np.ndarray,
    per: float,
    upper: bool,
) -> np.ndarray:
    """Share ``(H, W)`` float32 of what shows that is not a lip; what lies beyond lower teeth may be tongue."""
    at = np.clip(
        pixels(pose.apply(rest[list(LIPS)]), image.shape[0]).astype(int), 0, image.shape[0] - 1
    )
    lip = np.median(image[at[:, 1], at[:, 0]], axis=0)
    redness = [float(c[0]) / max(float(c[1]), 1.0) for c in (tone, lip)]
    place = (own[..., 0] / np.maximum(own[..., 1], 1.0) - redness[0]) / max(
        redness[1] - redness[0], 0.1
    )
    keep = np.maximum(
        smoothstep(FLESH[1], FLESH[0], place), smoothstep(0.6, 0.45, own.mean(axis=2) / tone.mean())
    )
    keep = keep * smoothstep(0.03, 0.01, y) if upper else np.maximum(keep, smoothstep(0.0, 0.02, y))
    keep = cv2.erode(keep.astype(np.float32), np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(keep, (0, 0), max(0.6, 0.004 * per))


def _continued(
    drawn: np.ndarray,
    own: np.ndarray,
    white: np.ndarray,
    seen: np.ndarray,
    per: float,
    light: float,
) -> np.ndarray:
    """The drawn row in the own one's tones, column by column ``(H, W, 3)``: its own contacts and gaps, not drawn ones, go on."""
    plain = cv2.GaussianBlur(drawn[..., :5], (0, 0), sigmaX=0.02 * per, sigmaY=0.004 * per)
    gums = plain[..., 4:] / np.maximum(plain[..., 3:4], 1e-3)
    flat = plain[..., :3] / np.maximum(plain[..., 3:4], 1e-3)
    white = white * (1.0 - gums[..., 0])
    columns, model = ((white[..., None] * v).sum(axis=0) for v in (own, flat))
    wide = [gaussian_filter1d(v, EVEN * per, axis=0) for v in (columns, model)]
    ratio = np.clip(
        (wide[0] + SURE * columns.mean(axis=0))
        / np.maximum(wide[1] + SURE * model.mean(axis=0), 1e-3),
        0.3,
        3.0,
    )
    sure = seen.max(axis=0)
    best = (own.mean(axis=2) * seen).max(axis=0)
    even = gaussian_filter1d(best, EVEN * per) / np.maximum(
        gaussian_filter1d(sure, EVEN * per), 1e-3
    )
    fine = np.clip(best / np.maximum(even * sure, 1.0), 0.25, 1.05)
    enamel = light * flat * ratio * (1.0 + smoothstep(0.5, 0.9, sure) * (fine - 1.0))[:, None]
    return enamel + gums * (flat - enamel)


def _filled(outline: np.ndarray, pose: Pose, size: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    fixed = np.round((pixels(pose.apply(outline), size) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
    return mask
