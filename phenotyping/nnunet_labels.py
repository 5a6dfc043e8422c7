"""What do the label numbers of a segmentation model mean, and is what it found in that order possible?

Models number structures as they like: short-axis sets 1 LV, 2 myocardium, 3 RV or, as ACDC, the other way round;
long-axis sets have atria besides. Names decide where they are known, an explicit map goes before them, and the anatomy
has the last word: myocardium surrounds the LV cavity.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import ConfigProblem, MeasurementFailed, WeightsProblem
from phenotyping.labels import ALL_NAMES, BACKGROUND, LA, LV, MYOCARDIUM, RA, RV, Labels, fitting_order

LabelMap = Mapping[str | int, str | int]

#: what nnU-Net folders call the structures, after removing everything but letters
KNOWN_NAMES: Final[Mapping[int, frozenset[str]]] = {
    BACKGROUND: frozenset({"background", "bg"}),
    LV: frozenset(
        {"lv", "lvc", "lvcavity", "lvbloodpool", "leftventricle", "leftventricularcavity", "leftventriclecavity"}
    ),
    MYOCARDIUM: frozenset({"myo", "myocardium", "mlv", "lvm", "lvmyo", "lvmyocardium", "leftventricularmyocardium"}),
    RV: frozenset(
        {"rv", "rvc", "rvcavity", "rvbloodpool", "rightventricle", "rightventricularcavity", "rightventriclecavity"}
    ),
    LA: frozenset({"la", "lac", "lacavity", "leftatrium", "leftatrialcavity", "leftatriumcavity"}),
    RA: frozenset({"ra", "rac", "racavity", "rightatrium", "rightatrialcavity", "rightatriumcavity"}),
}
#: recognized, but no structure of ours: background unless a map says otherwise
DROPPED_NAMES: Final = frozenset({"aorta", "ao", "pulmonaryartery", "pa"})
LARGEST_NUMBER: Final = 255


def label_table(folder: Path, named: Mapping[str, Any], label_map: LabelMap | None) -> NDArray[np.uint8]:
    """The model's label numbers to ours, as a table to index with.

    Without a map: by the names in ``dataset.json``; atria and great vessels become background. An entry of the map goes
    before the name, and is the only way to keep atria (``"LA"`` 4, ``"RA"`` 5).

    Parameters
    ----------
    folder
        Of the model, for messages.
    named
        ``labels`` of its ``dataset.json``: name to number, or to the numbers of a region.
    label_map
        Their name or number to our name or number: ``{"1": "RV cavity", 2: "myocardium", "LVC": 1}``.

    Returns
    -------
    uint8 (256,)

    Raises
    ------
    WeightsProblem
        A label of the model has no meaning, or there is no LV cavity or (unless mapped by hand) no myocardium.
    ConfigProblem
        The map names what the model has not, or a structure that is none of ours.
    """
    names = names_by_number(named)
    table = np.zeros(LARGEST_NUMBER + 1, np.uint8)
    given = _given(named, names, label_map or {})
    unknown = []
    for number, name in names.items():
        ours = given.get(number, _recognized(name))
        if ours is None:
            unknown.append(f"{name} ({number})" if name else str(number))
        elif number not in given and ours in (LA, RA):
            table[number] = BACKGROUND
        else:
            table[number] = ours
    # a long-axis set may have no myocardium: whoever maps it by hand knows that
    missing = {LV, *(() if label_map else (MYOCARDIUM,))} - set(table.tolist())
    if unknown or missing:
        expected = ", ".join(ALL_NAMES[tissue] for tissue in (LV, MYOCARDIUM, RV))
        what = f"no meaning for {', '.join(unknown)}" if unknown else f"none is the {ALL_NAMES[min(missing)]}"
        raise WeightsProblem(
            folder / "dataset.json",
            f"expected labels named {expected}; got {', '.join(map(str, named))}: {what}; say with a label map "
            '(segmentation.label_map) what each is, "background" for what is not wanted',
        )
    return table


def names_by_number(named: Mapping[str, Any]) -> dict[int, str]:
    """Every foreground number that the model can answer, with its name; without, where only regions hold it."""
    numbers: dict[int, str] = {}
    for name, value in named.items():
        members = value if isinstance(value, (list, tuple)) else [value]
        whole = [number for number in members if isinstance(number, int) and 0 < number <= LARGEST_NUMBER]
        if name == "ignore" or name.lower() == "background":
            continue
        for number in whole:
            numbers.setdefault(number, "")
        if len(whole) == 1:
            numbers[whole[0]] = name
    return dict(sorted(numbers.items()))


def check_model_order(labels: Labels, named: Mapping[str, Any], table: NDArray[np.uint8]) -> None:
    """Stop where what a model found shows its labels in another order than was assumed.

    Parameters
    ----------
    labels
        (frames, slices, y, x), after the table.
    named, table
        See ``label_table``.

    Raises
    ------
    MeasurementFailed
        In most volumes with a heart another order fits and this one does not; the message has the map that would.
    """
    orders = [fitting_order(volume) for volume in labels]
    judged = [tuple(sorted(order.items())) for order in orders if order is not None]
    if not judged:
        return
    most = max(sorted(set(judged)), key=judged.count)
    order = dict(most)
    if (order[LV] == LV and order[MYOCARDIUM] == MYOCARDIUM) or 2 * judged.count(most) <= len(judged):
        return
    names = names_by_number(named)
    words = ", ".join(
        f'"{name or number}" = "{ALL_NAMES[order.get(int(table[number]), int(table[number]))]}"'
        for number, name in names.items()
    )
    raise MeasurementFailed(
        f"segmentation: in {judged.count(most)} of {len(judged)} volumes the myocardium does not surround the LV cavity, so "
        f"the labels of the model have another order than assumed; this one fits: label_map = {{{words}}}"
    )


def _given(named: Mapping[str, Any], names: Mapping[int, str], label_map: LabelMap) -> dict[int, int]:
    """The map as numbers to numbers."""
    given: dict[int, int] = {}
    by_name = {name: number for number, name in names.items() if name}
    for theirs, ours in label_map.items():
        if theirs in by_name:
            number = by_name[str(theirs)]
        elif str(theirs).strip().isdigit() and (int(theirs) in names or int(theirs) == 0):
            number = int(theirs)
        else:
            known = ", ".join(f"{name} ({number})" for name, number in named.items())
            raise ConfigProblem(f"label map: the model has no label {theirs!r}; it has {known}")
        tissue = structure(ours)
        if number == 0 and tissue != BACKGROUND:
            raise ConfigProblem(f"label map: 0 is the background of every nnU-Net model, it cannot be {ours!r}")
        if given.setdefault(number, tissue) != tissue:
            raise ConfigProblem(f"label map: label {number} is given twice, as {given[number]} and {tissue}")
    return given


def structure(ours: str | int) -> int:
    """Our number of a structure that a user names.

    Raises
    ------
    ConfigProblem
        It is none of ours.
    """
    text = str(ours).strip()
    number = int(text) if text.isdigit() else _recognized(text)
    if number is None or number not in ALL_NAMES:
        expected = ", ".join(f"{name} ({number})" for number, name in ALL_NAMES.items())
        raise ConfigProblem(f"label map: {ours!r} is no structure of ours; expected one of {expected}")
    return number


def _recognized(name: str) -> int | None:
    plain = "".join(letter for letter in name.lower() if letter.isalpha())
    if plain in DROPPED_NAMES:
        return BACKGROUND
    return next((ours for ours, names in KNOWN_NAMES.items() if plain in names), None)
