"""How are the shipped networks trained? Gathers the data, runs the training, writes what was used beside the
weights."""

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cohort.acdc import read_patient, split
from cohort.synthetic.population import DISEASES, draw_patient
from cohort.synthetic.render import render_cine, render_mapping
from recon.cardiomm.checkpoint import weights_sha256
from recon.training import TrainingOptions, train_cardiomm
from recon.training_data import SimulatedData, TrainingImage

ACDC_TERMS = "ACDC, CC BY-NC-SA 4.0, research only, non-commercial; cite Bernard et al., IEEE TMI 37(11), 2018, doi 10.1109/TMI.2018.2837502"
ACDC_SCANNERS = (
    {"field_t": 1.5, "vendor": "Siemens", "scanner": "Aera"},
    {"field_t": 3.0, "vendor": "Siemens", "scanner": "Trio"},
)
"""ACDC does not say which patient lay in which of its two scanners, so training draws one."""

N_MONITOR_PER_GROUP = 1


def acdc_images(folder: Path, patients: Sequence[str], *, rng: np.random.Generator) -> list[TrainingImage]:
    """Every slice of every patient at ED and ES as an object to simulate k-space from."""
    images = []
    for name in patients:
        patient = read_patient(folder / name)
        scanner = ACDC_SCANNERS[int(rng.integers(len(ACDC_SCANNERS)))]
        metadata: Mapping[str, Any] = {**scanner, "modality": "cine", "view": "short-axis"}
        for plane in patient.image.reshape(-1, *patient.image.shape[-2:]):
            images.append(TrainingImage(plane, patient.spacing_mm[1:], metadata, source=name))
    return images


def training_and_monitor_patients() -> tuple[list[str], list[str]]:
    """The 80 training patients, less the last one of each group, on which the loss is watched."""
    training = split()["training"]
    # ACDC numbers its groups in blocks of 20: DCM 1-20, HCM 21-40, MINF 41-60, NOR 61-80, RV 81-100
    groups: dict[int, list[str]] = {}
    for name in training:
        groups.setdefault((int(name.removeprefix("patient")) - 1) // 20, []).append(name)
    monitor = [name for names in groups.values() for name in sorted(names)[-N_MONITOR_PER_GROUP:]]
    return [name for name in training if name not in monitor], monitor


def train_reconstruction(
    *,
    acdc: Path | None,
    n_phantoms: int,
    out: Path,
    options: TrainingOptions,
    device: str = "cpu",
    threads: int | None = None,
    start_from: Path | None = None,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Path:
    """Train CardioMM on simulated k-space of ACDC patients and phantoms; resumes what lies in ``out``.

    Returns
    -------
    Path
        The weights, half precision, with data, terms, versions and options beside them.
    """
    if threads:
        torch.set_num_threads(threads)
    rng = np.random.default_rng(options.seed)
    images: list[TrainingImage] = []
    monitor: list[TrainingImage] = []
    notes: dict[str, Any] = {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if acdc is not None:
        training, watched = training_and_monitor_patients()
        images += acdc_images(acdc, training, rng=rng)
        monitor += acdc_images(acdc, watched, rng=rng)
        notes |= {"acdc_terms": ACDC_TERMS, "acdc_training": training, "acdc_monitor": watched}
    if n_phantoms:
        images += phantom_images(n_phantoms, seed=options.seed)
        notes |= {"phantoms": n_phantoms}
    if start_from is not None:
        notes |= {"start_from": {"file": start_from.name, "sha256": weights_sha256(start_from)}}
    return train_cardiomm(
        SimulatedData(images),
        monitor=SimulatedData(monitor),
        options=options,
        folder=out,
        notes=notes,
        start_from=start_from,
        device=device,
        progress=progress,
    )


PHANTOM_SCANNERS: Mapping[float, tuple[tuple[str, str], ...]] = {
    0.55: (("Siemens", "Freemax"),),
    1.5: (("Siemens", "Aera"), ("GE", "voyager"), ("UIH", "umr670")),
    3.0: (("Siemens", "Vida"), ("UIH", "umr780"), ("Philips", "IngeniaCX")),
    5.0: (("UIH", "umrJupiter"),),
}
PHANTOM_MATRIX, PHANTOM_FOV_MM = (136, 144), (320.0, 345.0)
PHANTOM_SLICES, PHANTOM_FRAMES, FRAMES_KEPT = 6, 10, (0, 3, 6)


def phantom_images(n_phantoms: int, *, seed: int) -> list[TrainingImage]:
    """Synthetic patients of all diseases and fields: cine slices at three phases, and every T1 and T2 weighting of
    one slice."""
    images: list[TrainingImage] = []
    fields = list(PHANTOM_SCANNERS)
    for number in range(n_phantoms):
        rng = np.random.default_rng((seed, number))
        field_t = fields[number % len(fields)]
        vendor, scanner = PHANTOM_SCANNERS[field_t][int(rng.integers(len(PHANTOM_SCANNERS[field_t])))]
        patient = draw_patient(DISEASES[number % len(DISEASES)], rng=rng, field_t=field_t)
        common = {"field_t": field_t, "vendor": vendor, "scanner": scanner, "view": "short-axis"}
        cine = render_cine(
            patient,
            n_frames=PHANTOM_FRAMES,
            n_slices=PHANTOM_SLICES,
            matrix=PHANTOM_MATRIX,
            fov_mm=PHANTOM_FOV_MM,
            rng=rng,
        )
        series = {"cine": cine.images[list(FRAMES_KEPT)]}
        for kind in ("T1", "T2"):
            series[f"{kind} mapping"] = render_mapping(
                patient, kind=kind, matrix=PHANTOM_MATRIX, fov_mm=PHANTOM_FOV_MM
            ).images
        for modality, planes in series.items():
            spacing = tuple(fov / n for fov, n in zip(PHANTOM_FOV_MM, planes.shape[-2:], strict=True))
            for plane in planes.reshape(-1, *planes.shape[-2:]):
                # an inverted magnetization is a phase of 180 degrees
                signal = plane.astype(np.complex64) if (plane < 0).any() else plane
                images.append(
                    TrainingImage(signal, spacing, {**common, "modality": modality}, source=f"phantom{number:03d}")
                )
    return images
