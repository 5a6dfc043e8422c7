"""Are two tables of measurements the same, bit for bit or within a tolerance? Row by row, and by phenotype."""

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohort.phenotypes import VOCABULARY

Basis = Literal["identical", "other_cpu", "gpu"]
"""What a repetition is held to: the same bits, or the tolerances for another processor or a graphics card."""

TOLERANCES = Path(__file__).parent / "configs" / "reproduce.toml"
SCAN = ["study", "center", "vendor", "field_t", "disease", "patient", "scan", "modality"]
ROW = [*SCAN, "method", "pattern", "acceleration", "phenotype"]
EXACT = ["unit", "status", "geometry"]
NUMBERS = ["value", "effective_acceleration"]
IDENTICAL, WITHIN, DIFFERENT = "identical", "within tolerance", "different"
MOST_ROWS = 50
SAME_MASK = 1e-9  # relative; the share of sampled points is a ratio of whole numbers


@dataclass(frozen=True)
class Comparison:
    """What the comparison found.

    Attributes
    ----------
    counts
        Rows that are ``identical``, ``within tolerance`` and ``different``.
    phenotypes
        For every phenotype ``phenotype unit n identical within different largest tolerance``.
    worst
        Rows that are not identical, the largest difference in units of its tolerance first: ``center patient scan method
        pattern acceleration phenotype was is difference outcome why``.
    """

    counts: Mapping[str, int]
    phenotypes: tuple[Mapping[str, Any], ...]
    worst: tuple[Mapping[str, Any], ...]


def compare_tables(was: pd.DataFrame, now: pd.DataFrame, *, basis: Basis) -> Comparison:
    """Compare a repeated table with the first one.

    Parameters
    ----------
    was, now
        Tables as ``measurements.parquet`` holds them.
    basis
        ``identical`` lets nothing be within tolerance; the others take the tolerances of ``configs/reproduce.toml``.

    Returns
    -------
    Comparison
        A row is identical when its text and the bits of its numbers are; two missing values are. It is within tolerance
        when its status is the same and the value moved by no more than the phenotype's tolerance. A row that only one
        table has is different.
    """
    both = numbered(was).merge(numbered(now), how="outer", on=[*ROW, "nth"], suffixes=("_was", "_is"), indicator="side")
    limits = tolerances(basis)
    limit = both["phenotype"].map(lambda name: limits.get(name, 0.0)).to_numpy(float)
    there = (both["side"] == "both").to_numpy()
    text = np.logical_and.reduce([same_text(both, column) for column in EXACT])
    bits = np.logical_and.reduce([same_bits(both, column) for column in NUMBERS])
    reasons = same_text(both, "reason")
    moved = np.abs(both["value_is"].to_numpy(float) - both["value_was"].to_numpy(float))
    masks = np.isclose(
        both["effective_acceleration_is"].to_numpy(float),
        both["effective_acceleration_was"].to_numpy(float),
        rtol=SAME_MASK,
        atol=0,
        equal_nan=True,
    )
    identical = there & text & bits & reasons
    near = (moved <= limit) | same_bits(both, "value")
    within = there & ~identical & text & masks & near & (basis != "identical")
    both["outcome"] = np.select([identical, within], [IDENTICAL, WITHIN], DIFFERENT)
    both["difference"], both["limit"] = moved, limit
    both["why"] = np.select(
        [both["side"] == "left_only", both["side"] == "right_only", ~text, ~masks, ~same_bits(both, "value"), ~reasons],
        ["not in the repetition", "only in the repetition", "status, unit or geometry", "mask", "value", "reason"],
        "",
    )
    return Comparison(counts_of(both), tuple(by_phenotype(both, limits)), tuple(worst_rows(both)))


def tolerances(basis: Basis, path: Path = TOLERANCES) -> dict[str, float]:
    """The largest allowed difference of every phenotype, in its unit; nothing for ``identical``."""
    if basis == "identical":
        return {}
    stated = tomllib.loads(path.read_text(encoding="utf-8"))[basis]
    return {name: float(stated[name]) for name in VOCABULARY}


def content_sha256(table: pd.DataFrame) -> str:
    """Hash of a table's content, whatever wrote its file: texts, and the bits of numbers."""
    digest = hashlib.sha256()
    for name in table.columns:
        column = table[name]
        digest.update(f"{name}\0".encode())
        if column.dtype.kind == "f":
            digest.update(canonical_bits(column.to_numpy(np.float64)).tobytes())
        else:
            digest.update("\0".join(column.astype(str)).encode())
    return digest.hexdigest()


def numbered(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a number for rows of the same name: a pseudonym may stand in two sets of a cohort."""
    made = table.copy()
    made["nth"] = made.groupby(ROW, dropna=False, sort=False).cumcount()
    return made


def same_text(both: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """Whether a column of texts is the same in both."""
    return (both[f"{column}_was"].fillna("") == both[f"{column}_is"].fillna("")).to_numpy(bool)


def same_bits(both: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """Whether a column of numbers has the same bits in both; any NaN is like any other."""
    was, now = (canonical_bits(both[f"{column}{side}"].to_numpy(np.float64)) for side in ("_was", "_is"))
    return np.asarray(was == now)


def canonical_bits(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """The bits of numbers, all kinds of NaN as one."""
    return np.where(np.isnan(values), np.nan, values).astype("<f8").view("<u8")


def counts_of(both: pd.DataFrame) -> dict[str, int]:
    """Rows of each outcome."""
    return {outcome: int((both["outcome"] == outcome).sum()) for outcome in (IDENTICAL, WITHIN, DIFFERENT)}


def by_phenotype(both: pd.DataFrame, limits: Mapping[str, float]) -> list[dict[str, Any]]:
    """A line for every phenotype, in the order of the vocabulary."""
    order = {name: place for place, name in enumerate(VOCABULARY)}
    lines = []
    for name, rows in sorted(both.groupby("phenotype"), key=lambda item: order.get(str(item[0]), len(order))):
        counts = counts_of(rows)
        moved = rows["difference"].dropna()
        unit = rows["unit_was"].fillna(rows["unit_is"]).iloc[0]
        lines.append(
            {
                "phenotype": str(name),
                "unit": str(unit),
                "n": len(rows),
                "identical": counts[IDENTICAL],
                "within": counts[WITHIN],
                "different": counts[DIFFERENT],
                "largest": float(moved.max()) if len(moved) else None,
                "tolerance": limits.get(str(name)),
            }
        )
    return lines


def worst_rows(both: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows that are not identical: different ones first, and those that moved furthest."""
    rows = both[both["outcome"] != IDENTICAL].copy()
    rows["rank"] = np.where(rows["difference"].isna(), math.inf, rows["difference"] / rows["limit"].clip(lower=1e-12))
    rows["last"] = rows["outcome"] != DIFFERENT
    rows = rows.sort_values(["last", "rank"], ascending=[True, False], kind="stable").head(MOST_ROWS)
    names = ("center", "patient", "scan", "method", "pattern", "acceleration", "phenotype", "outcome", "why")
    return [
        {
            **{name: row[name] for name in names},
            "was": finite(row["value_was"]),
            "is": finite(row["value_is"]),
            "difference": finite(row["difference"]),
        }
        for row in rows.to_dict("records")
    ]


def finite(value: Any) -> float | None:
    """A number for JSON; None where there is none."""
    return float(value) if pd.notna(value) and math.isfinite(value) else None
