"""Is a row identical, within tolerance or different when it should be?"""

import math
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohort.phenotypes import VOCABULARY
from flows.margins import load_margins
from flows.outcome import measurement_table
from flows.reproduce_compare import compare_tables, content_sha256, tolerances


def row(**change: Any) -> dict[str, Any]:
    return {
        "study": "s",
        "center": "C1",
        "vendor": "GE",
        "field_t": 1.5,
        "disease": "",
        "patient": "P001",
        "scan": "cine_sax",
        "modality": "cine",
        "method": "sense",
        "pattern": "Uniform",
        "acceleration": 8.0,
        "effective_acceleration": 4.1,
        "phenotype": "lv_edv_ml",
        "unit": "mL",
        "value": 120.0,
        "status": "ok",
        "reason": "",
        "geometry": "stated",
        **change,
    }


def tables(*pairs: tuple[dict[str, Any] | None, dict[str, Any] | None]) -> tuple[pd.DataFrame, pd.DataFrame]:
    was, now = zip(*pairs, strict=True)
    return measurement_table([r for r in was if r]), measurement_table([r for r in now if r])


def outcome(was: dict[str, Any] | None, now: dict[str, Any] | None, basis: Any = "identical") -> str:
    other = row(phenotype="lv_mass_g", unit="g")
    counts = compare_tables(*tables((was, now), (other, other)), basis=basis).counts
    assert counts["identical"] >= 1, "the other row"
    found = [name for name in ("within tolerance", "different") if counts[name]]
    assert sum(counts.values()) == 2
    return found[0] if found else "identical"


def test_a_table_is_identical_to_itself_whatever_the_order() -> None:
    rows = [row(value=v, phenotype=p) for v, p in zip((1.5, math.nan), ("lv_edv_ml", "lv_esv_ml"), strict=True)]
    table = measurement_table(rows)
    found = compare_tables(table, table.iloc[::-1], basis="identical")
    assert found.counts == {"identical": 2, "within tolerance": 0, "different": 0}
    assert found.worst == ()


def test_one_bit_is_a_difference_where_bits_are_asked_for() -> None:
    moved = np.nextafter(120.0, 121.0)
    assert outcome(row(), row(value=moved)) == "different"
    assert outcome(row(), row(value=moved), "other_cpu") == "within tolerance"
    assert outcome(row(effective_acceleration=4.2), row()) == "different"
    assert outcome(row(effective_acceleration=4.2), row(), "gpu") == "different", "another mask is no rounding"


def test_any_missing_value_is_like_any_other() -> None:
    other_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]
    failed = row(value=math.nan, status="failed", reason="no heart")
    assert outcome(failed, failed | {"value": other_nan}) == "identical"
    assert outcome(failed, failed | {"reason": "another"}) == "different"
    assert outcome(failed, failed | {"reason": "another"}, "other_cpu") == "within tolerance"
    assert outcome(row(), failed, "gpu") == "different"


@pytest.mark.parametrize("basis", ["other_cpu", "gpu"])
def test_the_tolerance_is_the_limit(basis: Any) -> None:
    limit = tolerances(basis)["lv_edv_ml"]
    assert outcome(row(), row(value=120 + 0.99 * limit), basis) == "within tolerance"
    assert outcome(row(), row(value=120 - 1.01 * limit), basis) == "different"
    assert outcome(row(value=math.nan), row(), basis) == "different"


def test_rows_of_one_table_only_are_different() -> None:
    assert outcome(row(), None, "gpu") == "different"
    assert outcome(None, row(), "gpu") == "different"
    was, now = tables((row(), None), (None, row(patient="P002")))
    found = compare_tables(was, now, basis="gpu")
    assert {r["why"] for r in found.worst} == {"not in the repetition", "only in the repetition"}
    assert all(r["difference"] is None for r in found.worst)


def test_rows_of_the_same_name_are_compared_in_their_order() -> None:
    """A pseudonym may stand in two sets of a cohort."""
    was, now = tables((row(value=1.0), row(value=1.0)), (row(value=2.0), row(value=3.0)))
    assert compare_tables(was, now, basis="identical").counts == {
        "identical": 1,
        "within tolerance": 0,
        "different": 1,
    }


def test_lines_by_phenotype_and_the_worst_first() -> None:
    limit = tolerances("gpu")["lv_edv_ml"]
    pairs = [(row(patient=f"P{i:03d}"), row(patient=f"P{i:03d}", value=120 + i * 0.6 * limit)) for i in range(4)]
    found = compare_tables(*tables(*pairs), basis="gpu")
    (line,) = found.phenotypes
    assert {key: line[key] for key in ("phenotype", "unit", "n", "identical", "within", "different")} == {
        "phenotype": "lv_edv_ml",
        "unit": "mL",
        "n": 4,
        "identical": 1,
        "within": 1,
        "different": 2,
    }
    assert line["largest"] == pytest.approx(1.8 * limit)
    assert line["tolerance"] == limit
    assert [r["patient"] for r in found.worst] == ["P003", "P002", "P001"]
    assert found.worst[0]["why"] == "value"


def test_every_phenotype_has_its_tolerances_and_they_grow() -> None:
    cpu, gpu = tolerances("other_cpu"), tolerances("gpu")
    assert list(cpu) == list(gpu) == list(VOCABULARY)
    assert all(0 < cpu[name] <= gpu[name] for name in VOCABULARY)
    assert tolerances("identical") == {}


def test_no_tolerance_is_more_than_half_of_what_would_matter() -> None:
    gpu = tolerances("gpu")
    for name, margin in load_margins(None).by_phenotype.items():
        assert gpu[name] <= min(abs(margin.lower), abs(margin.upper)) / 2, name


def test_content_hash() -> None:
    table = measurement_table([row(), row(value=math.nan, phenotype="lv_esv_ml")])
    assert content_sha256(table) == content_sha256(table.copy())
    assert content_sha256(table) != content_sha256(measurement_table([row(), row(phenotype="lv_esv_ml")]))
    assert content_sha256(table) != content_sha256(table.assign(reason="x"))
