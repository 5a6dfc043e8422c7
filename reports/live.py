"""What does a point of a plot say when it is pointed at? Names and values as text, with the place of each point.

A plot item of reports.document may carry ``live`` (packed by reports.render when the page is written): ``labels`` of the values, ``names``, ``shared`` (a text for each name:
its first values, the same in all panels), and ``panels`` with ``title`` and ``points``. A point is ``x y name value ...``
with x and y in ten-thousandths of the picture's width and height and ``name`` an index; points are parted by ``;``, and
minus signs are hyphens until shown. So a page can hold some hundred thousand of them, and reads them only when a reader
comes to the plot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports import tables
from reports.figures import Drawn, complete

UNITS_PER_PICTURE = 10_000


def live_pairs(
    drawn: Drawn, rows: Sequence[Mapping[str, Any]], *, titles: Sequence[str], digits: int, unit: str
) -> dict[str, Any]:
    """``live`` of a Bland-Altman plot: center and patient, reference, accelerated and difference of each pair.

    Parameters
    ----------
    drawn
        What :func:`reports.figures.bland_altman_drawn` made of ``rows``.
    rows
        Entries of ``agreement`` in results.json.
    titles
        One a panel.
    digits
        Behind the decimal point, as everywhere on the page.
    unit
        Unit of the phenotype.

    Returns
    -------
    dict
        To stand as ``live`` in an item of :func:`reports.document.plots_block`.
    """
    known: dict[tuple[str, str], int] = {}
    panels = []
    for row, title, places in zip(rows, titles, drawn.places, strict=True):
        points = []
        for pair, place in zip(complete(row), places, strict=True):
            whose = f"{pair['center']}, patient {pair['patient']}"
            name = known.setdefault((whose, tables.number(pair["reference"], digits)), len(known))
            values = (pair["test"], False), (pair["test"] - pair["reference"], True)
            points.append(_point(place, name, [tables.number(v, digits, signed=signed) for v, signed in values]))
        panels.append({"title": title, "points": ";".join(points)})
    in_unit = f" ({unit})" if unit else ""
    labels = [f"{what}{in_unit}" for what in ("reference", "accelerated", "difference")]
    names, shared = [n for n, _ in known], [_plain(v) for _, v in known]
    return {"labels": labels, "names": names, "shared": shared, "panels": panels}


def _point(place: tuple[float, float], name: int, values: Sequence[str]) -> str:
    x, y = (round(UNITS_PER_PICTURE * at) for at in place)
    return f"{x} {y} {name} {_plain(' '.join(values))}"


def _plain(text: str) -> str:
    """The minus sign takes six bytes where it is escaped, a hyphen one."""
    return text.replace(tables.MINUS, "-")
