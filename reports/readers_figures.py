"""How do readers' scores look? Differences from fully sampled with the margin, and how often each score was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from reports.figures import MARGIN_COLOR, MARGIN_STYLE, PALETTE, STYLE, to_svg

# from non-diagnostic to excellent; told apart by color-blind eyes and in gray, and numbered in the bars
SCORE_COLORS = ("#A63D00", "#E69F00", "#D9D9D9", "#79BFEA", "#0B5A8F")
SCORE_INK = ("white", "black", "black", "black", "white")
ROW_INCHES, WIDTH_INCHES, LABEL_INCHES = 0.3, 6.6, 2.0
SMALLEST_NUMBERED = 0.06  # share of a bar that has room for its number


@matplotlib.rc_context(STYLE)
def differences(rows: Sequence[Mapping[str, Any]], *, labels: Sequence[str], margin: float) -> bytes:
    """Mean difference of each arm from fully sampled: patients as units (thick), readers random too (thin), the margin.

    ``rows`` are entries of ``scores`` of reader_results.json of one kind and criterion.
    """
    figure, axis = _canvas(len(rows), bottom=0.62)
    for y, row in enumerate(rows):
        for name, width, offset in (("difference", 2.2, -0.1), ("difference_readers_random", 0.8, 0.14)):
            value = row.get(name)
            if value is None or value["low"] is None:
                continue
            axis.plot([value["low"], value["high"]], [y + offset] * 2, color=PALETTE[0], linewidth=width)
            axis.plot(value["estimate"], y + offset, "o", color=PALETTE[0], markersize=4 if width > 1 else 2.5)
    axis.axvline(0, color="#555555", linewidth=0.7)
    axis.axvline(-margin, color=MARGIN_COLOR, linewidth=1.2, linestyle=MARGIN_STYLE)
    axis.annotate(
        f"margin −{margin:g}", (-margin, -0.62), color=MARGIN_COLOR, ha="center", va="bottom", annotation_clip=False
    )
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, -1.25 * margin), max(high, 0.5 * margin))
    _name_rows(axis, labels)
    axis.set_xlabel("mean score minus fully sampled (points)\nthick: patients as units; thin: readers as a sample too")
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def distributions(rows: Sequence[Mapping[str, Any]], *, labels: Sequence[str], words: Sequence[str]) -> bytes:
    """Shares of the scores 1 to 5 of each arm, with their counts."""
    figure, axis = _canvas(len(rows), bottom=0.75)
    for y, row in enumerate(rows):
        total, left = sum(row["counts"]), 0.0
        for score, count in enumerate(row["counts"]):
            share = count / total if total else 0.0
            axis.barh(y, share, left=left, height=0.74, color=SCORE_COLORS[score], edgecolor="white", linewidth=0.5)
            if share >= SMALLEST_NUMBERED:
                axis.text(left + share / 2, y, str(count), ha="center", va="center", color=SCORE_INK[score])
            left += share
    handles = [matplotlib.patches.Patch(color=color) for color in SCORE_COLORS]
    named = [f"{i} {word}" for i, word in enumerate(words, start=1)]
    axis.legend(handles, named, ncols=5, loc="upper center", bbox_to_anchor=(0.36, -0.42 / (ROW_INCHES * len(rows))))
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    _name_rows(axis, labels)
    return to_svg(figure)


def _canvas(n_rows: int, *, bottom: float) -> tuple[Figure, Any]:
    """One axis with so many rows, of the same row height in every figure."""
    top, right = 0.22, 0.25
    height = top + ROW_INCHES * n_rows + bottom
    figure = Figure(figsize=(WIDTH_INCHES, height))
    size = (1 - (LABEL_INCHES + right) / WIDTH_INCHES, ROW_INCHES * n_rows / height)
    return figure, figure.add_axes((LABEL_INCHES / WIDTH_INCHES, bottom / height, *size))


def _name_rows(axis: Any, labels: Sequence[str]) -> None:
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
