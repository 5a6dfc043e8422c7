"""Which subject was measured by which method, how often and where, in a table that somebody else made?"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cohort.foreign import read_content, read_parquet
from cohort.phenotypes import VOCABULARY
from cohort.records import ConfigProblem, MissingFile, UnreadableFile

# names of columns that are understood without being named, lower case, anything but letters and digits as "_"
ROLES: Mapping[str, tuple[str, ...]] = {
    "subject": (
        *("subject", "subject_id", "patient", "patient_id", "participant", "participant_id", "case", "case_id"),
        *("person", "volunteer", "id"),
    ),
    "method": ("method", "reader", "rater", "observer", "device", "technique", "software", "operator", "instrument"),
    "value": ("value", "result", "reading", "measured"),
    "center": ("center", "centre", "site", "hospital", "institution"),
    "replicate": ("replicate", "repeat", "repetition", "rep", "trial"),
    "measurement": ("measurement", "phenotype", "quantity", "parameter", "biomarker", "variable"),
    "unit": ("unit", "units"),
    "condition": ("condition", "arm", "acceleration", "protocol"),
}
MISSING = ("", "na", "n/a", "nan", "none", "null", ".", "-", "–")
ONE_CENTER, ONE_MEASUREMENT = "all", "value"
# one way only to match each digit: with two, a cell of many digits takes the square of their number
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
ROWS_NAMED = 5
TABLE_BYTES = 2**29
MOST_COLUMNS = 10_000
COLUMNS = ["measurement", "condition", "center", "subject", "replicate", "method", "value", "row"]


@dataclass(frozen=True)
class TableOptions:
    """How a table is to be understood; empty for what the names of its columns say.

    Attributes
    ----------
    subject, method, value, center, replicate, measurement, unit, condition
        Names of columns.
    methods
        Of a wide table, the columns that hold a method each; of a long one, the methods to use.
    replicate_rows
        Rows of one subject and method are replicates, numbered as they come.
    unit_of_all
        Unit of every measurement, where the table has no column for it.
    """

    subject: str = ""
    method: str = ""
    value: str = ""
    center: str = ""
    replicate: str = ""
    measurement: str = ""
    unit: str = ""
    condition: str = ""
    methods: tuple[str, ...] = ()
    replicate_rows: bool = False
    unit_of_all: str = ""


@dataclass(frozen=True)
class Readings:
    """A table of readings in one form.

    Attributes
    ----------
    rows
        ``measurement condition center subject replicate method value row``: a row a planned reading, NaN where it is
        missing; ``row`` is the line in the file, the header being line 1.
    methods, measurements, conditions
        In the order of the table; a table without conditions has the one named "".
    units
        By measurement, "" where none is stated.
    columns
        Which column was taken for what.
    ignored
        Columns that were not used.
    """

    rows: pd.DataFrame
    layout: str
    methods: tuple[str, ...]
    measurements: tuple[str, ...]
    conditions: tuple[str, ...]
    units: Mapping[str, str]
    columns: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def read_readings(path: Path, options: TableOptions) -> Readings:
    """Read a long table (a row a reading) or a wide one (a column a method) from CSV, TSV or Parquet.

    Raises
    ------
    MissingFile, UnreadableFile
        If the file is not there or is no such table.
    ConfigProblem
        If a column cannot be told from others, is missing, or holds what is not a number, or a reading occurs twice;
        lines of the file are named.
    """
    table, separator = _read(Path(path))
    roles = _roles(table, options)
    where = str(path)
    ignored: tuple[str, ...] = ()
    if "method" in roles and "value" in roles:
        rows, layout = _long(table, roles, options, where), "long"
    elif "method" in roles or "value" in roles:
        have, lack = ("method", "value") if "method" in roles else ("value", "method")
        raise ConfigProblem(
            f"{where}: the column {roles[have]!r} is taken for {have}, but none holds the {lack}; name it by --{lack}. "
            f"Columns: {', '.join(table.columns)}"
        )
    else:
        rows, ignored, layout = _wide(table, roles, options, where)
    for name in ("measurement", "condition", "center", "subject", "replicate", "method"):
        _no_blanks(rows, name, roles, where)
    rows["value"] = _numbers(rows, where, decimal_comma=separator == ";")
    if options.replicate_rows:
        rows["replicate"] = (rows.groupby([*COLUMNS[:4], "method"], sort=False).cumcount() + 1).astype(str)
    _no_twins(rows, roles, where)
    units = _units(table, rows, roles, options, where)
    methods, measurements, conditions = (
        tuple(dict.fromkeys(rows[name])) for name in ("method", "measurement", "condition")
    )
    if len(methods) < 2:
        raise ConfigProblem(f"{where}: agreement needs two methods or readers, found only {', '.join(methods)}")
    unused = [*ignored, *(c for c in table.columns if layout == "long" and c not in roles.values())]
    return Readings(
        rows[COLUMNS], layout, methods, measurements, conditions, units, columns=roles, ignored=tuple(unused)
    )


def _read(path: Path) -> tuple[pd.DataFrame, str]:
    """All columns as text, so that a subject named 007 keeps its name; and what parts the columns."""
    if not path.is_file():
        raise MissingFile(path, "no such table")
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            table = read_parquet(path)
            table = table.astype(object).where(table.notna(), "").map(_as_text)
            table.index = pd.RangeIndex(2, len(table) + 2)
            separator = ""
        elif suffix in {".csv", ".tsv", ".txt", ".tab"}:
            text = read_content(path, limit=TABLE_BYTES).decode("utf-8-sig")
            separator = _separator(text, suffix)
            lines = csv.reader(text.splitlines(), delimiter=separator)
            table = _of_lines(path, list(lines))
        else:
            raise UnreadableFile(path, "expected a table as .csv, .tsv or .parquet; a spreadsheet can save one as CSV")
    except (OSError, ValueError, csv.Error) as error:
        raise UnreadableFile(path, f"no readable table: {error}") from error
    table.columns = [str(name).strip() for name in table.columns]
    if table.columns.duplicated().any():
        twice = sorted(set(table.columns[table.columns.duplicated()]))
        raise ConfigProblem(f"{path}: two columns are named {', '.join(map(repr, twice))}")
    if table.empty:
        raise ConfigProblem(f"{path}: the table has no rows")
    return table, separator


def _of_lines(path: Path, lines: Sequence[list[str]]) -> pd.DataFrame:
    """Rows under the first line; the index is the line in the file, blank lines are left out."""
    if not lines:
        raise ConfigProblem(f"{path}: the table is empty")
    head, kept = lines[0], [(i, line) for i, line in enumerate(lines[1:], start=2) if any(c.strip() for c in line)]
    if len(head) > MOST_COLUMNS:
        raise ConfigProblem(f"{path}: {len(head)} columns; expected up to {MOST_COLUMNS}")
    uneven = [str(i) for i, line in kept if len(line) != len(head)]
    if uneven:
        raise ConfigProblem(f"{path}: {_lines(uneven)} do not have the {len(head)} columns of the first line")
    table = pd.DataFrame([[c.strip() for c in line] for _, line in kept], columns=head, index=[i for i, _ in kept])
    return table.astype(str)


def _as_text(value: object) -> str:
    """A whole number stored as 1.0 is the name 1."""
    if isinstance(value, float) and value.is_integer() and math.isfinite(value):
        return str(int(value))
    return repr(float(value)) if isinstance(value, float) else str(value).strip()


def _separator(text: str, suffix: str) -> str:
    head = text.partition("\n")[0]
    if suffix in {".tsv", ".tab"}:
        return "\t"
    return max(",;\t", key=head.count)


def _roles(table: pd.DataFrame, options: TableOptions) -> dict[str, str]:
    """Which column is what: as named, else the only one whose name is known."""
    plain = {name: re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in table.columns}
    roles: dict[str, str] = {}
    for role in ROLES:
        named = getattr(options, role)
        if named:
            if named not in table.columns:
                raise ConfigProblem(f"no column is called {named!r} (--{role}); there are {', '.join(table.columns)}")
            roles[role] = named
    for role, known in ROLES.items():
        free = [c for c in table.columns if c not in roles.values() and c not in options.methods]
        found = [] if role in roles else [c for c in free if plain[c] in known]
        if len(found) > 1:
            raise ConfigProblem(f"{' and '.join(map(repr, found))} could both be the {role}; name one by --{role}")
        roles |= {role: found[0]} if found else {}
    if "subject" not in roles:
        raise ConfigProblem(
            f"no column holds the subject; name it by --subject. Known names are {', '.join(ROLES['subject'])}; "
            f"columns are {', '.join(table.columns)}"
        )
    return roles


def _heads(table: pd.DataFrame, roles: Mapping[str, str]) -> pd.DataFrame:
    """What both layouts share."""
    absent = {"measurement": ONE_MEASUREMENT, "condition": "", "center": ONE_CENTER, "replicate": "1"}
    rows = pd.DataFrame({"row": np.asarray(table.index)}, index=table.index)
    rows["subject"] = table[roles["subject"]]
    for name, constant in absent.items():
        rows[name] = table[roles[name]] if name in roles else constant
    return rows


def _long(table: pd.DataFrame, roles: Mapping[str, str], options: TableOptions, where: str) -> pd.DataFrame:
    rows = _heads(table, roles)
    rows["method"], rows["text"] = table[roles["method"]], table[roles["value"]]
    if "measurement" not in roles:
        rows["measurement"] = roles["value"] if roles["value"].lower() not in ROLES["value"] else ONE_MEASUREMENT
    if options.methods:
        found = dict.fromkeys(rows["method"])
        unknown = [name for name in options.methods if name not in found]
        if unknown:
            raise ConfigProblem(f"{where}: no method is called {', '.join(unknown)}; there are {', '.join(found)}")
        rows = rows[rows["method"].isin(options.methods)].copy()
    return rows


def _wide(
    table: pd.DataFrame, roles: Mapping[str, str], options: TableOptions, where: str
) -> tuple[pd.DataFrame, tuple[str, ...], str]:
    """A column a method: those named, else all others that hold numbers."""
    unknown = [name for name in options.methods if name not in table.columns]
    if unknown:
        raise ConfigProblem(f"{where}: no column is called {', '.join(unknown)}; there are {', '.join(table.columns)}")
    free = [c for c in table.columns if c not in roles.values()]
    methods = (
        [c for c in free if c in options.methods] if options.methods else [c for c in free if _any_number(table[c])]
    )
    if len(methods) < 2:
        raise ConfigProblem(
            f"{where}: expected a column with the method and one with the value, or two columns of numbers, one a method; "
            f"beside {roles['subject']!r} found {', '.join(map(repr, methods)) or 'none'} of {', '.join(table.columns)}"
        )
    heads = _heads(table, roles)
    parts = [heads.assign(method=name, text=table[name]) for name in methods]
    rows = pd.concat(parts, ignore_index=True)
    return rows, tuple(c for c in free if c not in methods), "wide"


def _any_number(column: pd.Series) -> bool:
    return any(_number(text) is not None for text in column if text.lower() not in MISSING)


def _number(text: str) -> float | None:
    """A finite number, with a point or one comma; None for anything else."""
    plain = text.replace("−", "-").replace(",", ".", 1)
    if not NUMBER.fullmatch(plain):
        return None
    value = float(plain)
    return value if math.isfinite(value) else None


def _numbers(rows: pd.DataFrame, where: str, *, decimal_comma: bool) -> np.ndarray:
    """Values, NaN where missing; anything else that is no number is an error that names the lines."""
    texts = rows["text"].tolist()
    if not decimal_comma:
        commas = [str(r) for r, t in zip(rows["row"], texts, strict=True) if "," in t and _number(t) is not None]
        if commas:
            raise ConfigProblem(f"{where}: numbers in {_lines(commas)} hold a comma; write 3.5, or part columns by ';'")
    values = [math.nan if t.lower() in MISSING else _number(t) for t in texts]
    bad = [
        f"{r} ({m}: {t!r})" for r, m, t, v in zip(rows["row"], rows["method"], texts, values, strict=True) if v is None
    ]
    if bad:
        raise ConfigProblem(
            f"{where}: {_lines(bad)} hold no number; leave a failed reading empty, or name the columns of the methods "
            "by --reference and --test"
        )
    return np.array(values, dtype=np.float64)


def _no_blanks(rows: pd.DataFrame, name: str, roles: Mapping[str, str], where: str) -> None:
    if name not in roles:
        return
    empty = rows.loc[rows[name] == "", "row"].drop_duplicates()
    # a reference without a condition may stand for all of them
    if len(empty) and name != "condition":
        raise ConfigProblem(f"{where}: the {name} ({roles[name]!r}) is empty in {_lines([str(r) for r in empty])}")


def _no_twins(rows: pd.DataFrame, roles: Mapping[str, str], where: str) -> None:
    keys = COLUMNS[:6]
    twins = rows.duplicated(keys, keep=False)
    if not twins.any():
        return
    first = rows.loc[twins].iloc[0]
    same = rows.loc[twins & (rows[keys] == first[keys]).all(axis=1)]
    advice = (
        ""
        if "replicate" in roles
        else "; if they are replicates, name their column by --replicate or give --replicate-rows"
    )
    raise ConfigProblem(
        f"{where}: {int(twins.sum())} readings are given more than once, the first of subject {first['subject']!r}, "
        f"{first['method']}, in {_lines([str(r) for r in same['row']])}{advice}"
    )


def _units(
    table: pd.DataFrame, rows: pd.DataFrame, roles: Mapping[str, str], options: TableOptions, where: str
) -> dict[str, str]:
    """The one unit of each measurement: of the table, the option, or the project's vocabulary."""
    units: dict[str, str] = {}
    for name in dict.fromkeys(rows["measurement"]):
        known = VOCABULARY[name].unit if name in VOCABULARY else ""
        found = []
        if "unit" in roles:
            lines = rows.loc[rows["measurement"] == name, "row"]
            found = [u for u in dict.fromkeys(table.loc[lines, roles["unit"]]) if u]
        if len(found) > 1:
            raise ConfigProblem(f"{where}: {name} comes in the units {', '.join(found)}; convert it to one")
        units[name] = found[0] if found else options.unit_of_all or known
    return units


def _lines(numbers: Sequence[str]) -> str:
    """``lines 3, 4, 9 and 12 more``."""
    shown = ", ".join(numbers[:ROWS_NAMED])
    rest = len(numbers) - ROWS_NAMED
    return f"{'line' if len(numbers) == 1 else 'lines'} {shown}{f' and {rest} more' if rest > 0 else ''}"
