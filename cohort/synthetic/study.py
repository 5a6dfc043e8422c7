"""How is a whole cohort of synthetic patients acquired and written? Several centers, each with a scanner of its own."""

import contextlib
import multiprocessing
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cohort.synthetic.acquisition import Receiver, acquire
from cohort.synthetic.population import DISEASES, SyntheticPatient, draw_patient
from cohort.synthetic.rasterize import Grid, label_grid
from cohort.synthetic.render import DIASTASIS_PHASE, Cine, fine_grid, mapping_labels, render_cine, render_mapping
from cohort.synthetic.stack import plan_stack
from cohort.synthetic.truth import cine_truth, mapping_truth, write_truth
from cohort.synthetic.writing import PatientFolder, header_rows, write_diseases, write_scan

SIMULATED = "synthetic phantom"


@dataclass(frozen=True)
class Center:
    """A hospital with one scanner and one protocol.

    Attributes
    ----------
    name, vendor, model, field_t
        Center001, vendor and model as in folder names, field strength in T.
    matrix, fov_mm
        Acquired (ny, nx) and field of view (y, x). Phase encoding y runs across the body, the readout x along it.
    receiver
        Coils and noise.
    slice_thickness_mm
        Thickness; the pitch follows from the heart's length and the number of slices.
    """

    name: str
    vendor: str
    model: str
    field_t: float
    matrix: tuple[int, int]
    fov_mm: tuple[float, float]
    receiver: Receiver
    slice_thickness_mm: float = 8.0


DEMO_CENTERS: tuple[Center, ...] = (
    Center("Center001", "Siemens", "Freemax", 0.55, (104, 120), (312.0, 360.0), Receiver(n_coils=6, snr=18.0), 8.0),
    Center("Center002", "Siemens", "Aera", 1.5, (112, 128), (302.4, 345.6), Receiver(n_coils=8, snr=32.0), 8.0),
    Center(
        "Center003",
        "GE",
        "Premier",
        3.0,
        (120, 128),
        (312.0, 332.8),
        Receiver(n_coils=10, snr=45.0, prescan_normalized=True),
        7.0,
    ),
    Center(
        "Center004", "UIH", "umr890", 5.0, (128, 136), (320.0, 340.0), Receiver(n_coils=8, snr=55.0, phase_rad=1.5), 6.0
    ),
)
"""Field, vendor, matrix, pixel (2.5 to 3 mm), coils and noise differ."""


@dataclass(frozen=True)
class ScanPlan:
    """What is acquired of each patient: a short-axis cine and one slice of T1 and T2 mapping."""

    n_frames: int = 10
    n_slices: int = 6
    mapping: tuple[str, ...] = ("T1", "T2")


def simulate_cohort(
    root: Path,
    *,
    centers: Sequence[Center] = DEMO_CENTERS,
    patients_per_center: int = 3,
    plan: ScanPlan | None = None,
    seed: int = 7,
    workers: int = 1,
    progress: Callable[[str], None] = lambda scan: None,
) -> list[Path]:
    """Draw patients, scan them and write the cohort in the MMCMR layout with its truth beside it.

    Parameters
    ----------
    root
        New cohort.
    centers
        Where patients are scanned.
    patients_per_center
        Diseases go round: normal, dilated, hypertrophic, infarct, RV overload.
    plan
        What is scanned.
    seed
        Fixes every patient, coil and noise sample; each patient's own seed depends on center and number only.
    workers
        Processes that scan patients at the same time; the files do not depend on it.
    progress
        Called with the name of every finished scan, in order.

    Returns
    -------
    list of Path
        The k-space files.
    """
    plan = plan or ScanPlan()
    visits = [
        Visit(root, center, number, DISEASES[(i * patients_per_center + number - 1) % len(DISEASES)], plan, seed)
        for i, center in enumerate(centers)
        for number in range(1, patients_per_center + 1)
    ]
    paths: list[Path] = []
    with contextlib.ExitStack() as stack:
        run: Callable[..., Iterable[list[Path]]] = map
        if workers > 1:
            # spawned, because a forked child would inherit the locks of the parent's threads
            pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
            run = stack.enter_context(pool).map
        for visit, scans in zip(visits, run(scan_visit, visits), strict=True):
            for path in scans:
                paths.append(path)
                progress(f"{visit.center.name} {visit.patient} {path.stem}")
    write_diseases(root, [(visit.center.name, visit.patient, visit.disease) for visit in visits])
    return paths


@dataclass(frozen=True)
class Visit:
    """One patient to be drawn and scanned, with everything that fixes the outcome."""

    root: Path
    center: Center
    number: int
    disease: str
    plan: ScanPlan
    seed: int

    @property
    def patient(self) -> str:
        """Pseudonym within the center."""
        return f"P{self.number:03d}"


def scan_visit(visit: Visit) -> list[Path]:
    """Draw one patient and write all scans; the result does not depend on who was scanned before."""
    center = visit.center
    own_seed = zlib.crc32(f"{visit.seed}|{center.name}|{visit.number}".encode())
    rng = np.random.default_rng(own_seed)
    patient = draw_patient(visit.disease, rng=rng, field_t=center.field_t)
    folder = PatientFolder(visit.root, center.name, center.vendor, center.field_t, center.model, visit.patient)
    # the many small products gain nothing from more threads
    with threadpool_limits(limits=1, user_api="blas"):
        return scan_patient(patient, folder, center=center, plan=visit.plan, rng=rng, seed=own_seed)


def scan_patient(
    patient: SyntheticPatient,
    folder: PatientFolder,
    *,
    center: Center,
    plan: ScanPlan,
    rng: np.random.Generator,
    seed: int,
) -> list[Path]:
    """Acquire and write all scans of one patient."""
    paths = [scan_cine(patient, folder, center=center, plan=plan, rng=rng, seed=seed)]
    for kind in plan.mapping:
        paths.append(scan_map(patient, folder, kind=kind, center=center, rng=rng, seed=seed))
    return paths


def scan_cine(
    patient: SyntheticPatient,
    folder: PatientFolder,
    *,
    center: Center,
    plan: ScanPlan,
    rng: np.random.Generator,
    seed: int,
) -> Path:
    """Short-axis cine of one patient."""
    shape: Mapping[str, Any] = {"n_slices": plan.n_slices, "slice_thickness_mm": center.slice_thickness_mm}
    stack = plan_stack(patient, **shape)
    upright = render_cine(
        patient, n_frames=plan.n_frames, matrix=center.matrix[::-1], fov_mm=center.fov_mm[::-1], rng=rng, **shape
    )
    cine = Cine(upright.images.swapaxes(-1, -2), upright.label_fractions.swapaxes(-1, -2))
    fine, coarse = fine_grid(center.matrix, center.fov_mm), Grid(center.matrix, center.fov_mm)
    labels = np.stack(
        [[label_grid(part, fine=fine, coarse=coarse) for part in frame] for frame in cine.label_fractions]
    )
    myocardium = float(cine.images[0][cine.label_fractions[0, :, 2] > 0.9].mean())
    stem = "cine_sax"
    truth = cine_truth(patient, n_frames=plan.n_frames, stack=stack)
    save_truth(folder, stem, truth, patient=patient, seed=seed)
    return write_scan(
        folder,
        stem,
        scan(cine.images, center=center, fine=fine, signal_level=myocardium, pitch_mm=stack.pitch_mm, rng=rng),
        info=header(center, n_slices=plan.n_slices, n_frames=plan.n_frames, pitch_mm=stack.pitch_mm, patient=patient),
        truth=None,
        truth_labels=labels,
        spacing_mm=(stack.pitch_mm, *coarse.spacing_mm),
    )


def scan_map(
    patient: SyntheticPatient, folder: PatientFolder, *, kind: str, center: Center, rng: np.random.Generator, seed: int
) -> Path:
    """One slice of T1 or T2 mapping of one patient, in the middle of the ventricle."""
    n_slices, index = 3, 1
    thickness = center.slice_thickness_mm
    stack = plan_stack(patient, n_slices=n_slices, slice_thickness_mm=thickness)
    series = render_mapping(
        patient,
        kind=kind,
        matrix=center.matrix[::-1],
        fov_mm=center.fov_mm[::-1],
        n_slices=n_slices,
        slice_index=index,
        slice_thickness_mm=thickness,
    )
    fine, coarse = fine_grid(center.matrix, center.fov_mm), Grid(center.matrix, center.fov_mm)
    images = series.images.swapaxes(-1, -2)
    fractions = mapping_labels(
        patient,
        matrix=center.matrix[::-1],
        fov_mm=center.fov_mm[::-1],
        z_mm=stack.z_mm[index],
        slice_thickness_mm=thickness,
    ).swapaxes(-1, -2)
    level = float(np.abs(images).max(axis=0)[0][fractions[0, 0, 2] > 0.9].mean())
    stem = f"{kind}map"
    save_truth(
        folder, stem, mapping_truth(patient, z_mm=stack.z_mm[index], phase=DIASTASIS_PHASE), patient=patient, seed=seed
    )
    return write_scan(
        folder,
        stem,
        scan(images, center=center, fine=fine, signal_level=level, pitch_mm=stack.pitch_mm, rng=rng),
        info=header(center, n_slices=1, n_frames=len(series.times_ms), pitch_mm=thickness, patient=None),
        truth=None,
        truth_labels=label_grid(fractions[0], fine=fine, coarse=coarse)[None].reshape(1, 1, *center.matrix),
        spacing_mm=(thickness, *coarse.spacing_mm),
        times_ms=series.times_ms[:, None],
    )


def scan(
    images: NDArray[np.float32],
    *,
    center: Center,
    fine: Grid,
    signal_level: float,
    pitch_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.complex64]:
    """The center's receiver at work on fine images (frames, slices, y, x)."""
    return acquire(
        images,
        fine_spacing_mm=fine.spacing_mm,
        matrix=center.matrix,
        fov_mm=center.fov_mm,
        receiver=center.receiver,
        signal_level=signal_level,
        slice_pitch_mm=pitch_mm,
        rng=rng,
    )


def header(
    center: Center, *, n_slices: int, n_frames: int, pitch_mm: float, patient: SyntheticPatient | None
) -> dict[str, object]:
    """Header rows of one scan; a cine's frames cover one beat."""
    rate = patient.heart_rate_bpm if patient else None
    return header_rows(
        simulated=SIMULATED,
        field_t=center.field_t,
        fov_mm=center.fov_mm,
        matrix=center.matrix,
        n_slices=n_slices,
        n_coils=center.receiver.n_coils,
        n_frames=n_frames,
        thickness_mm=center.slice_thickness_mm,
        pitch_mm=pitch_mm,
        readout_oversampling=center.receiver.readout_oversampling,
        frame_time_ms=60_000 / rate / n_frames if rate else None,
        heart_rate_bpm=rate,
        height_cm=round(patient.height_cm, 1) if patient else None,
        weight_kg=round(patient.weight_kg, 1) if patient else None,
    )


def save_truth(
    folder: PatientFolder, stem: str, truth: Mapping[str, Any], *, patient: SyntheticPatient, seed: int
) -> None:
    """Write the truth beside where the scan will be."""
    path = folder.path(stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_truth(path.with_name(f"{stem}_truth.json"), {**truth, "source": "closed form"}, patient=patient, seed=seed)
