"""Which scans does a cohort hold, and which of them can be used?"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from cohort.cmrxrecon import read_header, read_info, read_kspace
from cohort.foreign import is_file, is_link, leads_out, read_content
from cohort.matfile import Pathish
from cohort.naming import parse_scanner, parse_stem
from cohort.records import (
    CardioValError,
    ConfigProblem,
    FileProblem,
    MissingFile,
    Scan,
    Status,
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
UNPRINTABLE = "its name or folder holds what is no printable text in UTF-8; rename it"
LAYOUT = "<Modality>/<Set>/FullSample/<CenterNNN>/<Vendor_Field_Model>/<PNNN>/<name>.mat"
Wanted = str | float | Collection[str] | Collection[float] | None


def scan_tree(root: Pathish, *, verify_sha256: bool = False) -> pd.DataFrame:
    """List every k-space file below the `FullSample` folders of a cohort, good or bad; no k-space data is read.

    A scan is bad, with the reason in one line, if its folders or name do not follow the layout, if the `.mat` is
    truncated, no MATLAB file, without k-space or of other axes, if its header is missing or unreadable, if it is a
    symbolic link out of the cohort, or if `cohort.csv` lists it and it is not there. That values are finite shows only
    when they are read.

    Parameters
    ----------
    root
        Folder of the cohort. Optional there: `diseases.csv` (columns center, patient, disease) and `cohort.csv`
        (columns path, sha256; relative paths of the files that must be there, the hash may be blank).
    verify_sha256
        Also read every listed file whole and compare its hash.

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
    top = given.resolve()
    diseases, manifest = _read_diseases(top, "diseases.csv"), _read_manifest(top, "cohort.csv")
    found = _find_files(top)
    if not found and not manifest:
        raise MissingFile(given, f"no k-space file; expected {LAYOUT}")
    listed = {name: "missing: listed in cohort.csv but not there" for name in manifest if not is_file(top / name)}
    rows = []
    for file, problem in sorted({**listed, **found}.items()):
        expected = manifest.get(file) if verify_sha256 else None
        scan = _scan(top, PurePosixPath(file), diseases, problem or _hash_problem(top / file, expected))
        names = {"path": printable(str(scan.path)), "file": printable(file), "stem": printable(scan.stem)}
        rows.append(asdict(scan) | names | {"reason": printable(scan.reason), "size_bytes": _size(scan.path)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
    rows = table.drop(columns="path").sort_values("file").to_dict(orient="records")
    for row in rows:
        row["shape"] = [int(n) for n in row["shape"]]
        row["field_t"] = None if math.isnan(row["field_t"]) else float(row["field_t"])
        row["size_bytes"] = int(row["size_bytes"])
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


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


def _find_files(top: Path) -> dict[str, str]:
    """Relative path of each candidate to what is wrong with it as a link, or nothing."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(top, followlinks=False):
        here = Path(folder)
        for name in [f for f in folders if (here / f).is_symlink()]:
            found[_relative(here / name, top)] = "symbolic link to a folder; not followed, copy its content here"
        folders[:] = [f for f in folders if not (here / f).is_symlink() and not f.startswith(".")]
        if not any(_is_full(part) for part in here.relative_to(top).parts):
            continue
        for name in files:
            if name.lower().endswith(".mat") and not name.startswith("."):
                found[_relative(here / name, top)] = _link_problem(here / name, top)
    return found


def _link_problem(file: Path, top: Path) -> str:
    """Why the scan, its header or its times are not opened."""
    if printable(_relative(file, top)) != _relative(file, top):
        return UNPRINTABLE
    for path in (file, file.with_name(f"{file.stem}_info.csv"), file.with_name(f"{file.stem}.csv")):
        if is_link(path) and leads_out(path, top):
            what = "" if path is file else f"{path.name}: "
            return f"{what}symbolic link out of the cohort; not followed"
    return ""


def _hash_problem(file: Path, expected: str | None) -> str:
    if not expected or not is_file(file):
        return ""
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    return "" if actual == expected.lower() else f"sha256 is {actual[:12]}..., cohort.csv says {expected[:12]}..."


def _scan(top: Path, file: PurePosixPath, diseases: Mapping[tuple[str, str], str], problem: str) -> Scan:
    """One row; whatever is wrong with it becomes its reason."""
    known: dict[str, str] = dict.fromkeys(("center", "vendor", "scanner", "patient", "modality", "view", "split"), "")
    known |= {"disease": "unknown", "release": ""}
    field_t, path = math.nan, top / file
    shape: tuple[int, ...] = ()
    status: Status = "ok"
    reason = ""
    try:
        if printable(file.as_posix()) != file.as_posix():
            raise UnreadableFile(path, problem or UNPRINTABLE)
        known |= _place(file)
        known["disease"] = diseases.get((known["center"], known["patient"]), "unknown")
        known["modality"], known["view"] = parse_stem(file.stem)
        scanner = parse_scanner(file.parts[-3])
        known["vendor"], known["scanner"], field_t = scanner.vendor, scanner.model, scanner.field_t
        if problem:
            raise UnreadableFile(path, problem)
        shape = read_header(path)
        read_info(path)
    except CardioValError as error:
        status, reason = "bad", problem or _reason(error, path)
    return Scan(**known, field_t=field_t, shape=shape, path=path, stem=file.stem, status=status, reason=reason)


def _reason(error: CardioValError, path: Path) -> str:
    """Reason without the path of the scan itself, which stands in the same row."""
    if not isinstance(error, FileProblem):
        return str(error)
    return error.reason if error.path == path else f"{error.path.name}: {error.reason}"


def _place(file: PurePosixPath) -> dict[str, str]:
    """Release, split, center and patient from the folders."""
    parts = file.parts
    full = next((i for i, part in enumerate(parts) if _is_full(part)), None)
    if full is None or len(parts) != full + 5:
        raise ConfigProblem(f"not in the layout {LAYOUT}")
    center, patient = parts[full + 1], parts[full + 3]
    if not re.fullmatch(r"Center\d{3}", center) or not re.fullmatch(r"P\d{3,}", patient):
        raise ConfigProblem(f"expected folders CenterNNN and PNNN, found {center!r} and {patient!r}")
    release = parts[full].partition("_")[2]
    return {"release": release, "split": parts[full - 1] if full else "", "center": center, "patient": patient}


def _is_full(part: str) -> bool:
    return part == "FullSample" or part.startswith("FullSample_")


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


def _relative(path: Path, top: Path) -> str:
    return path.relative_to(top).as_posix()


def _size(path: Path) -> int:
    return path.stat().st_size if is_file(path) else 0
