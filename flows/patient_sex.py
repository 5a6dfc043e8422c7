"""Which sex does a cohort state for its patients?"""

import csv
from pathlib import Path

import pandas as pd

from cohort.cmrxrecon import read_info
from cohort.records import CardioValError

HEADER_ROWS = ("Sex", "PatientSex", "Gender")
WORDS = {"f": "female", "female": "female", "w": "female", "m": "male", "male": "male"}
TABLE = "diseases.csv"


def sexes_of(catalogue: pd.DataFrame, cohort: Path) -> dict[tuple[str, str], str]:
    """Sex of each (center, patient) that states one: column ``sex`` of diseases.csv, else a row of a scan's header.

    Who is stated twice and differently is left out, as is any word but female, male, F, W or M.
    """
    stated = _of_table(cohort / TABLE)
    found: dict[tuple[str, str], set[str]] = {}
    for row in catalogue[catalogue["status"] == "ok"].to_dict("records"):
        key = (str(row["center"]), str(row["patient"]))
        if key in stated:
            continue
        try:
            info = read_info(row["path"])
        except CardioValError:
            continue
        words = {str(info[name]) for name in HEADER_ROWS if name in info}
        found.setdefault(key, set()).update(word for word in map(_word, words) if word)
    return stated | {key: next(iter(words)) for key, words in found.items() if len(words) == 1}


def _of_table(path: Path) -> dict[tuple[str, str], str]:
    if not path.is_file():
        return {}
    found: dict[tuple[str, str], set[str]] = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            word = _word(str(row.get("sex") or ""))
            if word:
                key = (str(row.get("center", "")).strip(), str(row.get("patient", "")).strip())
                found.setdefault(key, set()).add(word)
    return {key: next(iter(words)) for key, words in found.items() if len(words) == 1}


def _word(text: str) -> str | None:
    return WORDS.get(text.strip().lower())
