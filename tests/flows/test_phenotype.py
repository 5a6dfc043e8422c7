"""Are images that are already reconstructed found, measured and written down, DICOM and NIfTI alike?"""

import gzip
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from typer.testing import CliRunner

import flows.phenotype_series
from cohort.images import read_labels, read_placed, write_image
from cohort.normal_values import normal_range
from cohort.records import ConfigProblem, MeasurementFailed, WeightsProblem
from cohort.synthetic.population import SyntheticPatient, draw_patient
from cohort.synthetic.render import DIASTASIS_PHASE, Cine, plan_stack, render_cine, render_mapping
from cohort.synthetic.truth import mapping_truth
from flows.caching import read_manifest
from flows.cli import app
from flows.phenotype import PhenotypeSummary, phenotype
from flows.phenotype_inputs import find_images
from flows.phenotype_series import PhenotypeOptions, failed_checks
from phenotyping.volumes import measure_volumes

OPTIONS = PhenotypeOptions(study="study", center="local", model_folder=None, label_map={}, device="cpu")
MATRIX, FOV_MM = (104, 104), (300.0, 300.0)
PIXEL_MM = FOV_MM[0] / MATRIX[0]
N_FRAMES, N_SLICES = 6, 5
ROW, COLUMN, NORMAL = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0]), np.array([-0.6, 0.8, 0.0])
SECRETS = ("Doe", "Jane", "MRN12345", "19700102", "St_Xavier")


@pytest.fixture(scope="module")
def patient() -> SyntheticPatient:
    return draw_patient("normal", rng=np.random.default_rng(5), field_t=1.5)


@pytest.fixture(scope="module")
def rendered(patient: SyntheticPatient) -> Cine:
    return render_cine(
        patient,
        n_frames=N_FRAMES,
        n_slices=N_SLICES,
        matrix=MATRIX,
        fov_mm=FOV_MM,
        oversample=1.0,
        rng=np.random.default_rng(1),
    )


@pytest.fixture(scope="module")
def cine(rendered: Cine) -> NDArray[np.uint16]:
    """(frames, slices, y, x)"""
    images = np.abs(rendered.images)
    noisy = images + np.random.default_rng(2).normal(0, 0.02 * images.max(), images.shape)
    return np.round(np.abs(noisy) / images.max() * 2000).astype(np.uint16)


@pytest.fixture(scope="module")
def molli(patient: SyntheticPatient) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Signed (times, 1, y, x) and times in ms."""
    made = render_mapping(patient, kind="T1", matrix=MATRIX, fov_mm=FOV_MM, n_slices=3, slice_index=1, oversample=1.0)
    return made.images / np.abs(made.images).max() * 2000, made.times_ms


def write_dicom(path: Path, pixels: NDArray[Any], *, series: str, position: NDArray[np.float64], **given: Any) -> None:
    file, meta = Dataset(), FileMetaDataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, file.SOPClassUID
    meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = "1.2.826.1", series, "1.2.826.2"
    file.PatientName, file.PatientID, file.PatientBirthDate = "Doe^Jane", "MRN12345", "19700102"
    file.InstitutionName, file.StudyDescription = "St_Xavier", "Doe heart"
    file.Modality, file.Manufacturer, file.MagneticFieldStrength = "MR", "Siemens", 1.5
    file.ImagePositionPatient, file.ImageOrientationPatient = position.tolist(), [*ROW, *COLUMN]
    file.PixelSpacing, file.SliceThickness = [PIXEL_MM, PIXEL_MM], 8
    file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = *pixels.shape, 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    for name, value in given.items():
        setattr(file, name, value)
    file.PixelData = pixels.astype(np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)


def pitch_mm(patient: SyntheticPatient) -> float:
    return plan_stack(patient, n_slices=N_SLICES).pitch_mm


@pytest.fixture(scope="module")
def images(
    tmp_path_factory: pytest.TempPathFactory,
    patient: SyntheticPatient,
    cine: NDArray[np.uint16],
    molli: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> Path:
    """A cine, a T1 series with phase, a long axis and a damaged file of one patient, file names at random."""
    root = tmp_path_factory.mktemp("images")
    folder = root / "P7"
    names = iter(np.random.default_rng(0).permutation(1000).tolist())
    step = patient.rr_ms / N_FRAMES
    for t in range(N_FRAMES):
        for z in range(N_SLICES):
            write_dicom(
                folder / f"{next(names)}",
                cine[t, z],
                series="1.2.826.3",
                position=z * pitch_mm(patient) * NORMAL,
                SeriesNumber=3,
                TriggerTime=round(step * t, 2),
                HeartRate=round(patient.heart_rate_bpm),
                SeriesDescription="cine sax",
            )
        write_dicom(
            folder / f"{next(names)}",
            cine[t, 2],
            series="1.2.826.4",
            position=np.zeros(3),
            SeriesNumber=4,
            TriggerTime=step * t,
            SeriesDescription="cine 4ch",
        )
    signed, times = molli
    for i, time in enumerate(times):
        common = {"position": 40 * NORMAL, "InversionTime": round(float(time), 1), "InstanceNumber": i}
        write_dicom(folder / f"{next(names)}", np.abs(signed[i, 0]), series="1.2.826.5", SeriesNumber=5, **common)
        # phase images hold 0 or half a turn, with the phase of coils on top
        turn = np.where(signed[i, 0] < 0, np.pi, 0.0) + 0.7
        stored = np.round((turn + np.pi) % (2 * np.pi) / (2 * np.pi) * 4095)
        scale = {"RescaleSlope": 2, "RescaleIntercept": -4096, "ImageType": ["ORIGINAL", "PRIMARY", "P"]}
        write_dicom(folder / f"{next(names)}", stored, series="1.2.826.6", SeriesNumber=6, **common, **scale)
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM")
    return root


@pytest.fixture(scope="module")
def measured(images: Path, tmp_path_factory: pytest.TempPathFactory) -> PhenotypeSummary:
    return phenotype(images, tmp_path_factory.mktemp("results"), options=OPTIONS)


def value(summary: PhenotypeSummary, name: str) -> float:
    rows = summary.measurements[summary.measurements["phenotype"] == name]
    assert len(rows) == 1, rows
    return float(rows["value"].iloc[0])


def test_every_series_is_listed_and_the_rest_go_on(measured: PhenotypeSummary) -> None:
    table = measured.series.set_index("series")
    assert table["status"].to_dict() == {
        "P7_series003": "measured", "P7_series004": "skipped", "P7_series005": "measured",
    }  # fmt: skip
    assert "not of the short axis" in table.loc["P7_series004", "reason"]
    assert measured.failures["file"].tolist() == ["P7/broken.dcm"]
    assert measured.exit_status == 3


def test_the_phantom_is_measured_right(measured: PhenotypeSummary, patient: SyntheticPatient, rendered: Cine) -> None:
    drawn = rendered.label_fractions.argmax(axis=2).astype(np.uint8)
    truth = measure_volumes(drawn, spacing_mm=(pitch_mm(patient), PIXEL_MM, PIXEL_MM))
    # not at end systole: the base has moved out of the first slice, and with five slices one weighs much
    for name, within in (("lv_edv_ml", 0.1), ("rv_edv_ml", 0.15), ("lv_mass_g", 0.2)):
        assert value(measured, name) == pytest.approx(getattr(truth, name), rel=within), name
    rate = round(patient.heart_rate_bpm)
    assert value(measured, "lv_co_l_min") == pytest.approx(value(measured, "lv_sv_ml") * rate / 1000)
    z_mm = plan_stack(patient, n_slices=3).z_mm[1]
    t1 = mapping_truth(patient, z_mm=z_mm, phase=DIASTASIS_PHASE)["phenotypes"]["t1_ms"]
    assert value(measured, "t1_ms") == pytest.approx(t1, rel=0.05)
    assert value(measured, "septal_t1_ms") == pytest.approx(t1, rel=0.05)
    facts = read_manifest(measured.folder / "P7_series005" / "series.json")["facts"]
    assert facts["map"]["wall"]["median_ms"] == value(measured, "t1_ms")
    assert "segment 8" in facts["map"]
    assert {"t1_ms", "wall_thickness_mean"} <= set(pd.read_csv(measured.folder / "segments.csv")["quantity"])
    place = measured.folder / "P7_series005"
    t1_ms, sd_ms, r2 = (read_placed(place / f"t1_{name}.nii.gz", allow_nan=True).image for name in ("map", "sd", "r2"))
    wall = read_labels(place / "labels.nii.gz")[0] == 2
    assert 0 < np.nanmedian(sd_ms[wall]) < 0.1 * np.nanmedian(t1_ms[wall])
    assert 0.9 < np.nanmedian(r2[wall]) <= 1


def test_the_worst_check_of_labels_stands_beside_the_series(measured: PhenotypeSummary) -> None:
    stored = read_manifest(measured.folder / "P7_series003" / "series.json")["facts"]["quality_control"]
    outcomes = {check["status"] for check in stored}
    worst = next(word for word in ("fail", "warn", "pass") if word in outcomes)
    assert measured.series.set_index("series")["quality"].to_dict() == {
        "P7_series003": worst, "P7_series004": "", "P7_series005": "",
    }  # fmt: skip


def test_published_values_stand_beside_the_tables(measured: PhenotypeSummary) -> None:
    """The header does not name the sequence: every study at the field, none of another, and a word that says so."""
    table = pd.read_csv(measured.folder / "normal_values.csv", keep_default_na=False)
    assert set(table["phenotype"]) == {"t1_ms", "septal_t1_ms"}
    mine = table[table["phenotype"] == "t1_ms"]
    assert set(mine["value"]) == {value(measured, "t1_ms")}
    expected = normal_range("t1_ms", field_t=1.5)
    assert mine["source"].tolist() == [row.source for row in expected.values]
    assert mine["normal_mean"].astype(float).tolist() == [row.mean for row in expected.values]
    assert mine["reason"].str.contains("not comparable").all()
    assert mine["sequence"].eq("").all()


def test_pictures_say_that_labels_failed() -> None:
    findings = [{"check": check, "status": status} for check, status in (("ring", "fail"), ("EF", "warn"))]
    assert failed_checks({"quality_control": findings}) == "; labels failed quality control: ring"
    assert failed_checks({"quality_control": findings[1:]}) == failed_checks({}) == ""


def test_the_table_is_the_tidy_one(measured: PhenotypeSummary) -> None:
    table = pd.read_parquet(measured.folder / "measurements.parquet")
    pd.testing.assert_frame_equal(table, measured.measurements)
    assert (table["method"] == "images").all()
    assert set(table["patient"]) == {"P7"}
    assert (table["field_t"] == 1.5).all()
    assert set(table["vendor"]) == {"Siemens"}
    record = tomllib.loads((measured.folder / "run.toml").read_text())
    assert record["provenance"]["weights"]["sha256"]
    assert record["phenotype"]["series"] == {"measured": 2, "skipped": 1}


def test_labels_lie_on_the_images(measured: PhenotypeSummary, patient: SyntheticPatient) -> None:
    labels = read_placed(measured.folder / "P7_series003" / "labels.nii.gz")
    assert labels.image.shape == (N_FRAMES, N_SLICES, *MATRIX)
    assert labels.spacing_mm == pytest.approx((pitch_mm(patient), PIXEL_MM, PIXEL_MM), rel=1e-4)
    assert labels.frame_time_s == pytest.approx(patient.rr_ms / N_FRAMES / 1000, rel=1e-3)
    lps = 3 * PIXEL_MM * ROW + 5 * PIXEL_MM * COLUMN + 2 * pitch_mm(patient) * NORMAL
    np.testing.assert_allclose((labels.affine @ [3, 5, 2, 1])[:3], lps * [-1, -1, 1], atol=1e-3)


def test_segmentations_refer_to_the_images_they_are_of(measured: PhenotypeSummary, images: Path) -> None:
    folder = measured.folder / "P7_series003"
    labels = read_placed(folder / "labels.nii.gz").image
    by_time: dict[float, list[Any]] = {}
    for path in (images / "P7").iterdir():
        if path.name != "broken.dcm":
            file = pydicom.dcmread(path, stop_before_pixels=True)
            if file.SeriesNumber == 3:
                by_time.setdefault(float(file.TriggerTime), []).append(file)
    for t, time in enumerate(sorted(by_time)):
        row = sorted(by_time[time], key=lambda f: np.dot(f.ImagePositionPatient, NORMAL))
        segmentation = highdicom.seg.segread(folder / "segmentation" / f"segmentation_t{t:02d}.dcm")
        again = segmentation.get_pixels_by_source_instance(
            [f.SOPInstanceUID for f in row], combine_segments=True, assert_missing_frames_are_empty=True
        )
        np.testing.assert_array_equal(again, labels[t])


def test_nothing_that_identifies_a_patient_is_written(measured: PhenotypeSummary) -> None:
    files = [path for path in measured.folder.rglob("*") if path.is_file()]
    assert {"picture.png", "labels.json", "series.json", "run.toml", "t1_map.nii.gz"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".png":  # of pixels, compressed, any three letters can come by chance
            with Image.open(path) as picture:
                content = repr(picture.info).encode()
        elif path.suffix == ".gz":
            content = gzip.decompress(content)
        assert not [secret for secret in SECRETS if secret.encode() in content], path


def test_the_phase_gives_the_signs(measured: PhenotypeSummary) -> None:
    sidecar = read_placed(measured.folder / "P7_series005" / "t1_map.nii.gz", allow_nan=True).sidecar
    assert "signs from the phase images" in sidecar["fit"]


def single_slice_series(root: Path, cine: NDArray[np.uint16], patient: SyntheticPatient) -> None:
    """The cine as some scanners store it: a series for each slice."""
    for t in range(N_FRAMES):
        for z in range(N_SLICES):
            place = {"series": f"1.2.826.9.{z}", "position": z * pitch_mm(patient) * NORMAL}
            write_dicom(root / f"{t}_{z}", cine[t, z], SeriesNumber=10 + z, TriggerTime=100.0 * t, **place)


def labeled_as(monkeypatch: pytest.MonkeyPatch, rendered: Cine) -> None:
    """Labels as they were drawn instead of a network's."""
    drawn = rendered.label_fractions.argmax(axis=2).astype(np.uint8)
    monkeypatch.setattr(flows.phenotype_series, "segment", lambda *_, **__: drawn)


@pytest.fixture
def series_a_slice(
    patient: SyntheticPatient,
    rendered: Cine,
    cine: NDArray[np.uint16],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder with a series for each slice, whose labels are those that were drawn."""
    single_slice_series(tmp_path / "in", cine, patient)
    labeled_as(monkeypatch, rendered)
    return tmp_path / "in"


def test_a_stack_of_single_slice_series_has_segmentations(series_a_slice: Path, tmp_path: Path) -> None:
    summary = phenotype(series_a_slice, tmp_path / "out", options=OPTIONS)
    (row,) = summary.series.to_dict("records")
    assert (row["status"], row["note"]) == ("measured", f"put together from {N_SLICES} series of one slice each")
    files = sorted((tmp_path / "out" / row["series"] / "segmentation").iterdir())
    assert len(files) == N_FRAMES
    series = {one.SeriesInstanceUID for one in pydicom.dcmread(files[0]).ReferencedSeriesSequence}
    assert series == {f"1.2.826.9.{z}" for z in range(N_SLICES)}


def test_without_segmentations_the_numbers_stay(
    series_a_slice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refuse(folder: Path, *_: Any, **__: Any) -> None:
        folder.mkdir(parents=True)
        (folder / "segmentation_t00.dcm").write_text("half of it")
        raise TypeError("no such header")

    monkeypatch.setattr(flows.phenotype_series, "write_segmentations", refuse)
    summary = phenotype(series_a_slice, tmp_path / "out", options=OPTIONS)
    (row,) = summary.series.to_dict("records")
    assert row["status"] == "measured"
    assert row["note"].endswith("; no DICOM SEG: no such header")
    assert value(summary, "lv_edv_ml") > 50
    assert not [*(tmp_path / "out").rglob("*.dcm")]
    assert summary.exit_status == 0


def test_what_is_complete_is_not_done_again(
    measured: PhenotypeSummary, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, root = tmp_path / "out", tmp_path / "in"
    shutil.copytree(measured.folder, out)
    shutil.copytree(images, root)

    def stop(*_: Any, **__: Any) -> None:
        raise MeasurementFailed("was labeled again")

    monkeypatch.setattr(flows.phenotype_series, "segment", stop)
    again = phenotype(root, out, options=OPTIONS)
    pd.testing.assert_frame_equal(again.measurements, measured.measurements)
    # other pixels in one file: that series is done again, the other is not
    for path in (root / "P7").iterdir():
        if path.name != "broken.dcm" and pydicom.dcmread(path, stop_before_pixels=True).SeriesNumber == 3:
            file = pydicom.dcmread(path)
            file.PixelData = bytes(len(file.PixelData))
            file.save_as(path)
            break
    changed = phenotype(root, out, options=OPTIONS)
    assert changed.series.set_index("series")["status"].to_dict() == {
        "P7_series003": "failed", "P7_series004": "skipped", "P7_series005": "measured",
    }  # fmt: skip
    reasons = changed.measurements.groupby("scan")["reason"].first()
    assert reasons["P7_series003"] == "was labeled again"
    assert not [path for path in (out / "P7_series003").rglob("*") if path.is_file()], "of other images, and gone"


def write_nifti(path: Path, image: NDArray[Any], patient: SyntheticPatient, *, frame_s: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(
        path,
        image.astype(np.float32),
        spacing_mm=(pitch_mm(patient), PIXEL_MM, PIXEL_MM),
        sidecar={"frame_time_s": frame_s},
    )
    path.with_name(path.name.replace(".nii.gz", ".json")).unlink()


def test_nifti_measures_as_dicom_does(
    measured: PhenotypeSummary, patient: SyntheticPatient, cine: NDArray[np.uint16], tmp_path: Path
) -> None:
    """Turned around as converters write it, with the affine that says so."""
    seconds = patient.rr_ms / N_FRAMES / 1000
    write_nifti(tmp_path / "in" / "P9" / "cine.nii.gz", cine, patient, frame_s=seconds)
    path = tmp_path / "in" / "P9" / "cine.nii.gz"
    nifti: Any = nibabel.load(path)
    data, zooms = np.asarray(nifti.dataobj)[:, ::-1], nifti.header.get_zooms()
    affine = np.eye(4)
    columns = [ROW * PIXEL_MM, -COLUMN * PIXEL_MM, NORMAL * pitch_mm(patient)]
    affine[:3, :3] = np.diag([-1, -1, 1]) @ np.column_stack(columns)
    turned = nibabel.Nifti1Image(data, affine)
    turned.header.set_xyzt_units("mm", "sec")
    turned.header.set_zooms(zooms)
    nibabel.save(turned, path)
    summary = phenotype(tmp_path / "in", tmp_path / "out", options=OPTIONS)
    for name in ("lv_edv_ml", "lv_ef_percent", "rv_edv_ml", "lv_mass_g", "lv_co_l_min"):
        assert value(summary, name) == pytest.approx(value(measured, name), rel=0.02), name
    labels = read_placed(tmp_path / "out" / "cine" / "labels.nii.gz")
    np.testing.assert_allclose(labels.affine, affine, atol=1e-4)
    as_dicom = read_placed(measured.folder / "P7_series003" / "labels.nii.gz").image
    same = labels.image[:, :, ::-1] == as_dicom
    assert same.mean() > 0.999
    assert summary.exit_status == 0


def test_the_layout_of_acdc(patient: SyntheticPatient, cine: NDArray[np.uint16], tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number, t in ((1, 0), (9, 2)):
        write_nifti(root / "patient003" / f"patient003_frame{number:02d}.nii.gz", cine[t][None], patient)
        write_nifti(root / "patient003" / f"patient003_frame{number:02d}_gt.nii.gz", cine[t][None], patient)
    write_nifti(root / "patient004" / "patient004_4d.nii.gz", cine, patient)
    write_nifti(root / "patient004" / "patient004_frame01.nii.gz", cine[0][None], patient)
    write_nifti(root / "lone" / "volume.nii.gz", cine[0][None], patient)
    (root / "lone" / "bad.nii.gz").write_bytes(b"no gzip")
    series, problems = find_images(root)
    assert {(s.name, s.patient, s.kind, len(s.files)) for s in series} == {
        ("patient003", "patient003", "cine", 2),
        ("patient004_4d", "patient004", "cine", 1),
        ("volume", "lone", "other", 1),
    }
    assert [problem.path.name for problem in problems] == ["bad.nii.gz"]
    forced, _ = find_images(root, modality="cine")
    assert {s.kind for s in forced} == {"cine"}
    summary = phenotype(root / "patient003", tmp_path / "out", options=OPTIONS)
    assert value(summary, "lv_ef_percent") > 20


def test_a_nifti_mapping_series_has_its_times_beside_it(
    molli: tuple[NDArray[np.float32], NDArray[np.float64]], patient: SyntheticPatient, tmp_path: Path
) -> None:
    signed, times = molli
    path = tmp_path / "in" / "t1.nii.gz"
    spacing = (8.0, PIXEL_MM, PIXEL_MM)
    write_image(path, np.abs(signed), spacing_mm=spacing, sidecar={"inversion_times_ms": times.tolist()})
    summary = phenotype(tmp_path / "in", tmp_path / "out", options=OPTIONS)
    z_mm = plan_stack(patient, n_slices=3).z_mm[1]
    truth = mapping_truth(patient, z_mm=z_mm, phase=DIASTASIS_PHASE)["phenotypes"]["t1_ms"]
    assert value(summary, "t1_ms") == pytest.approx(truth, rel=0.05)
    write_image(path, np.abs(signed), spacing_mm=spacing, sidecar={"inversion_times_ms": [1, 2]})
    summary = phenotype(tmp_path / "in", tmp_path / "out", options=OPTIONS)
    assert summary.exit_status == 3
    assert "2 times in the .json" in summary.failures["reason"].iloc[0]


def test_patients_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        write_dicom(
            tmp_path / f"{number}", np.zeros((4, 4)), series=f"1.2.{number}", position=np.zeros(3), PatientID=name
        )
    series, _ = find_images(tmp_path)
    assert len({s.patient for s in series}) == 2
    assert all(s.patient.startswith(tmp_path.name) for s in series)


def test_results_inside_the_folder_are_not_taken_for_images(
    patient: SyntheticPatient, cine: NDArray[np.uint16], tmp_path: Path
) -> None:
    write_nifti(tmp_path / "cine.nii.gz", cine, patient)
    write_nifti(tmp_path / "out" / "map.nii.gz", cine, patient)
    series, _ = find_images(tmp_path, skip=tmp_path / "out")
    assert [s.name for s in series] == ["cine"]


@pytest.mark.parametrize(
    ("make", "modality", "message"),
    [
        (False, "auto", "is no folder"),
        (True, "auto", "no DICOM or NIfTI image"),
        (True, "ct", "modality is auto, cine"),
    ],
)
def test_bad_calls(tmp_path: Path, make: bool, modality: str, message: str) -> None:
    folder = tmp_path / "in"
    if make:
        folder.mkdir()
        (folder / "notes.txt").write_text("nothing")
    with pytest.raises(ConfigProblem, match=message):
        phenotype(folder, tmp_path / "out", options=OPTIONS, modality=modality)


def test_a_model_that_cannot_be_used_ends_the_run(images: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    broken = replace(OPTIONS, model_folder=tmp_path / "model")
    with pytest.raises(WeightsProblem, match=r"dataset\.json"):
        phenotype(images, tmp_path / "out", options=broken)
    wrong = replace(OPTIONS, label_map={"no such label": "RV cavity"})
    with pytest.raises(ConfigProblem, match="no such label"):
        phenotype(images, tmp_path / "out", options=wrong)


def test_the_command(images: Path, measured: PhenotypeSummary, tmp_path: Path) -> None:
    shutil.copytree(measured.folder, tmp_path / "out")  # nothing is left to do
    call = ["phenotype", str(images), "--out", str(tmp_path / "out"), "--study", "study", "--device", "cpu"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 3, done.output
    assert "P7_series003" in done.output
    assert "LVEF" in done.output
    assert CliRunner().invoke(app, ["phenotype", "--help"]).exit_code == 0
