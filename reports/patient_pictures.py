"""Which pictures show one patient? The volumes over the beat, the beat as a strip of frames, maps; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from reports import pictures
from reports.figures import MARKERS, PALETTE, STYLE, to_svg

MOST_FRAMES: Final = 12
FRAME_PX: Final = 120
CURVE_WIDTH, CURVE_HEIGHT = 3.3, 2.1  # inches


@dataclass(frozen=True)
class Strip:
    """One slice over the beat in one arm: images and labels ``(frames, y, x)``, upright; ED and ES are frames."""

    scan: str
    arm: str
    images: NDArray[np.float32]
    labels: NDArray[np.uint8]
    pixel_mm: tuple[float, float]
    ed_frame: int
    es_frame: int
    slice: int


@dataclass(frozen=True)
class Still:
    """One stored picture beside the fully sampled one: phase ``ED``, ``ES`` or ``map``; ``kind`` is the scale of its values."""

    scan: str
    arm: str
    phase: str
    kind: str
    slice: int
    sample: pictures.Sample


@dataclass(frozen=True)
class Images:
    """What was found in the run folder for one patient, and what could not be read."""

    strips: tuple[Strip, ...] = ()
    stills: tuple[Still, ...] = ()
    notes: tuple[str, ...] = ()


@matplotlib.rc_context(STYLE)
def curves_svg(panels: Sequence[Mapping[str, Any]], *, frame_time_s: float | None) -> bytes:
    """Curves over the beat, a panel a quantity.

    ``panels``: dicts with ``title``, ``unit`` and ``curves``: dicts with ``label``, ``values`` (None where there is none) and
    ``reference`` (drawn thick and black).
    """
    labels = list(dict.fromkeys(c["label"] for panel in panels for c in panel["curves"]))
    references = {c["label"] for panel in panels for c in panel["curves"] if c["reference"]}
    others = [label for label in labels if label not in references]
    foot = 0.2 * -(-len(labels) // 3) + 0.08
    left, gap, bottom, top = 0.55, 0.6, 0.42, 0.28
    width = left + len(panels) * CURVE_WIDTH + (len(panels) - 1) * gap + 0.1
    height = CURVE_HEIGHT + bottom + top + foot
    figure = Figure(figsize=(width, height))
    styles = {label: _style(label, references, others) for label in labels}
    for index, panel in enumerate(panels):
        x = left + index * (CURVE_WIDTH + gap)
        axis = figure.add_axes(
            (x / width, (bottom + foot) / height, CURVE_WIDTH / width, CURVE_HEIGHT / height), title=panel["title"]
        )
        for curve in panel["curves"]:
            values = [np.nan if v is None else v for v in curve["values"]]
            step = 1.0 if frame_time_s is None else 1000 * frame_time_s
            axis.plot(step * np.arange(len(values)), values, **styles[curve["label"]])
        axis.set_xlabel("frame" if frame_time_s is None else "time in the beat (ms)")
        axis.set_ylabel(panel["unit"])
    handles = [Line2D([], [], label=label, **styles[label]) for label in labels]
    figure.legend(handles=handles, loc="lower center", ncols=3, borderpad=0, columnspacing=1.4)
    return to_svg(figure)


def _style(label: str, references: set[str], others: Sequence[str]) -> dict[str, Any]:
    if label in references:
        return {"color": "#000000", "linewidth": 1.9, "marker": "", "zorder": 3}
    place = others.index(label)
    color, marker = PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
    return {"color": color, "linewidth": 0.9, "marker": marker, "markersize": 2.8}


def shown_frames(strip: Strip) -> list[int]:
    """So many frames as fit side by side, evenly over the beat, with ED and ES among them."""
    count = len(strip.images)
    if count <= MOST_FRAMES:
        return list(range(count))
    even = {round(i * (count - 1) / (MOST_FRAMES - 3)) for i in range(MOST_FRAMES - 2)}
    return sorted(even | {strip.ed_frame, strip.es_frame})


def strip_png(strip: Strip, *, frames: Sequence[int], box: tuple[slice, slice], window: float) -> bytes:
    """Frames side by side on one gray scale; ED and ES with contours and their names."""
    gap = ((0, 0), (0, 1))
    named = [_phase(strip, frame) for frame in frames]
    cells = np.concatenate([np.pad(strip.images[frame][box], gap) for frame in frames], axis=1)
    labels = np.concatenate(
        [np.pad(strip.labels[f][box] * np.uint8(bool(n)), gap) for f, n in zip(frames, named, strict=True)], axis=1
    )
    aspect = cells.shape[0] * strip.pixel_mm[0] / (cells.shape[1] * strip.pixel_mm[1])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(len(frames), len(frames) * aspect), dpi=FRAME_PX, facecolor="black")
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        axis.imshow(cells, cmap="gray", vmin=0, vmax=window, aspect="auto", interpolation="bicubic")
        _contours(axis, labels)
        for place, (frame, name) in enumerate(zip(frames, named, strict=True)):
            axis.text(
                (place + 0.03) / len(frames), 0.97, name or str(frame), transform=axis.transAxes, color="white",
                fontsize=6.5, va="top", bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.0, "linewidth": 0},
            )  # fmt: skip
        stream = BytesIO()
        figure.savefig(stream, format="png", dpi=FRAME_PX, facecolor="black", metadata={"Software": None})
    return pictures.with_contour_colors(stream.getvalue(), "gray")


def _phase(strip: Strip, frame: int) -> str:
    names = [name for name, at in (("ED", strip.ed_frame), ("ES", strip.es_frame)) if at == frame]
    return " ".join(names)


def _contours(axis: Any, labels: NDArray[np.uint8]) -> None:
    for label, color in pictures.CONTOURS:
        region = np.isin(labels, (1, 2)) if label == 2 else labels == label
        if region.any() and not region.all():
            axis.contour(region.astype(float), levels=[0.5], colors=[color], linewidths=0.7)


def strip_box(strip: Strip) -> tuple[slice, slice]:
    """Rows and columns around the heart at end-diastole of the fully sampled strip, for all strips of the scan."""
    still = strip.images[strip.ed_frame]
    labels = strip.labels[strip.ed_frame]
    return pictures.heart_box(pictures.Sample(still, still, labels, labels, strip.pixel_mm))


def strip_window(strip: Strip, box: tuple[slice, slice]) -> float:
    """White end of the gray scale of all strips of a scan: of the fully sampled one, near the heart."""
    return pictures.gray_window(strip.images[(slice(None), *box)])
