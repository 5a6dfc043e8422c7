"""How much do effects differ beyond their own errors?"""

import numpy as np
import scipy.optimize as scipy_optimize
import scipy.stats as scipy_stats

from stats.intervals import FloatArray


def cochran_q(y: FloatArray, v: FloatArray, tau2: float) -> float:
    """Weighted sum of squares of effects y around their mean, variances v + tau2 (Cochran 1954, doi 10.2307/3001666)."""
    w = 1 / (v + tau2)
    return float((w * (y - (w * y).sum() / w.sum()) ** 2).sum())


def tau2_dl(y: FloatArray, v: FloatArray, q: float) -> float:
    """Variance between effects by moments (DerSimonian and Laird 1986, doi 10.1016/0197-2456(86)90046-2)."""
    w = 1 / v
    return max(0.0, (q - (y.size - 1)) / float(w.sum() - (w**2).sum() / w.sum()))


def tau2_reml(y: FloatArray, v: FloatArray) -> float:
    """Variance between effects by restricted maximum likelihood (Viechtbauer 2005, doi 10.3102/10769986030003261).

    Root of the restricted score, found by bracketing; 0 if the score is negative from there on.
    """

    def score(tau2: float) -> float:
        w = 1 / (v + tau2)
        residual = y - (w * y).sum() / w.sum()
        return float((w**2 * residual**2).sum() - w.sum() + (w**2).sum() / w.sum())

    # several roots may exist; the likelihood on a grid chooses the neighborhood of the highest one
    top = 10 * (float(y.var(ddof=1)) + float(v.max()))
    grid = np.concatenate([[0.0], np.geomspace(top * 1e-8, top, 200)])
    best = int(np.argmax(_restricted_likelihood(y, v, grid)))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid.size - 1)])
    if score(low) <= 0.0:
        return low
    return high if score(high) >= 0.0 else float(scipy_optimize.brentq(score, low, high, xtol=1e-14, rtol=1e-12))


def _restricted_likelihood(y: FloatArray, v: FloatArray, tau2: FloatArray) -> FloatArray:
    """Restricted log-likelihood, up to a constant, at each of several tau2."""
    total = v + tau2[:, None]
    w = 1 / total
    mean = (w * y).sum(axis=1) / w.sum(axis=1)
    q = (w * (y - mean[:, None]) ** 2).sum(axis=1)
    return np.asarray(-0.5 * (np.log(total).sum(axis=1) + np.log(w.sum(axis=1)) + q), dtype=np.float64)


def tau2_interval(y: FloatArray, v: FloatArray, level: float) -> tuple[float, float]:
    """Q-profile interval of the variance between effects (Viechtbauer 2007, doi 10.1002/sim.2514)."""
    bounds = []
    for p in (0.5 + level / 2, 0.5 - level / 2):
        target = float(scipy_stats.chi2.ppf(p, y.size - 1))
        if cochran_q(y, v, 0.0) <= target:
            bounds.append(0.0)
            continue
        top = float(v.max()) + float(y.var(ddof=1))
        while cochran_q(y, v, top) > target:
            top *= 4
        bounds.append(
            float(scipy_optimize.brentq(lambda t, goal=target: cochran_q(y, v, t) - goal, 0.0, top, xtol=1e-14))
        )
    return bounds[0], bounds[1]


def typical_variance(v: FloatArray) -> float:
    """Error variance of a typical effect (Higgins and Thompson 2002, doi 10.1002/sim.1186)."""
    w = 1 / v
    return float((v.size - 1) * w.sum() / (w.sum() ** 2 - (w**2).sum()))
