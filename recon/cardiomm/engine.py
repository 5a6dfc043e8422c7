"""How does the whole network run fast, for many frames under one pair of texts?

The same function as ``recon.cardiomm.network.CardioMM``. K-space, masks and maps are kept with their centers moved to
the first index, so that only the one combined image of each frame is shifted, not every coil; the sensitivity network
takes the coil images some at a time.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recon.cardiomm.folded import FoldedUNet, SteeredUNet
from recon.cardiomm.network import CardioMM, CardioMMSize, Family, calibration_region, root_sum_of_squares
from recon.fourier import ifft2c

PLANE = (-2, -1)
TEXTS_KEPT = 2
"""Pairs of texts whose prompts and gates are kept: a scan is reconstructed slice by slice under the same ones."""


class FoldedCardioMM:
    """A network with its weights laid out once in one precision.

    Parameters
    ----------
    network
        In evaluation mode; its weights are not changed.
    dtype
        float32, or bfloat16 for the convolutions. Coils, Fourier transforms and data consistency are always single
        precision.
    """

    def __init__(self, network: CardioMM, *, dtype: torch.dtype) -> None:
        self.network, self.size, self.dtype = network, network.size, dtype
        self.sensitivity = FoldedUNet(network.sens_net.norm_unet, dtype=dtype)
        self.cascades = [FoldedUNet(cascade.model, dtype=dtype) for cascade in network.cascades]  # type: ignore[arg-type]
        self.weights = [float(cascade.dc_weight.detach().abs()) for cascade in network.cascades]  # type: ignore[operator]
        self._steered: OrderedDict[bytes, SteeredCardioMM] = OrderedDict()

    def steer(self, metadata_embedding: Tensor, undersampling_embedding: Tensor) -> "SteeredCardioMM":
        """Fix the texts, each (1, encoder_width) before the projection heads; remembered for the next call."""
        key = torch.cat([metadata_embedding, undersampling_embedding]).cpu().numpy().tobytes()
        if key not in self._steered:
            texts = self.network.steer(metadata_embedding, undersampling_embedding)
            self._steered[key] = SteeredCardioMM(
                self.size,
                self.sensitivity.steer(*texts),
                [(unet.steer(*texts), weight) for unet, weight in zip(self.cascades, self.weights, strict=True)],
                self.network.final,
            )
            while len(self._steered) > TEXTS_KEPT:
                self._steered.popitem(last=False)
        return self._steered[key]


@dataclass(frozen=True)
class SteeredCardioMM:
    """A network under one pair of texts: its sensitivity U-Net, each phase with its weight of data consistency, and what
    follows the last phase."""

    size: CardioMMSize
    sensitivity: SteeredUNet
    phases: list[tuple[SteeredUNet, float]]
    final: nn.Module | None = None

    def maps(self, masked_kspace: Tensor, *, n_calibration: int, family: Family, coil_images: int) -> Tensor:
        """Coil sensitivities of unit root sum of squares from k-space (batch, coils, nx, ny), ``coil_images`` at once."""
        images = ifft2c(calibration_region(masked_kspace, n_calibration=n_calibration, family=family))
        single = images.flatten(0, 1)[:, None]
        cleaned = torch.cat([self.sensitivity(part) for part in single.split(coil_images)])
        maps = cleaned[:, 0].unflatten(0, images.shape[:2])
        norm = root_sum_of_squares(maps, dim=1)[:, None]
        return maps / torch.where(norm > 0, norm, torch.ones_like(norm))

    def last_kspace(self, measured: Tensor, sampled: Tensor, maps: Tensor) -> Tensor:
        """The last k-space of the middle neighbor, its center at the first index.

        Parameters
        ----------
        measured, maps
            (batch, neighbors, coils, nx, ny) complex64.
        sampled
            (batch, neighbors, nx, ny) bool.

        Returns
        -------
        complex64 (batch, coils, nx, ny)
        """
        given = measured, sampled[:, :, None], maps
        measured, maps = torch.fft.ifftshift(measured, dim=PLANE), torch.fft.ifftshift(maps, dim=PLANE)
        share = torch.fft.ifftshift(sampled, dim=PLANE)[:, :, None].float()
        towards, kspace = maps.conj(), measured
        for unet, weight in self.phases:
            images = (torch.fft.ifft2(kspace, norm="ortho") * towards).sum(dim=2)
            cleaned = unet(torch.fft.fftshift(images, dim=PLANE))
            coils = torch.fft.ifftshift(cleaned, dim=PLANE)[:, :, None] * maps
            model = torch.fft.fft2(coils, norm="ortho")
            # (measured + w model) / (1 + w) where sampled, model elsewhere
            kspace = model.add_((measured - model).mul_(share / (1 + weight)))
        if self.final is not None:
            kspace = torch.fft.ifftshift(self.final(torch.fft.fftshift(kspace, dim=PLANE), *given), dim=PLANE)
        return kspace[:, self.size.n_adjacent // 2]

    def magnitude(self, last_kspace: Tensor) -> Tensor:
        """Root sum of squares over the coils of what ``last_kspace`` gives: (batch, nx, ny) float32."""
        coils = torch.fft.ifft2(last_kspace, norm="ortho")
        return torch.fft.fftshift(root_sum_of_squares(coils, dim=1), dim=PLANE)
