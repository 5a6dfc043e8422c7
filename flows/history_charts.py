"""How is a study's history shown? Rows of the database as panels, tables of the terminal and data of the page."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from rich.table import Table

from flows.history_drift import VERDICTS, Finding, Series, arm_text, changed, judged
from flows.history_store import History
from flows.provenance import commit, version
from reports.history import Panel
from reports.tables import decimals, interval, number, phenotype_unit, symbol

SHORT = 8
Row = Mapping[str, Any]


def panel_of(series: Series, *, last: int = 0) -> Panel:
    """A series as it is drawn; of the `last` runs only, where their number is given."""
    start = max(len(series.rows) - last, 0) if last else 0
    rows = series.rows
    lower, upper = ("margin_lower", "margin_upper")
    newest = rows[-1] if rows else {}
    margin = (newest[lower], newest[upper]) if rows and newest[lower] is not None else None
    changes = [""] + [", ".join(changed(old, new)) for old, new in pairwise(rows)]
    return Panel(
        title=series.title,
        unit=phenotype_unit(series.phenotype),
        times=[row["started_utc"] for row in rows],
        values=[row["bias"] for row in rows],
        low=[row["bias_low"] for row in rows],
        high=[row["bias_high"] for row in rows],
        changes=changes[: len(rows)],
        verdicts=[row["verdict"] for row in rows],
        margin=margin,
        chart=series.chart,
        digits=decimals(series.phenotype),
        first=start,
    )


def page_data(history: History, study: str, findings: Sequence[Finding], series: Sequence[Series]) -> dict[str, Any]:
    """What ``reports.history.write_history`` wants for its page."""
    verdicts = history.verdicts()
    return {
        "study": {
            "name": study,
            "title": f"History of {study}",
            "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "provenance": {"cardioval_version": version("cardioval"), "commit": commit()},
        "judged": judged(series),
        "findings": [
            {"time": moment(f.started_utc), "run": f.run_id[:SHORT], "rule": f.rule, "text": f.text} for f in findings
        ],
        "runs": [
            {
                "time": moment(run["started_utc"]),
                "run": run["run_id"][:SHORT],
                "code": run["commit_sha"][:SHORT] or run["version"],
                "weights": weights_text(run),
                "plan": run["plan_sha256"][:SHORT],
                "scans": run["inputs_sha256"][:SHORT],
                "device": run["device"],
                "n_patients": run["n_patients"],
                "n_failures": run["n_failures"],
                "verdicts": counts_text(verdicts.get(run["run_id"], {})),
            }
            for run in history.runs(study=study)
        ],
    }


def runs_table(history: History, *, study: str = "") -> Table:
    """A line a run, oldest first."""
    runs, verdicts = history.runs(study=study), history.verdicts()
    table = Table(title=f"{len(runs)} runs in {history.name}")
    for name in ("run", "study", "started (UTC)", "code", "weights", "plan", "scans"):
        table.add_column(name, no_wrap=name in ("run", "started (UTC)"))
    for name in ("patients", "failures", "hours"):
        table.add_column(name, justify="right")
    table.add_column("verdicts")
    for run in runs:
        hours = None if run["wall_s"] is None else run["wall_s"] / 3600
        table.add_row(
            run["run_id"][:SHORT],
            run["study"],
            moment(run["started_utc"]),
            run["commit_sha"][:SHORT] or run["version"],
            weights_text(run),
            run["plan_sha256"][:SHORT],
            run["inputs_sha256"][:SHORT],
            str(run["n_patients"] if run["n_patients"] is not None else "-"),
            str(run["n_failures"]),
            number(hours, 2),
            counts_text(verdicts.get(run["run_id"], {})),
        )
    return table


def run_tables(history: History, run: Row, *, every: bool = False) -> list[Table]:
    """One run: what it rests on, its comparisons (of the phenotypes that carry the claim, or every), its failures."""
    about = Table(title=f"Run {run['run_id']}", show_header=False)
    facts = ("study", "folder", "device", "commit_sha", "version", "plan_sha256", "config_sha256", "inputs_sha256")
    about.add_row("started (UTC)", moment(run["started_utc"]))
    for key in facts:
        about.add_row(key.removesuffix("_sha256").replace("_sha", "").replace("_", " "), str(run[key]))
    for weight in run["weights"]:
        about.add_row(f"weights: {weight['name']}", str(weight["sha256"]))
    made = [about]
    rows = history.comparisons(run_id=run["run_id"])
    if not every:
        rows = [row for row in rows if row["phenotype"] in run["primary_phenotypes"]]
    table = Table("", "arm", "against", "n", "failed", "bias", "limits", "verdict", "claimed", title="Comparisons")
    for row in rows:
        digits = decimals(row["phenotype"])
        bias = {"estimate": row["bias"], "low": row["bias_low"], "high": row["bias_high"]}
        ends = " to ".join(number(row[side], digits, signed=True) for side in ("lower_limit", "upper_limit"))
        table.add_row(
            symbol(row["phenotype"]),
            arm_text(row["arm"]),
            arm_text(row["against"]),
            str(row["n"]),
            str(row["failed"]),
            interval(bias, digits, signed=True),
            ends,
            row["verdict"],
            {True: "yes", False: "no"}.get(row["claimed"], "-"),
        )
    made.append(table)
    failures = history.details(run["run_id"])["failures"]
    if failures:
        lost = Table("stage", "reason", "failed", title="Failures")
        for row in failures:
            lost.add_row(row["stage"], row["reason_class"], str(row["n"]))
        made.append(lost)
    return made


def findings_table(findings: Sequence[Finding]) -> Table:
    """A line a flag, oldest first."""
    table = Table("run", "started (UTC)", "study", "rule", "what", title=f"{len(findings)} flags")
    for finding in findings:
        table.add_row(finding.run_id[:SHORT], moment(finding.started_utc), finding.study, finding.rule, finding.text)
    return table


def moment(time: datetime) -> str:
    """To the minute."""
    return f"{time:%Y-%m-%d %H:%M}"


def weights_text(run: Row) -> str:
    """One short hash of all networks of a run."""
    return hashlib.sha256(json.dumps(run["weights"], sort_keys=True).encode()).hexdigest()[:SHORT]


def counts_text(counts: Mapping[str, int]) -> str:
    """``19 shown, 20 bias only``."""
    order = {name: i for i, name in enumerate(VERDICTS)}
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda c: order.get(c[0], len(order))))
