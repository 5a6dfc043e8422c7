"""Do a study's numbers drift from run to run? Series of biases, their control charts, and verdicts that became worse."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

from cohort.records import ConfigProblem
from flows.history_store import History
from reports.tables import METHOD_LABELS, PATTERN_LABELS, arm_label, decimals, number, phenotype_unit, symbol
from stats.control_charts import Chart, ewma_chart, individuals_chart

Kind = Literal["individuals", "ewma"]
Row = Mapping[str, Any]
BASELINE = 20
MOST_DIGITS = 12
FULLY_SAMPLED = "fully_sampled"
# from the best to the worst
VERDICTS = ("shown", "bias only", "not shown", "too few")
RULES = {
    "beyond limits": "the bias lies beyond its control limits",
    "one side": "8 runs in a row on one side of the center line",
    "trend": "6 runs in a row that rise or fall",
    "ewma beyond limits": "the weighted average of the bias lies beyond its control limits",
}
# what a jump may come from: columns of a run and how they are called
CAUSES = {
    "commit_sha": "code",
    "version": "version",
    "weights": "weights",
    "plan_sha256": "plan",
    "config_sha256": "configuration",
    "inputs_sha256": "scans",
    "device": "device",
}


@dataclass(frozen=True)
class ChartOptions:
    """How series are judged.

    Attributes
    ----------
    kind
        ``individuals`` (Shewhart, with its rules) or ``ewma``.
    baseline
        How many runs, the first ones, the limits rest on.
    n_sigma
        Distance of the limits.
    weight
        Of the newest run, for ``ewma``.
    """

    kind: Kind = "individuals"
    baseline: int = BASELINE
    n_sigma: float = 3.0
    weight: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in ("individuals", "ewma"):
            raise ConfigProblem(f"chart: expected individuals or ewma, got {self.kind!r}")
        if self.baseline < 2 or not self.n_sigma > 0 or not 0 < self.weight <= 1:
            raise ConfigProblem("chart: the baseline needs 2 runs or more, sigma is positive, a weight lies in (0, 1]")


@dataclass(frozen=True)
class Series:
    """A phenotype and arm over the runs of a study, those with a bias; the chart is None while the baseline is not full."""

    study: str
    phenotype: str
    arm: str
    against: str
    rows: tuple[Row, ...]
    n_without: int
    chart: Chart | None

    @property
    def title(self) -> str:
        """As people call it."""
        return f"{symbol(self.phenotype)}, {arm_text(self.arm)}" + (
            "" if self.against == FULLY_SAMPLED else f" against {self.against}"
        )


@dataclass(frozen=True)
class Finding:
    """What drifted, in which run, and a sentence that says so."""

    study: str
    phenotype: str
    arm: str
    run_id: str
    started_utc: datetime
    rule: str
    text: str


def series_of(rows: Iterable[Row], options: ChartOptions) -> list[Series]:
    """Rows of :meth:`flows.history_store.History.comparisons`, oldest first, as charts."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["study"], row["phenotype"], row["arm"], row["against"]), []).append(row)
    made = []
    # by study; within it as the rows come
    for key, group in sorted(groups.items(), key=lambda item: item[0][0]):
        usable = tuple(row for row in group if row["bias"] is not None)
        chart = None
        if len(usable) >= options.baseline:
            values = [row["bias"] for row in usable]
            if options.kind == "ewma":
                chart = ewma_chart(values, n_baseline=options.baseline, weight=options.weight, n_sigma=options.n_sigma)
            else:
                chart = individuals_chart(values, n_baseline=options.baseline, n_sigma=options.n_sigma)
        made.append(Series(*key, rows=usable, n_without=len(group) - len(usable), chart=chart))
    return made


def chart_findings(series: Series) -> list[Finding]:
    """Where a series broke a rule after its baseline."""
    if series.chart is None:
        return []
    chart, digits = series.chart, decimals(series.phenotype)
    found = []
    for flag in chart.flags:
        if flag.index < chart.n_baseline:
            continue
        row = series.rows[flag.index]
        causes = changed(series.rows[flag.index - 1], row)
        value, low, high = _beside(
            float(chart.statistic[flag.index]), (float(chart.lower[flag.index]), float(chart.upper[flag.index])), digits
        )
        unit = phenotype_unit(series.phenotype)
        text = f"{series.title}: {RULES[flag.rule]}; {value}, limits {low} to {high}{f' {unit}' if unit else ''}"
        if causes:
            text += f"; changed since the run before: {', '.join(causes)}"
        found.append(_finding(row, flag.rule, text))
    return found


def verdict_findings(before: Iterable[Row], after: Iterable[Row]) -> list[Finding]:
    """Verdicts of a run that are worse than in the run before, and claims that are gone."""
    known = {(row["phenotype"], row["arm"], row["against"]): row for row in before}
    found = []
    for row in after:
        old = known.get((row["phenotype"], row["arm"], row["against"]))
        if old is None:
            continue
        worse = _rank(row["verdict"]) > _rank(old["verdict"])
        if not worse and not (old["claimed"] and row["claimed"] is False):
            continue
        title = Series(row["study"], row["phenotype"], row["arm"], row["against"], (), 0, None).title
        causes = changed(old, row)
        tail = f"; changed since the run before: {', '.join(causes)}" if causes else ""
        if worse:
            words = f"{title}: the verdict worsened from {old['verdict']!r} to {row['verdict']!r}: {row['reason']}"
            found.append(_finding(row, "verdict worsened", words + tail))
        else:
            found.append(_finding(row, "claim lost", f"{title}: what was claimed no longer is{tail}"))
    return found


def drift(
    history: History, *, study: str = "", options: ChartOptions, phenotype: str = ""
) -> tuple[list[Finding], list[Series]]:
    """Findings in all runs, oldest first, and the series judged.

    Judged are differences from fully sampled of the phenotypes that carry the claim in the newest run of each study (all
    that have margins, where its plan names none), or of `phenotype`. Verdicts are compared with the run before.
    """
    newest = {run["study"]: run for run in history.runs(study=study)}
    wanted = (
        [phenotype] if phenotype else sorted({name for run in newest.values() for name in run["primary_phenotypes"]})
    )
    rows = history.comparisons(study=study, phenotypes=wanted, against=FULLY_SAMPLED) if wanted else []
    chosen = [
        row
        for row in rows
        if phenotype or row["phenotype"] in newest.get(row["study"], {}).get("primary_phenotypes", ())
    ]
    series = series_of(chosen, options)
    found = [finding for one in series for finding in chart_findings(one)]
    by_run: dict[str, dict[str, list[Row]]] = {}
    for row in chosen:
        by_run.setdefault(row["study"], {}).setdefault(row["run_id"], []).append(row)
    for runs in by_run.values():
        in_order = list(runs.values())
        for before, after in pairwise(in_order):
            found += verdict_findings(before, after)
    return sorted(found, key=lambda f: (f.started_utc, f.run_id, f.phenotype, f.arm)), series


def worsened(history: History, run_id: str) -> tuple[Finding, ...]:
    """Verdicts of a run that are worse than in the run of the same study before it, of all phenotypes."""
    before = history.before(history.run(run_id))
    if before is None:
        return ()
    old, new = (history.comparisons(run_id=name, against=FULLY_SAMPLED) for name in (before["run_id"], run_id))
    return tuple(verdict_findings(old, new))


def changed(before: Row, after: Row) -> list[str]:
    """What two runs do not share: code, weights, plan, scans..."""
    return [name for column, name in CAUSES.items() if before.get(column) != after.get(column)]


def arm_text(arm: str) -> str:
    """An arm's name for people, from the parts of its name: method, pattern, acceleration."""
    if arm in METHOD_LABELS:
        return METHOD_LABELS[arm]
    known = re.fullmatch(rf"({'|'.join(METHOD_LABELS)})_({'|'.join(PATTERN_LABELS)})(\d+(?:\.\d+)?)", arm)
    if known is None:
        return arm
    return arm_label({"method": known[1], "pattern": known[2], "acceleration": float(known[3])})


def judged(series: Sequence[Series]) -> str:
    """How many series have limits, in words."""
    full = [one for one in series if one.chart is not None]
    return f"{len(full)} of {len(series)} series have a full baseline and are judged by their limits"


def _beside(value: float, ends: Sequence[float], digits: int) -> list[str]:
    """A value and limits with so many digits that it can be seen to lie beyond them."""
    while digits < MOST_DIGITS and any(round(value, digits) == round(end, digits) for end in ends if end != value):
        digits += 1
    return [number(one, digits, signed=True) for one in (value, *ends)]


def _rank(verdict: str) -> int:
    return VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS)


def _finding(row: Row, rule: str, text: str) -> Finding:
    return Finding(row["study"], row["phenotype"], row["arm"], row["run_id"], row["started_utc"], rule, text)
