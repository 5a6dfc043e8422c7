"""How is CardioMM trained? Mixed masks, coils and contrasts, drawn on the fly from fully sampled data.

Every step draws its data from a generator seeded with (seed, step), so a resumed training sees exactly what an
uninterrupted one would have seen. Loss as in the release (1 - SSIM on magnitude images, 7 x 7 window) plus an absolute
error that holds the scale and a share of the PSNR.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recon.cardiomm.checkpoint import load_cardiomm, save_cardiomm, write_checkpoint
from recon.cardiomm.network import CardioMM, CardioMMSize
from recon.training_data import Batch, Sampling, TrainingData, draw_batch

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
NMSE_FLOOR = 1e-6  # 60 dB: nothing is gained beyond


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
        Weight of the mean absolute error (relative to the target's 99th percentile) beside 1 - SSIM.
    psnr_weight
        Weight of the natural logarithm of the normalised squared error: 0.1 per 4.3 dB at 0.1.
    sampling
        Masks and acquisitions that are mixed.
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
    psnr_weight: float = 0.05
    sampling: Sampling = field(default=Sampling())
    precision: str = "bf16"
    checkpoint_every: int = 250
    size: CardioMMSize = field(default=SMALL)


def train_cardiomm(
    data: TrainingData,
    *,
    monitor: TrainingData | None,
    options: TrainingOptions,
    folder: Path,
    notes: Mapping[str, Any],
    start_from: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Path:
    """Train, or go on with the training whose state lies in ``folder``.

    Parameters
    ----------
    data
        What to train on.
    monitor
        The same of other patients, on which the loss is watched; they never change a weight.
    options, notes
        Choices, and what to write beside the weights (data, terms, command).
    folder
        Receives ``state.ckpt`` (resumable), ``cardiomm.ckpt`` (weights in half precision) and ``log.jsonl``.
    start_from
        Checkpoint of a network of the same size whose weights are trained further; None for random weights.
    progress
        Called with step, number of steps and a running mean of the loss.

    Returns
    -------
    Path
        The weights file.
    """
    if not len(data):
        raise ValueError("expected at least one training image or scan, got none")
    folder.mkdir(parents=True, exist_ok=True)
    network = initial_network(options, start_from=start_from).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.99)
    )
    step, minutes_before = resume(folder / "state.ckpt", network, optimizer)
    started, mean_loss, share = time.monotonic(), float("nan"), 0.0
    while step < options.steps and share < 1:
        minutes = minutes_before + (time.monotonic() - started) / 60
        share = max(step / options.steps, minutes / options.max_minutes)
        rate = set_rate(optimizer, options, step=step, share=share)
        batch = next_batch(data, options, rng=np.random.default_rng((options.seed, step)), device=device)
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


def initial_network(options: TrainingOptions, *, start_from: Path | None) -> CardioMM:
    """Random weights that the seed fixes, or those of a checkpoint; the global random state is left alone.

    Raises
    ------
    WeightsProblem
        The checkpoint cannot be used.
    ValueError
        It is of another size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = CardioMM(options.size, shared_slope=True)
    if start_from is not None:
        given = load_cardiomm(start_from)
        if replace(given.size, texts=options.size.texts) != options.size:
            raise ValueError(f"{start_from}: expected a network of size {options.size}, got {given.size}")
        network.load_state_dict(given.state_dict())
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPU
    return network


def next_batch(data: TrainingData, options: TrainingOptions, *, rng: np.random.Generator, device: str) -> Batch:
    """One batch as the options ask for it."""
    return draw_batch(
        data,
        options.sampling,
        batch_size=options.batch_size,
        n_adjacent=options.size.n_adjacent,
        rng=rng,
        device=device,
    )


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


def loss_of(network: CardioMM, batch: Batch, options: TrainingOptions) -> Tensor:
    """1 - SSIM plus the weighted relative absolute error of one batch."""
    with torch.autocast(batch.mask.device.type, dtype=torch.bfloat16, enabled=options.precision == "bf16"):
        image = network(**batch.network_input())
    image, target = image.float(), batch.target.float()
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
    network: CardioMM, data: TrainingData | None, options: TrainingOptions, *, device: str, n_batches: int = 12
) -> float | None:
    """Mean loss over fixed batches of the watched patients."""
    if data is None or not len(data):
        return None
    with torch.no_grad():
        losses = [
            float(
                loss_of(network, next_batch(data, options, rng=np.random.default_rng((1, i)), device=device), options)
            )
            for i in range(n_batches)
        ]
    return float(np.mean(losses))
