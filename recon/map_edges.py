"""What are the coil sensitivities beside the left and right edge, when only a small square of k-space is known?

The transform joins the two edges, and a body that goes on beyond them makes a step there, which a small square of
k-space blurs over a good part of the image. Sensitivities are smooth, so those found farther inside are continued.
"""

import torch

ORDER = 6  # of the polynomials in x and y together
SPOILED_CELLS, SOUND_CELLS = 0.5, 1.5  # distance to the edge in resolution cells of the calibration
SUPPORT_THRESHOLD = 0.9  # eigenvalue above which a pixel's sensitivities count
RIDGE = 1e-6  # relative to the mean eigenvalue of the normal equations


def continued_to_edges(
    maps: torch.Tensor, support: torch.Tensor, *, signal: torch.Tensor, cell_px: float
) -> torch.Tensor:
    """Maps whose columns beside the edges in x are continued by polynomials fitted to the columns farther inside.

    Parameters
    ----------
    maps : complex tensor (coils, y, x)
        With smooth phase and unit root sum of squares.
    support : real tensor (y, x)
        Eigenvalue, near 1 where the maps are sure.
    signal : real tensor (y, x), >= 0
        Weights of the fit: a magnitude image at the calibration's resolution.
    cell_px : float
        Resolution cell of the calibration along x, in pixels.

    Returns
    -------
    complex tensor (coils, y, x)
        Of unit root sum of squares; unchanged beyond 1.5 cells from the edges.
    """
    n_coils, n_y, n_x = maps.shape
    column = torch.arange(n_x, device=maps.device)
    to_edge = torch.minimum(column, n_x - 1 - column) / cell_px
    trust = ((to_edge - SPOILED_CELLS) / (SOUND_CELLS - SPOILED_CELLS)).clamp(0, 1).to(signal.dtype)
    weights = signal / signal.max() * trust * (support > SUPPORT_THRESHOLD)
    if not bool(weights.any()):
        return maps
    along_y, along_x = _legendre(n_y, signal), _legendre(n_x, signal)
    terms = [(i, j) for i in range(ORDER + 1) for j in range(ORDER + 1 - i)]
    basis = torch.stack([along_y[i][:, None] * along_x[j] for i, j in terms]).reshape(len(terms), -1)
    weighted = basis * weights.reshape(-1)
    gram = weighted @ basis.T
    ridge = RIDGE * gram.trace() / len(terms) + torch.finfo(gram.dtype).tiny
    gram = gram + ridge * torch.eye(len(terms), dtype=gram.dtype, device=gram.device)
    target = weighted.to(maps.dtype) @ maps.reshape(n_coils, -1).T
    coefficients = torch.linalg.solve(gram.to(maps.dtype), target)
    smooth = _unit(coefficients.T @ basis.to(maps.dtype)).reshape(maps.shape)
    return _unit((trust * maps + (1 - trust) * smooth).reshape(n_coils, -1)).reshape(maps.shape)


def _legendre(n: int, like: torch.Tensor) -> torch.Tensor:
    """Legendre polynomials (order + 1, n) over -1 to 1."""
    place = torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device)
    rows = [torch.ones_like(place), place]
    for order in range(1, ORDER):
        rows.append(((2 * order + 1) * place * rows[-1] - order * rows[-2]) / (order + 1))
    return torch.stack(rows)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    norm = torch.linalg.vector_norm(vectors, dim=0)
    return vectors / norm.clamp_min(torch.finfo(norm.dtype).tiny)
