"""How does a value lie around the left ventricle? A bull's-eye of the AHA segments; nothing is computed here.

Cerqueira et al., doi 10.1161/hc0402.102975: basal ring outside, then mid and apical, the apex in the middle; anterior at
the top, the septum at the left, as seen from the apex. The color map runs from dark blue to yellow with evenly rising
lightness, for readers with any color vision and in gray print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Wedge

from reports.figures import STYLE, to_svg

COLORS = "viridis"
RINGS = (("basal", range(1, 7), 0.74, 1.0), ("mid", range(7, 13), 0.48, 0.74), ("apical", range(13, 17), 0.22, 0.48))
APEX, APEX_RADIUS = 17, 0.22
NAMES = {
    1: "basal anterior",
    2: "basal anteroseptal",
    3: "basal inferoseptal",
    4: "basal inferior",
    5: "basal inferolateral",
    6: "basal anterolateral",
    7: "mid anterior",
    8: "mid anteroseptal",
    9: "mid inferoseptal",
    10: "mid inferior",
    11: "mid inferolateral",
    12: "mid anterolateral",
    13: "apical anterior",
    14: "apical septal",
    15: "apical inferior",
    16: "apical lateral",
    17: "apex",
}
INSERTIONS_DEG = (120.0, 240.0)
"""Where the right ventricle meets the left: the septum is segments 2 and 3, between these directions."""
NUMBER_SIZE = 6.8
MISSING_FACE, MISSING_LINE = "#F2F2F2", "#8A8A8A"
WIDTH, HEIGHT = 3.7, 3.3  # inches


@matplotlib.rc_context(STYLE)
def bullseye(
    values: Mapping[int, float],
    *,
    title: str,
    unit: str,
    limits: tuple[float, float],
    digits: int = 1,
    reversed_colors: bool = False,
) -> Figure:
    """Draw one value per AHA segment.

    Parameters
    ----------
    values
        Segment number (1 to 16, or to 17) to value; NaN, or a number that is absent among 1 to 16, is hatched and named
        below. Without 17 the middle stays empty.
    title
        Over the figure.
    unit
        At the color bar; empty for a pure number.
    limits
        Ends of the color scale, in ``unit``: the same for all figures that are to be compared. Values beyond take the
        color of the end, and the bar gets an arrow.
    digits
        Behind the decimal point of the numbers in the segments.
    reversed_colors
        Bright at the low end: for strain around the wall, where the lowest value is the strongest.

    Raises
    ------
    ValueError
        For a segment that does not exist, or limits that are no range.
    """
    unknown = sorted(set(values) - set(NAMES))
    if unknown:
        raise ValueError(f"no AHA segment {unknown}: expected numbers from 1 to 17")
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the color scale must run from a lower to a higher limit, got {limits}")
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axis = figure.add_axes((0.0, 0.06, 0.83, 0.86))
    axis.set_aspect("equal")
    axis.set_axis_off()
    axis.set_xlim(-1.28, 1.17)
    axis.set_ylim(-1.2, 1.2)
    colors = matplotlib.colormaps[COLORS + ("_r" if reversed_colors else "")]
    scale = Normalize(low, high, clip=True)
    segments = [*range(1, 17), *([APEX] if APEX in values else [])]
    for segment in segments:
        _segment(axis, segment, values.get(segment, math.nan), colors=colors, scale=scale, digits=digits)
    _landmarks(axis)
    _bar(figure, values, colors=colors, limits=limits, unit=unit)
    figure.text(0.02, 0.975, title, ha="left", va="top", fontsize=8.5)
    missing = [segment for segment in segments if not math.isfinite(values.get(segment, math.nan))]
    if missing:
        figure.text(0.02, 0.02, _missing_words(missing), ha="left", va="bottom", fontsize=6, color="#444444")
    return figure


def bullseye_svg(values: Mapping[int, float], **options: Any) -> bytes:
    """`bullseye` as SVG for a page."""
    return to_svg(bullseye(values, **options))


def bullseye_png(values: Mapping[int, float], *, dpi: int = 200, **options: Any) -> bytes:
    """`bullseye` as PNG on white."""
    stream = BytesIO()
    with matplotlib.rc_context(STYLE):
        bullseye(values, **options).savefig(
            stream, format="png", dpi=dpi, transparent=False, facecolor="white", metadata={"Software": None}
        )
    return stream.getvalue()


def place(segment: int) -> tuple[float, float, float, float]:
    """Inner and outer radius, first and last angle in degrees (counterclockwise from the right) of a segment."""
    if segment == APEX:
        return 0.0, APEX_RADIUS, 0.0, 360.0
    for _, numbers, inner, outer in RINGS:
        if segment in numbers:
            width = 360 / len(numbers)
            # the first segment of a ring is anterior, at the top; the next ones follow over the septum at the left
            middle = 90 + width * numbers.index(segment)
            return inner, outer, middle - width / 2, middle + width / 2
    raise ValueError(f"no AHA segment {segment}: expected a number from 1 to 17")


def _segment(axis: Any, segment: int, value: float, *, colors: Colormap, scale: Normalize, digits: int) -> None:
    inner, outer, start, end = place(segment)
    known = math.isfinite(value)
    face = colors(scale(value)) if known else MISSING_FACE
    width = None if segment == APEX else outer - inner
    wedge = Wedge((0, 0), outer, start, end, width=width, facecolor=face, edgecolor="white", linewidth=1.2)
    if not known:
        wedge.set(hatch="//////", edgecolor=MISSING_LINE, linewidth=0.6)
    axis.add_patch(wedge)
    radius = 0.0 if segment == APEX else (inner + outer) / 2
    angle = math.radians((start + end) / 2)
    x, y = radius * math.cos(angle), radius * math.sin(angle)
    ink = "#000000" if not known or _is_light(face) else "#FFFFFF"
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0} if not known else None
    text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}") if known else "\N{EN DASH}"
    axis.text(x, y + 0.035, text, ha="center", va="center", color=ink, fontsize=NUMBER_SIZE, bbox=box)
    axis.text(x, y - 0.075, str(segment), ha="center", va="center", color=ink, fontsize=4.5)


def _is_light(color: Any) -> bool:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3])
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.19)


def _landmarks(axis: Any) -> None:
    """Names of the walls, and the right ventricle's side between its insertion points."""
    for angle in INSERTIONS_DEG:
        x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        axis.plot([1.01 * x, 1.13 * x], [1.01 * y, 1.13 * y], color="#000000", linewidth=1.4, solid_capstyle="butt")
    arc = np.radians(np.linspace(*INSERTIONS_DEG, 60))
    axis.plot(1.07 * np.cos(arc), 1.07 * np.sin(arc), color="#000000", linewidth=0.8)
    axis.text(-1.13, 0, "septum (RV side)", ha="right", va="center", rotation=90, fontsize=6.5)
    axis.text(0, 1.06, "anterior", ha="center", va="bottom", fontsize=6.5)
    axis.text(0, -1.06, "inferior", ha="center", va="top", fontsize=6.5)
    axis.text(1.06, 0, "lateral", ha="left", va="center", rotation=-90, fontsize=6.5)


def _bar(
    figure: Figure, values: Mapping[int, float], *, colors: Colormap, limits: tuple[float, float], unit: str
) -> None:
    low, high = limits
    known = [value for value in values.values() if math.isfinite(value)]
    below, above = any(value < low for value in known), any(value > high for value in known)
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    axis = figure.add_axes((0.86, 0.2, 0.03, 0.6))
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), colors), cax=axis, extend=extend[below, above])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, length=2)
    bar.ax.set_title(unit, fontsize=7, loc="center", pad=7)


def _missing_words(missing: list[int]) -> str:
    """At most two lines: names while they are few, else numbers."""
    if len(missing) <= 3:
        return "not measured: " + ", ".join(f"{segment} ({NAMES[segment]})" for segment in missing)
    return "not measured: segments " + ", ".join(map(str, missing))
