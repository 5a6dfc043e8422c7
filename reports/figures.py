"""How do the results look? Plots as SVG; nothing is computed here beyond where a mark is drawn.

One style for all: no axis frame, text as outlines (the same on every machine), a color and a shape for each center.
The palette is Okabe and Ito's, which color-blind readers can tell apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reports.slim_svg import slim

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "d", "*")
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "cardioval",
    "savefig.transparent": True,
    "text.parse_math": False,
    "legend.frameon": False,
}
BIAS_COLOR = "#000000"
LIMITS_COLOR = "#555555"
MARGIN_COLOR = "#D55E00"
BIAS_MARGIN_COLOR = "#0072B2"
MARGIN_STYLE = (0, (5, 1.5, 1, 1.5))
PANEL_WIDTH, PANEL_HEIGHT = 1.86, 1.9  # inches
RASTER_DPI = 160
MANY_POINTS = 400  # beyond this the points of a panel become one picture inside the SVG
CLOUD_ORDER = -2
BEYOND = 0.96  # where on the half axis those triangles sit
AXIS_IN_MARGINS = 3.0  # the difference axis ends at this many margins; points beyond sit on its edge as triangles


@dataclass(frozen=True)
class Drawn:
    """A picture, and where the points of each panel lie: fractions of its width from the left and height from the top."""

    svg: bytes
    places: tuple[list[tuple[float, float]], ...]


def bland_altman(rows: Sequence[Mapping[str, Any]], **options: Any) -> bytes:
    """The picture of :func:`bland_altman_drawn`."""
    return bland_altman_drawn(rows, **options).svg


@matplotlib.rc_context(STYLE)
def bland_altman_drawn(
    rows: Sequence[Mapping[str, Any]],
    *,
    titles: Sequence[str],
    unit: str,
    margins: Mapping[str, Any] | None,
    centers: Sequence[str],
    half_range: float,
) -> Drawn:
    """Bland-Altman panels side by side, one an arm: differences against means, bias and limits with bands, margins.

    Parameters
    ----------
    rows
        Entries of ``agreement`` in results.json, of one phenotype.
    titles
        Two lines over each panel.
    unit
        Unit of the phenotype, for the axes.
    margins
        ``bias`` and ``limits`` margins of the phenotype, if planned.
    centers
        All centers of the study, in the order that fixes their marks.
    half_range
        The difference axis reaches from minus this to this; see :func:`difference_range`.

    Returns
    -------
    Drawn
        The picture, and where each complete pair of each row lies in it.
    """
    figure, axes = make_panels(len(rows), height=PANEL_HEIGHT, left=0.62, bottom=0.42, top=0.42)
    places = []
    for index, (axis, row, title) in enumerate(zip(axes, rows, titles, strict=True)):
        _bland_altman_panel(axis, row, margins=margins, centers=centers, half_range=half_range)
        axis.set_title(title, linespacing=1.3)
        axis.set_xlabel(f"mean of both ({unit})" if unit else "mean of both")
        if index == 0:
            axis.set_ylabel(f"difference ({unit})" if unit else "difference")
        else:
            axis.tick_params(labelleft=False)
        edge = BEYOND * half_range
        shown = [
            (x, min(max(y, -edge), edge) if abs(y) > half_range else y)
            for x, y in zip(*_positions(complete(row)), strict=True)
        ]
        places.append(places_of(figure, axis, shown))
    return Drawn(to_svg(figure), tuple(places))


def difference_range(rows: Sequence[Mapping[str, Any]], margins: Mapping[str, Any] | None) -> float:
    """Half the height of the difference axis, common to all arms of a phenotype so that clouds can be compared."""
    reach = [abs(pair["test"] - pair["reference"]) for row in rows for pair in complete(row)]
    for row in rows:
        reach += [abs(v) for side in ("lower_limit", "upper_limit") for v in _ends(row.get(side))]
    widest = max(reach, default=1.0) or 1.0
    limit = (margins or {}).get("limits")
    if not limit:
        return 1.08 * widest
    return 1.08 * min(max(widest, 1.1 * limit), AXIS_IN_MARGINS * limit)


@matplotlib.rc_context(STYLE)
def key(centers: Sequence[str]) -> bytes:
    """Key to the Bland-Altman plots: the marks of the centers and the lines."""
    handles: list[Any] = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[i % len(MARKERS)],
            color=PALETTE[i % len(PALETTE)],
            markersize=4.5,
            label=c,
        )
        for i, c in enumerate(centers)
    ]
    handles += [
        Line2D([], [], color=BIAS_COLOR, linewidth=1.2, label="bias, band: its interval"),
        Line2D(
            [], [], color=LIMITS_COLOR, linewidth=1, linestyle="--", label="limits of agreement, bands: their intervals"
        ),
        Patch(color=BIAS_MARGIN_COLOR, alpha=0.12, linewidth=0, label="margin of the bias"),
        Line2D([], [], color=MARGIN_COLOR, linewidth=1, linestyle=MARGIN_STYLE, label="margin of the limits"),
        Line2D(
            [],
            [],
            color="#000000",
            linestyle="",
            marker="^",
            markerfacecolor="none",
            markersize=5,
            label="beyond the axis",
        ),
    ]
    columns = 5
    figure = Figure(figsize=(9.6, 0.2 * -(-len(handles) // columns) + 0.06))
    figure.legend(handles=handles, loc="center", ncols=columns, columnspacing=1.4, handlelength=1.8, borderpad=0)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def forest(
    rows: Sequence[Mapping[str, Any]],
    pooled: Sequence[Mapping[str, Any]],
    *,
    titles: Sequence[str],
    unit: str,
    margins: Mapping[str, Any] | None,
    centers: Sequence[str],
) -> bytes:
    """Bias of each center with its interval; below, all patients and an average center (thin: a new one).

    ``rows`` are entries of ``centers`` in results.json (arms of one method, one phenotype), ``pooled`` the entries of
    ``agreement`` that give the panels and the last lines.
    """
    between = any(whole.get("center_level") for whole in pooled)
    names = [*centers, "all patients", *(["mean of centers"] if between else [])]
    figure, axes = make_panels(len(pooled), height=0.19 * len(names) + 0.1, left=1.05, bottom=0.42, top=0.3)
    for index, (axis, whole, title) in enumerate(zip(axes, pooled, titles, strict=True)):
        mine = {r["center"]: r for r in rows if r["arm"] == whole["arm"]}
        for height, center in enumerate(centers):
            color, marker = PALETTE[height % len(PALETTE)], MARKERS[height % len(MARKERS)]
            interval_mark(axis, mine.get(center, {}).get("bias"), height, color=color, marker=marker)
        interval_mark(axis, whole.get("bias"), len(centers), color="#000000", marker="D")
        if between:
            _center_mean(axis, whole.get("center_level"), len(names) - 1)
        margin_lines(axis, margins, vertical=True)
        few_ticks(axis)
        axis.axvline(0, color="#888888", linewidth=0.6, zorder=0)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.axhline(len(centers) - 0.5, color="#BBBBBB", linewidth=0.5)
        axis.set_title(title)
        axis.set_xlabel(f"bias ({unit})" if unit else "bias")
        axis.tick_params(axis="y", length=0, labelleft=index == 0)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def against_truth(
    panels: Sequence[Mapping[str, Any]], *, arms: Sequence[str], labels: Sequence[str], methods: Sequence[str]
) -> bytes:
    """Bias (mark, thick line: its interval) and limits (thin line) of each arm against the truth; a panel a phenotype.

    ``panels``: dicts with ``title``, ``rows`` (arm -> entry of ``agreement``) and ``margins``.
    """
    columns = min(len(panels), 4)
    height = 0.17 * len(arms) + 0.1
    colors = {m: PALETTE[i % len(PALETTE)] for i, m in enumerate(dict.fromkeys(methods))}
    shapes = {m: MARKERS[i % len(MARKERS)] for i, m in enumerate(dict.fromkeys(methods))}
    figure, axes = make_panels(len(panels), columns=columns, height=height, left=2.0, bottom=0.28, top=0.27)
    for index, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        for height_at, (arm, method) in enumerate(zip(arms, methods, strict=True)):
            row = panel["rows"].get(arm)
            if row is None:
                continue
            ends = [(row.get(side) or {}).get("estimate") for side in ("lower_limit", "upper_limit")]
            if None not in ends:
                axis.plot(ends, [height_at, height_at], color=colors[method], linewidth=0.7, solid_capstyle="butt")
            interval_mark(axis, row.get("bias"), height_at, color=colors[method], marker=shapes[method], width=2.2)
        margin_lines(axis, panel.get("margins"), vertical=True)
        axis.axvline(0, color="#888888", linewidth=0.6, zorder=0)
        axis.set_yticks(range(len(arms)), labels)
        axis.set_ylim(len(arms) - 0.4, -0.6)
        axis.set_title(panel["title"])
        few_ticks(axis)
        axis.tick_params(axis="y", length=0, labelleft=index % columns == 0)
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def quality(panels: Sequence[Mapping[str, Any]]) -> bytes:
    """Mean and interval of image quality metrics; a panel a metric and modality, a mark a method.

    ``panels``: dicts with ``title``, ``note``, ``positions`` (labels along the axis) and ``points``: dicts ``position``
    (index), ``method``, ``label``, ``mean``, ``low``, ``high``.
    """
    methods = list(dict.fromkeys(p["label"] for panel in panels for p in panel["points"]))
    figure, axes = make_panels(
        len(panels), columns=min(len(panels), 4), height=1.35, left=0.5, bottom=0.72, top=0.4, gap=0.42, foot=0.26
    )
    for axis, panel in zip(axes, panels, strict=True):
        for point in panel["points"]:
            order = methods.index(point["label"])
            x = point["position"] + 0.18 * (order - (len(methods) - 1) / 2)
            color = PALETTE[order % len(PALETTE)]
            if point.get("low") is not None and point.get("high") is not None:
                axis.plot([x, x], [point["low"], point["high"]], color=color, linewidth=1.1)
            axis.plot(
                [x], [point["mean"]], marker=MARKERS[order % len(MARKERS)], color=color, markersize=4, linestyle=""
            )
        axis.set_xticks(
            range(len(panel["positions"])), panel["positions"], rotation=35, ha="right", rotation_mode="anchor"
        )
        axis.set_xlim(-0.6, len(panel["positions"]) - 0.4)
        axis.set_title(f"{panel['title']}\n{panel['note']}".rstrip(), linespacing=1.3)
        axis.margins(y=0.12)
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[i % len(MARKERS)],
            color=PALETTE[i % len(PALETTE)],
            markersize=4.5,
            label=m,
        )
        for i, m in enumerate(methods)
    ]
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0), ncols=len(handles), borderpad=0, fontsize=7.5
    )
    return to_svg(figure)


@matplotlib.rc_context(STYLE)
def to_svg(figure: Figure) -> bytes:
    """The figure as SVG, byte for byte the same for the same results."""
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a center's name in a script DejaVu lacks
        figure.savefig(
            stream, format="svg", dpi=RASTER_DPI, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return slim(stream.getvalue())


def make_panels(
    count: int,
    *,
    height: float,
    left: float,
    bottom: float,
    top: float,
    columns: int | None = None,
    gap: float = 0.16,
    foot: float = 0.0,
) -> tuple[Figure, list[Any]]:
    """A figure of panels of fixed size in inches, so that text has one size in all figures."""
    columns = columns or count
    lines = -(-count // columns)
    full_width = left + columns * PANEL_WIDTH + (columns - 1) * gap + 0.1
    full_height = lines * (height + top + bottom) + foot
    figure = Figure(figsize=(full_width, full_height))
    axes = []
    for index in range(count):
        line, column = divmod(index, columns)
        x = left + column * (PANEL_WIDTH + gap)
        y = full_height - (line + 1) * (height + top + bottom) + bottom
        axes.append(figure.add_axes((x / full_width, y / full_height, PANEL_WIDTH / full_width, height / full_height)))
    return figure, axes


def places_of(figure: Figure, axis: Any, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where points in the units of an axis lie in its figure; call it when the axis has its final range."""
    axis.get_xlim(), axis.get_ylim()  # matplotlib sets automatic ranges only when asked for them
    width, height = figure.bbox.size
    return [(x / width, 1 - y / height) for x, y in (axis.transData.transform(points) if points else ())]


def _bland_altman_panel(
    axis: Any, row: Mapping[str, Any], *, margins: Mapping[str, Any] | None, centers: Sequence[str], half_range: float
) -> None:
    pairs = complete(row)
    many = len(pairs) > MANY_POINTS
    if many:  # one picture a panel, below lines and bands; one for each center would be many times larger
        axis.set_rasterization_zorder(CLOUD_ORDER + 0.5)
    points = {"s": 6.0 if many else 13.0, "linewidths": 0, "alpha": 0.85, "zorder": CLOUD_ORDER if many else 1}
    beyond = {"markerfacecolor": "none", "markersize": 5, "linestyle": ""}
    for index, center in enumerate(centers):
        color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        places = list(zip(*_positions([p for p in pairs if p["center"] == center]), strict=True))
        inside = [(x, y) for x, y in places if abs(y) <= half_range]
        if inside:
            axis.scatter(*zip(*inside, strict=True), marker=marker, color=color, **points)
        for shape, sign in (("^", 1), ("v", -1)):
            outside = [x for x, y in places if sign * y > half_range]
            axis.plot(outside, [sign * BEYOND * half_range] * len(outside), marker=shape, color=color, **beyond)
    for side in ("lower_limit", "upper_limit"):
        _level(axis, row.get(side), color=LIMITS_COLOR, linestyle="--", alpha=0.13)
    _level(axis, row.get("bias"), color=BIAS_COLOR, linestyle="-", alpha=0.22)
    margin_lines(axis, margins, vertical=False)
    axis.axhline(0, color="#888888", linewidth=0.6, zorder=0)
    axis.set_ylim(-half_range, half_range)
    axis.margins(x=0.08)
    few_ticks(axis)
    if not pairs:
        axis.text(0.5, 0.6, "no evaluable pairs", transform=axis.transAxes, ha="center")
        axis.set_xticks([])


def few_ticks(axis: Any) -> None:
    """So few ticks that the labels of neighboring panels do not touch."""
    axis.xaxis.set_major_locator(MaxNLocator(nbins=4, prune="both"))


def _center_mean(axis: Any, value: Mapping[str, Any] | None, height: float) -> None:
    """The average center with its interval, and behind it where a new center is expected."""
    ends = [((value or {}).get("prediction") or {}).get(k) for k in ("low", "high")]
    if None not in ends:
        axis.plot(ends, [height, height], color="#888888", linewidth=0.7)
    interval_mark(axis, value, height, color="#000000", marker="s", width=2.0)


def complete(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Pairs of which both values are known: those that are drawn."""
    return [p for p in row.get("pairs") or [] if p.get("reference") is not None and p.get("test") is not None]


def _positions(pairs: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    means = [(p["test"] + p["reference"]) / 2 for p in pairs]
    return means, [p["test"] - p["reference"] for p in pairs]


def _ends(value: Mapping[str, Any] | None) -> list[float]:
    return [v for v in ((value or {}).get(k) for k in ("estimate", "low", "high")) if v is not None]


def _level(axis: Any, value: Mapping[str, Any] | None, *, color: str, linestyle: str, alpha: float) -> None:
    """A horizontal line with the band of its interval."""
    if value is None or value.get("estimate") is None:
        return
    axis.axhline(value["estimate"], color=color, linewidth=1, linestyle=linestyle)
    if value.get("low") is not None and value.get("high") is not None:
        axis.axhspan(value["low"], value["high"], color=color, alpha=alpha, linewidth=0, zorder=0.5)


def margin_lines(axis: Any, margins: Mapping[str, Any] | None, *, vertical: bool) -> None:
    """The margin of the bias as a band, that of the limits as two lines."""
    if not margins:
        return
    line, span = (axis.axvline, axis.axvspan) if vertical else (axis.axhline, axis.axhspan)
    inside = bias_margin(margins)
    if inside is not None:
        span(*inside, color=BIAS_MARGIN_COLOR, alpha=0.12, linewidth=0, zorder=0.2)
    if margins.get("limits"):
        for sign in (-1, 1):
            line(sign * margins["limits"], color=MARGIN_COLOR, linewidth=0.9, linestyle=MARGIN_STYLE)


def bias_margin(margins: Mapping[str, Any]) -> tuple[float, float] | None:
    """Between what the bias must lie; older runs know only one margin for both directions."""
    if not margins.get("bias"):
        return None
    lower, upper = margins.get("bias_lower"), margins.get("bias_upper")
    return (-margins["bias"] if lower is None else lower, margins["bias"] if upper is None else upper)


def interval_mark(
    axis: Any, value: Mapping[str, Any] | None, height: float, *, color: str, marker: str, width: float = 1.1
) -> None:
    """A mark at the estimate, over the line of its interval."""
    if value is None or value.get("estimate") is None:
        return
    if value.get("low") is not None and value.get("high") is not None:
        axis.plot([value["low"], value["high"]], [height, height], color=color, linewidth=width, solid_capstyle="butt")
    axis.plot([value["estimate"]], [height], marker=marker, color=color, markersize=4.5, linestyle="")
