"""What lies around the heart: chest wall, lungs, abdominal organs, aorta, spine?

The body is static (breath-hold). Its frame has the heart's center as origin, x to the right of the image (towards the
back), y downwards (towards the feet), z along the stack towards the heart's base: the usual look of a short-axis
image, chest wall on the left, liver below. All shapes are bent by one smooth random displacement, so that no ellipse
looks like one.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohort.synthetic.tissues import TISSUE_INDEX, TISSUE_NAMES

Array = NDArray[np.float64]
Fractions = NDArray[np.float32]
BOX_MM = 320.0
"""Half width of the box in which the smooth random fields live."""


@dataclass(frozen=True)
class Blob:
    """An ellipsoid of one tissue (None: gas) in mm; ``wall_mm`` of ``wall`` around it."""

    tissue: str | None
    center_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    angle_rad: float = 0.0
    wall: str | None = None
    wall_mm: float = 0.0


@dataclass(frozen=True)
class Body:
    """Size of the trunk; everything smaller follows from ``seed``.

    Attributes
    ----------
    seed
        Of the textures and small organs of this body.
    left_mm, right_mm, top_mm
        Inner side of the chest wall: x of the front (negative), x of the back, y of the top of the lungs (negative).
    diaphragm_mm
        y of the diaphragm under the heart.
    muscle_mm, fat_mm
        Thickness of the muscular wall and of the subcutaneous fat at the (front, back).
    """

    seed: int
    left_mm: float
    right_mm: float
    top_mm: float
    diaphragm_mm: float
    muscle_mm: tuple[float, float]
    fat_mm: tuple[float, float]

    @cached_property
    def fields(self) -> "SmoothFields":
        """The random fields of this body."""
        return SmoothFields(self.seed)


class SmoothFields:
    """Smooth random fields in mm coordinates, the same on every grid and changing slowly from slice to slice."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def sample(
        self, number: int, y: Array, x: Array, *, z_mm: float, wavelength_mm: float, z_scale_mm: float = 40.0
    ) -> Array:
        """Field ``number`` of unit standard deviation on rows ``y`` and columns ``x`` at ``z_mm``; no detail finer
        than the wavelength."""
        n = max(2, math.ceil(4 * BOX_MM / wavelength_mm))
        rng = np.random.default_rng((self._seed, number))
        first, second = rng.standard_normal((2, n, n))
        turn = z_mm / z_scale_mm
        order = np.arange(n)
        keep = np.hypot(order[:, None], order[None, :]) <= n
        weights = (math.cos(turn) * first + math.sin(turn) * second) * keep
        rows = np.cos(np.pi * (order + 0.5) * (y[:, None] + BOX_MM) / (2 * BOX_MM))
        columns = np.cos(np.pi * (order + 0.5) * (x[:, None] + BOX_MM) / (2 * BOX_MM))
        return rows @ weights @ columns.T * (2 / math.sqrt(keep.sum()))


def draw_body(
    *, weight_kg: float, height_cm: float, heart_left_mm: float, heart_down_mm: float, rng: np.random.Generator
) -> Body:
    """Draw a trunk that fits around a heart.

    Parameters
    ----------
    weight_kg, height_cm
        Fat follows the body mass index.
    heart_left_mm, heart_down_mm
        How far the heart reaches to the left and downwards from its center, > 0.
    rng
        Draws the sizes and the seed of the rest.
    """
    bmi = weight_kg / (height_cm / 100) ** 2
    fat = max(4.0, 10 + 1.6 * (bmi - 24))
    return Body(
        seed=int(rng.integers(2**31)),
        left_mm=-(heart_left_mm + float(rng.uniform(4, 14))),
        right_mm=float(rng.uniform(78, 100)) + 0.8 * (bmi - 24),
        top_mm=-float(rng.uniform(105, 150)),
        diaphragm_mm=heart_down_mm + float(rng.uniform(3, 9)),
        muscle_mm=(float(rng.uniform(9, 14)), float(rng.uniform(12, 24))),
        fat_mm=(fat * float(rng.uniform(0.6, 1.1)), fat * float(rng.uniform(0.8, 1.4))),
    )


def body_fractions(body: Body, y: Array, x: Array, *, z_mm: float) -> Fractions:
    """Tissue fractions of one slice.

    Parameters
    ----------
    body
        The trunk.
    y, x
        Pixel centers (n_y,) and (n_x,) in mm in the body frame.
    z_mm
        Position of the slice.

    Returns
    -------
    float32 (tissues, n_y, n_x)
        In the order of `TISSUE_NAMES`; what is missing to 1 is air.
    """
    canvas = _Canvas(body, y, x, z_mm)
    inside = _chest_distance(body, canvas.xx, canvas.yy)
    _paint_wall(body, canvas, inside)
    _paint_cavity(body, canvas, inside)
    return canvas.fractions.astype(np.float32)


def body_texture(body: Body, y: Array, x: Array, *, z_mm: float) -> Fractions:
    """Multiplicative texture and slow bias of the signal, about 1, float32 (n_y, n_x)."""
    fields = body.fields
    fine = fields.sample(10, y, x, z_mm=z_mm, wavelength_mm=9, z_scale_mm=6)
    middle = fields.sample(11, y, x, z_mm=z_mm, wavelength_mm=32, z_scale_mm=15)
    slow = fields.sample(12, y, x, z_mm=z_mm, wavelength_mm=500, z_scale_mm=200)
    return np.clip(np.exp(0.05 * fine + 0.06 * middle + 0.10 * slow), 0.5, 1.8).astype(np.float32)


class _Canvas:
    """Tissue fractions painted from back to front."""

    def __init__(self, body: Body, y: Array, x: Array, z_mm: float) -> None:
        bend = body.fields
        push = 5.0 * bend.sample(0, y, x, z_mm=z_mm, wavelength_mm=130) + 1.2 * bend.sample(
            1, y, x, z_mm=z_mm, wavelength_mm=35
        )
        pull = 5.0 * bend.sample(2, y, x, z_mm=z_mm, wavelength_mm=130) + 1.2 * bend.sample(
            3, y, x, z_mm=z_mm, wavelength_mm=35
        )
        self.y, self.x, self.z_mm = y, x, z_mm
        self.xx, self.yy = x[None, :] + push, y[:, None] + pull
        self.pixel_mm = math.sqrt(abs((y[1] - y[0]) * (x[1] - x[0])))
        self.fractions = np.zeros((len(TISSUE_NAMES), y.size, x.size))

    def cover(self, distance_mm: Array) -> Array:
        """Share of a pixel inside, from the signed distance to a border (positive inside)."""
        return np.clip(0.5 + distance_mm / self.pixel_mm, 0, 1)

    def paint(self, tissue: str | None, cover: Array, window: tuple[slice, slice] = (slice(None), slice(None))) -> None:
        part = self.fractions[:, window[0], window[1]]
        part *= 1 - cover
        if tissue is not None:
            part[TISSUE_INDEX[tissue]] += cover

    def blob(self, blob: Blob, within: Array | None = None) -> None:
        """Paint an ellipsoid, its wall first; ``within`` (fractions of the whole canvas) confines it."""
        height = 1 - ((self.z_mm - blob.center_mm[2]) / blob.radii_mm[2]) ** 2
        if height <= 0:
            return
        shrink = math.sqrt(height)
        radii = (blob.radii_mm[0] * shrink, blob.radii_mm[1] * shrink)
        reach = max(radii) + blob.wall_mm + 20
        rows = _near(self.y, blob.center_mm[1], reach)
        columns = _near(self.x, blob.center_mm[0], reach)
        if rows.start == rows.stop or columns.start == columns.stop:
            return
        dx = self.xx[rows, columns] - blob.center_mm[0]
        dy = self.yy[rows, columns] - blob.center_mm[1]
        cos_a, sin_a = math.cos(blob.angle_rad), math.sin(blob.angle_rad)
        scaled = np.hypot((cos_a * dx + sin_a * dy) / radii[0], (cos_a * dy - sin_a * dx) / radii[1])
        distance = (1 - scaled) * min(radii)
        room = 1.0 if within is None else within[rows, columns]
        if blob.wall is not None:
            self.paint(blob.wall, self.cover(distance + blob.wall_mm) * room, (rows, columns))
        self.paint(blob.tissue, self.cover(distance) * room, (rows, columns))


def _near(axis: Array, center: float, reach: float) -> slice:
    return slice(int(np.searchsorted(axis, center - reach)), int(np.searchsorted(axis, center + reach)))


def _chest_distance(body: Body, x: Array, y: Array) -> Array:
    """Depth inside the inner side of the trunk's wall, in mm: front, back and top joined by a smooth minimum."""
    lean = 0.0022 * np.clip(-y - 10, 0, None) ** 2
    belly = 0.0006 * np.clip(y - 30, 0, None) ** 2
    front = x - body.left_mm - lean + belly
    back = body.right_mm - 0.0012 * np.clip(-y - 20, 0, None) ** 2 - x
    top = y - body.top_mm
    k = 14.0
    return -k * np.logaddexp(np.logaddexp(-front / k, -back / k), -top / k)


def _paint_wall(body: Body, canvas: _Canvas, inside: Array) -> None:
    """Skin to pleura: subcutaneous fat, muscle with fat planes, ribs."""
    share = np.clip((canvas.xx - body.left_mm) / (body.right_mm - body.left_mm), 0, 1)
    vary = canvas.y, canvas.x
    wobble = body.fields.sample(4, *vary, z_mm=canvas.z_mm, wavelength_mm=110)
    high = np.clip((body.top_mm + 50 - canvas.yy) / 60, 0, 1.2)
    muscle = (body.muscle_mm[0] * (1 - share) + body.muscle_mm[1] * share) * np.exp(0.2 * wobble) + 16 * high
    fat = (body.fat_mm[0] * (1 - share) + body.fat_mm[1] * share) * np.exp(-0.25 * wobble) + 10 * high
    canvas.paint("fat", canvas.cover(inside + muscle + fat))
    canvas.paint("muscle", canvas.cover(inside + muscle))
    streaks = body.fields.sample(5, *vary, z_mm=canvas.z_mm, wavelength_mm=22, z_scale_mm=12)
    canvas.paint("fat", canvas.cover(inside + muscle) * np.clip((streaks - 1.1) * 2, 0, 0.9) * (inside < -2))
    rng = np.random.default_rng((body.seed, 100))
    start = rng.uniform(0, 30)
    for number in range(12):
        level = -190 + start + 31 * number
        for front in (True, False):
            lean = 0.0022 * max(-level - 10, 0) ** 2 if front else -0.0012 * max(-level - 20, 0) ** 2
            edge = (
                body.left_mm + lean - 0.5 * body.muscle_mm[0]
                if front
                else body.right_mm + lean + 0.35 * body.muscle_mm[1]
            )
            rise = 0.15 * canvas.z_mm * (1 if front else -1)
            size = (3.2, rng.uniform(5.5, 7.5), 400.0)
            if body.top_mm + 10 < level < body.diaphragm_mm + 70:
                canvas.blob(Blob("bone", (edge, level + rise, 0.0), size, rng.uniform(-0.3, 0.3), "muscle", 2.0))


def _paint_cavity(body: Body, canvas: _Canvas, inside: Array) -> None:
    """Lungs above the diaphragm, abdominal organs below it, fat and great vessels around the heart."""
    side = np.clip(canvas.xx - 15, 0, None)
    level = body.diaphragm_mm + 0.10 * canvas.z_mm + 0.0028 * side**2 + 0.05 * np.clip(-canvas.xx, 0, None)
    depth = canvas.yy - level
    room = canvas.cover(inside)
    chest, abdomen = room * canvas.cover(-depth), room * canvas.cover(depth)
    canvas.paint("lung", chest)
    for vessel in _lung_vessels(body):
        canvas.blob(vessel, chest)
    for blob in _mediastinum(body):
        canvas.blob(blob, chest)
    canvas.paint("fat", abdomen)
    below = room * canvas.cover(depth - 3.0)
    for blob in _abdomen(body):
        canvas.blob(blob, below)
    canvas.paint("muscle", room * np.clip(canvas.cover(depth) - canvas.cover(depth - 2.5), 0, 1))
    for blob in _behind(body):
        canvas.blob(blob)


def _lung_vessels(body: Body) -> list[Blob]:
    rng = np.random.default_rng((body.seed, 101))
    hilum = (rng.uniform(15, 45), rng.uniform(-75, -50))
    blobs = []
    for _ in range(150):
        distance = rng.gamma(2.0, 22.0)
        angle = rng.uniform(0, 2 * math.pi)
        size = max(0.6, rng.uniform(0.7, 3.2) * math.exp(-distance / 90))
        center = (hilum[0] + distance * math.cos(angle), hilum[1] + distance * math.sin(angle), rng.uniform(-70, 70))
        blobs.append(
            Blob("blood", center, (size * rng.uniform(1, 2.2), size, rng.uniform(8, 30)), rng.uniform(0, math.pi))
        )
    return blobs


def _mediastinum(body: Body) -> list[Blob]:
    """Fat between heart and sternum, and at the base the great arteries above the heart."""
    rng = np.random.default_rng((body.seed, 102))
    x, y = body.left_mm * 0.55, body.diaphragm_mm * 0.55
    pad = [
        Blob("fat", (x, y, -5.0), (abs(body.left_mm) * 0.62, body.diaphragm_mm * 0.62, 110.0), rng.uniform(-0.4, 0.4)),
        Blob("fat", (x * 1.3, y - 45, 10.0), (rng.uniform(10, 18), rng.uniform(30, 45), 90.0), 0.35),
    ]
    arteries = [
        Blob(
            "blood",
            (rng.uniform(-25, -10), -rng.uniform(48, 58), 75.0),
            (15, 12, 40.0),
            rng.uniform(0, 1),
            "muscle",
            1.5,
        ),
        Blob("blood", (rng.uniform(5, 20), -rng.uniform(52, 64), 80.0), (13, 13, 40.0), 0.0, "muscle", 1.5),
    ]
    return pad + [Blob("fat", b.center_mm, (b.radii_mm[0] + 5, b.radii_mm[1] + 5, 42.0)) for b in arteries] + arteries


def _abdomen(body: Body) -> list[Blob]:
    rng = np.random.default_rng((body.seed, 103))
    top = body.diaphragm_mm
    liver = (rng.uniform(-60, -25), top + rng.uniform(38, 55), rng.uniform(0, 60))
    radii = (rng.uniform(60, 95), rng.uniform(38, 58), rng.uniform(110, 160))
    blobs = [Blob("liver", liver, radii, rng.uniform(-0.25, 0.35))]
    for _ in range(22):
        spot = tuple(c + rng.uniform(-0.7, 0.7) * r for c, r in zip(liver, radii, strict=True))
        size = rng.uniform(1.0, 3.0)
        blobs.append(
            Blob(
                "blood",
                (spot[0], spot[1], spot[2]),
                (size * rng.uniform(1, 3), size, rng.uniform(12, 40)),
                rng.uniform(0, math.pi),
            )
        )
    content = (None, "fluid", "bowel")[int(rng.integers(3))]
    stomach = (rng.uniform(32, 52), top + rng.uniform(30, 42), rng.uniform(-40, 20))
    size = rng.uniform(0.8, 1.15)
    blobs.append(Blob(content, stomach, (30 * size, 21 * size, 70.0), rng.uniform(-0.5, 0.5), "bowel", 4.0))
    blobs.append(
        Blob(
            "spleen",
            (body.right_mm - rng.uniform(14, 24), top + rng.uniform(45, 65), 20.0),
            (17, 36, 80.0),
            rng.uniform(-0.3, 0.3),
        )
    )
    for _ in range(24):
        center = (rng.uniform(body.left_mm + 10, body.right_mm - 10), top + rng.uniform(85, 190), rng.uniform(-60, 60))
        inner = ("bowel", "fluid", None, "fat", "muscle", "blood")[int(rng.integers(6))]
        blobs.append(
            Blob(
                inner,
                center,
                (rng.uniform(6, 20), rng.uniform(5, 12), rng.uniform(25, 60)),
                rng.uniform(0, math.pi),
                "bowel",
                2.5,
            )
        )
    return blobs


def _behind(body: Body) -> list[Blob]:
    """Descending aorta, and in some bodies vertebrae at the edge of the slice."""
    rng = np.random.default_rng((body.seed, 104))
    x, y = body.right_mm - rng.uniform(18, 28), rng.uniform(5, 35)
    lean = rng.uniform(0.8, 1.4)
    radius = rng.uniform(9.5, 12.5)
    blobs = []
    if rng.random() < 0.5:
        for level in range(-2, 4):
            center = (body.right_mm + 10.0, y + 18 + 34 * level, 0.0)
            blobs.append(Blob("bone", center, (16.0, 13.0, 200.0), 0.1, "muscle", 1.5))
    fat = Blob("fat", (x, y, 0.0), (radius + 5, (radius + 5) * lean, 300.0))
    return [*blobs, fat, Blob("blood", (x, y, 0.0), (radius, radius * lean, 300.0), 0.3, "muscle", 1.5)]
