"""Do the sections on the answer, classes, subgroups, outliers, losses and acceptance say what results.json says, and no more?"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports import tables
from reports.decision import plain_sentence
from reports.document import Block, Context, Pictures
from reports.gallery import gallery_anchor
from reports.model_cards import card_blocks, plain
from reports.render import HERE
from reports.sections import SECTIONS
from reports.selection import MOST_ROWS_IN_PDF, bias_margin_text, long_table, says_something
from reports.tables import Cell, Row, make_table

Build = Callable[..., dict[str, Any]]
TEXTS = yaml.safe_load((HERE / "sections.yaml").read_text(encoding="utf-8"))
EF = "lv_ef_percent"
SCHEMA_2 = (
    "decision",
    "reclassification",
    "diagnosis",
    "subgroups",
    "trend",
    "bias_profile",
    "outliers",
    "model_cards",
)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[[], dict[str, Any]]]:
    """A folder with a fake study of one method, and a fresh copy of its results at each call."""
    import copy

    from tests.reports.conftest import fake_results

    folder = tmp_path_factory.mktemp("statements")
    results = fake_results(folder, methods=("sense",), phenotypes=(EF, "lv_edv_ml"))
    return folder, lambda: copy.deepcopy(results)


@pytest.fixture
def results(run: tuple[Path, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    return run[1]()


@pytest.fixture
def folder(run: tuple[Path, Callable[[], dict[str, Any]]]) -> Path:
    return run[0]


def context_of(results: dict[str, Any], folder: Path) -> Context:
    return Context(results=results, texts=TEXTS, run_dir=folder, pictures=Pictures())


def blocks_of(results: dict[str, Any], section: str, folder: Path) -> list[Block]:
    return SECTIONS[section](context_of(results, folder))


def table_of(blocks: list[Block], identifier: str) -> Block:
    return next(b for b in blocks if b.get("id") == identifier)


def cells(block: Block) -> list[list[str]]:
    return [[cell["text"] for cell in row["cells"]] for row in block["rows"]]


def entry(*verdicts: str, passed: tuple[bool, ...] | None = None, **facts: Any) -> dict[str, Any]:
    """A decision on the first accelerations of SENSE."""
    arms = ("sense_Uniform4", "sense_ktGaussian8", "sense_ktRadial16")
    levels = [
        {"arms": [arms[i]], "acceleration": 4.0 * 2**i, "verdict": v}
        | ({} if passed is None else {"passed": passed[i], "label": "a level"})
        for i, v in enumerate(verdicts)
    ]
    return {"phenotype": EF, "method": "sense", "levels": levels} | facts


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (("shown", "shown"), "valid up to 8× k-t Gaussian (effective 5.0×). This is the highest acceleration tested."),
        (("shown", "bias only"), "valid up to 4× uniform (effective 3.1×). At 8× k-t Gaussian the average is right within "
         "±3 %, but single patients may differ by more than ±8 %."),
        (("not shown", "shown"), "not shown to be valid. At 4× uniform it was not shown that the average difference stays "
         "within ±3 %."),
        (("too few",), "not shown to be valid. At 4× uniform there are too few patients to decide (19/20 with both values)."),
    ],
)  # fmt: skip
def test_the_answer_in_plain_words(results: dict[str, Any], folder: Path, verdicts: tuple[str, ...], said: str) -> None:
    for row in results["agreement"]:
        step = (
            ("sense_Uniform4", "sense_ktGaussian8").index(row["arm"]) if "4" in row["arm"] or "8" in row["arm"] else 9
        )
        if row["phenotype"] == EF and row["against"] == "fully_sampled" and step < len(verdicts):
            row["verdict"] = verdicts[step]
    sentence = plain_sentence(context_of(results, folder), entry(*verdicts))
    assert sentence == f"LV ejection fraction with SENSE: {said}"


def test_centers_that_contradict_what_was_not_measured_and_what_is_not_primary(
    results: dict[str, Any], folder: Path
) -> None:
    context = context_of(results, folder)
    for row in results["agreement"]:
        row["verdict"] = "shown"
    objected = plain_sentence(context, entry("shown", "shown", passed=(True, False)))
    assert objected.endswith("At 8× k-t Gaussian the average of all patients is right, but a center contradicts it.")
    missing = entry("shown", "not measured", passed=(True, False))
    missing["levels"][1]["arms"] = []
    assert plain_sentence(context, missing).endswith("At a level it was not measured.")
    secondary = plain_sentence(context, entry("shown", passed=(True,), primary=False))
    assert "shown up to 4× uniform (effective 3.1×), but not claimed" in secondary


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"contradicted_by": ["failures"]}, "too many patients had no value."),
        ({"contradicted_by": ["spread", "failures"]}, "centers differ by too much to speak for other centers and too many "
         "patients had no value."),
        ({"verdict": "not shown", "sd": 0.0}, "all patients differ by the same amount, which measurements never do."),
    ],
)  # fmt: skip
def test_what_the_data_do_not_carry_is_said(
    results: dict[str, Any], folder: Path, facts: dict[str, Any], said: str
) -> None:
    for row in results["agreement"]:
        row |= {"verdict": "shown"} | facts
    stopped = entry("shown", facts.get("verdict", "shown"), passed=(True, False))
    assert plain_sentence(context_of(results, folder), stopped).endswith(f"At 8× k-t Gaussian {said}")


def test_a_plan_that_came_after_measurements_is_said(results: dict[str, Any], folder: Path) -> None:
    late = entry("shown", passed=(True,), planned_after=True)
    words = plain_sentence(context_of(results, folder), late)
    assert (
        "shown up to 4× uniform (effective 3.1×), but not claimed, because the plan was written when measurements"
        in words
    )
    results["plan"]["frozen_before_results"] = False
    (block,) = blocks_of(results, "limits", folder)
    assert any("claims nothing" in item for item in block["items"])
    for before, said in ((False, "NO: "), (True, "yes"), (None, "not recorded")):
        results["plan"]["frozen_before_results"] = before
        facts = dict(blocks_of(results, "plan", folder)[0]["items"])
        assert facts["Written before the measurements"].startswith(said)
    results["plan"]["frozen_before_results"] = False
    table = next(b for b in blocks_of(results, "acceptance", folder) if b["kind"] == "table")
    assert "written when measurements were there" in table["caption"]
    assert "neither centers nor failures" in table["columns"][-1]["label"]
    intro = next(
        s["intro"] for s in yaml.safe_load((HERE / "sections.yaml").read_text())["sections"] if s["id"] == "plan"
    )
    assert "before any scan was opened" not in intro, "true only where the plan says so"


def test_the_grid_says_which_intervals_decide(results: dict[str, Any], folder: Path) -> None:
    """Limits inside the margin beside the words "bias only" puzzle, where nobody says that their outer ends count."""
    results["plan"]["alpha"] = 0.025
    grid = next(b for b in blocks_of(results, "verdict", folder) if b["kind"] == "grid")
    assert (
        "looks at the 95 % interval of the bias and at the outer ends of the limits' 95 % intervals" in grid["legend"]
    )


def test_shown_and_claimed_are_two_things(results: dict[str, Any], folder: Path) -> None:
    rows = [r for r in results["agreement"] if (r["phenotype"], r["against"]) == (EF, "fully_sampled")]
    for row, claimed in zip(rows, (True, False, False), strict=True):
        row |= {"verdict": "shown", "claimed": claimed}
    blocks = blocks_of(results, "verdict", folder)
    grid = next(b for b in blocks if b["kind"] == "grid")
    line = next(r for r in grid["rows"] if r["phenotype"] == EF)
    assert [c["label"] for c in line["cells"]] == ["Claimed", "Shown, not claimed", "Shown, not claimed"]
    against_truth = next(b for b in blocks_of(results, "truth", folder) if b["kind"] == "grid")
    assert not any("laimed" in c["label"] for row in against_truth["rows"] for c in row["cells"])
    key = next(b for b in blocks if b["kind"] == "verdict_key")
    assert [label for _, label, _ in key["items"]][:2] == ["Claimed", "Shown, not claimed"]
    for row in results["agreement"]:
        del row["claimed"]
    old = blocks_of(results, "verdict", folder)
    assert {c["label"] for r in next(b for b in old if b["kind"] == "grid")["rows"] for c in r["cells"]} <= {
        *tables.VERDICT_LABELS.values()
    }


def test_limits_name_what_the_data_are(results: dict[str, Any], folder: Path) -> None:
    (said,) = blocks_of(results, "limits", folder)
    words = " ".join(said["items"])
    for part in ("retrospective", "SYNTHETIC PATIENTS", "4 centers", "The truth is known", "margins are proposals"):
        assert part in words
    results["agreement"] = [r for r in results["agreement"] if r["against"] != "truth"]
    results["cohort"]["centers"] = [results["cohort"]["centers"][0] | {"center": f"C{i}"} for i in range(5)]
    words = " ".join(blocks_of(results, "limits", folder)[0]["items"])
    assert "The truth is not known" in words
    assert "fewer than five" not in words


def test_classes_are_counted_as_stored(results: dict[str, Any], folder: Path) -> None:
    stored = results["reclassification"][0]
    stored |= {"moved": 1, "moved_up": 0, "moved_down": 1, "near": {"cut_off_distance": 3.0, "n": 4, "moved": 1}}
    results["reclassification"][1] |= {"moved": 0}
    said, switch, table = blocks_of(results, "reclassification", folder)
    assert said["items"][0].endswith(
        "1 of 19 patients changes class, 0 to a higher and 1 to a lower one. Of the 4 within 3 points of a limit, 1 changes."
    )
    assert said["items"][1].endswith("none of 19 patients changes class.")
    matrix = switch["panels"][0]["blocks"][0]
    assert [[int(c["text"]) for c in row["cells"]] for row in matrix["rows"]] == stored["table"]
    assert cells(table)[0][:2] == [stored_label(results, stored["arm"]), "1/19"]


def stored_label(results: dict[str, Any], arm: str) -> str:
    return str(next(a["label"] for a in results["arms"] if a["arm"] == arm))


def test_descriptive_numbers_are_those_of_the_results(results: dict[str, Any], folder: Path) -> None:
    blocks = blocks_of(results, "agreement", folder)
    coefficients, spread = (cells(table_of(blocks, f"{name}-table")) for name in ("coefficients", "spread"))
    rows = {(r["phenotype"], r["arm"]): r for r in results["agreement"] if r["against"] == "fully_sampled"}
    assert len(coefficients) == len(spread) == len(rows)
    row = rows["lv_edv_ml", "sense_Uniform4"]
    found = row["descriptive"]
    assert coefficients[0][2:6] == [tables.interval(found[k], 3) for k in ("pearson", "icc", "icc_consistency", "ccc")]
    assert spread[0][2] == tables.number(found["median_difference"], 1, signed=True)
    assert spread[0][8] == tables.interval(found["tdi95"], 1)
    assert spread[0][10] == tables.p_value(row["agreement_test"]["p"])
    heads = [c["label"] for c in table_of(blocks, "coefficients-table")["columns"]]
    assert "Pearson (association, not agreement)" in heads


def test_trends_profiles_and_curves_have_a_row_each(results: dict[str, Any], folder: Path) -> None:
    assert len(table_of(blocks_of(results, "trend", folder), "trend-table")["rows"]) == len(results["trend"])
    profile = table_of(blocks_of(results, "bias_profile", folder), "bias-profile-table")
    assert len(profile["rows"]) == sum(len(b["bins"]) for b in results["bias_profile"])
    plots, table = blocks_of(results, "diagnosis", folder)
    assert plots["title"] == "LVEF for dilated"
    stored = results["diagnosis"][0]
    assert cells(table)[0][4:8] == ["0.860 [0.760, 0.960]", "0.840 [0.740, 0.940]", "−0.020 [−0.050, 0.010]", "0.190"]
    assert cells(table)[0][3] == f"{stored['n_cases']} / {stored['n_controls']}"


def test_subgroups_stand_with_what_was_not_known(results: dict[str, Any], folder: Path) -> None:
    blocks = blocks_of(results, "subgroups", folder)
    vendors = cells(table_of(blocks, "subgroups-vendor-table"))
    assert {row[2] for row in vendors} == {"UIH", "Siemens", "GE", "Philips"}
    assert {row[7] for row in vendors if row[2] == "GE"} == {"outside"}
    assert {row[5] for row in cells(table_of(blocks, "subgroups-sex-table")) if row[2] == "M"} == {tables.MISSING}
    assert blocks[-1]["text"].startswith("Not divided by field strength (t), diagnosis")


def test_an_outlier_leads_to_the_patient(results: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    pair = {"center": "Center001", "patient": "P001", "phenotype": EF, "arm": "sense_Uniform4", "reference": 50.0}
    pair |= {"test": 61.0, "difference": 11.0, "outside": "margin", "scan": "cine_sax"}
    strangers = [pair | {"patient": p} for p in ("P002", "../../secret")]
    results["outliers"] = [pair, *strangers]
    row = blocks_of(results, "outliers", folder)[0]["rows"][0]
    assert row["cells"][1]["href"] == f"#{gallery_anchor('Center001', 'P001')}"
    drawn = [b.get("anchor") for b in blocks_of(results, "gallery", folder) if b["kind"] == "gallery"]
    assert drawn.count(gallery_anchor("Center001", "P001")) == 1
    (tmp_path / "report" / "patients").mkdir(parents=True)
    (tmp_path / "report" / "patients" / "Center001_P001.html").touch()
    (tmp_path / "secret.html").touch()
    hrefs = [r["cells"][1]["href"] for r in blocks_of(results, "outliers", tmp_path)[0]["rows"]]
    assert hrefs == ["patients/Center001_P001.html", None, None]


def test_failed_scans_are_pictured_where_they_got_far_enough(
    results: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "scans" / "MultiCoil/Cine/TestSet/cine_sax" / "pictures"
    place.mkdir(parents=True)
    shutil.copy(folder / "gallery" / "ED_sense_Uniform4.npz", place / "sense_Uniform4_ED.npz")
    blocks = blocks_of(results, "failures", tmp_path)
    (pictured,) = [b for b in blocks if b["kind"] == "gallery"]
    assert "Center002, patient P001" in pictured["title"]
    assert [card["label"] for row in pictured["rows"] for card in row["cards"]] == ["SENSE"]
    for bad in ("../../etc/passwd", "/etc/passwd", "", None):
        results["failures"] = [results["failures"][0] | {"file": bad}]
        assert not [b for b in blocks_of(results, "failures", tmp_path) if b["kind"] == "gallery"]
    results["failures"] = []
    assert "None: every planned measurement was made" in blocks_of(results, "failures", tmp_path)[0]["text"]


def test_the_flow_adds_up(results: dict[str, Any], folder: Path) -> None:
    facts, table = blocks_of(results, "flow", folder)
    rows = [r for r in results["agreement"] if r["against"] == "fully_sampled" and r["arm"] == "sense_Uniform4"]
    attempted, evaluated = sum(r["attempted"] for r in rows), sum(r["n"] for r in rows)
    assert cells(table)[0][1:5] == ["2", str(attempted), str(evaluated), str(attempted - evaluated)]
    assert ["Failures at the stage “read”", "1"] in facts["items"]


def test_acceptance_judges_each_criterion(results: dict[str, Any], folder: Path) -> None:
    rows = {r["arm"]: r for r in results["agreement"] if (r["phenotype"], r["against"]) == (EF, "fully_sampled")}
    rows["sense_Uniform4"]["tost"]["equivalent"] = True
    rows["sense_Uniform4"] |= {"limits_within_margin": False, "claimed": False, "verdict": "bias only"}
    rows["sense_ktGaussian8"]["verdict"] = "too few"
    badges, table = blocks_of(results, "acceptance", folder)
    found = {(row[0], row[1]): row for row in cells(table)}
    first = found["LVEF (%)", stored_label(results, "sense_Uniform4")]
    assert [first[i] for i in (2, 4, 5, 7, 8)] == ["±3", "met", "±8", "not met", "not met"]
    second = found["LVEF (%)", stored_label(results, "sense_ktGaussian8")]
    assert [second[i] for i in (4, 7, 8)] == ["not judged"] * 3
    assert sum(int(i["value"]) for i in badges["items"]) == 3 * len(table["rows"])


def test_the_plan_names_ladder_margins_and_hashes(results: dict[str, Any], folder: Path) -> None:
    results["plan"]["margins"][EF] |= {"bias_lower": -2.0, "bias_upper": 3.0}
    facts, table = blocks_of(results, "plan", folder)
    said = dict(facts["items"])
    assert said["Measurements that carry the claim"] == "LVEDV, LVEF"
    assert said["Accelerations in the order tested"] == "4× uniform, 8× k-t Gaussian, 16× k-t radial"
    assert said["Hash of the plan (SHA-256)"] == "ab" * 32
    assert [row[2] for row in cells(table) if row[0] == "LV ejection fraction"] == ["−2 to 3"]
    assert bias_margin_text(None) == tables.MISSING


def test_a_card_is_shown_as_plain_text() -> None:
    card = "# A *card*\n\nSome **bold** and `code`, [a link](docs/x.md)\nover two lines.\n- one\n  more\n- two\n\n"
    card += "| a | b |\n|---|---|\n| 1 | `2` |\n\n```\nrun * this\n```\n"
    heading, words, points, table, code = card_blocks(card, "card")
    assert heading["text"] == "A CARD"
    assert words["text"] == "Some bold and code, a link (docs/x.md) over two lines."
    assert points["items"] == ["one more", "two"]
    assert ([c["label"] for c in table["columns"]], cells(table)) == (["a", "b"], [["1", "2"]])
    assert code["items"] == [["Command", "run * this"]]
    assert plain("2 * 3 and 5e-3") == "2 * 3 and 5e-3"


def test_what_is_absent_says_so_and_claims_nothing(results: dict[str, Any], folder: Path) -> None:
    for name in SCHEMA_2:
        del results[name]
    for section in SCHEMA_2:
        assert not says_something(blocks_of(results, section, folder))
    for row in results["agreement"]:
        for key in ("descriptive", "agreement_test", "center_consistency", "claimed", "sensitivity"):
            del row[key]
    for section in ("verdict", "agreement", "centers", "acceptance", "flow", "limits"):
        assert says_something(blocks_of(results, section, folder))


def test_a_long_table_is_printed_for_the_main_measurements(results: dict[str, Any], folder: Path) -> None:
    def make(phenotypes: Any) -> tables.Table:
        rows = [Row((tables.text(p), Cell("1", 1.0))) for p in phenotypes for _ in range(MOST_ROWS_IN_PDF)]
        return make_table("A table", ["Measurement", "Number"], rows)

    results["plan"] |= {"primary": [EF], "primary_stated": True}
    page, printed = long_table("long", make, context=context_of(results, folder), phenotypes=[EF, "t1_ms"])
    assert (page["pdf"], printed["page"], len(printed["rows"])) == (False, False, MOST_ROWS_IN_PDF)
    assert "60 of 120 rows" in printed["caption"]
    (short,) = long_table("short", make, context=context_of(results, folder), phenotypes=[EF])
    assert short["pdf"]
