"""What is seen of the trunk in one slice: fractions of every tissue, and the texture of the signal?

All shapes are bent by one smooth random displacement, so that no ellipse looks like one.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cohort.synthetic.body import Blob, Body, abdomen, behind, great_arteries, lung_vessels, ribs
from cohort.synthetic.smooth_fields import SmoothFields
from cohort.synthetic.tissues import TISSUE_INDEX, TISSUE_NAMES

Array = NDArray[np.float64]
Fractions = NDArray[np.float32]
_JOIN_MM = 16.0
"""Rounding where front, back and top of the chest meet."""


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
    fields = SmoothFields(body.seed)
    fine = fields.sample(10, y, x, z_mm=z_mm, wavelength_mm=10, z_scale_mm=6)
    middle = fields.sample(11, y, x, z_mm=z_mm, wavelength_mm=40, z_scale_mm=15)
    slow = fields.sample(12, y, x, z_mm=z_mm, wavelength_mm=500, z_scale_mm=200)
    return np.clip(np.exp(0.025 * fine + 0.06 * middle + 0.12 * slow), 0.5, 1.8).astype(np.float32)


class _Canvas:
    """Tissue fractions painted from back to front."""

    def __init__(self, body: Body, y: Array, x: Array, z_mm: float) -> None:
        bend = SmoothFields(body.seed)
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
    lean = body.lean * np.clip(-y - 15, 0, None) ** 2
    belly = 0.0006 * np.clip(y - 30, 0, None) ** 2
    front = x - body.left_mm - lean + belly
    back = body.right_mm - 0.0015 * np.clip(-y - 20, 0, None) ** 2 - x
    top = y - body.top_mm
    return -_JOIN_MM * np.logaddexp(np.logaddexp(-front / _JOIN_MM, -back / _JOIN_MM), -top / _JOIN_MM)


def _paint_wall(body: Body, canvas: _Canvas, inside: Array) -> None:
    """Skin to pleura: subcutaneous fat, muscle with planes of fat, ribs."""
    fields = SmoothFields(body.seed)
    share = np.clip((canvas.xx - body.left_mm) / (body.right_mm - body.left_mm), 0, 1)
    wobble = fields.sample(4, canvas.y, canvas.x, z_mm=canvas.z_mm, wavelength_mm=110)
    high = np.clip((body.top_mm + 70 - canvas.yy) / 70, 0, 1.5)
    muscle = (body.muscle_mm[0] * (1 - share) + body.muscle_mm[1] * share) * np.exp(0.25 * wobble) + 14 * high
    fat = (body.fat_mm[0] * (1 - share) + body.fat_mm[1] * share) * np.exp(-0.3 * wobble) + 12 * high
    canvas.paint("fat", canvas.cover(inside + muscle + fat))
    # the skin is a thin dark line, the muscle is layered
    rim = canvas.cover(inside + muscle + fat) - canvas.cover(inside + muscle + fat - 1.2)
    canvas.paint("muscle", np.clip(rim, 0, 1))
    canvas.paint("muscle", canvas.cover(inside + muscle))
    streaks = fields.sample(5, canvas.y, canvas.x, z_mm=canvas.z_mm, wavelength_mm=26, z_scale_mm=12)
    plane = np.exp(-(((inside + muscle * (0.55 + 0.2 * wobble)) / 1.6) ** 2)) * np.clip(0.6 + 0.5 * streaks, 0, 1)
    deep = canvas.cover(inside + muscle) * np.clip((streaks - 1.0) * 1.5, 0, 0.85)
    canvas.paint("fat", np.maximum(plane, deep) * (inside < -2))
    for rib in ribs(body):
        canvas.blob(rib)


def _paint_cavity(body: Body, canvas: _Canvas, inside: Array) -> None:
    """Lungs above the diaphragm, abdominal organs below it, fat and great vessels around the heart."""
    fields = SmoothFields(body.seed)
    wave = fields.sample(6, canvas.y, canvas.x, z_mm=canvas.z_mm, wavelength_mm=160)
    side = np.clip(np.abs(canvas.xx - 5) - 10, 0, None)
    level = body.diaphragm_mm + 0.22 * canvas.z_mm + 0.0026 * side**2 + 3.0 * wave
    depth = canvas.yy - level
    room = canvas.cover(inside)
    chest, abdominal = room * canvas.cover(-depth), room * canvas.cover(depth)
    canvas.paint("lung", chest)
    for blob in lung_vessels(body):
        canvas.blob(blob, chest)
    canvas.paint("fat", chest * canvas.cover(_pad_distance(body, canvas)))
    for blob in great_arteries(body):
        canvas.blob(blob, chest)
    canvas.paint("fat", abdominal)
    below = room * canvas.cover(depth - 3.0)
    for blob in abdomen(body):
        canvas.blob(blob, below)
    canvas.paint("muscle", room * np.clip(canvas.cover(depth) - canvas.cover(depth - 2.5), 0, 1))
    trunk = canvas.cover(inside + 0.9 * body.muscle_mm[1])
    for blob in behind(body):
        canvas.blob(blob, trunk)


def _pad_distance(body: Body, canvas: _Canvas) -> Array:
    """Depth in the wedge of fat between the front wall, the heart and the diaphragm."""
    front = body.left_mm + body.lean * np.clip(-canvas.yy - 15, 0, None) ** 2
    rise = np.clip((canvas.yy + 60) / (body.diaphragm_mm + 60), 0, 1.2)
    return 4 + body.pad_mm * rise**2.2 - (canvas.xx - front)
