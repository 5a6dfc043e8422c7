"""How small can a figure be without looking different? Shorter numbers, and pictures of few colors inside.

matplotlib writes six decimals of a point where a hundredth cannot be seen, and stores clouds of points with every shade.
A page of a large study holds a hundred figures, so this decides whether it opens at once.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from io import BytesIO

from PIL import Image

COLORS_IN_PICTURE = 96
_NUMBERS = re.compile(rb' (?:d|x|y|points)="[^"]*"')  # not transform: the scale of glyphs needs its digits
_LONG = re.compile(rb"(\d+\.\d\d)\d+")
_INDENT = re.compile(rb"\n +<")
_GLYPH = re.compile(rb'((?: id="|xlink:href="#))DejaVuSans-(?=[0-9a-f]+")')
# where a letter stands, in hundredths of its size; x says the same in fewer bytes
_ADVANCE = re.compile(rb'(<use xlink:href="#g[0-9a-f]+") transform="translate\(([0-9.]+) 0\)"/>')
_PICTURE = re.compile(rb'"data:image/png;base64,([^"]*)"')


def slim(svg: bytes) -> bytes:
    """The same figure in fewer bytes: coordinates to a hundredth of their unit, pictures with a palette."""
    shorter = _NUMBERS.sub(lambda found: _LONG.sub(rb"\1", found[0]), svg)
    shorter = _GLYPH.sub(rb"\1g", _INDENT.sub(rb"\n<", shorter))
    shorter = _ADVANCE.sub(lambda found: found[1] + f' x="{float(found[2]):.0f}"/>'.encode(), shorter)
    return _PICTURE.sub(lambda found: b'"data:image/png;base64,' + _few_colors(found[1]) + b'"', shorter)


def _few_colors(encoded: bytes) -> bytes:
    stream = BytesIO()
    with Image.open(BytesIO(b64decode(encoded))) as picture:
        few = picture.convert("RGBA").quantize(
            COLORS_IN_PICTURE, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
        few.save(stream, format="PNG", optimize=True)
    return b64encode(stream.getvalue())
