"""Is a training watched patient by patient, on draws that never change, and is the best one kept?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from cohort.records import ConfigProblem
from recon import training
from recon.cardiomm.checkpoint import load_cardiomm, read_checkpoint
from recon.cardiomm.network import CardioMM
from recon.training import TrainingOptions, train_cardiomm
from recon.training_data import SimulatedData
from recon.training_loss import psnr_of_image
from recon.training_monitor import Watched, watch, watch_patient
from recon.training_team import Team

ALONE = Team(0, 1, "cpu")


def test_patients_count_alike_however_many_images_they_have(
    tiny_cardiomm: CardioMM, watched: SimulatedData, options: TrainingOptions
) -> None:
    found = watch(tiny_cardiomm, watched, options, team=ALONE)
    each = [
        watch_patient(tiny_cardiomm, watched.of_patient(name), options, place=i, team=ALONE, encoder=None)
        for i, name in enumerate(("d", "e"))
    ]
    assert found is not None
    assert (found.loss, found.psnr) == pytest.approx(tuple(np.mean(each, axis=0)))
    assert found.n_patients == 2
    assert each[0] != each[1]


def test_draws_depend_on_neither_seed_nor_batch(
    tiny_cardiomm: CardioMM, watched: SimulatedData, options: TrainingOptions
) -> None:
    other = replace(options, seed=99, batch_size=1, steps=3)
    assert watch(tiny_cardiomm, watched, options, team=ALONE) == watch(tiny_cardiomm, watched, other, team=ALONE)


def test_processes_share_the_patients(
    tiny_cardiomm: CardioMM, watched: SimulatedData, options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two looks at its own patients, and both know all."""
    parts: list[Any] = []

    def gathered(team: Team, value: Any) -> list[Any]:
        parts.append((team.rank, value))
        return [value, {1 - place: numbers for place, numbers in value.items()}]

    monkeypatch.setattr(Team, "gathered", gathered)
    for rank in (0, 1):
        watch(tiny_cardiomm, watched, options, team=Team(rank, 2, "cpu"))
    assert [(rank, sorted(value)) for rank, value in parts] == [(0, [0]), (1, [1])]


def test_without_patients_there_is_nothing_to_watch(tiny_cardiomm: CardioMM, options: TrainingOptions) -> None:
    assert watch(tiny_cardiomm, None, options, team=ALONE) is None
    assert watch(tiny_cardiomm, SimulatedData([]), options, team=ALONE) is None


def test_psnr_is_that_of_scikit_image(rng: np.random.Generator) -> None:
    target = rng.random((2, 9, 8))
    image = target + 0.1 * rng.standard_normal(target.shape)
    found = psnr_of_image(torch.from_numpy(image), torch.from_numpy(target))
    expected = [peak_signal_noise_ratio(t, i, data_range=float(t.max())) for t, i in zip(target, image, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_best_weights_are_kept_and_patience_ends(
    images: SimulatedData,
    watched: SimulatedData,
    options: TrainingOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Monitor losses 3, 1, 2, 1, 1: the second check is the best, and the next three bring nothing lower."""
    losses = iter([3.0, 1.0, 2.0, 1.0, 1.0, 0.5])
    weights: list[dict[str, torch.Tensor]] = []

    def look(network: CardioMM, *given: Any, **named: Any) -> Watched:  # noqa: ARG001
        weights.append({name: value.clone() for name, value in network.state_dict().items()})
        return Watched(next(losses), 20.0, 2)

    monkeypatch.setattr(training, "watch", look)
    patient = replace(options, steps=20, checkpoint_every=1, patience=3)
    train_cardiomm(images, monitor=watched, options=patient, folder=tmp_path, notes={})
    assert len(weights) == 5
    best, last = (load_cardiomm(tmp_path / name).state_dict() for name in ("best.ckpt", "cardiomm.ckpt"))
    for name, value in weights[1].items():
        np.testing.assert_allclose(best[name], value, rtol=1e-3, atol=1e-6)
    assert any(not torch.equal(best[name], last[name]) for name in best)
    notes = read_checkpoint(tmp_path / "best.ckpt")["cardioval"]
    assert (notes["steps"], notes["monitor_loss"]) == (2, 1.0)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["monitor_loss"] for line in lines] == [3.0, 1.0, 2.0, 1.0, 1.0]


def test_a_patient_on_both_sides_is_refused(
    images: SimulatedData, watched: SimulatedData, options: TrainingOptions, tmp_path: Path
) -> None:
    both = SimulatedData([*watched.images, replace(images.images[0], source="b")])
    with pytest.raises(ConfigProblem, match="no patient in both training and monitor data, got 1, for example b"):
        train_cardiomm(images, monitor=both, options=options, folder=tmp_path, notes={})
    assert not (tmp_path / "state.ckpt").exists()
