"""Which decay time and which amplitudes fit best? Variable projection for all pixels at once, in numpy or torch.

The curve is constant + slope (base + factor exp(-t / T)). For a given T the linear parameters are closed form, so that
one search in x = ln T is left: a coarse grid of decays (one matrix product), then Gauss-Newton with Kaufman's projected
derivative (Golub and Pereyra, doi 10.1088/0266-5611/19/2/201; Barral et al., doi 10.1002/mrm.22497).
Arrays are `(n_times, pixels)`, float64; `xp` is the module that they belong to (numpy or torch), which must be given
arrays of its own. Both run the same lines.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRID_POINTS: Final = 80
ITERATIONS: Final = 30
TOLERANCE: Final = 1e-9
#: stands for an infinite time (an image without preparation): exp(-t / T) is 0 for every T searched
NEVER_MS: Final = 1e12
TINY: Final = 1e-300


@dataclass(frozen=True)
class Curve:
    """constant + slope (base + factor exp(-t / T)); `constant` tells whether a constant is fitted as well.

    Recovery with free efficiency, and decay with offset: (0, 1, True); decay: (0, 1, False); recovery with a known
    efficiency f: (1, -2 f, False) after inversion, (1, -f, False) after saturation.
    """

    base: float = 0.0
    factor: float = 1.0
    constant: bool = False

    @property
    def n_parameters(self) -> int:
        """Unknowns of a pixel."""
        return 3 if self.constant else 2


@dataclass(frozen=True)
class Projection:
    """What fits best, an entry a pixel: T, slope, constant, residual sum of squares, whether T ended at a bound."""

    t: Any
    slope: Any
    constant: Any
    rss: Any
    at_bound: Any

    def take(self, index: Any) -> "Projection":
        """The entries at `index`."""
        return Projection(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class GridStart:
    """Best point of the grid a pixel, its residual, and a residual that no T between the bounds can fall below."""

    x: Any
    step: Any
    rss: Any
    floor: Any


@dataclass(frozen=True)
class Problem:
    """Times `(n_times, 1)`, curve, bounds of T and the module of the arrays: what all pixels share."""

    times: Any
    curve: Curve
    bounds: tuple[float, float]
    xp: Any

    @property
    def grid(self) -> Array:
        """Values of ln T that are tried first."""
        return np.linspace(np.log(self.bounds[0]), np.log(self.bounds[1]), GRID_POINTS)

    @property
    def cell(self) -> float:
        """Distance of neighbors on the grid."""
        return float(np.log(self.bounds[1] / self.bounds[0]) / (GRID_POINTS - 1))


def problem(times_ms: Array, curve: Curve, bounds: tuple[float, float], *, xp: Any = np, like: Any = None) -> Problem:
    """Share times (infinite ones allowed) with all pixels; `like` is an array whose type and device they take."""
    times = np.where(np.isinf(times_ms), NEVER_MS, times_ms)[:, None]
    return Problem(xp.asarray(times) if like is None or xp is np else like.new_tensor(times), curve, bounds, xp)


def fit(y: Any, shared: Problem, *, sign: int, weight: Any = None) -> Projection:
    """Least squares for every column of `y` `(n_times, pixels)`.

    Parameters
    ----------
    y
        Samples, scaled to magnitudes near 1.
    sign
        Of the slope where the search starts (0: either); the caller checks the sign of the end.
    weight
        `(n_times, pixels)`, 0 or 1: samples of weight 0 are left out.
    """
    return refine(y, shared, start(y, shared, sign=sign, weight=weight), weight=weight)


def start(y: Any, shared: Problem, *, sign: int, weight: Any = None) -> GridStart:
    """Look at the grid only.

    The bound `floor`: no decay lies further from its nearest atom of the grid than neighboring atoms from each other
    (as an angle between unit vectors), so that no fit comes nearer to the samples than the best atom less this angle.
    """
    xp, curve = shared.xp, shared.curve
    grid = shared.grid
    atoms = curve.base + curve.factor * np.exp(-np.asarray(_numpy(shared.times)).T / np.exp(grid)[:, None])
    match, total, widest = _matches(y, atoms, curve, weight, xp)
    match = abs(match) if sign == 0 else sign * match
    at = xp.argmax(match, axis=1)
    rows = xp.arange(len(at)) if xp is np else xp.arange(len(at), device=at.device)
    inner = xp.clip(at, 1, GRID_POINTS - 2)
    left, middle, right = (match[rows, inner + offset] for offset in (-1, 0, 1))
    bend = left - 2 * middle + right
    vertex = xp.where(bend < 0, 0.5 * (left - right) / xp.where(bend < 0, bend, xp.ones_like(bend)), 0 * bend)
    best = match[rows, at]
    norm = xp.sqrt(total)
    angle = xp.arccos(xp.clip(best / xp.where(norm > 0, norm, xp.ones_like(norm)), -1.0, 1.0))
    nearest = xp.clip(angle - widest, 0.0, np.pi / 2)
    ln_t = xp.asarray(grid) if xp is np else y.new_tensor(grid)
    return GridStart(
        x=ln_t[at],
        step=xp.clip((inner - at) + vertex, -1.0, 1.0) * shared.cell,
        rss=total - xp.where(best > 0, best, 0 * best) ** 2,
        floor=total * xp.sin(nearest) ** 2,
    )


def refine(y: Any, shared: Problem, begin: GridStart, *, weight: Any = None) -> Projection:
    """Gauss-Newton in ln T with halved steps where the residual would grow; settled pixels leave the loop."""
    xp = shared.xp
    low, high = (float(np.log(bound)) for bound in shared.bounds)
    best = xp.zeros_like(begin.x) + begin.x
    rows, x, weights = None, best, weight
    samples = _centered(y, _level(y, shared, weight), weight)
    rss, step = xp.full_like(x, np.inf), begin.step
    trial = xp.clip(x + step, low, high)
    for _ in range(ITERATIONS):
        cost, newton = _step(samples, shared, trial, weights)
        better = cost <= rss
        x = xp.where(better, trial, x)
        rss = xp.where(better, cost, rss)
        step = xp.where(better, xp.clip(newton, -shared.cell, shared.cell), step / 2)
        trial = xp.clip(x + step, low, high)
        active = abs(trial - x) > TOLERANCE
        n_active = int(active.sum())
        if n_active < 0.8 * len(x):
            if rows is None:
                best = x
            else:
                best[rows] = x
            if not n_active:
                break
            numbers = xp.arange(len(x)) if xp is np else xp.arange(len(x), device=x.device)
            rows = numbers[active] if rows is None else rows[active]
            samples, x, rss, step, trial = samples[:, active], x[active], rss[active], step[active], trial[active]
            weights = None if weights is None else weights[:, active]
    else:
        best[rows if rows is not None else slice(None)] = x
    return solve(y, shared, best, weight=weight)


def solve(y: Any, shared: Problem, x: Any, *, weight: Any = None) -> Projection:
    """The linear parameters and the residual for given ln T."""
    xp = shared.xp
    u, _ = basis(shared, x)
    level_u, level_y = _level(u, shared, weight), _level(y, shared, weight)
    u_c, y_c = _centered(u, level_u, weight), _centered(y, level_y, weight)
    slope = _dot(xp, u_c, y_c) / (_dot(xp, u_c, u_c) + TINY)
    residual = y_c - slope * u_c
    constant = 0 * slope if level_u is None else level_y - slope * level_u
    low, high = (float(np.log(bound)) for bound in shared.bounds)
    return Projection(xp.exp(x), slope, constant, _dot(xp, residual, residual), (x <= low + 1e-6) | (x >= high - 1e-6))


def unit_sd(found: Projection, shared: Problem, gradient: tuple[Any, Any, Any], *, weight: Any = None) -> Any:
    """SD of a function of (ln T, constant, slope) for samples of SD 1: sqrt(g' (J'J)^-1 g), in closed form.

    The linear part of (J'J)^-1 is that of a straight line on u = base + factor exp(-t / T); ln T adds its own variance,
    seen through the shift that it causes in constant and slope.
    """
    xp = shared.xp
    u, d = basis(shared, xp.log(found.t))
    mean_u, mean_d = _level(u, shared, weight), _level(d, shared, weight)
    u, d = _centered(u, mean_u, weight), _centered(d, mean_d, weight)
    norm2 = _dot(xp, u, u) + TINY
    share = _dot(xp, u, d) / norm2
    free = d - share * u
    var_x = 1 / (found.slope**2 * _dot(xp, free, free) + TINY)
    g_x, g_constant, g_slope = gradient
    if mean_u is None:
        mean_u = mean_d = 0 * norm2
        var_linear = g_slope**2 / norm2
    else:
        number = len(u) if weight is None else weight.sum(0)
        var_linear = (g_slope - mean_u * g_constant) ** 2 / norm2 + g_constant**2 / number
    shift_slope = found.slope * share
    shift_constant = found.slope * mean_d - shift_slope * mean_u
    with np.errstate(over="ignore"):  # a curve without slope says nothing of T: an infinite SD is the answer
        return xp.sqrt(var_linear + (g_x - g_constant * shift_constant - g_slope * shift_slope) ** 2 * var_x)


def basis(shared: Problem, x: Any) -> tuple[Any, Any]:
    """u = base + factor exp(-t / T) and its derivative in ln T, `(n_times, pixels)`."""
    ratio = shared.times * shared.xp.exp(-x)
    e = shared.xp.exp(-ratio)
    curve = shared.curve
    if curve.base == 0 and curve.factor == 1:
        return e, ratio * e
    return curve.base + curve.factor * e, curve.factor * (ratio * e)


def _step(y: Any, shared: Problem, x: Any, weight: Any) -> tuple[Any, Any]:
    """Residual and Gauss-Newton step at ln T = x. `y` is centered; the residual is formed, not a difference of squares,
    so that noise-free samples are fitted to the last digits."""
    xp = shared.xp
    u, d = basis(shared, x)
    u = _centered(u, _level(u, shared, weight), weight)
    if weight is not None:
        d = weight * d
    uu, ud, dd = _dot(xp, u, u) + TINY, _dot(xp, u, d), _dot(xp, d, d)
    slope = _dot(xp, u, y) / uu
    residual = y - slope * u
    if shared.curve.constant:
        dd = dd - d.sum(0) ** 2 / (len(d) if weight is None else weight.sum(0))
    curvature = slope * (dd - ud * ud / uu)
    flat = curvature == 0
    newton = xp.where(flat, 0 * slope, _dot(xp, d, residual) / xp.where(flat, xp.ones_like(slope), curvature))
    return _dot(xp, residual, residual), newton


def _matches(y: Any, atoms: Array, curve: Curve, weight: Any, xp: Any) -> tuple[Any, Any, float]:
    """Projection of the (centered) samples on every unit atom `(pixels, grid)`, their squared norm, widest gap."""
    centered = atoms - atoms.mean(axis=1, keepdims=True) if curve.constant else atoms
    unit = centered / (np.linalg.norm(centered, axis=1, keepdims=True) + TINY)
    gap = float(np.arccos(np.clip((unit[1:] * unit[:-1]).sum(axis=1), -1, 1)).max())

    def own(values: Array) -> Any:
        return values if xp is np else y.new_tensor(values)

    if weight is None:
        total = _dot(xp, y, y)
        if curve.constant:
            total = total - y.sum(0) ** 2 / len(y)
        return y.T @ own(unit.T), xp.clip(total, 0.0, None), gap
    weighted, raw = weight * y, own(atoms.T)
    product, norm2, total = weighted.T @ raw, weight.T @ raw**2, _dot(xp, weighted, y)
    if curve.constant:
        number = weight.sum(0)
        sums = weight.T @ raw
        product = product - sums * (weighted.sum(0) / number)[:, None]
        norm2 = norm2 - sums**2 / number[:, None]
        total = total - weighted.sum(0) ** 2 / number
    return product / xp.sqrt(xp.clip(norm2, TINY, None)), xp.clip(total, 0.0, None), np.pi


def _level(values: Any, shared: Problem, weight: Any) -> Any:
    """Mean over the samples used, None where no constant is fitted."""
    if not shared.curve.constant:
        return None
    return values.sum(0) / len(values) if weight is None else (weight * values).sum(0) / weight.sum(0)


def _centered(values: Any, level: Any, weight: Any) -> Any:
    shifted = values if level is None else values - level
    return shifted if weight is None else weight * shifted


def _dot(xp: Any, one: Any, other: Any) -> Any:
    return xp.einsum("ij,ij->j", one, other)


def _numpy(values: Any) -> Array:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)
