"""How does a study's history look? Control charts of its biases, as a picture or as a page; computes no statistic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from cohort.atomic import replacing
from reports import tables
from reports.document import Block, Context, plots_block, table_block
from reports.figures import BIAS_MARGIN_COLOR, LIMITS_COLOR, MARGIN_COLOR, PALETTE, STYLE, to_svg
from reports.render import render_html
from reports.small_pages import Section, pages_document
from reports.tables import Row
from stats.control_charts import Chart

WIDTH, HEIGHT, ABOVE, BELOW, LEFT = 7.2, 1.75, 0.3, 0.42, 0.72  # inches of a panel
PNG_DPI = 160
MOST_DATES = 8
MANY_RUNS = 120  # beyond this marks are smaller
SUFFIXES = (".svg", ".png", ".pdf", ".html")


@dataclass(frozen=True)
class Panel:
    """A series to draw: one value a run, oldest first.

    Attributes
    ----------
    title, unit
        Over the panel, and at its axis.
    times, values, low, high
        Start of each run, its bias, and the ends of its interval (None where there are none).
    changes
        What changed since the run before, in words; empty for nothing.
    verdicts
        Of each run.
    margin
        Between what the bias must lie, if planned.
    chart
        Center line, limits and flags; None while the baseline is not complete.
    digits
        After the point, in texts.
    first
        Position of the first run that is drawn; limits and flags are of all.
    """

    title: str
    unit: str
    times: Sequence[datetime]
    values: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]
    changes: Sequence[str]
    verdicts: Sequence[str]
    margin: tuple[float, float] | None
    chart: Chart | None
    digits: int = 1
    first: int = 0


@matplotlib.rc_context(STYLE)
def control_charts(panels: Sequence[Panel]) -> Figure:
    """Panels below each other, the same runs at the same place only where all have them."""
    full = len(panels) * (HEIGHT + ABOVE + BELOW)
    figure = Figure(figsize=(WIDTH, full))
    for index, panel in enumerate(panels):
        bottom = full - (index + 1) * (HEIGHT + ABOVE + BELOW) + BELOW
        place = (LEFT / WIDTH, bottom / full, (WIDTH - LEFT - 0.1) / WIDTH, HEIGHT / full)
        _draw(figure.add_axes(place), panel)
    return figure


def picture(panels: Sequence[Panel], suffix: str) -> bytes:
    """The picture as SVG, PNG or PDF."""
    figure = control_charts(panels)
    if suffix == ".svg":
        with matplotlib.rc_context(STYLE):
            return to_svg(figure)
    stream = BytesIO()
    with matplotlib.rc_context(STYLE):
        metadata = {"CreationDate": None} if suffix == ".pdf" else {"Software": None}
        figure.savefig(stream, format=suffix[1:], dpi=PNG_DPI, facecolor="white", transparent=False, metadata=metadata)
    return stream.getvalue()


def write_history(path: Path, results: Mapping[str, Any], panels: Sequence[Panel]) -> None:
    """Write the charts as a picture, or as one self-contained page with what drifted and the table of runs.

    Parameters
    ----------
    path
        Ends in one of :data:`SUFFIXES`.
    results
        For the page: ``study`` (name, title, created_utc), ``provenance`` (cardioval_version, commit), ``findings``
        (time, run, rule, text), ``runs`` (time, run, hashes, numbers) and ``judged``, a sentence.
    panels
        What is drawn.

    Raises
    ------
    ValueError
        For another suffix.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    content = page(path, results, panels).encode() if path.suffix == ".html" else picture(panels, path.suffix)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def page(path: Path, results: Mapping[str, Any], panels: Sequence[Panel]) -> str:
    """The page's text."""
    sections: Mapping[str, Section] = {
        "verdict": findings,
        "charts": lambda context: _charts(context, panels),
        "runs": runs,
        "methods": lambda context: [{"kind": "definitions", "items": context.texts["methods"]}],
    }
    what = f"{len(results['runs'])} runs, {len(panels)} series. {results['judged']}."
    document, pictures = pages_document(path.parent, results, texts="history.yaml", sections=sections, what=what)
    document["header"]["run"] = path.stem
    return render_html(document, pictures=pictures)


def findings(context: Context) -> list[Block]:
    """What drifted, newest first."""
    found = context.results["findings"]
    if not found:
        return [{"kind": "text", "text": "No drift was flagged."}]
    rows = [
        Row((tables.text(f["time"]), tables.text(f["run"]), tables.text(f["rule"]), tables.text(f["text"])))
        for f in reversed(found)
    ]
    return [table_block("findings-table", tables.make_table("Flags", ["Run of (UTC)", "Run", "Rule", "What"], rows))]


def runs(context: Context) -> list[Block]:
    """Every run, newest first."""
    rows = [
        Row(
            (
                *(tables.text(run[key]) for key in ("time", "run", "code", "weights", "plan", "scans", "device")),
                *(tables.numeric(run[key], 0) for key in ("n_patients", "n_failures")),
                tables.text(run["verdicts"]),
            )
        )
        for run in reversed(context.results["runs"])
    ]
    columns = ["Started (UTC)", "Run", "Code", "Weights", "Plan", "Scans", "Device", "Patients", "Failures", "Verdicts"]
    return [table_block("runs-table", tables.make_table("Runs", columns, rows))]


def _charts(context: Context, panels: Sequence[Panel]) -> list[Block]:
    items = [
        {
            "name": context.pictures.add(picture([panel], ".svg"), suffix=".svg"),
            "caption": panel.title,
            "alt": _words(panel),
        }
        for panel in panels
    ]
    return [plots_block("Bias over runs", items)] if items else []


def _words(panel: Panel) -> str:
    """The picture in words."""
    last = tables.number(panel.values[-1], panel.digits, signed=True) if panel.values else tables.MISSING
    text = f"Control chart of {panel.title}: bias in {len(panel.values)} runs, the last {last} {panel.unit}".rstrip()
    if panel.chart is None:
        return f"{text}; the baseline is not complete, so there are no limits"
    ends = (panel.chart.lower[-1], panel.chart.upper[-1])
    limits = " to ".join(tables.number(float(end), panel.digits, signed=True) for end in ends)
    return f"{text}; control limits {limits}; {len(_flagged(panel))} runs break a rule"


def _draw(axis: Any, panel: Panel) -> None:
    n, place = len(panel.values), range(len(panel.values))
    small = n - panel.first > MANY_RUNS
    if panel.margin is not None:
        axis.axhspan(*panel.margin, color=BIAS_MARGIN_COLOR, alpha=0.10, linewidth=0, zorder=0.2)
    for x, change in enumerate(panel.changes):
        if change:
            axis.axvline(x - 0.5, color="#888888", linewidth=0.6, linestyle=":", zorder=0.5)
    for x, low, high in zip(place, panel.low, panel.high, strict=True):
        if low is not None and high is not None:
            axis.plot([x, x], [low, high], color="#BBBBBB", linewidth=0.5 if small else 0.8, zorder=1)
    chart = panel.chart
    size = 1.6 if small else 3.2
    if chart is None:
        axis.plot(place, panel.values, "o-", color=PALETTE[0], markersize=size, linewidth=0.6, zorder=3)
    else:
        axis.axvspan(-0.5, chart.n_baseline - 0.5, color="#999999", alpha=0.12, linewidth=0, zorder=0.1)
        axis.axhline(chart.center, color="#000000", linewidth=0.7, zorder=2)
        for ends in (chart.lower, chart.upper):
            axis.plot(place, ends, color=LIMITS_COLOR, linewidth=0.8, linestyle="--", zorder=2)
        if chart.statistic is not chart.values:
            axis.plot(place, chart.values, "o", color="#777777", markersize=size * 0.6, zorder=2.5)
        axis.plot(place, chart.statistic, "o-", color=PALETTE[0], markersize=size, linewidth=0.6, zorder=3)
        flagged = _flagged(panel)
        heights = [chart.statistic[x] for x in flagged]
        axis.plot(flagged, heights, "D", color=MARGIN_COLOR, markersize=size + 2, zorder=4)
    axis.set_title(panel.title if chart is not None else f"{panel.title} (baseline not complete: no limits)")
    axis.set_ylabel(f"bias ({panel.unit})" if panel.unit else "bias")
    axis.set_xlim(panel.first - 0.6, max(n, panel.first + 2) - 0.4)
    _fit_height(axis, panel)
    step = max(1, -(-(n - panel.first) // MOST_DATES))
    ticks = list(range(panel.first, n, step))
    axis.set_xticks(ticks, [f"{panel.times[x]:%Y-%m-%d}\n{x + 1}" for x in ticks])


def _fit_height(axis: Any, panel: Panel) -> None:
    """The values and limits fill the panel; margins and intervals are seen as far as they reach into it."""
    seen = list(panel.values[panel.first :])
    if panel.chart is not None:
        seen += [float(end) for ends in (panel.chart.lower, panel.chart.upper) for end in ends[panel.first :]]
    if not seen:
        return
    low, high = min(seen), max(seen)
    room = (high - low) * 0.35 or abs(low) * 0.05 or 1.0
    axis.set_ylim(low - room, high + room)


def _flagged(panel: Panel) -> list[int]:
    """Runs after the baseline that broke a rule."""
    if panel.chart is None:
        return []
    return sorted({flag.index for flag in panel.chart.flags if flag.index >= panel.chart.n_baseline})
