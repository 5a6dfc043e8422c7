"""Do the sections on reliability and shift say what results.json says?"""

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


def test_flags_are_counted_and_named(build_results: Build, tmp_path: Path) -> None:
    results = build_results(tmp_path, methods=("sense",), phenotypes=("lv_ef_percent",))
    table, flagged = blocks_of(results, "reliability", tmp_path)
    n_arms = sum(a["method"] == "sense" for a in results["arms"])
    assert len(table["rows"]) == n_arms
    for row in cells(table):
        assert row[1:] == ["3", "1", "1", "0.0200", "0.0300"]
    assert [row[1] for row in cells(flagged)] == ["P002"] * n_arms
    assert {row[5] for row in cells(flagged)} == {"a dead coil"}


def test_no_flag_and_no_score_are_said(build_results: Build, tmp_path: Path) -> None:
    results = build_results(tmp_path, methods=("sense",), phenotypes=("lv_ef_percent",))
    for row in results["reliability"]:
        row |= {"flagged": False, "reasons": []}
    assert blocks_of(results, "reliability", tmp_path)[1]["text"] == "No scan is flagged."
    for absent in ([], None):
        results |= {"reliability": absent, "shift": absent}
        assert "No score" in blocks_of(results, "reliability", tmp_path)[0]["text"]
        assert "Not measured" in blocks_of(results, "shift", tmp_path)[0]["text"]


def test_every_center_stands_beside_the_usual_range(build_results: Build, tmp_path: Path) -> None:
    results = build_results(tmp_path, methods=("sense",), phenotypes=("lv_ef_percent",))
    (table,) = blocks_of(results, "shift", tmp_path)
    assert len(table["rows"]) == len(results["shift"])
    ranges = {row[1]: row[3] for row in cells(table)}
    assert ranges["Noise over signal (log10)"] == "−3.500 to −1.500"
    assert ranges["Overlap of the masks"] == "from 0.800"
    assert ranges["Novelty of the metadata sentence"] == "up to 0.000"
    assert {row[1] for row in cells(table) if row[5] == "unlike the training"} == {"Noise over signal (log10)"}
