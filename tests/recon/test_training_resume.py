"""Does a training that was killed anywhere end where an uninterrupted one would have?"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cohort.records import ConfigProblem
from recon import training
from recon.cardiomm.checkpoint import read_checkpoint
from recon.training import TrainingOptions, read_state, train_cardiomm
from recon.training_data import SimulatedData
from recon.training_state import Schedule

FILES = ("cardiomm.ckpt", "best.ckpt")


def train(
    data: SimulatedData, watched: SimulatedData | None, options: TrainingOptions, folder: Path, **more: Any
) -> None:
    train_cardiomm(data, monitor=watched, options=options, folder=folder, notes={"terms": "x"}, **more)


def assert_same_end(folder: Path, whole: Path) -> None:
    """States equal to the bit apart from the clock, weights files too, and a log line each check."""
    found, expected = read_state(folder / "state.ckpt"), read_state(whole / "state.ckpt")
    assert_equal(without_clock(found), without_clock(expected), "state")
    for name in FILES:
        first, second = (read_checkpoint(run / name)["state_dict"] for run in (folder, whole))
        assert_equal(first, second, name)
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (folder, whole)]
    assert [without_clock(entry) for entry in logs[0]] == [without_clock(entry) for entry in logs[1]]


def without_clock(record: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key != "minutes"}
    if "log" in kept:
        kept["log"] = [without_clock(entry) for entry in kept["log"]]
    return kept


def assert_equal(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_equal(found[index], value, f"{where}[{index}]")
    else:
        assert found == expected, where


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Uninterrupted trainings by name, made once."""
    return {"folder": tmp_path_factory.mktemp("whole")}


@pytest.fixture
def whole(whole_runs: dict[str, Path], images: SimulatedData, watched: SimulatedData, options: TrainingOptions) -> Path:
    folder = whole_runs["folder"]
    if not (folder / "state.ckpt").exists():
        train(images, watched, quick(options), folder)
    return folder


def quick(options: TrainingOptions) -> TrainingOptions:
    """Five steps, checks after 2, 4 and at the end; a rate at which the monitor's loss goes up and down."""
    return replace(options, steps=5, checkpoint_every=2, monitor_draws=1, batch_size=1, learning_rate=3e-2)


# --- law


@pytest.mark.parametrize("killed_at", [1, 3])
def test_killed_after_any_step(
    killed_at: int,
    whole: Path,
    images: SimulatedData,
    watched: SimulatedData,
    options: TrainingOptions,
    tmp_path: Path,
) -> None:
    def kill(where: training.Progress) -> None:
        if where.step == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(images, watched, quick(options), tmp_path, progress=kill)
    steps: list[int] = []
    train(images, watched, quick(options), tmp_path, progress=lambda where: steps.append(where.step))
    last_check = killed_at - killed_at % 2 if killed_at < 5 else 5
    assert steps == list(range(last_check + 1, 6))
    assert_same_end(tmp_path, whole)


@pytest.mark.parametrize("n_writes", [3, 4, 7])
def test_killed_between_any_two_files(
    n_writes: int,
    whole: Path,
    images: SimulatedData,
    watched: SimulatedData,
    options: TrainingOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the n-th file is written; a check writes log, weights, at times the best ones, and the state."""
    count = 0

    def killing(write: Callable[..., None]) -> Callable[..., None]:
        def written(*given: Any, **named: Any) -> None:
            nonlocal count
            count += 1
            if count == n_writes:
                raise KeyboardInterrupt
            write(*given, **named)

        return written

    with monkeypatch.context() as patch:
        for name in ("write_log", "save_weights", "save_state"):
            patch.setattr(training, name, killing(getattr(training, name)))
        with pytest.raises(KeyboardInterrupt):
            train(images, watched, quick(options), tmp_path)
    train(images, watched, quick(options), tmp_path)
    assert_same_end(tmp_path, whole)


def test_early_stop_goes_on_counting_after_a_kill(
    images: SimulatedData, watched: SimulatedData, options: TrainingOptions, tmp_path: Path
) -> None:
    """A rate of zero: nothing gets better after the first check, so two more checks end it at step 3 of 50."""
    still = replace(quick(options), steps=50, learning_rate=0.0, checkpoint_every=1, patience=2)

    def kill(where: training.Progress) -> None:
        if where.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(images, watched, still, tmp_path / "killed", progress=kill)
    train(images, watched, still, tmp_path / "killed")
    assert read_state(tmp_path / "killed" / "state.ckpt")["step"] == 3
    train(images, watched, still, tmp_path / "killed", progress=lambda where: pytest.fail("it had ended"))
    train(images, watched, replace(still, patience=3), tmp_path / "killed")
    assert read_state(tmp_path / "killed" / "state.ckpt")["step"] == 4


def test_the_scale_of_half_precision_is_part_of_the_state(
    images: SimulatedData, watched: SimulatedData, options: TrainingOptions, tmp_path: Path
) -> None:
    half = replace(quick(options), precision="fp16", steps=3)
    train(images, watched, half, tmp_path / "whole")
    state = read_state(tmp_path / "whole" / "state.ckpt")
    assert state["scaler"]["_growth_tracker"] > 0

    def kill(where: training.Progress) -> None:
        if where.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(images, watched, half, tmp_path / "killed", progress=kill)
    train(images, watched, half, tmp_path / "killed")
    assert_same_end(tmp_path / "killed", tmp_path / "whole")


def test_a_finished_training_is_not_trained_further(
    whole: Path, images: SimulatedData, watched: SimulatedData, options: TrainingOptions
) -> None:
    before = [(whole / name).read_bytes() for name in (*FILES, "log.jsonl", "state.ckpt")]
    train(images, watched, quick(options), whole, progress=lambda where: pytest.fail("a step was made"))
    assert [(whole / name).read_bytes() for name in (*FILES, "log.jsonl", "state.ckpt")] == before


# --- closed form


def test_schedule_follows_the_clock_only_with_a_limit_in_time(options: TrainingOptions) -> None:
    free = Schedule(0, 0.0, 10)
    assert [free.share(step) for step in (0, 5, 10, 11)] == [0, 0.5, 1, 1]
    assert free.renewed(5, 100.0, replace(options, steps=10)) == free
    limited = replace(options, steps=1000, max_minutes=10.0)
    # 5 minutes for 100 steps: 100 more are affordable, from a tenth of the schedule to its end
    renewed = Schedule(0, 0.0, 1000).renewed(100, 5.0, limited)
    assert renewed == Schedule(100, 0.1, 200)
    assert renewed.share(150) == pytest.approx(0.55)
    assert renewed.renewed(150, 10.0, limited).share(150) == 1
    # a machine that became faster: not more than the steps asked for
    assert renewed.renewed(150, 0.1, limited).end == 1000


def test_steps_since_the_last_check_repeat_their_rates_with_a_limit_in_time(
    images: SimulatedData, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at step 4, resumed from the state of step 2: step 3 is made at the rate it had, though time has passed."""
    limited = replace(quick(options), steps=5000, max_minutes=5.0)
    rates: list[tuple[int, float]] = []
    original = training.set_rate

    def spy(*given: Any, step: int, **named: Any) -> float:
        rates.append((step, original(*given, step=step, **named)))
        return rates[-1][1]

    def kill(where: training.Progress) -> None:
        if where.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "set_rate", spy)
    monkeypatch.setattr(training, "save_state", once(training.save_state))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(images, None, limited, tmp_path, progress=kill)
    steps = [step for step, _ in rates]
    assert steps == [0, 1, 2, 3, 2, 3]
    assert rates[2:4] == rates[4:6]
    assert read_state(tmp_path / "state.ckpt")["schedule"]["end"] < 5000  # the clock decides the end


def once(save: Callable[..., None]) -> Callable[..., None]:
    """A function that works the first time it is called only."""
    calls: list[int] = []

    def saved(*given: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            save(*given, **named)

    return saved


def test_a_longer_training_goes_on_with_a_schedule_of_its_length(
    whole: Path, images: SimulatedData, watched: SimulatedData, options: TrainingOptions, tmp_path: Path
) -> None:
    (tmp_path / "state.ckpt").write_bytes((whole / "state.ckpt").read_bytes())
    train(images, watched, replace(quick(options), steps=10), tmp_path)
    entries = read_state(tmp_path / "state.ckpt")["log"]
    assert [entry["step"] for entry in entries] == [2, 4, 5, 6, 8, 10]
    rate = 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * 0.5))
    assert entries[3]["learning_rate"] == pytest.approx(3e-2 * rate)  # step 5 of 10


# --- contract


def test_other_options_or_data_are_refused_by_name(
    whole: Path, images: SimulatedData, watched: SimulatedData, options: TrainingOptions
) -> None:
    same = quick(options)
    with pytest.raises(ConfigProblem, match=r"options\.seed was 2025, is 7"):
        train(images, watched, replace(same, seed=7), whole)
    with pytest.raises(ConfigProblem, match=r"options\.size\.n_cascades was 1, is 2"):
        train(images, watched, replace(same, size=replace(same.size, n_cascades=2)), whole)
    with pytest.raises(ConfigProblem, match=r"options\.sampling\.accelerations was \[4\], is \[8\]"):
        train(images, watched, replace(same, sampling=replace(same.sampling, accelerations=(8,))), whole)
    with pytest.raises(ConfigProblem, match=r"data was .*options\.batch_size was 1, is 2"):
        # both named at once
        train(SimulatedData(images.images[:2]), None, replace(same, batch_size=2), whole)
    with pytest.raises(ConfigProblem, match="start_from was None"):
        train(images, watched, same, whole, start_from=whole / "cardiomm.ckpt")


def test_a_state_of_an_older_version_is_refused(
    images: SimulatedData, options: TrainingOptions, tmp_path: Path
) -> None:
    torch.save({"step": 3}, tmp_path / "state.ckpt")
    with pytest.raises(ConfigProblem, match="older version"):
        train(images, None, options, tmp_path)


def test_options_newer_than_a_state_had_their_default(
    whole: Path, images: SimulatedData, watched: SimulatedData, options: TrainingOptions, tmp_path: Path
) -> None:
    state = read_state(whole / "state.ckpt")
    del state["identity"]["options"]["clip_norm"], state["identity"]["options"]["size"]["texts"]
    torch.save(state, tmp_path / "state.ckpt")
    train(images, watched, quick(options), tmp_path)
    with pytest.raises(ConfigProblem, match=r"options\.clip_norm was 1\.0, is 2\.0"):
        train(images, watched, replace(quick(options), clip_norm=2.0), tmp_path)
