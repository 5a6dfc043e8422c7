"""Is every scan that was judged counted, and every failure named? And do differences of segments pair what belongs together?"""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.caching import write_manifest
from flows.quality_findings import quality_findings
from flows.segment_differences import segment_differences


def manifest(root: Path, patient: str, facts: dict[str, Any], modality: str = "cine") -> Path:
    folder = root / f"{patient}_{modality}"
    folder.mkdir()
    scan = {"center": "C", "patient": patient, "scan": "cine_sax", "modality": modality}
    arms: dict[str, Any] = {"fully_sampled": {}, "sense_Uniform8": {}}
    write_manifest(folder / "reconstruction.json", key="r", files=[], content={"scan": scan, "arms": arms})
    return write_manifest(folder / "measurements.json", key="m", files=[], content={"rows": [], "facts": facts})


def finding(check: str, status: str, reason: str = "why") -> dict[str, str]:
    return {"check": check, "status": status, "reason": reason}


def test_every_scan_is_in_one_of_the_counts(tmp_path: Path) -> None:
    ring, part, passed = finding("closed ring", "fail", "open"), finding("one part", "warn"), finding("EF", "pass")
    manifests = [
        manifest(tmp_path, "P2", {"fully_sampled": {"quality_control": []}, "sense_Uniform8": {}}),
        manifest(
            tmp_path,
            "P1",
            {"fully_sampled": {"quality_control": [part, passed]}, "sense_Uniform8": {"quality_control": [ring, part]}},
        ),
        manifest(tmp_path, "P3", {"fully_sampled": {"quality_control": []}}),
        manifest(tmp_path, "P3", {"map": {}}, modality="T1 mapping"),
    ]
    found = quality_findings(manifests)
    assert found["arms"] == [
        {"arm": "fully_sampled", "judged": 3, "not_judged": 0},
        {"arm": "sense_Uniform8", "judged": 1, "not_judged": 2},
    ]
    judged = {row["arm"]: row["judged"] for row in found["arms"]}
    counts = {(row["check"], row["arm"]): (row["pass"], row["warn"], row["fail"]) for row in found["checks"]}
    assert all(sum(count) == judged[arm] for (_, arm), count in counts.items())
    assert counts["one part", "fully_sampled"] == (2, 1, 0)
    assert counts["closed ring", "sense_Uniform8"] == (0, 0, 1)
    assert counts["EF", "fully_sampled"] == (3, 0, 0)
    assert [(row["patient"], row["arm"], row["check"], row["reason"]) for row in found["failed"]] == [
        ("P1", "sense_Uniform8", "closed ring", "open")
    ]
    assert quality_findings([]) == {"arms": [], "checks": [], "failed": []}


def test_differences_of_segments() -> None:
    def row(patient: str, arm: str, segment: int, value: float, scan: str = "cine_sax") -> dict[str, Any]:
        method, acceleration = ("fully_sampled", 1.0) if arm == "full" else ("sense", 8.0)
        about = {"center": "C", "patient": patient, "scan": scan, "modality": "cine", "method": method, "unit": "mm"}
        about |= {"pattern": "none" if arm == "full" else "Uniform", "acceleration": acceleration}
        return {**about, "quantity": "wall_thickness_mean", "segment": segment, "value": value}

    rows = [
        row("P1", "full", 1, 8.0),
        row("P1", "sense", 1, 9.0),
        row("P2", "full", 1, 6.0),
        row("P2", "sense", 1, 6.5),
    ]
    rows += [
        row("P2", "full", 1, 7.0, "cine_sax_2"),
        row("P2", "sense", 1, 8.5, "cine_sax_2"),
        row("P3", "full", 1, 10.0),
    ]
    rows += [row("P4", "sense", 1, 20.0), row("P1", "full", 7, 5.0)]
    found = {(r["arm"], r["segment"]): r for r in segment_differences(pd.DataFrame(rows))}
    assert found["fully_sampled", 1]["mean"] == pytest.approx((8.0 + 6.5 + 10.0) / 3)
    assert found["fully_sampled", 1]["n"] == 3
    apart = found["sense_Uniform8", 1]
    assert apart["difference"] == pytest.approx((1.0 + 1.0) / 2), "each patient once, only those with both"
    assert (apart["n"], apart["sd"], apart["unit"]) == (2, pytest.approx(0.0), "mm")
    assert found["fully_sampled", 7]["sd"] is None
    assert ("sense_Uniform8", 7) not in found
    assert segment_differences(pd.DataFrame(rows[:0], columns=list(rows[0]))) == []
