"""Does an effect hold from center to center, and what should a new center expect?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.heterogeneity import cochran_q, tau2_dl, tau2_interval, tau2_reml, typical_variance
from stats.intervals import Interval, checked_fraction, finite_vector, paired_vectors

Method = Literal["DL", "REML"]
FEW_CENTERS = 5


@dataclass(frozen=True)
class RandomEffects:
    """Mean over centers, spread between them and what to expect in the next one.

    `tau2` is the variance between centers (squared unit of the effects), `q` Cochran's statistic with `q_p` its
    p-value, `i2_percent` the share of the variation that is between centers, `h2` total over within variation, with the
    interval of `i2_percent` from that of tau2. `prediction` is None for fewer than 3 centers. `statement` says in words
    how far the spread between centers can be trusted.
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
    i2_interval: Interval
    statement: str


@dataclass(frozen=True)
class Center:
    """Bias of one center: its subjects, mean difference and standard deviation (None for a single subject)."""

    name: str
    n: int
    mean: float
    sd: float | None


@dataclass(frozen=True)
class LeftOut:
    """What the other centers say without the one named."""

    name: str
    effects: RandomEffects


@dataclass(frozen=True)
class ForestRow:
    """A line of a forest plot: a center, its mean with interval, and its share of the weight."""

    name: str
    n: int
    interval: Interval
    weight_percent: float


@dataclass(frozen=True)
class PooledCenters:
    """Rows by center, random effects over them, SD within centers with its degrees of freedom, all as one sample."""

    rows: tuple[ForestRow, ...]
    effects: RandomEffects
    within_sd: float
    within_freedom: int
    total: Center


def random_effects(
    effects: ArrayLike,
    variances: ArrayLike,
    *,
    method: Method = "REML",
    knapp_hartung: bool | Literal["modified"] = True,
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
    knapp_hartung : bool or "modified"
        True: scale the standard error by the observed spread and use t(k - 1) (Knapp and Hartung 2003,
        doi 10.1002/sim.1482). "modified": the scale never below 1, so that centers which agree by chance do not
        narrow the interval (Roever, Knapp and Friede 2015, doi 10.1186/s12874-015-0091-1). False: normal.
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
    if knapp_hartung not in (True, False, "modified"):
        raise ValueError(f"knapp_hartung must be True, False or 'modified', got {knapp_hartung!r}")
    k, q = y.size, cochran_q(y, v, 0.0)
    tau2 = tau2_dl(y, v, q) if method == "DL" else tau2_reml(y, v)
    w = 1 / (v + tau2)
    mean, wald = float((w * y).sum() / w.sum()), math.sqrt(1 / float(w.sum()))
    scale = math.sqrt(cochran_q(y, v, tau2) / (k - 1)) if knapp_hartung else 1.0
    if knapp_hartung == "modified":
        scale = max(scale, 1.0)
    upper = 0.5 + level / 2
    reach = float(scipy_stats.t.ppf(upper, k - 1) if knapp_hartung else scipy_stats.norm.ppf(upper))
    half = reach * wald * scale
    kind = "modified Knapp-Hartung t(k-1)" if knapp_hartung == "modified" else "Knapp-Hartung t(k-1)"
    name = f"{method}, {kind if knapp_hartung else 'normal'}"
    typical, (low, high) = typical_variance(v), tau2_interval(y, v, level)
    share, share_low, share_high = (100 * t / (t + typical) for t in (tau2, low, high))
    return RandomEffects(
        n_centers=k,
        estimate=Interval(mean, mean - half, mean + half, level, k, name),
        standard_error=wald * scale,
        tau2=Interval(tau2, low, high, level, k, f"{method}, Q-profile"),
        i2_percent=share,
        h2=(tau2 + typical) / typical,
        q=q,
        q_p=float(scipy_stats.chi2.sf(q, k - 1)),
        prediction=_prediction(mean, math.sqrt(tau2 + wald**2), level, k),
        method=name,
        i2_interval=Interval(share, share_low, share_high, level, k, f"I2 (percent), {method}, Q-profile"),
        statement=_statement(k),
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
    return from_summaries(summarize(values, centers), confidence=confidence).effects


def from_summaries(
    summaries: Sequence[Center],
    *,
    variance: Literal["pooled", "own"] = "pooled",
    method: Method = "REML",
    knapp_hartung: bool | Literal["modified"] = True,
    confidence: float = 0.95,
) -> PooledCenters:
    """Random effects over centers of which only number, mean and standard deviation are known.

    With `pooled` variance this equals what the subjects' own values give (`center_mean`), to rounding.

    Parameters
    ----------
    summaries : sequence of Center
        One per center; SD None for one subject.
    variance : {"pooled", "own"}
        Squared error of a center's mean: the variance within centers, pooled, over its n; or its own SD, squared, over
        its n, for centers that measure with different precision and have enough subjects each.

    Returns
    -------
    PooledCenters
        Rows for a forest plot, the random effects, and number, mean and SD of all subjects as one sample.

    Raises
    ------
    ValueError
        For fewer than 2 centers, a name twice, a center without subjects or with an SD that does not fit its number, no
        variation within any center, or with `own` a center without a variance of its own.
    """
    _check_summaries(summaries)
    freedom = sum(c.n - 1 for c in summaries)
    squares = sum((c.n - 1) * c.sd**2 for c in summaries if c.sd is not None)
    if len(summaries) < 2 or freedom == 0 or squares == 0.0:
        raise ValueError(
            f"{len(summaries)} centers with {freedom} spare subjects do not give a variance within centers"
        )
    if variance not in ("pooled", "own"):
        raise ValueError(f"variance must be pooled or own, got {variance!r}")
    if variance == "own" and any(not c.sd for c in summaries):
        raise ValueError("own variances need 2 differing subjects in every center; use pooled ones")
    pooled = squares / freedom
    errors = np.array([(pooled if variance == "pooled" else (c.sd or 0.0) ** 2) / c.n for c in summaries])
    means = np.array([c.mean for c in summaries])
    effects = random_effects(means, errors, method=method, knapp_hartung=knapp_hartung, confidence=confidence)
    weights = 1 / (errors + effects.tau2.estimate)
    rows = []
    for center, error, weight in zip(summaries, errors, weights / weights.sum(), strict=True):
        df = freedom if variance == "pooled" else center.n - 1
        half = float(scipy_stats.t.ppf(0.5 + confidence / 2, df)) * math.sqrt(error)
        name = f"mean, {variance} variance, t({df})"
        interval = Interval(center.mean, center.mean - half, center.mean + half, confidence, center.n, name)
        rows.append(ForestRow(center.name, center.n, interval, 100 * float(weight)))
    return PooledCenters(tuple(rows), effects, math.sqrt(pooled), freedom, combined(summaries))


def combined(summaries: Sequence[Center], *, name: str = "all") -> Center:
    """Number, mean and SD of all subjects as one sample, from those of its parts; exact.

    Raises
    ------
    ValueError
        As `from_summaries`, for the summaries themselves.
    """
    _check_summaries(summaries)
    n = sum(c.n for c in summaries)
    mean = sum(c.n * c.mean for c in summaries) / n
    squares = sum((c.n - 1) * (c.sd or 0.0) ** 2 + c.n * (c.mean - mean) ** 2 for c in summaries)
    return Center(name, n, mean, math.sqrt(squares / (n - 1)) if n > 1 else None)


def leave_one_out(
    effects: ArrayLike,
    variances: ArrayLike,
    names: Sequence[str],
    *,
    method: Method = "REML",
    knapp_hartung: bool | Literal["modified"] = True,
    confidence: float = 0.95,
) -> list[LeftOut]:
    """Random effects without each center in turn; parameters and errors as `random_effects`, from 3 centers on."""
    y, v = paired_vectors(effects, variances, names=("effects", "variances"), at_least=3)
    if len(names) != y.size:
        raise ValueError(f"{y.size} effects but {len(names)} center names")
    kept = ~np.eye(y.size, dtype=bool)
    return [
        LeftOut(
            name,
            random_effects(y[rows], v[rows], method=method, knapp_hartung=knapp_hartung, confidence=confidence),
        )
        for name, rows in zip(names, kept, strict=True)
    ]


def _check_summaries(summaries: Sequence[Center]) -> None:
    names = [c.name for c in summaries]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected one summary per center, got {names}")
    for c in summaries:
        fits = c.sd is None if c.n == 1 else c.sd is not None and math.isfinite(c.sd) and c.sd >= 0
        if c.n < 1 or not fits or not math.isfinite(c.mean):
            raise ValueError(f"center {c.name}: expected n >= 1, a finite mean, and an SD exactly if n > 1; got {c}")


def _statement(k: int) -> str:
    if k < FEW_CENTERS:
        return f"{k} centers: with fewer than {FEW_CENTERS} the spread between centers is hardly estimable"
    return f"{k} centers: the spread between centers is estimated with the uncertainty that its interval shows"


def _prediction(mean: float, spread: float, level: float, k: int) -> Interval | None:
    if k < 3:
        return None
    half = float(scipy_stats.t.ppf(0.5 + level / 2, k - 2)) * spread
    return Interval(mean, mean - half, mean + half, level, k, "prediction for a new center, t(k-2)")
