"""How do the answers look? All measurements in units of their margins, trends, subgroups, ROC curves, classes.

As in reports.figures nothing is computed here beyond where a mark is drawn; entries are those of results.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reports import tables
from reports.figures import (
    BIAS_COLOR,
    BIAS_MARGIN_COLOR,
    LIMITS_COLOR,
    MARGIN_COLOR,
    MARKERS,
    PALETTE,
    STYLE,
    bias_margin,
    few_ticks,
    interval_mark,
    make_panels,
    margin_lines,
    to_svg,
)

Entry = Mapping[str, Any]
FARTHEST = 2.5  # margins: beyond, a mark sits on the edge of the panel as a triangle
VERDICT_MARKS = {"shown": ("o", "#0072B2"), "bias only": ("s", "#B57400"), "not shown": ("X", "#C44E0C")}
OTHER_MARK = ("D", "#6A6A6A")
LINE_HEIGHT = 0.2  # inches a line of a forest takes


@matplotlib.rc_context(STYLE)
def margin_summary(columns: Sequence[Mapping[str, Any]], *, phenotypes: Sequence[str]) -> bytes:
    """All measurements on one scale: 1 is the margin. A panel an arm.

    Parameters
    ----------
    columns
        Dicts with ``title``, ``rows`` (phenotype -> entry of ``agreement``) and ``margins`` (phenotype -> margins).
    phenotypes
        Lines from top to bottom.
    """
    names = [tables.symbol(p) for p in phenotypes]
    height = LINE_HEIGHT * len(names) + 0.1
    figure, axes = make_panels(
        len(columns), columns=min(len(columns), 4), height=height, left=0.9, bottom=0.42, top=0.3
    )
    for index, (axis, column) in enumerate(zip(axes, columns, strict=True)):
        axis.axvspan(-1, 1, color=BIAS_MARGIN_COLOR, alpha=0.09, linewidth=0, zorder=0.1)
        axis.axvline(0, color="#888888", linewidth=0.6, zorder=0.2)
        for line, phenotype in enumerate(phenotypes):
            row, margins = column["rows"].get(phenotype), column["margins"].get(phenotype) or {}
            if row is not None and margins.get("bias") and margins.get("limits"):
                _in_margins(axis, row, margins, line)
        axis.set_xlim(-FARTHEST, FARTHEST)
        axis.set_xticks([-2, -1, 0, 1, 2])
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_title(column["title"])
        axis.set_xlabel("difference / margin")
        axis.tick_params(axis="y", length=0, labelleft=index % 4 == 0)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def margin_key() -> bytes:
    """Key to :func:`margin_summary`."""
    marks = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=m,
            color=c,
            markersize=5,
            label=f"bias, verdict {tables.VERDICT_LABELS[v].lower()}",
        )
        for v, (m, c) in VERDICT_MARKS.items()
    ]
    lines = [
        Line2D([], [], color="#333333", linewidth=2.4, label="interval of the bias / its margin"),
        Line2D([], [], color="#333333", linewidth=0.8, label="limits of agreement, outer ends / their margin"),
        Patch(color=BIAS_MARGIN_COLOR, alpha=0.12, linewidth=0, label="inside the margin"),
        Line2D([], [], color="#333333", linestyle="", marker=">", markersize=4, label="goes on beyond the axis"),
    ]
    return _key([*marks, *lines], columns=4)


@matplotlib.rc_context(STYLE)
def trend(columns: Sequence[Mapping[str, Any]], *, unit: str, margins: Mapping[str, Any] | None) -> bytes:
    """Bias with its interval and limits of agreement over the acceleration, a panel a method.

    ``columns``: dicts with ``title``, ``method_index`` (fixes color and mark) and ``steps``: pairs of a label and an entry
    of ``agreement`` (or None), from the lowest acceleration to the highest.
    """
    figure, axes = make_panels(len(columns), height=1.7, left=0.62, bottom=0.86, top=0.3)
    reach = [
        abs(v)
        for column in columns
        for _, row in column["steps"]
        for side in ("lower_limit", "upper_limit")
        if (v := _estimate((row or {}).get(side))) is not None
    ]
    half = 1.12 * max([*reach, *((margins or {}).get(k) or 0 for k in ("bias", "limits"))], default=1.0) or 1.0
    for index, (axis, column) in enumerate(zip(axes, columns, strict=True)):
        at = column.get("method_index", index)
        _trend_panel(axis, column["steps"], color=PALETTE[at % len(PALETTE)], marker=MARKERS[at % len(MARKERS)])
        margin_lines(axis, margins, vertical=False)
        axis.axhline(0, color="#888888", linewidth=0.6, zorder=0)
        axis.set_ylim(-half, half)
        axis.set_title(column["title"])
        if index == 0:
            axis.set_ylabel(_with_unit("difference", unit))
        axis.tick_params(labelleft=index == 0)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def subgroup_forest(
    entries: Sequence[Entry],
    pooled: Sequence[Entry],
    *,
    titles: Sequence[str],
    unit: str,
    margins: Mapping[str, Any] | None,
    groups: Sequence[tuple[str, str]],
) -> bytes:
    """Bias (mark, thick line: its interval) and limits (thin line) of each subgroup; below, all patients.

    ``entries`` of ``subgroups`` (one phenotype), ``pooled`` of ``agreement`` (a panel each), ``groups``: (by, level) from top to
    bottom.
    """
    names = [*(level for _, level in groups), "all patients"]
    kinds = list(dict.fromkeys(by for by, _ in groups))
    found = {(e["arm"], e["by"], str(e["level"])): e for e in entries}
    figure, axes = make_panels(len(pooled), height=LINE_HEIGHT * len(names) + 0.1, left=1.35, bottom=0.42, top=0.3)
    for index, (axis, whole, title) in enumerate(zip(axes, pooled, titles, strict=True)):
        for line, (by, level) in enumerate(groups):
            at = kinds.index(by)
            style = {"color": PALETTE[at % len(PALETTE)], "marker": MARKERS[at % len(MARKERS)]}
            _bias_and_limits(axis, found.get((whole["arm"], by, level)), line, **style)
            if line and groups[line - 1][0] != by:
                axis.axhline(line - 0.5, color="#BBBBBB", linewidth=0.5)
        _bias_and_limits(axis, whole, len(groups), color=BIAS_COLOR, marker="D")
        axis.axhline(len(groups) - 0.5, color="#BBBBBB", linewidth=0.5)
        margin_lines(axis, margins, vertical=True)
        axis.axvline(0, color="#888888", linewidth=0.6, zorder=0)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.4, -0.6)
        few_ticks(axis)
        axis.set_title(title)
        axis.set_xlabel(_with_unit("difference", unit))
        axis.tick_params(axis="y", length=0, labelleft=index == 0)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def bias_profile(
    entries: Sequence[Entry], *, titles: Sequence[str], unit: str, margins: Mapping[str, Any] | None
) -> bytes:
    """Bias with its interval in each part of the range of the reference (entries of ``bias_profile``), a panel an arm."""
    figure, axes = make_panels(len(entries), height=1.5, left=0.62, bottom=0.42, top=0.3)
    ends = [
        abs(v)
        for entry in entries
        for part in entry["bins"]
        for k in ("estimate", "low", "high")
        if (v := (part.get("bias") or {}).get(k)) is not None
    ]
    half = 1.15 * max([*ends, (margins or {}).get("bias") or 0], default=1.0) or 1.0
    for index, (axis, entry, title) in enumerate(zip(axes, entries, titles, strict=True)):
        for part in entry["bins"]:
            value = part.get("bias")
            if _estimate(value) is None:
                continue
            middle = (part["low"] + part["high"]) / 2
            axis.plot([part["low"], part["high"]], [value["estimate"]] * 2, color=BIAS_COLOR, linewidth=1.2)
            if value.get("low") is not None and value.get("high") is not None:
                axis.plot([middle, middle], [value["low"], value["high"]], color=BIAS_COLOR, linewidth=1.2)
            axis.plot([middle], [value["estimate"]], marker="D", color=BIAS_COLOR, markersize=4)
            top = value["high"] if value.get("high") is not None else value["estimate"]
            axis.annotate(f"n {part['n']}", (middle, top), (0, 2), textcoords="offset points", ha="center", fontsize=6)
        margin_lines(axis, {**(margins or {}), "limits": None}, vertical=False)
        axis.axhline(0, color="#888888", linewidth=0.6, zorder=0)
        axis.set_ylim(-half, half)
        few_ticks(axis)
        axis.set_title(title)
        axis.set_xlabel(_with_unit("reference", unit))
        if index == 0:
            axis.set_ylabel(_with_unit("bias", unit))
        axis.tick_params(labelleft=index == 0)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def roc(entries: Sequence[Entry], *, titles: Sequence[str], reference_label: str, test_label: str) -> bytes:
    """ROC curves of reference (solid) and test (dashed) with the areas and their intervals (entries of ``diagnosis``)."""
    figure, axes = make_panels(len(entries), columns=min(len(entries), 4), height=1.86, left=0.5, bottom=0.5, top=0.3)
    for index, (axis, entry, title) in enumerate(zip(axes, entries, titles, strict=True)):
        curves = (("reference", BIAS_COLOR, "-", reference_label), ("test", MARGIN_COLOR, (0, (3, 1)), test_label))
        for key, color, style, label in curves:
            points = entry.get(f"roc_{key}") or []
            said = f"{label}\n{tables.interval(entry.get(f'auc_{key}'), 3)}"
            axis.plot(
                [p[0] for p in points], [p[1] for p in points], color=color, linestyle=style, linewidth=1.2, label=said
            )
        axis.plot([0, 1], [0, 1], color="#AAAAAA", linewidth=0.6, zorder=0)
        axis.set_xlim(-0.02, 1.02)
        axis.set_ylim(-0.02, 1.02)
        axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axis.set_title(title)
        axis.set_xlabel("1 − specificity")
        if index % 4 == 0:
            axis.set_ylabel("sensitivity")
        axis.tick_params(labelleft=index % 4 == 0)
        axis.legend(
            loc="lower right", title="area [interval]", fontsize=6.3, title_fontsize=6.3, handlelength=1.8, borderpad=0
        )
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def class_matrices(entries: Sequence[Entry], *, titles: Sequence[str]) -> bytes:
    """Cross tables of classes, reference down and test across, darker with the share of the row; a panel an arm.

    Entries of ``reclassification`` that share their ``classes``. The diagonal, outlined, is agreement.
    """
    size = max((len(e["classes"]) for e in entries), default=1)
    figure, axes = make_panels(
        len(entries), columns=min(len(entries), 4), height=0.36 * size, left=0.75, bottom=0.42, top=0.5
    )
    for index, (axis, entry, title) in enumerate(zip(axes, entries, titles, strict=True)):
        classes = [str(c) for c in entry["classes"]]
        for i, line in enumerate(entry["table"]):
            for j, count in enumerate(line):
                share = count / sum(line) if count else 0.0
                color = BIAS_MARGIN_COLOR if i == j else MARGIN_COLOR
                patch = {"alpha": 0.08 + 0.5 * share if count else 0.0, "color": color, "linewidth": 0}
                axis.axvspan(j - 0.5, j + 0.5, 1 - (i + 1) / len(classes), 1 - i / len(classes), **patch)
                axis.text(j, i, str(count), ha="center", va="center", fontweight="bold" if i == j else "normal")
            box = [(i - 0.5, i - 0.5), (i + 0.5, i - 0.5), (i + 0.5, i + 0.5), (i - 0.5, i + 0.5), (i - 0.5, i - 0.5)]
            axis.plot([x for x, _ in box], [y for _, y in box], color=BIAS_MARGIN_COLOR, linewidth=0.8)
        axis.set_xlim(-0.5, len(classes) - 0.5)
        axis.set_ylim(len(classes) - 0.5, -0.5)
        axis.set_xticks(range(len(classes)), classes)
        axis.set_yticks(range(len(classes)), classes)
        axis.set_title(title, linespacing=1.3)
        axis.set_xlabel("test")
        if index % 4 == 0:
            axis.set_ylabel("reference")
        axis.tick_params(length=0, labelleft=index % 4 == 0, labelsize=6.5)
        for side in ("left", "bottom"):
            axis.spines[side].set_visible(False)
    return to_svg(figure)


def _in_margins(axis: Any, row: Entry, margins: Mapping[str, Any], line: int) -> None:
    """Limits (outer ends of their intervals) and bias of one measurement, each in units of its own margin.

    Where the margin of the bias differs by direction, each side is measured by its own.
    """
    lower, upper = bias_margin(margins) or (-1.0, 1.0)
    marker, color = VERDICT_MARKS.get(str(row.get("verdict")), OTHER_MARK)
    outer = [(row.get("lower_limit") or {}).get("low"), (row.get("upper_limit") or {}).get("high")]
    if None not in outer:
        _clipped(axis, [v / margins["limits"] for v in outer], line, color=color, linewidth=0.8)
    bias = row.get("bias") or {}
    if bias.get("low") is not None and bias.get("high") is not None:
        _clipped(
            axis,
            [bias[k] / (upper if bias[k] > 0 else -lower) for k in ("low", "high")],
            line,
            color=color,
            linewidth=2.4,
        )
    at = _estimate(bias)
    if at is not None:
        inside = min(max(at / (upper if at > 0 else -lower), -FARTHEST), FARTHEST)
        axis.plot(
            [inside], [line], marker=marker, color=color, markersize=4.8, linestyle="", markeredgewidth=0, clip_on=False
        )


def _clipped(axis: Any, ends: Sequence[float], line: int, *, color: str, linewidth: float) -> None:
    """A line that ends with a triangle where it goes on beyond the axis."""
    inside = [min(max(v, -FARTHEST), FARTHEST) for v in ends]
    axis.plot(inside, [line, line], color=color, linewidth=linewidth, solid_capstyle="butt")
    for end, marker in ((min(ends), "<"), (max(ends), ">")):
        if abs(end) > FARTHEST:
            edge = FARTHEST if end > 0 else -FARTHEST
            marker = marker if (end > 0) == (marker == ">") else {"<": ">", ">": "<"}[marker]
            axis.plot([edge], [line], marker=marker, color=color, markersize=3.6, linestyle="", clip_on=False)


def _trend_panel(axis: Any, steps: Sequence[tuple[str, Entry | None]], *, color: str, marker: str) -> None:
    known = [
        (at, row) for at, (_, row) in enumerate(steps) if row is not None and _estimate(row.get("bias")) is not None
    ]
    for side in ("lower_limit", "upper_limit"):
        line = [(at, row[side]["estimate"]) for at, row in known if _estimate(row.get(side)) is not None]
        axis.plot(
            [x for x, _ in line], [y for _, y in line], color=LIMITS_COLOR, linewidth=0.9, linestyle="--", marker="_"
        )
    axis.plot([at for at, _ in known], [row["bias"]["estimate"] for _, row in known], color=color, linewidth=1)
    for at, row in known:
        bias = row["bias"]
        if bias.get("low") is not None and bias.get("high") is not None:
            axis.plot([at, at], [bias["low"], bias["high"]], color=color, linewidth=2)
        axis.plot([at], [bias["estimate"]], color=color, marker=marker, markersize=4.5)
    axis.set_xticks(range(len(steps)), [label for label, _ in steps], rotation=35, ha="right", rotation_mode="anchor")
    axis.set_xlim(-0.5, len(steps) - 0.5)


def _bias_and_limits(axis: Any, row: Entry | None, line: int, *, color: str, marker: str) -> None:
    if row is None:
        return
    ends = [_estimate(row.get(side)) for side in ("lower_limit", "upper_limit")]
    if None not in ends:
        axis.plot(ends, [line, line], color=color, linewidth=0.7, solid_capstyle="butt")
    interval_mark(axis, row.get("bias"), line, color=color, marker=marker, width=2.2)


def _key(handles: list[Any], *, columns: int) -> bytes:
    figure = Figure(figsize=(9.6, 0.2 * -(-len(handles) // columns) + 0.06))
    figure.legend(handles=handles, loc="center", ncols=columns, columnspacing=1.4, handlelength=1.8, borderpad=0)
    return to_svg(figure)


def _estimate(value: Mapping[str, Any] | None) -> float | None:
    found: float | None = (value or {}).get("estimate")
    return found


def _with_unit(words: str, unit: str) -> str:
    return f"{words} ({unit})" if unit else words
