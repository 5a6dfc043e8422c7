"""Do the sections on tissue, quality control and segments say what results.json says, and pool nothing?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reports.document import Block, Context, Pictures
from reports.sections import SECTIONS

Build = Callable[..., dict[str, Any]]


def blocks_of(results: dict[str, Any], section: str, folder: Path) -> list[Block]:
    return SECTIONS[section](Context(results=results, texts={}, run_dir=folder, pictures=Pictures()))


def cells(block: Block) -> list[list[str]]:
    return [[cell["text"] for cell in row["cells"]] for row in block["rows"]]


def test_published_values_stand_below_each_scanner_of_their_field(build_results: Build, tmp_path: Path) -> None:
    results = build_results(tmp_path, methods=("sense",), phenotypes=("lv_ef_percent",))
    (table,) = blocks_of(results, "tissue", tmp_path)
    rows = cells(table)
    n_arms = 1 + sum(a["method"] == "sense" for a in results["arms"])
    assert len(rows) == 4 * (n_arms + 1)
    assert rows[0] == ["Center001: UIH Model", "3 T", "Fully sampled", *["1300.0 ± 33.3", "1301.0", "4/5"] * 2, ""]
    (published,) = [row for row in rows if "doi" in row[2]]
    assert published[:6] == [
        "Center001: UIH Model",
        "3 T",
        "Published: MOLLI 3(3)3(3)5, Philips; Dabir et al. 2014, doi 10.1186/s12968-014-0069-x",
        "1052 ± 23",
        "",
        "102",
    ]
    assert published[-1] == "1007 to 1097"
    reasons = {row[1]: row[2] for row in rows if "no verified" in row[2]}
    assert reasons == {f: f"Published: no verified normal values of T1 at {f}" for f in ("1.5 T", "5 T", "0.55 T")}


def test_every_check_stands_in_the_column_of_its_arm(build_results: Build, tmp_path: Path) -> None:
    results = build_results(tmp_path, phenotypes=("lv_ef_percent",))
    *counts, failed = blocks_of(results, "quality_control", tmp_path)
    assert len(counts) == 2, "nine accelerated arms, so many as a page is wide beside the fully sampled one"
    assert [len(block["columns"]) for block in counts] == [9, 4]
    assert all(row[1] == "18 / 0 / 1" for block in counts for row in cells(block)[1:])
    assert all(cell == "19 of 20" for block in counts for cell in cells(block)[0][1:])
    shown = [cell for block in counts for row in cells(block)[1:] for cell in row[2:]]
    stored = [r for r in results["quality_control"]["checks"] if r["arm"] != "fully_sampled"]
    assert sorted(shown) == sorted(f"{r['pass']} / {r['warn']} / {r['fail']}" for r in stored)
    ((_, patient, _, arm, check, why),) = cells(failed)
    assert (patient, check, why) == ("P003", "closed ring", "frame 0 slice 3: border without myocardium")
    assert arm == results["arms"][1]["label"]


def test_segments_are_named_and_signed(build_results: Build, tmp_path: Path) -> None:
    results = build_results(tmp_path, methods=("sense",), phenotypes=("lv_ef_percent",))
    tables = [b for b in blocks_of(results, "segments", tmp_path) if b["kind"] == "table"]
    rows = cells(tables[0])
    assert len(rows) == 16
    (drawn,) = [b for b in blocks_of(results, "segments", tmp_path) if b["kind"] == "plots"]
    assert [item["method"] for item in drawn["plots"]] == ["fully_sampled", "sense", "sense", "sense"]
    assert rows[0][:4] == ["1", "basal anterior", "6.25 ± 0.50 (20)", "−0.35 ± 0.50 (20)"]
    assert rows[15][1:4] == ["apical lateral", "10.00 ± 0.50 (20)", "+0.40 ± 0.50 (20)"]
    del results["segments"][0]["sd"]
    results["segments"][0]["sd"] = None
    tables = [b for b in blocks_of(results, "segments", tmp_path) if b["kind"] == "table"]
    assert cells(tables[0])[0][2] == "6.25 (20)"


def test_a_run_without_them_says_so(build_results: Build, tmp_path: Path) -> None:
    results = build_results(tmp_path, methods=("sense",), phenotypes=("lv_ef_percent",))
    for name in ("tissue_values", "normal_ranges", "quality_control", "segments"):
        del results[name]
    for section, words in (
        ("tissue", "No mapping series was measured."),
        ("quality_control", "No labels of a cine were judged."),
        ("segments", "was not measured by segment"),
    ):
        (block,) = blocks_of(results, section, tmp_path)
        assert words in block["text"]
    results = build_results(tmp_path, methods=("sense",), phenotypes=("lv_ef_percent",))
    results["quality_control"]["failed"] = []
    assert blocks_of(results, "quality_control", tmp_path)[-1]["text"] == "No scan failed a check."
