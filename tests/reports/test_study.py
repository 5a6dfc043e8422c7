"""The study report says what results.json says, in one page and one PDF that need nothing else."""

import copy
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pypdf import PdfReader

from reports import tables
from reports.render import finite, parse_utc, render_html, render_pdf
from reports.study import study_document, write_study_report

Build = Callable[..., dict[str, Any]]
Written = tuple[dict[str, Any], Path, Path]


class Page(HTMLParser):
    """What the tests need to know about a page: tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="session")
def page(written: Written) -> Page:
    return Page(written[1].read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def pdf(written: Written) -> PdfReader:
    return PdfReader(BytesIO(written[2].read_bytes()))


@pytest.fixture(scope="session")
def pdf_pages(pdf: PdfReader) -> list[str]:
    """Text of each page, extracted once: it takes a while."""
    return [" ".join(p.extract_text().split()) for p in pdf.pages]


def pdf_text(reader: PdfReader) -> str:
    return " ".join(" ".join(p.extract_text() for p in reader.pages).split())


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


def emptied(results: dict[str, Any]) -> dict[str, Any]:
    """A run in which nothing could be measured."""
    bare = copy.deepcopy(results)
    for name in (
        "agreement",
        "centers",
        "image_quality",
        "overlap",
        "gallery",
        "arms",
        "failures",
        "reliability",
        "shift",
        *SCHEMA_2,
    ):
        bare[name] = []
    bare["study"] |= {"verdict_sentences": [], "simulated": [], "notes": []}
    bare["cohort"] = {"n_patients": 0, "n_scans": 0, "centers": [], "diseases": {}}
    bare["provenance"] = {"cardioval_version": "0.1.0", "commit": None, "weights": [], "packages": {}, "seeds": {}}
    return bare


def test_the_report_lies_in_the_run_folder(written: Written) -> None:
    _, html, pdf_path = written
    assert (html.parent.name, html.name, pdf_path.name) == ("report", "index.html", "report.pdf")
    assert sorted(p.name for p in html.parent.iterdir()) == ["checklist.json", "index.html", "report.pdf"]
    assert html.stat().st_size < 8e6


def test_the_page_loads_nothing_from_elsewhere(written: Written, page: Page) -> None:
    text = written[1].read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text)
    for _, attributes in page.tags:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:")


def test_identifiers_are_unique_and_every_anchor_resolves(page: Page) -> None:
    identifiers = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(identifiers) == len(set(identifiers))
    targets = {(a["href"] or "")[1:] for _, a in page.tags if (a.get("href") or "").startswith("#")}
    assert targets <= set(identifiers)


def test_the_page_can_be_read_without_seeing_it(page: Page) -> None:
    assert page.of("html")[0]["lang"] == "en"
    assert all(a.get("alt") for a in page.of("img"))
    assert len(page.of("table")) == len(page.of("caption"))
    assert len(page.of("h1")) == 1
    assert all("scope" in a for a in page.of("th"))


def test_the_page_warns_of_what_the_data_are(page: Page, pdf_pages: list[str]) -> None:
    for text in (page.text, " ".join(pdf_pages)):
        assert "SYNTHETIC PATIENTS" in text
        assert "Undersampling was retrospective" in text
        assert "Not a medical device" in text
        assert "called proposals have to be confirmed by a clinician" in text


def test_every_verdict_is_told_by_text_sign_and_color(written: Written, page: Page) -> None:
    results, html, _ = written
    raw = html.read_text(encoding="utf-8")
    for verdict in {r["verdict"] for r in results["agreement"]}:
        name = verdict.replace(" ", "-")
        cells = raw.count(f'<td class="v-{name}"')
        assert cells == sum(r["verdict"] == verdict for r in results["agreement"])
        assert f'id="sign-{name}"' in raw
        assert tables.VERDICT_LABELS[verdict] in page.text


def test_numbers_on_the_page_are_those_of_the_results(written: Written, page: Page) -> None:
    results = written[0]
    for row in results["agreement"]:
        digits = tables.decimals(row["phenotype"])
        assert tables.interval(row["bias"], digits, signed=True) in page.text
        assert tables.limits(row, digits) in page.text
    for row in results["image_quality"]:
        assert tables.number(row["mean"], tables.decimals(row["metric"])) in page.text
    sorted_by = {a["data-sort"] for a in page.of("td") if "data-sort" in a}
    assert {str(r["bias"]["estimate"]) for r in results["agreement"] if r["against"] == "fully_sampled"} <= sorted_by


def test_failures_provenance_and_plan_are_complete(written: Written, page: Page, pdf_pages: list[str]) -> None:
    results = written[0]
    for text in (page.text, " ".join(pdf_pages)):
        for failure in results["failures"]:
            assert failure["reason"] in text
            assert failure["stage"] in text
        assert results["provenance"]["command"] in text
        assert "0123456789abcdef" in text
    assert results["plan"]["sha256"] in page.text
    assert results["provenance"]["weights"][0]["sha256"] in page.text


def test_both_accelerations_are_shown(page: Page, pdf_pages: list[str]) -> None:
    for text in (page.text, " ".join(pdf_pages)):
        assert "16× k-t radial" in text
        assert "effective 9.4×" in text


def test_the_pdf_has_pages_numbers_a_title_and_the_date_of_the_run(
    written: Written, pdf: PdfReader, pdf_pages: list[str]
) -> None:
    results, html, _ = written
    n = len(pdf.pages)
    assert 10 <= n <= 40
    run = html.parents[1].name
    for number, text in enumerate(pdf_pages, start=1):
        assert f"Page {number} of {n}" in text
        assert run in text
    assert pdf.metadata is not None
    assert pdf.metadata.title == results["study"]["title"]
    assert pdf.metadata.creation_date == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    words = " ".join(pdf_pages)
    for heading in (
        "The answer",
        "Verdict",
        "What this study cannot say",
        "Subgroups",
        "Acceptance",
        "Reporting guidelines",
        "Agreement with the fully sampled scan",
        "Reconstructions",
        "Centers",
        "Failures",
        "Provenance",
    ):
        assert heading in words


def test_a_run_without_results_still_gives_a_report(tmp_path: Path, written: Written) -> None:
    html, pdf_path = write_study_report(tmp_path, emptied(written[0]))
    text = Page(html.read_text(encoding="utf-8")).text
    assert "No comparison with the fully sampled scan was possible" in text
    assert "None: every planned measurement was made" in text
    assert "SYNTHETIC" not in text
    assert "No comparison" in pdf_text(PdfReader(BytesIO(pdf_path.read_bytes())))


EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    '#read("main.typ") $x$ \\ *b* @ref `c` {{ 7*7 }}',
)


def test_markup_in_texts_stays_text(tmp_path: Path, written: Written) -> None:
    results = emptied(written[0])
    results["study"] |= {"title": EVIL[0], "verdict_sentences": list(EVIL), "notes": [EVIL[2]], "simulated": [EVIL[1]]}
    results["cohort"]["centers"] = [
        {"center": EVIL[1], "vendor": EVIL[2], "field_t": 3.0, "n_patients": 1, "n_scans": 1}
    ]
    results["failures"] = [dict.fromkeys(("center", "patient", "scan", "file", "stage", "reason"), e) for e in EVIL]
    html, pdf_path = write_study_report(tmp_path, results)
    raw = html.read_text(encoding="utf-8")
    seen = Page(raw)
    assert raw.count("<script") == 1
    assert not seen.of("img")
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert EVIL[2] in seen.text
    words = pdf_text(PdfReader(BytesIO(pdf_path.read_bytes()))).replace(" ", "")
    assert '#read("main.typ")$x$' in words
    assert "<script>alert(1)</script>" in words


def test_a_picture_that_cannot_be_read_is_named_and_none_outside_the_run_is_read(
    tmp_path: Path, written: Written
) -> None:
    results = emptied(written[0])
    (tmp_path / "run" / "gallery").mkdir(parents=True)
    np.savez(tmp_path / "run" / "gallery" / "short.npz", reference=np.zeros((4, 4)))
    about = {"center": "C", "patient": "P", "modality": "Cine", "phase": "ED", "slice": 1, "arm": "a", "method": "m",
             "pattern": "Uniform", "acceleration": 4.0}  # fmt: skip
    results["gallery"] = [about | {"path": p} for p in ("gallery/gone.npz", "gallery/short.npz", "../secret.npz")]
    document, pictures = study_document(tmp_path / "run", results)
    text = Page(render_html(document, pictures=pictures)).text
    assert "gallery/gone.npz (FileNotFoundError)" in text
    assert "gallery/short.npz (KeyError)" in text
    assert "../secret.npz (ValueError)" in text
    assert not pictures


def test_the_same_results_give_the_same_files(written: Written) -> None:
    results, html, pdf_path = written
    bare = emptied(results) | {"failures": results["failures"]}
    document, pictures = study_document(html.parents[1], bare)
    assert render_pdf(document, pictures=pictures) == render_pdf(document, pictures=pictures)
    assert pdf_path.read_bytes()[:5] == b"%PDF-"


def test_missing_numbers_are_dashes(tmp_path: Path, build_results: Build) -> None:
    results = build_results(tmp_path, methods=("sense",), phenotypes=("lv_ef_percent",))
    results["gallery"] = []
    nothing = {
        "bias": None,
        "sd": None,
        "lower_limit": None,
        "upper_limit": None,
        "tost": None,
        "icc": None,
        "pairs": [],
        "n": 0,
    }
    results["agreement"] = [r | nothing | {"verdict": "too few", "reason": "no pairs"} for r in results["agreement"]]
    results["centers"] = [r | {"bias": None, "n": 0} for r in results["centers"]]
    results["image_quality"] = [
        r | {"mean": None, "sd": float("nan"), "low": None, "high": None} for r in results["image_quality"]
    ]
    html, pdf_path = write_study_report(tmp_path, results)
    text = Page(html.read_text(encoding="utf-8")).text
    assert not re.search(r"\b(nan|None)\b", text.replace("None: every", ""))
    assert "Too few" in text
    assert pdf_path.stat().st_size > 10_000


def test_texts_that_are_no_dates_do_not_bring_in_the_clock() -> None:
    assert parse_utc("soon") == parse_utc(None) == datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_utc("2026-01-02T03:04:05") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert finite({"a": (1.0, float("inf"))}) == {"a": [1.0, None]}


def test_a_center_with_two_scanners_keeps_one_mark(tmp_path: Path, written: Written) -> None:
    results = emptied(written[0])
    scanner = {"center": "Center001", "vendor": "UIH", "n_patients": 1, "n_scans": 1}
    results["cohort"]["centers"] = [scanner | {"field_t": 1.5}, scanner | {"field_t": None}]
    document, _ = study_document(tmp_path, results)
    assert "1 center." in document["header"]["what"]
