"""Do reliability and shift come out of a scan's file as they do from its arrays?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cohort.cmrxrecon import write_kspace
from flows.arms import ArmMask, arm_metadata
from flows.caching import write_manifest
from flows.config import Arm, Reconstruction, Running, Undersampling, ValidationConfig
from flows.reliability import reliability_entry, slice_reliability
from flows.shift import middle_slice, read_summary, shift_arm, shift_rows, write_summary
from flows.stages import ScanJob
from recon.cardiomm.prompts import HashedNgramEncoder
from recon.fourier import fft2c, remove_readout_oversampling
from recon.reliability import reliability
from recon.sampling import undersampling_mask
from recon.shift import MEASURES, shift_from_training, summarize_scan
from recon.training_cohort import training_cohort

FRAMES, SLICES, COILS, NY, NX = 2, 3, 4, 64, 40
INFO = {"FOVx(mm)": 320.0, "FOVy(mm)": 300.0, "ReadOutOversample": 2, "SlicePitch(mm)": 10.0, "TR(ms)": 400.0}
ARM = Arm("sense", "Uniform", 2.0)


@pytest.fixture
def stored() -> NDArray[np.complex64]:
    """k-space of ellipses in smooth coils, the readout oversampled twice, with some noise."""
    rng = np.random.default_rng(6)
    y, x = np.linspace(-1, 1, NY)[:, None], np.linspace(-2, 2, 2 * NX)
    angles = 2 * np.pi * np.arange(COILS)[:, None, None] / COILS
    maps = np.exp(-0.5 * ((x - np.cos(angles)) ** 2 + (y - np.sin(angles)) ** 2) + 1j * angles)
    image = np.zeros((FRAMES, SLICES, 1, NY, 2 * NX)) + (x**2 / 0.5 + y**2 / 0.6 < 1)
    image[:, 1] += x**2 + (y - 0.1) ** 2 < 0.1
    noise = rng.standard_normal((2, FRAMES, SLICES, COILS, NY, 2 * NX))
    return (fft2c(image * maps) + 0.01 * (noise[0] + 1j * noise[1])).astype(np.complex64)


@pytest.fixture
def job(tmp_path: Path, stored: NDArray[np.complex64]) -> ScanJob:
    path = tmp_path / "Cine/TestSet/FullSample/Center001/Siemens_15T_Aera/P001/cine_sax.mat"
    write_kspace(path, stored, info=INFO)
    words = {"study": "s", "center": "Center001", "vendor": "Siemens", "scanner": "Siemens_15T_Aera", "disease": ""}
    return ScanJob(
        **words,
        patient="P001",
        modality="cine",
        view="short-axis",
        stem="cine_sax",
        field_t=1.5,
        path=path,
        folder=tmp_path,
    )


@pytest.fixture
def config(tmp_path: Path) -> ValidationConfig:
    return ValidationConfig(
        name="s",
        cohort=tmp_path,
        out=tmp_path,
        undersampling=Undersampling(patterns=(("Uniform", 2.0), ("ktRadial", 4.0)), n_calibration=16),
        reconstruction=Reconstruction(methods=("zero_filled", "sense")),
        running=Running(device="cpu"),
    )


def test_slices_of_a_stream_make_the_scan(
    stored: NDArray[np.complex64], job: ScanJob, config: ValidationConfig
) -> None:
    kspace = remove_readout_oversampling(stored, 2)
    sampled = undersampling_mask("Uniform", nx=NX, ny=NY, n_frames=FRAMES, acceleration=2, n_calibration=16)
    mask = ArmMask(sampled, 1.6, 16, seed=5)
    options: dict[str, Any] = {"image": None, "job": job, "config": config, "encoder": HashedNgramEncoder()}
    results = [slice_reliability(kspace[:, z : z + 1], ARM, mask, **options) for z in range(SLICES)]
    entry = reliability_entry([result for result in results if result is not None])
    whole = reliability(
        kspace,
        sampled,
        method="sense",
        metadata=arm_metadata(ARM, job=job, n_calibration=16),
        rng=np.random.default_rng((3, 5)),
        device="cpu",
        shared_maps=True,
    )
    assert entry["status"] == "ok"
    assert entry["score"] == pytest.approx(whole.score)
    assert entry["expected_nmse"] == pytest.approx(10**whole.score)
    assert len(entry["slice_scores"]) == SLICES
    json.dumps(entry, allow_nan=False)


def test_methods_without_a_score_and_problems_are_told_apart(
    stored: NDArray[np.complex64], job: ScanJob, config: ValidationConfig
) -> None:
    mask = ArmMask(np.ones((FRAMES, NY, 2 * NX), np.bool_), 1.0, 16)
    options: dict[str, Any] = {"image": None, "job": job, "config": config, "encoder": HashedNgramEncoder()}
    assert slice_reliability(stored, Arm("zero_filled", "Uniform", 2.0), mask, **options) is None
    assert reliability_entry([])["status"] == "not_scored"
    assert reliability_entry([], problem="too few lines") == {"status": "failed", "reason": "too few lines"}


def test_shift_of_files_is_that_of_their_middle_slices(
    stored: NDArray[np.complex64], job: ScanJob, config: ValidationConfig, tmp_path: Path
) -> None:
    config = replace(config, reconstruction=Reconstruction(methods=("sense", "cardiomm")))
    assert [shift_arm(n, config).pattern for n in range(3)] == ["Uniform", "ktRadial", "Uniform"]  # type: ignore[union-attr]
    middle = middle_slice(job, ARM, config)
    np.testing.assert_allclose(middle.kspace, remove_readout_oversampling(stored[:, 1:2], 2), atol=1e-3)
    jobs = [replace(job, folder=tmp_path / name) for name in ("first", "second", "bad", "not reconstructed")]
    for one in jobs[:3]:
        write_manifest(one.reconstruction, key="reconstructed", files=[], content={})
    jobs[2] = replace(jobs[2], path=tmp_path / "none.mat")
    paths = [write_summary(one, ARM, config) for one in jobs[:3]]
    assert paths == [jobs[0].folder / "shift.json", jobs[1].folder / "shift.json", None]
    summary = summarize_scan(middle.kspace, middle.sampled, metadata=middle.said)
    assert read_summary(paths[0]) == summary  # type: ignore[arg-type]
    cohort = training_cohort([summary, summary], sentences=[], notes={})
    rows = shift_rows(jobs, cohort=cohort)
    expected = shift_from_training([("Center001", middle.kspace, middle.sampled, middle.said)] * 2, cohort=cohort)
    assert [row["value"] for row in rows] == [row.value for row in expected]
    assert [row["measure"] for row in rows] == list(MEASURES)
    assert {row["n_scans"] for row in rows} == {2}
    assert not any(row["flagged"] for row in rows if row["measure"] == "text_novelty")
    json.dumps(rows, allow_nan=False)


def test_a_summary_is_kept_while_the_reconstruction_is_the_same(job: ScanJob, config: ValidationConfig) -> None:
    def written() -> int:
        path = write_summary(job, ARM, config)
        assert path is not None
        return path.stat().st_ino  # another file each time, since it is written beside and renamed

    write_manifest(job.reconstruction, key="first", files=[], content={})
    first = written()
    assert written() == first
    write_manifest(job.reconstruction, key="second", files=[], content={})
    assert written() != first


def test_no_shift_without_a_trained_network(job: ScanJob, config: ValidationConfig) -> None:
    assert shift_arm(0, config) is None
    assert shift_rows([job]) == []


def test_a_summary_of_a_single_coil_survives_its_file(
    stored: NDArray[np.complex64], job: ScanJob, config: ValidationConfig
) -> None:
    write_kspace(job.path, stored[:, :, :1], info=INFO)
    write_manifest(job.reconstruction, key="one coil", files=[], content={})
    path = write_summary(job, ARM, config)
    assert path is not None
    assert np.isnan(read_summary(path).coil_correlation)
