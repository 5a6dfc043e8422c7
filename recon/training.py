"""How is CardioMM trained? Mixed masks, coils and contrasts, simulated on the fly from fully sampled images.

Every step draws its data from a generator seeded with (seed, step), so a resumed training sees exactly what an
uninterrupted one would
have seen. Loss as in the release (1 - SSIM on magnitude images, 7 x 7 window) plus an absolute error that holds the
scale.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cohort.synthetic.acquisition import Receiver, acquire, interpolate_object
from recon.cardiomm.checkpoint import save_cardiomm, write_checkpoint
from recon.cardiomm.network import CardioMM, CardioMMSize
from recon.cardiomm.prompts import FAMILY_OF_PATTERN, HashedNgramEncoder, metadata_text, undersampling_text
from recon.fourier import ifft2c
from recon.sampling import undersampling_mask

SMALL = CardioMMSize(
    n_cascades=5,
    n_features=16,
    level_widths=(24, 32, 40),
    prompt_widths=(8, 12, 16),
    prompt_sizes=(16, 8, 4),
    sensitivity_features=4,
    sensitivity_level_widths=(8, 12, 16),
    sensitivity_prompt_widths=(4, 4, 8),
    n_prompts=(5, 5, 5),
    embedding_width=64,
)
"""The shipped size: 3.2 M parameters."""

SSIM_WINDOW = 7
SSIM_K1, SSIM_K2 = 0.01, 0.03
MASK_FRAMES = 12


@dataclass(frozen=True)
class TrainingImage:
    """A fully sampled object to simulate k-space from.

    Attributes
    ----------
    image
        (y, x) real or complex object on a fine grid.
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


@dataclass(frozen=True)
class TrainingOptions:
    """Every choice of a training.

    Attributes
    ----------
    steps, batch_size, seed
        Length of the training and its randomness.
    max_minutes
        The learning rate's schedule ends at this time at the latest, whatever the number of steps; infinite by default.
    learning_rate, weight_decay, warmup_steps, clip_norm
        AdamW with linear warm-up, cosine decay and gradient clipping.
    l1_weight
        Weight of the mean absolute error (relative to the target's maximum) beside 1 - SSIM.
    patterns, accelerations, n_calibrations
        Masks that are mixed.
    matrix_sizes, coil_counts
        Acquired sizes and coils that are mixed.
    precision
        ``"bf16"`` uses bfloat16 convolutions (autocast), ``"fp32"`` none.
    checkpoint_every
        Steps between files from which a training can resume.
    """

    steps: int = 10000
    batch_size: int = 1
    seed: int = 2025
    max_minutes: float = float("inf")
    learning_rate: float = 6e-4
    weight_decay: float = 0.01
    warmup_steps: int = 100
    clip_norm: float = 1.0
    l1_weight: float = 5.0
    patterns: tuple[str, ...] = ("Uniform", "Uniform", "ktGaussian", "ktRadial", "ktUniform")
    accelerations: tuple[int, ...] = (4, 6, 8, 10, 12, 16, 20, 24)
    n_calibrations: tuple[int, ...] = (20, 16, 12)
    matrix_sizes: tuple[int, ...] = (80, 96, 112, 128)
    coil_counts: tuple[int, ...] = (6, 8, 8, 10)
    precision: str = "bf16"
    checkpoint_every: int = 250
    size: CardioMMSize = field(default=SMALL)


def train_cardiomm(
    images: Sequence[TrainingImage],
    *,
    monitor: Sequence[TrainingImage],
    options: TrainingOptions,
    folder: Path,
    notes: Mapping[str, Any],
    device: str = "cpu",
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Path:
    """Train, or go on with the training whose state lies in ``folder``.

    Parameters
    ----------
    images
        Objects to train on.
    monitor
        Objects of other patients on which the loss is watched; they never change a weight.
    options, notes
        Choices, and what to write beside the weights (data, terms, command).
    folder
        Receives ``state.ckpt`` (resumable), ``cardiomm.ckpt`` (weights in half precision) and ``log.jsonl``.
    progress
        Called with step, number of steps and a running mean of the loss.

    Returns
    -------
    Path
        The weights file.
    """
    if not images:
        raise ValueError("expected at least one training image, got none")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = CardioMM(options.size, shared_slope=True).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.99)
    )
    step, minutes_before = resume(folder / "state.ckpt", network, optimizer)
    started, mean_loss, share = time.monotonic(), float("nan"), 0.0
    while step < options.steps and share < 1:
        minutes = minutes_before + (time.monotonic() - started) / 60
        share = max(step / options.steps, minutes / options.max_minutes)
        rate = set_rate(optimizer, options, step=step, share=share)
        batch = draw_batch(images, options, rng=np.random.default_rng((options.seed, step)), device=device)
        loss = loss_of(network, batch, options)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
        if torch.isfinite(norm):
            optimizer.step()
        step += 1
        value = float(loss.detach())
        mean_loss = value if np.isnan(mean_loss) else 0.98 * mean_loss + 0.02 * value
        progress(step, options.steps, mean_loss)
        if step % options.checkpoint_every == 0 or step == options.steps or share >= 1:
            minutes = minutes_before + (time.monotonic() - started) / 60
            watched = monitor_loss(network, monitor, options, device=device)
            log = {"step": step, "minutes": minutes, "loss": mean_loss, "monitor_loss": watched, "learning_rate": rate}
            with (folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(log) + "\n")
            # weights first: where a state says that all is done, they are there
            save_weights(folder / "cardiomm.ckpt", network, options, {**notes, "steps": step, "minutes": minutes})
            write_checkpoint(
                folder / "state.ckpt",
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "minutes": minutes,
                },
            )
    return folder / "cardiomm.ckpt"


def save_weights(path: Path, network: CardioMM, options: TrainingOptions, notes: Mapping[str, Any]) -> None:
    """Weights in half precision (loading makes them float32 again), with the options beside them."""
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
        half = CardioMM(options.size)
    half.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
    plain = json.loads(json.dumps({**notes, "options": asdict(options)}, default=str))
    save_cardiomm(path, half.half(), notes=plain)


def resume(path: Path, network: CardioMM, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Load an interrupted training's state; (steps done, minutes spent), zeros for a new one."""
    if not path.exists():
        return 0, 0.0
    state = read_state(path)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["minutes"])


def read_state(path: Path) -> dict[str, Any]:
    """A training state, tensors and plain values only."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def set_rate(optimizer: torch.optim.Optimizer, options: TrainingOptions, *, step: int, share: float) -> float:
    """Linear warm-up, then a cosine over the share of the training that is done, down to 1 %."""
    warm = min(1.0, (step + 1) / options.warmup_steps)
    # a plain number: a resumable state may hold nothing else
    rate = float(options.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * min(share, 1.0)))))
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


@dataclass(frozen=True)
class Batch:
    """What the network gets and the image it should give; one mask family and calibration size a batch."""

    kspace: Tensor
    mask: Tensor
    target: Tensor
    metadata_embedding: Tensor
    undersampling_embedding: Tensor
    n_calibration: int
    family: Any


def draw_batch(
    images: Sequence[TrainingImage], options: TrainingOptions, *, rng: np.random.Generator, device: str = "cpu"
) -> Batch:
    """Simulate one batch: random objects, field of view, coils, noise and mask."""
    ny, nx = (int(rng.choice(options.matrix_sizes)) for _ in range(2))
    n_coils = int(rng.choice(options.coil_counts))
    pattern = str(rng.choice(options.patterns))
    acceleration = int(rng.choice(options.accelerations))
    n_calibration = int(rng.choice(options.n_calibrations))
    masks = cached_masks(pattern, nx, ny, acceleration, n_calibration, int(rng.integers(8)))
    chosen = [images[int(i)] for i in rng.integers(len(images), size=options.batch_size)]
    kspace = np.stack([simulate(image, matrix=(ny, nx), n_coils=n_coils, rng=rng) for image in chosen])
    mask = masks[rng.integers(len(masks), size=options.batch_size)]
    encoder = HashedNgramEncoder()
    texts = [metadata_text(image.metadata) for image in chosen]
    # the network's rows are the readout
    full = torch.from_numpy(kspace).transpose(-1, -2).contiguous().to(device)
    sampled = torch.from_numpy(mask).transpose(-1, -2).contiguous().to(device)
    return Batch(
        kspace=torch.where(sampled[:, None], full, torch.zeros_like(full)),
        mask=sampled,
        target=ifft2c(full).abs().square().sum(1).sqrt(),
        metadata_embedding=torch.from_numpy(encoder(texts)).to(device),
        undersampling_embedding=torch.from_numpy(
            np.repeat(encoder([undersampling_text(pattern, acceleration)]), len(chosen), axis=0)
        ).to(device),
        n_calibration=n_calibration,
        family=FAMILY_OF_PATTERN[pattern],
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


def simulate(
    source: TrainingImage, *, matrix: tuple[int, int], n_coils: int, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """One object -> k-space (coils, ny, nx): random zoom, shift, mirroring, gamma, coils and noise."""
    image, spacing = source.image, source.spacing_mm
    if rng.random() < 0.5:
        # phase encoding may run along either axis of the anatomy
        image, spacing = image.T, spacing[::-1]
    extent = [n * s for n, s in zip(image.shape, spacing, strict=True)]
    zoom = rng.uniform(0.7, 1.05)
    pixel = max(extent[0] / matrix[0], extent[1] / matrix[1], 1.5) * zoom
    if np.iscomplexobj(source.image):
        # signed objects are not interpolated, so they are acquired coarser than their grid
        pixel = max(pixel, 1.35 * max(spacing))
    fov = (pixel * matrix[0], pixel * matrix[1])
    image, spacing = crop(image, spacing, fov, rng=rng)
    if rng.random() < 0.5:
        image = image[::-1]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if not np.iscomplexobj(image):
        peak = float(image.max()) or 1.0
        image = peak * (np.maximum(image, 0) / peak) ** rng.uniform(0.7, 1.3)
        factor = 1.5 * max(spacing) / pixel
        refined = interpolate_object(np.ascontiguousarray(image), factor)
        spacing = (spacing[0] * image.shape[0] / refined.shape[0], spacing[1] * image.shape[1] / refined.shape[1])
        image = refined
    level = float(np.percentile(np.abs(image), 80)) or 1.0
    receiver = Receiver(
        n_coils=n_coils,
        snr=float(np.exp(rng.uniform(np.log(12), np.log(60)))),
        readout_oversampling=1,
        prescan_normalized=bool(rng.random() < 0.5),
        phase_rad=float(rng.uniform(0.2, 1.5)),
    )
    kspace = acquire(
        image[None, None],
        fine_spacing_mm=spacing,
        matrix=matrix,
        fov_mm=fov,
        receiver=receiver,
        signal_level=level,
        rng=rng,
    )
    return kspace[0, 0]


def crop(
    image: NDArray[Any], spacing: tuple[float, float], fov: tuple[float, float], *, rng: np.random.Generator
) -> tuple[NDArray[Any], tuple[float, float]]:
    """Cut a random window of the field of view, not far from the image's center; a smaller image stays whole."""
    window = []
    for size, pixel, length in zip(image.shape, spacing, fov, strict=True):
        keep = min(size, int(length / pixel))
        start = int(np.clip((size - keep) / 2 + rng.normal(0, 0.1) * size, 0, size - keep))
        window.append(slice(start, start + keep))
    return image[window[0], window[1]], spacing


def loss_of(network: CardioMM, batch: Batch, options: TrainingOptions) -> Tensor:
    """1 - SSIM plus the weighted relative absolute error of one batch."""
    with torch.autocast(batch.mask.device.type, dtype=torch.bfloat16, enabled=options.precision == "bf16"):
        image = network(
            batch.kspace,
            batch.mask,
            metadata_embedding=batch.metadata_embedding,
            undersampling_embedding=batch.undersampling_embedding,
            n_calibration=batch.n_calibration,
            family=batch.family,
        )
    image, target = image.float(), batch.target.float()
    peak = target.amax(dim=(-2, -1), keepdim=True)
    # brightest tissue (fat beside a coil) can be ten times the heart: the 99th percentile sets the error's scale
    scale = torch.quantile(target.flatten(1), 0.99, dim=1)[:, None, None]
    error = (image - target).abs() / scale
    return 1 - ssim(image, target, peak).mean() + options.l1_weight * error.mean()


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


def monitor_loss(
    network: CardioMM, images: Sequence[TrainingImage], options: TrainingOptions, *, device: str, n_batches: int = 6
) -> float | None:
    """Mean loss over fixed batches of the watched patients."""
    if not images:
        return None
    with torch.no_grad():
        losses = [
            float(
                loss_of(network, draw_batch(images, options, rng=np.random.default_rng((1, i)), device=device), options)
            )
            for i in range(n_batches)
        ]
    return float(np.mean(losses))
