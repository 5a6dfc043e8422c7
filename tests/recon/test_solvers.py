"""Conjugate gradient against closed forms."""

import numpy as np
import pytest
import torch

from recon.solvers import conjugate_gradient


def test_solves_hermitian_systems_of_a_batch(rng: np.random.Generator) -> None:
    factor = torch.from_numpy(rng.standard_normal((5, 6, 6)) + 1j * rng.standard_normal((5, 6, 6)))
    matrix = factor @ factor.mH + torch.eye(6)
    rhs = torch.from_numpy(rng.standard_normal((5, 6)) + 1j * rng.standard_normal((5, 6)))
    result = conjugate_gradient(
        lambda x: torch.einsum("bij,bj->bi", matrix, x), rhs, max_iterations=50, tolerance=1e-12, item_dims=1
    )
    torch.testing.assert_close(result.solution, torch.linalg.solve(matrix, rhs))
    assert (result.residual <= 1e-12).all()


def test_diagonal_problem_needs_as_many_steps_as_eigenvalues() -> None:
    eigenvalues = torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, 2.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    result = conjugate_gradient(
        lambda x: eigenvalues * x, torch.ones_like(eigenvalues), max_iterations=10, tolerance=1e-10, item_dims=1
    )
    assert result.n_iterations.tolist() == [1, 2, 3]
    torch.testing.assert_close(result.solution, 1 / eigenvalues)


def test_items_do_not_depend_on_their_company(rng: np.random.Generator) -> None:
    weights = torch.from_numpy(rng.uniform(0.1, 2, (3, 4, 4)))
    rhs = torch.from_numpy(rng.standard_normal((3, 4, 4)))
    rhs[1] = 0
    together = conjugate_gradient(lambda x: weights * x, rhs, max_iterations=5, tolerance=1e-3)
    for i in range(3):
        alone = conjugate_gradient(
            lambda x, i=i: weights[i] * x,  # type: ignore[misc]
            rhs[i],
            max_iterations=5,
            tolerance=1e-3,
        )
        torch.testing.assert_close(together.solution[i], alone.solution)
        assert int(together.n_iterations[i]) == int(alone.n_iterations)
    assert (together.solution[1] == 0).all()
    assert together.n_iterations[1] == 0


def test_residual_is_the_true_one(rng: np.random.Generator) -> None:
    weights = torch.from_numpy(rng.uniform(0.01, 2, (2, 8, 8)))
    rhs = torch.from_numpy(rng.standard_normal((2, 8, 8)))
    result = conjugate_gradient(lambda x: weights * x, rhs, max_iterations=3, tolerance=1e-9)
    left = torch.linalg.vector_norm(rhs - weights * result.solution, dim=(1, 2))
    assert result.residual.numpy() == pytest.approx((left / torch.linalg.vector_norm(rhs, dim=(1, 2))).numpy())
    assert (result.n_iterations == 3).all()
