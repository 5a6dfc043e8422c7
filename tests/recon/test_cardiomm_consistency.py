"""Does the last consistency keep what was measured, and pull the rest after it as SENSE does?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.cardiomm import consistency
from recon.cardiomm.checkpoint import load_cardiomm, save_cardiomm
from recon.cardiomm.consistency import SenseConsistency
from recon.cardiomm.network import CardioMM
from recon.fourier import fft2c, ifft2c


@pytest.fixture
def case(coil_phantom: Any) -> dict[str, Tensor]:
    """Maps, the true k-space of two frames as two samples, and every second line of it."""
    maps = torch.from_numpy(coil_phantom.maps)[:1].expand(2, -1, -1, -1)[:, None]
    truth = torch.from_numpy(coil_phantom.kspace[:, 0])[:, None]
    sampled = torch.zeros(2, 1, 1, *truth.shape[-2:], dtype=torch.bool)
    sampled[..., ::2, :] = True
    return {"maps": maps, "truth": truth, "sampled": sampled, "measured": torch.where(sampled, truth, 0 * truth)}


def corrected(case: dict[str, Tensor], kspace: Tensor, *, weight: float = 1e-6) -> Tensor:
    last = SenseConsistency()
    with torch.no_grad():
        last.log_weight.fill_(float(np.log(weight)))
        return last(kspace, case["measured"], case["sampled"], case["maps"])


def error(kspace: Tensor, truth: Tensor) -> float:
    return float(torch.linalg.vector_norm(kspace - truth) / torch.linalg.vector_norm(truth))


def test_measured_samples_stand_and_the_truth_is_left_alone(case: dict[str, Tensor]) -> None:
    sampled = case["sampled"].expand_as(case["truth"])
    for wrong in (0 * case["truth"], case["truth"] + 1.0, case["truth"].flip(-1)):
        found = corrected(case, wrong)
        assert torch.equal(found[sampled], case["measured"][sampled])
    assert error(corrected(case, case["truth"]), case["truth"]) < 1e-6


def test_from_nothing_it_solves_sense(case: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two-fold undersampling with six coils and no noise: unfolded almost wholly, the better the longer."""
    first = error(corrected(case, 0 * case["truth"]), case["truth"])
    monkeypatch.setattr(consistency, "N_STEPS", 40)
    longer = error(corrected(case, 0 * case["truth"]), case["truth"])
    assert longer < first < 0.2
    assert longer < 0.01


def test_the_correction_is_the_solution_of_its_equation(
    case: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consistency, "N_STEPS", 60)
    weight, start = 0.05, case["truth"].flip(-2)
    maps, sampled = case["maps"], case["sampled"]
    found = corrected(case, start, weight=weight)
    image = (ifft2c(torch.where(sampled, 0 * start, found - start)) * maps.conj()).sum(2, keepdim=True)
    # where nothing was sampled the change is F S d; there it must fit the equation's solution by another solver
    missed = torch.where(sampled, case["measured"] - start, 0 * start)
    n = maps.shape[-2]

    def normal(d: Tensor) -> Tensor:
        return (maps.conj() * ifft2c(torch.where(sampled, fft2c(maps * d), 0 * maps))).sum(2, keepdim=True)

    solution = torch.zeros_like(image)
    rhs = (maps.conj() * ifft2c(missed)).sum(2, keepdim=True)
    for _ in range(40 * n):  # gradient descent, the norm is at most 1 + weight
        solution = solution + (rhs - normal(solution) - weight * solution) / (1 + weight)
    expected = torch.where(sampled, case["measured"], start + fft2c(maps * solution))
    assert error(found, expected) < 1e-3


def test_each_sample_is_solved_by_itself(case: dict[str, Tensor]) -> None:
    start = case["truth"].flip(-1)
    one = {name: value[1:] for name, value in case.items()}
    np.testing.assert_allclose(corrected(case, start)[1:], corrected(one, start[1:]), atol=1e-5)


def test_nothing_to_correct_and_nothing_at_all_stay_finite_with_their_gradients(case: dict[str, Tensor]) -> None:
    last = SenseConsistency()
    for scale in (1.0, 0.0):
        kspace = (scale * case["truth"]).clone().requires_grad_()
        out = last(kspace, scale * case["measured"], case["sampled"], case["maps"])
        out.abs().square().sum().backward()
        assert torch.isfinite(out.abs()).all()
        assert torch.isfinite(torch.view_as_real(kspace.grad)).all()
        assert last.log_weight.grad is not None
        assert torch.isfinite(last.log_weight.grad).all()


def test_a_checkpoint_says_which_consistency_it_was_trained_with(tiny_cardiomm: CardioMM, tmp_path: Path) -> None:
    assert load_saved(tiny_cardiomm, tmp_path).final is None
    network = CardioMM(replace(tiny_cardiomm.size, consistency="sense"))
    network.load_state_dict(network.state_dict() | tiny_cardiomm.state_dict())
    with torch.no_grad():
        network.final.log_weight.fill_(-3.0)  # type: ignore[union-attr, operator]
    loaded = load_saved(network, tmp_path)
    assert loaded.size.consistency == "sense"
    assert float(loaded.final.log_weight) == -3.0  # type: ignore[union-attr, arg-type]


def load_saved(network: CardioMM, folder: Path) -> CardioMM:
    save_cardiomm(folder / "network.ckpt", network, notes={})
    return load_cardiomm(folder / "network.ckpt")
