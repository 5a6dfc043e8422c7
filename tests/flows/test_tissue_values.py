"""Are tissue values described by scanner, never pooled, and do published ranges stand beside them or a reason?"""

import math
from typing import Any

import pandas as pd
import pytest

from flows.tissue_values import normal_ranges, tissue_values


def row(center: str, patient: str, value: float, **given: Any) -> dict[str, Any]:
    about = {"center": center, "vendor": "Siemens", "field_t": 1.5, "patient": patient, "scan": "T1map"}
    about |= {"method": "fully_sampled", "pattern": "none", "acceleration": 1.0, "phenotype": "t1_ms", "value": value}
    return {**about, "status": "ok" if math.isfinite(value) else "failed", **given}


def test_a_row_is_one_scanner_and_one_field() -> None:
    rows = [row("A", f"P{i}", value) for i, value in enumerate((980.0, 1000.0, 1050.0))]
    rows += [row("A", "P9", 1200.0, field_t=3.0), row("B", "P1", 900.0), row("A", "P4", 950.0, scan="T1map_2")]
    scanners = {("A", f"P{i}", "T1map"): "Aera" for i in range(3)} | {("A", "P4", "T1map_2"): "Sola"}
    found = {(r["center"], r["scanner"], r["field_t"]): r for r in tissue_values(pd.DataFrame(rows), scanners=scanners)}
    assert set(found) == {("A", "Aera", 1.5), ("A", "Sola", 1.5), ("A", "", 3.0), ("B", "", 1.5)}
    aera = found["A", "Aera", 1.5]
    assert (aera["n"], aera["mean"], aera["median"]) == (3, 1010.0, 1000.0)
    assert aera["sd"] == pytest.approx(math.sqrt((30**2 + 10**2 + 40**2) / 2))
    assert found["B", "", 1.5] | {"sd": None} == found["B", "", 1.5], "one patient has no SD"


def test_patients_count_once_and_failures_are_attempted() -> None:
    rows = [row("A", "P1", 900.0), row("A", "P1", 1000.0, scan="T1map_2"), row("A", "P2", math.nan)]
    rows += [row("A", "P2", 40.0, phenotype="t2_ms"), row("A", "P1", 60.0, phenotype="lv_ef_percent")]
    rows += [row("A", "P1", 990.0, method="truth"), row("A", "P1", 970.0, method="sense", pattern="Uniform")]
    found = {(r["phenotype"], r["arm"]): r for r in tissue_values(pd.DataFrame(rows), scanners={})}
    assert set(found) == {("t1_ms", "fully_sampled"), ("t1_ms", "sense_Uniform1"), ("t2_ms", "fully_sampled")}
    t1 = found["t1_ms", "fully_sampled"]
    assert (t1["mean"], t1["n"], t1["attempted"]) == (950.0, 1, 2)
    assert tissue_values(pd.DataFrame(rows[3:4]).assign(phenotype="ssim"), scanners={}) == []


def test_published_ranges_are_each_for_itself_or_there_is_a_reason() -> None:
    asked = [("t1_ms", 1.5), ("septal_t1_ms", 1.5), ("t1_ms", 0.55), ("t2_ms", 3.0), ("t1_ms", None), ("t1_ms", 1.5)]
    found = {
        (r["phenotype"], r["field_t"]): r for r in normal_ranges([{"phenotype": p, "field_t": f} for p, f in asked])
    }
    assert len(found) == 5
    molli = found["t1_ms", 1.5]["values"]
    assert len(molli) > 1
    assert {v["sequence"] for v in molli} == {"MOLLI"}
    assert all("doi 10." in v["source"] for v in molli)
    assert molli[0]["low"] == pytest.approx(molli[0]["mean"] - 1.96 * molli[0]["sd"])
    assert found["septal_t1_ms", 1.5]["values"] == molli
    assert found["t1_ms", 0.55]["values"] == []
    assert "0.55 T" in found["t1_ms", 0.55]["reason"]
    assert "not comparable" in found["t2_ms", 3.0]["reason"], "headers do not tell how T2 was prepared"
    assert found["t1_ms", None]["reason"] == "the field strength is not known"
