"""Does streaming give what lies in the files, the same after a kill, within its memory, and pass over bad files?"""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cohort.cmrxrecon import write_kspace
from cohort.records import ConfigProblem
from recon import training
from recon.fourier import fft2c, ifft2c
from recon.training import TrainingOptions, next_batch, read_state, train_cardiomm
from recon.training_data import Samples, Sampling, SimulatedData
from recon.training_mixture import MixedData
from recon.training_scans import FIRST_LOADS, MeasuredScans, TrainingScan

WHOLE = Sampling(readout_window=(1000, 1000))
N_PATIENTS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five patients with a scan each, of different sizes; scan 1 of single frames."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(N_PATIENTS):
        kspace = phantom_kspace(number)
        write_kspace(folder / f"scan{number}.mat", kspace, info={"ReadOutOversample": 2})
    return folder


def phantom_kspace(number: int) -> NDArray[np.complex64]:
    """Frames and slices that are all different, readout oversampled twice; the patient's number sets the scale."""
    shape = (1 if number == 1 else 6, 3, 2 + number % 2, 36 + 2 * number, 80)
    frame, index, coil, y, x = np.ogrid[: shape[0], : shape[1], : shape[2], -1 : 1 : shape[3] * 1j, -2:2:80j]
    image = 1.0 * (x**2 + y**2 < 0.7) + (x**2 + (y - 0.1) ** 2 < 0.05 + 0.02 * frame + 0.05 * index)
    coils = np.exp(-((x - np.cos(2.0 * coil)) ** 2) - (y - np.sin(2.0 * coil)) ** 2 + 0.5j * coil)
    return (fft2c((image * coils).astype(np.complex64)) * np.float32(10.0**-number)).astype(np.complex64)


@pytest.fixture
def scans(folder: Path) -> list[TrainingScan]:
    return [
        TrainingScan(
            path=folder / f"scan{number}.mat",
            name=f"scan{number}",
            shape=phantom_kspace(number).shape,
            oversampling=2,
            metadata={"modality": "cine", "scanner": f"{number}"},
            source=f"p{number}",
            size_bytes=(folder / f"scan{number}.mat").stat().st_size,
        )
        for number in range(N_PATIENTS)
    ]


def draw(data: MeasuredScans, step: int, *, n: int = 1, rank: int = 0, n_adjacent: int = 1) -> Samples:
    rng = np.random.default_rng((step, rank))
    return data.draw(n, n_adjacent=n_adjacent, pattern="Uniform", sampling=WHOLE, rng=rng, step=step, rank=rank)


# --- law


def test_a_sample_is_a_frame_of_its_file_without_oversampling(scans: list[TrainingScan]) -> None:
    data = MeasuredScans(scans, seed=1, refresh_every=1)
    seen = set()
    for step in range(8):
        samples = draw(data, step)
        number = int(samples.metadata[0]["scanner"])
        seen.add(number)
        images = ifft2c(phantom_kspace(number))[..., 20:60]
        found = ifft2c(samples.kspace[0, 0])
        distance = np.abs(images - found).max((2, 3, 4)) / np.abs(found).max()
        assert distance.min() < 1e-5
    assert len(seen) > 2


def test_neighbors_are_successive_frames(scans: list[TrainingScan]) -> None:
    data = MeasuredScans([scan for scan in scans if scan.shape[0] > 1], seed=1, n_frames=4)
    samples = draw(data, 0, n=2, n_adjacent=3)
    number = int(samples.metadata[0]["scanner"])
    images = ifft2c(phantom_kspace(number))[..., 20:60]
    for stack in ifft2c(samples.kspace):
        place = [np.unravel_index(np.abs(images - one).max((2, 3, 4)).argmin(), images.shape[:2]) for one in stack]
        first, index = place[0]
        assert place == [((first + i) % 6, index) for i in range(3)]  # the heart beats on after the last frame
    with pytest.raises(ValueError, match="at least 5 frames"):
        draw(data, 0, n_adjacent=5)


def test_draws_depend_on_step_and_process_not_on_what_was_drawn_before(scans: list[TrainingScan]) -> None:
    one = MeasuredScans(scans, seed=1, memory_bytes=1, refresh_every=2)
    in_order = [draw(one, step).kspace for step in range(30)]
    other = MeasuredScans(scans, seed=1, memory_bytes=1, refresh_every=2)
    for step in (29, 17, 3, 18):
        np.testing.assert_array_equal(draw(other, step).kspace, in_order[step])
    processes = [draw(one, step, rank=1).kspace for step in range(4)]
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(processes, in_order[:4], strict=True))


@pytest.mark.parametrize("n_loads", [3, 5])
def test_memory_is_bounded(scans: list[TrainingScan], n_loads: int) -> None:
    largest = MeasuredScans(scans, seed=1).largest_load_bytes
    assert largest == 8 * 2 * 4 * 3 * 42 * 40  # scan 3: 2 slices, 4 frames, 3 coils, 42 lines, 40 columns
    data = MeasuredScans(scans, seed=1, memory_bytes=n_loads * largest, refresh_every=1)
    assert data.n_loads == n_loads
    most = 0
    for step in range(25):
        draw(data, step)
        for place in range(3):  # watching a patient uses the same memory
            data.of_patient("p0").draw(
                1, n_adjacent=1, pattern="Uniform", sampling=WHOLE, rng=np.random.default_rng(place)
            )
        held = [load.result().kspace.nbytes for load in data._held.values()]
        assert len(held) <= n_loads
        assert sum(held) <= n_loads * largest
        most = max(most, len(held))
    assert most == n_loads


def test_a_file_is_opened_once_for_many_steps(scans: list[TrainingScan], monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    original = MeasuredScans.read

    def read(data: MeasuredScans, patient: str, rank: int, number: int) -> object:
        reads.append(number)
        return original(data, patient, rank, number)

    monkeypatch.setattr(MeasuredScans, "read", read)
    data = MeasuredScans(scans, seed=1, refresh_every=8)
    for step in range(80):
        draw(data, step)
    assert len(reads) == len(set(reads)) <= FIRST_LOADS + 10


def test_a_killed_training_on_a_cohort_ends_as_an_uninterrupted_one(
    scans: list[TrainingScan], options: TrainingOptions, tmp_path: Path
) -> None:
    short = replace(options, steps=3, checkpoint_every=2, monitor_draws=1, batch_size=1)

    def train(name: str, kill_at: int = 0) -> None:
        def kill(where: training.Progress) -> None:
            if where.step == kill_at:
                raise KeyboardInterrupt

        data = MeasuredScans(scans[:3], seed=1, refresh_every=1, memory_bytes=1)
        watched = MeasuredScans(scans[3:], seed=1, memory_bytes=1)
        train_cardiomm(data, monitor=watched, options=short, folder=tmp_path / name, notes={}, progress=kill)

    train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("killed", kill_at=3)
    train("killed")
    whole, killed = (read_state(tmp_path / name / "state.ckpt") for name in ("whole", "killed"))
    assert all(torch.equal(whole["network"][name], killed["network"][name]) for name in whole["network"])
    assert [e["monitor_psnr"] for e in whole["log"]] == [e["monitor_psnr"] for e in killed["log"]]
    assert whole["log"][-1]["monitor_patients"] == 2


# --- contract


def damaged(scan: TrainingScan, folder: Path, kind: str) -> TrainingScan:
    """A copy of a scan that cannot be trained on."""
    path = folder / f"{kind}.mat"
    kspace = phantom_kspace(int(scan.name.removeprefix("scan")))
    if kind == "nan":
        write_kspace(path, kspace, info={})
        whole = path.read_bytes()
        value = kspace[2, 1, 0, 5, 7:8].tobytes()
        assert whole.count(value) == 1
        path.write_bytes(whole.replace(value, np.full(1, np.nan, np.complex64).tobytes()))
    elif kind == "partial":
        kspace[..., :12, :] = 0
        write_kspace(path, kspace, info={})
    else:
        write_kspace(path, kspace, info={})
        path.write_bytes(path.read_bytes()[:3000])
    return replace(scan, path=path, name=kind)


@pytest.mark.parametrize(
    ("kind", "reason"), [("nan", "NaN"), ("partial", "not fully sampled"), ("truncated", "truncated|damaged|not a")]
)
def test_a_bad_file_is_passed_over_with_one_line(
    kind: str, reason: str, scans: list[TrainingScan], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = damaged(scans[0], tmp_path, kind)
    bad = replace(bad, shape=(6, 3, *bad.shape[2:]))
    data = MeasuredScans([bad, scans[1]], seed=1, refresh_every=1, n_slices=3, n_frames=6)
    with caplog.at_level(logging.WARNING):
        numbers = {draw(data, step).metadata[0]["scanner"] for step in range(12)}
    assert numbers == {"1"}
    assert len(caplog.records) == len(data.skipped) == 1
    assert data.skipped[0].startswith(f"{kind}: ")
    assert any(part in data.skipped[0] for part in reason.split("|"))


def test_draws_do_not_depend_on_when_a_bad_file_was_met(scans: list[TrainingScan], tmp_path: Path) -> None:
    mixed = [damaged(scans[0], tmp_path, "truncated"), *scans[1:]]
    early, late = (MeasuredScans(mixed, seed=2, refresh_every=1) for _ in range(2))
    in_order = [draw(early, step).kspace for step in range(12)]
    np.testing.assert_array_equal(draw(late, 11).kspace, in_order[11])


def test_nothing_usable_is_one_error(scans: list[TrainingScan], tmp_path: Path) -> None:
    data = MeasuredScans([damaged(scans[0], tmp_path, "truncated")], seed=1)
    with pytest.raises(ConfigProblem, match="no scan of the cohort can be trained on: all 1 were skipped, the first"):
        draw(data, 0)


def test_fingerprint_changes_with_files_and_choices(scans: list[TrainingScan]) -> None:
    first = MeasuredScans(scans, seed=1)
    assert first.fingerprint == MeasuredScans(scans[::-1], seed=1).fingerprint
    others = [
        MeasuredScans(scans[1:], seed=1),
        MeasuredScans([replace(scans[0], size_bytes=1), *scans[1:]], seed=1),
        MeasuredScans(scans, seed=2),
        MeasuredScans(scans, seed=1, refresh_every=3),
        MeasuredScans(scans, seed=1, memory_bytes=1),
    ]
    assert len({data.fingerprint for data in [first, *others]}) == 6


# --- mixture


def test_a_mixture_draws_each_part_by_its_weight(
    scans: list[TrainingScan], images: SimulatedData, options: TrainingOptions
) -> None:
    measured = MeasuredScans(scans, seed=1)
    mixture = MixedData([(images, 3.0), (measured, 1.0)])
    assert len(mixture) == len(images) + len(scans)
    assert set(mixture.patients) == {*images.patients, *measured.patients}
    assert mixture.of_patient("p1").patients == ("p1",)
    assert mixture.of_patient("a").patients == ("a",)
    chosen = [
        "view"
        not in mixture.draw(
            1, n_adjacent=1, pattern="Uniform", sampling=options.sampling, rng=np.random.default_rng(step), step=step
        ).metadata[0]
        for step in range(120)
    ]  # only the measured ones have no view
    assert 0.13 < np.mean(chosen) < 0.37  # three standard deviations around 1 in 4
    with pytest.raises(ConfigProblem, match="weights above 0"):
        MixedData([(images, 0.0)])
    assert mixture.fingerprint != MixedData([(images, 1.0), (measured, 1.0)]).fingerprint


def test_batches_of_measured_scans_hold_their_own_target(scans: list[TrainingScan], options: TrainingOptions) -> None:
    everything = replace(options.sampling, accelerations=(1,), patterns=("Uniform",))
    batch = next_batch(MeasuredScans(scans, seed=1), replace(options, sampling=everything), step=3)
    assert batch.kspace.shape[0] == 2
    assert 16 <= batch.kspace.shape[-2] <= 24  # a window of the readout, which the network has as rows
    np.testing.assert_allclose(batch.target, ifft2c(batch.kspace).abs().square().sum(1).sqrt(), rtol=1e-4)
