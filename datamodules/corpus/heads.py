"""Painted heads: stylised people on the built-in face model, with exact coefficients.

The face is shaded from the model's surface, so nose, cheeks and sockets are where its vertices are;
eyes, brows and lips follow their contours; hair, ears, neck and shoulders are painted around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay, cKDTree

from datamodules.corpus import paint
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.face.crop import MARGIN, RISE
from emo_lightning.face.portrait import Portrait
from emo_lightning.face.regions import (
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    LIP_INNER,
    LIP_OUTER,
)
from emo_lightning.face.texture import read_texture

SKINS = (
    (242, 205, 180), (230, 185, 155), (214, 164, 130), (184, 128, 94), (146, 98, 70), (108, 72, 52),
)  # fmt: skip
HAIRS = ((26, 22, 22), (52, 36, 28), (88, 58, 38), (128, 74, 44), (186, 146, 92), (140, 136, 132))
IRISES = ((70, 44, 26), (96, 64, 36), (104, 96, 56), (70, 108, 140), (84, 116, 88), (104, 116, 124))
CLOTHES = (
    (52, 70, 98),
    (110, 44, 48),
    (64, 92, 72),
    (60, 58, 62),
    (150, 140, 128),
    (96, 72, 110),
    (170, 120, 60),
)
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
IRIS_RADIUS = 0.062
"""In outer eye-corner distances: 11.7 mm across where the corners are 92 mm apart."""
MIN_CANVAS = 512


@dataclass(frozen=True)
class HeadAppearance:
    """Identity ``(40,)``, colours (RGB 0..1), hair style, stubble 0..1, head pose and light."""

    identity: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    clothes: np.ndarray
    backdrop: np.ndarray
    hair_length: float
    hairline: float
    stubble: float
    lip_colour: float
    brow_weight: float
    angle: np.ndarray
    light: np.ndarray

    @staticmethod
    def sample(rng: np.random.Generator, masculine: float) -> HeadAppearance:
        """A random person; ``masculine`` 0..1 affects hair, brows, lips and stubble."""
        tone = int(rng.integers(len(SKINS)))
        hair = int(rng.integers(len(HAIRS))) if tone < 3 else int(rng.integers(2))
        light = np.array(
            [rng.choice([-1.0, 1.0]) * rng.uniform(0.25, 0.6), -rng.uniform(0.35, 0.6), -1.0]
        )
        return HeadAppearance(
            identity=sample_identity(rng),
            skin=_colour(rng, SKINS[tone], 0.03),
            hair=_colour(rng, HAIRS[hair], 0.02),
            iris=_colour(
                rng,
                IRISES[int(rng.integers(len(IRISES)))]
                if tone < 3
                else IRISES[int(rng.integers(2))],
                0.02,
            ),
            clothes=_colour(rng, CLOTHES[int(rng.integers(len(CLOTHES)))], 0.05),
            backdrop=np.clip(rng.uniform(0.3, 0.75) + rng.normal(0.0, 0.06, 3), 0.1, 0.9).astype(
                np.float32
            ),
            hair_length=float(rng.uniform(0.0, 0.3) if masculine > 0.5 else rng.uniform(0.5, 1.0)),
            hairline=float(rng.uniform(0.0, 1.0)),
            stubble=float(rng.uniform(0.0, 0.8) * (masculine > 0.5)),
            lip_colour=float(rng.uniform(0.1, 0.4) if masculine > 0.5 else rng.uniform(0.4, 0.9)),
            brow_weight=float(rng.uniform(0.9, 1.3) if masculine > 0.5 else rng.uniform(0.55, 0.9)),
            angle=np.radians(rng.normal(0.0, (1.5, 2.5, 1.5))).astype(np.float32),
            light=(light / np.linalg.norm(light)).astype(np.float32),
        )


def sample_identity(rng: np.random.Generator) -> np.ndarray:
    """Identity coefficients ``(40,)`` of a nearly symmetric face, with open eyes and closed lips.

    Independent samples of unit variance are more asymmetric than people: three quarters of the
    asymmetry is removed by a ridge fit to the mirrored shape, the directions that part the lips
    stay at zero, and samples with unequal eyes are rejected.
    """
    model, mirrored = BuiltinFaceModel.load(), _mirror()
    basis = model.id_basis.reshape(len(model.id_basis), -1).T.astype(np.float64)
    solver = np.linalg.solve(
        basis.T @ basis + 1e-4 * np.trace(basis.T @ basis) / 40 * np.eye(40), basis.T
    )
    closed = np.abs(model.id_basis[:, 14, 1] - model.id_basis[:, 13, 1]) < 0.005
    for _ in range(200):
        drawn = np.clip(rng.normal(0.0, 0.9, 40), -2.0, 2.0)
        shape = (basis @ drawn).reshape(-1, 3)
        level = 0.625 * shape + 0.375 * shape[mirrored] * np.array([-1.0, 1.0, 1.0])
        identity = (np.clip(solver @ level.ravel(), -2.0, 2.0) * closed).astype(np.float32)
        face = model.mean + np.tensordot(identity, model.id_basis, 1)
        eyes = [face[145, 1] - face[159, 1], face[374, 1] - face[386, 1]]
        if min(eyes) > 0.085 and max(eyes) < 0.14 and abs(eyes[0] - eyes[1]) < 0.012:
            return identity
    return np.zeros(40, np.float32)


@lru_cache(maxsize=1)
def _mirror() -> np.ndarray:
    """For every vertex, the one on the other side of the face."""
    mean = BuiltinFaceModel.load().mean
    return cKDTree(mean).query(mean * np.array([-1.0, 1.0, 1.0]))[1]


def paint_head(appearance: HeadAppearance, size: int, seed: int = 0) -> Portrait:
    """Paint a person with a neutral face.

    Args:
        size: side of the square in pixels.
        seed: of skin texture and hair strands.

    Returns:
        A portrait with exact coefficients (TEX is read from the picture) and the model's points.
    """
    model = BuiltinFaceModel.load()
    coefficients = _placed(model, appearance)
    points = with_irises(model.project(coefficients))[0]
    canvas = max(MIN_CANVAS, 2 * size)
    picture = _Painter(appearance, points, canvas, np.random.default_rng([seed, 77])).paint()
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    image = np.clip(np.rint(small * 255.0), 0, 255).astype(np.uint8)
    return Portrait(image, points, coefficients.replace(tex=read_texture(image, points)))


def with_irises(mesh: np.ndarray) -> np.ndarray:
    """Append MediaPipe's ten iris points (centre, right, top, left, bottom) to ``(T, 468, 3)``."""
    parts = [mesh]
    radius = IRIS_RADIUS * np.linalg.norm(mesh[:, 263] - mesh[:, 33], axis=1)[:, None]
    for outer, inner in ((33, 133), (263, 362)):
        centre = (mesh[:, outer] + mesh[:, inner]) / 2.0
        offsets = [(0.0, 0.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0), (0.0, 1.0)]
        ring = [
            centre + np.concatenate([radius * x, radius * y, 0.0 * radius], axis=1)
            for x, y in offsets
        ]
        parts.append(np.stack(ring, axis=1))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _colour(rng: np.random.Generator, rgb: tuple[int, int, int], spread: float) -> np.ndarray:
    return np.clip(
        np.array(rgb) / 255.0 * np.exp(rng.normal(0.0, spread)) + rng.normal(0.0, spread / 3, 3),
        0.02,
        0.98,
    ).astype(np.float32)


def _placed(model: BuiltinFaceModel, appearance: HeadAppearance) -> Coefficients:
    """Scale and place the head so that the square is its crop."""
    zeros = {block: np.zeros((1, BUILTIN.width(block)), np.float32) for block in BUILTIN.blocks}
    coefficients = Coefficients(BUILTIN, zeros).replace(
        id=appearance.identity, angle=appearance.angle
    )
    flat = model.project(coefficients)[0, :, :2]
    low, high = flat.min(0), flat.max(0)
    scale = 2.0 / (MARGIN * float((high - low).max()))
    centre = (low + high) / 2.0 - np.array([0.0, RISE * float((high - low).max())])
    return coefficients.replace(trans=np.array([*(-scale * centre), np.log(scale)], np.float32))


@lru_cache(maxsize=1)
def _symmetric_regions() -> dict[str, tuple[np.ndarray, float]]:
    """Centres in the mean face's plane (IOD) and radii of soft skin regions."""
    mean = BuiltinFaceModel.load().mean
    places = {
        "cheek_r": (50, 0.24),
        "cheek_l": (280, 0.24),
        "nose": (4, 0.14),
        "chin": (152, 0.30),
        "lip": (164, 0.16),
        "socket_r": (159, 0.17),
        "socket_l": (386, 0.17),
        "jaw_r": (172, 0.30),
        "jaw_l": (397, 0.30),
        "under": (18, 0.10),
    }
    return {name: (mean[vertex, :2], radius) for name, (vertex, radius) in places.items()}


class _Painter:
    """Paints one head from back to front; ``unit`` is the eye distance (IOD) in pixels."""

    def __init__(
        self, appearance: HeadAppearance, points: np.ndarray, canvas: int, rng: np.random.Generator
    ) -> None:
        self.appearance, self.rng, self.canvas = appearance, rng, canvas
        self.xy = (points[:, :2].astype(np.float64) + 1.0) * canvas / 2.0
        self.depth = points[:, 2].astype(np.float64) * canvas / 2.0
        self.shape = (canvas, canvas)
        self.unit = float(np.linalg.norm(self.xy[263] - self.xy[33]))
        self.picture = np.zeros((canvas, canvas, 3), np.float32)
        self.up = _unit(self.xy[10] - self.xy[152])
        self.side = np.array([-self.up[1], self.up[0]])

    def paint(self) -> np.ndarray:
        """The finished picture, ``(canvas, canvas, 3)`` in 0..1."""
        self._backdrop()
        self._hair_behind()
        self._neck()
        self._ears()
        self._skin()
        self._lips()
        self._nose()
        for contours, centre in ((EYE_RIGHT, 468), (EYE_LEFT, 473)):
            self._eye(contours, self.xy[centre])
        for rows in (BROW_RIGHT, BROW_LEFT):
            self._brow(rows)
        self._hair_in_front()
        grain = self.rng.standard_normal((*self.shape, 1)).astype(np.float32) * 0.012
        return np.clip(cv2.GaussianBlur(self.picture, (0, 0), 0.8) + grain, 0.0, 1.0)

    def _at(self, right: float, up: float, origin: int = 168) -> np.ndarray:
        """A place relative to a vertex along the head's own axes, in units."""
        return self.xy[origin] + self.unit * (right * self.side + up * self.up)

    def _spot(
        self, centre: np.ndarray, right: float, up: float, soft: float, degrees: float = 0.0
    ) -> np.ndarray:
        """A soft ellipse; half axes and softness in units."""
        return paint.ellipse(
            self.shape, centre, (right * self.unit, up * self.unit), soft * self.unit, degrees
        )

    def _backdrop(self) -> None:
        rows, columns = np.mgrid[0 : self.canvas, 0 : self.canvas].astype(np.float32) / self.canvas
        shade = 1.1 - 0.35 * rows + 0.12 * self.appearance.light[0] * (0.5 - columns)
        self.picture[:] = self.appearance.backdrop * shade[..., None]
        self.picture += 0.012 * paint.noise(self.rng, self.shape, self.canvas / 6)[..., None]

    def _outline(self, grow: float, top: float) -> np.ndarray:
        """The skull: an oval through the jaw and above the hairline."""
        face = self.xy[list(OVAL)]
        centre = (self.xy[234] + self.xy[454]) / 2.0
        along, across = (face - centre) @ self.up, (face - centre) @ self.side
        lift = np.where(along > 0, top * along, along)
        height = np.clip(lift / max(float(lift.max()), 1e-9), 0.0, 1.0)
        # The oval's upper end is flat as a forehead is; a skull is round.
        lift = np.where(
            along > 0,
            lift * (1.0 - 0.16 * (np.abs(across) / np.abs(across).max()) ** 2 * height),
            lift,
        )
        across = across * (1.0 - 0.12 * height**4)
        return (
            centre
            + np.outer(across * grow, self.side)
            + np.outer(lift * (1.0 + (grow - 1.0) * 0.5), self.up)
        )

    def _hair_behind(self) -> None:
        appearance = self.appearance
        mask = paint.polygon(self.shape, self._outline(1.17, 1.42), 0.03 * self.unit)
        if appearance.hair_length > 0.4:
            drop = 0.5 + 0.9 * appearance.hair_length
            bottom, width = self._at(0.0, -drop - 0.6), 0.86 + 0.1 * appearance.hair_length
            shape = [
                self._at(-width * 0.94, 0.45),
                self._at(-width * 1.02, -0.3),
                bottom - width * 1.02 * self.unit * self.side,
            ]
            shape += [
                bottom + width * 1.02 * self.unit * self.side,
                self._at(width * 1.02, -0.3),
                self._at(width * 0.94, 0.45),
            ]
            mask = np.maximum(
                mask,
                paint.polygon(
                    self.shape, paint.smooth(np.array([*shape, shape[0]])), 0.04 * self.unit
                ),
            )
        self._strands(mask, appearance.hair * 0.62)

    def _strands(self, mask: np.ndarray, colour: np.ndarray) -> None:
        """Hair: its colour with a streaky, mostly vertical texture and a soft sheen."""
        streaks = cv2.GaussianBlur(
            paint.noise(self.rng, self.shape, self.unit * 0.02),
            (0, 0),
            sigmaX=0.6,
            sigmaY=0.12 * self.unit,
        )
        rows = np.mgrid[0 : self.canvas, 0 : self.canvas][0]
        sheen = np.exp(-(((rows - self._at(0, 0.75)[1]) / (0.22 * self.unit)) ** 2))
        value = 1.0 + 0.55 * streaks / max(float(streaks.std()), 1e-6) * 0.25 + 0.35 * sheen
        paint.cover(self.picture, mask, colour * value[..., None])

    def _neck(self) -> None:
        appearance = self.appearance
        width, chin = (
            (0.50 if appearance.stubble > 0 or appearance.hair_length < 0.4 else 0.43),
            self.xy[152],
        )
        low = chin[1] + 0.40 * self.unit
        wide = 1.35 * width * self.unit
        neck = np.array(
            [
                self._at(-width, 0.35, 152),
                self._at(-width * 0.92, -0.25, 152),
                [chin[0] - wide, low + 0.5 * self.unit],
                [chin[0] + wide, low + 0.5 * self.unit],
                self._at(width * 0.92, -0.25, 152),
                self._at(width, 0.35, 152),
            ]
        )
        paint.cover(
            self.picture,
            paint.polygon(self.shape, paint.smooth(neck), 0.02 * self.unit),
            appearance.skin * 0.82,
        )
        shade = self._spot(self._at(0.0, 0.02, 152), 0.55, 0.26, 0.09)
        cloth = self._spot(np.array([chin[0], low + 1.02 * self.unit]), 1.75, 0.98, 0.02)
        collar = self._spot(np.array([chin[0], low - 0.02 * self.unit]), 1.12 * width, 0.27, 0.015)
        folds = 1.0 + 0.06 * paint.noise(self.rng, self.shape, 0.35 * self.unit)[..., None]
        paint.darken(self.picture, shade, 0.42)
        paint.cover(self.picture, cloth * (1.0 - collar), appearance.clothes * folds)

    def _ears(self) -> None:
        if self.appearance.hair_length > 0.65:
            return
        for vertex, sign in ((234, -1.0), (454, 1.0)):
            centre = self._at(sign * 0.02, 0.0, vertex)
            tilt = np.degrees(np.arctan2(self.side[1], self.side[0])) + sign * 8.0
            paint.cover(
                self.picture,
                self._spot(centre, 0.10, 0.21, 0.012, tilt),
                self.appearance.skin * 0.86,
            )
            inner = self._spot(
                centre + sign * 0.02 * self.unit * self.side, 0.045, 0.12, 0.03, tilt
            )
            paint.darken(self.picture, inner, 0.35)

    def _skin(self) -> None:
        """The face, shaded by the model's surface normals, and the cranium above it."""
        appearance = self.appearance
        light = self._lighting()
        albedo = np.broadcast_to(appearance.skin, self.picture.shape).copy()
        regions = {
            name: self._blob(place, radius)
            for name, (place, radius) in _symmetric_regions().items()
        }
        flush = 0.10 * (regions["cheek_r"] + regions["cheek_l"]) + 0.12 * regions["nose"]
        albedo *= 1.0 + flush[..., None] * np.array([0.6, -0.8, -0.7], np.float32)
        beard = (
            np.clip(regions["chin"] + regions["jaw_r"] + regions["jaw_l"] + regions["lip"], 0, 1)
            * appearance.stubble
        )
        dots = 1.0 + 0.25 * paint.noise(self.rng, self.shape, 2.0)
        albedo = (
            albedo * (1.0 - 0.42 * (beard * dots)[..., None])
            + 0.30 * (beard * dots)[..., None] * appearance.hair
        )
        albedo *= 1.0 + 0.022 * paint.noise(self.rng, self.shape, 0.07 * self.unit)[..., None]
        shaded = albedo * light[..., None]
        socket = np.clip(regions["socket_r"] + regions["socket_l"], 0, 1)
        paint.darken(shaded, socket, 0.16)
        paint.darken(shaded, regions["under"], 0.12)
        skull = paint.polygon(self.shape, self._outline(1.01, 1.18), 0.012 * self.unit)
        paint.cover(self.picture, skull, np.clip(shaded, 0.0, 1.0))

    def _lighting(self) -> np.ndarray:
        """Brightness of every pixel: wrapped diffuse light, a weak highlight, edges falling off."""
        mesh, model = self.xy[:468], BuiltinFaceModel.load()
        solid = np.column_stack([mesh, self.depth[:468]])
        corners = solid[model.triangles]
        facets = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        facets *= np.where(facets[:, 2:] > 0, -1.0, 1.0)
        normals = np.zeros_like(solid)
        for corner in range(3):
            np.add.at(normals, model.triangles[:, corner], facets)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
        rim, centre = self._outline(1.02, 1.25), (self.xy[234] + self.xy[454]) / 2.0
        outward = np.column_stack(
            [
                (rim - centre) / np.linalg.norm(rim - centre, axis=1, keepdims=True) * 0.75,
                np.full(len(rim), -0.65),
            ]
        )
        places, values = np.concatenate([mesh, rim]), np.concatenate([normals, outward])
        grid = np.linspace(0, self.canvas - 1, 128)
        field = LinearNDInterpolator(Delaunay(places), values, fill_value=0.0)(
            *np.meshgrid(grid, grid)
        )
        field = cv2.resize(
            cv2.GaussianBlur(field.astype(np.float32), (0, 0), 1.3),
            self.shape,
            interpolation=cv2.INTER_CUBIC,
        )
        field /= np.linalg.norm(field, axis=2, keepdims=True) + 1e-6
        diffuse = np.clip((field @ self.appearance.light + 0.35) / 1.35, 0.0, 1.0)
        half = _unit(self.appearance.light + np.array([0.0, 0.0, -1.0]))
        shine = np.clip(field @ half, 0.0, 1.0) ** 24
        return (0.42 + 0.68 * diffuse + 0.10 * shine).astype(np.float32)

    def _blob(self, place: np.ndarray, radius: float) -> np.ndarray:
        """A soft round region at a place of the mean face."""
        centre = self._at(float(place[0]), -float(place[1]))
        rows, columns = np.mgrid[0 : self.canvas, 0 : self.canvas].astype(np.float32)
        return np.exp(
            -((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (radius * self.unit) ** 2
        ).astype(np.float32)

    def _lips(self) -> None:
        appearance = self.appearance
        bare = appearance.skin * np.array([0.92, 0.62, 0.62]) * (1 - 0.25 * appearance.lip_colour)
        rose = np.clip(bare + appearance.lip_colour * np.array([0.16, 0.0, 0.03]), 0, 1)
        for row, shade in ((0, 0.86), (1, 1.04)):
            edge = np.concatenate(
                [paint.smooth(self.xy[LIP_OUTER[row]]), paint.smooth(self.xy[LIP_INNER[row]])[::-1]]
            )
            paint.cover(
                self.picture, paint.polygon(self.shape, edge, 0.010 * self.unit), rose * shade, 0.85
            )
        middle = self.xy[LIP_OUTER[1]][3:8].mean(0) * 0.5 + self.xy[14] * 0.5
        paint.cover(self.picture, self._spot(middle, 0.09, 0.016, 0.02), np.ones(3), 0.16)
        between = paint.smooth((self.xy[LIP_INNER[0]] + self.xy[LIP_INNER[1]]) / 2)
        seam = np.concatenate([self.xy[61][None], between, self.xy[291][None]])
        paint.cover(
            self.picture,
            paint.line(self.shape, seam, 0.016 * self.unit, 0.006 * self.unit),
            rose * 0.32,
            0.9,
        )

    def _nose(self) -> None:
        for inner, outer in ((97, 98), (326, 327)):
            hole = 0.55 * self.xy[inner] + 0.45 * self.xy[outer] + 0.028 * self.unit * self.up
            paint.darken(self.picture, self._spot(hole, 0.040, 0.016, 0.010), 0.75)
        for wing in ((129, 102, 64, 98), (358, 331, 294, 327)):
            crease = paint.smooth(self.xy[list(wing)])
            paint.darken(
                self.picture,
                paint.line(self.shape, crease, 0.016 * self.unit, 0.022 * self.unit),
                0.35,
            )
        paint.darken(self.picture, self._spot(self.xy[2], 0.11, 0.018, 0.022), 0.30)

    def _eye(self, contours: tuple[np.ndarray, np.ndarray], centre: np.ndarray) -> None:
        appearance, unit = self.appearance, self.unit
        upper, lower = (paint.smooth(self.xy[row]) for row in contours)
        opening = paint.polygon(self.shape, np.concatenate([upper, lower[::-1]]), 0.004 * unit)
        white = np.array([0.90, 0.885, 0.87], np.float32) * (
            0.80 + 0.16 * float(appearance.skin.mean())
        )
        paint.cover(self.picture, opening, white)
        for radius, colour in (
            (1.0, appearance.iris * 0.55),
            (0.86, appearance.iris),
            (0.42, np.full(3, 0.03)),
        ):
            disc = paint.ellipse(
                self.shape, centre, (radius * IRIS_RADIUS * unit,) * 2, 0.005 * unit
            )
            paint.cover(self.picture, disc * opening, colour)
        glint = (
            centre
            + np.sign(appearance.light[0]) * 0.022 * unit * self.side
            + 0.022 * unit * self.up
        )
        paint.cover(
            self.picture,
            paint.ellipse(self.shape, glint, (0.011 * unit,) * 2, 0.004 * unit) * opening,
            np.ones(3),
            0.9,
        )
        shadow = paint.line(self.shape, upper - 0.018 * unit * self.up, 0.035 * unit, 0.014 * unit)
        paint.darken(self.picture, shadow * opening, 0.45)
        lash = np.minimum(appearance.hair, 0.25) * 0.5
        paint.cover(
            self.picture, paint.line(self.shape, upper, 0.020 * unit, 0.004 * unit), lash, 0.9
        )
        paint.cover(
            self.picture,
            paint.line(self.shape, lower, 0.007 * unit, 0.006 * unit),
            appearance.skin * 0.45,
            0.6,
        )
        crease = upper[2:-2] + 0.045 * unit * self.up
        paint.darken(self.picture, paint.line(self.shape, crease, 0.010 * unit, 0.010 * unit), 0.40)

    def _brow(self, rows: tuple[np.ndarray, np.ndarray]) -> None:
        top, bottom = (self.xy[row] for row in rows)
        middle, half = (
            (top + bottom) / 2.0,
            (top - bottom) / 2.0 * (0.55 * self.appearance.brow_weight),
        )
        edge = np.concatenate([paint.smooth(middle + half), paint.smooth(middle - half)[::-1]])
        mask = paint.polygon(self.shape, edge, 0.012 * self.unit)
        hairs = np.clip(0.85 + 0.25 * paint.noise(self.rng, self.shape, 3.0), 0.4, 1.0)
        paint.cover(self.picture, mask * hairs, np.minimum(self.appearance.hair * 0.8, 0.45), 0.85)

    def _hair_in_front(self) -> None:
        """A cap from the top of the skull to the hairline, with sides to the ears or further."""
        appearance = self.appearance
        low = 0.02 + 0.10 * appearance.hairline
        hairline = [
            self._at(-0.80, 0.02 - 0.5 * (appearance.hair_length > 0.4)),
            self._at(-0.69, 0.28),
        ]
        hairline += [
            self._at(-0.52, 0.44 + low),
            self._at(-0.20, 0.60 + low),
            self._at(0.16, 0.62 + low),
            self._at(0.48, 0.46 + low),
        ]
        hairline += [
            self._at(0.69, 0.28),
            self._at(0.80, 0.02 - 0.5 * (appearance.hair_length > 0.4)),
        ]
        outline = self._outline(1.17, 1.42)
        crown = [point for point in outline if (point - self._at(0, 0.05)) @ self.up > 0]
        crown.sort(
            key=lambda point: float(
                np.arctan2(
                    (point - self._at(0, 0.05)) @ self.up, (point - self._at(0, 0.05)) @ self.side
                )
            )
        )
        line = paint.smooth(np.array(hairline))
        mask = paint.polygon(self.shape, np.concatenate([line, np.array(crown)]), 0.016 * self.unit)
        shadow = cv2.GaussianBlur(
            np.roll(mask, round(0.05 * self.unit), axis=0), (0, 0), 0.05 * self.unit
        )
        paint.darken(
            self.picture,
            shadow * (1.0 - mask) * paint.polygon(self.shape, self._outline(1.0, 1.1)),
            0.30,
        )
        self._strands(mask, appearance.hair)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
