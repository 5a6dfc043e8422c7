"""Studies whose answer is known: how far the claim goes, which centers object, what failures and the plan do to it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohort.records import ConfigProblem
from flows.analysis import analyse
from flows.analysis_options import Statistics
from flows.analysis_plan import AnalysisPlan, Rung, plan_facts
from flows.margins import Margin, Margins
from stats.nested import nested_limits
from tests.flows.tables import REFERENCE, study

EF, EDV = "lv_ef_percent", "lv_edv_ml"
MARGINS = Margins({EF: Margin(3.0, 8.0, "points"), EDV: Margin(8.0, 20.0, "mL")}, origin="test")
LADDER = (Rung("Uniform", 4.0), Rung("Uniform", 8.0), Rung("ktGaussian", 8.0), Rung("ktRadial", 24.0))
ARMS = [("cardiomm", rung.pattern, rung.acceleration) for rung in LADDER]
N = 40
BASE = np.linspace(30, 70, N)
NOISE = np.tile([-0.6, 0.4, 0.2, -0.3, 0.5, -0.1, 0.3, -0.4], 5)


def of(
    scales: Sequence[float], shifts: Sequence[float] = (0, 0, 0, 0), *, phenotype: str = EF, **more: Any
) -> pd.DataFrame:
    """A study in which each rung's error is NOISE times a scale plus a shift."""
    columns = {arm: BASE + s * NOISE + b for arm, s, b in zip(ARMS, scales, shifts, strict=True)}
    return study({REFERENCE: BASE, **columns}, phenotype=phenotype, **more)


def run(table: pd.DataFrame, **options: Any) -> dict[str, Any]:
    return analyse(table, plan=AnalysisPlan(MARGINS, Statistics(**options), ladder=LADDER, methods=("cardiomm",)))


def claims(results: dict[str, Any]) -> dict[str, bool]:
    return {row["arm"]: row["claimed"] for row in results["agreement"]}


def test_the_claim_ends_before_the_first_level_that_fails() -> None:
    results = run(of([1, 1, 12, 1]))
    (decision,) = results["decision"]
    assert decision["claimed_up_to"] == "cardiomm_Uniform4"
    assert decision["first_not_shown"] == "cardiomm_Uniform8"
    assert [(lv["acceleration"], lv["verdict"], lv["passed"], lv["claimed"]) for lv in decision["levels"]] == [
        (4.0, "shown", True, True),
        (8.0, "bias only", False, False),
        (24.0, "shown", True, False),
    ]
    # both arms of a level are tested together: neither of 8x is claimed, though one is shown
    assert claims(results) == {
        "cardiomm_Uniform4": True,
        "cardiomm_Uniform8": False,
        "cardiomm_ktGaussian8": False,
        "cardiomm_ktRadial24": False,
    }
    assert decision["sentence"].startswith(
        "LVEF with CardioMM: valid up to 4× uniform; at 8× k-t Gaussian only the bias"
    )
    assert "24× k-t radial would pass alone but is not claimed" in decision["sentence"]
    assert results["decision_together"] == []  # one primary measurement: its own sentence says it


def test_everything_shown() -> None:
    (decision,) = run(of([1, 1, 1, 1]))["decision"]
    assert (decision["claimed_up_to"], decision["first_not_shown"]) == ("cardiomm_ktRadial24", None)
    assert decision["sentence"] == (
        "LVEF with CardioMM: valid up to 24× k-t radial, the highest acceleration tested. 1 center was studied, too few to "
        "speak for others."
    )
    (decision,) = run(of([1, 1, 1, 1], centers=split(5)))["decision"]
    assert decision["sentence"].endswith("the highest acceleration tested.")  # five speak for a sixth


def test_a_planned_rung_that_was_not_measured_ends_the_claim() -> None:
    table = of([1, 1, 1, 1])
    (decision,) = run(table[table["pattern"] != "ktGaussian"])["decision"]
    assert decision["claimed_up_to"] == "cardiomm_Uniform4"
    assert [level["verdict"] for level in decision["levels"]] == ["shown", "not measured", "shown"]
    assert "not measured at 8× k-t Gaussian" in decision["sentence"]


def test_what_is_not_planned_is_not_claimed() -> None:
    table = pd.concat([of([1, 1, 1, 1]), study({("sense", "Uniform", 4.0): BASE + NOISE})])
    results = run(table)
    assert claims(results)["sense_Uniform4"] is False
    assert [d["method"] for d in results["decision"]] == ["cardiomm"]


def test_secondary_measurements_are_described() -> None:
    table = pd.concat([of([1, 1, 1, 1]), of([1, 1, 1, 12], phenotype=EDV)])
    results = run(table, primary=(EF,))
    by_name = {d["phenotype"]: d for d in results["decision"]}
    assert by_name[EF]["claimed_up_to"] == "cardiomm_ktRadial24"
    assert (by_name[EDV]["primary"], by_name[EDV]["claimed_up_to"]) == (False, None)
    assert "not among the primary measurements, so nothing is claimed; would be valid up to" in by_name[EDV]["sentence"]
    assert not any(row["claimed"] for row in results["agreement"] if row["phenotype"] == EDV)


def test_all_primary_measurements_at_once() -> None:
    table = pd.concat([of([1, 1, 1, 12]), of([1, 1, 40, 1], phenotype=EDV)])
    (joint,) = run(table)["decision_together"]
    assert (joint["claimed_up_to"], joint["first_not_shown"]) == ("cardiomm_Uniform4", "cardiomm_Uniform8")
    assert joint["sentence"] == (
        "All 2 primary measurements with CardioMM: valid up to 4× uniform; not claimed at 8× uniform and "
        "8× k-t Gaussian because of LVEDV."
    )
    (alone,) = run(of([1, 1, 1, 1]), primary=(EF, EDV))["decision_together"]
    assert (alone["claimed_up_to"], alone["missing"]) == (None, [EDV])
    assert "LVEDV was planned and never measured" in alone["sentence"]


def test_asymmetric_margins_decide_by_their_side() -> None:
    margins = Margins({EF: Margin(5.0, 8.0, "points", bias_lower=-1.0, bias_upper=5.0)}, origin="test")
    for shift, verdict in ((-2.0, "not shown"), (2.0, "shown")):
        results = analyse(of([1, 1, 1, 1], [shift] * 4), margins=margins)
        assert {row["verdict"] for row in results["agreement"]} == {verdict}
    row = analyse(of([1, 1, 1, 1], [-2.0] * 4), margins=margins)["agreement"][0]
    assert "exceeds −1 to 5" in row["reason"]
    assert (row["tost"]["margin_lower"], row["tost"]["margin_upper"], row["tost"]["margin"]) == (-1.0, 5.0, 5.0)


# ---- centers ----------------------------------------------------------------------------------------------------------


def split(k: int) -> list[str]:
    return [f"Center{i * k // N + 1:02d}" for i in range(N)]


def off_in_one(k: int, shift: float) -> pd.DataFrame:
    """The last of k centers reads higher by `shift`."""
    centers = split(k)
    error = NOISE + np.where(np.array(centers) == centers[-1], shift, 0.0)
    columns = dict.fromkeys(ARMS, BASE + error)
    return study({REFERENCE: BASE, **columns}, centers=centers)


def test_few_centers_are_judged_one_by_one() -> None:
    results = run(off_in_one(4, 3.9), minimum_centers=5)
    row = results["agreement"][0]
    found = row["center_consistency"]
    assert row["verdict"] == "shown"
    assert (found["n_centers"], found["n_judged"]) == (4, 4)
    assert (found["outside"], found["interval_outside"]) == (["Center04"], ["Center04"])
    assert found["random_effects"] is None
    assert "cannot be estimated" in found["statement"]
    assert row["claimed"] is False
    assert (
        "not claimed at 4× uniform, because the whole interval of the bias lies outside ±3 in Center04"
        in (results["decision"][0]["sentence"])
    )


@pytest.mark.parametrize(("rule", "claimed"), [("interval", True), ("mean", False), ("described", True)])
def test_the_rule_decides_what_a_center_can_do(rule: str, claimed: bool) -> None:
    # the mean of the last center is outside, its interval reaches inside
    results = run(off_in_one(4, 3.1), center_rule=rule, minimum_centers=9)
    row = results["agreement"][0]
    assert row["center_consistency"]["outside"] == ["Center04"]
    assert row["center_consistency"]["interval_outside"] == []
    assert row["claimed"] is claimed


def test_from_enough_centers_on_they_are_the_unit() -> None:
    rng = np.random.default_rng(1)
    centers = split(8)
    shift = dict(zip(sorted(set(centers)), [2.9, 2.9, 2.9, 2.9, -1.5, 2.9, 2.8, -1.8], strict=True))
    error = np.array([shift[c] for c in centers]) + 0.2 * rng.standard_normal(N)
    table = study({REFERENCE: BASE, **dict.fromkeys(ARMS, BASE + error)}, centers=centers)
    row = run(table, minimum_centers=5)["agreement"][0]
    found = row["center_consistency"]
    assert row["tost"]["equivalent"] is True  # patients taken as independent would say so
    assert found["interval_outside"] == []
    assert found["random_effects"]["inside"] is False
    assert found["consistent"] is False
    assert row["claimed"] is False
    assert len(found["leave_one_out"]) == 8
    few = run(table, minimum_centers=9)["agreement"][0]
    assert few["center_consistency"]["random_effects"] is None


def test_small_centers_are_shown_and_not_judged() -> None:
    centers = ["Large"] * (N - 2) + ["Small"] * 2
    error = NOISE + np.where(np.array(centers) == "Small", 7.0, 0.0)
    table = study({REFERENCE: BASE, **dict.fromkeys(ARMS, BASE + error)}, centers=centers)
    row = run(table)["agreement"][0]
    assert row["center_consistency"]["n_judged"] == 1
    assert row["center_consistency"]["consistent"] is True


@pytest.mark.parametrize("shift", [0.0, 1.0, 0.1])
def test_equal_differences_show_nothing(shift: float) -> None:
    # limits that rest on no spread say nothing of the next patient; 0.1 leaves rounding errors
    whole = np.arange(30.0, 30.0 + N)
    table = study({REFERENCE: whole, **dict.fromkeys(ARMS, whole + shift)}, centers=split(8))
    results = run(table)
    row, (decision,) = results["agreement"][0], results["decision"]
    assert (row["verdict"], row["claimed"], decision["claimed_up_to"]) == ("not shown", False, None)
    assert row["reason"].startswith(f"all 40 differences are the same, {shift:.1f} points, which leaves no spread")
    assert "not shown at 4× uniform, because all 40 differences are the same" in decision["sentence"]
    assert row["sensitivity"]["tipping_point"] is None


def test_centers_of_one_patient_each_are_units_too() -> None:
    error = np.tile([2.99, -2.9, 2.9, 2.9, 2.8], 8)[:N]
    table = study({REFERENCE: BASE, **dict.fromkeys(ARMS, BASE + error)}, centers=[f"C{i:02d}" for i in range(N)])
    found = run(table)["agreement"][0]["center_consistency"]
    # each patient is a center: the interval over centers is that over patients
    row = run(table)["agreement"][0]["tost"]
    assert (found["random_effects"]["low"], found["random_effects"]["high"]) == pytest.approx((row["low"], row["high"]))


def test_pairs_of_equal_patients_do_not_pass_as_independent() -> None:
    """Five centers of eight patients, all alike within a center: 40 values, but five pieces of evidence."""
    centers = split(5)
    shift = dict(zip(sorted(set(centers)), [2.9, 2.9, 0.5, 2.9, 2.9], strict=True))
    table = study(
        {REFERENCE: BASE, **dict.fromkeys(ARMS, BASE + np.array([shift[c] for c in centers]))}, centers=centers
    )
    row = run(table)["agreement"][0]
    assert row["tost"]["equivalent"] is True  # patients taken as independent would say so
    assert row["center_consistency"]["random_effects"]["inside"] is False
    assert row["claimed"] is False


def test_limits_for_a_new_center_are_shown_from_three_centers_and_judged_from_five() -> None:
    """Centers differ by as much as patients: the limits of these patients are inside, those of a new center not."""
    shifts = {3: [1.0, -1.0, 0.0], 5: [2.6, -2.6, 0.0, 2.3, -2.3]}
    rows = {}
    for k, values in shifts.items():
        centers = split(k)
        shift = dict(zip(sorted(set(centers)), values, strict=True))
        error = np.array([shift[c] for c in centers]) + 2 * NOISE
        table = study({REFERENCE: BASE, **dict.fromkeys(ARMS, BASE + error)}, centers=centers)
        rows[k] = run(table, center_rule="interval")["agreement"][0]
    assert rows[3]["center_consistency"]["new_center"]["inside"] is False
    low, high = (
        rows[3]["center_consistency"]["new_center"][e][s] for e, s in (("lower_limit", "low"), ("upper_limit", "high"))
    )
    assert rows[3]["center_consistency"]["statement"].endswith(
        f"; the limits for a new patient of a new center, −{-low:.1f} to {high:.1f} points, not inside ±8; the spread between "
        "3 centers cannot be estimated: a claim is one for these centers"
    )
    assert rows[3]["claimed"] is True  # a claim for these three centers only
    assert rows[5]["verdict"] == "shown"
    assert rows[5]["center_consistency"]["random_effects"]["inside"] is True
    assert rows[5]["center_consistency"]["new_center"]["inside"] is False
    assert (rows[5]["claimed"], rows[5]["contradicted_by"]) == (False, ["spread"])
    centers = np.array(split(5))
    difference = np.array([p["test"] - p["reference"] for p in rows[5]["pairs"]])
    own = nested_limits(difference, centers, np.arange(N))
    assert rows[5]["center_consistency"]["new_center"]["upper_limit"]["high"] == pytest.approx(own.upper_limit.high)
    assert run(of([1, 1, 1, 1], centers=split(2)))["agreement"][0]["center_consistency"]["new_center"] is None


# ---- failures, descriptive, plan ---------------------------------------------------------------------------------------


def test_failures_tip_the_verdict_at_a_number_that_is_given() -> None:
    lost = BASE + NOISE
    lost[:5] = np.nan
    table = study({REFERENCE: BASE, **dict.fromkeys(ARMS, lost)})
    row = run(table)["agreement"][0]
    k = row["sensitivity"]["tipping_point"]
    assert 0 < k < N
    assert row["failed"] == 5
    assert f"the verdict would bear {'all 5' if k >= 5 else k} of them at that margin" in row["reason"]
    wide = run(of([12, 12, 12, 12]))["agreement"][0]
    assert wide["sensitivity"]["tipping_point"] is None


def test_many_failures_contradict_a_claim() -> None:
    """Whoever could be measured agrees, but most could not: nothing is claimed for patients."""
    lost = BASE + NOISE
    lost[8:] = np.nan
    table = study({REFERENCE: BASE, **dict.fromkeys(ARMS[:1], BASE + NOISE), **dict.fromkeys(ARMS[1:], lost)})
    results = run(table)
    (decision,) = results["decision"]
    row = results["agreement"][1]
    assert (row["verdict"], row["claimed"], row["contradicted_by"]) == ("shown", False, ["failures"])
    assert decision["claimed_up_to"] == "cardiomm_Uniform4"
    assert (
        "not claimed at 8× uniform, because only 8 of 40 patients differ by less than 8 points with failures counted as "
        "outside (32 of 40 failed), 9 to 36 % where 95 % are claimed" in decision["sentence"]
    )


@pytest.mark.parametrize(("lost", "claimed"), [(3, True), (6, False)])
def test_failures_contradict_where_their_interval_says_so(lost: int, claimed: bool) -> None:
    """Of 40: 37 of 40 has an exact interval up to 98.4 %, 34 of 40 up to 94.3 %; a claim is for 95 %."""
    test = BASE + NOISE
    test[:lost] = np.nan
    row = run(study({REFERENCE: BASE, **dict.fromkeys(ARMS, test)}))["agreement"][0]
    assert row["verdict"] == "shown"
    assert (row["sensitivity"]["share"]["high"] < 0.95) is not claimed
    assert row["claimed"] is claimed


def test_a_plan_that_came_after_measurements_claims_nothing() -> None:
    plan = AnalysisPlan(MARGINS, Statistics(primary=(EF,)), ladder=LADDER, methods=("cardiomm",))
    frozen = plan_facts(plan) | {"frozen_before_results": False}
    results = analyse(of([1, 1, 1, 1]), plan=plan, frozen=frozen)
    (decision,) = results["decision"]
    assert (decision["planned_after"], decision["claimed_up_to"]) == (True, None)
    assert (
        "the plan was written when measurements were there, so nothing is claimed; would be valid up to"
        in (decision["sentence"])
    )
    assert not any(claims(results).values())
    assert results["decision_together"] == []
    assert claims(
        analyse(of([1, 1, 1, 1]), plan=plan, frozen=frozen | {"frozen_before_results": True})
    ) == dict.fromkeys(claims(results), True)


def test_descriptive_numbers() -> None:
    row = run(of([1, 1, 1, 1]))["agreement"][0]
    found = row["descriptive"]
    assert found["pearson"]["estimate"] > 0.99
    assert found["icc"]["estimate"] == row["icc"]["estimate"]
    assert found["ccc"]["estimate"] > 0.99
    assert found["median_difference"] == pytest.approx(np.median(NOISE))
    assert found["within_share"]["estimate"] == 1.0
    assert found["nonparametric_lower"]["low"] is None  # 40 patients do not hold the outer end
    assert found["tdi95"]["estimate"] < found["tdi95"]["high"]
    assert found["percent_bias"]["estimate"] == pytest.approx(np.mean(100 * NOISE / (BASE + NOISE / 2)))
    assert row["agreement_test"]["shown"] is True
    assert row["agreement_test"]["p"] < 0.05
    (trend,) = run(of([1, 1, 1, 1], [0, 1, 1, np.log2(6)]))["trend"]
    assert trend["slope_per_doubling"]["estimate"] == pytest.approx(1.0, abs=0.02)


def test_the_plan_stands_in_the_results() -> None:
    plan = AnalysisPlan(MARGINS, Statistics(), ladder=LADDER, methods=("cardiomm",))
    frozen = plan_facts(plan) | {"frozen_utc": "2026-11-01T00:00:00+00:00", "file": "plan.json"}
    results = analyse(of([1, 1, 1, 1]), plan=plan, frozen=frozen)
    assert results["plan"] == frozen
    assert results["schema"] == 2
    bare = analyse(of([1, 1, 1, 1]), margins=MARGINS)["plan"]
    assert bare["ladder"] == plan_facts(plan)["ladder"]
    assert (bare["frozen_utc"], bare["file"]) == (None, None)
    with pytest.raises(ConfigProblem, match="either margins or a plan"):
        analyse(of([1, 1, 1, 1]), plan=plan, margins=MARGINS)
    with pytest.raises(ConfigProblem, match="lv_mass_g has no margins"):
        analyse(of([1, 1, 1, 1]), plan=replace(plan, options=Statistics(primary=("lv_mass_g",))))


def test_measurements_that_follow_from_each_other_are_less_evidence() -> None:
    """Two measurements with one error are worth one; with errors that have nothing in common, two."""
    other = np.tile([0.4, 0.4, -0.4, -0.4], 10)  # not correlated with the next
    own = np.tile([0.5, -0.5, 0.5, -0.5], 10)

    def worth(first: np.ndarray, second: np.ndarray) -> tuple[list[float], list[str]]:
        parts = [
            study({REFERENCE: BASE, ARMS[0]: BASE + error}, phenotype=name)
            for name, error in ((EF, first), (EDV, second))
        ]
        results = run(pd.concat(parts))
        return [row["effective"] for row in results["evidence"]], results["study"]["notes"]

    assert worth(own, 3 * own)[0] == pytest.approx([1.0])
    numbers, notes = worth(own, other)
    assert numbers == pytest.approx([2.0])
    assert any("2 of them are worth about 2.0 independent ones (Li and Ji, of 40 patients" in note for note in notes)
    assert worth(own, 0 * own) == ([], run(of([1, 1, 1, 1]))["study"]["notes"])  # nothing varies: nothing to count


def test_a_patient_under_two_names_counts_once() -> None:
    parts = [of([1, 1, 1, 1]), of([1, 1, 1, 1], phenotype=EDV)]
    parts[1]["value"] *= 3
    table = pd.concat(parts)
    copy = table[table["patient"] == "P007"].assign(patient="P900", center="B")
    results = run(pd.concat([table, copy]))
    assert {row["n"] for row in results["agreement"]} == {N}
    assert results["cohort"]["n_patients"] == N
    assert results["study"]["notes"][0].startswith("The same patient under two names: P007 of A and P900 of B have")
    assert run(pd.concat([table, copy]))["agreement"] == run(table)["agreement"]
    # another value anywhere makes another patient, and too few values tell nobody apart
    other = copy.copy()
    other.iloc[0, other.columns.get_loc("value")] += 1e-9
    assert run(pd.concat([table, other]))["agreement"][0]["n"] == N + 1
    assert run(pd.concat([parts[0], copy[copy["phenotype"] == EF]]))["agreement"][0]["n"] == N + 1
    lost = copy.assign(value=np.nan, status="failed")
    again = lost.assign(patient="P901")
    assert run(pd.concat([table, lost, again]))["agreement"][0]["attempted"] == N + 2  # failures alike are no copies
