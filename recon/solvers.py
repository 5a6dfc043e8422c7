"""Which image solves a regularized reconstruction problem?

Conjugate gradient and accelerated proximal gradient, for many independent problems at once: each item of the batch has
its own steps and its own stop.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

Operator = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class CgResult:
    """Solution of a batch of linear systems.

    Attributes
    ----------
    solution : tensor, shape of the right-hand side
    n_iterations : int tensor, one an item
        Steps taken before the item met the tolerance, or the maximum.
    residual : real tensor, one an item
        Norm of the residual relative to the right-hand side.
    """

    solution: torch.Tensor
    n_iterations: torch.Tensor
    residual: torch.Tensor


def conjugate_gradient(
    operator: Operator,
    rhs: torch.Tensor,
    *,
    max_iterations: int,
    tolerance: float,
    item_dims: int = 2,
    preconditioner: Operator | None = None,
) -> CgResult:
    """Solve ``operator(x) = rhs`` for a Hermitian positive definite operator, starting at zero.

    Parameters
    ----------
    operator : callable, tensor to tensor of the same shape
        Must not mix the items of the batch.
    rhs : real or complex tensor (..., item axes)
    max_iterations : int, >= 1
    tolerance : float, > 0
        An item is done when its residual norm is at most this part of its right-hand side's.
    item_dims : int
        How many last axes make one item; the axes before them are the batch.
    preconditioner : callable or None
        Approximate inverse of the operator, Hermitian positive definite and linear; must not mix the items either.

    Returns
    -------
    CgResult

    Notes
    -----
    Source: Hestenes and Stiefel 1952, doi:10.6028/jres.049.044.
    """
    dims = tuple(range(-item_dims, 0))
    apply = preconditioner if preconditioner is not None else torch.clone
    solution, residual = torch.zeros_like(rhs), rhs.clone()
    direction = apply(residual)
    power, start = _inner(residual, direction, dims), _inner(rhs, rhs, dims)
    left, target = start, start * tolerance**2
    n_iterations = torch.zeros(start.shape, dtype=torch.int64, device=rhs.device)
    active = left > target
    for _ in range(max_iterations):
        if not bool(active.any()):
            break
        image = operator(direction)
        curvature = _inner(direction, image, dims)
        active &= (curvature > 0) & (power > 0)
        step = torch.where(active, power / curvature.where(active, torch.ones_like(curvature)), 0.0)
        solution += step * direction
        residual -= step * image
        n_iterations += active
        left = _inner(residual, residual, dims)
        active &= left > target
        if not bool(active.any()):
            break
        toward = apply(residual) if preconditioner is not None else residual
        power_next = _inner(residual, toward, dims) if preconditioner is not None else left
        ratio = torch.where(active, power_next / power.where(active, torch.ones_like(power)), 0.0)
        direction = toward + ratio * direction
        power = power_next.where(active, power)
    relative = torch.sqrt(left / start.where(start > 0, torch.ones_like(start)))
    shape = rhs.shape[:-item_dims]
    return CgResult(solution, n_iterations.reshape(shape), relative.reshape(shape))


def proximal_gradient(
    gradient: Operator,
    proximal: Operator,
    start: torch.Tensor,
    *,
    step: float,
    max_iterations: int,
    tolerance: float,
    item_dims: int = 2,
) -> torch.Tensor:
    """Minimize ``f(x) + g(x)`` by accelerated proximal gradient steps (FISTA), restarted where they overshoot.

    Parameters
    ----------
    gradient : callable
        Gradient of the smooth part f.
    proximal : callable
        ``argmin |x - v|^2 / (2 step) + g(x)`` of v.
    start : tensor (..., item axes)
    step : float
        At most 1 / Lipschitz constant of the gradient.
    max_iterations : int, >= 1
    tolerance : float, > 0
        An item is done when a step changes it by at most this part of its norm.
    item_dims : int
        How many last axes make one item; the axes before them are the batch.

    Returns
    -------
    tensor, shape of ``start``

    Notes
    -----
    Source: Beck and Teboulle 2009, doi:10.1137/080716542; restart: O'Donoghue and Candes 2015,
    doi:10.1007/s10208-013-9150-3.
    """
    dims = tuple(range(-item_dims, 0))
    current, extrapolated = start, start
    momentum = _inner(start, start, dims) * 0 + 1
    active = torch.ones_like(momentum, dtype=torch.bool)
    for _ in range(max_iterations):
        proposed = proximal(extrapolated - step * gradient(extrapolated))
        change = proposed - current
        overshot = _inner(extrapolated - proposed, change, dims) > 0
        raised = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        factor = torch.where(overshot, 0.0, (momentum - 1) / raised)
        momentum = torch.where(overshot, 1.0, raised)
        extrapolated = proposed + factor * change
        current = torch.where(active, proposed, current)
        moved = _inner(change, change, dims) > tolerance**2 * _inner(proposed, proposed, dims)
        active &= moved
        if not bool(active.any()):
            break
    return current


def _inner(a: torch.Tensor, b: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """Real part of the inner product of each item, kept as axes of length 1."""
    if a.is_complex():
        return (a.real * b.real + a.imag * b.imag).sum(dims, keepdim=True)
    return (a * b).sum(dims, keepdim=True)
