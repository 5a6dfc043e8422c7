"""How do magnitude images of ACDC become a cohort of simulated multi-coil k-space with expert labels?

Such k-space is simulated: coils, phase and noise are ours, only the anatomy is real. Every header says so.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohort.acdc import AcdcPatient, read_patient
from cohort.synthetic.acquisition import Receiver, acquire, interpolate_object
from cohort.synthetic.writing import PatientFolder, header_rows, write_diseases, write_scan

SIMULATED = "from magnitude images"
DISEASE_OF_GROUP = {"NOR": "normal", "DCM": "dilated", "HCM": "hypertrophic", "MINF": "infarct", "RV": "rv_overload"}
MYOCARDIUM_DENSITY_G_ML = 1.05
LV, MYOCARDIUM, RV = 1, 2, 3
PHASE_MARGIN = 1.1
"""Field of view along phase encoding over the image's width."""


def simulate_from_acdc(
    acdc: Path,
    root: Path,
    *,
    patients: Sequence[str],
    pixel_mm: float = 2.0,
    receiver: Receiver | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Path]:
    """Write a cohort of two-frame cines (ED, ES) from ACDC patients.

    Parameters
    ----------
    acdc
        Folder with ``patientNNN`` folders.
    root
        New cohort.
    patients
        Folder names.
    pixel_mm
        Acquired pixel, coarser than the images (0.7 to 1.95 mm), which are interpolated to a grid 1.5 times finer
        than it.
    receiver
        Coils and noise; None for 8 coils, SNR 40 and prescan-normalised sensitivities (the images carry their own
        shading).
    seed
        Together with the patient's number it fixes coils, phase and noise.
    progress
        Called with each finished patient's name.

    Returns
    -------
    list of Path
        The k-space files.
    """
    receiver = receiver or Receiver(n_coils=8, snr=40.0, prescan_normalized=True)
    paths, diseases = [], []
    for name in patients:
        patient = read_patient(acdc / name)
        number = int(name.removeprefix("patient"))
        # ACDC does not tell which of its two scanners (Aera 1.5 T, Trio 3 T) was used; the folder names the first
        folder = PatientFolder(root, "Center001", "Siemens", 1.5, "Aera", f"P{number:03d}")
        rng = np.random.default_rng((seed, number))
        paths.append(simulate_patient(patient, folder, pixel_mm=pixel_mm, receiver=receiver, rng=rng))
        diseases.append((folder.center, folder.patient, DISEASE_OF_GROUP[patient.group]))
        progress(name)
    write_diseases(root, diseases)
    return paths


def simulate_patient(
    patient: AcdcPatient, folder: PatientFolder, *, pixel_mm: float, receiver: Receiver, rng: np.random.Generator
) -> Path:
    """Acquire and write one patient."""
    pitch, *native = patient.spacing_mm
    picture, labels = patient.image, patient.labels
    if native[0] * picture.shape[2] > native[1] * picture.shape[3]:
        # phase encoding (y) runs along the shorter side, across the body, as on a scanner
        picture, labels, native = picture.swapaxes(2, 3), labels.swapaxes(2, 3), native[::-1]
    size = picture.shape[2:]
    # what is cut at the side of an image must not touch the other side of the field of view
    matrix = (even(PHASE_MARGIN * size[0] * native[0] / pixel_mm), even(size[1] * native[1] / pixel_mm))
    fov = (matrix[0] * pixel_mm, matrix[1] * pixel_mm)
    image = interpolate_object(picture, 1.5 * max(native) / pixel_mm)
    spacing = (native[0] * size[0] / image.shape[2], native[1] * size[1] / image.shape[3])
    kspace = acquire(
        image,
        fine_spacing_mm=spacing,
        matrix=matrix,
        fov_mm=fov,
        receiver=receiver,
        signal_level=float(patient.image[patient.labels == MYOCARDIUM].mean()),
        slice_pitch_mm=pitch,
        rng=rng,
    )
    n_frames, n_slices = image.shape[:2]
    info = header_rows(
        simulated=SIMULATED,
        field_t=folder.field_t,
        fov_mm=fov,
        matrix=matrix,
        n_slices=n_slices,
        n_coils=receiver.n_coils,
        n_frames=n_frames,
        thickness_mm=pitch,
        pitch_mm=pitch,
        readout_oversampling=receiver.readout_oversampling,
        height_cm=patient.height_cm,
        weight_kg=patient.weight_kg,
    )
    return write_scan(
        folder,
        "cine_sax",
        kspace,
        info=info,
        truth=expert_truth(patient),
        truth_labels=resample_labels(labels, (native[0], native[1]), matrix=matrix, pixel_mm=pixel_mm),
        spacing_mm=(pitch, pixel_mm, pixel_mm),
    )


def expert_truth(patient: AcdcPatient) -> dict[str, Any]:
    """Volumes and mass of the expert's labels at ED and ES, by summation of discs on the native grid."""
    voxel_ml = float(np.prod(patient.spacing_mm)) / 1000
    ed, es = (
        {label: float((frame == label).sum()) * voxel_ml for label in (LV, MYOCARDIUM, RV)} for frame in patient.labels
    )
    phenotypes = {"lv_mass_g": ed[MYOCARDIUM] * MYOCARDIUM_DENSITY_G_ML}
    for side, label in (("lv", LV), ("rv", RV)):
        stroke = ed[label] - es[label]
        phenotypes |= {f"{side}_edv_ml": ed[label], f"{side}_esv_ml": es[label], f"{side}_sv_ml": stroke}
        if ed[label] > 0:
            phenotypes[f"{side}_ef_percent"] = 100 * stroke / ed[label]
    return {"source": "expert labels", "patient": patient.patient, "group": patient.group, "phenotypes": phenotypes}


def resample_labels(
    labels: NDArray[np.uint8], native_mm: tuple[float, float], *, matrix: tuple[int, int], pixel_mm: float
) -> NDArray[np.uint8]:
    """Labels (frames, slices, y, x) on the acquired grid with the same center: each pixel takes the label that covers
    most of it."""
    # five samples across each acquired pixel and axis, counted by label
    fine = 5
    axes = [
        ((np.arange(n * fine) + 0.5) / fine - n / 2) * pixel_mm / native + size / 2 - 0.5
        for n, native, size in zip(matrix, native_mm, labels.shape[2:], strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    out = np.empty((*labels.shape[:2], *matrix), dtype=np.uint8)
    for index in np.ndindex(*labels.shape[:2]):
        sampled = ndimage.map_coordinates(labels[index], grid, order=0, mode="grid-constant", cval=0)
        blocks = sampled.reshape(matrix[0], fine, matrix[1], fine)
        counts = np.stack([(blocks == label).sum(axis=(1, 3)) for label in range(4)])
        out[index] = counts.argmax(axis=0)
    return out


def even(length: float) -> int:
    """Nearest even number."""
    return 2 * round(length / 2)
