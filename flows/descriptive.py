"""Which numbers describe a comparison without deciding it: correlations, slopes, quantiles, percent, share inside?"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flows.margins import Margin
from stats.association import pearson
from stats.icc import concordance, icc
from stats.intervals import Interval
from stats.log_limits import percent_limits
from stats.nonparametric_limits import quantile_limits, share_within
from stats.total_deviation import tdi
from stats.varying_limits import proportional_bias

Values = NDArray[np.float64]
Row = dict[str, Any]
T = TypeVar("T")
CORRELATIONS = ("pearson", "icc", "icc_consistency", "ccc")


def descriptive(
    reference: Values, test: Values, margin: Margin | None, confidence: float, *, pooled_fields: bool
) -> Row:
    """Everything under ``descriptive`` of a comparison; None where the data do not allow a number.

    Correlations depend on how varied the cohort is, and decide nothing. Where values come from several field strengths
    (`pooled_fields`) whatever rests on the spread of absolute values is left out.
    """
    found = _correlations(reference, test, confidence) if not pooled_fields else dict.fromkeys(CORRELATIONS)
    line = None if pooled_fields else _tried(lambda: proportional_bias(reference, test, confidence=confidence))
    found |= {"slope": line and as_dict(line.slope), "heteroscedasticity_p": line and line.heteroscedasticity_p}
    return found | _quantiles(test - reference, margin, confidence) | _percent(reference, test, confidence)


def _correlations(reference: Values, test: Values, confidence: float) -> Row:
    both = np.column_stack([reference, test])
    numbers: tuple[Callable[[], Interval], ...] = (
        lambda: pearson(reference, test, confidence=confidence),
        lambda: icc(both, form="A,1", confidence=confidence),
        lambda: icc(both, form="C,1", confidence=confidence),
        lambda: concordance(reference, test, confidence=confidence),
    )
    tried = [_tried(number) for number in numbers]
    return {name: number and as_dict(number) for name, number in zip(CORRELATIONS, tried, strict=True)}


def _quantiles(difference: Values, margin: Margin | None, confidence: float) -> Row:
    """Median and quantiles without a distribution, the size that 95 % do not exceed, and who is inside the margin."""
    limits = _tried(lambda: quantile_limits(difference, confidence=confidence))
    size = _tried(lambda: tdi(difference, confidence=confidence))
    inside = None
    if margin is not None and difference.size:
        inside = as_dict(share_within(difference, limit=margin.limits, confidence=confidence))
    return {
        "median_difference": float(np.median(difference)) if difference.size else None,
        "nonparametric_lower": limits and as_dict(limits.lower_limit),
        "nonparametric_upper": limits and as_dict(limits.upper_limit),
        "tdi95": size and {"estimate": size.estimate, "low": None, "high": size.upper},
        "within_share": inside,
    }


def _percent(reference: Values, test: Values, confidence: float) -> Row:
    """Bias and limits in percent of the mean of both; None unless all values are above 0."""
    limits = _tried(lambda: percent_limits(reference, test, confidence=confidence))
    parts = {"percent_bias": "bias", "percent_lower": "lower_limit", "percent_upper": "upper_limit"}
    return {name: limits and as_dict(getattr(limits, part)) for name, part in parts.items()}


def as_dict(interval: Interval) -> Row:
    """An interval as results.json has it."""
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _tried(number: Callable[[], T]) -> T | None:
    """The number, None where too few or equal values leave it undefined (``stats`` says so by ValueError)."""
    try:
        return number()
    except ValueError:
        return None
