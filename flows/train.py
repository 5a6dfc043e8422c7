"""How are the shipped networks trained? Gathers the data, runs the training, writes what was used beside the
weights."""

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.acdc import read_patient, split
from cohort.records import ConfigProblem
from cohort.synthetic.population import DISEASES, draw_patient
from cohort.synthetic.render import render_cine, render_mapping
from flows.cohort_training import CohortData, measured_data
from flows.learning_curves import draw_learning_curves
from recon.cardiomm.checkpoint import weights_sha256
from recon.cardiomm.encoders import encoder_from_folder
from recon.cardiomm.prompts import TextEncoder
from recon.training import SIZES, Progress, TrainingOptions, joined_team, train_cardiomm
from recon.training_data import Sampling, SimulatedData, TrainingData, TrainingImage
from recon.training_mixture import MixedData
from recon.training_scans import MeasuredScans

ACDC_TERMS = "ACDC, CC BY-NC-SA 4.0, research only, non-commercial; cite Bernard et al., IEEE TMI 37(11), 2018, doi 10.1109/TMI.2018.2837502"
ACDC_SCANNERS = (
    {"field_t": 1.5, "vendor": "Siemens", "scanner": "Aera"},
    {"field_t": 3.0, "vendor": "Siemens", "scanner": "Trio"},
)
"""ACDC does not say which patient lay in which of its two scanners, so training draws one."""

ADJACENT = (1, 3, 5)
WHOLE_READOUT = 100_000  # columns, more than any scan has
N_MONITOR_PER_GROUP = 1
N_MONITOR_PHANTOMS = 4
"""One of each field strength."""


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
    encoder: TextEncoder | None = None,
    cohort: CohortData | None = None,
    progress: Callable[[Progress], None] = lambda where: None,
) -> Path:
    """Train CardioMM on simulated k-space of ACDC patients and phantoms, and on measured scans; resumes what is in ``out``.

    Started by torchrun, each process trains on samples of its own. ACDC has single frames, so a network for neighboring
    frames learns from phantoms alone.

    Returns
    -------
    Path
        The weights, half precision, with data, terms, versions and options beside them.

    Raises
    ------
    ConfigProblem
        ACDC for a network of neighboring frames; no data; a folder that holds another training.
    """
    if threads:
        torch.set_num_threads(threads)
    notes: dict[str, Any] = {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    images, watched = simulated_data(acdc, n_phantoms, options=options, notes=notes)
    measured = (None, None) if cohort is None else measured_data(cohort, options=options, notes=notes)
    share = 1.0 if cohort is None else cohort.share
    data = mixed(SimulatedData(images), measured[0], share=share)
    if data is None:
        raise ConfigProblem("expected training data, got none: give ACDC, a number of phantoms, or a cohort")
    if start_from is not None:
        notes |= {"start_from": {"file": start_from.name, "sha256": weights_sha256(start_from)}}
    with joined_team(device) as joined:
        return train_cardiomm(
            data,
            monitor=mixed(SimulatedData(watched), measured[1], share=share),
            options=options,
            folder=out,
            notes=notes,
            start_from=start_from,
            encoder=encoder,
            device=joined,
            progress=progress,
            on_check=draw_learning_curves,
        )


def mixed(simulated: SimulatedData, measured: MeasuredScans | None, *, share: float) -> TrainingData | None:
    """Both, the measured ones with their share of the draws, or the one that there is."""
    if not measured:
        return simulated if len(simulated) else None
    return MixedData([(simulated, 1 - share), (measured, share)]) if len(simulated) else measured


def training_options(
    *,
    size: str,
    cascades: int = 0,
    texts: str = "both",
    adjacent: int = 1,
    encoder: TextEncoder | None = None,
    whole_readout: bool = False,
    **more: Any,
) -> TrainingOptions:
    """Options from what a user types.

    Parameters
    ----------
    size, cascades
        Name in ``recon.training.SIZES``, and another number of cascades unless 0.
    texts, adjacent
        Variant, and neighboring frames.
    encoder
        Of the texts: its width becomes the network's.
    whole_readout
        Learn from whole images.
    more
        Fields of ``TrainingOptions``.

    Raises
    ------
    ConfigProblem
        A value that is not possible.
    """
    if size not in SIZES:
        raise ConfigProblem(f"size {size!r} is unknown; expected one of {', '.join(SIZES)}")
    if adjacent not in ADJACENT:
        raise ConfigProblem(f"expected 1, 3 or 5 neighboring frames, got {adjacent}")
    changed: dict[str, Any] = {"texts": texts, "n_adjacent": adjacent}
    changed |= {"stacked": "frames"} if adjacent > 1 else {}
    changed |= {"n_cascades": cascades} if cascades else {}
    changed |= {"encoder_width": int(encoder(["width"]).shape[-1])} if encoder else {}
    sampling = replace(Sampling(), readout_window=(WHOLE_READOUT, WHOLE_READOUT)) if whole_readout else Sampling()
    try:
        return TrainingOptions(size=replace(SIZES[size], **changed), sampling=sampling, **more)
    except ValueError as error:
        raise ConfigProblem(str(error)) from error


def text_encoder(clip_folder: Path | None) -> TextEncoder | None:
    """The encoder of a local folder, CLIP or of sentences; None, the embedded encoder, without one."""
    if clip_folder is None:
        return None
    try:
        return encoder_from_folder(clip_folder)
    except (OSError, ImportError, ValueError) as problem:
        raise ConfigProblem(f"{clip_folder}: {' '.join(str(problem).split())}") from problem


def simulated_data(
    acdc: Path | None, n_phantoms: int, *, options: TrainingOptions, notes: dict[str, Any]
) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """Objects to train on and to watch: of ACDC the watched patients, without it some more phantoms; ``notes`` is told."""
    n_adjacent = options.size.n_adjacent
    images: list[TrainingImage] = []
    monitor: list[TrainingImage] = []
    if acdc is not None:
        if n_adjacent > 1:
            raise ConfigProblem(
                f"ACDC has single frames (ED and ES), but the network shall learn from {n_adjacent} neighboring ones: "
                "train it on phantoms, without ACDC"
            )
        rng = np.random.default_rng(options.seed)
        training, watched = training_and_monitor_patients()
        images += acdc_images(acdc, training, rng=rng)
        monitor += acdc_images(acdc, watched, rng=rng)
        notes |= {"acdc_terms": ACDC_TERMS, "acdc_training": training, "acdc_monitor": watched}
    if n_phantoms:
        images += phantom_images(n_phantoms, seed=options.seed, n_adjacent=n_adjacent)
        notes |= {"phantoms": n_phantoms}
        if acdc is None:
            monitor += phantom_images(N_MONITOR_PHANTOMS, seed=options.seed, n_adjacent=n_adjacent, first=n_phantoms)
            notes |= {"monitor_phantoms": N_MONITOR_PHANTOMS}
    return images, monitor


PHANTOM_SCANNERS: Mapping[float, tuple[tuple[str, str], ...]] = {
    0.55: (("Siemens", "Freemax"),),
    1.5: (("Siemens", "Aera"), ("GE", "voyager"), ("UIH", "umr670")),
    3.0: (("Siemens", "Vida"), ("UIH", "umr780"), ("Philips", "IngeniaCX")),
    5.0: (("UIH", "umrJupiter"),),
}
PHANTOM_MATRIX, PHANTOM_FOV_MM = (136, 144), (320.0, 345.0)
PHANTOM_SLICES, PHANTOM_FRAMES, FRAMES_KEPT = 6, 10, (0, 3, 6)


def phantom_images(n_phantoms: int, *, seed: int, n_adjacent: int = 1, first: int = 0) -> list[TrainingImage]:
    """Synthetic patients of all diseases and fields: cine slices at three phases, and every T1 and T2 weighting of
    one slice; for a network of neighboring frames the whole heartbeat of every cine slice instead.

    The patients are numbered on from ``first``; each depends on the seed and its number alone.
    """
    images: list[TrainingImage] = []
    fields = list(PHANTOM_SCANNERS)
    for number in range(first, first + n_phantoms):
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
        common |= {"modality": "cine"}
        if n_adjacent > 1:
            beats = cine.images.swapaxes(0, 1)  # slice by slice
            images += training_images(beats, common, source=f"phantom{number:03d}")
            continue
        frames = cine.images[list(FRAMES_KEPT)]
        images += training_images(frames.reshape(-1, *frames.shape[-2:]), common, source=f"phantom{number:03d}")
        for kind in ("T1", "T2"):
            weighted = render_mapping(patient, kind=kind, matrix=PHANTOM_MATRIX, fov_mm=PHANTOM_FOV_MM).images
            planes = weighted.reshape(-1, *weighted.shape[-2:])
            metadata = common | {"modality": f"{kind} mapping"}
            images += training_images(planes, metadata, source=f"phantom{number:03d}")
    return images


def training_images(objects: NDArray[Any], metadata: Mapping[str, Any], *, source: str) -> list[TrainingImage]:
    """Phantom images (n, y, x) or series (n, frames, y, x), each as an object to simulate k-space from."""
    spacing = tuple(fov / n for fov, n in zip(PHANTOM_FOV_MM, objects.shape[-2:], strict=True))
    # an inverted magnetization is a phase of 180 degrees
    signals = (one.astype(np.complex64) if (one < 0).any() else one for one in objects)
    return [TrainingImage(signal, spacing, dict(metadata), source=source) for signal in signals]
