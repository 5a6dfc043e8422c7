"""What does a reconstruction network learn from? Fully sampled k-space with masks, drawn anew at every step.

Two kinds of data share one interface: objects whose k-space is simulated (here) and measured scans
(``recon.training_scans``). One draw gives samples of one shape, with one mask family and calibration size.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohort.synthetic.acquisition import Receiver, acquire, interpolate_object
from recon.cardiomm.network import Family
from recon.cardiomm.prompts import FAMILY_OF_PATTERN, HashedNgramEncoder, TextEncoder, metadata_text, undersampling_text
from recon.fourier import ifft2c, readout_window
from recon.sampling import undersampling_mask

MASK_FRAMES = 12
SIGNED_SPACING = 1.35  # signed objects are not interpolated, so they are acquired coarser than their grid
SMALLEST_MATRIX = 24


@dataclass(frozen=True)
class TrainingImage:
    """A fully sampled object to simulate k-space from.

    Attributes
    ----------
    image
        (y, x) or (frames, y, x) real or complex object on a fine grid; frames are those of one whole heartbeat.
    spacing_mm
        (y, x) pixel size.
    metadata
        What the metadata sentence says, see ``recon.cardiomm.prompts.metadata_text``.
    source
        Pseudonym of the patient, for the record.
    """

    image: NDArray[Any]
    spacing_mm: tuple[float, float]
    metadata: Mapping[str, Any]
    source: str

    @property
    def n_frames(self) -> int:
        """Frames of the series, 1 for a single image."""
        return 1 if self.image.ndim == 2 else len(self.image)


@dataclass(frozen=True)
class Sampling:
    """Masks and acquisitions that are mixed; each draw takes one of each.

    Attributes
    ----------
    patterns, accelerations, n_calibrations
        Masks; a value that stands twice is drawn twice as often.
    pixel_mm
        Range of the acquired pixel.
    field_of_view
        Range of the field of view along phase encoding, relative to the object's extent; along the readout up to 1.02.
    largest_matrix, largest_radial
        A larger matrix is acquired with a coarser pixel instead; radial masks need the whole readout, which costs more.
    readout_window
        Range of the columns that are kept. Where whole lines are sampled the readout can be cut in image space after an
        inverse transform along it: the phase encoding stays as long as in a real scan, and a step costs half.
    coil_counts, snr
        Receive coils and range of the signal-to-noise ratio.
    """

    patterns: tuple[str, ...] = ("Uniform", "Uniform", "Uniform", "ktGaussian", "ktGaussian", "ktRadial", "ktUniform")
    accelerations: tuple[int, ...] = (4, 4, 6, 8, 8, 12, 16, 24)
    n_calibrations: tuple[int, ...] = (20, 20, 20, 16, 24)
    pixel_mm: tuple[float, float] = (1.6, 2.6)
    field_of_view: tuple[float, float] = (0.85, 1.2)
    largest_matrix: int = 216
    largest_radial: int = 160
    readout_window: tuple[int, int] = (72, 112)
    coil_counts: tuple[int, ...] = (6, 8, 8, 10)
    snr: tuple[float, float] = (15.0, 80.0)


@dataclass(frozen=True)
class Samples:
    """Fully sampled k-space (batch, neighbors, coils, ny, nx) and each sample's metadata."""

    kspace: NDArray[np.complex64]
    metadata: Sequence[Mapping[str, Any]]


class TrainingData(Protocol):
    """Anything that a training can draw samples from."""

    def __len__(self) -> int: ...

    @property
    def patients(self) -> tuple[str, ...]:
        """Pseudonyms of all patients, sorted."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash that changes with the data; a training goes on only with the same."""
        ...

    @property
    def skipped(self) -> Sequence[str]:
        """What could not be used so far and why, a line each."""
        ...

    def of_patient(self, patient: str) -> "TrainingData":
        """The data of one patient, to be drawn from in any order."""
        ...

    def draw(
        self,
        n: int,
        *,
        n_adjacent: int,
        pattern: str,
        sampling: Sampling,
        rng: np.random.Generator,
        step: int = 0,
        rank: int = 0,
    ) -> Samples:
        """``n`` samples of one shape, for a step and a process of the training; they depend on nothing but the
        arguments."""
        ...


@dataclass(frozen=True)
class Batch:
    """What the network gets and the image it should give; one mask family and calibration size a batch."""

    kspace: Tensor
    mask: Tensor
    target: Tensor
    metadata_embedding: Tensor
    undersampling_embedding: Tensor
    n_calibration: int
    family: Family

    def network_input(self) -> dict[str, Any]:
        """The network's arguments."""
        return {
            "masked_kspace": self.kspace,
            "mask": self.mask,
            "metadata_embedding": self.metadata_embedding,
            "undersampling_embedding": self.undersampling_embedding,
            "n_calibration": self.n_calibration,
            "family": self.family,
        }


def draw_batch(
    data: TrainingData,
    sampling: Sampling,
    *,
    batch_size: int,
    rng: np.random.Generator,
    n_adjacent: int = 1,
    encoder: TextEncoder | None = None,
    device: str | torch.device = "cpu",
    step: int = 0,
    rank: int = 0,
) -> Batch:
    """Draw one batch: samples, then masks for them.

    Parameters
    ----------
    data
        Where the samples come from.
    sampling
        What is mixed.
    batch_size
        Samples a batch.
    rng
        Decides everything.
    n_adjacent
        Neighboring frames of each sample; 1 gives k-space (batch, coils, nx, ny) without the axis of neighbors.
    encoder
        Of the texts; None for the embedded one.
    device
        Where the tensors shall be.
    step, rank
        Of the training and of its process, for data that are read piece by piece.
    """
    pattern = str(rng.choice(sampling.patterns))
    acceleration = int(rng.choice(sampling.accelerations))
    n_calibration = int(rng.choice(sampling.n_calibrations))
    samples = data.draw(
        batch_size, n_adjacent=n_adjacent, pattern=pattern, sampling=sampling, rng=rng, step=step, rank=rank
    )
    ny, nx = samples.kspace.shape[-2:]
    masks = cached_masks(pattern, nx, ny, acceleration, min(n_calibration, nx, ny), int(rng.integers(8)))
    first = rng.integers(len(masks), size=batch_size)
    mask = masks[(first[:, None] + np.arange(n_adjacent)) % len(masks)]
    # the network's rows are the readout
    full = torch.from_numpy(samples.kspace).transpose(-1, -2).contiguous().to(device)
    sampled = torch.from_numpy(mask).transpose(-1, -2).contiguous().to(device)
    masked = torch.where(sampled[:, :, None], full, torch.zeros_like(full))
    encode = encoder or HashedNgramEncoder()
    undersampling = undersampling_text(pattern, acceleration)
    single = n_adjacent == 1
    return Batch(
        kspace=masked[:, 0] if single else masked,
        mask=sampled[:, 0] if single else sampled,
        target=ifft2c(full[:, n_adjacent // 2]).abs().square().sum(1).sqrt(),
        metadata_embedding=torch.from_numpy(encode([metadata_text(m) for m in samples.metadata])).to(device),
        undersampling_embedding=torch.from_numpy(encode([undersampling] * batch_size)).to(device),
        n_calibration=min(n_calibration, nx, ny),
        family=FAMILY_OF_PATTERN[pattern],  # type: ignore[arg-type]  # the table holds families alone
    )


@lru_cache(maxsize=1024)
def cached_masks(pattern: str, nx: int, ny: int, acceleration: int, n_calibration: int, seed: int) -> NDArray[np.bool_]:
    """Masks of a short series; the k-t patterns differ from frame to frame."""
    return undersampling_mask(
        pattern,
        nx=nx,
        ny=ny,
        n_frames=MASK_FRAMES,
        acceleration=acceleration,
        n_calibration=n_calibration,
        seed=seed if pattern == "ktGaussian" else None,
    )


@dataclass(frozen=True)
class SimulatedData:
    """Objects whose k-space is simulated at every draw, with random place, mirroring, gamma, coils, phase and noise."""

    images: Sequence[TrainingImage]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """Sources of the images."""
        return tuple(sorted({image.source for image in self.images}))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every image and what is said of it."""
        return sha256_of(*(image_sha256(image) for image in self.images))

    @property
    def skipped(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def of_patient(self, patient: str) -> "SimulatedData":
        """Images of one source."""
        return SimulatedData([image for image in self.images if image.source == patient])

    def draw(
        self,
        n: int,
        *,
        n_adjacent: int,
        pattern: str,
        sampling: Sampling,
        rng: np.random.Generator,
        step: int = 0,  # noqa: ARG002
        rank: int = 0,  # noqa: ARG002
    ) -> Samples:
        """``n`` samples; with neighbors only series with as many frames are drawn from."""
        usable = [image for image in self.images if image.n_frames >= n_adjacent]
        if not usable:
            raise ValueError(f"expected images with at least {n_adjacent} frames to draw neighbors from, got none")
        chosen = [oriented(usable[int(i)], rng=rng) for i in rng.integers(len(usable), size=n)]
        pixel_mm = float(rng.uniform(*sampling.pixel_mm))
        matrix = acquired_matrix(chosen[0], pixel_mm, radial=pattern == "ktRadial", sampling=sampling, rng=rng)
        n_coils = int(rng.choice(sampling.coil_counts))
        length = readout_length(sampling, rng=rng)
        kspace = [
            simulate(image, matrix=matrix, n_coils=n_coils, n_frames=n_adjacent, sampling=sampling, rng=rng)
            for image in chosen
        ]
        window = random_readout_window(np.stack(kspace), length, pattern=pattern, rng=rng)
        return Samples(window, [image.metadata for image in chosen])


def image_sha256(image: TrainingImage) -> str:
    """Hash of an object and what is said of it."""
    about = [image.image.shape, str(image.image.dtype), image.spacing_mm, dict(image.metadata), image.source]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=float).encode())
    digest.update(np.ascontiguousarray(image.image).data)
    return digest.hexdigest()


def sha256_of(*parts: str) -> str:
    """Hash of several texts in their order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def oriented(source: TrainingImage, *, rng: np.random.Generator) -> TrainingImage:
    """The object with its phase encoding (y) along its shorter side, as on a scanner; one in five the other way."""
    height, width = extent_mm(source)
    if (height > width) == (rng.random() < 0.2):
        return source
    return TrainingImage(source.image.swapaxes(-1, -2), source.spacing_mm[::-1], source.metadata, source.source)


def extent_mm(source: TrainingImage) -> tuple[float, float]:
    """(y, x) size of the object."""
    (height, width), spacing = source.image.shape[-2:], source.spacing_mm
    return height * spacing[0], width * spacing[1]


def acquired_matrix(
    source: TrainingImage, pixel_mm: float, *, radial: bool, sampling: Sampling, rng: np.random.Generator
) -> tuple[int, int]:
    """Draw (ny, nx), even, for a field of view that fits the object more or less."""
    height, width = extent_mm(source)
    longest = sampling.largest_radial if radial else sampling.largest_matrix
    pixel_mm = max(pixel_mm, finest_pixel_mm(source), max(height, width) / longest)
    low, high = sampling.field_of_view
    sizes = (height * rng.uniform(low, high) / pixel_mm, width * rng.uniform(low, 1.02) / pixel_mm)
    ny, nx = (max(SMALLEST_MATRIX, 2 * round(size / 2)) for size in sizes)
    return ny, nx


def finest_pixel_mm(source: TrainingImage) -> float:
    """The finest pixel that a signed object may be acquired with; 0 for others, which are interpolated."""
    return SIGNED_SPACING * max(source.spacing_mm) if np.iscomplexobj(source.image) else 0.0


def simulate(
    source: TrainingImage,
    *,
    matrix: tuple[int, int],
    n_coils: int,
    sampling: Sampling,
    rng: np.random.Generator,
    n_frames: int = 1,
) -> NDArray[np.complex64]:
    """One object -> k-space (frames, coils, ny, nx): random shift, mirroring, gamma, first frame, coils and noise."""
    height, width = extent_mm(source)
    # a second object of a batch takes the first one's matrix, and the pixel that fits it
    pixel_mm = max(min(height / matrix[0], width / matrix[1]), sampling.pixel_mm[0], finest_pixel_mm(source))
    fov = (pixel_mm * matrix[0], pixel_mm * matrix[1])
    start = int(rng.integers(source.n_frames))
    frames = source.image.reshape(-1, *source.image.shape[-2:])[(start + np.arange(n_frames)) % source.n_frames]
    image, spacing = crop(frames, source.spacing_mm, fov, rng=rng)
    for axis in (-2, -1):
        if rng.random() < 0.5:
            image = np.flip(image, axis)
    if not np.iscomplexobj(image):
        peak = float(image.max()) or 1.0
        image = peak * (np.maximum(image, 0) / peak) ** rng.uniform(0.7, 1.3)
        refined = interpolate_object(np.ascontiguousarray(image), 1.5 * max(spacing) / pixel_mm)
        spacing = (spacing[0] * image.shape[1] / refined.shape[1], spacing[1] * image.shape[2] / refined.shape[2])
        image = refined
    receiver = Receiver(
        n_coils=n_coils,
        snr=float(np.exp(rng.uniform(*np.log(sampling.snr)))),
        readout_oversampling=1,
        prescan_normalized=bool(rng.random() < 0.6),
        phase_rad=float(rng.uniform(0.2, 1.5)),
    )
    return acquire(
        image[:, None],
        fine_spacing_mm=spacing,
        matrix=matrix,
        fov_mm=fov,
        receiver=receiver,
        signal_level=float(np.percentile(np.abs(image), 80)) or 1.0,
        rng=rng,
    )[:, 0]


def crop(
    image: NDArray[Any], spacing: tuple[float, float], fov: tuple[float, float], *, rng: np.random.Generator
) -> tuple[NDArray[Any], tuple[float, float]]:
    """Cut a random window of the field of view, not far from the image's center; a smaller image stays whole."""
    window = []
    for size, pixel, length in zip(image.shape[-2:], spacing, fov, strict=True):
        keep = min(size, int(length / pixel))
        start = int(np.clip((size - keep) / 2 + rng.normal(0, 0.1) * size, 0, size - keep))
        window.append(slice(start, start + keep))
    return image[..., window[0], window[1]], spacing


def readout_length(sampling: Sampling, *, rng: np.random.Generator) -> int:
    """Columns to keep."""
    return int(rng.integers(sampling.readout_window[0], sampling.readout_window[1] + 1))


def random_readout_window(
    kspace: NDArray[np.complex64], length: int, *, pattern: str, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """Some columns of the image for masks of whole lines; radial masks, and short readouts, keep all."""
    nx = kspace.shape[-1]
    if pattern == "ktRadial" or length >= nx:
        return kspace
    return readout_window(kspace, int(rng.integers(0, nx - length + 1)), length)
