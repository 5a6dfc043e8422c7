"""How good is a network in training on patients it does not learn from? Patient by patient, on draws that never change."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cohort.records import ConfigProblem
from recon.cardiomm.prompts import TextEncoder
from recon.training_data import TrainingData, draw_batch
from recon.training_loss import loss_of_image, psnr_of_image, reconstructed
from recon.training_options import TrainingOptions
from recon.training_team import Team

MONITOR_SEED = 1


@dataclass(frozen=True)
class Watched:
    """Means over patients, each of which is the mean of its draws; PSNR in dB."""

    loss: float
    psnr: float
    n_patients: int


def watch(
    network: nn.Module,
    monitor: TrainingData | None,
    options: TrainingOptions,
    *,
    team: Team,
    encoder: TextEncoder | None = None,
) -> Watched | None:
    """Look at every monitor patient; None where there are none.

    The draws depend on a patient's place and the draw's number alone, not on the training's seed, step or batch size,
    so the numbers of two checks, and of two trainings with the same sampling, are paired. The processes of a team share
    the patients.
    """
    if monitor is None or not monitor.patients:
        return None
    mine = {
        place: watch_patient(network, monitor.of_patient(name), options, place=place, team=team, encoder=encoder)
        for place, name in enumerate(monitor.patients)
        if place % team.size == team.rank
    }
    everyone: dict[int, tuple[float, float]] = {}
    for part in team.gathered(mine):
        everyone |= part
    table = np.array([everyone[place] for place in range(len(monitor.patients))])
    loss, psnr = table.mean(0)
    return Watched(float(loss), float(psnr), len(table))


def watch_patient(
    network: nn.Module,
    data: TrainingData,
    options: TrainingOptions,
    *,
    place: int,
    team: Team,
    encoder: TextEncoder | None,
) -> tuple[float, float]:
    """Mean loss and mean PSNR (dB) over the draws of one patient."""
    found = []
    for draw in range(options.monitor_draws):
        batch = draw_batch(
            data,
            options.sampling,
            batch_size=1,
            rng=np.random.default_rng((MONITOR_SEED, place, draw)),
            n_adjacent=options.size.n_adjacent,
            encoder=encoder,
            device=team.device,
        )
        with torch.no_grad():
            image = reconstructed(network, batch, options)
            loss = loss_of_image(image, batch.target, options)
            found.append((float(loss), float(psnr_of_image(image, batch.target))))
    loss_mean, psnr_mean = np.mean(found, axis=0)
    return float(loss_mean), float(psnr_mean)


def refuse_shared_patients(training: Sequence[str], monitor: Sequence[str]) -> None:
    """Raise if a patient is both trained on and watched.

    Raises
    ------
    ConfigProblem
        Names one of them.
    """
    shared = sorted(set(training) & set(monitor))
    if shared:
        raise ConfigProblem(
            f"expected no patient in both training and monitor data, got {len(shared)}, for example {shared[0]}: "
            "leave them out of one"
        )
