"""Do the options of the segmentation reach the labels that the stage writes?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flows.stages
from cohort.images import read_labels, write_image
from flows.caching import read_manifest, write_manifest
from flows.config import REFERENCE, Segmentation, ValidationConfig
from flows.stages import ScanJob, segment_scan, segmentation_key

CINE = {"study": "s", "center": "C", "vendor": "V", "field_t": 1.5, "scanner": "S", "disease": "", "patient": "P"}
CINE |= {"modality": "cine", "view": "short-axis", "stem": "cine_sax"}


@pytest.fixture
def job(tmp_path: Path) -> ScanJob:
    """A scan with one reconstructed arm."""
    job = ScanJob(**CINE, path=tmp_path / "cine_sax.mat", folder=tmp_path)  # type: ignore[arg-type]
    image = tmp_path / f"{REFERENCE.name}.nii.gz"
    write_image(image, np.ones((2, 3, 24, 20), np.float32), spacing_mm=(8.0, 2.0, 2.0), sidecar={})
    arms = {REFERENCE.name: {"status": "ok", "reason": "", "image": image.name}}
    write_manifest(job.reconstruction, key="r", files=[image], content={"arms": arms})
    return job


def ring_with_hole(image: np.ndarray, **options: object) -> np.ndarray:
    """Stands for the network: a ring in every slice, with one background pixel inside the cavity."""
    labels = np.zeros(image.shape, np.uint8)
    labels[..., 3:15, 3:15] = 2
    labels[..., 6:12, 6:12] = 1
    labels[..., 8, 9] = 0
    assert options["label_map"] == {"1": "LV cavity"}
    return labels


@pytest.mark.parametrize("mend", [False, True])
def test_repair_is_an_option_that_is_said(
    job: ScanJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mend: bool
) -> None:
    monkeypatch.setattr(flows.stages, "segment", ring_with_hole)
    options = Segmentation(label_map={"1": "LV cavity"}, topology_repair=mend)
    config = ValidationConfig(name="x", cohort=tmp_path, out=tmp_path, segmentation=options)
    arm = read_manifest(segment_scan(job, job.reconstruction, config))["arms"][REFERENCE.name]
    labels = read_labels(tmp_path / arm["labels"])[0]
    assert (labels[..., 9, 8] == 1).all() if mend else (labels[..., 9, 8] == 0).all()
    assert bool(arm["repaired"]) is mend
    other = ValidationConfig(name="x", cohort=tmp_path, out=tmp_path)
    assert segmentation_key(job, job.reconstruction, config) != segmentation_key(job, job.reconstruction, other)


def test_times_of_a_mapping_series_decide_its_labels(
    job: ScanJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ValidationConfig(name="x", cohort=tmp_path, out=tmp_path)
    mapping = replace(job, modality="T1 mapping", path=tmp_path / "T1map.mat", stem="T1map")
    write_manifest(mapping.reconstruction, key="r", files=[], content={"arms": {}})
    keys = {segmentation_key(mapping, mapping.reconstruction, config)}  # of no times at all
    for first in (100.0, 120.0):
        times = np.array([[first], [900.0], [2500.0]])
        monkeypatch.setattr(flows.stages, "read_times_ms", lambda path, times=times: times)
        keys.add(segmentation_key(mapping, mapping.reconstruction, config))
    assert len(keys) == 3
