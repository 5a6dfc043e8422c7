"""How do the reconstructions look? Reference, accelerated image and error as small PNGs with contours.

Pictures are cropped to the heart where contours say where it is, and stored with few colors to keep the page small.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from reports.figures import STYLE, to_svg

ERROR_GAIN = 5  # the error is shown five times brighter than the image
CROP_MARGIN_MM = 25.0  # kept around the heart
WINDOW_PERCENTILE = 99.5  # of the reference near the heart: the brightest vessels do not set the gray scale
COLORS_IN_FILE = 64
CONTOURS = ((1, "#E69F00"), (2, "#56B4E9"), (3, "#00C08A"))  # LV cavity, LV myocardium (outer border), RV cavity
MAP_WINDOWS_MS = {"T1": (2000.0, 300.0), "T2": (100.0, 20.0)}  # white end of the map, end of the difference scale


@dataclass(frozen=True)
class Sample:
    """One entry of the gallery: images and labels ``(y, x)``; labels 1 LV cavity, 2 myocardium, 3 RV cavity."""

    reference: NDArray[np.float32]
    image: NDArray[np.float32]
    labels_reference: NDArray[np.uint8]
    labels_image: NDArray[np.uint8]
    pixel_mm: tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Gray or color scale that all pictures of a group share."""

    kind: str  # "magnitude", "T1" or "T2"
    window: float
    error_window: float

    @property
    def unit(self) -> str:
        """Unit of the values, empty for magnitudes."""
        return "" if self.kind == "magnitude" else "ms"


def read_sample(path: Path) -> Sample:
    """Read a gallery file.

    Raises
    ------
    OSError, KeyError, ValueError
        When the file is missing, lacks an array, or its arrays do not fit each other.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: np.asarray(stored[name]) for name in ("reference", "image", "labels_reference", "labels_image")}
        spacing = np.atleast_1d(stored["spacing_mm"]).astype(float)
    shapes = {a.shape for a in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"arrays of one two-dimensional shape expected, got {sorted(shapes)}")
    return Sample(
        reference=arrays["reference"].astype(np.float32),
        image=arrays["image"].astype(np.float32),
        labels_reference=arrays["labels_reference"].astype(np.uint8),
        labels_image=arrays["labels_image"].astype(np.uint8),
        pixel_mm=(float(spacing[-2]), float(spacing[-1])) if spacing.size >= 2 else (1.0, 1.0),
    )


def common_scale(sample: Sample, kind: str) -> Scale:
    """Scale of a group, taken from its reference alone."""
    if kind in MAP_WINDOWS_MS:
        return Scale(kind, *MAP_WINDOWS_MS[kind])
    window = gray_window(sample.reference[heart_box(sample)])
    return Scale("magnitude", window, window / ERROR_GAIN)


def gray_window(near_heart: NDArray[np.float32]) -> float:
    """White end of a gray scale: of what lies near the heart, as vessels and fat near the coils are several times brighter."""
    finite = near_heart[np.isfinite(near_heart)]
    return (float(np.percentile(finite, WINDOW_PERCENTILE)) if finite.size else 1.0) or 1.0


def heart_box(sample: Sample) -> tuple[slice, slice]:
    """Rows and columns around the heart of the reference; the whole picture where no heart was found."""
    shape = sample.reference.shape
    found = np.argwhere(sample.labels_reference > 0)
    if not len(found):
        return slice(0, shape[0]), slice(0, shape[1])
    low, high = found.min(axis=0), found.max(axis=0) + 1
    margin = [CROP_MARGIN_MM / mm for mm in sample.pixel_mm]
    half = max(
        (high[i] - low[i]) / 2 * sample.pixel_mm[i] + margin[i] * sample.pixel_mm[i] for i in (0, 1)
    )  # mm, a square
    box = []
    for i in (0, 1):
        middle, reach = (low[i] + high[i]) / 2, half / sample.pixel_mm[i]
        box.append(slice(max(0, round(middle - reach)), min(shape[i], round(middle + reach))))
    return box[0], box[1]


def picture(sample: Sample, *, what: str, scale: Scale, box: tuple[slice, slice], side_px: int) -> bytes:
    """PNG of one picture of a sample.

    Parameters
    ----------
    what
        ``reference`` or ``image`` (with their contours; on the image the reference's are dotted), or ``error``.
    side_px
        Longer side of the picture.
    """
    values = sample.reference if what == "reference" else sample.image
    cells = values[box]
    height_mm, width_mm = cells.shape[0] * sample.pixel_mm[0], cells.shape[1] * sample.pixel_mm[1]
    longer = max(height_mm, width_mm)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width_mm / longer, height_mm / longer), dpi=side_px, facecolor="black")
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        colors = "gray" if scale.kind == "magnitude" else _map_colors(scale.kind)
        if what == "error":
            _show_error(axis, cells - sample.reference[box], scale)
        else:
            axis.imshow(cells, cmap=colors, vmin=0, vmax=scale.window, aspect="auto", interpolation="bicubic")
            if what == "image":
                _draw_contours(axis, sample.labels_reference[box], "dotted")
            own = sample.labels_reference if what == "reference" else sample.labels_image
            _draw_contours(axis, own[box], "solid")
        stream = BytesIO()
        figure.savefig(
            stream, format="png", dpi=side_px, transparent=False, facecolor="black", metadata={"Software": None}
        )
    if what == "error":
        return _reduced(stream.getvalue(), colors=COLORS_IN_FILE)
    return with_contour_colors(stream.getvalue(), colors)


def scale_bars(scale: Scale) -> bytes:
    """SVG of the two color bars of a group."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 0.5))
        if scale.kind == "magnitude":
            bars = [
                ("gray", 0.0, 1.0, "image (1 = 99.5th percentile of the reference near the heart)"),
                ("inferno", 0.0, 1.0 / ERROR_GAIN, f"error, shown ×{ERROR_GAIN} (same unit)"),
            ]
        else:
            bars = [
                (_map_colors(scale.kind), 0.0, scale.window, f"{scale.kind} (ms)"),
                ("RdBu_r", -scale.error_window, scale.error_window, f"difference of {scale.kind} (ms)"),
            ]
        for index, (colors, low, high, label) in enumerate(bars):
            axis = figure.add_axes((0.03 + 0.5 * index, 0.76, 0.44, 0.22))
            axis.imshow(np.linspace(0, 1, 256)[None], cmap=colors, aspect="auto", extent=(low, high, 0, 1))
            axis.set_yticks([])
            axis.set_xlabel(label, labelpad=1)
            axis.tick_params(pad=1, length=2)
            axis.locator_params(axis="x", nbins=5)
    return to_svg(figure)


def _map_colors(kind: str) -> str:
    return "magma" if kind == "T1" else "viridis"


def _show_error(axis: matplotlib.axes.Axes, error: NDArray[np.float32], scale: Scale) -> None:
    if scale.kind == "magnitude":
        axis.imshow(
            np.abs(error), cmap="inferno", vmin=0, vmax=scale.error_window, aspect="auto", interpolation="bicubic"
        )
    else:
        limit = scale.error_window
        axis.imshow(error, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")


def _draw_contours(axis: matplotlib.axes.Axes, labels: NDArray[np.uint8], style: str) -> None:
    """Outlines; the myocardium's is its outer border, so that cavity and wall share no line."""
    width = 0.45 if style == "dotted" else 0.55  # points, on a picture one inch wide
    for label, color in CONTOURS:
        region = np.isin(labels, (1, 2)) if label == 2 else labels == label
        if region.any() and not region.all():
            chosen = "white" if style == "dotted" else color
            axis.contour(region.astype(float), levels=[0.5], colors=[chosen], linewidths=width, linestyles=style)


def with_contour_colors(png: bytes, colors: str) -> bytes:
    """The same picture with few colors, a third of the size: those of its color map, and those of the contours.

    A palette found by frequency would drop the thin lines of the contours, so theirs stand in it, alone and half over
    what lies below.
    """
    below = matplotlib.colormaps[colors](np.linspace(0, 1, COLORS_IN_FILE))[:, :3]
    shares = [(share, below[:: COLORS_IN_FILE // 8]) for share in (0.35, 0.7)]
    lines = [np.array(to_rgb(name)) for name in (*(color for _, color in CONTOURS), "white")]
    mixed = [share * line + (1 - share) * part for line in lines for share, part in shares]
    flat = 255 * np.concatenate([below, lines, *mixed, np.zeros((1, 3))])
    palette = Image.new("P", (1, 1))
    palette.putpalette(flat.round().astype(np.uint8).ravel().tolist())
    return _reduced(png, palette=palette)


def _reduced(png: bytes, **palette: Any) -> bytes:
    with Image.open(BytesIO(png)) as full:
        reduced = full.convert("RGB").quantize(dither=Image.Dither.NONE, **palette)
    stream = BytesIO()
    reduced.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
