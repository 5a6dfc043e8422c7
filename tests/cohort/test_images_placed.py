"""Do images with a place in the patient keep it, and are they turned only where the affine is a scanner's?"""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from cohort.images import affine_of_planes, read_placed, write_image, write_labels
from cohort.records import WrongShape

IMAGE = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
SPACING = (10.0, 1.5, 1.25)
#: a short axis as scanners show it: left to the right, feet and back below (left, posterior, superior)
X, Y, Z = np.array([0.8, 0.5, -0.33]), np.array([0.1, 0.44, -0.89]), np.array([-0.3, 0.68, 0.3])


def oblique(*, flip_x: bool = False, flip_y: bool = False) -> np.ndarray:
    matrix = np.eye(4)
    x, y = X * (-1 if flip_x else 1), Y * (-1 if flip_y else 1)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ np.column_stack([1.25 * x, 1.5 * y, 10 * Z])
    return matrix


@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
def test_oblique_images_are_shown_as_scanners_show_them(tmp_path: Path, flip_x: bool, flip_y: bool) -> None:
    stored = IMAGE[..., :: -1 if flip_y else 1, :: -1 if flip_x else 1]
    nifti = nibabel.Nifti1Image(stored.transpose(3, 2, 1, 0), oblique(flip_x=flip_x, flip_y=flip_y))
    nibabel.save(nifti, tmp_path / "a.nii.gz")
    placed = read_placed(tmp_path / "a.nii.gz")
    assert placed.flipped == (flip_y, flip_x)
    np.testing.assert_array_equal(placed.as_shown(placed.image), IMAGE)
    np.testing.assert_array_equal(placed.as_shown(placed.as_shown(placed.image)), stored)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, 1), (-1, 1, -1)])
def test_affines_along_the_axes_turn_nothing(tmp_path: Path, signs: tuple[int, int, int]) -> None:
    nibabel.save(nibabel.Nifti1Image(IMAGE.T, np.diag([*signs, 1.0])), tmp_path / "a.nii.gz")
    assert read_placed(tmp_path / "a.nii.gz").flipped == (False, False)


@pytest.mark.parametrize(
    ("step", "unit", "seconds"),
    [(0.04, "sec", 0.04), (40, "msec", 0.04), (1, "sec", None), (0, "sec", None), (0.03, "unknown", 0.03)],
)
def test_frame_time(tmp_path: Path, step: float, unit: str, seconds: float | None) -> None:
    nifti = nibabel.Nifti1Image(IMAGE.T, np.eye(4))
    nifti.header.set_xyzt_units("mm", unit)
    nifti.header.set_zooms((1.25, 1.5, 10.0, step))
    nibabel.save(nifti, tmp_path / "a.nii.gz")
    assert read_placed(tmp_path / "a.nii.gz").frame_time_s == (None if seconds is None else pytest.approx(seconds))


def test_an_affine_survives(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.nii.gz", (IMAGE % 4).astype(np.uint8), spacing_mm=SPACING, sidecar={}, affine=oblique())
    again = read_placed(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(again.affine, oblique(), atol=1e-5)
    assert again.spacing_mm == SPACING
    nifti: Any = nibabel.load(tmp_path / "a.nii.gz")
    assert (int(nifti.header["sform_code"]), int(nifti.header["qform_code"])) == (1, 1)  # scanner coordinates
    with pytest.raises(WrongShape, match="4 x 4 finite numbers"):
        write_image(tmp_path / "b.nii", IMAGE, spacing_mm=SPACING, sidecar={}, affine=np.eye(3))


def test_planes_that_lie_beside_their_line_are_measured() -> None:
    positions = np.array([[0.0, 0, 0], [0, 0, 10], [0, 0, 20]])
    straight, away = affine_of_planes([1, 0, 0, 0, 1, 0], positions, pixel_mm=(1.5, 1.25), pitch_mm=10)
    np.testing.assert_allclose(straight, np.diag([-1.25, -1.5, 10, 1]))
    assert away == pytest.approx(0)
    positions[1, 0] = 3
    assert affine_of_planes([1, 0, 0, 0, 1, 0], positions, pixel_mm=(1.5, 1.25), pitch_mm=10)[1] == pytest.approx(3)
    alone, _ = affine_of_planes([1, 0, 0, 0, 1, 0], positions[:1], pixel_mm=(1.5, 1.25), pitch_mm=8)
    np.testing.assert_allclose(alone[:3, 2], [0, 0, 8])


@pytest.mark.parametrize(
    ("unit", "coded", "zooms", "doubt"),
    [
        ("mm", True, (1.25, 1.5, 10.0), ""),
        ("unknown", True, (1.25, 1.5, 10.0), "no unit of length"),
        ("mm", False, (1.25, 1.5, 10.0), "neither qform nor sform"),
        ("mm", True, (1.0, 1.0, 1.0), "voxels of 1 x 1 x 1 mm"),
        ("meter", True, (0.001, 0.001, 0.01), ""),
    ],
)
def test_a_voxel_size_that_may_be_made_up(
    tmp_path: Path, unit: str, coded: bool, zooms: tuple[float, float, float], doubt: str
) -> None:
    nifti = nibabel.Nifti1Image(IMAGE.T, np.diag([*zooms, 1.0]))
    nifti.header.set_xyzt_units(unit, "sec")
    if not coded:
        nifti.set_sform(None, code=0)
        nifti.set_qform(None, code=0)
    nibabel.save(nifti, tmp_path / "a.nii.gz")
    found = read_placed(tmp_path / "a.nii.gz").doubt
    assert doubt in found
    assert bool(doubt) == bool(found)


def test_what_this_software_writes_is_not_doubted(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz", IMAGE, spacing_mm=SPACING, sidecar={})
    assert read_placed(tmp_path / "a.nii.gz").doubt == ""
