"""Tables whose answer is known: what is shown, what is not, who is counted, and what is said about it."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohort.records import ConfigProblem
from flows.analysis import analyse, plain
from flows.margins import Margin, Margins, load_margins
from stats.bland_altman import repeated

MARGINS = Margins({"lv_ef_percent": Margin(3.0, 8.0, "points"), "t1_ms": Margin(15.0, 45.0, "ms")}, origin="test")
TIGHT = [-0.6, 0.4, 0.2, -0.3, 0.5, -0.1, 0.3, -0.4]
REFERENCE = ("fully_sampled", "none", 1.0)
U4, U8, G16 = ("cardiomm", "Uniform", 4.0), ("cardiomm", "Uniform", 8.0), ("cardiomm", "ktGaussian", 16.0)
TRUTH = ("truth", "none", 1.0)
Arm = tuple[str, str, float]


def rows_of(
    arm: Arm,
    values: Iterable[float],
    *,
    phenotype: str = "lv_ef_percent",
    scan: str = "cine_sax",
    failed: Iterable[int] = (),
    centers: int = 2,
) -> list[dict[str, Any]]:
    """Rows of one arm: patients spread over centers in turn, field strength by center, the named ones failed."""
    method, pattern, acceleration = arm
    failed = set(failed)
    return [
        {
            "study": "constructed",
            "center": f"Center{i % centers + 1:03d}",
            "vendor": "Vendor",
            "field_t": 1.5 if i % centers == 0 else 3.0,
            "disease": "normal" if i % 2 == 0 else None,
            "patient": f"P{i // centers + 1:03d}",
            "scan": scan,
            "modality": "T1" if phenotype == "t1_ms" else "cine",
            "method": method,
            "pattern": pattern,
            "acceleration": acceleration,
            "effective_acceleration": acceleration * 0.75 if acceleration > 1 else 1.0,
            "phenotype": phenotype,
            "unit": "%",
            "value": float("nan") if i in failed else value,
            "status": "failed" if i in failed else "ok",
            "reason": "no left ventricle found" if i in failed else "",
        }
        for i, value in enumerate(values)
    ]


def table(*parts: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part])


def baseline(n: int = 8) -> list[float]:
    return [40.0 + 4.0 * i for i in range(n)]


def shifted(difference: Iterable[float], scale: float = 1.0, shift: float = 0.0) -> list[float]:
    differences = list(difference)
    return [b + scale * d + shift for b, d in zip(baseline(len(differences)), differences, strict=True)]


def only(results: dict[str, Any], arm: str, against: str = "fully_sampled") -> dict[str, Any]:
    (row,) = [r for r in results["agreement"] if r["arm"] == arm and r["against"] == against]
    return dict(row)


def test_tight_differences_are_shown() -> None:
    results = analyse(table(rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT))), margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert row["verdict"] == "shown"
    assert row["bias"]["estimate"] == pytest.approx(np.mean(TIGHT))
    assert row["sd"] == pytest.approx(np.std(TIGHT, ddof=1))
    assert row["tost"]["equivalent"] is True
    assert row["limits_within_margin"] is True
    assert row["icc"]["estimate"] > 0.99
    assert (row["attempted"], row["n"], row["failed"]) == (8, 8, 0)
    assert "lies inside ±3" in row["reason"]
    assert "inside ±8" in row["reason"]
    assert results["study"]["verdict_sentences"] == [
        "LVEF with CardioMM: valid up to 4× uniform, the highest acceleration tested. 2 centers were studied, too few to "
        "speak for others."
    ]


def test_direction_is_accelerated_minus_reference() -> None:
    results = analyse(table(rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT, shift=-5.0))), margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert row["bias"]["estimate"] == pytest.approx(np.mean(TIGHT) - 5.0)
    assert row["pairs"][0] == {
        "center": "Center001", "patient": "P001", "disease": "normal", "reference": 40.0, "test": pytest.approx(34.4)
    }  # fmt: skip


def test_known_bias_is_not_shown() -> None:
    results = analyse(table(rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT, shift=-3.5))), margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert row["verdict"] == "not shown"
    assert "interval of the bias" in row["reason"]
    assert "exceeds ±3" in row["reason"]
    assert "limits" not in row["reason"]  # these are inside ±8: only what failed is named


def test_small_bias_with_wide_limits_is_bias_only() -> None:
    results = analyse(table(rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT, scale=6.0))), margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert row["verdict"] == "bias only"
    assert abs(row["upper_limit"]["estimate"]) < 8 < row["upper_limit"]["high"]  # the outer limit decides
    assert "exceed ±8" in row["reason"]


def test_ladder_stops_at_the_first_failure() -> None:
    parts = [rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT)), rows_of(U8, shifted(TIGHT, scale=12.0))]
    results = analyse(table(*parts, rows_of(G16, shifted(TIGHT))), margins=MARGINS)
    assert only(results, "cardiomm_ktGaussian16")["verdict"] == "shown"
    (sentence,) = results["study"]["verdict_sentences"]
    assert sentence.startswith("LVEF with CardioMM: valid up to 4× uniform; not shown at 8× uniform, because ")
    assert "exceed ±8." in sentence
    assert "16× k-t Gaussian would pass alone but is not claimed" in sentence


def test_first_rung_failing_says_so() -> None:
    data = table(rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT, shift=9.0)))
    (sentence,) = analyse(data, margins=MARGINS)["study"]["verdict_sentences"]
    assert sentence.startswith("LVEF with CardioMM: not shown at 4× uniform, because the 90 % interval of the bias, ")
    assert "8.7 to 9.3 points, exceeds ±3 and the limits" in sentence


def test_failures_are_counted_and_change_the_share_within_the_margin() -> None:
    data = table(rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT), failed=[1, 5]))
    results = analyse(data, margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert (row["attempted"], row["n"], row["failed"]) == (8, 6, 2)
    assert row["sensitivity"]["inside"] == 6
    assert row["sensitivity"]["share"]["estimate"] == pytest.approx(0.75)
    assert "2 of 8 failed: counted as outside, 6 of 8 (75 %" in row["reason"]
    assert "Up to 2 of 8 patients had no value" in results["study"]["verdict_sentences"][0]
    assert [(f["center"], f["patient"], f["stage"], f["reason"]) for f in results["failures"]] == [
        ("Center002", "P001", "measurement, cardiomm_Uniform4", "no left ventricle found"),
        ("Center002", "P003", "measurement, cardiomm_Uniform4", "no left ventricle found"),
    ]


@pytest.mark.parametrize("broken", ["missing row", "failed reference", "value without status"])
def test_half_a_pair_counts_as_failed(broken: str) -> None:
    reference = rows_of(REFERENCE, baseline(), failed=[2] if broken == "failed reference" else [])
    test = rows_of(U4, shifted(TIGHT))
    if broken == "missing row":
        del test[2]
    elif broken == "value without status":
        test[2]["value"] = float("inf")
    row = only(analyse(table(reference, test), margins=MARGINS), "cardiomm_Uniform4")
    assert (row["attempted"], row["n"], row["failed"]) == (8, 7, 1)
    assert row["bias"]["estimate"] == pytest.approx(np.mean([d for i, d in enumerate(TIGHT) if i != 2]))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_too_few_patients(n: int) -> None:
    data = table(rows_of(REFERENCE, baseline(n)), rows_of(U4, shifted(TIGHT[:n])))
    results = analyse(data, margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert row["verdict"] == "too few"
    assert row["reason"].startswith(f"{n} patient{'s' if n > 1 else ''} with both values; at least 6 are needed")
    assert (row["lower_limit"] is None) == (n < 3)
    assert row["bias"]["estimate"] == pytest.approx(np.mean(TIGHT[:n]))
    assert (row["bias"]["low"] is None) == (n == 1)
    assert "no verdict at 4× uniform" in results["study"]["verdict_sentences"][0]
    json.dumps(results, allow_nan=False)


def test_all_failed() -> None:
    row = only(
        analyse(table(rows_of(REFERENCE, baseline()), rows_of(U4, baseline(), failed=range(8))), margins=MARGINS),
        "cardiomm_Uniform4",
    )
    assert (row["attempted"], row["n"], row["failed"], row["verdict"]) == (8, 0, 8, "too few")
    assert row["bias"] is None


def test_truth_is_compared_with_every_arm_only_where_it_is_known() -> None:
    truth = rows_of(TRUTH, baseline())[:6]
    near = np.array(TIGHT) + np.tile([0.01, -0.01], 4)
    data = table(rows_of(REFERENCE, shifted(TIGHT, shift=5.0)), rows_of(U4, shifted(near, shift=5.0)), truth)
    results = analyse(data, margins=MARGINS)
    assert only(results, "cardiomm_Uniform4")["verdict"] == "shown"  # the shared error hides
    for arm in ("fully_sampled", "cardiomm_Uniform4"):
        row = only(results, arm, "truth")
        assert (row["attempted"], row["n"], row["verdict"]) == (6, 6, "not shown")
        assert row["bias"]["estimate"] == pytest.approx(5.0 + np.mean(TIGHT[:6]))
    assert any("compared with it" in note for note in results["study"]["notes"])
    assert "truth" not in [arm["arm"] for arm in results["arms"]]


def test_several_scans_of_a_patient_count_once() -> None:
    parts = [rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT))]
    again = [rows_of(REFERENCE, baseline(), scan="again"), rows_of(U4, shifted(TIGHT, shift=1.0), scan="again")]
    results = analyse(table(*parts, *again), margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert row["n"] == 8
    assert row["bias"]["estimate"] == pytest.approx(np.mean(TIGHT) + 0.5)
    assert any("by the mean of its scans" in note for note in results["study"]["notes"])


def test_limits_are_for_a_single_scan_where_patients_have_several() -> None:
    """Means of two scans that err in opposite directions agree almost perfectly; a single scan does not."""
    first, second = [s * d + 3.6 for d, s in zip(TIGHT, [1.0] * 8, strict=True)], [d - 3.6 for d in TIGHT]
    parts = [rows_of(REFERENCE, baseline()), rows_of(U4, shifted(first))]
    again = [rows_of(REFERENCE, baseline(), scan="again"), rows_of(U4, shifted(second), scan="again")]
    row = only(analyse(table(*parts, *again), margins=MARGINS), "cardiomm_Uniform4")
    base = np.array(baseline())
    known = repeated(
        np.tile(base, 2), np.concatenate([shifted(first), shifted(second)]), np.tile(np.arange(8), 2), truth="varying"
    )
    assert (row["n"], row["attempted"]) == (8, 8)  # each patient counts once
    for name in ("lower_limit", "upper_limit"):
        assert row[name]["low"] == pytest.approx(getattr(known, name).low)
        assert row[name]["high"] == pytest.approx(getattr(known, name).high)
    assert row["sd"] == pytest.approx(known.sd.estimate)
    assert row["verdict"] == "bias only"  # the limits of the means, about ±1, would have been shown
    assert row["replicates"]["readings_test"] == 16
    assert row["descriptive"]["tdi95"] is None
    assert row["agreement_test"] is None
    assert row["robustness"] is None


def test_patients_of_the_same_name_in_two_centers_are_two() -> None:
    results = analyse(table(rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT))), margins=MARGINS)
    assert results["cohort"]["n_patients"] == 8
    assert [(c["center"], c["field_t"], c["n_patients"]) for c in results["cohort"]["centers"]] == [
        ("Center001", 1.5, 4),
        ("Center002", 3.0, 4),
    ]
    assert results["cohort"]["diseases"] == {"normal": 4, "not stated": 4}


def test_centers_have_their_own_rows_and_a_level_of_their_own() -> None:
    n = 12
    differences = [TIGHT[i % 8] + (2.0 if i % 3 == 0 else 0.0) for i in range(n)]
    data = table(
        rows_of(REFERENCE, baseline(n), centers=3), rows_of(U4, shifted(differences), centers=3)
    )  # the first center is off by 2
    results = analyse(data, margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert row["center_level"]["n_centers"] == 3
    naive, honest = (r["high"] - r["low"] for r in (row["bias"], row["center_level"]))
    assert honest > 2 * naive
    first, *_ = results["centers"]
    assert (first["center"], first["n"]) == ("Center001", 4)
    assert first["bias"]["estimate"] == pytest.approx(np.mean(differences[::3]))
    two = analyse(table(rows_of(REFERENCE, baseline()), rows_of(U4, shifted(TIGHT))), margins=MARGINS)
    assert only(two, "cardiomm_Uniform4")["center_level"] is None


def test_relaxation_times_pool_differences_but_no_absolute_values() -> None:
    fields = [1000.0 + 200.0 * (i % 2) + i for i in range(8)]
    data = table(
        rows_of(REFERENCE, fields, phenotype="t1_ms"),
        rows_of(U4, [f + 5.0 * d for f, d in zip(fields, TIGHT, strict=True)], phenotype="t1_ms"),
    )
    results = analyse(data, margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert row["verdict"] == "shown"
    assert row["icc"] is None
    assert any("field strength" in note for note in results["study"]["notes"])
    same = data.assign(field_t=1.5)
    assert only(analyse(same, margins=MARGINS), "cardiomm_Uniform4")["icc"] is not None


def test_no_margin_no_claim() -> None:
    data = table(
        rows_of(REFERENCE, baseline(), phenotype="mean_wall_thickness_mm"),
        rows_of(U4, shifted(TIGHT), phenotype="mean_wall_thickness_mm"),
    )
    results = analyse(data, margins=MARGINS)
    row = only(results, "cardiomm_Uniform4")
    assert (row["verdict"], row["tost"], row["limits_within_margin"]) == ("not shown", None, None)
    assert "no margin was fixed" in row["reason"]
    assert results["study"]["verdict_sentences"] == []


def test_identical_images_show_nothing_and_constant_values_have_no_icc() -> None:
    data = table(rows_of(REFERENCE, [50.0] * 8), rows_of(U4, [50.0] * 8))
    row = only(analyse(data, margins=MARGINS), "cardiomm_Uniform4")
    assert (row["verdict"], row["sd"], row["icc"]) == ("not shown", 0.0, None)
    assert "all 8 differences are the same, 0.0 points" in row["reason"]


def test_image_quality_and_overlap() -> None:
    psnr = [30.0, 31.0, 32.0, 33.0]
    data = table(
        rows_of(U4, psnr, phenotype="psnr_db"),
        rows_of(U4, [0.9, 0.8, 0.85, 0.95], phenotype="dice_lv", failed=[1]),
        rows_of(REFERENCE, [0.9], phenotype="dice_lv"),
    )
    results = analyse(data, margins=MARGINS)
    (quality,) = results["image_quality"]
    assert (quality["arm"], quality["modality"], quality["metric"]) == ("cardiomm_Uniform4", "cine", "psnr_db")
    assert (quality["mean"], quality["n"]) == (31.5, 4)
    assert 30.0 <= quality["low"] < 31.5 < quality["high"] <= 33.0
    overlap = {row["arm"]: row for row in results["overlap"]}
    assert (overlap["cardiomm_Uniform4"]["n"], overlap["fully_sampled"]["n"]) == (3, 1)
    assert overlap["fully_sampled"]["sd"] is None
    assert results["agreement"] == []
    assert results["image_quality"] == analyse(data, margins=MARGINS)["image_quality"]  # the seed is part of the plan


def test_arms_carry_the_effective_acceleration() -> None:
    data = table(rows_of(G16, baseline()), rows_of(U4, baseline()), rows_of(REFERENCE, baseline()))
    results = analyse(data, margins=MARGINS)
    assert [arm["arm"] for arm in results["arms"]] == ["fully_sampled", "cardiomm_Uniform4", "cardiomm_ktGaussian16"]
    assert results["arms"][2]["effective_acceleration"] == {"mean": 12.0, "min": 12.0, "max": 12.0}
    assert results["arms"][2]["label"] == "CardioMM 16× k-t Gaussian"


def test_results_are_pure_json(rng: np.random.Generator) -> None:
    parts = [rows_of(REFERENCE, baseline(), failed=[0])]
    parts += [rows_of(arm, shifted(TIGHT, scale=float(rng.uniform(1, 9)))) for arm in (U4, U8, G16)]
    data = table(*parts, rows_of(TRUTH, baseline()), rows_of(U4, [30.0] * 8, phenotype="psnr_db"))
    results = analyse(data, margins=load_margins())
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    for column in ("center", "patient", "method", "phenotype", "status"):  # as Parquet may bring them back
        data[column] = data[column].astype("category")
    assert analyse(data, margins=load_margins()) == results
    assert plain({"a": (np.float64("nan"), np.int64(3), np.bool_(True))}) == {"a": [None, 3, True]}


def test_refusals() -> None:
    data = table(rows_of(REFERENCE, baseline()))
    with pytest.raises(ConfigProblem, match="lacks value"):
        analyse(data.drop(columns="value"), margins=MARGINS)
    with pytest.raises(ConfigProblem, match="is empty"):
        analyse(data.iloc[:0], margins=MARGINS)
    with pytest.raises(ConfigProblem, match="8 measurements occur twice, the first is Center001 P001 cine_sax cine"):
        analyse(pd.concat([data, data]), margins=MARGINS)
