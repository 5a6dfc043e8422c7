"""What is in this trunk, and where? The sizes of a body and the list of its organs.

The body is static (breath-hold). Its frame has the heart's center as origin, x to the right of the image (towards the
back), y downwards (towards the feet), z along the stack towards the heart's base: the usual look of a short-axis
image, chest wall on the left, liver below.
"""

import math
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Blob:
    """An ellipsoid of one tissue (None: gas) in mm; ``wall_mm`` of ``wall`` around it."""

    tissue: str | None
    center_mm: Point
    radii_mm: Point
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
    lean
        How fast the front wall leans back above the heart, per mm.
    diaphragm_mm
        y of the diaphragm under the heart.
    pad_mm
        Width of the fat between heart and front wall where it meets the diaphragm.
    muscle_mm, fat_mm
        Thickness of the muscular wall and of the subcutaneous fat at the (front, back).
    """

    seed: int
    left_mm: float
    right_mm: float
    top_mm: float
    lean: float
    diaphragm_mm: float
    pad_mm: float
    muscle_mm: tuple[float, float]
    fat_mm: tuple[float, float]


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
    fat = max(4.0, 9 + 1.5 * (bmi - 24))
    return Body(
        seed=int(rng.integers(2**31)),
        left_mm=-(heart_left_mm + float(rng.uniform(4, 12))),
        right_mm=float(rng.uniform(78, 98)) + 0.8 * (bmi - 24),
        top_mm=-float(rng.uniform(110, 160)),
        lean=float(rng.uniform(0.0025, 0.005)),
        diaphragm_mm=heart_down_mm + float(rng.uniform(1, 7)),
        pad_mm=heart_left_mm * float(rng.uniform(0.45, 0.8)),
        muscle_mm=(float(rng.uniform(8, 12)), float(rng.uniform(10, 20))),
        fat_mm=(fat * float(rng.uniform(0.6, 1.1)), fat * float(rng.uniform(0.8, 1.4))),
    )


def front_wall_mm(body: Body, y: float) -> float:
    """x of the inner side of the front wall at a height."""
    return body.left_mm + body.lean * max(-y - 15, 0) ** 2 - 0.0006 * max(y - 30, 0) ** 2


def ribs(body: Body) -> list[Blob]:
    """Cut ribs in the front and back wall."""
    rng = np.random.default_rng((body.seed, 100))
    start = rng.uniform(0, 30)
    blobs = []
    for number in range(12):
        level = -190 + start + 31 * number
        if not body.top_mm + 25 < level < body.diaphragm_mm + 70:
            continue
        for front in (True, False):
            x = front_wall_mm(body, level) - 0.5 * body.muscle_mm[0] if front else body.right_mm + 5.0
            size = (rng.uniform(2.2, 3.4), rng.uniform(5, 7.5), 400.0)
            angle = rng.uniform(-0.3, 0.3) - (0.5 if front and level < -40 else 0.0)
            blobs.append(Blob("bone", (x, level, 0.0), size, angle, "muscle", 1.5))
    return blobs


def lung_vessels(body: Body) -> list[Blob]:
    """Cut vessels, large near the hilum behind and above the heart."""
    rng = np.random.default_rng((body.seed, 101))
    hilum = (rng.uniform(15, 50), rng.uniform(-70, -45))
    blobs = []
    for _ in range(280):
        distance = rng.gamma(1.8, 26.0)
        angle = rng.uniform(0, 2 * math.pi)
        size = max(0.5, rng.uniform(0.6, 3.4) * math.exp(-distance / 70))
        center = (hilum[0] + distance * math.cos(angle), hilum[1] + distance * math.sin(angle), rng.uniform(-70, 70))
        radii = (size * rng.uniform(1, 2.2), size, rng.uniform(8, 30))
        blobs.append(Blob("blood", center, radii, rng.uniform(0, math.pi)))
    return blobs


def great_arteries(body: Body) -> list[Blob]:
    """Pulmonary artery and aorta above the base of the heart, in their fat."""
    rng = np.random.default_rng((body.seed, 102))
    pulmonary = (rng.uniform(-25, -10), -rng.uniform(50, 60), 78.0)
    aorta = (rng.uniform(6, 20), -rng.uniform(54, 66), 82.0)
    around = [Blob("fat", center, (19.0, 18.0, 42.0)) for center in (pulmonary, aorta)]
    return [
        *around,
        Blob("blood", pulmonary, (15.0, 12.0, 40.0), rng.uniform(0, 1), "muscle", 1.5),
        Blob("blood", aorta, (13.0, 13.0, 40.0), 0.0, "muscle", 1.5),
    ]


def abdomen(body: Body) -> list[Blob]:
    """Liver with vessels, stomach, spleen, bowel loops; y relative to the diaphragm."""
    rng = np.random.default_rng((body.seed, 103))
    top = body.diaphragm_mm
    liver = (rng.uniform(-60, -10), top + rng.uniform(38, 55), rng.uniform(0, 60))
    radii = (rng.uniform(65, 110), rng.uniform(42, 62), rng.uniform(110, 160))
    blobs = [Blob("liver", liver, radii, rng.uniform(-0.25, 0.35))]
    for _ in range(26):
        x, y, z = (center + rng.uniform(-0.75, 0.75) * radius for center, radius in zip(liver, radii, strict=True))
        size = rng.uniform(0.9, 2.8)
        vessel = (size * rng.uniform(1, 3), size, rng.uniform(12, 40))
        blobs.append(Blob("blood", (x, y, z), vessel, rng.uniform(0, math.pi)))
    size = rng.uniform(0.7, 1.15)
    content = (None, "fluid", "bowel", "bowel")[int(rng.integers(4))]
    stomach = (rng.uniform(35, 60), top + rng.uniform(26, 40), rng.uniform(-40, 20))
    blobs.append(Blob(content, stomach, (30 * size, 20 * size, 70.0), rng.uniform(-0.5, 0.5), "muscle", 3.5))
    spleen = (body.right_mm - rng.uniform(14, 24), top + rng.uniform(45, 65), 20.0)
    blobs.append(Blob("spleen", spleen, (rng.uniform(14, 20), rng.uniform(28, 40), 80.0), rng.uniform(-0.4, 0.4)))
    for _ in range(44):
        center = (rng.uniform(body.left_mm + 8, body.right_mm - 8), top + rng.uniform(80, 210), rng.uniform(-60, 60))
        inner = ("bowel", "fluid", None, "bowel", "muscle", "liver", "bowel", "muscle")[int(rng.integers(8))]
        loop = (rng.uniform(6, 20), rng.uniform(5, 12), rng.uniform(25, 60))
        blobs.append(Blob(inner, center, loop, rng.uniform(0, math.pi), "muscle", 2.0))
    return blobs


def behind(body: Body) -> list[Blob]:
    """Descending aorta in its fat and, in some bodies, a vertebra with its neighbors at the back."""
    rng = np.random.default_rng((body.seed, 104))
    x, y = body.right_mm - rng.uniform(17, 26), rng.uniform(5, 35)
    lean = rng.uniform(0.8, 1.4)
    radius = rng.uniform(9.5, 12.5)
    blobs = []
    if rng.random() < 0.5:
        for level in (-1, 0, 1):
            center = (body.right_mm + 4.0, y + 24 + 33 * level, 0.0)
            blobs.append(Blob("bone", center, (13.0, 13.5, 200.0), 0.05, "muscle", 1.5))
    fat = Blob("fat", (x + 5, y + 3, 0.0), (radius + 4, (radius + 3) * lean, 300.0))
    return [*blobs, fat, Blob("blood", (x, y, 0.0), (radius, radius * lean, 300.0), 0.3, "muscle", 1.5)]
