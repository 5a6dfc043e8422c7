"""The SENSE operator: adjoint, normal and norm."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.operators import SenseOperator


def random_complex(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def random_operator(rng: np.random.Generator, ny: int, nx: int, *, lines: bool) -> SenseOperator:
    maps = random_complex(rng, 2, 3, ny, nx)
    maps = maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    mask = rng.random((4, ny, 1 if lines else nx)) < 0.5
    return SenseOperator(maps, torch.from_numpy(np.broadcast_to(mask, (4, ny, nx)).copy()))


@settings(max_examples=25, deadline=None)
@given(ny=st.integers(1, 9), nx=st.integers(1, 9), seed=st.integers(0, 1000), lines=st.booleans())
def test_adjoint_and_normal(ny: int, nx: int, seed: int, lines: bool) -> None:
    rng = np.random.default_rng(seed)
    operator = random_operator(rng, ny, nx, lines=lines)
    image, kspace = random_complex(rng, 4, 2, ny, nx), random_complex(rng, 4, 2, 3, ny, nx)
    left = torch.vdot(kspace.flatten(), operator.forward(image).flatten())
    right = torch.vdot(operator.adjoint(kspace).flatten(), image.flatten())
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(operator.normal(image), operator.adjoint(operator.forward(image)))


def test_norm_is_at_most_one(rng: np.random.Generator) -> None:
    operator = random_operator(rng, 8, 7, lines=False)
    image = random_complex(rng, 4, 2, 8, 7)
    for _ in range(30):
        image = operator.normal(image)
        image = image / torch.linalg.vector_norm(image)
    assert float(torch.linalg.vector_norm(operator.normal(image))) <= 1 + 1e-9


def test_points_outside_the_mask_are_zero_and_not_read(rng: np.random.Generator) -> None:
    operator = random_operator(rng, 6, 6, lines=False)
    kspace = operator.forward(random_complex(rng, 4, 2, 6, 6))
    unsampled = ~operator.mask[:, None, None].expand_as(kspace)
    assert (kspace[unsampled] == 0).all()
    spoiled = kspace.clone()
    spoiled[unsampled] = 7
    torch.testing.assert_close(operator.adjoint(spoiled), operator.adjoint(kspace))


def test_sizes_must_fit() -> None:
    with pytest.raises(ValueError, match=r"same y and x, got \(1, 2, 4, 4\) and \(3, 4, 5\)"):
        SenseOperator(torch.zeros(1, 2, 4, 4, dtype=torch.complex64), torch.ones(3, 4, 5, dtype=torch.bool))
