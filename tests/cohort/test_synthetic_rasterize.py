"""Do pixels hold what the surfaces say?"""

import math
from dataclasses import replace

import numpy as np
import pytest

from cohort.synthetic.population import Pose, draw_patient
from cohort.synthetic.rasterize import Grid, coarse_fractions, label_grid, rasterize_heart, slice_points

POSE = Pose(center_mm=(0.0, 0.0), septum_rad=math.radians(145), tilt_rad=0.0, tilt_direction_rad=0.0, slice_shift=0.0)
HEART = draw_patient("normal", rng=np.random.default_rng(8), field_t=1.5).heart


def labels(pose: Pose, grid: Grid, *, z_mm: float, thickness_mm: float = 8.0, phase: float = 0.0) -> np.ndarray:
    """(4, y, x) label fractions on the whole grid."""
    points = slice_points(HEART, pose, grid, z_mm=z_mm, thickness_mm=thickness_mm)
    part = rasterize_heart(HEART, points, phase=phase)
    out = np.zeros((4, *grid.shape), dtype=np.float32)
    out[0] = 1
    out[:, part.rows, part.columns] = part.labels()
    return out


def counted_ml(spacing_mm: float, thickness_mm: float, phase: float) -> np.ndarray:
    n = 2 * round(100 / spacing_mm)
    grid = Grid((n, n), (n * spacing_mm, n * spacing_mm))
    pose = replace(POSE, tilt_rad=math.radians(4), tilt_direction_rad=1.0)
    half = HEART.length_mm / 2 + 12
    z = np.arange(-half, half + thickness_mm, thickness_mm)
    total = sum(
        labels(pose, grid, z_mm=float(k), thickness_mm=thickness_mm, phase=phase)[1:].sum(axis=(1, 2)) for k in z
    )
    return np.asarray(total) * spacing_mm**2 * thickness_mm / 1000


@pytest.mark.parametrize("phase", [0.0, 0.38])
def test_counted_fractions_approach_the_exact_volume(phase: float) -> None:
    exact = np.array([HEART.lv_volume_ml(phase), HEART.muscle_volume_ml, HEART.rv_volume_ml(phase)], dtype=float)
    coarse = np.abs(counted_ml(4.0, 8.0, phase) / exact - 1)
    fine = np.abs(counted_ml(2.0, 5.0, phase) / exact - 1)
    assert np.all(fine < 0.004)
    assert fine.mean() < coarse.mean()


def test_a_quarter_turn_of_the_heart_turns_the_labels() -> None:
    grid = Grid((120, 120), (180.0, 180.0))
    upright = labels(POSE, grid, z_mm=5.0)
    turned = labels(replace(POSE, septum_rad=POSE.septum_rad + math.pi / 2), grid, z_mm=5.0)
    # angles grow from x to y (downwards), np.rot90 from y to x
    assert np.allclose(turned, np.rot90(upright, k=-1, axes=(1, 2)), atol=1e-4)
    half = labels(replace(POSE, septum_rad=POSE.septum_rad + math.pi), grid, z_mm=5.0)
    assert np.allclose(half, upright[:, ::-1, ::-1], atol=1e-4)


def test_a_shift_of_the_heart_shifts_the_labels() -> None:
    grid = Grid((140, 140), (210.0, 210.0))
    moved = labels(replace(POSE, center_mm=(6.0, -9.0)), grid, z_mm=-10.0)
    assert np.allclose(moved, np.roll(labels(POSE, grid, z_mm=-10.0), (-6, 4), axis=(1, 2)), atol=1e-4)


def test_fractions_are_fractions_and_the_ring_is_closed() -> None:
    grid = Grid((160, 160), (240.0, 240.0))
    for z_mm in (-40.0, -20.0, 0.0, 20.0, 40.0):
        share = labels(POSE, grid, z_mm=z_mm, phase=0.2)
        assert share.min() > -1e-5
        assert np.allclose(share.sum(axis=0), 1, atol=1e-5)
    hard = label_grid(labels(POSE, grid, z_mm=0.0), fine=grid, coarse=grid)
    cavity = hard == 1
    around = np.zeros_like(cavity)
    for axis in (0, 1):
        for step in (-1, 1):
            around |= np.roll(cavity, step, axis=axis)
    assert set(np.unique(hard[around & ~cavity])) == {2}


def test_coarser_pixels_average_and_ties_go_to_the_lower_label() -> None:
    fine, coarse = Grid((6, 6), (60.0, 60.0)), Grid((3, 3), (60.0, 60.0))
    image = np.arange(36, dtype=np.float32).reshape(6, 6)
    assert np.allclose(coarse_fractions(image, fine=fine, coarse=coarse), image.reshape(3, 2, 3, 2).mean(axis=(1, 3)))
    odd = Grid((4, 4), (60.0, 60.0))
    assert coarse_fractions(image, fine=fine, coarse=odd).mean() == pytest.approx(image.mean())
    shares = np.zeros((4, 6, 6), dtype=np.float32)
    shares[[1, 2]] = 0.5
    assert np.all(label_grid(shares, fine=fine, coarse=coarse) == 1)
    assert label_grid(shares, fine=fine, coarse=coarse).dtype == np.uint8


def test_a_heart_outside_the_image_is_no_error() -> None:
    grid = Grid((40, 40), (60.0, 60.0))
    share = labels(replace(POSE, center_mm=(500.0, 0.0)), grid, z_mm=0.0)
    assert np.all(share[0] == 1)
