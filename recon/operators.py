"""How does an image become the measured k-space?

The SENSE model ``y = M F S x``: coil sensitivities, centered Fourier transform, sampling mask.
"""

from dataclasses import dataclass, field

import torch

from recon.fourier import fft2c, ifft2c


@dataclass(frozen=True)
class SenseOperator:
    """Image series to undersampled multi-coil k-space.

    With maps of unit root sum of squares its norm is at most 1, so regularization weights need no scaling to the data.

    Attributes
    ----------
    maps : complex tensor (slices, coils, y, x)
        Coil sensitivities.
    mask : bool tensor (frames, ky, kx)
        True where sampled.

    Raises
    ------
    ValueError
        If the sizes of maps and mask do not fit.
    """

    maps: torch.Tensor
    mask: torch.Tensor
    _rolled_mask: torch.Tensor = field(init=False, repr=False, compare=False)
    _lines_only: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.maps.ndim != 4 or self.mask.ndim != 3 or self.maps.shape[-2:] != self.mask.shape[-2:]:
            raise ValueError(
                "expected maps (slices, coils, y, x) and mask (frames, y, x) of the same y and x, "
                f"got {tuple(self.maps.shape)} and {tuple(self.mask.shape)}"
            )
        rolled = torch.fft.ifftshift(self.mask, dim=(-2, -1))[:, None, None].to(self.maps.real.dtype)
        object.__setattr__(self, "_rolled_mask", rolled)
        object.__setattr__(self, "_lines_only", bool((self.mask == self.mask[..., :1]).all()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``M F S x``: image (frames, slices, y, x) to k-space (frames, slices, coils, ky, kx)."""
        return fft2c(self.maps * image[:, :, None]) * self.mask[:, None, None]

    def adjoint(self, kspace: torch.Tensor) -> torch.Tensor:
        """``S^H F^H M y``: k-space (frames, slices, coils, ky, kx) to image (frames, slices, y, x)."""
        return (self.maps.conj() * ifft2c(kspace * self.mask[:, None, None])).sum(2)

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        """``S^H F^H M F S x``, faster than adjoint after forward.

        ``F^H M F`` is a circular convolution, so the shifts of the centered transform cancel if the mask is shifted
        instead; where whole lines are sampled the transforms along x cancel too.
        """
        axes = (-2,) if self._lines_only else (-2, -1)
        coils = torch.fft.fftn(self.maps * image[:, :, None], dim=axes, norm="ortho")
        coils = torch.fft.ifftn(coils * self._rolled_mask, dim=axes, norm="ortho")
        return (self.maps.conj() * coils).sum(2)
