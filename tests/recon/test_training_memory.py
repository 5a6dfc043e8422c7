"""Is gradient checkpointing the same training in less memory?"""

from dataclasses import replace

import pytest
import torch

from recon.cardiomm.network import CardioMM
from recon.training import TrainingOptions, loss_of
from recon.training import initial_network as initial
from recon.training import next_batch as batch_of
from recon.training_data import SimulatedData


def gradients(network: CardioMM, images: SimulatedData, options: TrainingOptions) -> dict[str, torch.Tensor]:
    network.zero_grad(set_to_none=True)
    loss_of(network, batch_of(images, options, step=2), options).backward()
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(
    ("frozen", "precision"), [("", "fp32"), ("sens_net", "bf16"), ("cascades.0", "bf16"), ("cascades.1", "fp32")]
)
def test_same_gradients_to_the_bit(
    frozen: str, precision: str, images: SimulatedData, options: TrainingOptions
) -> None:
    chosen = replace(options, precision=precision, size=replace(options.size, n_cascades=2))
    network = initial(chosen, start_from=None)
    if frozen:
        network.get_submodule(frozen).requires_grad_(False)
    plain = gradients(network, images, chosen)
    network.gradient_checkpointing = True
    again = gradients(network, images, chosen)
    assert plain.keys() == again.keys()
    assert not any(frozen and name.startswith(frozen) for name in plain)
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert any(value.any() for value in plain.values())


def test_less_is_kept_for_the_way_back(images: SimulatedData, options: TrainingOptions) -> None:
    chosen = replace(options, size=replace(options.size, n_cascades=3))
    kept = {}
    for checkpointing in (False, True):
        network = initial(replace(chosen, gradient_checkpointing=checkpointing), start_from=None)
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss_of(network, batch_of(images, chosen, step=2), chosen)
        kept[checkpointing] = total
    assert kept[True] < 0.1 * kept[False]


def test_weights_without_a_gradient_are_those_named_unused(images: SimulatedData, options: TrainingOptions) -> None:
    """Several processes wait for every gradient, so what gets none must be known; of every text variant."""
    for texts in ("both", "undersampling", "metadata", "none"):
        chosen = replace(options, size=replace(options.size, texts=texts))
        network = initial(chosen, start_from=None)
        got = set(gradients(network, images, chosen))
        assert got == {name for name, weight in network.named_parameters() if weight.requires_grad}
