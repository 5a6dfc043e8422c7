"""Where does an interrupted training go on? All that the next step depends on, in one file.

``state.ckpt`` is written last at each check, so it is the one file that counts: whatever else a killed training left
behind is written again, with the same content.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cohort.foreign import check_weights
from cohort.records import ConfigProblem, WeightsProblem
from recon.cardiomm.checkpoint import write_checkpoint
from recon.cardiomm.network import CardioMM
from recon.training_options import MAY_CHANGE, TrainingOptions, completed, differences, plain

LOWEST_SHARE = 0.01  # of the learning rate, at the end of the cosine


@dataclass(frozen=True)
class Schedule:
    """How far the training is at each step: from ``from_share`` at ``from_step`` linearly to 1 at ``end``."""

    from_step: int
    from_share: float
    end: int

    def share(self, step: int) -> float:
        """Share of the training that is done, 0 to 1."""
        if step >= self.end:
            return 1.0
        return self.from_share + (1 - self.from_share) * (step - self.from_step) / (self.end - self.from_step)

    def renewed(self, step: int, minutes: float, options: TrainingOptions) -> "Schedule":
        """The same without a limit in time; with one, so that it ends in time at the mean pace so far."""
        if math.isinf(options.max_minutes) or step == 0:
            return self
        affordable = (options.max_minutes - minutes) / (minutes / step) if minutes > 0 else math.inf
        left = max(0, int(min(options.steps - step, affordable)))
        return Schedule(step, self.share(step), step + left)


@dataclass
class TrainingState:
    """What changes during a training.

    Attributes
    ----------
    step, minutes
        Done so far.
    mean_loss
        Running mean, NaN before the first step.
    schedule
        Of the learning rate.
    best_loss, n_stale
        Lowest monitor loss, and checks since.
    log
        Entries of all checks.
    """

    network: CardioMM
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    step: int = 0
    minutes: float = 0.0
    mean_loss: float = math.nan
    best_loss: float = math.inf
    n_stale: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    def ended(self, options: TrainingOptions) -> bool:
        """Whether steps, time or patience have run out."""
        out_of_patience = 0 < options.patience <= self.n_stale
        return self.schedule.share(self.step) >= 1 or self.minutes >= options.max_minutes or out_of_patience


NUMBERS = ("step", "minutes", "mean_loss", "best_loss", "n_stale", "log")


def identity(options: TrainingOptions, **more: Any) -> dict[str, Any]:
    """What must be the same for a training to go on: options, and what else decides its result."""
    return {"options": plain(options), **more}


def save_state(path: Path, state: TrainingState, *, identity: Mapping[str, Any]) -> None:
    """Write all of it, atomically."""
    content = {name: getattr(state, name) for name in NUMBERS}
    content |= {"network": state.network.state_dict(), "optimizer": state.optimizer.state_dict()}
    content |= {"scaler": state.scaler.state_dict(), "schedule": asdict(state.schedule), "identity": dict(identity)}
    write_checkpoint(path, content)


def resume(path: Path, state: TrainingState, options: TrainingOptions, *, identity: Mapping[str, Any]) -> None:
    """Fill ``state`` from a file, or leave it as it is where there is none.

    Other ``steps`` or ``max_minutes`` give a new schedule from here on: longer, it has the learning rate that a training
    of that length has at this step.

    Raises
    ------
    ConfigProblem
        The file is of a training with other options or data; all that differ are named.
    """
    if not path.exists():
        return
    stored = read_state(path)
    refuse_others(path, stored.get("identity"), identity)
    state.network.load_state_dict(stored["network"])
    state.optimizer.load_state_dict(stored["optimizer"])
    if stored["scaler"]:
        state.scaler.load_state_dict(stored["scaler"])
    for name in NUMBERS:
        setattr(state, name, stored[name])
    state.schedule = Schedule(**stored["schedule"])
    before, now = stored["identity"]["options"], identity["options"]
    if any(before[name] != now[name] for name in ("steps", "max_minutes")):
        share = state.step / options.steps
        if not math.isinf(options.max_minutes):
            share = max(share, min(1.0, state.minutes / options.max_minutes))
        anchored = Schedule(state.step, share, options.steps)
        state.schedule = anchored.renewed(state.step, state.minutes, options)


def read_state(path: Path) -> dict[str, Any]:
    """A training state, tensors and plain values only; WeightsProblem for anything else."""
    check_weights(path)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever damaged bytes lead it to
        raise WeightsProblem(path, f"not a state of a training ({type(error).__name__}); begin anew") from error
    return state


def refuse_others(path: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Raise unless the state is of this training, apart from the options that may change."""
    if before is None:
        raise ConfigProblem(f"{path}: is of an older version and cannot be gone on with; give another folder")
    # options newer than the state had their default
    before = {**before, "options": completed(before["options"], plain(TrainingOptions()))}
    strict = [
        {**record, "options": {key: value for key, value in record["options"].items() if key not in MAY_CHANGE}}
        for record in (before, now)
    ]
    different = differences(*strict)
    if different:
        raise ConfigProblem(
            f"{path}: is of another training ({'; '.join(different)}); give the same options and data, or another folder"
        )


def set_rate(optimizer: torch.optim.Optimizer, options: TrainingOptions, *, step: int, share: float) -> float:
    """Linear warm-up, then a cosine over the share of the training that is done, down to 1 %."""
    warm = min(1.0, (step + 1) / max(1, options.warmup_steps))
    cosine = 0.5 * (1 + np.cos(np.pi * min(share, 1.0)))
    # a plain number: a resumable state may hold nothing else
    rate = float(options.learning_rate * warm * (LOWEST_SHARE + (1 - LOWEST_SHARE) * cosine))
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
