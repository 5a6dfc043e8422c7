"""How do the labels of a series look on its images? Slices at end diastole and end systole with the volume curves and a
bull's-eye of the wall, or the map with the myocardium's contour."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cohort.atomic import replacing
from reports.bullseye import bullseye_png

CONTOURS = ((1, "#E69F00", "LV cavity"), (2, "#56B4E9", "myocardium"), (3, "#00C08A", "RV cavity"))
MOST_SLICES = 10
MARGIN_MM = 20.0
WINDOW = (1.0, 99.5)  # percentiles of the part shown
MAP_LIMITS_MS = {"T1 mapping": (0.0, 2000.0), "T2 mapping": (0.0, 120.0), "T2* mapping": (0.0, 60.0)}
DPI = 100
LINE_LENGTH, NOTE_INCHES = 150, 0.13


def cine_picture(
    path: Path,
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    spacing_mm: tuple[float, float, float],
    phases: dict[str, int],
    curves_ml: dict[str, tuple[float, ...]],
    title: str,
) -> None:
    """Write a montage: a row for each phase, a column for each slice that shows the heart, and the curves below.

    `phases` names frames (ED, ES); without a heart the middle slices of the first frame are shown.
    """
    slices = _shown_slices(labels)
    box = _around_heart(labels, spacing_mm)
    frames = phases or {"first": 0}
    figure = Figure(figsize=(1.6 * len(slices), 1.75 * len(frames) + (1.9 if curves_ml else 0.3)), dpi=DPI)
    grid = figure.add_gridspec(
        len(frames) + bool(curves_ml), len(slices), height_ratios=[1] * len(frames) + [0.9] * bool(curves_ml)
    )
    for row, (phase, frame) in enumerate(frames.items()):
        for column, z in enumerate(slices):
            axes = figure.add_subplot(grid[row, column])
            low, high = np.percentile(image[frame, z][box], WINDOW)
            axes.imshow(image[frame, z][box], cmap="gray", vmin=low, vmax=high, aspect=spacing_mm[1] / spacing_mm[2])
            _draw_contours(axes, labels[frame, z][box])
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(f"slice {z}", fontsize=8)
            if column == 0:
                axes.set_ylabel(f"{phase} (frame {frame})", fontsize=8)
    if curves_ml:
        axes = figure.add_subplot(grid[-1, :])
        for (_, color, name), curve in zip((CONTOURS[0], CONTOURS[2]), curves_ml.values(), strict=True):
            axes.plot(curve, color=color, marker=".", label=name)
        for phase, frame in phases.items():
            axes.axvline(frame, color="0.6", linewidth=0.8)
            axes.annotate(phase, (frame, 0), xytext=(2, 2), textcoords="offset points", fontsize=7, color="0.4")
        axes.set_ylim(0, 1.1 * max(max(curve) for curve in curves_ml.values()) or 1.0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("frame", fontsize=8)
        axes.set_ylabel("mL", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7, loc="lower center")
    _save(figure, path, title)


def map_picture(
    path: Path,
    shown: NDArray[np.float32],
    map_ms: NDArray[np.floating],
    labels: NDArray[np.uint8],
    *,
    spacing_mm: tuple[float, float, float],
    kind: str,
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Write, for each slice, the image that was segmented and the map, both with contours; `notes` stand below, a line each."""
    slices = range(len(map_ms))
    lines = [line for note in notes for line in wrap(note, LINE_LENGTH, subsequent_indent="    ")]
    figure = Figure(figsize=(7.5, 3.2 * len(map_ms) + 0.3 + NOTE_INCHES * len(lines)), dpi=DPI)
    low, high = MAP_LIMITS_MS[kind]
    aspect = spacing_mm[1] / spacing_mm[2]
    for z in slices:
        left = figure.add_subplot(len(map_ms), 2, 2 * z + 1)
        dark, bright = np.percentile(shown[z], WINDOW)
        left.imshow(shown[z], cmap="gray", vmin=dark, vmax=bright, aspect=aspect)
        left.set_ylabel(f"slice {z}", fontsize=8)
        left.set_title("image that was segmented", fontsize=8)
        right = figure.add_subplot(len(map_ms), 2, 2 * z + 2)
        drawn = right.imshow(map_ms[z], cmap="viridis", vmin=low, vmax=high, aspect=aspect)
        right.set_title(f"{kind.removesuffix(' mapping')}, ms; white: no value", fontsize=8)
        figure.colorbar(drawn, ax=right, fraction=0.046)
        for axes in (left, right):
            _draw_contours(axes, labels[z])
            axes.set_xticks([])
            axes.set_yticks([])
    _save(figure, path, title, lines)


def thickness_picture(path: Path, mean_mm: Mapping[str, float | None], title: str) -> Path:
    """Write a bull's-eye of the mean wall thickness at end diastole, by AHA segment."""
    values = {int(segment): math.nan if value is None else value for segment, value in mean_mm.items()}
    known = [value for value in values.values() if math.isfinite(value)]
    low, high = (math.floor(min(known)), math.ceil(max(known))) if known else (0, 1)
    content = bullseye_png(values, title=title, unit="mm", limits=(low, max(high, low + 1)))
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def _shown_slices(labels: NDArray[np.uint8]) -> list[int]:
    """Up to ten, evenly spread over the slices that show the heart at any time."""
    heart = np.flatnonzero((labels > 0).any(axis=(0, 2, 3)))
    if not len(heart):
        heart = np.arange(labels.shape[1])
    picked = np.unique(np.round(np.linspace(0, len(heart) - 1, min(MOST_SLICES, len(heart)))).astype(int))
    return [int(z) for z in heart[picked]]


def _around_heart(labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> tuple[slice, slice]:
    heart: NDArray[np.bool_] = np.asarray((labels > 0).any(axis=(0, 1)))
    if not heart.any():
        return slice(None), slice(None)
    box = []
    for axis, size in ((1, spacing_mm[1]), (0, spacing_mm[2])):
        where, margin = np.flatnonzero(heart.any(axis=axis)), round(MARGIN_MM / size)
        box.append(slice(max(0, int(where[0]) - margin), int(where[-1]) + 1 + margin))
    return box[0], box[1]


def _draw_contours(axes: Any, labels: NDArray[np.uint8]) -> None:
    for label, color, _ in CONTOURS:
        # the myocardium's contour is the outer border of the wall, cavity included
        mask = np.isin(labels, (1, 2)) if label == 2 else labels == label
        if mask.any() and min(mask.shape) > 1:
            axes.contour(mask.astype(float), levels=[0.5], colors=[color], linewidths=1.0)


def _save(figure: Figure, path: Path, title: str, lines: Sequence[str] = ()) -> None:
    inches = figure.get_size_inches()[1]
    figure.suptitle(title, fontsize=9, y=1 - 0.04 / inches, va="top")
    foot = NOTE_INCHES * len(lines) / inches
    if lines:
        figure.text(0.02, 0.03 / inches, "\n".join(lines), fontsize=7, va="bottom", linespacing=1.2)
    figure.tight_layout(pad=0.4, rect=(0, foot, 1, 1 - 0.22 / inches))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
