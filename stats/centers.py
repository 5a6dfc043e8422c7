"""Does an effect hold from center to center, and what should a new center expect?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.optimize as scipy_optimize
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction, finite_vector, paired_vectors

Method = Literal["DL", "REML"]


@dataclass(frozen=True)
class RandomEffects:
    """Mean over centers, spread between them and what to expect in the next one.

    `tau2` is the variance between centers (squared unit of the effects), `q` Cochran's statistic with `q_p` its
    p-value, `i2_percent` the share of the variation that is between centers, `h2` total over within variation.
    `prediction` is None for fewer than 3 centers.
    """

    n_centers: int
    estimate: Interval
    standard_error: float
    tau2: Interval
    i2_percent: float
    h2: float
    q: float
    q_p: float
    prediction: Interval | None
    method: str


@dataclass(frozen=True)
class Center:
    """Bias of one center: its subjects, mean difference and standard deviation (None for a single subject)."""

    name: str
    n: int
    mean: float
    sd: float | None


def random_effects(
    effects: ArrayLike,
    variances: ArrayLike,
    *,
    method: Method = "REML",
    knapp_hartung: bool = True,
    confidence: float = 0.95,
) -> RandomEffects:
    """Random-effects mean of center effects.

    Parameters
    ----------
    effects : array (k,)
        One effect per center, k >= 2.
    variances : array (k,)
        Squared standard error of each effect, above 0.
    method : {"DL", "REML"}
        Estimator of the variance between centers: DerSimonian and Laird 1986 (doi 10.1016/0197-2456(86)90046-2) or
        restricted maximum likelihood (Viechtbauer 2005, doi 10.3102/10769986030003261).
    knapp_hartung : bool
        Scale the standard error by the observed spread and use t(k - 1) (doi 10.1002/sim.1482), else normal.
    confidence : float
        Two-sided confidence.

    Returns
    -------
    RandomEffects
        The interval of tau2 is the Q-profile (Viechtbauer 2007, doi 10.1002/sim.2514). The prediction interval is
        that of Higgins, Thompson and Spiegelhalter (t with k - 2, doi 10.1111/j.1467-985X.2008.00552.x) with the
        standard error that Knapp and Hartung did not scale.

    Raises
    ------
    ValueError
        For fewer than 2 centers, values that are not finite, variances that are not above 0, or an unknown method.
    """
    y, v = paired_vectors(effects, variances, names=("effects", "variances"), at_least=2)
    level = checked_fraction(confidence, name="confidence")
    if (v <= 0).any():
        raise ValueError("variances must be above 0; a center with one subject has no variance of its own")
    if method not in ("DL", "REML"):
        raise ValueError(f"method must be DL or REML, got {method!r}")
    k, q = y.size, _q(y, v, 0.0)
    tau2 = _tau2_dl(y, v, q) if method == "DL" else _tau2_reml(y, v)
    w = 1 / (v + tau2)
    mean, wald = float((w * y).sum() / w.sum()), math.sqrt(1 / float(w.sum()))
    scale = math.sqrt(_q(y, v, tau2) / (k - 1)) if knapp_hartung else 1.0
    upper = 0.5 + level / 2
    reach = float(scipy_stats.t.ppf(upper, k - 1) if knapp_hartung else scipy_stats.norm.ppf(upper))
    half = reach * wald * scale
    name = f"{method}, {'Knapp-Hartung t(k-1)' if knapp_hartung else 'normal'}"
    typical = _typical_variance(v)
    return RandomEffects(
        n_centers=k,
        estimate=Interval(mean, mean - half, mean + half, level, k, name),
        standard_error=wald * scale,
        tau2=Interval(tau2, *_tau2_interval(y, v, level), level, k, f"{method}, Q-profile"),
        i2_percent=100 * tau2 / (tau2 + typical),
        h2=(tau2 + typical) / typical,
        q=q,
        q_p=float(scipy_stats.chi2.sf(q, k - 1)),
        prediction=_prediction(mean, math.sqrt(tau2 + wald**2), level, k),
        method=name,
    )


def summarize(values: ArrayLike, centers: Sequence[str]) -> list[Center]:
    """Number, mean and standard deviation of each center's values, in order of the names.

    Raises
    ------
    ValueError
        For values that are not finite or lengths that differ.
    """
    x = finite_vector(values, name="values", at_least=1)
    if len(centers) != x.size:
        raise ValueError(f"{x.size} values but {len(centers)} center names")
    labels = np.asarray(centers, dtype=object)
    groups = [(name, x[labels == name]) for name in sorted(set(centers))]
    return [Center(name, g.size, float(g.mean()), float(g.std(ddof=1)) if g.size > 1 else None) for name, g in groups]


def center_mean(values: ArrayLike, centers: Sequence[str], *, confidence: float = 0.95) -> RandomEffects:
    """Random-effects mean (REML, Knapp-Hartung) of subject values that come in centers.

    The variance of a center's mean is the pooled within-center variance over its number of subjects, so that small
    centers, whose own variance is a guess, and centers of one subject take part.

    Raises
    ------
    ValueError
        For fewer than 2 centers, or no variation within any center (then nothing can be weighed).
    """
    groups = summarize(values, centers)
    freedom = sum(g.n - 1 for g in groups)
    squares = sum((g.n - 1) * g.sd**2 for g in groups if g.sd is not None)
    if len(groups) < 2 or freedom == 0 or squares == 0.0:
        raise ValueError(f"{len(groups)} centers with {freedom} spare subjects do not give a variance within centers")
    pooled = squares / freedom
    return random_effects([g.mean for g in groups], [pooled / g.n for g in groups], confidence=confidence)


def _q(y: FloatArray, v: FloatArray, tau2: float) -> float:
    w = 1 / (v + tau2)
    return float((w * (y - (w * y).sum() / w.sum()) ** 2).sum())


def _tau2_dl(y: FloatArray, v: FloatArray, q: float) -> float:
    w = 1 / v
    return max(0.0, (q - (y.size - 1)) / float(w.sum() - (w**2).sum() / w.sum()))


def _tau2_reml(y: FloatArray, v: FloatArray) -> float:
    """Root of the restricted score, found by bracketing; 0 if the score is negative from there on."""

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


def _tau2_interval(y: FloatArray, v: FloatArray, level: float) -> tuple[float, float]:
    bounds = []
    for p in (0.5 + level / 2, 0.5 - level / 2):
        target = float(scipy_stats.chi2.ppf(p, y.size - 1))
        if _q(y, v, 0.0) <= target:
            bounds.append(0.0)
            continue
        top = float(v.max()) + float(y.var(ddof=1))
        while _q(y, v, top) > target:
            top *= 4
        bounds.append(float(scipy_optimize.brentq(lambda t, goal=target: _q(y, v, t) - goal, 0.0, top, xtol=1e-14)))
    return bounds[0], bounds[1]


def _typical_variance(v: FloatArray) -> float:
    w = 1 / v
    return float((v.size - 1) * w.sum() / (w.sum() ** 2 - (w**2).sum()))


def _prediction(mean: float, spread: float, level: float, k: int) -> Interval | None:
    if k < 3:
        return None
    half = float(scipy_stats.t.ppf(0.5 + level / 2, k - 2)) * spread
    return Interval(mean, mean - half, mean + half, level, k, "prediction for a new center, t(k-2)")
