"""Which line relates two methods? Test against reference with identity, Deming and Passing-Bablok lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.lines import Line2D

from reports.figures import MANY_POINTS, STYLE, complete, few_ticks, make_panels, to_svg

LINES = (("deming", "Deming", "#D55E00", "-"), ("passing_bablok", "Passing-Bablok", "#0072B2", "--"))
PANEL_HEIGHT = 1.86  # as wide as high


@matplotlib.rc_context(STYLE)
def regression_panels(
    rows: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]], *, titles: Sequence[str], unit: str
) -> bytes:
    """Panels side by side, one a comparison; all axes have one range.

    Parameters
    ----------
    rows
        Entries of ``agreement``.
    lines
        Entries of ``regression`` of the same comparisons.
    titles
        One over each panel.
    unit
        Of both axes.
    """
    figure, axes = make_panels(len(rows), height=PANEL_HEIGHT, left=0.62, bottom=0.42, top=0.3, foot=0.28)
    values = [v for row in rows for pair in complete(row) for v in (pair["reference"], pair["test"])]
    spare = 0.06 * (max(values) - min(values)) or 1.0
    ends = (min(values) - spare, max(values) + spare)
    for index, (axis, row, line, title) in enumerate(zip(axes, rows, lines, titles, strict=True)):
        pairs = complete(row)
        axis.plot(ends, ends, color="#888888", linewidth=0.7)
        axis.scatter(
            [p["reference"] for p in pairs],
            [p["test"] for p in pairs],
            s=6 if len(pairs) > MANY_POINTS else 11,
            color="#000000",
            alpha=0.55,
            linewidths=0,
            rasterized=len(pairs) > MANY_POINTS,
        )
        for name, _, color, style in LINES:
            known = line.get(name)
            if known:
                slope, start = known["slope"]["estimate"], known["intercept"]["estimate"]
                axis.plot(ends, [start + slope * x for x in ends], color=color, linestyle=style, linewidth=1.1)
        axis.set_xlim(*ends)
        axis.set_ylim(*ends)
        few_ticks(axis)
        axis.set_title(title)
        named = f" ({unit})" if unit else ""
        axis.set_xlabel(f"{row['against']}{named}")
        if index == 0:
            axis.set_ylabel(f"test{named}")
        else:
            axis.tick_params(labelleft=False)
    handles = [Line2D([], [], color="#888888", linewidth=0.7, label="identity")]
    handles += [Line2D([], [], color=c, linestyle=s, linewidth=1.1, label=label) for _, label, c, s in LINES]
    columns = 3 if len(rows) > 1 else 1
    if columns == 1:
        axes[0].legend(handles=handles, loc="upper left", fontsize=6, handlelength=1.6, borderpad=0.2)
    else:
        figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0), ncols=3, borderpad=0)
    return to_svg(figure)
