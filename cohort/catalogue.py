"""Which scans does a cohort hold, and which of them can be used?"""

from __future__ import annotations

import csv
import gc
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from cohort.catalogue_files import UNPRINTABLE, Candidate, find_candidates, is_full
from cohort.catalogue_index import heads_of
from cohort.cmrxrecon import read_kspace
from cohort.foreign import is_file, leads_out, read_content
from cohort.matfile import Pathish
from cohort.naming import parse_scanner, parse_stem
from cohort.records import (
    ConfigProblem,
    MissingFile,
    Scan,
    UnreadableFile,
    printable,
)

COLUMNS: tuple[str, ...] = (
    "release",
    "center",
    "vendor",
    "field_t",
    "scanner",
    "patient",
    "modality",
    "view",
    "split",
    "disease",
)
COLUMNS += ("shape", "path", "status", "reason", "stem", "file", "size_bytes")
#: of cohort.csv and diseases.csv: a row of some hundred bytes for each of a million scans
TABLE_BYTES = 2**29
LAYOUT = "<Modality>/<Set>/FullSample/<CenterNNN>/<Vendor_Field_Model>/<PNNN>/<name>.mat (.h5 or .mrd of MRD)"
Wanted = str | float | Collection[str] | Collection[float] | None


def scan_tree(
    root: Pathish, *, verify_sha256: bool = False, index: Pathish | None = None, processes: int = 1
) -> pd.DataFrame:
    """List every k-space file below the `FullSample` folders of a cohort, good or bad; no k-space data is read.

    A scan is bad, with the reason in one line, if its folders or name do not follow the layout, if the `.mat` or MRD file
    is truncated, no such file, without k-space or of other axes, if its header is missing or unreadable, if it is a
    symbolic link out of the cohort, or if `cohort.csv` lists it and it is not there. That values are finite shows only
    when they are read.

    Parameters
    ----------
    root
        Folder of the cohort. Optional there: `diseases.csv` (columns center, patient, disease) and `cohort.csv`
        (columns path, sha256; relative paths of the files that must be there, the hash may be blank).
    verify_sha256
        Also read every listed file whole and compare its hash.
    index
        A file, outside the cohort, that keeps what headers said, so that only those of new and changed files are opened
        the next time; see `cohort.catalogue_index`. None: all are opened. It is not written for small cohorts, and not
        where it cannot be.
    processes
        That open headers at once, where there are thousands to open.

    Returns
    -------
    DataFrame
        A row a scan, sorted by file: release, center, vendor, field_t (T), scanner (the model), patient, modality,
        view, split, disease, shape (frames, slices, coils, ky, kx), path, status, reason, stem, file (relative),
        size_bytes. Fields of a bad scan may be empty, field_t NaN, shape ().

    Raises
    ------
    MissingFile
        No such folder, or no k-space file in it.
    UnreadableFile
        `diseases.csv` or `cohort.csv` lacks columns, contradicts itself, or points out of the cohort.
    """
    given = Path(root)
    if not given.is_dir():
        raise MissingFile(given, f"missing: no such folder; expected a cohort with {LAYOUT}")
    with _without_collector():
        return _scan_tree(given, verify_sha256=verify_sha256, index=index, processes=processes)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Let Python not look for cycles meanwhile: of millions of new objects without any, that takes as long as making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _scan_tree(given: Path, *, verify_sha256: bool, index: Pathish | None, processes: int) -> pd.DataFrame:
    top = given.resolve()
    diseases, manifest = _read_diseases(top, "diseases.csv"), _read_manifest(top, "cohort.csv")
    found = find_candidates(top)
    if not found and not manifest:
        raise MissingFile(given, f"no k-space file; expected {LAYOUT}")
    missing = Candidate("missing: listed in cohort.csv but not there")
    found = {name: missing for name in manifest if name not in found and not is_file(top / name)} | found
    said = {file: _said(file, found[file].problem, diseases) for file in sorted(found)}
    if verify_sha256:
        said = {
            file: (known, bad or _hash_problem(top / file, manifest.get(file))) for file, (known, bad) in said.items()
        }
    heads = heads_of(
        top, {file: found[file] for file, (_, bad) in said.items() if not bad}, index=index, processes=processes
    )
    columns: dict[str, list[Any]] = {column: [] for column in COLUMNS}
    for file, (known, problem) in said.items():
        shape, reason = heads.get(file, ((), problem))
        path = top / file
        scan = Scan(**known, shape=shape, path=path, stem=path.stem, status="bad" if reason else "ok", reason=reason)
        texts = {"path": printable(str(path)), "reason": printable(reason), "stem": printable(scan.stem)}
        row = vars(scan) | texts | {"file": printable(file), "size_bytes": found[file].size_bytes}
        for column, values in columns.items():
            values.append(row[column])
    return pd.DataFrame(columns)


def select(
    table: pd.DataFrame,
    *,
    center: Wanted = None,
    vendor: Wanted = None,
    field_t: Wanted = None,
    disease: Wanted = None,
    modality: Wanted = None,
    view: Wanted = None,
    patient: Wanted = None,
    split: Wanted = None,
    status: Wanted = None,
) -> pd.DataFrame:
    """Keep the scans that have the wanted value, or one of the wanted values, in every column asked for.

    Returns
    -------
    DataFrame
        The rows, index renewed; empty where no scan fulfills all at once.

    Raises
    ------
    ConfigProblem
        A wanted value that no scan of the table has: a typing error, or another cohort.
    """
    wanted = {"center": center, "vendor": vendor, "field_t": field_t, "disease": disease, "modality": modality}
    wanted |= {"view": view, "patient": patient, "split": split, "status": status}
    keep = pd.Series(True, index=table.index)
    for column, values in wanted.items():
        if values is None:
            continue
        one = isinstance(values, str) or not isinstance(values, Collection)
        asked = [values] if one else list(values)  # type: ignore[arg-type]  # mypy does not follow `one`
        there = [value for value in table[column].dropna().unique().tolist() if value != ""]
        unknown = [value for value in asked if value not in there]
        if unknown:
            raise ConfigProblem(f"no scan has {column} {unknown[0]!r}; there are {', '.join(map(str, sorted(there)))}")
        keep &= table[column].isin(asked)
    return table[keep].reset_index(drop=True)


def split_by_patient(table: pd.DataFrame, *, fractions: Mapping[str, float], seed: int) -> dict[str, pd.DataFrame]:
    """Divide the scans so that no patient is in two parts, and diseases and centers are spread evenly over the parts.

    Patients are ordered by disease, then center, at random within, and dealt out one by one to the part that is
    furthest behind its share; so every part's number of patients, in total and of each disease, is within about one of
    its share. The same number at the same center counts as one patient even in different sets: only too careful.

    Parameters
    ----------
    table
        As from `scan_tree`.
    fractions
        Name of a part to its share; the shares add up to one.
    seed
        Of the order within a disease and center.

    Returns
    -------
    dict
        Name of a part to its rows.

    Raises
    ------
    ConfigProblem
        Shares that are not positive or do not add up to one, or fewer patients than parts.
    """
    shares = np.array(list(fractions.values()), dtype=float)
    if not len(shares) or (shares <= 0).any() or not math.isclose(shares.sum(), 1.0, abs_tol=1e-9):
        raise ConfigProblem(f"shares must be positive and add up to 1, got {dict(fractions)}")
    keys = ["disease", "center", "patient"]
    patients = table[keys].drop_duplicates(["center", "patient"]).sort_values(keys, ignore_index=True)
    if len(patients) < len(shares):
        raise ConfigProblem(f"{len(patients)} patients cannot be divided into {len(shares)} parts")
    shuffled = patients.iloc[np.random.default_rng(seed).permutation(len(patients))]
    order = shuffled.sort_values(["disease", "center"], kind="stable")
    given = np.zeros(len(shares))
    part_of: dict[tuple[str, str], str] = {}
    for dealt, (center, patient) in enumerate(zip(order["center"], order["patient"], strict=True), start=1):
        behind = int(np.argmax(shares * dealt - given))
        given[behind] += 1
        part_of[center, patient] = list(fractions)[behind]
    parts = pd.Series([part_of[key] for key in zip(table["center"], table["patient"], strict=True)], index=table.index)
    return {name: table[parts == name].reset_index(drop=True) for name in fractions}


def catalogue_hash(table: pd.DataFrame) -> str:
    """Hash what the catalogue says (SHA-256, hexadecimal): equal for equal cohorts wherever they lie on the disk."""
    rows = table.drop(columns="path").sort_values("file")
    digest, encoder = hashlib.sha256(b"["), json.JSONEncoder(sort_keys=True)
    for number, values in enumerate(zip(*(rows[name].tolist() for name in rows), strict=True)):
        row = dict(zip(rows, values, strict=True))
        row["shape"] = [int(n) for n in row["shape"]]
        row["field_t"] = None if math.isnan(row["field_t"]) else float(row["field_t"])
        row["size_bytes"] = int(row["size_bytes"])
        # the bytes of one list, row by row: as objects, half a million rows would be gigabytes
        digest.update(((", " if number else "") + encoder.encode(row)).encode())
    digest.update(b"]")
    return digest.hexdigest()


def find_duplicates(table: pd.DataFrame) -> list[list[str]]:
    """Find good scans whose k-space is the same number by number; reads all of it.

    Returns
    -------
    list of list of str
        Groups of two or more paths.
    """
    groups: dict[str, list[str]] = {}
    for path in table.loc[table["status"] == "ok", "path"]:
        kspace = read_kspace(path)
        key = hashlib.sha256(repr(kspace.shape).encode() + kspace.tobytes()).hexdigest()
        groups.setdefault(key, []).append(path)
    return [paths for paths in groups.values() if len(paths) > 1]


def _hash_problem(file: Path, expected: str | None) -> str:
    if not expected or not is_file(file):
        return ""
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    return "" if actual == expected.lower() else f"sha256 is {actual[:12]}..., cohort.csv says {expected[:12]}..."


Known = dict[str, Any]


def _said(file: str, problem: str, diseases: Mapping[tuple[str, str], str]) -> tuple[Known, str]:
    """What the names of a file and its folders say, and why the file is bad, if that can be told unopened."""
    known: Known = dict.fromkeys(("release", "center", "vendor", "scanner", "patient", "modality", "view", "split"), "")
    known |= {"field_t": math.nan, "disease": "unknown"}
    if printable(file) != file:
        return known, problem or UNPRINTABLE
    folder, _, name = file.rpartition("/")
    try:
        known |= _place(folder)
        known["disease"] = diseases.get((known["center"], known["patient"]), "unknown")
        known["modality"], known["view"] = _parse_stem(PurePosixPath(name).stem)
        scanner = _parse_scanner(folder.split("/")[-2])
        known |= {"vendor": scanner.vendor, "scanner": scanner.model, "field_t": scanner.field_t}
    except ConfigProblem as error:
        return known, problem or str(error)
    return known, problem


# many scans share a folder, a name or a scanner
_parse_stem, _parse_scanner = lru_cache(4096)(parse_stem), lru_cache(4096)(parse_scanner)


@lru_cache(4096)
def _place(folder: str) -> Mapping[str, str]:
    """Release, split, center and patient from the folders."""
    parts = folder.split("/")
    full = next((i for i, part in enumerate(parts) if is_full(part)), None)
    if full is None or len(parts) != full + 4:
        raise ConfigProblem(f"not in the layout {LAYOUT}")
    center, patient = parts[full + 1], parts[full + 3]
    if not re.fullmatch(r"Center\d{3}", center) or not re.fullmatch(r"P\d{3,}", patient):
        raise ConfigProblem(f"expected folders CenterNNN and PNNN, found {center!r} and {patient!r}")
    release = parts[full].partition("_")[2]
    return {"release": release, "split": parts[full - 1] if full else "", "center": center, "patient": patient}


def _read_diseases(top: Path, name: str) -> dict[tuple[str, str], str]:
    diseases: dict[tuple[str, str], str] = {}
    path = top / name
    for row in _read_table(top, name, ("center", "patient", "disease")):
        key = (row["center"], row["patient"])
        if diseases.setdefault(key, row["disease"]) != row["disease"]:
            raise UnreadableFile(path, f"gives {key[0]} {key[1]} two diseases, {diseases[key]} and {row['disease']}")
    return diseases


def _read_manifest(top: Path, table: str) -> dict[str, str]:
    path = top / table
    manifest = {row["path"]: row.get("sha256", "") for row in _read_table(top, table, ("path",)) if row["path"]}
    for name in manifest:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UnreadableFile(path, f"lists {name!r}; expected paths within the cohort, relative to its root")
    return {PurePosixPath(name).as_posix(): sha256 for name, sha256 in manifest.items()}


def _read_table(top: Path, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of an optional comma-separated table of the cohort; none where the file is missing."""
    path = top / name
    if not os.path.lexists(path):
        return []
    if leads_out(path, top):
        raise UnreadableFile(path, "symbolic link out of the cohort; not followed, put the table itself here")
    try:
        with io.StringIO(read_content(path, limit=TABLE_BYTES).decode("utf-8-sig"), newline="") as stream:
            reader = csv.DictReader(stream, restval="", restkey="")
            lacking = [c for c in columns if c not in (reader.fieldnames or ())]
            if lacking:
                raise UnreadableFile(path, f"no column {lacking[0]!r}; expected {', '.join(columns)}")
            return [{key: str(value).strip() for key, value in row.items()} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(path, f"not a comma-separated table in UTF-8 ({error})") from error
