"""Does our CardioMM answer like the released one, and does it keep the laws of a multi-coil reconstruction?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.cardiomm.checkpoint import load_cardiomm
from recon.cardiomm.network import CardioMM, CardioMMSize, ProjectionHead, calibration_region, root_sum_of_squares
from recon.cardiomm.prompts import FAMILY_OF_PATTERN
from recon.cardiomm.widening import widened
from recon.fourier import ifft2c
from recon.sampling import undersampling_mask

N_CALIBRATION = 8


def make_input(*, batch: int = 1, n_coils: int = 3, nx: int = 24, ny: int = 20, seed: int = 1) -> dict[str, Any]:
    """Arguments of the network: smooth random coil images, every third column and the calibration sampled."""
    rng = np.random.default_rng(seed)
    wide = (
        rng.standard_normal((2, batch, n_coils, nx, ny))
        / (1 + np.hypot(*np.ogrid[-2 : 2 : nx * 1j, -2 : 2 : ny * 1j])) ** 4
    )
    full = torch.from_numpy((wide[0] + 1j * wide[1]).astype(np.complex64))
    mask = torch.zeros(batch, nx, ny, dtype=torch.bool)
    mask[..., ::3] = True
    start = (ny - N_CALIBRATION + 1) // 2
    mask[..., start : start + N_CALIBRATION] = True
    texts = torch.from_numpy(rng.standard_normal((2, batch, 512)).astype(np.float32))
    return {
        "masked_kspace": torch.where(mask[:, None], full, torch.zeros_like(full)),
        "mask": mask,
        "metadata_embedding": texts[0],
        "undersampling_embedding": texts[1],
        "n_calibration": N_CALIBRATION,
        "family": "uniform",
    }


def one(given: dict[str, Any], index: int) -> dict[str, Any]:
    """One sample of a batch."""
    return {key: value[index : index + 1] if isinstance(value, Tensor) else value for key, value in given.items()}


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def varied(size: CardioMMSize) -> CardioMM:
    """A network of random weights whose gates are open."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        network = CardioMM(size)
        for name, weight in network.named_parameters():
            if name.endswith((".gamma", ".beta")):
                torch.nn.init.normal_(weight, std=0.5)
    return network.eval().requires_grad_(False)


def with_data_consistency(network: CardioMM, weight: float) -> CardioMM:
    for cascade in network.cascades:
        cascade.dc_weight.fill_(weight)  # type: ignore[operator]
    return network


# --- laws


@pytest.mark.parametrize("scale", [1e-4, 37.0, 1e4])
def test_output_scales_with_the_kspace(tiny_cardiomm: CardioMM, scale: float) -> None:
    given = make_input()
    scaled = given | {"masked_kspace": scale * given["masked_kspace"]}
    assert relative(tiny_cardiomm(**scaled) / scale, tiny_cardiomm(**given)) < 1e-4
    maps = tiny_cardiomm.sensitivity_maps(**given)
    assert relative(tiny_cardiomm.sensitivity_maps(**scaled), maps) < 1e-4


def test_order_of_the_coils_does_not_matter(tiny_cardiomm: CardioMM) -> None:
    given = make_input(n_coils=5)
    order = [3, 0, 4, 1, 2]
    turned = given | {"masked_kspace": given["masked_kspace"][:, order]}
    assert relative(tiny_cardiomm(**turned), tiny_cardiomm(**given)) < 1e-5
    assert relative(tiny_cardiomm.sensitivity_maps(**turned), tiny_cardiomm.sensitivity_maps(**given)[:, order]) < 1e-5


def test_maps_have_unit_root_sum_of_squares(tiny_cardiomm: CardioMM) -> None:
    maps = tiny_cardiomm.sensitivity_maps(**make_input(batch=2))
    assert maps.shape == (2, 3, 24, 20)
    np.testing.assert_allclose(root_sum_of_squares(maps, dim=1), 1, rtol=1e-5)


def test_each_sample_of_a_batch_keeps_its_own_texts(tiny_cardiomm: CardioMM) -> None:
    given = make_input(batch=3)
    together = tiny_cardiomm(**given)
    alone = torch.cat([tiny_cardiomm(**one(given, i)) for i in range(3)])
    assert relative(together, alone) < 1e-5
    maps = torch.cat([tiny_cardiomm.sensitivity_maps(**one(given, i)) for i in range(3)])
    assert relative(tiny_cardiomm.sensitivity_maps(**given), maps) < 1e-5
    # the texts do matter here: exchanged, the answer differs
    exchanged = given | {"metadata_embedding": given["metadata_embedding"].flip(0)}
    assert relative(tiny_cardiomm(**exchanged), together) > 1e-4


@pytest.mark.parametrize("weight", [1e-7, -1e-7])
def test_measured_points_are_kept_as_the_weight_vanishes(tiny_cardiomm: CardioMM, weight: float) -> None:
    given = make_input()
    cascade = with_data_consistency(tiny_cardiomm, weight).cascades[0]
    maps = tiny_cardiomm.sensitivity_maps(**given)[:, None]
    texts = torch.zeros(1, 8)
    measured, sampled = given["masked_kspace"][:, None], given["mask"][:, None, None].expand(-1, -1, 3, -1, -1)
    kspace = cascade(measured, measured, sampled, maps, texts, texts)
    assert relative(kspace[sampled], measured[sampled]) < 1e-6
    assert kspace[~sampled].abs().max() > 0


def test_consistency_is_the_weighted_mean_of_measured_and_model(tiny_cardiomm: CardioMM) -> None:
    given = make_input()
    maps, texts = tiny_cardiomm.sensitivity_maps(**given)[:, None], torch.zeros(1, 8)
    measured, sampled = given["masked_kspace"][:, None], given["mask"][:, None, None].expand(-1, -1, 3, -1, -1)
    answers = {}
    for weight in (1e-9, -0.5, 1e9):  # a negative weight counts by its size
        cascade = with_data_consistency(tiny_cardiomm, weight).cascades[0]
        answers[weight] = cascade(measured, measured, sampled, maps, texts, texts)
    model = answers[1e9]
    assert relative(answers[-0.5][sampled], ((measured + 0.5 * model) / 1.5)[sampled]) < 1e-5
    for answer in answers.values():
        np.testing.assert_array_equal(answer[~sampled], model[~sampled])


def test_fully_sampled_and_trusted_data_come_back(tiny_cardiomm: CardioMM) -> None:
    given = make_input()
    given |= {"mask": torch.ones_like(given["mask"])}
    image = with_data_consistency(tiny_cardiomm, 0.0)(**given)
    assert relative(image, root_sum_of_squares(ifft2c(given["masked_kspace"]), dim=1)) < 1e-5


def test_given_maps_replace_the_estimated_ones(tiny_cardiomm: CardioMM) -> None:
    given = make_input()
    maps = tiny_cardiomm.sensitivity_maps(**given)
    np.testing.assert_array_equal(tiny_cardiomm(**given, maps=maps), tiny_cardiomm(**given))
    assert relative(tiny_cardiomm(**given, maps=maps.roll(1, dims=1)), tiny_cardiomm(**given)) > 1e-3


def test_zero_kspace_gives_a_finite_image(tiny_cardiomm: CardioMM) -> None:
    given = make_input(batch=2)
    given["masked_kspace"][0] = 0
    image = tiny_cardiomm(**given)
    assert torch.isfinite(image).all()
    assert image[0].max() < 1e-12
    assert torch.isfinite(tiny_cardiomm.sensitivity_maps(**given).abs()).all()
    assert relative(image[1:], tiny_cardiomm(**one(given, 1))) < 1e-5


@pytest.mark.parametrize(("nx", "ny"), [(24, 20), (25, 21), (23, 31), (9, 8), (8, 17)])
def test_any_size_keeps_its_shape(tiny_cardiomm: CardioMM, nx: int, ny: int) -> None:
    image = tiny_cardiomm(**make_input(nx=nx, ny=ny, n_coils=2))
    assert image.shape == (1, nx, ny)
    assert image.dtype == torch.float32
    assert torch.isfinite(image).all()
    assert image.min() >= 0


# --- the texts


def test_both_texts_steer(tiny_cardiomm: CardioMM) -> None:
    given = make_input()
    image = tiny_cardiomm(**given)
    for name in ("metadata_embedding", "undersampling_embedding"):
        changed = tiny_cardiomm(**(given | {name: -given[name]}))
        assert relative(changed, image) > 1e-4, name


def test_heads_learn_with_unit_length_and_cannot_with_signs() -> None:
    text = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        length, sign = ProjectionHead(16, 64, norm="l2"), ProjectionHead(16, 64, norm="sign")
    np.testing.assert_allclose(length(text).detach().norm(dim=1), 8, rtol=1e-5)
    np.testing.assert_array_equal(sign(text).detach().abs(), 1)
    for head, learns in ((length, True), (sign, False)):
        (head(text) * torch.arange(64)).sum().backward()
        assert head.fc1.weight.grad is not None
        assert bool(head.fc1.weight.grad.any()) is learns


@pytest.mark.parametrize(
    ("texts", "steering"),
    [
        ("both", {"metadata_embedding", "undersampling_embedding"}),
        ("undersampling", {"undersampling_embedding"}),
        ("metadata", {"metadata_embedding"}),
        ("none", set()),
    ],
)
def test_a_text_that_is_left_out_has_no_influence(tiny_cardiomm: CardioMM, texts: Any, steering: set[str]) -> None:
    network = varied(replace(tiny_cardiomm.size, texts=texts))
    given = make_input(batch=2)
    image, maps = network(**given), network.sensitivity_maps(**given)
    for name in ("metadata_embedding", "undersampling_embedding"):
        changed = given | {name: given[name].flip(1)}
        if name in steering:
            assert relative(network(**changed), image) > 1e-4, name
        else:
            np.testing.assert_array_equal(network(**changed), image, err_msg=name)
            np.testing.assert_array_equal(network.sensitivity_maps(**changed), maps, err_msg=name)


# --- neighbors


def stacked(given: dict[str, Any], n: int) -> dict[str, Any]:
    """A batch of samples as neighbors of one sample: (n, ...) -> (1, n, ...); one pair of texts."""
    one_each = {key: value[:1] for key, value in given.items() if key.endswith("_embedding")}
    return given | one_each | {key: given[key][None, :n] for key in ("masked_kspace", "mask")}


def test_channels_are_all_real_parts_then_all_imaginary_ones(tiny_cardiomm: CardioMM) -> None:
    network = varied(replace(tiny_cardiomm.size, n_adjacent=3))
    unet = network.cascades[0].model  # type: ignore[union-attr]
    seen: list[Tensor] = []

    def record(x: Tensor, *_: Tensor) -> Tensor:
        seen.append(x)
        return x

    unet.unet.forward = record  # type: ignore[union-attr, method-assign, assignment, operator]
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 16, 8, generator=generator, dtype=torch.complex64)
    texts = torch.zeros(2, 8)
    back = unet(image, texts, texts)  # type: ignore[operator]
    channels = torch.cat([image.real, image.imag], dim=1)
    # per sample, over all of its channels and pixels, with the unbiased deviation
    expected = torch.stack([(sample - sample.mean()) / sample.std() for sample in channels])
    assert relative(seen[0], expected) < 1e-5
    assert relative(back, image) < 1e-5


def test_the_middle_neighbor_is_reconstructed(tiny_cardiomm: CardioMM) -> None:
    network = with_data_consistency(varied(replace(tiny_cardiomm.size, n_adjacent=3)), 0.0)
    given = stacked(make_input(batch=3) | {"mask": torch.ones(3, 24, 20, dtype=torch.bool)}, 3)
    image = network(**given)
    assert relative(image, root_sum_of_squares(ifft2c(given["masked_kspace"][:, 1]), dim=1)) < 1e-5


@pytest.mark.parametrize("n", [3, 5])
def test_a_widened_network_treats_the_middle_image_as_the_one_of_single_images_did(
    tiny_cardiomm: CardioMM, n: int
) -> None:
    single = varied(tiny_cardiomm.size)
    wider = CardioMM(replace(tiny_cardiomm.size, n_adjacent=n, stacked="frames"), shared_slope=True)
    wider.load_state_dict(widened(single.state_dict(), n_adjacent=n))
    wider.eval().requires_grad_(False)
    alone = {key: value[:1] if isinstance(value, Tensor) else value for key, value in make_input(batch=1).items()}
    alike = alone | {
        key: alone[key][:, None].repeat_interleave(n, dim=1) for key in ("masked_kspace", "mask")
    }  # neighbors that look the same, so that the scale of the stack is that of the image
    assert relative(wider(**alike), single(**alone)) < 1e-3
    moved = alike["masked_kspace"].clone()
    moved[:, 0] = moved[:, 0].flip(-1)  # another image of the same scale
    assert (
        relative(wider(**(alike | {"masked_kspace": moved})), single(**alone)) < 0.05
    )  # by the common mean and deviation alone


def test_only_networks_of_single_images_are_widened(tiny_cardiomm: CardioMM) -> None:
    stack = CardioMM(replace(tiny_cardiomm.size, n_adjacent=3))
    with pytest.raises(ValueError, match="expected 2 channels, of single images, got 6"):
        widened(stack.state_dict(), n_adjacent=5)
    with pytest.raises(ValueError, match="odd number"):
        widened(tiny_cardiomm.state_dict(), n_adjacent=2)


def test_neighbors_take_part_and_keep_their_order(tiny_cardiomm: CardioMM) -> None:
    network = varied(replace(tiny_cardiomm.size, n_adjacent=3))
    given = stacked(make_input(batch=3), 3)
    image, maps = network(**given), network.sensitivity_maps(**given)
    turned = {key: given[key].flip(1) for key in ("masked_kspace", "mask")}
    assert relative(network(**(given | turned)), image) > 1e-4
    # maps are found in each neighbor by itself, so single images and stacks share them
    assert maps.shape == (1, 3, 3, 24, 20)
    for i in range(3):
        alone = given | {key: given[key][:, i] for key in ("masked_kspace", "mask")}
        assert relative(network.sensitivity_maps(**alone), maps[:, i]) < 1e-5
    np.testing.assert_array_equal(network(**given, maps=maps), image)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_another_number_of_neighbors_is_refused(tiny_cardiomm: CardioMM, n: int) -> None:
    network = varied(replace(tiny_cardiomm.size, n_adjacent=3, stacked="frames"))
    with pytest.raises(ValueError, match="expected 3 neighboring frames on the axis after the batch"):
        network(**stacked(make_input(batch=5), n))
    with pytest.raises(ValueError, match="expected 3 neighboring frames"):
        network(**make_input())


# --- calibration


def test_calibration_region_starts_as_published() -> None:
    ones = torch.ones(1, 1, 9, 12, dtype=torch.complex64)
    columns = calibration_region(ones, n_calibration=5, family="random")[0, 0].real
    assert columns[0].nonzero().flatten().tolist() == [4, 5, 6, 7, 8]  # (12 - 5 + 1) // 2
    assert (columns == columns[0]).all()
    square = calibration_region(ones, n_calibration=4, family="radial")[0, 0].real
    assert square.sum() == 16
    assert square.nonzero()[0].tolist() == [3, 4]  # (9 - 4 + 1) // 2 and (12 - 4 + 1) // 2


@pytest.mark.parametrize("pattern", sorted(FAMILY_OF_PATTERN))
@pytest.mark.parametrize(("nx", "ny"), [(40, 36), (41, 37), (38, 45)])
def test_masks_sample_the_calibration_region(pattern: str, nx: int, ny: int) -> None:
    for n in (8, 11):
        masks = undersampling_mask(pattern, nx=nx, ny=ny, n_frames=3, acceleration=12, n_calibration=n, seed=1)
        ones = torch.ones(1, nx, ny, dtype=torch.complex64)
        region = calibration_region(ones, n_calibration=n, family=FAMILY_OF_PATTERN[pattern])  # type: ignore[arg-type]
        missed = (region[0].real > 0) & ~torch.from_numpy(masks).transpose(-1, -2)
        if ny % 2 and n % 2 == 0:
            # both starts are those of the release; here the region reaches one column past the sampled lines
            missed[..., (ny - n + 1) // 2 + n - 1] = False
        if nx % 2 and n % 2 == 0 and pattern == "ktRadial":
            missed[:, (nx - n + 1) // 2 + n - 1] = False
        assert not missed.any()


@pytest.mark.parametrize("family", ["uniform", "radial"])
def test_a_calibration_region_larger_than_kspace_is_refused(family: Any) -> None:
    with pytest.raises(ValueError, match="calibration region of at most 8"):
        calibration_region(torch.ones(1, 1, 20, 8, dtype=torch.complex64), n_calibration=12, family=family)


# --- oracle and size


def test_equals_the_released_network(shared_data: Path) -> None:
    folder = shared_data / "cardiomm_parity"
    network = load_cardiomm(folder / "public_uniform.ckpt")
    with np.load(folder / "public_uniform_io.npz") as stored:
        given: dict[str, Any] = {
            "masked_kspace": torch.from_numpy(stored["masked_kspace"])[None],
            "mask": torch.from_numpy(stored["mask"])[None],
            "metadata_embedding": torch.from_numpy(stored["metadata_text_embedding"])[None],
            "undersampling_embedding": torch.from_numpy(stored["undersampling_text_embedding"])[None],
            "n_calibration": int(stored["num_low_frequencies"]),
            "family": str(stored["mask_type"]),
        }
        output, maps = torch.from_numpy(stored["output"]), torch.from_numpy(stored["sensitivity_maps"])
    assert relative(network(**given)[0], output) < 1e-4
    assert relative(network.sensitivity_maps(**given)[0], maps) < 1e-4
    # in a batch with another text, where the release mixes the texts up, the answer is the same
    pair: dict[str, Any] = {
        key: torch.cat([value, value]) if isinstance(value, Tensor) else value for key, value in given.items()
    }
    pair["metadata_embedding"][1] *= -1
    assert relative(network(**pair)[0], output) < 1e-4


def test_released_size_has_its_number_of_parameters() -> None:
    with torch.device("meta"):
        network = CardioMM(CardioMMSize())

    def millions(module: torch.nn.Module) -> float:
        return sum(value.numel() for value in module.state_dict().values()) / 1e6

    # measured on the released code (prompts included): 6.66 M a phase, 1.81 M for the sensitivities, 68.4 M in all
    assert millions(network.cascades[0]) == pytest.approx(6.66, abs=0.005)
    assert millions(network.sens_net) == pytest.approx(1.81, abs=0.005)
    assert 10 * millions(network.cascades[0]) + millions(network.sens_net) == pytest.approx(68.4, abs=0.05)
    assert len(network.cascades) == 10


def test_shared_slope_is_one_parameter_with_the_names_of_a_checkpoint(tiny_cardiomm: CardioMM) -> None:
    shared = CardioMM(tiny_cardiomm.size, shared_slope=True)
    assert shared.state_dict().keys() == tiny_cardiomm.state_dict().keys()
    unet = shared.cascades[0].get_submodule("model.unet")
    slopes = {id(p) for name, p in unet.named_parameters(remove_duplicate=False) if p.numel() == 1}
    # the shared one, the first block of the encoder, and the three metadata gates
    assert len(slopes) == 5
