"""Do several processes train one network: the same weights in all, the gradient of all samples, resumable?"""

import os
import pickle
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cohort.records import ConfigProblem
from recon.training import TrainingOptions, initial_network, loss_of, next_batch, read_state, train_cardiomm
from recon.training_data import SimulatedData

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = '''
import pickle, sys
from dataclasses import replace
from pathlib import Path

import torch
from recon import training
from recon.training_data import SimulatedData
from recon.training_team import current_team, joined_team

torch.set_num_threads(1)
folder = Path(sys.argv[1])
images, watched, options = (pickle.loads((folder / f"{name}.pickle").read_bytes()) for name in ("i", "w", "o"))
states = []
original = training.initial_state
training.initial_state = lambda *given, **named: states.append(original(*given, **named)) or states[-1]


class Killed(SimulatedData):
    """Like any data, until step 3."""

    def draw(self, *given, step=0, **named):
        if step == 3:
            raise KeyboardInterrupt
        return super().draw(*given, step=step, **named)


def train(data, name):
    training.train_cardiomm(data, monitor=watched, options=options, folder=folder / name, notes={}, device=device)


with joined_team("cpu") as device:
    team = current_team(device)
    train(images, "whole")
    try:
        train(Killed(images.images), "killed")
    except KeyboardInterrupt:
        pass
    train(images, "killed")
    ends = {"whole": states[0].network.state_dict(), "killed": states[2].network.state_dict()}
    # one sample of a batch of two each
    network = training.initial_network(options, start_from=None)
    module = team.wrapped(network)
    both = training.next_batch(images, replace(options, batch_size=2), step=1)
    mine = slice(team.rank, team.rank + 1)
    tensors = ("kspace", "mask", "target", "metadata_embedding", "undersampling_embedding")
    part = replace(both, **{name: getattr(both, name)[mine] for name in tensors})
    training.loss_of(module, part, options).backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    torch.save({"ends": ends, "gradients": gradients}, folder / f"rank{team.rank}.pt")
'''


@pytest.fixture(scope="module")
def finished() -> dict[str, Path]:
    return {}


@pytest.fixture
def team_options(options: TrainingOptions) -> TrainingOptions:
    return replace(options, steps=5, checkpoint_every=2, batch_size=1, monitor_draws=1)


@pytest.fixture
def launched(
    finished: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    images: SimulatedData,
    watched: SimulatedData,
    team_options: TrainingOptions,
) -> Path:
    """What two processes on this machine left behind: a whole training, a killed and resumed one, and a gradient."""
    if "folder" not in finished:
        folder = tmp_path_factory.mktemp("team")
        for name, value in (("i", images), ("w", watched), ("o", team_options)):
            (folder / f"{name}.pickle").write_bytes(pickle.dumps(value))
        (folder / "script.py").write_text(SCRIPT)
        run_two([str(folder / "script.py"), str(folder)])
        finished["folder"] = folder
    return finished["folder"]


def run_two(command: list[str]) -> None:
    """Start two processes with torchrun on the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    start = ["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *start, *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr


def left_by(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_all_processes_end_with_the_same_weights(launched: Path) -> None:
    first, second = left_by(launched)
    for run in ("whole", "killed"):
        assert same(first["ends"][run], second["ends"][run])


def test_a_killed_and_resumed_team_ends_as_an_uninterrupted_one(launched: Path) -> None:
    ends = left_by(launched)[0]["ends"]
    assert same(ends["whole"], ends["killed"])
    whole, killed = (read_state(launched / run / "state.ckpt") for run in ("whole", "killed"))
    assert same(whole["network"], killed["network"])
    assert whole["mean_loss"] == killed["mean_loss"]
    assert [entry["monitor_loss"] for entry in whole["log"]] == [entry["monitor_loss"] for entry in killed["log"]]


def test_two_processes_have_the_gradient_of_a_batch_of_two(
    launched: Path, images: SimulatedData, team_options: TrainingOptions
) -> None:
    pair = replace(team_options, batch_size=2)
    network = initial_network(pair, start_from=None)
    loss_of(network, next_batch(images, pair, step=1), pair).backward()
    expected = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    for found in (part["gradients"] for part in left_by(launched)):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-5 * float(value.abs().max()) + 1e-7, err_msg=name)


def test_each_process_draws_its_own_samples(images: SimulatedData, team_options: TrainingOptions) -> None:
    first, second, again = (next_batch(images, team_options, step=1, rank=rank) for rank in (0, 1, 1))
    assert first.kspace.shape != second.kspace.shape or not torch.equal(first.kspace, second.kspace)
    assert torch.equal(second.kspace, again.kspace)


def test_another_number_of_processes_is_refused(
    launched: Path, images: SimulatedData, watched: SimulatedData, team_options: TrainingOptions
) -> None:
    with pytest.raises(ConfigProblem, match="n_processes was 2, is 1"):
        train_cardiomm(images, monitor=watched, options=team_options, folder=launched / "whole", notes={})
