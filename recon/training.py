"""How is CardioMM trained? Mixed masks, coils and contrasts, drawn on the fly from fully sampled data.

Every step draws its data from a generator seeded with (seed, step, process), so a resumed training sees exactly what an
uninterrupted one would have seen. Loss as in the release (1 - SSIM on magnitude images, 7 x 7 window) plus an absolute
error that holds the scale and a share of the PSNR. Options are in ``recon.training_options``, what is kept for resuming
in ``recon.training_state``, several processes in ``recon.training_team``.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cohort.atomic import write_text
from recon.cardiomm.checkpoint import load_cardiomm, save_cardiomm, weights_sha256
from recon.cardiomm.network import CardioMM
from recon.cardiomm.prompts import TextEncoder
from recon.cardiomm.widening import widened
from recon.training_data import Batch, TrainingData, draw_batch
from recon.training_loss import loss_of, ssim
from recon.training_monitor import Watched, refuse_shared_patients, watch
from recon.training_options import RELEASED, SIZES, SMALL, TrainingOptions, plain
from recon.training_state import Schedule, TrainingState, identity, read_state, resume, save_state, set_rate
from recon.training_team import Team, current_team, joined_team

__all__ = [
    "RELEASED",
    "SIZES",
    "SMALL",
    "Progress",
    "TrainingOptions",
    "joined_team",
    "loss_of",
    "read_state",
    "ssim",
    "train_cardiomm",
]

STATE, WEIGHTS, BEST, LOG = "state.ckpt", "cardiomm.ckpt", "best.ckpt", "log.jsonl"
FIXED_SENTENCE = "Adult cardiac MRI reconstruction."
"""Its numbers tell two text encoders apart."""
MEMORY = 0.98  # of the running mean of the loss, a step


@dataclass(frozen=True)
class Progress:
    """Where a training stands; PSNR in dB, None before the first check or without a monitor."""

    step: int
    steps: int
    loss: float
    monitor_psnr: float | None
    minutes: float
    minutes_left: float
    checked: bool


def train_cardiomm(
    data: TrainingData,
    *,
    monitor: TrainingData | None,
    options: TrainingOptions,
    folder: Path,
    notes: Mapping[str, Any],
    start_from: Path | None = None,
    encoder: TextEncoder | None = None,
    device: str = "cpu",
    progress: Callable[[Progress], None] = lambda where: None,
    on_check: Callable[[Path], object] = lambda folder: None,
) -> Path:
    """Train, or go on with the training whose state lies in ``folder``.

    Killed at any step and started again with the same arguments, on a CPU it ends with the same weights to the bit as if
    it had not been interrupted. With ``max_minutes`` the schedule follows the clock; it is renewed at each check and part of
    the state, so the steps between the last check and the kill are repeated as they were.

    Parameters
    ----------
    data
        What to train on.
    monitor
        The same of other patients, who are watched one by one; they never change a weight.
    options, notes
        Choices, and what to write beside the weights (data, terms, command).
    folder
        Receives ``state.ckpt`` (resumable), ``cardiomm.ckpt`` (weights in half precision), ``best.ckpt`` (those of the
        lowest monitor loss) and ``log.jsonl`` (a line a check).
    start_from
        Checkpoint of a network of the same size whose weights are trained further; None for random weights.
    encoder
        Of the texts; None for the embedded one.
    device
        Of this process.
    progress
        Called after every step, in the first process.
    on_check
        Called with the folder when all files of a check are there, and once at the start of a resumed training.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    ConfigProblem
        A patient is in both data and monitor, or the state in ``folder`` is of another training.
    ValueError
        No data, or ``start_from`` is of another size; one of single images can be the beginning of one of stacks.
    """
    if not len(data):
        raise ValueError("expected at least one training image or scan, got none")
    refuse_shared_patients(data.patients, monitor.patients if monitor else ())
    team = current_team(device)
    state = initial_state(options, start_from=start_from, device=device)
    who = identity(
        options,
        data=data.fingerprint,
        monitor=monitor.fingerprint if monitor else None,
        start_from=weights_sha256(start_from) if start_from else None,
        n_processes=team.size,
        encoder=hashlib.sha256(encoder([FIXED_SENTENCE]).tobytes()).hexdigest() if encoder else None,
    )
    resume(folder / STATE, state, options, identity=who)
    team.wait()  # nobody writes before all have read
    if team.first and state.log:
        write_log(folder / LOG, state)
        on_check(folder)
    module = team.wrapped(state.network)
    started = time.monotonic() - 60 * state.minutes
    with batches(data, options, team=team, encoder=encoder) as batch_of:
        while not state.ended(options):
            rate = make_step(module, state, batch_of(state.step), options, team=team)
            state.minutes = (time.monotonic() - started) / 60
            if not math.isinf(options.max_minutes):
                state.minutes = team.told(state.minutes)
            if not state.log:  # until the first check nothing is stored that a resumed training would have to repeat
                state.schedule = state.schedule.renewed(state.step, state.minutes, options)
            checked = state.step % options.checkpoint_every == 0 or state.ended(options)
            if checked:
                watched = watch(state.network, monitor, options, team=team, encoder=encoder)
                best = record(state, watched, options, rate=rate)
                skipped = sorted({line for lines in team.gathered(list(data.skipped)) for line in lines})
                if team.first:
                    about = {**notes, "skipped": skipped, "steps": state.step, "minutes": state.minutes}
                    write_files(folder, state, options, about, identity=who, best=best)
                    on_check(folder)
            if team.first:
                progress(standing(state, options, checked=checked))
    team.wait()  # the weights are there for all
    return folder / WEIGHTS


def initial_state(options: TrainingOptions, *, start_from: Path | None, device: str) -> TrainingState:
    """Network, optimizer and loss scaler before the first step."""
    network = initial_network(options, start_from=start_from).to(device)
    optimizer = torch.optim.AdamW(
        [weight for weight in network.parameters() if weight.requires_grad],
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        betas=(0.9, 0.99),
    )
    scaler = torch.amp.GradScaler(torch.device(device).type, enabled=options.precision == "fp16")
    return TrainingState(network, optimizer, scaler, Schedule(0, 0.0, options.steps))


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
        # texts and the last consistency may change: their weights are those of every network, or new
        alike = replace(given.size, texts=options.size.texts, consistency=options.size.consistency)
        weights = given.state_dict()
        if given.size.n_adjacent == 1:  # a network of single images can be the beginning of one of stacks
            alike = replace(alike, n_adjacent=options.size.n_adjacent, stacked=options.size.stacked)
            weights = widened(weights, n_adjacent=options.size.n_adjacent)
        if alike != options.size:
            raise ValueError(f"{start_from}: expected a network of size {options.size}, got {given.size}")
        own = network.state_dict()
        network.load_state_dict(own | {name: value for name, value in weights.items() if name in own})
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPU
    for name in unused_weights(options):
        network.get_parameter(name).requires_grad_(False)
    network.gradient_checkpointing = options.gradient_checkpointing
    return network


def unused_weights(options: TrainingOptions) -> list[str]:
    """Weights that are part of a checkpoint but of no image: they get no gradient, and several processes must know."""
    heads = {"metadata": "lm_head_meta", "undersampling": "lm_head_us"}
    layers = [f"{head}.fc2" for head in heads.values()]
    layers += [f"{head}.fc1" for text, head in heads.items() if options.size.texts not in ("both", text)]
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def make_step(network: nn.Module, state: TrainingState, batch: Batch, options: TrainingOptions, *, team: Team) -> float:
    """One step on one batch; the learning rate it was made with."""
    rate = set_rate(state.optimizer, options, step=state.step, share=state.schedule.share(state.step))
    loss = loss_of(network, batch, options)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), options.clip_norm)
    if torch.isfinite(norm) or state.scaler.is_enabled():  # the scaler skips such a step itself, and scales less
        state.scaler.step(state.optimizer)
    state.scaler.update()
    state.step += 1
    value = team.mean(float(loss.detach()))
    if math.isfinite(value):
        state.mean_loss = value if math.isnan(state.mean_loss) else MEMORY * state.mean_loss + (1 - MEMORY) * value
    return rate


def next_batch(
    data: TrainingData,
    options: TrainingOptions,
    *,
    step: int,
    rank: int = 0,
    encoder: TextEncoder | None = None,
    device: str = "cpu",
) -> Batch:
    """The batch of one step and process; it depends on nothing else."""
    return draw_batch(
        data,
        options.sampling,
        batch_size=options.batch_size,
        rng=np.random.default_rng((options.seed, step, rank)),
        n_adjacent=options.size.n_adjacent,
        encoder=encoder,
        device=device,
        step=step,
        rank=rank,
    )


@contextmanager
def batches(
    data: TrainingData, options: TrainingOptions, *, team: Team, encoder: TextEncoder | None
) -> Iterator[Callable[[int], Batch]]:
    """Batches by their step; while one is learned from, a thread draws the next."""
    waiting: dict[int, Future[Batch]] = {}

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:

        def ask(step: int) -> Future[Batch]:
            return thread.submit(
                next_batch, data, options, step=step, rank=team.rank, encoder=encoder, device=team.device
            )

        def take(step: int) -> Batch:
            asked = waiting.pop(step, None) or ask(step)
            waiting.clear()
            if step + 1 < options.steps:
                waiting[step + 1] = ask(step + 1)
            return asked.result()

        yield take


def record(state: TrainingState, watched: Watched | None, options: TrainingOptions, *, rate: float) -> bool:
    """Note a check in the state; whether it is the best one so far."""
    best = watched is not None and watched.loss < state.best_loss
    if watched is not None:
        state.n_stale = 0 if best else state.n_stale + 1
    if best and watched is not None:
        state.best_loss = watched.loss
    state.log.append(
        {
            "step": state.step,
            "minutes": state.minutes,
            "loss": state.mean_loss,
            "monitor_loss": watched.loss if watched else None,
            "monitor_psnr": watched.psnr if watched else None,
            "monitor_patients": watched.n_patients if watched else 0,
            "learning_rate": rate,
        }
    )
    if math.isinf(options.max_minutes):
        return best
    state.schedule = state.schedule.renewed(state.step, state.minutes, options)
    return best


def write_files(
    folder: Path,
    state: TrainingState,
    options: TrainingOptions,
    notes: Mapping[str, Any],
    *,
    identity: Mapping[str, Any],
    best: bool,
) -> None:
    """Weights and log first, the state last: where a state says that something is done, its files are there."""
    write_log(folder / LOG, state)
    save_weights(folder / WEIGHTS, state.network, options, notes)
    if best:
        save_weights(folder / BEST, state.network, options, {**notes, "monitor_loss": state.best_loss})
    save_state(folder / STATE, state, identity=identity)


def write_log(path: Path, state: TrainingState) -> None:
    """All checks, a line each; lines of a training that was killed before its state was written vanish."""
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in state.log))


def save_weights(path: Path, network: CardioMM, options: TrainingOptions, notes: Mapping[str, Any]) -> None:
    """Weights in half precision (loading makes them float32 again), with the options beside them."""
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
        half = CardioMM(options.size)
    half.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
    written = json.loads(json.dumps({**notes, "options": plain(options)}, default=str))
    save_cardiomm(path, half.half(), notes=written)


def standing(state: TrainingState, options: TrainingOptions, *, checked: bool) -> Progress:
    """Where the training stands; the time left is that of the steps left at the mean pace so far."""
    left = 0.0 if state.ended(options) else (state.schedule.end - state.step) * state.minutes / state.step
    return Progress(
        step=state.step,
        steps=options.steps,
        loss=state.mean_loss,
        monitor_psnr=state.log[-1]["monitor_psnr"] if state.log else None,
        minutes=state.minutes,
        minutes_left=min(left, max(0.0, options.max_minutes - state.minutes)),
        checked=checked,
    )
