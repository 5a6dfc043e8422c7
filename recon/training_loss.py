"""How far is a reconstruction from its target? The loss that is trained on, and the PSNR that is watched."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.training_data import Batch
from recon.training_options import TrainingOptions

SSIM_WINDOW = 7
SSIM_K1, SSIM_K2 = 0.01, 0.03
NMSE_FLOOR = 1e-6  # 60 dB: nothing is gained beyond
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def loss_of(network: nn.Module, batch: Batch, options: TrainingOptions) -> Tensor:
    """Loss of one batch, a scalar: the mean over its samples of 1 - SSIM, absolute error and logarithm of the NMSE."""
    return loss_of_image(reconstructed(network, batch, options), batch.target, options)


def reconstructed(network: nn.Module, batch: Batch, options: TrainingOptions) -> Tensor:
    """The network's images (batch, nx, ny) in float32, computed in the options' precision."""
    dtype = AUTOCAST.get(options.precision)
    with torch.autocast(batch.mask.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        image: Tensor = network(**batch.network_input())
    return image.float()


def loss_of_image(image: Tensor, target: Tensor, options: TrainingOptions) -> Tensor:
    """1 - SSIM plus the weighted relative absolute error and share of the PSNR; images (batch, nx, ny)."""
    target = target.float()
    peak = target.amax(dim=(-2, -1), keepdim=True)
    # brightest tissue (fat beside a coil) can be ten times the heart: the 99th percentile sets the error's scale
    scale = torch.quantile(target.flatten(1), 0.99, dim=1)[:, None, None]
    error = (image - target).abs() / scale
    nmse = (image - target).square().sum((-2, -1)) / target.square().sum((-2, -1))
    return (
        1
        - ssim(image, target, peak).mean()
        + options.l1_weight * error.mean()
        + options.psnr_weight * torch.log(nmse + NMSE_FLOOR).mean()
    )


def psnr_of_image(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (batch,) in dB, the peak being the target's maximum."""
    mse = (image - target).square().mean((-2, -1))
    return 10 * torch.log10(target.amax(dim=(-2, -1)).square() / mse)


def ssim(image: Tensor, target: Tensor, data_range: Tensor) -> Tensor:
    """Structural similarity (batch,) with a uniform 7 x 7 window; arguments (batch, y, x) and (batch, 1, 1)."""

    def local_mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x[:, None], SSIM_WINDOW, stride=1)[:, 0]

    # sample covariance as in scikit-image
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    mean_i, mean_t = local_mean(image), local_mean(target)
    var_i = unbiased * (local_mean(image * image) - mean_i * mean_i)
    var_t = unbiased * (local_mean(target * target) - mean_t * mean_t)
    covariance = unbiased * (local_mean(image * target) - mean_i * mean_t)
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    ratio = (2 * mean_i * mean_t + c1) * (2 * covariance + c2)
    return (ratio / ((mean_i**2 + mean_t**2 + c1) * (var_i + var_t + c2))).mean(dim=(-2, -1))
