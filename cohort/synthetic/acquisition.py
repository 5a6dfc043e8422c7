"""How does a fine image become multi-coil k-space? Coils, object phase, noise and readout oversampling.

The object lives on a grid finer than the acquired one; its Fourier integral is evaluated only at the acquired k-space
positions, so that
truncation gives true Gibbs ringing and no reconstruction can profit from the simulation's grid (no inverse crime).
The fast Fourier
transform is not used here at all: pixel centers, field of view and matrix are free of each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Complex = NDArray[np.complex64]
LOOP_SEGMENTS = 32
COARSE_GRID = 40
"""Points per axis on which the smooth coil fields are integrated before interpolation."""


@dataclass(frozen=True)
class Receiver:
    """What the scanner adds to the object.

    Attributes
    ----------
    n_coils
        Receive coils, 6 to 16 in practice.
    snr
        Signal level divided by the standard deviation of the complex noise of one coil (per real and imaginary part)
        where the
        sensitivities have unit root sum of squares.
    readout_oversampling
        Factor by which the readout samples more than the prescribed field of view.
    prescan_normalized
        Divide the sensitivities by their root sum of squares, as the vendors' normalisation does.
    noise_correlation
        0 for independent coils, towards 1 for strongly coupled ones.
    phase_rad
        Size of the smooth object phase.
    """

    n_coils: int = 8
    snr: float = 40.0
    readout_oversampling: int = 2
    prescan_normalized: bool = False
    noise_correlation: float = 0.2
    phase_rad: float = 1.0


def acquire(
    images: NDArray[np.floating] | Complex,
    *,
    fine_spacing_mm: tuple[float, float],
    matrix: tuple[int, int],
    fov_mm: tuple[float, float],
    receiver: Receiver,
    signal_level: float,
    slice_pitch_mm: float = 10.0,
    rng: np.random.Generator,
    progress: Callable[[], None] = lambda: None,
) -> Complex:
    """Acquire fully sampled k-space.

    Parameters
    ----------
    images
        (frames, slices, y, x) real or complex object on the fine grid, centered in the field of view.
    fine_spacing_mm
        Pixel size (y, x) of ``images``; at least 1.3 times finer than the acquired one.
    matrix
        (ny, nx) acquired, without the readout oversampling.
    fov_mm
        (y, x) field of view of ``matrix``.
    receiver
        Coils, noise and phase.
    signal_level
        The signal (for instance of the myocardium) to which ``receiver.snr`` refers.
    slice_pitch_mm
        Distance of slice centers; coil sensitivities change from slice to slice.
    rng
        Draws coil positions, phase and noise.
    progress
        Called after every slice.

    Returns
    -------
    complex64 (frames, slices, coils, ny, nx * readout_oversampling)
        Centered orthonormal convention: its inverse transform has the object's values.

    Raises
    ------
    ValueError
        If the image is not 4-D or its grid is too coarse for the matrix.
    """
    if images.ndim != 4:
        raise ValueError(f"expected an object of shape (frames, slices, y, x), got {images.shape}")
    acquired = tuple(fov / n for fov, n in zip(fov_mm, matrix, strict=True))
    if any(fine * 1.3 > coarse for fine, coarse in zip(fine_spacing_mm, acquired, strict=True)):
        raise ValueError(
            f"the object's grid ({fine_spacing_mm} mm) must be at least 1.3 times finer than the acquired one ({acquired} mm): "
            "interpolate it or acquire a smaller matrix"
        )
    n_frames, n_slices, height, width = images.shape
    over = receiver.readout_oversampling
    to_ky = fourier_matrix(height, fine_spacing_mm[0], matrix[0], fov_mm[0])
    to_kx = fourier_matrix(width, fine_spacing_mm[1], matrix[1], fov_mm[1], oversampling=over)
    slice_offsets = (np.arange(n_slices) - (n_slices - 1) / 2) * slice_pitch_mm
    maps = coil_sensitivities((height, width), fine_spacing_mm, slice_offsets, receiver=receiver, rng=rng)
    phase = smooth_phase((height, width), receiver.phase_rad, rng=rng)
    kspace = np.empty((n_frames, n_slices, receiver.n_coils, matrix[0], matrix[1] * over), dtype=np.complex64)
    for z in range(n_slices):
        weights = maps[z] * phase
        for t in range(n_frames):
            kspace[t, z] = (to_ky @ (images[t, z].astype(np.complex64) * weights)) @ to_kx.T
        progress()
    sd = signal_level / receiver.snr
    mixing = noise_mixing(receiver.n_coils, receiver.noise_correlation, rng=rng) * np.float32(sd)
    for t in range(n_frames):
        noise = rng.standard_normal((2, *kspace.shape[1:]), dtype=np.float32)
        kspace[t] += np.einsum("dc,zcyx->zdyx", mixing, noise[0] + 1j * noise[1], optimize=True)
    return kspace


def fourier_matrix(n_fine: int, spacing_mm: float, n: int, fov_mm: float, *, oversampling: int = 1) -> Complex:
    """Matrix (n * oversampling, n_fine) from fine pixels to k-space samples of one axis.

    Acquired pixel i covers [i, i + 1] fov / n, also after the oversampling is removed; the fine grid is centered in
    the field of view. A constant object keeps its value after the centered orthonormal inverse transform.
    """
    n_samples, sampled_fov_mm = n * oversampling, fov_mm * oversampling
    position = (np.arange(n_fine) + 0.5 - n_fine / 2) * spacing_mm
    # index n // 2 is the transform's origin, half a pixel from the center where n is even
    relative = position - (n // 2 + 0.5 - n / 2) * fov_mm / n
    frequency = (np.arange(n_samples) - n_samples // 2) / sampled_fov_mm
    scale = np.sqrt(n_samples) * spacing_mm / sampled_fov_mm
    return (scale * np.exp(-2j * np.pi * np.outer(frequency, relative))).astype(np.complex64)


def coil_sensitivities(
    shape: tuple[int, int],
    spacing_mm: tuple[float, float],
    slice_offsets_mm: NDArray[np.floating],
    *,
    receiver: Receiver,
    rng: np.random.Generator,
) -> Complex:
    """Receive fields of loops around the body, integrated after Biot and Savart.

    The loops sit on an ellipse around the field of view, half in front and half behind, alternately above and below
    the slices; their
    transverse field Bx - i By is the sensitivity.

    Returns
    -------
    complex64 (slices, coils, y, x)
        Scaled to a root sum of squares of one at the center (everywhere, if prescan-normalised).
    """
    half = np.array([shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]]) / 2
    ticks = np.linspace(-1, 1, COARSE_GRID)
    y, x = np.meshgrid(ticks * half[0], ticks * half[1], indexing="ij")
    points = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(1, -1, 3)
    points = points + np.asarray(slice_offsets_mm, dtype=np.float64).reshape(-1, 1, 1) * np.array([0.0, 0.0, 1.0])
    n_coils = receiver.n_coils
    coarse = np.empty((len(slice_offsets_mm), n_coils, COARSE_GRID, COARSE_GRID), dtype=np.complex128)
    start = rng.uniform(0, 2 * np.pi)
    for c in range(n_coils):
        angle = start + 2 * np.pi * (c + rng.uniform(-0.15, 0.15)) / n_coils
        away = rng.uniform(1.3, 1.6)
        center = np.array(
            [away * half[1] * np.cos(angle), away * half[0] * np.sin(angle), (-1) ** c * rng.uniform(15, 50)]
        )
        normal = -center + rng.normal(0, 25, size=3)
        field = loop_field(points, center, normal, radius_mm=rng.uniform(60, 100))
        coarse[:, c] = (field[..., 0] - 1j * field[..., 1]).reshape(-1, COARSE_GRID, COARSE_GRID)
        coarse[:, c] *= np.exp(1j * rng.uniform(0, 2 * np.pi))
    rss = np.sqrt((np.abs(coarse) ** 2).sum(axis=1, keepdims=True))
    middle = slice(COARSE_GRID // 2 - 2, COARSE_GRID // 2 + 2)
    coarse /= rss if receiver.prescan_normalized else rss[:, :, middle, middle].mean()
    return enlarge(coarse, shape)


def loop_field(
    points: NDArray[np.float64], center: NDArray[np.float64], normal: NDArray[np.float64], *, radius_mm: float
) -> NDArray[np.float64]:
    """Magnetic field (..., 3) of a unit current in a circular loop, up to a constant: sum of dl x r / |r|^3."""
    normal = normal / np.linalg.norm(normal)
    first = np.cross(normal, [0.0, 0.0, 1.0] if abs(normal[2]) < 0.9 else [1.0, 0.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    field = np.zeros((*points.shape[:-1], 3))
    for angle in (np.arange(LOOP_SEGMENTS) + 0.5) * 2 * np.pi / LOOP_SEGMENTS:
        wire = center + radius_mm * (np.cos(angle) * first + np.sin(angle) * second)
        step = radius_mm * 2 * np.pi / LOOP_SEGMENTS * (np.cos(angle) * second - np.sin(angle) * first)
        away = points - wire
        # points closer than 20 mm to the wire lie outside any body; the bound keeps them finite
        distance = np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 20.0)
        field += np.cross(step, away) / distance**3
    return field


def enlarge(coarse: NDArray[np.complex128], shape: tuple[int, int]) -> Complex:
    """Interpolate smooth fields (..., coarse, coarse) to (..., *shape), end points on end points."""
    rows = np.linspace(0, coarse.shape[-2] - 1, shape[0])
    columns = np.linspace(0, coarse.shape[-1] - 1, shape[1])
    grid = np.meshgrid(rows, columns, indexing="ij")
    out = np.empty((*coarse.shape[:-2], *shape), dtype=np.complex64)
    for index in np.ndindex(*coarse.shape[:-2]):
        plane = coarse[index]
        out[index].real = ndimage.map_coordinates(plane.real, grid, order=3, mode="nearest")
        out[index].imag = ndimage.map_coordinates(plane.imag, grid, order=3, mode="nearest")
    return out


def smooth_phase(shape: tuple[int, int], size_rad: float, *, rng: np.random.Generator) -> Complex:
    """exp(i phase) of a random smooth phase: low-order cosines over the field of view."""
    y, x = np.meshgrid(np.linspace(0, 1, shape[0]), np.linspace(0, 1, shape[1]), indexing="ij")
    phase = np.full(shape, rng.uniform(-np.pi, np.pi))
    for order_y in range(3):
        for order_x in range(3 - order_y):
            amplitude = rng.normal() * size_rad / (1 + order_y + order_x)
            phase += amplitude * np.cos(np.pi * order_y * y) * np.cos(np.pi * order_x * x)
    return np.exp(1j * phase).astype(np.complex64)


def noise_mixing(n_coils: int, correlation: float, *, rng: np.random.Generator) -> Complex:
    """Matrix whose product with white noise has unit variance in every coil and a random positive correlation."""
    random = rng.standard_normal((n_coils, n_coils)) + 1j * rng.standard_normal((n_coils, n_coils))
    covariance = random @ random.conj().T / (2 * n_coils)
    scale = 1 / np.sqrt(np.real(np.diag(covariance)))
    covariance = (1 - correlation) * np.eye(n_coils) + correlation * covariance * np.outer(scale, scale)
    return np.linalg.cholesky(covariance).astype(np.complex64)


def interpolate_object(image: NDArray[np.floating], factor: float) -> NDArray[np.float32]:
    """Refine real magnitude images (..., y, x) by cubic splines; pixel centers keep their place. No negative signal."""
    if factor <= 1:
        return image.astype(np.float32)
    flat = image.reshape(-1, *image.shape[-2:])
    shape = tuple(int(np.ceil(n * factor)) for n in image.shape[-2:])
    planes = [
        ndimage.zoom(
            plane, [s / n for s, n in zip(shape, plane.shape, strict=True)], order=3, grid_mode=True, mode="nearest"
        )
        for plane in flat
    ]
    return np.maximum(np.stack(planes), 0).reshape(*image.shape[:-2], *shape).astype(np.float32)
