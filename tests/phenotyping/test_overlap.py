"""Do overlap and surface distances agree with what geometry says of discs, spheres and boxes?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from cohort.records import MeasurementFailed
from phenotyping.overlap import Overlap, compare_masks, dice, surface

ISOTROPIC = (1.0, 1.0, 1.0)


def ball(radius: float, *, center: tuple[float, float, float] = (0, 0, 0), n: int = 48) -> np.ndarray:
    z, y, x = np.mgrid[:n, :n, :n] - (n - 1) / 2
    return np.hypot(np.hypot(z - center[0], y - center[1]), x - center[2]) < radius


def same(one: Overlap, other: Overlap) -> bool:
    pairs = [(one.dice, other.dice), (one.hd95_mm, other.hd95_mm), (one.assd_mm, other.assd_mm)]
    return all(a is b is None or a == pytest.approx(b) for a, b in pairs)


masks = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((3, 5, 6)) < 0.3)


@given(masks, masks)
@settings(max_examples=40, deadline=None)
def test_distances_are_those_of_all_pairs(one: np.ndarray, other: np.ndarray) -> None:
    """Oracle: the distance matrix of all surface voxels."""
    spacing = (8.0, 1.5, 1.25)
    found = compare_masks(one, other, spacing_mm=spacing)
    if not one.any() or not other.any():
        assert found.hd95_mm is None
        return
    between = cdist(np.argwhere(surface(one)) * spacing, np.argwhere(surface(other)) * spacing)
    nearest = [between.min(axis=1), between.min(axis=0)]
    assert found.assd_mm == pytest.approx(np.concatenate(nearest).mean())
    assert found.hd95_mm == pytest.approx(max(np.percentile(part, 95) for part in nearest))


@given(masks, masks, st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_symmetric_and_blind_to_flips_turns_and_empty_margins(one: np.ndarray, other: np.ndarray, turns: int) -> None:
    spacing = (8.0, 1.5, 1.5)
    result = compare_masks(one, other, spacing_mm=spacing)
    assert same(compare_masks(other, one, spacing_mm=spacing), result)
    moved = [np.pad(np.rot90(mask[::-1], turns, axes=(1, 2)), 2) for mask in (one, other)]
    assert same(compare_masks(*moved, spacing_mm=spacing), result)


def test_equal_masks() -> None:
    found = compare_masks(ball(10), ball(10), spacing_mm=ISOTROPIC)
    assert (found.dice, found.hd95_mm, found.assd_mm, found.reason) == (1.0, 0.0, 0.0, "")


def test_concentric_balls_are_their_radii_apart() -> None:
    """Distance R - r everywhere; Dice 2 r^3 / (r^3 + R^3)."""
    found = compare_masks(ball(20), ball(14), spacing_mm=ISOTROPIC)
    assert found.assd_mm == pytest.approx(6, abs=0.25)
    assert found.hd95_mm == pytest.approx(6, abs=0.6)
    assert found.dice == pytest.approx(2 * 14**3 / (14**3 + 20**3), abs=0.01)


def test_concentric_disks_on_a_fine_grid() -> None:
    """In the plane, 0.5 mm pixels: circles of 15 and 10 mm."""
    y, x = (np.mgrid[:80, :80] - 39.5) * 0.5
    found = compare_masks(np.hypot(y, x) < 15, np.hypot(y, x) < 10, spacing_mm=(0.5, 0.5))
    assert found.assd_mm == pytest.approx(5, abs=0.15)
    assert found.hd95_mm == pytest.approx(5, abs=0.4)


def test_shifted_ball() -> None:
    """A shift d: the mean over a sphere of |d cos(angle)| is d/2, to first order; the largest distance is d."""
    found = compare_masks(ball(16), ball(16, center=(0, 3, 0)), spacing_mm=ISOTROPIC)
    assert found.assd_mm == pytest.approx(1.5, abs=0.2)
    assert 2 <= found.hd95_mm <= 3


def test_missing_slice_counts_with_the_pitch() -> None:
    """A cylinder that lacks its last disk: the far face is 10 mm away, the other surfaces agree."""
    whole = np.zeros((4, 20, 20), bool)
    whole[:, 5:15, 5:15] = True
    short = whole.copy()
    short[3] = False
    found = compare_masks(whole, short, spacing_mm=(10.0, 1.0, 1.0))
    faces = [100 + 36 + 36 + 100, 100 + 36 + 100]
    beyond = 100 * 10.0  # the last disk; of the short one the inner pixels of its last disk lie below the surface, too
    inner = np.arange(1, 9)
    depth = np.minimum(inner, 9 - inner)
    own = float(np.minimum.outer(depth, depth).sum())
    assert found.hd95_mm == pytest.approx(10)
    assert found.assd_mm == pytest.approx((beyond + own) / sum(faces))


def test_scaling_the_spacing_scales_distances_not_overlap() -> None:
    one, other = ball(12), ball(10, center=(2, 1, 0))
    small, large = (compare_masks(one, other, spacing_mm=(f, f, f)) for f in (1.0, 2.5))
    assert large.dice == small.dice
    assert large.hd95_mm == pytest.approx(2.5 * small.hd95_mm)
    assert large.assd_mm == pytest.approx(2.5 * small.assd_mm)


def test_what_is_not_defined_is_none_with_its_reason() -> None:
    empty = np.zeros((3, 4, 5), bool)
    full = ~empty
    neither, lacks, extra = (
        compare_masks(*pair, spacing_mm=ISOTROPIC) for pair in ((empty, empty), (full, empty), (empty, full))
    )
    assert (neither.dice, neither.hd95_mm, neither.reason) == (None, None, "neither has the structure")
    assert (lacks.dice, lacks.assd_mm, lacks.reason) == (0.0, None, "the result lacks the structure")
    assert (extra.dice, extra.reason) == (0.0, "the reference lacks the structure")
    assert dice(empty, empty) is None


def test_masks_and_spacings_that_do_not_fit() -> None:
    with pytest.raises(MeasurementFailed, match="equal shape"):
        dice(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(MeasurementFailed, match="3 positive spacings"):
        compare_masks(ball(3, n=8), ball(3, n=8), spacing_mm=(1.0, 0.0, 1.0))
