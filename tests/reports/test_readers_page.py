"""The page on which readers score, in a browser: keys, what is kept, what is saved; and the page of results."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reports.readers_page import Kind, ScoringPage, reader_texts, scoring_page
from reports.readers_results import reader_document, write_reader_report

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser driver playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
FRAMES, SIDE = 4, 16
ITEMS = (("AAAA2222", "cine", "s1"), ("BBBB3333", "T2 map", "s2"), ("CCCC4444", "cine", "s1"))


def picture(values: np.ndarray) -> str:
    stream = BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(stream, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def payload(*, n_frames: int) -> str:
    """Frames one after another, each of one gray that rises with its number."""
    sheet = np.repeat(np.arange(n_frames) * 60 + 10, SIDE)[None] * np.ones((SIDE, 1))
    panel = {"src": picture(sheet), "width": SIDE, "height": SIDE, "columns": n_frames, "aspect": 1.5}
    return json.dumps({"panels": [panel] * (2 if n_frames > 1 else 1), "frames": n_frames, "frame_s": 0.05})


def study(**changes: Any) -> ScoringPage:
    scale = {"src": picture(np.arange(256)[None] * np.ones((4, 1))), "low": "0 ms", "high": "100 ms"}
    given: dict[str, Any] = {
        "title": "Quality",
        "kit": "0123456789abcdef",
        "reader": "R1",
        "criteria": ("overall", "sharpness"),
        "kinds": (Kind("cine", "Short-axis cine", "cine"), Kind("T2 map", "T2 map", "map", scale)),
        "items": ITEMS,
        "payloads": {"s1": payload(n_frames=FRAMES), "s2": payload(n_frames=1)},
    }
    return ScoringPage(**given | changes)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


class Visit:
    """A reader at a page, with all that the page complained about or asked for."""

    def __init__(self, browser: Any, path: Path, *, script: str = "") -> None:
        self.context = browser.new_context(accept_downloads=True, viewport={"width": 1300, "height": 800})
        if script:
            self.context.add_init_script(script)
        self.problems: list[str] = []
        self.page = self.context.new_page()
        self.page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?", where scores are not saved
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on(
            "request",
            lambda r: self.problems.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None,
        )
        self.page.goto(path.as_uri())
        self.wait(None)

    def wait(self, code: str | None) -> None:
        self.page.wait_for_selector(f'body[data-ready="{code}"]' if code else "body[data-ready]")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector: str) -> str:
        found: str = self.page.inner_text(selector)
        return found

    def chosen(self) -> list[str]:
        """Buttons of scores that are pressed."""
        found: list[str] = self.page.locator('.values button[aria-pressed="true"]').all_inner_texts()
        return found

    def saved(self) -> list[list[str]]:
        with self.page.expect_download() as download:
            self.page.click("#save")
        lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
        return [line.split(",") for line in lines]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "reading.html"
    file.write_text(scoring_page(study()), encoding="utf-8")
    return file


def test_the_page_is_the_same_for_the_same_content_and_names_series_by_its_own_order() -> None:
    page = scoring_page(study())
    assert page == scoring_page(study())
    items = json.loads(re.findall(r'id="study">(.*?)</script>', page)[0])["items"]
    assert [item["data"] for item in items] == ["d0", "d1", "d0"]
    assert "s1" not in re.findall(r'id="(\w+)"', page)


def test_the_page_forbids_itself_everything_from_elsewhere() -> None:
    page = scoring_page(study())
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"(?:src|href)=[\"'](?!data:|#)", page) == []
    assert "http" not in page.replace("Content-Security-Policy", "").split("<style>")[0].replace("http-equiv", "")


def test_every_criterion_has_words_for_every_score_of_every_kind() -> None:
    texts = reader_texts()
    assert texts["scale"] == ["non-diagnostic", "poor", "acceptable", "good", "excellent"]
    for criterion in texts["criteria"].values():
        for kind in ("cine", "map"):
            assert criterion[kind]["question"].endswith("?")
            assert len(criterion[kind]["anchors"]) == len(texts["scale"])


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(ValueError, match="no criterion 'beauty'; there are overall"):
        scoring_page(study(criteria=("beauty",)))


@in_browser
def test_keys_score_move_and_play(browser: Any, path: Path) -> None:
    visit = Visit(browser, path)
    visit.press("5")  # instructions are open: nothing is scored unseen
    assert visit.chosen() == []
    visit.press("Enter", "4")
    assert visit.chosen() == ["4"]
    assert "How sharp" in visit.text("#asked")
    visit.press("ArrowUp", "2")
    assert visit.chosen() == ["2"]
    visit.press("1")
    assert visit.chosen() == ["2", "1"]
    assert visit.text("#next-step") == "Scored. Press n for the next."
    assert visit.text("#counted") == "1 of 3 scored"
    visit.press("n")
    visit.wait("BBBB3333")
    assert "Series 2 of 3 · T2 map" in visit.text("#place")
    assert visit.text("#scale-high") == "100 ms"
    assert visit.page.is_hidden("#play")
    visit.press("p")
    visit.wait("AAAA2222")
    assert visit.chosen() == ["2", "1"]
    visit.press("u")
    visit.wait("BBBB3333")
    visit.press("h")
    assert visit.page.is_visible("#instructions")
    visit.press("Escape")
    assert visit.problems == []


@in_browser
def test_space_stops_the_loop_and_arrows_step_through_it(browser: Any, path: Path) -> None:
    visit = Visit(browser, path)
    visit.press("Enter")
    sync_api.expect(visit.page.locator("#frame")).not_to_have_text("frame 1 of 4")
    visit.press(" ")
    assert visit.text("#play") == "Play"
    grays = set()
    for _ in range(FRAMES):
        visit.press("ArrowRight")
        grays.add(
            visit.page.evaluate("document.querySelector('canvas').getContext('2d').getImageData(9, 9, 1, 1).data[0]")
        )
    assert grays == {10, 70, 130, 190}
    there = visit.text("#frame")
    visit.press("ArrowLeft", "ArrowRight")
    assert visit.text("#frame") == there
    size = visit.page.locator("canvas").first.bounding_box()
    assert size["width"] / size["height"] == pytest.approx(1.5, abs=0.02)
    visit.press("v")
    assert visit.text("#view") == "View: slice 1"
    assert visit.page.locator("canvas:visible").count() == 1
    assert visit.page.locator("canvas").first.bounding_box()["width"] > size["width"]
    visit.press(" ")
    assert visit.text("#play") == "Pause"
    # reading the pixels is this test's doing
    assert [problem for problem in visit.problems if not problem.startswith("Canvas2D")] == []


@in_browser
def test_scores_are_kept_over_a_reload_and_saved(browser: Any, path: Path) -> None:
    visit = Visit(browser, path)
    visit.press("Enter", "3", "4")
    visit.page.reload()
    visit.wait("BBBB3333")  # the first that is open
    visit.press("Enter", "5")
    head, *rows = visit.saved()
    assert head == ["kit", "reader", "position", "code", "criterion", "score", "seconds"]
    assert [row[:6] for row in rows] == [
        ["0123456789abcdef", "R1", str(i + 1), code, criterion, score]
        for (i, code, criterion), score in zip(
            [(i, code, c) for i, (code, _, _) in enumerate(ITEMS) for c in ("overall", "sharpness")],
            ["3", "4", "5", "", "", ""],
            strict=True,
        )
    ]
    assert visit.text("#kept") == "Saved; 2 series are still open."
    assert visit.problems == []


@in_browser
def test_the_page_works_where_the_browser_keeps_nothing_and_loads_what_was_saved(
    browser: Any, path: Path, tmp_path: Path
) -> None:
    refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('not allowed'); } });"
    visit = Visit(browser, path, script=refuse)
    visit.press("Enter", "3", "4")
    assert "keeps nothing" in visit.text("#kept")
    file = tmp_path / "saved.csv"
    file.write_text("\r\n".join(",".join(row) for row in visit.saved()), encoding="utf-8")
    again = Visit(browser, path, script=refuse)
    again.press("Enter")
    assert again.chosen() == []
    again.page.set_input_files("#load", str(file))
    again.wait("BBBB3333")
    again.press("p")
    again.wait("AAAA2222")
    assert again.chosen() == ["3", "4"]
    file.write_text(file.read_text(encoding="utf-8").replace("0123456789abcdef", "fedcba9876543210"), encoding="utf-8")
    again.page.set_input_files("#load", str(file))
    sync_api.expect(again.page.locator("#kept")).to_contain_text("Not loaded")
    assert visit.problems == again.problems == []


@in_browser
def test_the_mouse_scores_too(browser: Any, path: Path) -> None:
    visit = Visit(browser, path)
    visit.page.click("#start")
    visit.page.locator(".criterion").nth(1).get_by_role("button", name="5 excellent").click()
    visit.page.locator(".criterion").nth(0).get_by_role("button", name="2 poor").click()
    assert visit.chosen() == ["2", "5"]
    visit.page.click("#next")
    visit.wait("BBBB3333")
    assert visit.problems == []


@in_browser
def test_markup_in_a_title_stays_text(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "reading.html"
    evil = "</title></script><script>window.evil=1</script><img src=x onerror='window.evil=1'>"
    file.write_text(scoring_page(study(title=evil)), encoding="utf-8")
    visit = Visit(browser, file)
    assert visit.page.title() == evil
    assert visit.page.evaluate("window.evil") is None
    assert visit.problems == []


# the page of results


def interval(estimate: float, half: float) -> dict[str, float]:
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


def results() -> dict[str, Any]:
    """What an analysis leaves, of two arms; markup in every name that comes from outside."""
    evil = "<img src=x onerror='window.evil=1'>"
    arms = [{"arm": "fully_sampled", "method": "fully_sampled", "pattern": "none", "acceleration": 1.0}]
    arms += [
        {"arm": f"{evil}{p}", "method": "sense", "pattern": p, "acceleration": 8.0} for p in ("Uniform", "ktRadial")
    ]
    common = {"kind": "cine", "criterion": "overall"}
    base = {"n_series": 9, "n_scores": 18, "n_open": 0, "n_missing_images": 0, "counts": [0, 1, 3, 8, 6], "median": 4.0}
    base |= {"quartiles": [4.0, 5.0], "mean": interval(4.1, 0.2), "diagnostic_share": 0.9444}
    compared = {
        "n_patients": 9,
        "difference": interval(-0.123456, 0.1),
        "difference_readers_random": interval(-0.12, 0.5),
        "difference_missing_as_worst": None,
        "margin": 0.5,
        "bound": -0.223456,
        "p": 0.001,
        "readers_random_above_margin": False,
        "n_patients_crossed": 9,
        "missing_as_worst_above_margin": None,
        "verdict": "not inferior",
        "reason": "",
    }
    worse = compared | {"verdict": "too few", "reason": "2 patients", "bound": None, "difference": None}
    pair = {
        "n": 9,
        "equal": interval(0.7, 0.1),
        "within_one": interval(0.9, 0.05),
        "mean_difference": 0.1,
        "kappa": None,
    }
    return {
        "schema": 1,
        "kit": "0123456789abcdef",
        "run": evil,
        "simulated": ["synthetic phantom"],
        "created_utc": "2026-01-02T03:04:05+00:00",
        "plan": {"margin": 0.5, "margin_sealed": 0.5, "criteria": ["overall"], "primary": "overall", "repeat": 0.2}
        | {"confidence": 0.95, "alpha": 0.025, "minimum_patients": 6, "readers": ["R1", "R2"]},
        "readers": [
            {"reader": r, "file": f"{evil}.csv", "sha256": "0" * 64, "shown": 27, "scored": 27, "open": 0}
            | {"median_seconds": 12.0}
            for r in ("R1", "R2")
        ],
        "arms": arms,
        "scores": [
            base | common | {"arm": arms[0]["arm"]},
            base | common | compared | {"arm": arms[1]["arm"]},
            base | common | worse | {"arm": arms[2]["arm"]},
        ],
        "tests": [
            common
            | {"n_patients": 9, "friedman": {"statistic": 6.1, "p": 0.047}, "reason": ""}
            | {"pairs": [{"arm": arms[1]["arm"], "p": 0.02, "p_holm": 0.04}]}
        ],
        "inter": [
            common
            | {"n_series": 27, "n_readers": 2, "ac2": interval(0.8, 0.1), "alpha": None, "reason": ""}
            | {"pairs": [pair | {"readers": ["R1", "R2"]}]}
        ],
        "intra": [common | pair | {"reader": r} for r in ("R1", "R2")],
        "notes": ["Verdicts are exploratory.", f"Not shown: {evil}"],
    }


def test_the_words_of_a_verdict_hold_its_numbers() -> None:
    document, pictures = reader_document(results(), version="cardioval")
    first, second = document["sections"][0]["blocks"][0]["items"]
    assert first == (
        "Cine, SENSE 8× uniform: not inferior to fully sampled (difference −0.12 [−0.22, −0.02], bound −0.22 against −0.5, "
        "9 patients; not with readers as a sample)."
    )
    assert second == "Cine, SENSE 8× k-t radial: no verdict; 2 patients."
    assert document["header"]["banners"] == [
        "Simulated data (synthetic phantom): these scores say nothing about patients.",
        "Verdicts are exploratory.",
    ]
    assert all(content.startswith(b"<?xml") for content in pictures.values())


@in_browser
def test_the_page_of_results_opens_without_a_complaint(browser: Any, tmp_path: Path) -> None:
    page = write_reader_report(tmp_path, results(), version="cardioval")
    context = browser.new_context()
    tab, problems = context.new_page(), []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    tab.goto(page.as_uri())
    assert tab.locator("main section > h2").count() == 5
    assert tab.evaluate("window.evil") is None
    anchors = tab.eval_on_selector_all("a[href^='#']", "links => links.map(a => a.getAttribute('href').slice(1))")
    assert [a for a in anchors if not tab.evaluate("id => !!document.getElementById(id)", a)] == []
    assert problems == []
