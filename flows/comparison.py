"""What do the pairs of one phenotype, arm and reference say: bias, limits, tests, centers, failures, verdict?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.analysis_plan import AnalysisPlan
from flows.center_consistency import Readings, center_consistency
from flows.descriptive import as_dict, descriptive
from flows.margins import Margin
from flows.pairing import Pairs, ScanPairs
from flows.verdicts import decide, sensitivity
from stats.agreement_test import exact_agreement
from stats.bland_altman import BlandAltman, bland_altman, repeated
from stats.centers import center_mean, summarize
from stats.equivalence import has_no_spread, limits_within, tost_paired
from stats.intervals import mean_interval
from stats.tipping_point import tipping_point

FEWEST_FOR_LIMITS = 3
# they rest on the spread of single readings, which means of replicates do not have
OF_SINGLE_READINGS = (
    *("icc", "icc_consistency", "ccc", "heteroscedasticity_p", "nonparametric_lower", "nonparametric_upper"),
    *("percent_lower", "percent_upper", "tdi95", "within_share"),
)
Row = dict[str, Any]


def compare(
    phenotype: str,
    pairs: Pairs,
    plan: AnalysisPlan,
    diseases: dict[tuple[str, str], str | None],
    *,
    pooled_fields: bool,
) -> tuple[Row, list[Row]]:
    """One entry of ``agreement`` and the entries of its centers.

    Parameters
    ----------
    phenotype, pairs
        What is compared.
    plan
        What was fixed beforehand.
    diseases
        By center and patient.
    pooled_fields
        The values depend on field strength and come from several: no statement about absolute values.
    """
    margin, options = plan.margins.by_phenotype.get(phenotype), plan.options
    difference = pairs.test - pairs.reference
    n = difference.size
    row: Row = {"attempted": pairs.attempted, "n": n, "failed": pairs.attempted - n}
    row |= {"bias": bias_of(difference, options.confidence), "sd": float(difference.std(ddof=1)) if n > 1 else None}
    limits = _pair_limits(pairs, None, options.confidence)
    row |= limit_ends(limits)
    row |= {"tost": _tost(difference, margin, options.alpha), "limits_within_margin": _within(limits, margin)}
    row["agreement_test"] = _agreement_test(difference, margin, options.alpha)
    row["descriptive"] = descriptive(
        pairs.reference, pairs.test, margin, options.confidence, pooled_fields=pooled_fields
    )
    icc = row["descriptive"]["icc"]
    row["icc"] = icc and icc | {"form": "A,1"}
    row["center_level"] = _center_level(pairs, options.confidence)
    centers = _by_center(pairs, options.confidence)
    row["center_consistency"] = center_consistency(
        difference, pairs.center, centers, margin, options, readings=_readings(pairs)
    )
    row["sensitivity"] = _sensitivity(difference, pairs, margin, plan)
    row["replicates"] = None
    if pairs.scans is not None:
        _for_single_scans(row, pairs.scans, limits)
    row["verdict"], row["reason"] = decide(row, margin, minimum_patients=options.minimum_patients)
    values = zip(pairs.center, pairs.patient, pairs.reference.tolist(), pairs.test.tolist(), strict=True)
    row["pairs"] = [
        {"center": c, "patient": p, "disease": diseases.get((c, p)), "reference": r, "test": t} for c, p, r, t in values
    ]
    return row, centers


def bias_of(difference: NDArray[np.float64], confidence: float) -> Row | None:
    """Mean difference with Student's interval; without ends for one patient, None for none."""
    if difference.size == 0:
        return None
    if difference.size == 1:
        return {"estimate": float(difference[0]), "low": None, "high": None}
    return as_dict(mean_interval(difference, confidence=confidence))


def limit_ends(limits: BlandAltman | None) -> Row:
    """``lower_limit upper_limit`` of results.json."""
    return {
        "lower_limit": as_dict(limits.lower_limit) if limits else None,
        "upper_limit": as_dict(limits.upper_limit) if limits else None,
    }


def _limits(reference: NDArray[np.float64], test: NDArray[np.float64], confidence: float) -> BlandAltman | None:
    return bland_altman(reference, test, confidence=confidence) if reference.size >= FEWEST_FOR_LIMITS else None


def _pair_limits(pairs: Pairs, kept: NDArray[np.intp] | None, confidence: float) -> BlandAltman | None:
    """Limits for a single scan, of all patients or of some; those of means of scans would be too narrow."""
    chosen = np.arange(pairs.reference.size) if kept is None else kept
    scans = pairs.scans
    if scans is not None and chosen.size >= FEWEST_FOR_LIMITS:
        mine = np.isin(scans.patient, chosen)
        x, y, patient = scans.reference[mine], scans.test[mine], scans.patient[mine]
        if patient.size > chosen.size:
            return repeated(x, y, patient, truth="varying", confidence=confidence)
    return _limits(pairs.reference[chosen], pairs.test[chosen], confidence)


def _readings(pairs: Pairs) -> Readings | None:
    if pairs.scans is None:
        return None
    names = [pairs.center[place] for place in pairs.scans.patient.tolist()]
    return pairs.scans.test - pairs.scans.reference, names, pairs.scans.patient.tolist()


def _for_single_scans(row: Row, scans: ScanPairs, limits: BlandAltman | None) -> None:
    row["sd"] = limits.sd.estimate if limits else None
    leave_out_single_readings(row)
    many = scans.patient.size
    row["replicates"] = {"truth": "varying", "readings_reference": many, "readings_test": many, "unpaired_readings": 0}


def leave_out_single_readings(row: Row) -> None:
    """Leave out what rests on the spread of single readings and was made of means of several."""
    row["agreement_test"], row["icc"] = None, None
    row["descriptive"] |= dict.fromkeys(OF_SINGLE_READINGS)


def _tost(difference: NDArray[np.float64], margin: Margin | None, alpha: float) -> Row | None:
    if margin is None or difference.size < FEWEST_FOR_LIMITS:
        return None
    test = tost_paired(difference, lower=margin.lower, upper=margin.upper, alpha=alpha)
    return {
        "p_lower": test.p_lower,
        "p_upper": test.p_upper,
        "p": test.p,
        "low": test.interval.low,
        "high": test.interval.high,
        "alpha": alpha,
        "equivalent": test.equivalent,
        "margin": margin.bias,
        "margin_lower": margin.lower,
        "margin_upper": margin.upper,
    }


def _within(limits: BlandAltman | None, margin: Margin | None) -> bool | None:
    if limits is None or margin is None:
        return None
    return limits_within(limits, lower=-margin.limits, upper=margin.limits)


def _agreement_test(difference: NDArray[np.float64], margin: Margin | None, alpha: float) -> Row | None:
    """Shieh's exact test that 95 % lie inside the margin of the limits; beside the verdict, not part of it."""
    if margin is None or difference.size < FEWEST_FOR_LIMITS:
        return None
    test = exact_agreement(difference, limit=margin.limits, alpha=alpha)
    return {"p": test.p, "shown": test.shown}


def _sensitivity(
    difference: NDArray[np.float64], pairs: Pairs, margin: Margin | None, plan: AnalysisPlan
) -> Row | None:
    if margin is None:
        return None
    options, tipping = plan.options, None
    attempted, enough = pairs.attempted, difference.size >= max(FEWEST_FOR_LIMITS, options.minimum_patients)
    if enough and pairs.scans is None and not has_no_spread(float(difference.std(ddof=1)), margin.limits):
        tipping = tipping_point(
            difference,
            lower=margin.lower,
            upper=margin.upper,
            limit=margin.limits,
            alpha=options.alpha,
            confidence=options.confidence,
        )
    inside = int(np.count_nonzero(np.abs(difference) < margin.limits))
    failed = attempted - difference.size
    return sensitivity(inside, attempted, failed, margin, confidence=options.confidence, tipping=tipping)


def _center_level(pairs: Pairs, confidence: float) -> Row | None:
    """Bias with centers as the unit (REML, t(K - 1)), from 3 centers on."""
    difference = pairs.test - pairs.reference
    groups = summarize(difference, pairs.center) if pairs.center else []
    if len(groups) < FEWEST_FOR_LIMITS or not any(group.sd for group in groups):
        return None
    result = center_mean(difference, pairs.center, confidence=confidence)
    prediction = as_dict(result.prediction) if result.prediction else None
    between = {"tau": float(np.sqrt(result.tau2.estimate)), "i2_percent": result.i2_percent, "prediction": prediction}
    return as_dict(result.estimate) | {"n_centers": result.n_centers, "method": result.estimate.method} | between


def _by_center(pairs: Pairs, confidence: float) -> list[Row]:
    rows = []
    for center, kept in pairs.by_center():
        reference, test = pairs.reference[kept], pairs.test[kept]
        row = {"center": center, "n": reference.size, "bias": bias_of(test - reference, confidence)}
        rows.append(row | limit_ends(_pair_limits(pairs, kept, confidence)))
    return rows
