"""Would bias and limits look different if nothing were assumed of the distribution, and centers were drawn anew?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.analysis_plan import RESAMPLES_OF_LIMITS, AnalysisPlan
from flows.descriptions import FULLY_SAMPLED
from stats.clustered_bootstrap import BootstrapInterval, bootstrap_agreement

Row = dict[str, Any]


def add_robustness(agreement: Sequence[Row], plan: AnalysisPlan) -> Row | None:
    """Put bootstrap intervals under ``robustness`` of every comparison with the fully sampled images.

    Centers are drawn, then patients within them (fewer than 10 centers: patients within each center), with all that was
    measured of a patient together. The verdict rests on the exact intervals; these stand beside them.

    Returns
    -------
    dict or None
        ``scheme n_resamples n_patients n_centers notes`` of the draws; None where nobody can be drawn.
    """
    rows = [row for row in agreement if row["against"] == FULLY_SAMPLED]
    for row in agreement:
        row["robustness"] = None
    people = sorted({(pair["center"], pair["patient"]) for row in rows for pair in row["pairs"]})
    if len(people) < 2:
        return None
    place = {key: index for index, key in enumerate(people)}
    differences = np.full((len(people), len(rows)), np.nan)
    for column, row in enumerate(rows):
        at = [place[pair["center"], pair["patient"]] for pair in row["pairs"]]
        differences[at, column] = [pair["test"] - pair["reference"] for pair in row["pairs"]]
    margins = [plan.margins.by_phenotype.get(row["phenotype"]) for row in rows]
    drawn = bootstrap_agreement(
        differences,
        [center for center, _ in people],
        rng=np.random.default_rng(plan.options.seed),
        margin=np.array([margin.limits if margin else np.nan for margin in margins]),
        confidence=plan.options.confidence,
        n_resamples=RESAMPLES_OF_LIMITS,
    )
    for row, found in zip(rows, drawn.columns, strict=True):
        if found is not None and not row.get("replicates"):  # limits of means of several scans are not those of one
            row["robustness"] = {
                name: _entry(part)
                for name in ("bias", "lower_limit", "upper_limit", "within_share")
                if (part := getattr(found, name if name != "within_share" else "share_within")) is not None
            }
    facts = {"scheme": drawn.scheme, "n_resamples": drawn.n_resamples}
    return facts | {"n_patients": drawn.n_patients, "n_centers": drawn.n_centers, "notes": list(drawn.notes)}


def _entry(part: BootstrapInterval) -> Row:
    """The interval, and how much another seed would move its ends."""
    interval = part.interval
    ends = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    return ends | {"low_error": part.low_error, "high_error": part.high_error}
