"""What can be chosen for a training of CardioMM? All of it in one frozen record, checked when made."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from recon.cardiomm.network import CardioMMSize
from recon.training_data import Sampling

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
    consistency="sense",
)
"""The shipped size: 3.2 M parameters."""
RELEASED = CardioMMSize()
"""The size of the published network: 68.4 M parameters."""
SIZES: Mapping[str, CardioMMSize] = {"small": SMALL, "released": RELEASED}

PRECISIONS = ("bf16", "fp16", "fp32")
MAY_CHANGE = ("steps", "max_minutes", "patience", "gradient_checkpointing")
"""Options that may differ when a training goes on: they say when it ends, or cost time for memory."""


@dataclass(frozen=True)
class TrainingOptions:
    """Every choice of a training.

    Attributes
    ----------
    steps, batch_size, seed
        Length of the training and its randomness; the batch is that of one process.
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
        ``"bf16"`` uses bfloat16 convolutions (autocast), ``"fp16"`` half precision ones with a scaled loss, ``"fp32"``
        none.
    checkpoint_every
        Steps between checks: the monitor is looked at, and files are written from which a training can resume.
    size
        Of the network.
    gradient_checkpointing
        Forget what each cascade computed and compute it again on the way back: the same gradients, for a third more time
        and a fraction of the memory.
    patience
        End after so many checks without a lower monitor loss; 0 for never.
    monitor_draws
        Fixed draws of each monitor patient.
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
    gradient_checkpointing: bool = False
    patience: int = 0
    monitor_draws: int = 3

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, got {self.precision!r}")
        for name in ("steps", "batch_size", "checkpoint_every", "monitor_draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of 1 or more, got {getattr(self, name)}")
        for name in ("patience", "warmup_steps", "learning_rate", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} of 0 or more, got {getattr(self, name)}")
        if not self.max_minutes > 0:
            raise ValueError(f"expected more than 0 minutes, got {self.max_minutes}")


def plain(options: TrainingOptions) -> dict[str, Any]:
    """Plain types, for a file."""
    stored: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return stored


def completed(stored: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A stored record with the defaults of options that are newer than it."""
    whole = {**defaults, **stored}
    for key, value in whole.items():
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping):
            whole[key] = completed(value, defaults[key])
    return whole


def differences(before: Mapping[str, Any], now: Mapping[str, Any], *, within: str = "") -> list[str]:
    """What two nested records of plain values do not have in common, each in words with its dotted name."""
    found: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, within=f"{within}{key}.")
        elif old != new:
            found.append(f"{within}{key} was {shortened(old)}, is {shortened(new)}")
    return found


def shortened(value: Any) -> str:
    """As text, of hashes the beginning."""
    text = str(value)
    return text[:12] if len(text) == 64 and text.isalnum() else text
