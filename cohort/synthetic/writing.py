"""How is a simulated scan put on disk? In the MMCMR layout, with its truth beside it, so that it is read like a real
one."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.atomic import write_text
from cohort.cmrxrecon import write_kspace, write_times_ms
from cohort.images import write_labels

FIELD_TOKENS = {0.55: "055T", 1.5: "15T", 3.0: "30T", 5.0: "50T"}
MODALITY_FOLDERS = {"cine_sax": "Cine", "T1map": "Mapping", "T2map": "Mapping"}
DISEASES_FILE = "diseases.csv"


@dataclass(frozen=True)
class PatientFolder:
    """Where a simulated patient's scans go.

    Attributes
    ----------
    root
        Cohort root.
    center, vendor, field_t, model
        ``Center001``, ``Siemens``, 1.5, ``Aera``.
    patient
        Pseudonym ``P001``; unique within the center.
    """

    root: Path
    center: str
    vendor: str
    field_t: float
    model: str
    patient: str

    def path(self, stem: str) -> Path:
        """The ``.mat`` file of one scan."""
        scanner = f"{self.vendor}_{FIELD_TOKENS[self.field_t]}_{self.model}"
        modality = self.root / "MultiCoil" / MODALITY_FOLDERS[stem] / "TestSet" / "FullSample"
        return modality / self.center / scanner / self.patient / f"{stem}.mat"


def write_scan(
    folder: PatientFolder,
    stem: str,
    kspace: NDArray[np.complex64],
    *,
    info: Mapping[str, object],
    truth: Mapping[str, Any] | None,
    truth_labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    times_ms: NDArray[np.floating] | None = None,
) -> Path:
    """Write one scan: truth first and k-space last, so that k-space never stands without its truth.

    Parameters
    ----------
    folder, stem
        Whose and which scan: ``cine_sax``, ``T1map`` or ``T2map``.
    kspace
        (frames, slices, coils, ky, kx) with readout oversampling.
    info
        Header rows with units, see ``header_rows``.
    truth
        Plain types; ``phenotypes`` maps names of the vocabulary to true values, ``source`` says where they come from.
        None where
        the caller has written ``<stem>_truth.json`` already.
    truth_labels
        uint8 (frames, slices, y, x) on the acquired grid without oversampling.
    spacing_mm
        (slice pitch, y, x) of that grid.
    times_ms
        (times, slices) of a mapping series.
    """
    path = folder.path(stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    if truth is not None:
        write_text(path.with_name(f"{stem}_truth.json"), json.dumps(truth, indent=1, allow_nan=False) + "\n")
    sidecar = {"what": "true labels", "scan": f"{folder.center} {folder.patient} {stem}"}
    write_labels(path.with_name(f"{stem}_truth_labels.nii.gz"), truth_labels, spacing_mm=spacing_mm, sidecar=sidecar)
    if times_ms is not None:
        write_times_ms(path, times_ms)
    write_kspace(path, kspace, info=info)
    return path


def header_rows(
    *,
    simulated: str,
    field_t: float,
    fov_mm: tuple[float, float],
    matrix: tuple[int, int],
    n_slices: int,
    n_coils: int,
    n_frames: int,
    thickness_mm: float,
    pitch_mm: float,
    readout_oversampling: int,
    frame_time_ms: float | None = None,
    heart_rate_bpm: float | None = None,
    height_cm: float | None = None,
    weight_kg: float | None = None,
) -> dict[str, object]:
    """Rows of ``*_info.csv`` with the parameter names of CMRxRecon; ``Simulated`` marks that no patient was scanned."""
    return {
        "FieldStrength(T)": field_t,
        "FOVx(mm)": fov_mm[1],
        "FOVy(mm)": fov_mm[0],
        "ReconMatrix_X": matrix[1],
        "ReconMatrix_Y": matrix[0],
        "SliceNum": n_slices,
        "SliceThickness(mm)": thickness_mm,
        "SlicePitch(mm)": pitch_mm,
        "CoilNumber": n_coils,
        "TemporalPhase": n_frames,
        "ReadOutOversample": readout_oversampling,
        "TR(ms)": frame_time_ms,
        "HeartRate(bpm)": heart_rate_bpm,
        "Height(cm)": height_cm,
        "Weight(kg)": weight_kg,
        "Simulated": simulated,
    }


def write_diseases(root: Path, rows: list[tuple[str, str, str]]) -> None:
    """The disease table at the cohort's root: center, patient, disease."""
    stream = io.StringIO(newline="")
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["center", "patient", "disease"])
    table.writerows(rows)
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / DISEASES_FILE, stream.getvalue())
