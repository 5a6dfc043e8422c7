"""Does the bull's-eye show each value in its place, and say what is missing?"""

import math
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Wedge
from PIL import Image

from reports.bullseye import NAMES, NUMBER_SIZE, bullseye, bullseye_png, bullseye_svg, place

VALUES = {segment: 6.0 + 0.5 * segment for segment in range(1, 18)}
OPTIONS: dict[str, Any] = {"title": "Wall thickness at end-diastole", "unit": "mm", "limits": (6.0, 15.0)}


def wedges(values: dict[int, float], **options: Any) -> list[Wedge]:
    figure = bullseye(values, **{**OPTIONS, **options})
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Wedge)]


def texts(values: dict[int, float], **options: Any) -> list[str]:
    figure = bullseye(values, **{**OPTIONS, **options})
    return [text.get_text() for text in [*figure.axes[0].texts, *figure.texts]]


def middle_deg(segment: int) -> float:
    _, _, start, end = place(segment)
    return ((start + end) / 2) % 360


def test_every_segment_lies_where_the_aha_model_puts_it() -> None:
    """Anterior at the top, septal segments at the left, inferior at the bottom, lateral at the right."""
    expected = {"anterior": 90, "anteroseptal": 150, "inferoseptal": 210, "inferior": 270, "inferolateral": 330}
    expected |= {"anterolateral": 30, "septal": 180, "lateral": 0}
    for segment, name in NAMES.items():
        if segment != 17:
            assert middle_deg(segment) == pytest.approx(expected[name.split()[1]])
    assert [place(s)[1] for s in (1, 7, 13, 17)] == [1.0, 0.74, 0.48, 0.22]


def test_the_segments_cover_the_disc_once() -> None:
    area = sum(math.pi * (b**2 - a**2) * (end - start) / 360 for a, b, start, end in map(place, NAMES))
    assert area == pytest.approx(math.pi)


def test_sixteen_or_seventeen_segments() -> None:
    assert len(wedges(VALUES)) == 17
    assert len(wedges({s: v for s, v in VALUES.items() if s != 17})) == 16


def test_values_stand_in_their_segments_with_unit_and_title() -> None:
    shown = texts(VALUES)
    assert {"6.5", "14.5", "anterior", "inferior", "septum (RV side)", "lateral"} <= set(shown)
    assert OPTIONS["title"] in shown
    assert bullseye(VALUES, **OPTIONS).axes[1].get_title() == "mm"
    assert "\N{MINUS SIGN}17" in texts({1: -17.2}, limits=(-30.0, 0.0), digits=0)


def test_colors_rise_in_lightness_and_can_be_turned() -> None:
    def lightness(wedge: Wedge) -> float:
        return float(np.dot(to_rgb(wedge.get_facecolor()), (0.2126, 0.7152, 0.0722)))

    rising = [lightness(wedge) for wedge in wedges(VALUES)]
    assert rising == sorted(rising)
    falling = [lightness(wedge) for wedge in wedges(VALUES, reversed_colors=True)]
    assert falling == sorted(falling, reverse=True)


def test_missing_segments_are_hatched_and_named() -> None:
    values = {**VALUES, 5: math.nan}
    del values[2]
    assert [i + 1 for i, wedge in enumerate(wedges(values)) if wedge.get_hatch()] == [2, 5]
    assert "not measured: 2 (basal anteroseptal), 5 (basal inferolateral)" in texts(values)
    assert "not measured: segments 1, 2, 3, 4, 5, 6" in texts({s: v for s, v in VALUES.items() if s > 6})
    assert not any("not measured" in text for text in texts(VALUES))


def test_numbers_are_readable_on_their_color() -> None:
    """Black or white, whichever contrasts by 4.5 to 1 at least (WCAG 2, contrast of text)."""

    def luminance(color: Any) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    figure = bullseye(VALUES, **OPTIONS)
    faces = [patch.get_facecolor() for patch in figure.axes[0].patches]
    numbers = [text for text in figure.axes[0].texts if text.get_fontsize() == NUMBER_SIZE]
    for face, text in zip(faces, numbers, strict=True):
        bright, dark = sorted((luminance(face), luminance(text.get_color())), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) > 4.4


def test_files_are_repeatable() -> None:
    assert bullseye_svg(VALUES, **OPTIONS) == bullseye_svg(VALUES, **OPTIONS)
    assert bullseye_svg(VALUES, **OPTIONS).lstrip().startswith(b"<?xml")
    png = bullseye_png(VALUES, **OPTIONS, dpi=100)
    assert png == bullseye_png(VALUES, **OPTIONS, dpi=100)
    assert Image.open(BytesIO(png)).size == (370, 330)


def test_values_beyond_the_scale_show_as_an_arrow() -> None:
    plain, beyond = (bullseye(v, **OPTIONS).axes[1] for v in (VALUES, {**VALUES, 3: 30.0}))
    assert len(beyond.patches) > len(plain.patches)


def test_wrong_calls_fail() -> None:
    with pytest.raises(ValueError, match=r"no AHA segment \[18\]"):
        bullseye({18: 1.0}, **OPTIONS)
    with pytest.raises(ValueError, match="lower to a higher"):
        bullseye(VALUES, title="", unit="mm", limits=(3.0, 3.0))
    with pytest.raises(ValueError, match="no AHA segment 0"):
        place(0)
