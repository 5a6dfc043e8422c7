"""Is the extracellular volume of two measured T1 series that of the closed form, and is what does not belong together refused?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from cohort.images import write_image, write_labels
from cohort.records import ConfigProblem, MeasurementFailed
from flows.caching import write_manifest
from flows.cli import app
from flows.ecv import measure_ecv

SPACING = (8.0, 1.5, 1.5)
NATIVE_MS, POST_MS, BLOOD_MS, POST_BLOOD_MS = 1000.0, 480.0, 1550.0, 330.0
LAMBDA = (1 / POST_MS - 1 / NATIVE_MS) / (1 / POST_BLOOD_MS - 1 / BLOOD_MS)


def heart() -> NDArray[np.uint8]:
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(y, x)
    return np.where(radius < 14, 1, np.where(radius < 20, 2, 0)).astype(np.uint8)[None, None]


def series(folder: Path, name: str, wall_ms: float, blood_ms: float, **changed: Any) -> None:
    """What `cardioval phenotype` leaves of a T1 series, as far as ECV needs it."""
    labels, place = heart(), folder / name
    t1_ms = np.where(labels == 1, blood_ms, wall_ms).astype(np.float32)
    t1_ms[0, 0, :4] = np.nan
    t1_ms[labels != 0] = changed.get("map_ms", t1_ms[labels != 0])
    write_image(place / "t1_map.nii.gz", t1_ms, spacing_mm=SPACING, sidecar={}, allow_nan=True)
    write_labels(place / "labels.nii.gz", labels, spacing_mm=SPACING, sidecar={})
    row = {"patient": "P1", "field_t": 1.5, "status": "ok", "reason": ""} | changed.get("row", {})
    regions = {
        "wall": {"median_ms": wall_ms},
        "segment 8": {"median_ms": wall_ms + 20},
        "median_r2": 0.99,
        "not measured": {"septum": "no right ventricle"},
        "motion of slice 0": {"kept": True},
    }
    facts = {"sequence": changed.get("sequence", "MOLLI"), "map": changed.get("map", regions)}
    write_manifest(place / "series.json", key="k", files=[], content={"rows": [row], "facts": facts})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    series(tmp_path, "native", NATIVE_MS, BLOOD_MS)
    series(tmp_path, "post", POST_MS, POST_BLOOD_MS)
    return tmp_path


def test_ecv_is_that_of_the_formula(folder: Path) -> None:
    found = measure_ecv(folder, "native", "post", hematocrit=0.42)
    assert [value.region for value in found.regions] == ["wall", "segment 8"]
    assert found.regions[0].ecv == pytest.approx(0.58 * LAMBDA, rel=1e-6)
    assert found.regions[0].partition == pytest.approx(LAMBDA, rel=1e-6)
    assert (found.native_blood_ms, found.post_blood_ms) == (BLOOD_MS, POST_BLOOD_MS)
    assert (found.synthetic, found.doubts) == (False, ())
    assert any("25 ± 4 % " in text and "1.5 T" in text and "doi" in text for text in found.normal)


def test_a_synthetic_hematocrit_is_marked_and_only_for_its_protocol(folder: Path) -> None:
    found = measure_ecv(folder, "native", "post", synthetic=True)
    assert found.hematocrit == pytest.approx(866.0 / BLOOD_MS - 0.1232)
    assert found.synthetic
    assert "Treibel" in found.protocol
    series(folder, "native", NATIVE_MS, BLOOD_MS, sequence=None)
    with pytest.raises(
        MeasurementFailed, match=r"an unnamed sequence at 1\.5 T; a synthetic hematocrit is known for MOLLI"
    ):
        measure_ecv(folder, "native", "post", synthetic=True)
    for name in ("native", "post"):
        series(folder, name, NATIVE_MS, BLOOD_MS, row={"field_t": 3.0})
    with pytest.raises(MeasurementFailed, match="MOLLI at 3 T"):
        measure_ecv(folder, "native", "post", synthetic=True)


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"row": {"patient": "P2"}}, ConfigProblem, "native is of patient P1, post of P2"),
        ({"row": {"field_t": 3.0}}, ConfigProblem, r"at 1.5 T, post at 3.0 T"),
        ({"map": {}, "row": {"status": "failed", "reason": "no heart"}}, MeasurementFailed, "post: no heart"),
        ({"map": {}}, MeasurementFailed, "no myocardium was measured"),
        ({"map_ms": np.nan}, MeasurementFailed, "only 0 pixels of blood"),
    ],
)
def test_what_does_not_belong_together_or_was_not_measured(
    folder: Path, changed: dict[str, Any], kind: type[Exception], message: str
) -> None:
    series(folder, "post", POST_MS, POST_BLOOD_MS, **changed)
    with pytest.raises(kind, match=message):
        measure_ecv(folder, "native", "post", hematocrit=0.42)


def test_series_in_the_wrong_order_and_hematocrits_too_few_or_many(folder: Path) -> None:
    with pytest.raises(MeasurementFailed, match="blood must have a shorter T1 after contrast agent"):
        measure_ecv(folder, "post", "native", hematocrit=0.42)
    with pytest.raises(ConfigProblem, match=r"'other' is no T1 series of .*; there are native, post"):
        measure_ecv(folder, "native", "other", hematocrit=0.42)
    for given in ({}, {"hematocrit": 0.4, "synthetic": True}):
        with pytest.raises(ConfigProblem, match="give either --hematocrit"):
            measure_ecv(folder, "native", "post", **given)  # type: ignore[arg-type]
    with pytest.raises(MeasurementFailed, match="fraction between 0 and 1, got 42"):
        measure_ecv(folder, "native", "post", hematocrit=42)


def test_what_speaks_against_a_value_is_said(folder: Path) -> None:
    series(folder, "post", 990.0, POST_BLOOD_MS, sequence="SASHA")
    found = measure_ecv(folder, "native", "post", hematocrit=0.42)
    assert found.doubts[0] == "sequences differ: MOLLI before, SASHA after"
    assert found.doubts[1] == "outside 10 to 80 %: wall, segment 8"


def test_the_command_writes_all_of_it(folder: Path) -> None:
    result = CliRunner().invoke(app, ["ecv", str(folder), "native", "post", "--hematocrit", "0.42"])
    assert (result.exit_code, result.exception) == (0, None)
    content = json.loads((folder / "post" / "ecv.json").read_text(encoding="utf-8"))
    assert content["regions"][0]["ecv"] == pytest.approx(0.58 * LAMBDA, rel=1e-6)
    assert f"wall: ECV {58 * LAMBDA:.1f} %" in result.output
