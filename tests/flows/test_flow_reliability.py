"""Do reliability and shift come out of a scan's file as they do from its arrays?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cohort.cmrxrecon import write_kspace
from flows.arms import ArmMask, arm_metadata
from flows.config import Arm, Reconstruction, Running, Undersampling, ValidationConfig
from flows.reliability import reliability_entry, slice_reliability
from flows.shift import middle_slices, shift_rows
from flows.stages import ScanJob
from recon.cardiomm.prompts import HashedNgramEncoder
from recon.fourier import fft2c, remove_readout_oversampling
from recon.reliability import reliability
from recon.sampling import undersampling_mask
from recon.shift import MEASURES, summarize_scan
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


def test_shift_of_files_reads_middle_slices_and_leaves_out_bad_ones(
    stored: NDArray[np.complex64], job: ScanJob, config: ValidationConfig, tmp_path: Path
) -> None:
    bad = ScanJob(**{**vars(job), "path": tmp_path / "none.mat"})
    scans = list(middle_slices([job, bad, job], config))
    assert [scan[0] for scan in scans] == ["Center001"] * 2
    _, kspace, mask, metadata = scans[0]
    np.testing.assert_allclose(kspace, remove_readout_oversampling(stored[:, 1:2], 2), atol=1e-3)
    cohort = training_cohort(
        [summarize_scan(k, m, metadata=metadata) for _, k, m, metadata in scans], sentences=[], notes={}
    )
    rows = shift_rows([("A", kspace, mask, metadata)], cohort=cohort)
    assert [row["measure"] for row in rows] == list(MEASURES)
    assert not any(row["flagged"] for row in rows if row["measure"] == "text_novelty")
    json.dumps(rows, allow_nan=False)
