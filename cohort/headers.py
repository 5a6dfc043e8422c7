"""What do the small text files beside a k-space file say: header and inversion or echo times?"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohort.atomic import write_text
from cohort.foreign import is_file, read_content
from cohort.matfile import Pathish
from cohort.mrd import is_mrd, read_mrd_info
from cohort.records import MissingFile, UnreadableFile, WrongShape

InfoValue = str | float
UNITS = {
    "FieldStrength": "T",
    "FOVx": "mm",
    "FOVy": "mm",
    "SliceThickness": "mm",
    "SlicePitch": "mm",
    "SliceGap": "mm",
    "TR": "ms",
    "TE": "ms",
    "TI": "ms",
    "TSL": "ms",
    "FlipAngle": "degree",
    "HeartRate": "bpm",
    "Height": "cm",
    "Weight": "kg",
}
# which header row holds the times of a series, by the beginning of the file's name; longest beginning first
TIME_KEYS = {"T1rho": ("TSL", "TE"), "T1map": ("TI",), "T2smap": ("TE",), "T2map": ("TE",)}


def read_info(path_to_mat: Pathish) -> dict[str, InfoValue]:
    """Read the header of a scan.

    Parameters
    ----------
    path_to_mat
        The `.mat` file; its header is `<stem>_info.csv` beside it, or `<stem>.csv` where that begins with "Parameter".
        Of an MRD file the header is inside; one beside it may be missing, and goes before.

    Returns
    -------
    dict
        Parameter, its unit in parentheses taken off, to number where it is one, else text. Rows that are blank or NaN
        are left out.

    Raises
    ------
    MissingFile, UnreadableFile
        No header; or one that is no table, states a unit other than mm, ms, T, degree or bpm, or contradicts itself.
    """
    if not is_mrd(path_to_mat):
        return _beside(info_path(path_to_mat))
    own: dict[str, InfoValue] = dict(read_mrd_info(path_to_mat))
    try:
        path = info_path(path_to_mat)
    except MissingFile:
        return own
    return own | _beside(path)


def _beside(path: Path) -> dict[str, InfoValue]:
    """Rows of a header file."""
    rows = _rows(path)
    if not rows or not rows[0] or rows[0][0].strip() != "Parameter":
        raise UnreadableFile(path, "expected a first line 'Parameter,Value'")
    info: dict[str, InfoValue] = {}
    for row in rows[1:]:
        key, value = _key(row[0], path), _value(row[1] if len(row) > 1 else "")
        if not key or value is None:
            continue
        if info.setdefault(key, value) != value:
            raise UnreadableFile(path, f"states {key} twice, as {info[key]} and as {value}; remove one")
    return info


def info_path(path_to_mat: Pathish) -> Path:
    """Find the header file of a scan.

    Raises
    ------
    MissingFile
        There is none.
    """
    mat = Path(path_to_mat)
    stem = re.sub(r"_kus(_.*)?$", "", mat.stem)
    usual = mat.with_name(f"{stem}_info.csv")
    if is_file(usual):
        return usual
    short = mat.with_name(f"{stem}.csv")
    if is_file(short) and _is_header(short):
        return short
    raise MissingFile(usual, "missing: the header 'Parameter,Value' that belongs beside the .mat file")


def write_info(path_to_mat: Pathish, info: Mapping[str, object]) -> None:
    """Write `<stem>_info.csv`, all of it or nothing; None and NaN become blank, a list its numbers."""
    mat = Path(path_to_mat)
    lines = [("Parameter", "Value"), *((key, _text(value)) for key, value in info.items())]
    write_text(mat.with_name(f"{mat.stem}_info.csv"), _csv(lines))


def times_of_series(path_to_mat: Pathish, *, n_frames: int, n_slices: int) -> NDArray[np.float64]:
    """Read the times of a mapping series of so many frames and slices; see `cohort.cmrxrecon.read_times_ms`."""
    mat = Path(path_to_mat)
    keys = _time_keys(mat)
    table = mat.with_name(f"{mat.stem}.csv")
    if is_file(table) and not _is_header(table):
        source, cells = table, _time_cells(table)
    else:
        source, cells = _times_of_info(mat, keys, table)
    inversion = keys == ("TI",)
    cells = _without_absent(cells, zero_is_absent=inversion)
    if not cells.size:
        raise MissingFile(source, "holds no times; expected one a frame, in ms")
    times = _for_slices(cells, n_slices, source)
    wrong = ~np.isfinite(times) | (times < 0) | ((times == 0) & inversion)
    if wrong.any():
        raise UnreadableFile(source, "a time between others is blank, negative or no number; expected ms")
    if len(times) > n_frames:
        raise WrongShape(source, f"{len(times)} times for {n_frames} frames; expected one a frame")
    return times


def write_times_ms(path_to_mat: Pathish, times: NDArray[np.floating]) -> None:
    """Write `<stem>.csv` with times in ms (n_times, n_slices), all of it or nothing.

    Raises
    ------
    WrongShape
        Not two axes, or negative or infinite values.
    """
    mat = Path(path_to_mat)
    keys = _time_keys(mat)
    if times.ndim != 2 or 0 in times.shape or not np.isfinite(times).all() or (times < 0).any():
        raise WrongShape(mat, f"expected times in ms (n_times, n_slices), not negative, got {times.shape}")
    head = ["", *(f"Slice{i + 1}" for i in range(times.shape[1]))]
    rows = [[f"{keys[0]}{i + 1}", *(_text(t) for t in row)] for i, row in enumerate(times.tolist())]
    write_text(mat.with_name(f"{mat.stem}.csv"), _csv([head, *rows]))


def _time_keys(mat: Path) -> tuple[str, ...]:
    for beginning, keys in TIME_KEYS.items():
        if mat.stem.startswith(beginning):
            return keys
    raise UnreadableFile(mat, f"no mapping series; expected a name beginning with {', '.join(TIME_KEYS)}")


def _is_header(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(64)
    return head.lstrip(b"\xef\xbb\xbf\"' ").startswith(b"Parameter")


def _time_cells(table: Path) -> NDArray[np.float64]:
    """Cells of a timing table without its first row and column; blank ones are NaN."""
    rows = [row[1:] for row in _rows(table)[1:]]
    width = max((len(row) for row in rows), default=0)
    try:
        cells = [[float(c) if c.strip() else math.nan for c in row] + [math.nan] * (width - len(row)) for row in rows]
    except ValueError as error:
        raise UnreadableFile(table, f"expected times in ms, found a cell that is no number ({error})") from error
    return np.array(cells, dtype=np.float64).reshape(len(rows), width)


def _times_of_info(mat: Path, keys: tuple[str, ...], table: Path) -> tuple[Path, NDArray[np.float64]]:
    """Header file and its times as one column."""
    wanted = " or ".join(f"{k}(ms)" for k in keys)
    try:
        info = read_info(mat)
        source = mat if is_mrd(mat) else info_path(mat)
    except MissingFile as error:
        raise MissingFile(table, f"missing: no timing file, and no header with {wanted}") from error
    for key in keys:
        if key in info:
            numbers = re.findall(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", str(info[key]))
            return source, np.array(numbers, dtype=np.float64)[:, None]
    raise MissingFile(table, f"missing: no timing file, and {source.name} states no {wanted}")


def _without_absent(cells: NDArray[np.float64], *, zero_is_absent: bool) -> NDArray[np.float64]:
    """Drop blank columns at the right and absent times at the bottom."""
    cells = cells[:, ~np.isnan(cells).all(axis=0)]
    absent = (np.isnan(cells) | ((cells == 0) & zero_is_absent)).any(axis=1)
    there = np.flatnonzero(~absent)
    return cells[: there[-1] + 1] if there.size else cells[:0]


def _for_slices(times: NDArray[np.float64], n_slices: int, source: Path) -> NDArray[np.float64]:
    """One column a slice: the first ones where there are more, the only one repeated."""
    columns = times.shape[1]
    if columns == 1:
        return np.repeat(times, n_slices, axis=1)
    if columns < n_slices:
        raise WrongShape(source, f"times for {columns} slices; the k-space has {n_slices}")
    return times[:, :n_slices]


def _rows(path: Path) -> list[list[str]]:
    """Non-empty rows of a comma-separated file, UTF-8 or Latin-1."""
    data = read_content(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    try:
        return [row for row in csv.reader(io.StringIO(text, newline="")) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UnreadableFile(path, f"not a comma-separated table ({error})") from error


def _key(cell: str, path: Path) -> str:
    """Parameter without its unit, which must be the one the project knows."""
    match = re.fullmatch(r"([^(]*)(?:\(([^)]*)\))?.*", cell.strip(), flags=re.DOTALL)
    name, unit = (match[1].strip(), match[2]) if match else (cell.strip(), None)
    expected = UNITS.get(name)
    if unit and expected and unit.strip().lower() not in (expected.lower(), "deg", "1/min"):
        raise UnreadableFile(path, f"states {name} in {unit}; expected {expected}")
    return name


def _value(cell: str) -> InfoValue | None:
    text = cell.strip()
    try:
        number = float(text)
    except ValueError:
        return text or None
    return number if math.isfinite(number) else None


def _text(value: object) -> str:
    """How a value stands in a table: floats so that they read back the same."""
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return ""
    if isinstance(value, float | np.floating):
        return repr(float(value)).removesuffix(".0")
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join(_text(v) for v in value)
    return str(value)


def _csv(rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
