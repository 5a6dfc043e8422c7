"""Which synthetic images does the segmentation learn from? Cine and mapping images of drawn patients, noise and all."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohort.synthetic.acquisition import Receiver, acquire
from cohort.synthetic.population import DISEASES, SyntheticPatient, draw_patient
from cohort.synthetic.rasterize import Grid, label_grid
from cohort.synthetic.render import fine_grid, mapping_labels, plan_stack, render_cine, render_mapping

FIELDS_T = (0.55, 1.5, 3.0, 5.0)
CINE_PHASES = {"cineED": 0, "cineES": 2}  # of 6 frames: end diastole and near end systole
CINE_KINDS = (*CINE_PHASES, "cineAny")
MAPPING_KINDS = ("T1sd", "T2mean"), ("T1mean", "T2first"), ("T1any", "T2last"), ("T1last", "T2mean")
N_CINE_FRAMES = 6
N_CINE_SLICES = 11
MOST_SLICES_BEYOND = 4.0
"""Slices beyond the heart, half of them above the base: there, and below a base that has moved down at end systole, the
atria must be told from the ventricles."""
N_MAPPING_SLICES = 5


@dataclass(frozen=True)
class Case:
    """One volume to learn from: ``image`` and ``labels`` (slices, y, x), ``spacing_mm`` (slice pitch, y, x).

    Cases of the same ``group`` (a patient) never fall on both sides of a split. The name ends in the kind of image.
    """

    name: str
    group: str
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class _Protocol:
    """How one patient is scanned."""

    matrix: tuple[int, int]
    fov_mm: tuple[float, float]
    snr: float
    normalized: bool

    @property
    def coarse(self) -> Grid:
        return Grid(self.matrix, self.fov_mm)

    @property
    def fine(self) -> Grid:
        return fine_grid(self.matrix, self.fov_mm)


def trained_kinds(number: int) -> tuple[str, ...]:
    """Kinds of image that the phantom of this number gives to a training: the cine, and two mapping images in turn.

    Half of the patients give what a validation segments (`T1sd`, `T2mean`); more mapping images of each would outweigh
    the patients that were really scanned.
    """
    return CINE_KINDS + MAPPING_KINDS[0 if number % 2 == 0 else 1 + number // 2 % (len(MAPPING_KINDS) - 1)]


def phantom_cases(
    n_patients: int,
    *,
    rng: np.random.Generator,
    report: Callable[[str, int, int], None],
    kinds: Collection[str] | Callable[[int], Collection[str]] = trained_kinds,
) -> Iterator[Case]:
    """Draw patients over diseases and fields; each gives cine volumes and mapping images.

    Parameters
    ----------
    n_patients : int
    rng : numpy.random.Generator
        Draws patients, protocols and noise; the same draws whatever ``kinds``.
    report : callable
        Called with (stage, done, total).
    kinds : collection of str, or function of the patient's number
        Of ``cineED``, ``cineES``, ``cineAny`` (one of the frames); ``T1mean`` (mean magnitude of the MOLLI series), ``T1last`` (longest inversion time),
        ``T1any`` (one of the series), ``T1sd`` (standard deviation over the series); ``T2first`` (no T2 preparation),
        ``T2mean``, ``T2last`` (longest preparation).

    Yields
    ------
    Case
    """
    for number in range(n_patients):
        patient = draw_patient(DISEASES[number % len(DISEASES)], rng=rng, field_t=float(rng.choice(FIELDS_T)))
        protocol = _draw_protocol(rng)
        group = f"phantom{number:03d}"
        wanted = kinds(number) if callable(kinds) else kinds
        for source in (_cine, _mapping):
            cases = source(patient, protocol, group, rng)
            yield from (case for case in cases if case.name.rsplit("_", 1)[-1] in wanted)
        report("draw phantoms", number + 1, n_patients)


def _draw_protocol(rng: np.random.Generator) -> _Protocol:
    """Pixels of 1.4 to 2.8 mm in a field of view of a thorax, and the noise of good and of low-field scanners."""
    pixel_mm = rng.uniform(1.4, 2.8)
    fov_mm = (rng.uniform(270, 350), rng.uniform(320, 380))
    matrix = tuple(2 * round(size / pixel_mm / 2) for size in fov_mm)
    return _Protocol(
        matrix=(matrix[0], matrix[1]),
        fov_mm=fov_mm,
        snr=float(np.exp(rng.uniform(2.3, 4.1))),
        normalized=bool(rng.random() < 0.6),
    )


def _cine(patient: SyntheticPatient, protocol: _Protocol, group: str, rng: np.random.Generator) -> Iterator[Case]:
    heart_mm = plan_stack(patient, n_slices=1).pitch_mm
    pitch_mm = heart_mm / (N_CINE_SLICES - rng.uniform(0, MOST_SLICES_BEYOND))
    cine = render_cine(
        patient,
        n_frames=N_CINE_FRAMES,
        n_slices=N_CINE_SLICES,
        matrix=protocol.matrix,
        fov_mm=protocol.fov_mm,
        slice_pitch_mm=pitch_mm,
        rng=rng,
    )
    frames = CINE_PHASES | {"cineAny": int(rng.integers(N_CINE_FRAMES))}
    images = _scan(cine.images[list(frames.values())], protocol, pitch_mm, rng)
    for (kind, frame), image in zip(frames.items(), images, strict=True):
        labels = label_grid(cine.label_fractions[frame], fine=protocol.fine, coarse=protocol.coarse)
        yield Case(f"{group}_{kind}", group, image, labels, (pitch_mm, *protocol.coarse.spacing_mm))


def _mapping(patient: SyntheticPatient, protocol: _Protocol, group: str, rng: np.random.Generator) -> Iterator[Case]:
    stack = plan_stack(patient, n_slices=N_MAPPING_SLICES)
    index = int(rng.integers(1, N_MAPPING_SLICES - 1))
    fractions = mapping_labels(patient, matrix=protocol.matrix, fov_mm=protocol.fov_mm, z_mm=stack.z_mm[index])
    labels = label_grid(fractions[0], fine=protocol.fine, coarse=protocol.coarse)
    spacing_mm = (stack.pitch_mm, *protocol.coarse.spacing_mm)
    for kind in ("T1", "T2"):
        series = render_mapping(
            patient,
            kind=kind,
            matrix=protocol.matrix,
            fov_mm=protocol.fov_mm,
            n_slices=N_MAPPING_SLICES,
            slice_index=index,
        )
        images = _scan(series.images, protocol, stack.pitch_mm, rng)
        if kind == "T1":
            chosen = {"T1mean": images.mean(axis=0), "T1last": images[-1], "T1any": images[rng.integers(len(images))]}
            chosen["T1sd"] = images.std(axis=0)
        else:
            chosen = {"T2first": images[0], "T2mean": images.mean(axis=0), "T2last": images[-1]}
        for name, image in chosen.items():
            yield Case(f"{group}_{name}", group, image, labels, spacing_mm)


def _scan(
    images: NDArray[np.float32], protocol: _Protocol, pitch_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Multi-coil k-space of the fine images, and the root sum of squares of its coil images (frames, slices, y, x)."""
    kspace = acquire(
        images,
        fine_spacing_mm=protocol.fine.spacing_mm,
        matrix=protocol.matrix,
        fov_mm=protocol.fov_mm,
        receiver=Receiver(n_coils=6, snr=protocol.snr, readout_oversampling=1, prescan_normalized=protocol.normalized),
        signal_level=float(np.percentile(np.abs(images), 90)),
        slice_pitch_mm=pitch_mm,
        rng=rng,
    )
    axes = (-2, -1)
    coil_images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)
    return np.sqrt((np.abs(coil_images) ** 2).sum(axis=2)).astype(np.float32)
