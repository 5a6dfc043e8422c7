"""Are ACDC patients read with our label order and axes, and is the held-out split what it claims to be?"""

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohort.acdc import GROUPS, SPLIT_FILE, draw_split, read_patient, split
from cohort.records import FileProblem, MissingFile, UnreadableFile, WrongShape

INFO = "ED: 1\nES: 4\nGroup: HCM\nHeight: 170.0\nNbFrame: 12\nWeight: 70.0\n"


def write_volume(path: Path, data: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(data, np.diag([1.5, 1.25, 8.0, 1.0])), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A patient of (x, y, z) = (6, 5, 3): each ACDC label in one known voxel."""
    folder = tmp_path / "patient007"
    folder.mkdir()
    (folder / "Info.cfg").write_text(INFO)
    for frame in (1, 4):
        image = np.arange(90, dtype=np.int16).reshape(6, 5, 3) + 100 * frame
        labels = np.zeros((6, 5, 3), np.uint8)
        labels[5, 0, 0], labels[0, 4, 1], labels[3, 2, 2] = 1, 2, 3
        write_volume(folder / f"patient007_frame{frame:02d}.nii.gz", image)
        write_volume(folder / f"patient007_frame{frame:02d}_gt.nii.gz", labels)
    return folder


def test_axes_labels_and_spacing(folder: Path) -> None:
    patient = read_patient(folder)
    assert patient.image.shape == patient.labels.shape == (2, 3, 5, 6)
    assert patient.image.dtype == np.float32
    assert patient.labels.dtype == np.uint8
    assert patient.spacing_mm == (8.0, 1.25, 1.5)
    assert patient.labels[0, 0, 0, 5] == 3  # ACDC 1: RV cavity
    assert patient.labels[0, 1, 4, 0] == 2  # ACDC 2: myocardium
    assert patient.labels[1, 2, 2, 3] == 1  # ACDC 3: LV cavity
    assert patient.image[1, 1, 3, 2] == 400 + 2 * 15 + 3 * 3 + 1
    assert (patient.patient, patient.group, patient.ed_frame, patient.es_frame) == ("patient007", "HCM", 1, 4)


def test_each_file_problem_names_the_file(folder: Path) -> None:
    (folder / "Info.cfg").write_text(INFO.replace("ES: 4", "ES: 5"))
    with pytest.raises(MissingFile, match=r"frame05\.nii\.gz"):
        read_patient(folder)
    (folder / "Info.cfg").write_text(INFO.replace("ES: 4\n", ""))
    with pytest.raises(UnreadableFile, match=r"Info\.cfg.*expected ED, ES"):
        read_patient(folder)
    with pytest.raises(MissingFile, match=r"Info\.cfg"):
        read_patient(folder / "absent")


def test_truncated_and_misshaped_files(folder: Path) -> None:
    path = folder / "patient007_frame04_gt.nii.gz"
    write_volume(path, np.zeros((6, 5, 2), np.uint8))
    with pytest.raises(WrongShape, match="frame04_gt"):
        read_patient(folder)
    write_volume(path, np.full((6, 5, 3), 7, np.uint8))
    with pytest.raises(UnreadableFile, match="labels 0 to 3"):
        read_patient(folder)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(FileProblem, match="frame04_gt"):
        read_patient(folder)


def test_split_is_disjoint_and_balanced() -> None:
    parts, groups = split(), json.loads(SPLIT_FILE.read_text())["groups"]
    assert (len(parts["training"]), len(parts["validation"])) == (80, 20)
    assert set(parts["training"]) | set(parts["validation"]) == set(groups)
    assert Counter(groups[patient] for patient in parts["validation"]) == dict.fromkeys(GROUPS, 4)


def test_split_is_the_one_drawn_with_the_stored_seed() -> None:
    stored = json.loads(SPLIT_FILE.read_text())
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    drawn = draw_split(stored["groups"], n_held_per_group=4, rng=np.random.default_rng(stored["seed"]))
    assert drawn == split()
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_real_patients(shared_data: Path) -> None:
    patient = read_patient(shared_data / "acdc" / "training" / "patient001")
    assert patient.spacing_mm == pytest.approx((10.0, 1.5625, 1.5625))
    assert (patient.group, patient.ed_frame, patient.es_frame, patient.n_frames) == ("DCM", 1, 12, 30)
    # the left ventricle is emptier at end systole
    lv, myo, rv = ((patient.labels == code).sum(axis=(1, 2, 3)) for code in (1, 2, 3))
    assert lv[0] > lv[1] > 0
    assert (myo > 0).all()
    assert (rv > 0).all()
