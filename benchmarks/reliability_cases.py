"""On which scans is the reliability score fitted and tested? ACDC and phantoms, sound and deliberately spoiled.

A case is one slice at two phases: simulated multi-coil k-space of drawn noise, coils, pixel and mask, what a fault of the
acquisition made of it, and the fully sampled image without the fault.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.acdc import read_patient
from cohort.synthetic.acquisition import Receiver, acquire, interpolate_object
from cohort.synthetic.population import DISEASES, draw_patient
from cohort.synthetic.render import render_cine
from flows.train import ACDC_SCANNERS, PHANTOM_FOV_MM, PHANTOM_MATRIX, PHANTOM_SCANNERS
from recon.baselines import fully_sampled
from recon.held_back import calibration_points, outer_groups
from recon.metrics import heart_box
from recon.sampling import undersampling_mask

ARMS = (("Uniform", 4), ("Uniform", 8), ("ktGaussian", 16), ("ktRadial", 24))
OTHER_ARMS = (("Uniform", 6), ("Uniform", 12), ("ktUniform", 8), ("ktGaussian", 8), ("ktRadial", 12), ("ktRadial", 16))
FAULTS = ("motion", "spikes", "dead_coil", "wrong_calibration", "unseen_contrast")
N_CALIBRATION, HEART_MARGIN_MM, SLICES_PER_SUBJECT = 20, 10.0, 3
MYOCARDIUM = 2
SNR_RANGE, PIXEL_RANGE_MM = (8.0, 60.0), (2.6, 3.2)

Array = NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """Fine magnitude planes (frames, slices, y, x) with labels on their own grid."""

    name: str
    source: str
    planes: Array
    labels: Array
    spacing_mm: tuple[float, float]
    fov_mm: tuple[float, float]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """Measured k-space (frames, 1, coils, ky, kx), its mask, and the truth (frames, 1, y, x)."""

    subject: str
    source: str
    pattern: str
    acceleration: int
    fault: str
    snr: float
    kspace: Array
    mask: Array
    reference: Array
    heart: Array
    metadata: dict[str, Any]

    @property
    def arm(self) -> str:
        """Mask and nominal acceleration."""
        return f"{self.pattern}{self.acceleration}"


def acdc_subject(folder: Path, name: str, *, rng: np.random.Generator) -> Subject:
    """End diastole and end systole of the middle slices of one patient."""
    patient = read_patient(folder / name)
    images, labels, native = patient.image, patient.labels, patient.spacing_mm[1:]
    if native[0] * images.shape[2] > native[1] * images.shape[3]:
        images, labels, native = images.swapaxes(2, 3), labels.swapaxes(2, 3), native[::-1]
    shown = np.flatnonzero((labels > 0).any(axis=(0, 2, 3)))
    chosen = shown[np.linspace(0, len(shown) - 1, SLICES_PER_SUBJECT + 2).astype(int)[1:-1]]
    scanner = ACDC_SCANNERS[int(rng.integers(len(ACDC_SCANNERS)))]
    extent = tuple(n * s for n, s in zip(images.shape[2:], native, strict=True))
    # what is cut at the side of an image must not touch the other side of the field of view
    fov = (1.1 * extent[0], extent[1])
    return Subject(name, "ACDC", images[:, chosen], labels[:, chosen], native, fov, {**scanner, **_short_axis("cine")})


def phantom_subject(number: int, *, seed: int) -> Subject:
    """Three slices of a synthetic patient at end diastole and a third of the beat later."""
    rng = np.random.default_rng((seed, number))
    field_t = list(PHANTOM_SCANNERS)[number % len(PHANTOM_SCANNERS)]
    vendor, scanner = PHANTOM_SCANNERS[field_t][int(rng.integers(len(PHANTOM_SCANNERS[field_t])))]
    patient = draw_patient(DISEASES[number % len(DISEASES)], rng=rng, field_t=field_t)
    cine = render_cine(
        patient, n_frames=3, n_slices=SLICES_PER_SUBJECT + 2, matrix=PHANTOM_MATRIX, fov_mm=PHANTOM_FOV_MM, rng=rng
    )
    fractions, planes = cine.label_fractions[:2, 1:-1], cine.images[:2, 1:-1]
    labels = np.argmax(fractions, axis=2)
    spacing = tuple(fov / n for fov, n in zip(PHANTOM_FOV_MM, planes.shape[-2:], strict=True))
    metadata = {"field_t": field_t, "vendor": vendor, "scanner": scanner, **_short_axis("cine")}
    return Subject(f"phantom{seed}_{number:02d}", "phantom", planes, labels, spacing, PHANTOM_FOV_MM, metadata)


def cases_of(
    subject: Subject, *, arms: tuple[tuple[str, int], ...], n_sound: int, n_spoiled: int, rng: np.random.Generator
) -> Iterator[Case]:
    """Cases of one subject: for each arm so many sound and so many spoiled ones, slices, receivers and faults drawn."""
    for pattern, acceleration in arms:
        faults = ["none"] * n_sound + [str(fault) for fault in rng.choice(FAULTS, n_spoiled)]
        for fault in faults:
            yield make_case(subject, pattern, acceleration, fault=fault, rng=rng)


def make_case(
    subject: Subject,
    pattern: str,
    acceleration: int,
    *,
    fault: str,
    rng: np.random.Generator,
    snr_range: tuple[float, float] = SNR_RANGE,
    pixel_range_mm: tuple[float, float] = PIXEL_RANGE_MM,
) -> Case:
    """Acquire one slice with a drawn receiver and spoil it."""
    z = int(rng.integers(subject.planes.shape[1]))
    planes, labels = subject.planes[:, z : z + 1], subject.labels[:, z : z + 1]
    level = float(planes[labels == MYOCARDIUM].mean()) if (labels == MYOCARDIUM).any() else float(planes.mean())
    if fault == "unseen_contrast":
        planes = inverted(planes)
        level = float(planes[labels == MYOCARDIUM].mean()) or level
    pixel = float(rng.uniform(*pixel_range_mm))
    matrix = tuple(2 * round(fov / pixel / 2) for fov in subject.fov_mm)
    fine = interpolate_object(planes, 1.5 * max(subject.spacing_mm) / pixel)
    spacing = tuple(s * n / m for s, n, m in zip(subject.spacing_mm, planes.shape[2:], fine.shape[2:], strict=True))
    snr = float(np.exp(rng.uniform(*np.log(snr_range))))
    receiver = Receiver(
        n_coils=int(rng.choice((6, 8, 8, 10))),
        snr=snr,
        readout_oversampling=1,
        prescan_normalized=bool(rng.random() < 0.5),
        phase_rad=float(rng.uniform(0.2, 1.5)),
    )
    fov = (matrix[0] * pixel, matrix[1] * pixel)
    kspace = acquire(
        fine, fine_spacing_mm=spacing, matrix=matrix, fov_mm=fov, receiver=receiver, signal_level=level, rng=rng
    )
    mask = undersampling_mask(
        pattern,
        nx=matrix[1],
        ny=matrix[0],
        n_frames=len(kspace),
        acceleration=acceleration,
        n_calibration=N_CALIBRATION,
        seed=int(rng.integers(1, 1000)),
    )
    noise_sd = level / snr
    spoiled = spoil(kspace, mask, fault, pixel_mm=pixel, noise_sd=noise_sd, rng=rng)
    box = heart_box(on_grid(labels, subject.spacing_mm, matrix, pixel), margin_px=round(HEART_MARGIN_MM / pixel))
    metadata = {"pattern": pattern, "acceleration": acceleration, "n_calibration": N_CALIBRATION} | subject.metadata
    return Case(
        subject.name,
        subject.source,
        pattern,
        acceleration,
        fault,
        snr,
        spoiled,
        mask,
        fully_sampled(kspace),
        box,
        metadata,
    )


def spoil(
    kspace: Array, mask: Array, fault: str, *, pixel_mm: float, noise_sd: float, rng: np.random.Generator
) -> Array:
    """What a fault makes of fully sampled k-space (frames, 1, coils, ky, kx); a copy."""
    out = kspace.copy()
    n_frames, _, n_coils, ny, nx = kspace.shape
    center = calibration_points(mask, n_calibration=N_CALIBRATION)
    if fault == "motion":
        # the body lies elsewhere while some of the lines (or spokes) are measured
        share = rng.uniform(0.1, 0.5)
        for frame in range(n_frames):
            dy, dx = rng.uniform(-10, 10, 2) / pixel_mm
            ramp = np.exp(-2j * np.pi * (dy * np.fft.fftshift(np.fft.fftfreq(ny))[:, None]))
            ramp = ramp * np.exp(-2j * np.pi * dx * np.fft.fftshift(np.fft.fftfreq(nx)))
            groups = outer_groups(mask[frame] & ~center)
            moved = np.isin(groups, np.flatnonzero(rng.random(groups.max() + 1) < share))
            out[frame, :, :, moved] *= ramp[moved][:, None, None].astype(np.complex64)
    elif fault == "spikes":
        peak = np.abs(kspace).max()
        for _ in range(int(rng.integers(1, 9))):
            frame = int(rng.integers(n_frames))
            ky, kx = (int(i) for i in rng.choice(np.argwhere(mask[frame])))
            out[frame, :, :, ky, kx] += peak * rng.uniform(0.1, 1) * np.exp(2j * np.pi * rng.random(n_coils))
    elif fault == "dead_coil":
        dead = rng.choice(n_coils, int(rng.integers(1, 1 + n_coils // 3)), replace=False)
        noise = rng.standard_normal((2, *out[:, :, dead].shape))
        out[:, :, dead] = noise_sd * (noise[0] + 1j * noise[1])
    elif fault == "wrong_calibration":
        # the calibration was measured with other coil phases and gains
        change = np.exp(rng.normal(0, 0.3, n_coils) + 1j * rng.normal(0, rng.uniform(0.3, 1.5), n_coils))
        out[:, :, :, center] *= change[:, None].astype(np.complex64)
    return out


def inverted(planes: Array) -> Array:
    """Bright where it was dark inside the body: a contrast that no training image has."""
    top = np.percentile(planes, 99)
    body = planes > 0.08 * top
    return np.where(body, np.maximum(1.08 * top - planes, 0), planes).astype(np.float32)


def on_grid(labels: Array, spacing_mm: tuple[float, float], matrix: tuple[int, int], pixel_mm: float) -> Array:
    """Labels at the nearest fine pixel; both grids share their center, outside is background."""
    places = []
    for n, size, spacing in zip(matrix, labels.shape[-2:], spacing_mm, strict=True):
        place = np.round((np.arange(n) + 0.5 - n / 2) * pixel_mm / spacing + size / 2 - 0.5).astype(int)
        places.append((np.clip(place, 0, size - 1), (place >= 0) & (place < size)))
    (rows, row_in), (columns, column_in) = places
    return np.where(row_in[:, None] & column_in, labels[..., rows[:, None], columns], 0)


def _short_axis(modality: str) -> dict[str, str]:
    return {"modality": modality, "view": "short-axis"}
