"""What does an image look like in an orthogonal wavelet basis?

Daubechies wavelets with periodic boundaries. One level along one axis is an orthogonal matrix, so the whole transform
is orthogonal by construction: its inverse is its adjoint, and soft-thresholding it is an exact proximal step.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import comb, floor, log2
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Wavelet = Literal["db2", "db4"]
VANISHING_MOMENTS: dict[Wavelet, int] = {"db2": 2, "db4": 4}


@dataclass(frozen=True)
class WaveletTransform:
    """Orthogonal two-dimensional wavelet transform of images (..., y, x) of one size.

    Attributes
    ----------
    shape : (ny, nx)
        Multiples of ``2 ** n_levels``.
    wavelet : {"db2", "db4"}
        Daubechies wavelet with 2 or 4 vanishing moments (4 or 8 taps).
    n_levels : int, >= 0

    Raises
    ------
    ValueError
        If the sides cannot be halved so often.

    Notes
    -----
    Source: Daubechies 1988, doi:10.1002/cpa.3160410705; Mallat 1989, doi:10.1109/34.192463.
    """

    shape: tuple[int, int]
    wavelet: Wavelet
    n_levels: int

    def __post_init__(self) -> None:
        if any(n < 1 or n % 2**self.n_levels for n in self.shape):
            raise ValueError(
                f"expected sides that are multiples of {2**self.n_levels} for {self.n_levels} levels, got {self.shape}; "
                "pad the image (padded_shape)"
            )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Coefficients (..., y, x): the coarsest image in the first corner, details beside and below it."""
        parts = _real_parts(image)
        for level in range(self.n_levels):
            ny, nx = (n >> level for n in self.shape)
            block = parts[..., :ny, :nx]
            parts[..., :ny, :nx] = self._matrix(ny, parts) @ block @ self._matrix(nx, parts).T
        return _joined(parts, image)

    def inverse(self, coefficients: torch.Tensor) -> torch.Tensor:
        """The image with these coefficients; also the adjoint of ``forward``."""
        parts = _real_parts(coefficients)
        for level in reversed(range(self.n_levels)):
            ny, nx = (n >> level for n in self.shape)
            block = parts[..., :ny, :nx]
            parts[..., :ny, :nx] = self._matrix(ny, parts).T @ block @ self._matrix(nx, parts)
        return _joined(parts, coefficients)

    def _matrix(self, n: int, like: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(_level_matrix(n, self.wavelet)).to(like)


def most_levels(shape: tuple[int, int], wavelet: Wavelet) -> int:
    """Levels at which the wavelet still fits into the coarsest image: ``floor(log2(n / (taps - 1)))`` of the shorter side."""
    taps = 2 * VANISHING_MOMENTS[wavelet]
    return max(0, floor(log2(max(1.0, min(shape) / (taps - 1)))))


def padded_shape(shape: tuple[int, int], n_levels: int) -> tuple[int, int]:
    """The smallest sides, not below these, that can be halved so often."""
    unit = 2**n_levels
    ny, nx = (-(-n // unit) * unit for n in shape)
    return ny, nx


def soft_threshold(values: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    """Shrink magnitudes by the threshold, to 0 below it: ``argmin |z - v|^2 / 2 + threshold |z|``."""
    magnitude = values.abs()
    return values * ((magnitude - threshold).clamp_min(0) / magnitude.clamp_min(torch.finfo(magnitude.dtype).tiny))


@lru_cache(maxsize=64)
def _level_matrix(n: int, wavelet: Wavelet) -> NDArray[np.float64]:
    """One level along an axis of even length n: n / 2 low-pass rows, then n / 2 high-pass rows, wrapped around."""
    low = daubechies_filter(VANISHING_MOMENTS[wavelet])
    high = low[::-1] * (-1.0) ** np.arange(len(low))
    matrix = np.zeros((n, n))
    for row in range(n // 2):
        columns = (2 * row + np.arange(len(low)) - len(low) + 2) % n  # the place that PyWavelets gives it
        np.add.at(matrix[row], columns, low)
        np.add.at(matrix[n // 2 + row], columns, high)
    return matrix


def daubechies_filter(n_moments: int) -> NDArray[np.float64]:
    """Low-pass filter with 2 n taps, minimal phase, unit norm, sum sqrt(2).

    Spectral factorization: the roots inside the unit circle of the polynomial whose values are the squared magnitude.
    """
    # |H|^2 = 2 cos^2n(w/2) sum_k C(n-1+k, k) sin^2k(w/2), with sin^2(w/2) = (2 - z - 1/z) / 4
    total = np.zeros(1)
    for k in range(n_moments):
        term = np.array([float(comb(n_moments - 1 + k, k))])
        for _ in range(k):
            term = np.convolve(term, [-0.25, 0.5, -0.25])
        total = _centered_sum(total, term)
    roots = np.roots(total)
    taps = np.ones(1, complex)
    for root in [-1.0] * n_moments + list(roots[np.abs(roots) < 1]):
        taps = np.convolve(taps, [1.0, -root])
    real: NDArray[np.float64] = taps.real
    return real * (np.sqrt(2) / real.sum())


def _centered_sum(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    n = max(len(a), len(b))
    return np.pad(a, (n - len(a)) // 2) + np.pad(b, (n - len(b)) // 2)


def _real_parts(image: torch.Tensor) -> torch.Tensor:
    """Real and imaginary part on a new first axis: a real matrix then costs half."""
    return torch.stack([image.real, image.imag]) if image.is_complex() else image[None].clone()


def _joined(parts: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.complex(parts[0], parts[1]) if like.is_complex() else parts[0]
