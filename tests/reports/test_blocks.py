"""Blocks hold what they were given, refuse what does not fit a page, and their files cannot run in a spreadsheet."""

import csv
from io import StringIO
from typing import Any

import pytest

from reports import document, tables
from reports.document import checklist_block, download, matrix_block, table_block, tabs_block, text_block
from reports.render import packed, picture_size, printed


def long_table(n: int) -> tables.Table:
    return tables.make_table(
        "T", ["Name", "Value"], [tables.Row((tables.text(f"r{i}"), tables.numeric(i / 3, 1))) for i in range(n)]
    )


def a_matrix(counts: list[list[int]], **changed: Any) -> document.Block:
    options: dict[str, Any] = {
        "rows": ["low", "high"],
        "columns": ["low", "high"],
        "row_title": "r",
        "column_title": "c",
    }
    return matrix_block("m", "M", counts=counts, **options | changed)


def test_a_cross_table_knows_its_sums_its_diagonal_and_its_shades() -> None:
    block = a_matrix([[3, 1], [0, 0]])
    assert ([r["total"] for r in block["rows"]], block["totals"], block["total"]) == (["4", "0"], ["3", "1"], "4")
    cells = [c for r in block["rows"] for c in r["cells"]]
    assert [c["same"] for c in cells] == [True, False, False, True]
    assert [c["side"] for c in cells] == ["", "above", "below", ""]
    assert [c["shade"] for c in cells] == [3, 1, 0, 0]


def test_a_cross_table_of_unequal_sides_has_no_diagonal() -> None:
    block = a_matrix([[1, 2, 3], [4, 5, 6]], columns=["a", "b", "c"])
    assert not any(c["same"] or c["side"] for r in block["rows"] for c in r["cells"])


def test_counts_must_fit_their_names() -> None:
    with pytest.raises(ValueError, match=r"m: expected 2 x 2 counts, got \[2, 1\]"):
        a_matrix([[1, 2], [3]])


def test_of_long_tables_the_file_has_all_rows_and_the_page_says_how_many_are_left_out() -> None:
    block = table_block("t", long_table(document.ROWS_ON_PAGE + 7))
    assert (len(block["rows"]), block["left_out"]) == (document.ROWS_ON_PAGE, 7)
    lines = list(csv.reader(StringIO(block["csv"]["content"])))
    assert lines[0] == ["Name", "Value", "Value (unrounded)"]
    assert len(lines) == document.ROWS_ON_PAGE + 8
    assert lines[2] == ["r1", "0.3", str(1 / 3)]


def test_files_too_large_for_a_page_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"big\.csv: expected at most 1500000 characters inside a page, got 1500001"):
        download("big.csv", "x" * 1_500_001)


@pytest.mark.parametrize("name", ["=1+1", "@SUM(A1)", "+cmd|x", "-cmd", "\t=1"])
def test_names_that_spreadsheets_would_run_are_text_in_the_file(name: str) -> None:
    table = tables.make_table("T", ["Name"], [tables.Row((tables.text(name),))])
    assert list(csv.reader(StringIO(tables.table_csv(table))))[1] == [f"'{name}"]


def test_signed_numbers_stay_numbers_in_the_file() -> None:
    table = tables.make_table("T", ["Bias"], [tables.Row((tables.numeric(1.25, 1, signed=True),))])
    assert tables.table_csv(table).splitlines()[1] == "+1.2,1.25"


def test_every_state_has_a_sign_and_an_unknown_one_is_a_word() -> None:
    items = [{"number": n, "text": "t", "state": s} for n, s in enumerate([*document.STATES, "maybe"])]
    signs = [i["sign"] for i in checklist_block("c", "C", items)["items"]]
    assert all(signs[:-1])
    assert signs[-1] == ""


def test_panels_have_anchors_of_their_own() -> None:
    block = tabs_block("t", "T", [("a", [text_block("x")]), ("b", [])])
    assert [p["id"] for p in block["panels"]] == ["t-0", "t-1"]


def test_the_pdf_is_spared_what_only_a_screen_can_use() -> None:
    block = tabs_block("t", "T", [("a", [table_block("u", long_table(5))])])
    inner = printed(block)["panels"][0]["blocks"][0]
    assert "csv" not in inner
    assert len(inner["rows"]) == 5


def test_room_is_kept_for_pictures_of_known_size() -> None:
    assert picture_size(b'<svg xmlns="x" width="72pt" height="36.0pt" viewBox="">') == (96, 48)
    assert picture_size(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (7).to_bytes(4, "big") + (9).to_bytes(4, "big")) == (7, 9)
    assert picture_size(b"<svg>") is None


def test_packed_data_is_plain_text_whatever_is_in_it() -> None:
    assert packed({"a": ['"><script>', float("nan"), "中"]}).replace("+", "").replace("/", "").rstrip("=").isalnum()
