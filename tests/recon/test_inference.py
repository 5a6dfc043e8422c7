"""Does one entry point serve all methods, and is the image independent of how the work is cut up?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cohort.records import ConfigProblem, WeightsProblem
from recon.baselines import sense, zero_filled
from recon.cardiomm.checkpoint import save_cardiomm
from recon.cardiomm.engine import SteeredCardioMM
from recon.cardiomm.network import CardioMM
from recon.cardiomm.prompts import HashedNgramEncoder, metadata_text, undersampling_text
from recon.fourier import ifft2c
from recon.inference import METHODS, reconstruct
from recon.sampling import undersampling_mask

N_CALIBRATION = 8
METADATA = {"field_t": 1.5, "vendor": "Siemens", "scanner": "Aera", "modality": "cine", "view": "short-axis"}
METADATA |= {"pattern": "ktUniform", "acceleration": 4, "n_calibration": N_CALIBRATION}
Kspace = NDArray[np.complex64]


@pytest.fixture
def kspace(rng: np.random.Generator) -> Kspace:
    """Three frames, two slices, four coils, 22 x 26: smooth objects in noise."""
    shape = (3, 2, 4, 22, 26)
    fall = (1 + np.hypot(*np.ogrid[-3:3:22j, -3:3:26j])) ** 3
    return ((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / fall).astype(np.complex64)


@pytest.fixture
def mask() -> NDArray[np.bool_]:
    return undersampling_mask("ktUniform", nx=26, ny=22, n_frames=3, acceleration=4, n_calibration=N_CALIBRATION)


@pytest.fixture
def weights(tiny_cardiomm: CardioMM, tmp_path: Path) -> Path:
    save_cardiomm(tmp_path / "tiny.ckpt", tiny_cardiomm, notes={})
    return tmp_path / "tiny.ckpt"


def by_cardiomm(kspace: Kspace, mask: NDArray[np.bool_], weights: Path, **options: Any) -> NDArray[Any]:
    given: dict[str, Any] = {"method": "cardiomm", "metadata": METADATA, "device": "cpu", "weights": weights}
    return reconstruct(kspace, mask, **(given | options))


# --- laws


@pytest.mark.parametrize("method", METHODS)
def test_what_the_mask_leaves_out_is_never_looked_at(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path, method: str
) -> None:
    spoiled = np.where(mask[:, None, None], kspace, np.complex64(1e6))
    first, second = (by_cardiomm(k, mask, weights, method=method) for k in (kspace, spoiled))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (3, 2, 22, 26)
    magnitude = method in ("zero_filled", "grappa", "cardiomm")
    assert first.dtype == (np.float32 if magnitude else np.complex64)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("method", METHODS)
def test_one_mask_stands_for_all_frames(kspace: Kspace, mask: NDArray[np.bool_], weights: Path, method: str) -> None:
    single = mask[:1]
    repeated = np.repeat(single, 3, axis=0)
    one, many = (by_cardiomm(kspace, m, weights, method=method) for m in (single, repeated))
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("method", METHODS)
def test_input_is_neither_changed_nor_required_to_be_writable(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path, method: str
) -> None:
    before = kspace.copy()
    kspace.flags.writeable = mask.flags.writeable = False
    by_cardiomm(kspace, mask, weights, method=method)
    np.testing.assert_array_equal(kspace, before)


def test_baselines_are_those_of_their_module(kspace: Kspace, mask: NDArray[np.bool_]) -> None:
    masked = np.where(mask[:, None, None], kspace, np.complex64(0))
    for method, function in (("zero_filled", zero_filled), ("sense", sense)):
        # no text, weights or encoder is asked for
        image = reconstruct(kspace, mask, method=method, metadata={}, device="cpu")  # type: ignore[arg-type]
        np.testing.assert_array_equal(image, function(masked, mask))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
@pytest.mark.parametrize("shared_maps", [False, True])
def test_cutting_into_batches_does_not_change_the_image(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path, batch_size: int, shared_maps: bool
) -> None:
    expected = by_cardiomm(kspace, mask, weights, shared_maps=shared_maps)
    found = by_cardiomm(kspace, mask, weights, shared_maps=shared_maps, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("method", METHODS)
def test_wanted_slices_are_those_of_the_whole(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path, method: str
) -> None:
    whole = by_cardiomm(kspace, mask, weights, method=method)
    for slices in ([1], [1, 0]):
        found = by_cardiomm(kspace, mask, weights, method=method, slices=slices)
        np.testing.assert_allclose(found, whole[:, slices], atol=1e-5 * np.abs(whole).max())


def test_frames_and_slices_are_independent(kspace: Kspace, mask: NDArray[np.bool_], weights: Path) -> None:
    image = by_cardiomm(kspace, mask, weights)
    part = by_cardiomm(kspace[2:, 1:], mask[2:], weights)
    np.testing.assert_allclose(part, image[2:, 1:], atol=1e-5 * image.max())


def test_rows_of_the_network_are_the_readout(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path, tiny_cardiomm: CardioMM
) -> None:
    encoder = HashedNgramEncoder()
    masked = torch.from_numpy(np.where(mask[1], kspace[1, 0], np.complex64(0))).transpose(-1, -2)[None]
    expected = tiny_cardiomm(
        masked,
        torch.from_numpy(mask[1].T.copy())[None],
        metadata_embedding=torch.from_numpy(encoder([metadata_text(METADATA)])),
        undersampling_embedding=torch.from_numpy(encoder([undersampling_text("ktUniform", 4)])),
        n_calibration=N_CALIBRATION,
        family="uniform",
    )[0].T.numpy()
    found = by_cardiomm(kspace, mask, weights)[1, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


# --- coil maps of a slice


def test_shared_maps_change_nothing_where_frames_are_equal(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path
) -> None:
    still = np.repeat(kspace[:1], 3, axis=0)
    each, shared = (by_cardiomm(still, mask[:1], weights, shared_maps=s) for s in (False, True))
    np.testing.assert_allclose(shared, each, atol=1e-5 * each.max())


def test_shared_maps_come_from_the_mean_of_the_frames(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    original = SteeredCardioMM.maps

    def spy(self: SteeredCardioMM, masked_kspace: torch.Tensor, **options: Any) -> torch.Tensor:
        seen.append(masked_kspace)
        return original(self, masked_kspace, **options)

    monkeypatch.setattr(SteeredCardioMM, "maps", spy)
    by_cardiomm(kspace, mask, weights, shared_maps=True, batch_size=1)
    assert len(seen) == 2  # once a slice
    calibration = slice(7, 15)  # (22 - 8 + 1) // 2
    expected = kspace.mean(axis=0)[1].swapaxes(-1, -2)[None, ..., calibration]
    np.testing.assert_allclose(seen[1][..., calibration], expected, rtol=1e-5, atol=1e-7)


# --- neighbors


def by_hand(network: CardioMM, kspace: Kspace, mask: NDArray[np.bool_], at: list[tuple[int, int]]) -> NDArray[Any]:
    """The network's answer to the stack of these (frame, slice) pairs."""
    encoder = HashedNgramEncoder()
    masked = np.stack([np.where(mask[t], kspace[t, z], np.complex64(0)).swapaxes(-1, -2) for t, z in at])
    image: torch.Tensor = network(
        torch.from_numpy(masked)[None],
        torch.from_numpy(np.stack([mask[t].T for t, _ in at]))[None],
        metadata_embedding=torch.from_numpy(encoder([metadata_text(METADATA)])),
        undersampling_embedding=torch.from_numpy(encoder([undersampling_text("ktUniform", 4)])),
        n_calibration=N_CALIBRATION,
        family="uniform",
    )
    return image[0].T.numpy()


@pytest.mark.parametrize(
    ("stack", "modality", "at"),
    [
        ("frames", "cine", {(0, 1): [(2, 1), (0, 1), (1, 1)], (2, 0): [(1, 0), (2, 0), (0, 0)]}),
        ("frames", "T1 mapping", {(0, 1): [(0, 1), (0, 1), (1, 1)], (2, 0): [(1, 0), (2, 0), (2, 0)]}),
        ("slices", "cine", {(1, 0): [(1, 0), (1, 0), (1, 1)], (2, 1): [(2, 0), (2, 1), (2, 1)]}),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_neighbors_are_those_of_the_heartbeat_or_of_the_stack(
    kspace: Kspace,
    mask: NDArray[np.bool_],
    tiny_cardiomm: CardioMM,
    tmp_path: Path,
    stack: Any,
    modality: str,
    at: dict[tuple[int, int], list[tuple[int, int]]],
    batch_size: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = CardioMM(replace(tiny_cardiomm.size, n_adjacent=3, stacked=stack)).eval().requires_grad_(False)
    save_cardiomm(tmp_path / "stack.ckpt", network, notes={})
    monkeypatch.setitem(METADATA, "modality", modality)
    image = by_cardiomm(kspace, mask, tmp_path / "stack.ckpt", batch_size=batch_size)
    for (t, z), neighbors in at.items():
        expected = by_hand(network, kspace, mask, neighbors)
        np.testing.assert_allclose(image[t, z], expected, atol=1e-5 * expected.max())
    # a slice asked for alone has the same neighbors
    part = by_cardiomm(kspace, mask, tmp_path / "stack.ckpt", batch_size=batch_size, slices=[1])
    np.testing.assert_allclose(part, image[:, 1:], atol=1e-5 * image.max())


@pytest.mark.parametrize(("stack", "expected"), [("frames", 8), ("slices", 6)])
def test_maps_are_found_once_also_for_neighbors(
    kspace: Kspace,
    mask: NDArray[np.bool_],
    tiny_cardiomm: CardioMM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stack: Any,
    expected: int,
) -> None:
    save_cardiomm(tmp_path / "s.ckpt", CardioMM(replace(tiny_cardiomm.size, n_adjacent=3, stacked=stack)), notes={})
    found: list[int] = []
    original = SteeredCardioMM.maps

    def count(self: SteeredCardioMM, masked_kspace: torch.Tensor, **options: Any) -> torch.Tensor:
        found.append(len(masked_kspace))
        return original(self, masked_kspace, **options)

    monkeypatch.setattr(SteeredCardioMM, "maps", count)
    kspace, mask = np.concatenate([kspace, kspace[:1]]), np.concatenate([mask, mask[:1]])  # four frames
    kspace = kspace if stack == "frames" else kspace[:3]
    by_cardiomm(kspace, mask[: len(kspace)], tmp_path / "s.ckpt", batch_size=1)
    assert sum(found) == expected
    found.clear()
    by_cardiomm(kspace, mask[: len(kspace)], tmp_path / "s.ckpt", batch_size=1, shared_maps=True)
    assert sum(found) == 2


# --- steering and weights


def test_metadata_acceleration_and_encoder_steer(kspace: Kspace, mask: NDArray[np.bool_], weights: Path) -> None:
    image = by_cardiomm(kspace, mask, weights)
    for change in ({"vendor": "UIH", "field_t": 5.0}, {"acceleration": 24}):
        assert not np.allclose(by_cardiomm(kspace, mask, weights, metadata=METADATA | change), image, rtol=1e-5)

    def constant(texts: Any) -> NDArray[np.float32]:
        return np.full((len(texts), 512), 0.1, dtype=np.float32)

    assert not np.allclose(by_cardiomm(kspace, mask, weights, encoder=constant), image, rtol=1e-5)


def test_an_encoder_of_another_width_is_refused(kspace: Kspace, mask: NDArray[np.bool_], weights: Path) -> None:
    def sentence_encoder(texts: Any) -> NDArray[np.float32]:
        return np.ones((len(texts), 384), dtype=np.float32)

    with pytest.raises(ConfigProblem, match=r"function gives 384 numbers .* network CardioMM takes 512"):
        by_cardiomm(kspace, mask, weights, encoder=sentence_encoder)


def test_half_precision_on_request_keeps_50_db(kspace: Kspace, mask: NDArray[np.bool_], weights: Path) -> None:
    single, auto, half = (by_cardiomm(kspace, mask, weights, precision=p) for p in ("fp32", "auto", "bf16"))
    np.testing.assert_array_equal(auto, single)  # on a CPU
    assert half.dtype == np.float32
    assert 20 * np.log10(single.max() / np.sqrt(np.mean((half - single) ** 2))) > 50
    assert not np.array_equal(half, single)


def test_a_changed_weights_file_is_read_again(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path, tiny_cardiomm: CardioMM
) -> None:
    before = by_cardiomm(kspace, mask, weights)
    for cascade in tiny_cardiomm.cascades:
        cascade.dc_weight.fill_(0.0)  # type: ignore[operator]
    save_cardiomm(weights, tiny_cardiomm, notes={})
    full = np.ones((1, 22, 26), dtype=bool)
    assert not np.array_equal(by_cardiomm(kspace, mask, weights), before)
    # measured points are trusted now, so all of them give the root sum of squares
    expected = np.linalg.norm(ifft2c(kspace), axis=2)
    np.testing.assert_allclose(by_cardiomm(kspace, full, weights), expected, atol=1e-5 * expected.max())


def test_progress_is_told_of_every_slice(kspace: Kspace, mask: NDArray[np.bool_], weights: Path) -> None:
    for method in METHODS:
        calls: list[None] = []
        by_cardiomm(kspace, mask, weights, method=method, progress=lambda calls=calls: calls.append(None))
        assert len(calls) == 2, method


# --- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "unknown method 'magic'; expected one of zero_filled, sense"),
        ({"kspace": np.ones((2, 4, 22, 26), np.complex64)}, r"expected k-space \(frames, slices, coils, ky, kx\)"),
        ({"mask": np.ones((3, 26, 22), bool)}, "make it for this matrix"),
        ({"mask": np.ones((2, 22, 26), bool)}, "make it for this matrix"),
        ({"mask": np.ones((22, 26), bool)}, "make it for this matrix"),
        ({"kspace": np.full((3, 2, 4, 22, 26), np.nan, np.complex64)}, "NaN or infinite"),
        ({"kspace": np.zeros((3, 2, 4, 22, 26), np.complex64)}, "zero everywhere"),
        ({"slices": [0, 2]}, "expected slices from 0 to 1, got 2"),
        ({"slices": [-1]}, "expected slices from 0 to 1, got -1"),
        ({"batch_size": 0}, "batch size of at least one"),
        ({"metadata": METADATA | {"pattern": "spiral"}}, "unknown mask pattern 'spiral'"),
        ({"metadata": METADATA | {"n_calibration": 23}}, "calibration region of at most 22"),
        ({"metadata": {k: v for k, v in METADATA.items() if k != "pattern"}}, "metadata lacks pattern"),
    ],
)
def test_impossible_requests_are_refused(
    kspace: Kspace, mask: NDArray[np.bool_], weights: Path, change: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"kspace": kspace, "mask": mask, "weights": weights}
    with pytest.raises(ValueError, match=message):
        by_cardiomm(**(given | change))


def test_absent_weights_are_named(kspace: Kspace, mask: NDArray[np.bool_], tmp_path: Path) -> None:
    with pytest.raises(WeightsProblem, match=r"absent\.ckpt: no such file"):
        by_cardiomm(kspace, mask, tmp_path / "absent.ckpt")
