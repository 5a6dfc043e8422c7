"""In a browser: no error, no request leaves the page, anchors lead somewhere, tables sort, and markup in names stays text."""

import copy
import json
import re
import shutil
import zlib
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pypdf import PdfReader

from reports import figures, tables
from reports.document import (
    badges_block,
    checklist_block,
    download,
    downloads_block,
    links_block,
    matrix_block,
    plots_block,
    table_block,
    tabs_block,
    text_block,
)
from reports.live import live_pairs
from reports.render import render_html, render_pdf
from reports.study import write_study_report

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser driver playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)
Written = tuple[dict[str, Any], Path, Path]
EVIL = (
    '"><img src=x onerror="window.evil=1">',
    "</script><script>window.evil=1</script>",
    "'/><svg onload='window.evil=1'> &lt;b&gt; \" '",
    '#read("main.typ") $x^2$ *bold* _it_ @ref `code` // {{ 7*7 }} \\',
)


class Visit:
    """A page in the browser, with everything it complained about and asked for."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.complaints, self.requests = page, [], []
        page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        self.outside = lambda: [u for u in self.requests if not u.startswith("data:") and u != path.as_uri()]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield context.new_page()
    context.close()


@pytest.fixture
def study(tab: Any, written: Written) -> Visit:
    return Visit(tab, written[1])


def table(n: int = 24) -> tables.Table:
    """Numbers that sort otherwise than their texts; the last is missing."""
    values = [(37 * i) % 101 - 50.5 for i in range(n - 1)]
    rows = [
        tables.Row((tables.text(f"case {i:02d}"), tables.numeric(v, 1, signed=True)), "sense", anchor=f"row-{i}")
        for i, v in enumerate([*values, None])
    ]
    return tables.make_table("Values", ["Case", "Bias"], rows)


def bland_altman_row() -> dict[str, Any]:
    pairs = [
        {"center": f"C{i % 2}", "patient": f"P{i}", "reference": 40.0 + 4 * i, "test": 40.0 + 4 * i + d}
        for i, d in enumerate((1.26, -2.0, 0.5, 30.0))
    ]
    return {"pairs": pairs, "bias": {"estimate": 0.2}, "lower_limit": None, "upper_limit": None}


def specimen() -> tuple[dict[str, Any], dict[str, bytes]]:
    """A document with every block that moves."""
    row = bland_altman_row()
    drawn = figures.bland_altman_drawn(
        [row],
        titles=["SENSE 4×"],
        unit="%",
        margins={"bias": 3.0, "limits": 8.0},
        centers=("C0", "C1"),
        half_range=10.0,
    )
    live = live_pairs(drawn, [row], titles=["SENSE 4×"], digits=1, unit="%")
    item = {"name": "p.svg", "caption": "SENSE", "alt": "a plot", "method": "sense", "live": live}
    panels = [("4×", [text_block("four")]), ("8×", [text_block("eight"), table_block("inner", table(4))]), ("16×", [])]
    items = [
        {"number": "1a", "text": "Title", "state": "met", "where": [("#values", "Values")]},
        {"number": "2", "text": "Funding", "state": "not applicable", "note": "no study"},
    ]
    blocks = [
        badges_block([("Verdict", "valid up to 8×", "met"), ("Patients", "20", None)]),
        plots_block("Plots", [item], folded=True, anchor="plots"),
        links_block("Outliers", [("#row-3", "P3", "far outside"), ("#steps-1", "at 8×")]),
        table_block("values", table()),
        tabs_block("steps", "By acceleration", panels),
        matrix_block("ef", "EF classes", rows=["low", "high"], columns=["low", "high"], counts=[[3, 1], [0, 9]],
                     row_title="fully sampled", column_title="accelerated"),
        checklist_block("grras", "GRRAS", items),
        downloads_block("Files", [download("margins.json", '{"lv": 3}', note="as planned")]),
    ]  # fmt: skip
    section = {"id": "verdict", "title": "All", "audience": "clinician", "intro": "Everything.", "blocks": blocks}
    empty = {"id": "end", "title": "End", "audience": "regulator", "intro": "", "blocks": []}
    header = {"title": "T", "name": "n", "run": "r", "created_utc": "", "created": "", "version": "v", "what": "w",
              "banners": [], "warnings": ["x"], "methods": [{"id": "sense", "label": "SENSE"}]}  # fmt: skip
    return {"header": header, "sections": [section, empty]}, {"p.svg": drawn.svg}


@pytest.fixture(scope="module")
def specimen_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    document, made = specimen()
    path: Path = tmp_path_factory.mktemp("specimen") / "index.html"
    path.write_text(render_html(document, pictures=made), encoding="utf-8")
    return path


@pytest.fixture
def shown(tab: Any, specimen_path: Path) -> Visit:
    return Visit(tab, specimen_path)


def order(page: Any, column: int) -> list[str]:
    cells: list[str] = page.locator(f"#values tbody tr td:nth-child({column})").all_text_contents()
    return cells


def test_the_study_page_has_no_error_and_asks_nothing_of_anyone(study: Visit) -> None:
    study.page.mouse.wheel(0, 20000)
    study.page.locator("#theme").click()
    assert study.complaints == []
    assert study.outside() == []


def test_every_anchor_of_the_study_page_leads_somewhere(study: Visit) -> None:
    lost = study.page.eval_on_selector_all(
        "a[href^='#']", "links => links.map(a => a.hash.slice(1)).filter(id => !document.getElementById(id))"
    )
    assert lost == []
    twice = study.page.evaluate(
        "() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.filter((v, i) => ids.indexOf(v) !== i); }"
    )
    assert twice == []


def test_every_section_is_reached_by_its_link(study: Visit) -> None:
    """Although sections out of sight have no height yet."""
    page = study.page
    for name in page.eval_on_selector_all("nav a", "links => links.map(a => a.hash.slice(1))"):
        page.locator(f"nav a[href='#{name}']").click()
        page.wait_for_function(
            """name => { const top = document.getElementById(name).getBoundingClientRect().top;
              const end = scrollY + innerHeight > document.documentElement.scrollHeight - 2;
              return Math.abs(top) < 120 || (end && top > 0 && top < innerHeight); }""",
            arg=name,
            timeout=3000,
        )


def test_every_table_of_the_study_page_sorts_both_ways(study: Visit) -> None:
    problems = study.page.evaluate(
        """() => {
          const problems = [];
          document.querySelectorAll('table.sortable').forEach(table => {
            table.querySelectorAll('thead th').forEach((head, i) => {
              for (const direction of ['ascending', 'descending']) {
                head.querySelector('button').click();
                if (head.getAttribute('aria-sort') !== direction) problems.push(table.id + ' says ' + head.getAttribute('aria-sort'));
                const keys = [...table.tBodies[0].rows].map(r => r.cells[i].dataset.sort).filter(v => v !== undefined).map(Number);
                const sign = direction === 'ascending' ? 1 : -1;
                if (keys.some((v, n) => n && sign * (v - keys[n - 1]) < 0)) problems.push(table.id + ' column ' + i + ' ' + direction);
              }
            });
            if (table.querySelectorAll('[aria-sort]').length !== 1) problems.push(table.id + ' has several sorted headings');
          });
          return problems;
        }"""
    )
    assert problems == []


def test_numbers_sort_as_numbers_and_what_is_missing_stays_last(shown: Visit) -> None:
    heading = shown.page.locator("#values thead button").nth(1)
    for reverse in (False, True):
        heading.focus()
        shown.page.keyboard.press("Enter")
        texts = order(shown.page, 2)
        assert texts[-1] == tables.MISSING
        numbers = [float(t.replace(tables.MINUS, "-")) for t in texts[:-1]]
        assert numbers == sorted(numbers, reverse=reverse)


def test_the_text_filter_keeps_rows_with_all_words(shown: Visit) -> None:
    box = shown.page.get_by_label("Rows with")
    assert box.count() == 1  # small tables have none
    box.fill("CASE 1")
    texts = [" ".join(cell.text for cell in row.cells) for row in table().rows]
    assert shown.page.locator("#values tbody tr:visible").count() == sum("1" in t for t in texts) < 24
    box.fill("case 07")
    assert shown.page.locator("#values tbody tr:visible").all_text_contents()[0].startswith("case 07")
    assert "1 of 24 rows" in shown.page.locator(".about-table").first.inner_text()
    box.fill("")
    assert shown.page.locator("#values tbody tr:visible").count() == 24


def test_methods_can_be_hidden_and_shown_again(study: Visit) -> None:
    of_sense = study.page.locator("main [data-method=sense]")
    before = of_sense.locator("visible=true").count()
    assert before > 10
    study.page.locator("[data-filter=sense]").uncheck()
    assert of_sense.locator("visible=true").count() == 0
    assert study.page.locator("main [data-method=zero_filled]").locator("visible=true").count() > 10
    study.page.locator("[data-filter=sense]").check()
    assert of_sense.locator("visible=true").count() == before


def test_a_switch_shows_one_panel_and_follows_the_arrow_keys(shown: Visit) -> None:
    page = shown.page
    seen = lambda: page.locator("#steps .panel").locator("visible=true").evaluate_all("e => e.map(p => p.id)")  # noqa: E731
    assert seen() == ["steps-0"]
    page.get_by_role("tab", name="8×", exact=True).click()
    assert seen() == ["steps-1"]
    assert page.get_by_role("tab", name="8×", exact=True).get_attribute("aria-selected") == "true"
    for pressed, now in (("ArrowRight", "steps-2"), ("ArrowRight", "steps-0"), ("End", "steps-2"), ("Home", "steps-0")):
        page.keyboard.press(pressed)
        assert seen() == [now]
    page.get_by_role("link", name="at 8×").click()  # a link into a hidden panel opens it
    page.wait_for_function("document.querySelector('#steps-1').offsetParent !== null")


def test_pointing_at_a_point_shows_whose_it_is_and_its_values(shown: Visit) -> None:
    page = shown.page
    page.locator("#plots summary").click()
    stage = page.locator("[data-live]")
    stage.scroll_into_view_if_needed()
    page.locator(".tip").wait_for(state="attached")
    live = json.loads(zlib.decompress(b64decode(stage.get_attribute("data-live")), wbits=-zlib.MAX_WBITS))
    for index, (said, difference) in enumerate((("C0, patient P0", "+1.3"), ("C1, patient P3", "+30.0"))):
        point = live["panels"][0]["points"].split(";")[index * 3].split(" ")
        box = stage.bounding_box()  # read just before: a page that is still drawing moves it
        stage.hover(position={"x": int(point[0]) / 1e4 * box["width"], "y": int(point[1]) / 1e4 * box["height"]})
        page.locator(".tip", has_text=said).wait_for()
        tip = page.locator(".tip").inner_text()
        assert said in tip
        assert f"difference (%) {difference}" in tip
        assert "SENSE 4×" in tip
    stage.hover(position={"x": 1, "y": 1})
    page.locator(".tip").wait_for(state="hidden")


def test_the_points_can_be_walked_by_keyboard(shown: Visit) -> None:
    page = shown.page
    page.locator("#plots summary").click()
    page.locator("[data-live]").focus()
    walk = {"ArrowRight": "P0", "ArrowDown": "P1", "End": "P3", "Home": "P0", "ArrowLeft": "P3"}
    for pressed, patient in walk.items():
        page.keyboard.press(pressed)
        page.locator(".tip", has_text=f"patient {patient}").wait_for(timeout=5000)
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()


def test_points_lie_where_they_are_drawn() -> None:
    """The place of the bias line's zero and of a point, read back from the axis that drew them."""
    row = bland_altman_row()
    options = {"titles": ["t"], "unit": "", "margins": None, "centers": ("C0", "C1")}
    drawn = figures.bland_altman_drawn([row], half_range=40.0, **options)
    marks = re.findall(
        rb'<use xlink:href="#m[^"]*" x="([0-9.]+)" y="([0-9.]+)" style="fill: #(?:0072b2|d55e00)', drawn.svg
    )
    width, height = (float(v) for v in re.search(rb'width="([0-9.]+)pt" height="([0-9.]+)pt"', drawn.svg).groups())
    found = sorted((float(x) / width, float(y) / height) for x, y in marks)
    assert np.allclose(found, sorted(drawn.places[0]), atol=2e-4)


def test_the_theme_toggles(browser: Any, specimen_path: Path) -> None:
    for scheme, colors in (
        ("light", ("rgb(255, 255, 255)", "rgb(20, 23, 26)")),
        ("dark", ("rgb(20, 23, 26)", "rgb(255, 255, 255)")),
    ):
        context = browser.new_context(color_scheme=scheme)
        visit = Visit(context.new_page(), specimen_path)
        background = "getComputedStyle(document.body).backgroundColor"
        assert visit.page.evaluate(background) == colors[0]
        visit.page.locator("#theme").click()
        assert visit.page.evaluate(background) == colors[1]
        context.close()


def test_without_scripts_everything_is_there(browser: Any, specimen_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(specimen_path.as_uri())
    assert page.locator("#steps .panel h4").all_inner_texts() == ["4×", "8×", "16×"]
    assert all(page.locator(f"#steps-{i}").is_visible() for i in (0, 1))
    assert page.locator(".tools").is_hidden()
    context.close()


def test_files_inside_the_page_can_be_saved(shown: Visit, tmp_path: Path) -> None:
    for name, start in (("margins.json", '{"lv": 3}'), ("CSV", "Case,Bias,Bias (unrounded)\ncase 00,−50.5,-50.5\n")):
        with shown.page.expect_download() as waiting:
            shown.page.get_by_role("link", name=name, exact=True).first.click()
        waiting.value.save_as(tmp_path / "saved")
        assert (tmp_path / "saved").read_text(encoding="utf-8").startswith(start)
    assert shown.complaints == []


def test_the_page_prints_with_everything_unfolded(shown: Visit) -> None:
    words = " ".join(p.extract_text() for p in PdfReader(BytesIO(shown.page.pdf())).pages)
    for said in ("four", "eight", "By acceleration", "16×", "GRRAS", "no study"):
        assert said in words
    assert "Rows with" not in words
    assert shown.page.locator("#plots").get_attribute("open") is None  # as before printing


def test_nothing_is_wider_than_the_paper(study: Visit) -> None:
    study.page.set_viewport_size({"width": round((297 - 2 * 12) / 25.4 * 96), "height": 700})
    study.page.emulate_media(media="print")
    wide = study.page.evaluate(
        """() => [...document.querySelectorAll('main table, main img')]
          .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.id || e.alt)"""
    )
    assert wide == []


def test_the_study_page_prints_with_all_its_pictures(study: Visit) -> None:
    read = "[...document.images].filter(i => i.complete && i.naturalWidth > 0).length"
    study.page.evaluate(f"addEventListener('afterprint', () => {{ window.printed = {read}; }})")
    made = PdfReader(BytesIO(study.page.pdf()))
    assert study.page.evaluate("window.printed") == study.page.evaluate("document.images.length") > 10
    assert "SYNTHETIC PATIENTS" in made.pages[0].extract_text()
    assert any("Provenance" in page.extract_text() for page in made.pages[-12:])


def test_the_focus_can_be_seen_and_comes_to_the_sections_first(shown: Visit) -> None:
    page = shown.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.hash") == "#verdict"


def wicked(results: dict[str, Any]) -> dict[str, Any]:
    """The study with markup in every name and reason that comes from files of others."""
    made: dict[str, Any] = copy.deepcopy(results)
    named = {
        "center",
        "patient",
        "scan",
        "vendor",
        "disease",
        "reason",
        "note",
        "file",
        "stage",
        "reasons",
        "scanner",
        "sequence",
        "source",
        "check",
        "label",
    }

    def turn(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: turn(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [turn(v, key) for v in value]
        if isinstance(value, str) and key in named and value:
            return f"{value}{EVIL[sum(map(ord, value)) % len(EVIL)]}"
        return value

    made = turn(made)
    made["gallery"] = []
    for key in ("agreement", "centers"):  # enough for every kind of block
        made[key] = [r for r in made[key] if r["phenotype"] == "t1_ms" and r["arm"].startswith(("sense", "fully"))]
    for key in ("title", "name"):
        made["study"][key] = EVIL[1]
    made["study"] |= {"notes": list(EVIL), "verdict_sentences": list(EVIL), "simulated": [EVIL[0]]}
    made["cohort"]["diseases"] = dict.fromkeys(EVIL, 3)
    made["provenance"] |= {"command": EVIL[3], "device": EVIL[0], "packages": {EVIL[1]: EVIL[2]}}
    made["plan"]["margins_origin"] = EVIL[0]
    return made


def test_markup_in_names_and_reasons_stays_text(tab: Any, tmp_path: Path, written: Written) -> None:
    results = wicked(written[0])
    html, pdf = write_study_report(tmp_path, results)
    visit = Visit(tab, html)
    assert visit.complaints == []
    assert visit.outside() == []
    assert visit.page.evaluate("window.evil") is None
    assert visit.page.locator("img:not([src^='data:'])").count() == 0
    assert visit.page.locator("script").count() == 1
    words = visit.page.locator("body").inner_text() + " ".join(visit.page.locator("title").all_text_contents())
    for evil in EVIL:
        assert evil in words
    printed = re.sub(r"\s", "", "".join(p.extract_text() for p in PdfReader(pdf).pages))
    for evil in EVIL:
        assert re.sub(r"\s", "", evil) in printed


def test_markup_in_the_names_of_points_stays_text(tab: Any, tmp_path: Path) -> None:
    document, made = specimen()
    plots = document["sections"][0]["blocks"][1]
    plots["folded"] = False
    live = plots["plots"][0]["live"]
    live["names"] = [EVIL[i % len(EVIL)] for i in range(len(live["names"]))]
    path = tmp_path / "index.html"
    path.write_text(render_html(document, pictures=made), encoding="utf-8")
    visit = Visit(tab, path)
    visit.page.locator("[data-live]").focus()
    for evil in EVIL:
        visit.page.keyboard.press("ArrowRight")
        visit.page.locator(".tip", has_text=evil).wait_for(timeout=5000)
    assert visit.page.evaluate("window.evil") is None


def test_blocks_the_pdf_does_not_know_do_not_break_it() -> None:
    document, made = specimen()
    assert render_pdf(document, pictures=made).startswith(b"%PDF-")
