"""How do we go between k-space and image space, and how is an array cropped or padded about its center?

One convention in the whole project: centered and orthonormal, ``fftshift(ifft(ifftshift(k)))``, so an image has the
energy of its k-space and the center of an axis of length n is index ``n // 2``.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

AnyArray = TypeVar("AnyArray", torch.Tensor, NDArray[Any])


def fft2c(image: AnyArray) -> AnyArray:
    """Centered orthonormal 2-D Fourier transform over the last two axes (image to k-space).

    Parameters
    ----------
    image : torch tensor or numpy array (..., y, x)

    Returns
    -------
    same kind of array (..., ky, kx), complex of the same precision
    """
    return _centered2(image, inverse=False)


def ifft2c(kspace: AnyArray) -> AnyArray:
    """Centered orthonormal 2-D inverse Fourier transform over the last two axes (k-space to image).

    Parameters
    ----------
    kspace : torch tensor or numpy array (..., ky, kx)

    Returns
    -------
    same kind of array (..., y, x), complex of the same precision
    """
    return _centered2(kspace, inverse=True)


def _centered2(array: AnyArray, *, inverse: bool) -> AnyArray:
    if isinstance(array, torch.Tensor):
        transform_torch = torch.fft.ifft2 if inverse else torch.fft.fft2
        shifted = torch.fft.ifftshift(array, dim=(-2, -1))
        return torch.fft.fftshift(transform_torch(shifted, norm="ortho"), dim=(-2, -1))
    transform = scipy.fft.ifft2 if inverse else scipy.fft.fft2
    shifted_np = scipy.fft.ifftshift(array, axes=(-2, -1))
    return cast(Any, scipy.fft.fftshift(transform(shifted_np, norm="ortho"), axes=(-2, -1)))


def to_x(kspace: torch.Tensor) -> torch.Tensor:
    """Centered orthonormal inverse transform along the last axis only (kx to x)."""
    image = torch.fft.ifft(torch.fft.ifftshift(kspace, dim=-1), norm="ortho")
    return torch.fft.fftshift(image, dim=-1)


def inverse_matrix(n: int, points: torch.Tensor, *, dtype: torch.dtype) -> torch.Tensor:
    """Centered orthonormal inverse transform as a matrix (n, points) of the given k-space indices of an axis of length n.

    Much faster than zero filling where few lines are sampled.
    """
    position = torch.arange(n, device=points.device) - n // 2
    phase = torch.outer(position, points - n // 2).remainder(n).to(torch.float64) * (2 * torch.pi / n)
    return (torch.exp(1j * phase) / n**0.5).to(dtype)


def remove_readout_oversampling(kspace: NDArray[np.complex64], factor: int) -> NDArray[np.complex64]:
    """Remove the readout oversampling: keep the center ``nx / factor`` of the field of view along x.

    Parameters
    ----------
    kspace : complex array (..., kx)
        As stored; kx is the readout and must be fully sampled.
    factor : int
        Oversampling of the readout, 2 in CMRxRecon files; 1 returns the k-space unchanged.

    Returns
    -------
    complex64 array (..., kx / factor)
        Its inverse transform is the center part of the original image, with the same values.

    Raises
    ------
    ValueError
        If the readout length is not a multiple of the factor.
    """
    n_readout = kspace.shape[-1]
    if factor < 1 or n_readout % factor:
        raise ValueError(
            f"expected a readout length that is a multiple of the oversampling factor, got {n_readout} samples and "
            f"factor {factor}; give the factor the file was acquired with (1 if there is no oversampling)"
        )
    if factor == 1:
        return kspace.astype(np.complex64, copy=False)
    kept = n_readout // factor
    return readout_window(kspace, center_slice(n_readout, kept).start, kept)


def readout_window(kspace: NDArray[np.complex64], start: int, length: int) -> NDArray[np.complex64]:
    """K-space (..., length) of the columns from ``start`` of the image; exact where the readout is fully sampled."""
    n_readout = kspace.shape[-1]
    out = np.empty((*kspace.shape[:-1], length), np.complex64)
    rows_in, rows_out = kspace.reshape(-1, n_readout), out.reshape(-1, length)
    step = max(1, 2**22 // n_readout)  # bounds the extra memory to some tens of MB
    for first in range(0, len(rows_in), step):
        part = scipy.fft.ifftshift(rows_in[first : first + step].astype(np.complex64, copy=False), axes=-1)
        image = scipy.fft.fftshift(scipy.fft.ifft(part, norm="ortho"), axes=-1)[:, start : start + length]
        back = scipy.fft.fft(scipy.fft.ifftshift(image, axes=-1), norm="ortho")
        rows_out[first : first + step] = scipy.fft.fftshift(back, axes=-1)
    return out


def center_slice(length: int, block: int) -> slice:
    """The central ``block`` of an axis of ``length``: starts at ``length // 2 - block // 2``, so both centers coincide.

    Raises
    ------
    ValueError
        If the block is longer than the axis.
    """
    if not 0 <= block <= length:
        raise ValueError(f"expected a central block of at most {length}, the length of the axis, got {block}")
    start = length // 2 - block // 2
    return slice(start, start + block)


def center_crop(array: AnyArray, shape: Sequence[int]) -> AnyArray:
    """The central part of the last ``len(shape)`` axes (a view); raises ValueError where the array is smaller."""
    lengths: tuple[int, ...] = tuple(array.shape)[-len(shape) :]
    return cast(Any, array)[(..., *(center_slice(n, block) for n, block in zip(lengths, shape, strict=True)))]


def center_pad(array: AnyArray, shape: Sequence[int]) -> AnyArray:
    """Zeros around the last ``len(shape)`` axes so that they get this shape, centers kept (zero filling of k-space).

    Raises
    ------
    ValueError
        If the wanted shape is smaller than the array.
    """
    lengths: tuple[int, ...] = tuple(array.shape)[-len(shape) :]
    where = (..., *(center_slice(wanted, n) for wanted, n in zip(shape, lengths, strict=True)))
    full = (*array.shape[: -len(shape)], *shape)
    out: Any = array.new_zeros(full) if isinstance(array, torch.Tensor) else np.zeros(full, array.dtype)
    out[where] = array
    return cast(Any, out)
