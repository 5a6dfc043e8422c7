"""Does training learn, from what it should, and does it write what it should?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from recon import training
from recon.cardiomm.checkpoint import load_cardiomm, read_checkpoint
from recon.cardiomm.network import CardioMM
from recon.cardiomm.widening import widened
from recon.fourier import fft2c, ifft2c, readout_window
from recon.training import TrainingOptions, loss_of, next_batch, read_state, ssim, train_cardiomm
from recon.training_data import Batch, SimulatedData, simulate


def train(images: SimulatedData, options: TrainingOptions, folder: Path, **more: Any) -> dict[str, Any]:
    """The state at the end of a training."""
    train_cardiomm(images, **{"monitor": None, "notes": {"terms": "x"}, **more}, options=options, folder=folder)
    return read_state(folder / "state.ckpt")


# --- law


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_loss_falls_on_a_fixed_batch(
    images: SimulatedData,
    options: TrainingOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
) -> None:
    fixed = next_batch(images, options, step=3)
    monkeypatch.setattr(training, "next_batch", lambda *given, **named: fixed)
    losses: list[float] = []
    original = training.loss_of

    def spy(*given: Any) -> torch.Tensor:
        loss = original(*given)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(training, "loss_of", spy)
    longer = replace(options, steps=15, learning_rate=4e-3, checkpoint_every=15, precision=precision)
    train(images, longer, tmp_path)
    assert len(losses) == 15
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_global_random_states_are_untouched(images: SimulatedData, options: TrainingOptions, tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    train(images, replace(options, steps=2), tmp_path)
    np.testing.assert_array_equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index] # noqa: NPY002


# --- what is written


def test_weights_log_and_notes(
    images: SimulatedData, watched: SimulatedData, options: TrainingOptions, tmp_path: Path
) -> None:
    state = train(images, replace(options, steps=3), tmp_path, monitor=watched)
    weights = load_cardiomm(tmp_path / "cardiomm.ckpt")
    assert weights.size == options.size
    for name, value in weights.state_dict().items():
        np.testing.assert_allclose(value, state["network"][name], rtol=1e-3, atol=1e-6, err_msg=name)
    stored = read_checkpoint(tmp_path / "cardiomm.ckpt")
    assert {value.dtype for value in stored["state_dict"].values()} == {torch.float16}
    assert stored["cardioval"]["terms"] == "x"
    assert stored["cardioval"]["steps"] == 3
    assert stored["cardioval"]["options"]["sampling"]["coil_counts"] == [2, 3]
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [2, 3]
    keys = ("minutes", "loss", "monitor_loss", "monitor_psnr", "learning_rate")
    assert all(np.isfinite(entry[key]) for entry in log for key in keys)
    assert [entry["monitor_patients"] for entry in log] == [2, 2]
    assert log == state["log"]


def test_time_ends_a_training_with_its_files(images: SimulatedData, options: TrainingOptions, tmp_path: Path) -> None:
    state = train(images, replace(options, steps=1000, max_minutes=1e-9), tmp_path)
    assert state["step"] == 1
    assert (tmp_path / "cardiomm.ckpt").exists()


def test_no_image_is_refused(options: TrainingOptions, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one training image"):
        train(SimulatedData([]), options, tmp_path)


# --- data and loss


def test_batches_repeat_with_their_seed_and_hold_their_own_target(
    images: SimulatedData, options: TrainingOptions
) -> None:
    first, again, other = (drawn(images, options, seed) for seed in (1, 1, 2))
    assert torch.equal(first.kspace, again.kspace)
    assert first.kspace.shape != other.kspace.shape or not torch.equal(first.kspace, other.kspace)
    assert not first.kspace[~first.mask[:, None].expand_as(first.kspace)].any()
    everything = drawn(images, options, 4, accelerations=(1,), patterns=("Uniform",))
    assert everything.mask.all()
    full = ifft2c(everything.kspace).abs().square().sum(1).sqrt()
    np.testing.assert_allclose(everything.target, full, rtol=1e-5)


def drawn(images: SimulatedData, options: TrainingOptions, seed: int, **sampling: Any) -> Batch:
    """One batch with some of the options changed."""
    changed = replace(options, sampling=replace(options.sampling, **sampling))
    return next_batch(images, changed, step=seed)


def test_masks_run_along_the_readout_of_the_network(images: SimulatedData, options: TrainingOptions) -> None:
    for seed in range(4):
        mask = drawn(images, options, seed, patterns=("Uniform",)).mask
        assert (mask == mask[:, :1]).all()  # rows are the readout: whole columns are sampled
        assert not mask.all()


def test_neighbors_are_frames_of_one_series_with_masks_of_their_own(
    images: SimulatedData, options: TrainingOptions
) -> None:
    stacked = replace(options, size=replace(options.size, n_adjacent=3, stacked="frames"))
    batch = drawn(images, stacked, 1, patterns=("ktUniform",))
    assert batch.kspace.shape[:2] == (2, 3)
    assert batch.mask.shape[:2] == (2, 3)
    assert not torch.equal(batch.mask[:, 0], batch.mask[:, 1])
    assert batch.target.shape == (2, *batch.kspace.shape[-2:])
    full = drawn(images, stacked, 1, patterns=("Uniform",), accelerations=(1,))
    np.testing.assert_allclose(full.target, ifft2c(full.kspace[:, 1]).abs().square().sum(1).sqrt(), rtol=1e-5)
    with pytest.raises(ValueError, match="at least 5 frames"):
        drawn(images, replace(options, size=replace(options.size, n_adjacent=5)), 1)


def test_simulated_kspace_is_finite_for_any_matrix(
    images: SimulatedData, options: TrainingOptions, rng: np.random.Generator
) -> None:
    for image in images.images:
        for matrix in ((24, 24), (33, 20), (64, 48)):
            kspace = simulate(image, matrix=matrix, n_coils=2, sampling=options.sampling, rng=rng)
            assert kspace.shape == (1, 2, *matrix)
            assert kspace.dtype == np.complex64
            assert np.isfinite(kspace).all()


@pytest.mark.parametrize(("length", "start", "kept"), [(20, 3, 9), (21, 0, 21), (15, 7, 8)])
def test_a_readout_window_is_the_cut_image(length: int, start: int, kept: int, rng: np.random.Generator) -> None:
    image = (rng.standard_normal((2, 8, length)) + 1j * rng.standard_normal((2, 8, length))).astype(np.complex64)
    kspace = readout_window(fft2c(image), start, kept)
    np.testing.assert_allclose(ifft2c(kspace), image[..., start : start + kept], atol=1e-5)


def test_a_training_can_start_from_a_checkpoint(
    images: SimulatedData, options: TrainingOptions, tmp_path: Path
) -> None:
    first = train(images, options, tmp_path / "first")
    still = replace(options, steps=1, learning_rate=0.0)
    second = train(images, still, tmp_path / "second", start_from=tmp_path / "first" / "cardiomm.ckpt")
    for name, value in first["network"].items():
        np.testing.assert_allclose(second["network"][name], value, rtol=1e-3, atol=1e-6, err_msg=name)
    stacks = replace(still, size=replace(options.size, n_adjacent=3, stacked="frames"))
    third = train(images, stacks, tmp_path / "third", start_from=tmp_path / "first" / "cardiomm.ckpt")
    for name, value in widened(first["network"], n_adjacent=3).items():
        np.testing.assert_allclose(third["network"][name], value, rtol=1e-3, atol=1e-6, err_msg=name)
    other = replace(options, size=replace(options.size, n_cascades=2))
    with pytest.raises(ValueError, match="expected a network of size"):
        train(images, other, tmp_path / "other", start_from=tmp_path / "first" / "cardiomm.ckpt")


def test_ssim_is_that_of_scikit_image(rng: np.random.Generator) -> None:
    target = rng.random((3, 31, 26))
    image = target + 0.2 * rng.standard_normal(target.shape)
    peak = target.max(axis=(1, 2), keepdims=True)
    found = ssim(*(torch.from_numpy(a) for a in (image, target, peak)))
    expected = [
        structural_similarity(t, i, win_size=7, data_range=float(p))
        for t, i, p in zip(target, image, peak.ravel(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    same = ssim(*(torch.from_numpy(a) for a in (target, target, peak)))
    np.testing.assert_allclose(same, 1, rtol=1e-12)


def test_loss_does_not_depend_on_the_scale(
    images: SimulatedData, options: TrainingOptions, tiny_cardiomm: CardioMM
) -> None:
    batch = drawn(images, options, 5)
    louder = replace(batch, kspace=1000 * batch.kspace, target=1000 * batch.target)
    one, other = (float(loss_of(tiny_cardiomm, b, options)) for b in (batch, louder))
    assert other == pytest.approx(one, rel=1e-4)
