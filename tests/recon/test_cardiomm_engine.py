"""Is the fast way through the network the same network, whatever its size, precision, neighbors and batches?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cohort.records import ConfigProblem
from recon.cardiomm import memory
from recon.cardiomm.checkpoint import load_cardiomm
from recon.cardiomm.engine import FoldedCardioMM
from recon.cardiomm.memory import bytes_per_frame, coil_images_at_once, frames_at_once
from recon.cardiomm.network import CardioMM, CardioMMSize
from recon.cardiomm.regularizer import PromptBlock
from recon.cardiomm.run import pick_precision

CPU = torch.device("cpu")
N_CALIBRATION = 6


def varied(size: CardioMMSize, seed: int = 4) -> CardioMM:
    """A network of random weights in which nothing is at its neutral initial value."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CardioMM(size)
        for name, weight in network.named_parameters():
            if name.endswith((".gamma", ".beta")) or weight.numel() == 1:
                torch.nn.init.normal_(weight, std=0.5)
    return network.eval().requires_grad_(False)


def make_input(*, batch: int, neighbors: int, n_coils: int = 3, nx: int = 24, ny: int = 20) -> tuple[Tensor, ...]:
    """K-space (batch, neighbors, coils, nx, ny), mask (batch, neighbors, nx, ny), two texts (1, 512)."""
    rng = np.random.default_rng(9)
    shape = (batch, neighbors, n_coils, nx, ny)
    fall = (1 + np.hypot(*np.ogrid[-2 : 2 : nx * 1j, -2 : 2 : ny * 1j])) ** 4
    wide = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / fall
    mask = rng.random((batch, neighbors, 1, ny)) < 0.4
    start = (ny - N_CALIBRATION + 1) // 2
    mask[..., start : start + N_CALIBRATION] = True
    mask = np.broadcast_to(mask, (batch, neighbors, nx, ny))
    texts = torch.from_numpy(rng.standard_normal((2, 1, 512)).astype(np.float32))
    kspace = torch.from_numpy(np.where(mask[:, :, None], wide, 0).astype(np.complex64))
    return kspace, torch.from_numpy(mask.copy()), texts[0], texts[1]


def by_network(network: CardioMM, given: tuple[Tensor, ...], family: Any = "uniform") -> Tensor:
    kspace, mask, metadata, undersampling = given
    return network(
        kspace,
        mask,
        metadata_embedding=metadata.expand(len(kspace), -1),
        undersampling_embedding=undersampling.expand(len(kspace), -1),
        n_calibration=N_CALIBRATION,
        family=family,
    )


def by_engine(
    engine: FoldedCardioMM, given: tuple[Tensor, ...], family: Any = "uniform", coil_images: int = 4
) -> Tensor:
    kspace, mask, metadata, undersampling = given
    steered = engine.steer(metadata, undersampling)
    maps = steered.maps(kspace.flatten(0, 1), n_calibration=N_CALIBRATION, family=family, coil_images=coil_images)
    return steered.magnitude(steered.last_kspace(kspace, mask, maps.reshape(kspace.shape)))


def decibels(expected: Tensor, found: Tensor) -> float:
    """Peak over root mean square difference."""
    return float(20 * torch.log10(expected.max() / (found - expected).square().mean().sqrt()))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


# --- the same function


@pytest.mark.parametrize(("nx", "ny"), [(24, 20), (25, 21), (8, 17), (9, 6)])
@pytest.mark.parametrize("neighbors", [1, 3])
@pytest.mark.parametrize("family", ["uniform", "radial"])
def test_single_precision_is_the_network(
    tiny_cardiomm: CardioMM, nx: int, ny: int, neighbors: int, family: str
) -> None:
    network = varied(replace(tiny_cardiomm.size, n_adjacent=neighbors))
    given = make_input(batch=2, neighbors=neighbors, nx=nx, ny=ny)
    engine = FoldedCardioMM(network, dtype=torch.float32)
    assert relative(by_engine(engine, given, family), by_network(network, given, family)) < 2e-5


@pytest.mark.parametrize("texts", ["both", "undersampling", "metadata", "none"])
@pytest.mark.parametrize("norm", ["l2", "sign"])
def test_every_variant_is_the_network(tiny_cardiomm: CardioMM, texts: Any, norm: Any) -> None:
    network = varied(replace(tiny_cardiomm.size, texts=texts, embedding_norm=norm))
    given = make_input(batch=1, neighbors=1)
    engine = FoldedCardioMM(network, dtype=torch.float32)
    assert relative(by_engine(engine, given), by_network(network, given)) < 2e-5


@pytest.mark.parametrize("neighbors", [1, 3])
def test_what_follows_the_last_phase_is_the_networks(tiny_cardiomm: CardioMM, neighbors: int) -> None:
    network = varied(replace(tiny_cardiomm.size, n_adjacent=neighbors, consistency="sense"))
    given = make_input(batch=2, neighbors=neighbors, nx=25, ny=22)
    engine = FoldedCardioMM(network, dtype=torch.float32)
    assert relative(by_engine(engine, given), by_network(network, given)) < 5e-5


def test_equals_the_released_network(shared_data: Path) -> None:
    folder = shared_data / "cardiomm_parity"
    engine = FoldedCardioMM(load_cardiomm(folder / "public_uniform.ckpt"), dtype=torch.float32)
    with np.load(folder / "public_uniform_io.npz") as stored:
        steered = engine.steer(
            torch.from_numpy(stored["metadata_text_embedding"])[None],
            torch.from_numpy(stored["undersampling_text_embedding"])[None],
        )
        kspace, mask = (torch.from_numpy(stored[name])[None, None] for name in ("masked_kspace", "mask"))
        maps = steered.maps(
            kspace[0],
            n_calibration=int(stored["num_low_frequencies"]),
            family=str(stored["mask_type"]),  # type: ignore[arg-type]
            coil_images=2,
        )
        image = steered.magnitude(steered.last_kspace(kspace, mask, maps[None]))
        assert relative(maps[0], torch.from_numpy(stored["sensitivity_maps"])) < 1e-4
        assert relative(image[0], torch.from_numpy(stored["output"])) < 1e-4


def test_frames_and_coils_at_once_do_not_matter(tiny_cardiomm: CardioMM) -> None:
    engine = FoldedCardioMM(tiny_cardiomm, dtype=torch.float32)
    given = make_input(batch=3, neighbors=1)
    together = by_engine(engine, given, coil_images=100)
    for coil_images in (1, 2, 9):
        assert relative(by_engine(engine, given, coil_images=coil_images), together) < 1e-5
    alone = torch.cat([by_engine(engine, (given[0][i : i + 1], given[1][i : i + 1], *given[2:])) for i in range(3)])
    assert relative(alone, together) < 1e-5


def test_zero_kspace_gives_a_finite_image(tiny_cardiomm: CardioMM) -> None:
    kspace, *rest = make_input(batch=2, neighbors=1)
    kspace[0] = 0
    image = by_engine(FoldedCardioMM(tiny_cardiomm, dtype=torch.float32), (kspace, *rest))
    assert torch.isfinite(image).all()
    assert image[0].max() < 1e-12


# --- precision


def test_half_precision_keeps_50_db(tiny_cardiomm: CardioMM) -> None:
    given = make_input(batch=2, neighbors=1, nx=48, ny=40)
    single, half = (by_engine(FoldedCardioMM(tiny_cardiomm, dtype=d), given) for d in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.float32
    for expected, found in zip(single, half, strict=True):
        assert decibels(expected, found) > 50
    assert relative(half, single) > 1e-6  # it is another precision


def test_precision_is_single_on_a_cpu_unless_asked_for() -> None:
    assert pick_precision("auto", device="cpu") == torch.float32
    assert pick_precision("fp32", device="cpu") == torch.float32
    assert pick_precision("bf16", device="cpu") == torch.bfloat16
    with pytest.raises(ConfigProblem, match="unknown precision 'fp8'; expected auto, fp32 or bf16"):
        pick_precision("fp8", device="cpu")  # type: ignore[arg-type]


def test_global_settings_and_weights_are_left_alone(tiny_cardiomm: CardioMM) -> None:
    before = {name: value.clone() for name, value in tiny_cardiomm.state_dict().items()}
    settings = torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()
    switches = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.get_rng_state()
    for dtype in (torch.float32, torch.bfloat16):
        by_engine(FoldedCardioMM(tiny_cardiomm, dtype=dtype), make_input(batch=1, neighbors=1))
    assert settings == (torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision())
    assert switches[:2] == (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32)
    np.testing.assert_array_equal(switches[2], torch.get_rng_state())
    for name, value in tiny_cardiomm.state_dict().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


# --- texts once


def test_what_depends_only_on_the_texts_is_computed_once(
    tiny_cardiomm: CardioMM, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []
    original = PromptBlock.forward

    def count(self: PromptBlock, embedding: Tensor, size: torch.Size) -> Tensor:
        calls.append(tuple(size))
        return original(self, embedding, size)

    monkeypatch.setattr(PromptBlock, "forward", count)
    engine = FoldedCardioMM(tiny_cardiomm, dtype=torch.float32)
    given = make_input(batch=3, neighbors=1)
    first = by_engine(engine, given, coil_images=1)
    n_unets = 1 + tiny_cardiomm.size.n_cascades
    assert len(calls) == 3 * n_unets
    np.testing.assert_array_equal(by_engine(engine, given, coil_images=1), first)
    assert len(calls) == 3 * n_unets
    # another size and other texts are computed anew, and the first ones still hold
    by_engine(engine, make_input(batch=1, neighbors=1, nx=40))
    other = (*given[:2], -given[2], -given[3])
    assert relative(by_engine(engine, other), first) > 1e-4
    assert len(calls) == 9 * n_unets
    np.testing.assert_array_equal(by_engine(engine, given, coil_images=1), first)


# --- memory


def test_batch_size_follows_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    size = CardioMMSize()
    given: dict[str, Any] = {"n_coils": 10, "n_pixels": 256 * 204, "dtype": torch.float32}
    each = bytes_per_frame(size, **given)
    for free, expected in ((0, 1), (4 * each, 1), (10**15, max(1, memory.CPU_BYTES // each))):
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        assert frames_at_once(size, **given, device=CPU) == expected
    # a GPU takes as many as fit into its share
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100 * each)
    assert frames_at_once(size, **given, device=torch.device("cuda")) == 60
    assert frames_at_once(size, **given, device=CPU, batch_size=7) == 7


def test_memory_of_a_frame_grows_with_what_it_holds() -> None:
    size, given = CardioMMSize(), {"n_coils": 10, "n_pixels": 1000}
    base = bytes_per_frame(size, **given, dtype=torch.float32)
    assert bytes_per_frame(size, **given, dtype=torch.bfloat16) < base
    assert bytes_per_frame(size, n_coils=20, n_pixels=1000, dtype=torch.float32) > base
    assert bytes_per_frame(size, n_coils=10, n_pixels=2000, dtype=torch.float32) == 2 * base
    assert bytes_per_frame(replace(size, n_adjacent=3), **given, dtype=torch.float32) > base
    assert coil_images_at_once(size, 3) == 6  # half as wide as the image U-Nets
    assert coil_images_at_once(replace(size, sensitivity_features=480), 1) == 1


def test_free_memory_is_a_sensible_number() -> None:
    assert 2**20 < memory.free_bytes(CPU) < 2**50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_images(tiny_cardiomm: CardioMM) -> None:
    given = make_input(batch=4, neighbors=1, nx=48, ny=40)
    expected = by_engine(FoldedCardioMM(tiny_cardiomm, dtype=torch.float32), given)
    on_gpu = tuple(part.cuda() for part in given)
    assert pick_precision("auto", device="cuda") in (torch.bfloat16, torch.float32)
    for dtype, limit in ((torch.float32, 60.0), (torch.bfloat16, 50.0)):  # cuDNN may use TF32 for single precision
        found = by_engine(FoldedCardioMM(tiny_cardiomm.cuda(), dtype=dtype), on_gpu).cpu()
        assert decibels(expected, found) > limit
    assert (
        frames_at_once(
            tiny_cardiomm.size, n_coils=3, n_pixels=48 * 40, dtype=torch.bfloat16, device=torch.device("cuda")
        )
        > 1
    )
