"""Do images, labels, spacing and sidecar survive the disk, and is NIfTI's order of axes kept out of everything else?"""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohort.images import read_image, read_labels, sidecar_path, write_image, write_labels
from cohort.records import MissingFile, NotFinite, UnreadableFile, WrongShape

SPACING = (10.0, 1.5, 1.25)
IMAGE = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    kind=st.sampled_from(["f4", "f8", "u1", "i2"]),
    spacing=st.tuples(*[st.decimals("0.1", "20", places=3).map(float)] * 3),
    ending=st.sampled_from([".nii", ".nii.gz"]),
    sidecar=st.dictionaries(
        st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.floats(0, 1))
    ),
)
def test_images_survive(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    kind: str,
    spacing: tuple[float, float, float],
    ending: str,
    sidecar: dict[str, Any],
) -> None:
    path = tmp_path_factory.mktemp("image") / f"cine.sax{ending}"
    image = (np.arange(np.prod(shape)).reshape(shape) % 251).astype(kind)
    write_image(path, image, spacing_mm=spacing, sidecar=sidecar)
    again, again_mm, again_sidecar = read_image(path)
    assert again.dtype == (np.uint8 if kind == "u1" else np.float32)
    assert again.flags.c_contiguous
    np.testing.assert_array_equal(again, image)
    assert again_mm == pytest.approx(spacing, rel=1e-6)
    assert again_sidecar == sidecar


def test_axes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_image(path, IMAGE, spacing_mm=SPACING, sidecar={"frame_time_s": 0.04})
    nifti: Any = nibabel.load(path)
    assert nifti.shape == (5, 4, 3, 2)  # x, y, z, t
    assert nifti.header.get_zooms() == pytest.approx((1.25, 1.5, 10.0, 0.04))
    assert nifti.header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_allclose(nifti.affine, np.diag([1.25, 1.5, 10.0, 1.0]))
    assert nifti.dataobj[4, 3, 2, 1] == IMAGE[1, 2, 3, 4]


def test_spacing_reads_back_as_it_was_said(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii", IMAGE, spacing_mm=(8.0, 1.2, 1.367), sidecar={})
    assert read_image(tmp_path / "a.nii")[1] == (8.0, 1.2, 1.367)


def test_equal_images_make_equal_files(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_image(tmp_path / name, IMAGE, spacing_mm=SPACING, sidecar={})
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.nii.gz", "b.json", "b.nii.gz"]


def test_a_foreign_image_as_acdc_has_them(tmp_path: Path) -> None:
    """Integers (x, y, z), scaled on reading, an affine with turned axes, no sidecar."""
    stored = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    nifti = nibabel.Nifti1Image(stored, np.diag([-1.5, -1.5, 10.0, 1.0]))
    nifti.header.set_slope_inter(2.0, 1.0)
    nibabel.save(nifti, tmp_path / "patient001_frame01.nii.gz")
    image, spacing_mm, sidecar = read_image(tmp_path / "patient001_frame01.nii.gz")
    assert image.shape == (1, 3, 4, 5)
    assert image.dtype == np.float32
    assert (spacing_mm, sidecar) == ((10.0, 1.5, 1.5), {})
    assert image[0, 2, 1, 3] == 2 * stored[3, 1, 2] + 1


@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_other_units_and_versions(tmp_path: Path, version: Any) -> None:
    nifti = version(np.zeros((5, 4, 3), np.uint8), np.diag([0.002, 0.002, 0.01, 1.0]))
    nifti.header.set_xyzt_units("meter", "sec")
    nibabel.save(nifti, tmp_path / "a.nii.gz")
    image, spacing_mm, _ = read_image(tmp_path / "a.nii.gz")
    assert (image.shape, image.dtype) == ((1, 3, 4, 5), np.uint8)
    assert spacing_mm == pytest.approx((10.0, 2.0, 2.0))


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 2, 2)])
def test_other_axes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(WrongShape, match=r"expected \(x, y, z\) or \(x, y, z, t\)"):
        read_image(tmp_path / "a.nii")


def test_acdc(shared_data: Path) -> None:
    image, spacing_mm, sidecar = read_image(shared_data / "acdc/training/patient001/patient001_frame01.nii.gz")
    labels, label_mm, _ = read_labels(shared_data / "acdc/training/patient001/patient001_frame01_gt.nii.gz")
    assert image.shape == labels.shape == (1, 10, 256, 216)
    assert spacing_mm == label_mm == pytest.approx((10.0, 1.5625, 1.5625))
    assert (sidecar, labels.dtype, set(np.unique(labels))) == ({}, np.uint8, {0, 1, 2, 3})


def test_labels_survive(tmp_path: Path) -> None:
    labels = (np.arange(120).reshape(2, 3, 4, 5) % 4).astype(np.uint8)
    write_labels(tmp_path / "l.nii.gz", labels, spacing_mm=SPACING, sidecar={"model": "x"})
    again, spacing_mm, sidecar = read_labels(tmp_path / "l.nii.gz")
    np.testing.assert_array_equal(again, labels)
    assert (again.dtype, spacing_mm, sidecar) == (np.uint8, SPACING, {"model": "x"})


def test_atria_are_kept_on_disk_and_measured_nowhere(tmp_path: Path) -> None:
    labels = (np.arange(120).reshape(2, 3, 4, 5) % 6).astype(np.uint8)
    write_labels(tmp_path / "l.nii.gz", labels, spacing_mm=SPACING, sidecar={})
    np.testing.assert_array_equal(read_labels(tmp_path / "l.nii.gz", atria=True)[0], labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "l.nii.gz")[0], np.where(labels > 3, 0, labels))


@pytest.mark.parametrize("labels", [np.zeros((1, 1, 2, 2)), np.full((1, 1, 2, 2), 6, np.uint8)])
def test_what_is_no_label_is_not_written(tmp_path: Path, labels: NDArray[Any]) -> None:
    with pytest.raises(WrongShape, match="expected uint8 labels 0 to 5"):
        write_labels(tmp_path / "l.nii.gz", labels, spacing_mm=SPACING, sidecar={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [0.5, 6.0, -1.0, 256.0])
def test_what_is_no_label_is_not_read(tmp_path: Path, value: float) -> None:
    write_image(tmp_path / "l.nii.gz", np.full((1, 1, 2, 2), value), spacing_mm=SPACING, sidecar={})
    with pytest.raises(WrongShape, match="expected labels 0 to 5"):
        read_labels(tmp_path / "l.nii.gz")


@pytest.mark.parametrize(
    ("image", "spacing_mm", "sidecar", "error", "message"),
    [
        (IMAGE[0], SPACING, {}, WrongShape, "expected real"),
        (IMAGE[:0], SPACING, {}, WrongShape, "none empty"),
        (IMAGE * 1j, SPACING, {}, WrongShape, "complex64"),
        (IMAGE, (10.0, 0.0, 1.0), {}, WrongShape, "three positive"),
        (np.full((1, 1, 2, 2), np.nan), SPACING, {}, NotFinite, "4 of 4 values"),
        (np.full((1, 1, 2, 2), 1e300), SPACING, {}, NotFinite, "NaN or infinite"),
        (IMAGE, SPACING, {"path": Path()}, UnreadableFile, "what JSON cannot"),
        (IMAGE, SPACING, {"x": float("nan")}, UnreadableFile, "what JSON cannot"),
    ],
)
def test_bad_images_are_not_written(
    tmp_path: Path, image: NDArray[Any], spacing_mm: Any, sidecar: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_image(tmp_path / "a.nii.gz", image, spacing_mm=spacing_mm, sidecar=sidecar)
    assert not list(tmp_path.iterdir())


def test_maps_may_have_holes(tmp_path: Path) -> None:
    t1_ms = np.full((1, 1, 2, 2), np.nan, np.float32)
    write_image(tmp_path / "t1.nii.gz", t1_ms, spacing_mm=SPACING, sidecar={}, allow_nan=True)
    with pytest.raises(NotFinite, match="4 of 4 values are NaN"):
        read_image(tmp_path / "t1.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "t1.nii.gz", allow_nan=True)[0], t1_ms)


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.nii.gz"
    rng = np.random.default_rng(0)
    write_image(path, rng.random((2, 3, 20, 20)), spacing_mm=SPACING, sidecar={})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnreadableFile, match="not a whole NIfTI file"):
        read_image(path)


def test_truncated_inside_a_whole_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_image(path, IMAGE, spacing_mm=SPACING, sidecar={})
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-40]))
    with pytest.raises(UnreadableFile, match="not a whole NIfTI file"):
        read_image(path)


def test_missing_and_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"a\.nii: missing"):
        read_image(tmp_path / "a.nii")
    with pytest.raises(UnreadableFile, match=r"ending in \.nii\.gz or \.nii"):
        read_image(tmp_path / "a.mha")
    assert sidecar_path("x/cine.sax.nii.gz") == Path("x/cine.sax.json")


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[1]", "expected a JSON object, got list")])
def test_a_broken_sidecar(tmp_path: Path, text: str, message: str) -> None:
    write_image(tmp_path / "a.nii", IMAGE, spacing_mm=SPACING, sidecar={})
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableFile, match=message):
        read_image(tmp_path / "a.nii")
