"""Does a number that is measured again and again still behave as it did at first? Control charts of individual values.

Limits come from a stated baseline, the first values, and stay as they are; later values are judged by them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

# mean range of two normal values in units of their standard deviation: 2 / sqrt(pi) = 1.128
D2 = 2 / np.sqrt(np.pi)
MINIMUM_BASELINE = 2
Rule = Literal["beyond limits", "one side", "trend", "ewma beyond limits"]


@dataclass(frozen=True)
class Flag:
    """A rule that was broken at position `index`, the last of the values that broke it."""

    index: int
    rule: Rule


@dataclass(frozen=True)
class Chart:
    """Center line, standard deviation and limits of a chart, and where its values broke a rule.

    Attributes
    ----------
    values
        As given, in order.
    center, sigma
        Mean of the baseline, and its standard deviation by the mean moving range.
    lower, upper
        Limits at each value; constant for individual values, widening to a constant for the weighted average.
    n_baseline
        Values that the limits rest on.
    statistic
        What is compared with the limits: the values themselves, or their weighted average.
    flags
        In order of `index`.
    method
        In words.
    """

    values: NDArray[np.float64]
    center: float
    sigma: float
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    n_baseline: int
    statistic: NDArray[np.float64]
    flags: tuple[Flag, ...]
    method: str


def individuals_chart(
    values: ArrayLike,
    *,
    n_baseline: int,
    n_sigma: float = 3.0,
    run_length: int = 8,
    trend_length: int = 6,
    center: float | None = None,
    sigma: float | None = None,
) -> Chart:
    """Shewhart's chart of individual values, limits by the moving range.

    sigma = mean |x_i - x_(i-1)| / 1.128 over the first `n_baseline` values, limits = their mean -+ `n_sigma` sigma. Three
    rules: a value beyond the limits, `run_length` in a row on one side of the center line, `trend_length` in a row that
    rise or fall each time. A value on the center line is on neither side, two equal ones end a trend. Values without any
    variation in the baseline give limits of no width, so that every other value is beyond them.

    Parameters
    ----------
    values : array_like, shape (n,)
        In order of time; the baseline comes first and is judged too.
    n_baseline : int
        From 2 on; 20 or more make limits that hold.
    n_sigma, run_length, trend_length : float, int, int
        Of the rules.
    center, sigma : float or None
        Known values instead of those of the baseline.

    Raises
    ------
    ValueError
        If a value is not finite, fewer than `n_baseline` values are given, or an option is out of its range.

    References
    ----------
    Shewhart 1931; Nelson 1984, doi:10.1080/00224065.1984.11978921 (his rule 1 and 3, and 2 with 8 in a row as
    Montgomery, Introduction to Statistical Quality Control, section 5.3.3); d2 after NIST/SEMATECH e-Handbook 6.3.2.2.
    """
    x = _checked(values, n_baseline)
    if not n_sigma > 0:
        raise ValueError(f"n_sigma must be positive, got {n_sigma:g}")
    if run_length < 2 or trend_length < 3:
        raise ValueError(
            f"run_length must be at least 2 and trend_length at least 3, got {run_length} and {trend_length}"
        )
    middle, spread = _baseline(x[:n_baseline], center, sigma)
    half = n_sigma * spread
    beyond = (x < middle - half) | (x > middle + half)
    side = np.sign(x - middle)
    step = np.sign(np.diff(x, prepend=x[0]))
    flags = [
        *_flags(beyond, "beyond limits"),
        *_flags(_in_a_row(side) >= run_length, "one side"),
        # six values that rise are five rises
        *_flags(_in_a_row(step) >= trend_length - 1, "trend"),
    ]
    return Chart(
        values=x,
        center=middle,
        sigma=spread,
        lower=np.full(x.size, middle - half),
        upper=np.full(x.size, middle + half),
        n_baseline=n_baseline,
        statistic=x,
        flags=_ordered(flags),
        method=f"individual values, limits at {n_sigma:g} sigma by the moving range of the first {n_baseline}",
    )


def ewma_chart(
    values: ArrayLike,
    *,
    n_baseline: int,
    weight: float = 0.2,
    n_sigma: float = 3.0,
    center: float | None = None,
    sigma: float | None = None,
) -> Chart:
    """Chart of the exponentially weighted moving average, which finds small lasting shifts sooner.

    z_i = w x_i + (1 - w) z_(i-1), z_0 = center; limits = center -+ `n_sigma` sigma sqrt(w / (2 - w) (1 - (1 - w)^(2i))).

    Parameters
    ----------
    values, n_baseline, n_sigma, center, sigma
        As in :func:`individuals_chart`.
    weight : float
        Of the newest value, in (0, 1]; with 1 it is the chart of individual values.

    Raises
    ------
    ValueError
        As :func:`individuals_chart`.

    References
    ----------
    Roberts 1959, doi:10.1080/00401706.1959.10489860; Lucas and Saccucci 1990, doi:10.1080/00401706.1990.10484583.
    """
    x = _checked(values, n_baseline)
    if not 0 < weight <= 1:
        raise ValueError(f"weight must lie in (0, 1], got {weight:g}")
    if not n_sigma > 0:
        raise ValueError(f"n_sigma must be positive, got {n_sigma:g}")
    middle, spread = _baseline(x[:n_baseline], center, sigma)
    smooth = np.empty(x.size)
    last = 0.0
    for index, value in enumerate(x - middle):
        last = weight * float(value) + (1 - weight) * last
        smooth[index] = last
    age = np.arange(1, x.size + 1)
    half = n_sigma * spread * np.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * age)))
    return Chart(
        values=x,
        center=middle,
        sigma=spread,
        lower=middle - half,
        upper=middle + half,
        n_baseline=n_baseline,
        statistic=middle + smooth,
        flags=_ordered(_flags(np.abs(smooth) > half, "ewma beyond limits")),
        method=(
            f"weighted average with weight {weight:g} of the newest, limits at {n_sigma:g} sigma by the moving range of "
            f"the first {n_baseline}"
        ),
    )


def _checked(values: ArrayLike, n_baseline: int) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"values must be one row of numbers, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("values must be finite; leave out what was not measured")
    if n_baseline < MINIMUM_BASELINE:
        raise ValueError(f"a baseline needs at least {MINIMUM_BASELINE} values, got n_baseline = {n_baseline}")
    if x.size < n_baseline:
        raise ValueError(f"the baseline of {n_baseline} values is not complete: {x.size} given")
    return x


def _baseline(first: NDArray[np.float64], center: float | None, sigma: float | None) -> tuple[float, float]:
    if sigma is not None and not sigma >= 0:
        raise ValueError(f"sigma cannot be negative, got {sigma:g}")
    # equal values have exactly themselves as mean, which the sum of many may miss by a rounding
    equal = bool((first == first[0]).all())
    mean = float(first[0]) if equal else float(first.mean())
    spread = float(np.abs(np.diff(first)).mean() / D2)
    return mean if center is None else float(center), spread if sigma is None else float(sigma)


def _in_a_row(signs: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many values up to each one have its sign; 0 where the sign is 0."""
    counts = np.zeros(signs.size, dtype=np.int64)
    for index, sign in enumerate(signs):
        follows = index > 0 and sign == signs[index - 1]
        counts[index] = 0 if sign == 0 else (counts[index - 1] + 1 if follows else 1)
    return counts


def _flags(broken: NDArray[np.bool_], rule: Rule) -> list[Flag]:
    return [Flag(int(index), rule) for index in np.flatnonzero(broken)]


def _ordered(flags: Sequence[Flag]) -> tuple[Flag, ...]:
    return tuple(sorted(flags, key=lambda flag: flag.index))
