"""What do the measured samples still say about the network's last k-space? One SENSE correction, then they are kept."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

FIRST_WEIGHT = 0.01
"""Regularization before training: of 0.003 to 0.3 the best on patients of the training split, flat below 0.03."""
N_STEPS = 6
"""Steps of the conjugate gradient; twice as many changed the PSNR by less than 0.1 dB."""


class SenseConsistency(nn.Module):
    """Correct a k-space by what its error at the sampled points says about the others, and keep the samples themselves.

    The coil-combined correction is ``argmin |M F S d - M (y - k)|^2 + lambda |d|^2`` with lambda learned; ``F S d`` is
    added where nothing was sampled, and the samples y stand as they were measured. An aliased remainder that the coils
    can tell from the image leaves the image this way, which a weighted mean at the sampled points alone cannot do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.full((1,), math.log(FIRST_WEIGHT)))

    def forward(self, kspace: Tensor, measured: Tensor, sampled: Tensor, maps: Tensor) -> Tensor:
        """K-space, measured and maps (batch, neighbors, coils, nx, ny), sampled (batch, neighbors, 1, nx, ny)."""
        axes = (-2, -1)
        # the shifts of the centered transform cancel where k-space and mask are shifted instead
        mask = torch.fft.ifftshift(sampled, dim=axes)
        missed = torch.fft.ifftshift(torch.where(sampled, measured - kspace, torch.zeros_like(kspace)), dim=axes)
        sensitivities = torch.fft.ifftshift(maps, dim=axes)
        weight = self.log_weight.exp()

        def combined(coils: Tensor) -> Tensor:
            return (sensitivities.conj() * torch.fft.ifft2(coils, norm="ortho")).sum(2, keepdim=True)

        def normal(image: Tensor) -> Tensor:
            coils = torch.fft.fft2(sensitivities * image, norm="ortho")
            return combined(torch.where(mask, coils, torch.zeros_like(coils))) + weight * image

        correction = torch.fft.fft2(sensitivities * conjugate_gradient_steps(normal, combined(missed)), norm="ortho")
        return torch.where(sampled, measured, kspace + torch.fft.fftshift(correction, dim=axes))


def conjugate_gradient_steps(normal: Callable[[Tensor], Tensor], rhs: Tensor) -> Tensor:
    """A fixed number of steps from zero, so that gradients flow through them; images (batch, neighbors, 1, nx, ny)."""
    solution, residual, direction = torch.zeros_like(rhs), rhs, rhs
    power = energy(residual)
    for _ in range(N_STEPS):
        image = normal(direction)
        step = ratio(power, inner(direction, image))
        solution = solution + step * direction
        residual = residual - step * image
        following = energy(residual)
        direction = residual + ratio(following, power) * direction
        power = following
    return solution


def energy(x: Tensor) -> Tensor:
    """Sum of |x|^2 of each image."""
    return inner(x, x)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Real part of the inner product of each image."""
    return (a.real * b.real + a.imag * b.imag).sum((-2, -1), keepdim=True)


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """Quotient of two energies; 0 where the one below has vanished, which means that the image is solved."""
    solved = below <= torch.finfo(below.dtype).tiny
    return torch.where(solved, torch.zeros_like(above), above / torch.where(solved, torch.ones_like(below), below))
