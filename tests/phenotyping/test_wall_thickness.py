"""Is the wall as thick as that of shells with known thickness, and as the published convention measures it?"""

import json
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import points_in_poly

from cohort.records import MeasurementFailed
from phenotyping import aha
from phenotyping.contours import centroid, distance_to_contour, enclosed, subpixel_contour
from phenotyping.labels import LV, MYOCARDIUM, RV
from phenotyping.wall_thickness import thickness_of_frame, wall_thickness
from phenotyping.wall_ukbb import ukbb_points

PIXEL = 1.5


def cylinder(
    radius: float,
    thickness: float,
    *,
    pixel: tuple[float, float] = (PIXEL, PIXEL),
    offset: tuple[float, float] = (0.0, 0.0),
    septum_degrees: float = 180.0,
    n_slices: int = 7,
) -> np.ndarray:
    """A cylinder shell `(x, y, z)` with an RV at one side in all but the last two slices (the apex)."""
    x, y = np.meshgrid(*((np.arange(96) - 47.5 - o) * p for o, p in zip(offset, pixel, strict=True)), indexing="ij")
    r = np.hypot(x, y)
    outer = radius + thickness
    angle = np.radians(septum_degrees)
    flat = np.zeros((96, 96), np.uint8)
    flat[np.hypot(x - outer * np.cos(angle), y - outer * np.sin(angle)) < 0.9 * radius] = RV
    flat[r < outer] = MYOCARDIUM
    flat[r < radius] = LV
    labels = np.repeat(flat[:, :, None], n_slices, axis=2)
    labels[:, :, -2:][labels[:, :, -2:] == RV] = 0
    return labels


def affine(pixel: tuple[float, float] = (PIXEL, PIXEL), pitch: float = 8.0) -> np.ndarray:
    return np.diag([*pixel, pitch, 1.0])


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.3, 0.1), (0.17, 0.77)])
@pytest.mark.parametrize(("radius", "thickness"), [(22.0, 9.0), (15.0, 12.0), (25.0, 6.0), (30.0, 4.0)])
def test_cylinder_shells(radius: float, thickness: float, offset: tuple[float, float]) -> None:
    result = wall_thickness(cylinder(radius, thickness, offset=offset), affine(), convention="corrected")
    assert result.global_mean_mm == pytest.approx(thickness, abs=0.15)
    assert list(result.mean_mm) == list(range(1, 18))
    assert np.allclose([result.mean_mm[s] for s in aha.SEGMENTS], thickness, atol=0.2)
    assert np.allclose([result.max_mm[s] for s in aha.SEGMENTS], thickness, atol=0.3)
    assert result.global_max_mm == max(result.max_mm[s] for s in aha.SEGMENTS)


def test_fine_pixels_are_nearly_exact() -> None:
    labels = cylinder(15, 6, pixel=(0.75, 0.75), offset=(0.3, 0.1))
    result = wall_thickness(labels, affine((0.75, 0.75)), convention="corrected")
    assert result.global_mean_mm == pytest.approx(6, abs=0.06)


def test_pixels_longer_in_y_than_in_x() -> None:
    labels = cylinder(22, 9, pixel=(1.2, 1.8))
    result = wall_thickness(labels, affine((1.2, 1.8)), convention="corrected")
    assert result.global_mean_mm == pytest.approx(9, abs=0.2)
    assert max(abs(v - 9) for v in result.mean_mm.values()) < 0.4


def test_project_axes_keep_the_spacing_of_x_and_y() -> None:
    labels = cylinder(22, 9, pixel=(1.2, 1.8)).transpose(2, 1, 0)
    right = thickness_of_frame(labels, spacing_mm=(8.0, 1.8, 1.2), convention="corrected")
    swapped = thickness_of_frame(labels, spacing_mm=(8.0, 1.2, 1.8), convention="corrected")
    assert right.global_mean_mm == pytest.approx(9, abs=0.2)
    assert right.global_max_mm < 9.7
    assert swapped.global_max_mm > 10.5


@pytest.mark.parametrize("septum_degrees", [0.0, 75.0, 180.0, 181.0, 260.0])
def test_septum_lies_between_the_insertion_points(septum_degrees: float) -> None:
    result = wall_thickness(cylinder(22, 9, septum_degrees=septum_degrees), affine(), convention="corrected")
    assert result.axes is not None
    found = np.degrees(np.arctan2(result.axes.lv_to_septum[1], result.axes.lv_to_septum[0]))
    assert abs((found - septum_degrees + 180) % 360 - 180) < 4


@pytest.mark.parametrize("turned", [False, True])
def test_base_is_where_the_right_ventricle_is(turned: bool) -> None:
    labels = cylinder(22, 9)
    thin_apex = labels.copy()
    thin_apex[:, :, -2:] = cylinder(22, 5)[:, :, -2:]
    volume = thin_apex[:, :, ::-1] if turned else thin_apex
    result = wall_thickness(volume, affine(), convention="corrected")
    assert result.slices_used[0] == (6 if turned else 0)
    assert result.mean_mm[1] == pytest.approx(9, abs=0.3)
    assert result.mean_mm[14] == pytest.approx(5, abs=0.3)
    assert result.axes is not None
    assert result.axes.apex_to_base[2] == pytest.approx(1 if turned else -1)


def test_thick_septum_is_found_in_its_segments() -> None:
    labels = cylinder(22, 9, septum_degrees=180)
    x, y = np.meshgrid((np.arange(96) - 47.5) * PIXEL, (np.arange(96) - 47.5) * PIXEL, indexing="ij")
    bulge = (np.hypot(x, y) < 22) & (np.hypot(x, y) > 14) & (np.abs(np.arctan2(y, -x)) < np.radians(55))
    labels[bulge] = MYOCARDIUM
    result = wall_thickness(labels, affine(), convention="corrected")
    assert result.global_max_mm == pytest.approx(17, abs=0.8)
    assert max(result.mean_mm, key=lambda s: result.mean_mm[s]) in (2, 3, 8, 9, 14)
    assert result.mean_mm[5] == pytest.approx(9, abs=0.4)


def test_open_ring_is_left_out_and_named() -> None:
    labels = cylinder(22, 9)
    labels[48:, 46:50, 0][labels[48:, 46:50, 0] == MYOCARDIUM] = 0
    result = wall_thickness(labels, affine(), convention="corrected")
    assert 0 not in result.slices_used
    assert "open" in result.excluded[0]


def test_without_right_ventricle_only_global_values() -> None:
    labels = cylinder(22, 9)
    labels[labels == RV] = 0
    result = wall_thickness(labels, affine(), convention="corrected")
    assert result.global_mean_mm == pytest.approx(9, abs=0.3)
    assert all(np.isnan(v) for v in result.mean_mm.values())
    assert any("no RV" in note for note in result.notes)


def test_distance_to_a_square_is_to_its_sides() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])
    points = np.array([[5.0, 2.0], [5.0, 12.0], [13.0, 14.0]])
    assert distance_to_contour(points, square) == pytest.approx([2, 2, 5])


@pytest.mark.parametrize("center", [(20.0, 20.0), (20.5, 20.5), (20.3, 19.9), (19.8, 20.45)])
@pytest.mark.parametrize("radius", [5.2, 9.3, 14.6])
def test_a_circle_comes_out_as_a_circle(center: tuple[float, float], radius: float) -> None:
    x, y = np.meshgrid(np.arange(41.0), np.arange(41.0), indexing="ij")
    contour = subpixel_contour(np.hypot(x - center[0], y - center[1]) < radius, np.ones(2))
    assert np.allclose(np.hypot(*(contour - center).T), radius, atol=0.3)
    assert np.hypot(*(contour - center).T).std() < 0.1
    assert np.allclose(centroid(contour), center, atol=0.25)
    assert enclosed(contour) == pytest.approx(np.pi * radius**2, rel=0.08)


def test_a_contour_leaves_pixel_centers_on_their_side() -> None:
    """Also at the corners of a rectangle, up to a fraction of a pixel."""
    mask = np.zeros((30, 40), bool)
    mask[8:20, 6:31] = True
    contour = subpixel_contour(mask, np.array([1.0, 1.0]))
    wrong = np.argwhere(points_in_poly(np.argwhere(np.ones_like(mask)), contour).reshape(mask.shape) != mask)
    assert all(distance_to_contour(wrong.astype(float), contour) < 0.5)
    assert distance_to_contour(np.array([[7.5, 18.0], [19.5, 18.0]]), contour).max() < 0.35


def test_sectors_of_the_aha_model() -> None:
    frame = aha.axes(np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    assert frame.inferior_to_anterior == (0.0, 1.0, 0.0)
    degrees = np.radians([0, 60, 120, 180, 240, 300])  # from anterior over the septum
    points = np.stack([np.sin(degrees), np.cos(degrees), np.zeros(6)], axis=1)
    assert aha.segments(points, np.zeros(3), frame=frame, level="mid").tolist() == [7, 8, 9, 10, 11, 12]
    quarter = points[[0, 1, 3, 4]]
    assert aha.segments(quarter, np.zeros(3), frame=frame, level="apical").tolist() == [13, 14, 15, 16]
    assert aha.levels(10) == ["basal"] * 4 + ["mid"] * 3 + ["apical"] * 3


@pytest.mark.parametrize("case", ["cyl_t9_diag", "ell_basefirst"])
def test_ukbb_agrees_with_the_reference_software(shared_data: Path, case: str) -> None:
    """What ukbb_cardiac itself measures on these volumes (data/reference/wall_thickness.json), point by point too."""
    arrays = np.load(shared_data / "reference/wall_thickness.npz")
    expected = json.loads((shared_data / "reference/wall_thickness.json").read_text())["cases"][case]
    labels, to_world = arrays[f"{case}__label"], arrays[f"{case}__affine"]
    result = wall_thickness(labels, to_world, convention="ukbb")
    assert list(result.mean_mm) == list(result.max_mm) == list(range(1, 17))
    for segment in range(1, 17):
        assert result.mean_mm[segment] == pytest.approx(expected["WT_mean"][str(segment)], abs=1e-4)
        assert result.max_mm[segment] == pytest.approx(expected["WT_max"][str(segment)], abs=1e-4)
    assert result.global_mean_mm == pytest.approx(expected["WT_mean"]["Global"], abs=1e-4)
    assert result.global_max_mm == pytest.approx(expected["WT_max"]["Global"], abs=1e-4)
    assert result.axes is not None
    for name, axis in (("lv_to_sep", "lv_to_septum"), ("apex_to_base",) * 2, ("inf_to_ant", "inferior_to_anterior")):
        assert np.allclose(getattr(result.axes, axis), expected["aha_axis"][name], atol=1e-9)
    wall = ukbb_points(labels, to_world)
    assert {str(z): level for z, level in wall.level_of_slice.items()} == expected["aha_part"]
    assert np.allclose(wall.points, arrays[f"{case}__endo_points"], atol=1e-4)
    assert np.allclose(wall.thickness_mm, arrays[f"{case}__thickness"], atol=1e-4)
    assert np.array_equal(wall.segment, arrays[f"{case}__segment"])


def test_ukbb_refuses_the_volume_that_the_reference_software_refuses(shared_data: Path) -> None:
    arrays = np.load(shared_data / "reference/wall_thickness.npz")
    expected = json.loads((shared_data / "reference/wall_thickness.json").read_text())["cases"]
    assert {name for name, case in expected.items() if not case["qc_pass"]} == {"qc_no_rv"}
    with pytest.raises(MeasurementFailed, match="RV cavity has 0 voxels"):
        wall_thickness(arrays["qc_no_rv__label"], arrays["qc_no_rv__affine"], convention="ukbb")


def test_ukbb_is_that_convention_without_the_reference() -> None:
    """On a 9 mm cylinder at 1.5 mm pixels it is right within a sixth of a pixel; the base is at high world z."""
    result = wall_thickness(cylinder(22, 9), affine(), convention="ukbb")
    assert result.global_mean_mm == pytest.approx(9, abs=0.25)
    assert result.slices_used == (6, 5, 4, 3, 2, 1, 0)


@pytest.mark.parametrize(("tissue", "words"), [(RV, "RV cavity has 0 voxels"), (LV, "LV cavity has 0 voxels")])
def test_ukbb_refuses_what_its_checks_refuse(tissue: int, words: str) -> None:
    labels = cylinder(22, 9)
    labels[labels == tissue] = 0
    with pytest.raises(MeasurementFailed, match=words):
        wall_thickness(labels, affine(), convention="ukbb")


def test_ukbb_needs_six_slices() -> None:
    with pytest.raises(MeasurementFailed, match="6 contiguous slices"):
        wall_thickness(cylinder(22, 9, n_slices=5), affine(), convention="ukbb")


def test_empty_labels_fail() -> None:
    with pytest.raises(MeasurementFailed, match="no slice with a closed ring"):
        wall_thickness(np.zeros((16, 16, 4), np.uint8), affine(), convention="corrected")


def test_wrong_calls_fail() -> None:
    labels = cylinder(22, 9)
    with pytest.raises(MeasurementFailed, match="convention must be"):
        wall_thickness(labels, affine(), convention="best")  # type: ignore[arg-type]
    with pytest.raises(MeasurementFailed, match="4 x 4 affine"):
        wall_thickness(labels[0], affine(), convention="corrected")
    with pytest.raises(MeasurementFailed, match="singular"):
        wall_thickness(labels, np.diag([1.5, 1.5, 0.0, 1.0]), convention="corrected")
    with pytest.raises(MeasurementFailed, match="slices, y, x"):
        thickness_of_frame(labels[None], spacing_mm=(8, 1.5, 1.5), convention="corrected")
