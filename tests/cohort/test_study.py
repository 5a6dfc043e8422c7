"""Is a simulated cohort read back like a scanned one, with its truth beside it and marked as simulated?"""

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cohort.catalogue import scan_tree
from cohort.cmrxrecon import read_info, read_kspace, read_times_ms
from cohort.geometry import scan_geometry
from cohort.images import read_labels
from cohort.phenotypes import VOCABULARY
from cohort.synthetic.acquisition import Receiver
from cohort.synthetic.from_acdc import PHASE_MARGIN, resample_labels, simulate_from_acdc
from cohort.synthetic.study import Center, ScanPlan, simulate_cohort
from recon.fourier import ifft2c, remove_readout_oversampling

MATRIX, FOV = (64, 72), (288.0, 324.0)
CENTERS = (
    Center("Center001", "Siemens", "Aera", 1.5, MATRIX, FOV, Receiver(n_coils=3, snr=40.0)),
    Center("Center002", "UIH", "umr780", 3.0, MATRIX, FOV, Receiver(n_coils=2, snr=60.0, prescan_normalized=True)),
)
N_PHASE = 2 * round(PHASE_MARGIN * 48 * 1.5 / 3.0 / 2)
PLAN = ScanPlan(n_frames=2, n_slices=2)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One patient at each of two centers: cine, T1 and T2."""
    root = tmp_path_factory.mktemp("cohort")
    before = np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    paths = simulate_cohort(root, centers=CENTERS, patients_per_center=1, plan=PLAN, seed=3)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002
    assert len(paths) == 6
    return root


def beside(path: str | Path, ending: str) -> Path:
    return Path(path).with_name(Path(path).stem + ending)


def scans(root: Path) -> list[Any]:
    return list(scan_tree(root).itertuples())


def truth_of(path: str | Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(beside(path, "_truth.json").read_text())
    return content


def test_every_scan_is_in_the_catalogue_and_good(cohort: Path) -> None:
    table = scan_tree(cohort)
    assert table["status"].tolist() == ["ok"] * 6, table["reason"].tolist()
    assert sorted(set(table["modality"])) == ["T1 mapping", "T2 mapping", "cine"]
    assert set(zip(table["center"], table["vendor"], table["scanner"], table["field_t"], strict=True)) == {
        ("Center001", "Siemens", "Aera", 1.5),
        ("Center002", "UIH", "umr780", 3.0),
    }
    assert set(table["disease"]) == {"normal", "dilated"}
    cine = table[(table["stem"] == "cine_sax") & (table["center"] == "Center001")].iloc[0]
    assert tuple(cine["shape"]) == (2, 2, 3, 64, 144)


def test_headers_say_simulated_and_give_the_geometry(cohort: Path) -> None:
    for row in scans(cohort):
        info = read_info(row.path)
        assert info["Simulated"] == "synthetic phantom"
        geometry = scan_geometry(info, shape=row.shape, scanner=row.scanner, readout_removed=False)
        assert geometry.spacing_mm[1:] == pytest.approx((4.5, 4.5))
        labels, spacing, _ = read_labels(beside(row.path, "_truth_labels.nii.gz"))
        assert spacing == pytest.approx(geometry.spacing_mm, rel=1e-4)
        frames = row.shape[0] if row.stem == "cine_sax" else 1
        assert labels.shape == (frames, row.shape[1], *MATRIX)
        if row.stem == "cine_sax":
            assert geometry.frame_time_s == pytest.approx(60 / float(info["HeartRate"]) / 2, rel=1e-3)


def test_truth_names_phenotypes_of_the_vocabulary_with_finite_values(cohort: Path) -> None:
    for path in scan_tree(cohort)["path"]:
        truth = truth_of(path)
        assert truth["source"] == "closed form"
        assert truth["simulated"] == "synthetic phantom"
        values = truth["phenotypes"]
        assert set(values) <= set(VOCABULARY)
        assert all(value is not None and np.isfinite(value) for value in values.values())
        if Path(path).stem == "cine_sax":
            sides = {f"{side}_{name}" for side in ("lv", "rv") for name in ("edv_ml", "esv_ml", "sv_ml", "ef_percent")}
            assert sides | {"lv_mass_g", "lv_co_l_min", "max_wall_thickness_mm"} <= set(values)
        else:
            assert {"t1_ms", "t2_ms"} <= set(values)


def test_labels_lie_on_the_image(cohort: Path) -> None:
    """Blood is brighter than muscle, and the labeled places show it: neither shifted nor transposed."""
    for path in sorted(cohort.rglob("cine_sax.mat")):
        image = np.linalg.norm(ifft2c(remove_readout_oversampling(read_kspace(path), 2)), axis=2)
        labels, _, _ = read_labels(beside(path, "_truth_labels.nii.gz"))
        blood, muscle = image[labels == 1].mean(), image[labels == 2].mean()
        assert blood > 1.5 * muscle
        for shift in ((6, 0), (0, 6), (-6, 0), (0, -6)):
            moved = np.roll(labels, shift, axis=(-2, -1))
            assert image[moved == 1].mean() - image[moved == 2].mean() < blood - muscle


def test_mapping_times_are_beside_the_series(cohort: Path) -> None:
    for path in cohort.rglob("T?map.mat"):
        times = read_times_ms(path)
        assert times.shape == (read_kspace(path).shape[0], 1)
        assert (np.diff(times[:, 0]) > 0).all()


def test_a_scan_depends_on_seed_center_and_number_only(cohort: Path, tmp_path: Path) -> None:
    plan = ScanPlan(n_frames=2, n_slices=2, mapping=())
    names: list[str] = []
    (path,) = simulate_cohort(
        tmp_path, centers=CENTERS[:1], patients_per_center=1, plan=plan, seed=3, progress=names.append
    )
    assert names == ["Center001 P001 cine_sax"]
    np.testing.assert_array_equal(read_kspace(path), read_kspace(cohort / path.relative_to(tmp_path)))


# --- from magnitude images


@pytest.fixture(scope="module")
def acdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One patient of (x, y, z) = (60, 48, 2): a ring of muscle around a cavity that empties to a quarter."""
    folder = tmp_path_factory.mktemp("acdc") / "patient012"
    folder.mkdir()
    (folder / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: HCM\nHeight: 170.0\nNbFrame: 30\nWeight: 70.0\n")
    x, y = np.meshgrid(np.arange(60), np.arange(48), indexing="ij")
    for frame, half in ((1, 8), (9, 4)):
        square = np.maximum(np.abs(x - 33.5), np.abs(y - 20.5))
        labels = np.where(square < half, 3, np.where(square < 12, 2, 0)).astype(np.uint8)
        labels[2:6, 10:14] = 1
        image = np.choose(labels, [20, 180, 80, 200]).astype(np.int16)
        for name, data in (("", image), ("_gt", labels)):
            volume = nib.Nifti1Image(np.repeat(data[..., None], 2, axis=2), np.diag([1.5, 1.5, 10.0, 1.0]))
            nib.save(volume, folder / f"patient012_frame{frame:02d}{name}.nii.gz")
    return folder.parent


@pytest.fixture(scope="module")
def simulated(acdc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    receiver = Receiver(n_coils=3, snr=80.0, prescan_normalized=True)
    root = tmp_path_factory.mktemp("from_acdc")
    (path,) = simulate_from_acdc(acdc, root, patients=["patient012"], pixel_mm=3.0, receiver=receiver)
    return path


def test_acdc_scan_is_good_and_marked(simulated: Path) -> None:
    root = simulated.parents[7]
    (row,) = scans(root)
    assert (row.status, row.patient, row.disease, row.modality) == ("ok", "P012", "hypertrophic", "cine")
    assert tuple(row.shape) == (2, 2, 3, N_PHASE, 60)  # 60 pixels of 1.5 mm at 3 mm, readout doubled
    info = read_info(simulated)
    assert info["Simulated"] == "from magnitude images"
    geometry = scan_geometry(info, shape=row.shape, scanner=row.scanner, readout_removed=False)
    assert geometry.spacing_mm == pytest.approx((10.0, 3.0, 3.0))
    with (root / "diseases.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"center": "Center001", "patient": "P012", "disease": "hypertrophic"}]


def test_acdc_truth_is_that_of_the_experts(simulated: Path) -> None:
    truth = truth_of(simulated)
    assert truth["source"] == "expert labels"
    values = truth["phenotypes"]
    # 16 x 16 and 8 x 8 pixels of 1.5 mm in two slices of 10 mm
    assert values["lv_edv_ml"] == pytest.approx(256 * 2.25 * 20 / 1000)
    assert values["lv_ef_percent"] == pytest.approx(75.0)
    assert values["lv_mass_g"] == pytest.approx((24**2 - 16**2) * 2.25 * 20 / 1000 * 1.05)
    assert values["rv_ef_percent"] == 0
    assert set(values) <= set(VOCABULARY)


def test_acdc_labels_and_image_share_the_new_grid(simulated: Path) -> None:
    labels, spacing, _ = read_labels(beside(simulated, "_truth_labels.nii.gz"))
    assert spacing == pytest.approx((10.0, 3.0, 3.0))
    assert labels.shape == (2, 2, N_PHASE, 30)
    # x from 26 to 41 and y from 13 to 28 of the fine grid, the edges half covered and so left to either side
    assert 49 <= (labels[0, 0] == 1).sum() <= 64
    image = np.linalg.norm(ifft2c(remove_readout_oversampling(read_kspace(simulated), 2)), axis=2)
    inside = labels == 1
    assert image[inside].mean() == pytest.approx(200, rel=0.1)
    assert image[labels == 2].mean() == pytest.approx(80, rel=0.2)


def test_resampling_keeps_place_and_takes_the_majority() -> None:
    labels = np.zeros((1, 1, 12, 8), np.uint8)
    labels[0, 0, 2:8, 4:6] = 3
    same = resample_labels(labels, (2.0, 2.0), matrix=(12, 8), pixel_mm=2.0)
    np.testing.assert_array_equal(same, labels)
    halved = resample_labels(labels, (2.0, 2.0), matrix=(6, 4), pixel_mm=4.0)
    assert np.argwhere(halved[0, 0] == 3).tolist() == [[1, 2], [2, 2], [3, 2]]
    wider = resample_labels(labels, (2.0, 2.0), matrix=(16, 12), pixel_mm=2.0)
    np.testing.assert_array_equal(wider[..., 2:14, 2:10], labels)
    assert wider.sum() == labels.sum()
    full = resample_labels(np.full((1, 1, 9, 9), 2, np.uint8), (1.0, 1.0), matrix=(6, 6), pixel_mm=1.5)
    np.testing.assert_array_equal(full, 2)
