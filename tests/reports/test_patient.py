"""Is a patient's page right where a record is unusual, are its pictures drawn as they must be, and does a browser like it?"""

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reports import pictures, tables
from reports.patient import patient_document, write_patient_report
from reports.patient_pictures import (
    MOST_FRAMES,
    Images,
    Still,
    Strip,
    curves_svg,
    shown_frames,
    strip_box,
    strip_png,
    strip_window,
)
from reports.patient_sections import MOST_ARMS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def value(
    number: float | None, reference: float | None = None, limit: float | None = None, reason: str = ""
) -> dict[str, Any]:
    """A cell of a record."""
    difference = None if None in (number, reference) else number - reference  # type: ignore[operator]
    inside = None if difference is None or limit is None else abs(difference) < limit
    status = "failed" if number is None else "warn" if reason else "ok"
    return {"value": number, "status": status, "reason": reason, "difference": difference, "inside": inside}


def arm_facts(**changes: Any) -> dict[str, Any]:
    """How an arm was made, with nothing known."""
    empty: dict[str, Any] = {"effective_acceleration": None, "status": "ok", "reason": "", "notes": [], "repaired": ""}
    empty |= {"reliability": {"status": None}, "phases": {}, "curves": {}, "cycle_covered": None, "checks": []}
    empty |= {"conventions": {}, "body_surface_m2": None, "body_surface_formula": None, "map": {}}
    return empty | changes


def a_record(n_accelerated: int = 2, **changes: Any) -> dict[str, Any]:
    """A patient with one cine, one value, and so many accelerated arms."""
    arms = [{"arm": "fully_sampled", "method": "fully_sampled", "pattern": "none", "acceleration": 1.0, "label": None}]
    for i in range(n_accelerated):
        arms.append(
            {
                "arm": f"sense_Uniform{i + 2}",
                "method": "sense",
                "pattern": "Uniform",
                "acceleration": i + 2.0,
                "label": None,
            }
        )
    cells = {arm["arm"]: value(100.0 + i, 100.0 if i else None, 5.0) for i, arm in enumerate(arms)}
    row = {
        "phenotype": "lv_edv_ml",
        "unit": "mL",
        "group": "left ventricle",
        "margin": {"limits": 5.0},
        "truth": None,
        "cells": cells,
    }
    scan = {
        "scan": "cine_sax",
        "modality": "cine",
        "vendor": "GE",
        "field_t": 3.0,
        "scanner": "Premier",
        "folder": "scans/x",
    }
    scan |= {
        "values": [row],
        "segments": [],
        "frame_time_s": 0.05,
        "heart_rate_bpm": None,
        "shape": None,
        "height_cm": None,
    }
    scan |= {"weight_kg": None, "geometry": {"spacing_mm": [8.0, 1.5, 1.5], "confidence": "stated", "note": ""}}
    scan["arms"] = {arm["arm"]: arm_facts() for arm in arms}
    counts = {"planned": 1, "measured": 1, "warned": 0, "judged": 1, "outside": 0, "scored": 0, "flagged": 0}
    study = {
        "name": "fake",
        "title": "A fake study",
        "created_utc": "2026-01-02T03:04:05+00:00",
        "simulated": [],
        "run": "run",
    }
    record = {
        "schema": 1,
        "center": "C",
        "patient": "P",
        "disease": "",
        "sex": "",
        "study": study,
        "plan": {},
        "provenance": {},
    }
    record |= {"arms": arms, "scans": [scan], "ranges": [], "failures": []}
    record["summary"] = [{"arm": arm["arm"]} | counts for arm in arms]
    return record | changes


def blocks(record: dict[str, Any], images: Images | None = None) -> dict[str, list[dict[str, Any]]]:
    """The sections of a document by their identifiers."""
    document, _ = patient_document(record, images or Images())
    return {section["id"]: section["blocks"] for section in document["sections"]}


def strip(n_frames: int = 20, ed: int = 0, es: int = 7, side: int = 48, gain: float = 1.0) -> Strip:
    """A ring over some frames, a vessel far away that is much brighter."""
    y, x = np.mgrid[:side, :side]
    r = np.hypot(y - side / 2, x - side / 2)
    labels = np.select([r < 7, r < 11], [1, 2], 0).astype(np.uint8)
    labels[r > 13] = np.where(np.hypot(y - side / 2, x - side / 2 + 16)[r > 13] < 3, 3, 0)
    image = np.choose(labels, (0.1, 1.0, 0.4, 0.9)).astype(np.float32) * gain
    image[0, 0] = 50 * gain
    many = (n_frames, 1, 1)
    return Strip("cine_sax", "fully_sampled", np.tile(image, many), np.tile(labels, many), (0.7, 0.7), ed, es, 3)


@settings(deadline=None)
@given(n=st.integers(1, 60), data=st.data())
def test_shown_frames_hold_both_phases_and_fit(n: int, data: st.DataObject) -> None:
    ed, es = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    frames = shown_frames(strip(n, ed, es, side=8))
    assert {ed, es} <= set(frames)
    assert frames == sorted(set(frames))
    assert len(frames) == n if n <= MOST_FRAMES else len(frames) <= MOST_FRAMES
    assert all(0 <= frame < n for frame in frames)


def test_contours_keep_their_colors_and_stand_on_both_phases_only() -> None:
    shown = strip(6, ed=1, es=4)
    box = strip_box(shown)
    png = strip_png(shown, frames=range(6), box=box, window=strip_window(shown, box))
    with Image.open(BytesIO(png)) as file:
        pixels = np.asarray(file.convert("RGB")).astype(int)
    width = pixels.shape[1] // 6
    for _, name in pictures.CONTOURS:
        color = np.array([int(name[i : i + 2], 16) for i in (1, 3, 5)])
        near = np.abs(pixels - color).max(axis=2) < 30
        per_frame = [int(near[:, i * width : (i + 1) * width].sum()) for i in range(6)]
        assert per_frame[1] > 5
        assert per_frame[4] > 5
        assert sum(per_frame) == per_frame[1] + per_frame[4]


def test_the_gray_scale_is_the_hearts_not_that_of_a_vessel_far_away() -> None:
    shown = strip()
    assert strip_window(shown, strip_box(shown)) == pytest.approx(1.0)
    twice = strip(gain=2.0)
    assert strip_window(twice, strip_box(twice)) == pytest.approx(2.0)


def test_pictures_are_the_same_bytes_for_the_same_data() -> None:
    shown = strip(6)
    box = strip_box(shown)
    made = [strip_png(shown, frames=range(6), box=box, window=1.0) for _ in range(2)]
    assert made[0] == made[1]
    panel = {"title": "LV", "unit": "mL", "curves": [{"label": "a", "values": [1.0, None, 2.0], "reference": False}]}
    assert curves_svg([panel], frame_time_s=0.05) == curves_svg([panel], frame_time_s=0.05)


@pytest.mark.parametrize("n_accelerated", [0, 1, MOST_ARMS - 1, MOST_ARMS, 3 * MOST_ARMS])
def test_many_reconstructions_become_several_tables_with_the_reference_in_each(n_accelerated: int) -> None:
    made = [b for b in blocks(a_record(n_accelerated))["values"] if b["kind"] == "values"]
    assert len(made) == max(1, -(-n_accelerated // (MOST_ARMS - 1)))
    assert all(b["columns"][0]["label"] == "Fully sampled" for b in made)
    assert all(len(b["columns"]) <= MOST_ARMS for b in made)
    labels = [c["label"] for b in made for c in b["columns"][1:]]
    assert labels == [f"SENSE {i + 2}× uniform" for i in range(n_accelerated)]
    assert all(len(row["cells"]) == len(b["columns"]) for b in made for row in b["rows"])


def test_missing_things_are_said() -> None:
    found = blocks(a_record())
    assert any("height and weight are not recorded" in b.get("text", "") for b in found["values"])
    items = dict(found["items"][1]["items"])
    assert items["Sex"] == items["Height, weight"] == items["Rhythm"] == "not recorded"
    assert items["LV volumes"] == "LVEDV 100.0 mL"
    assert items["LV mass"] == "not recorded"
    assert "curves" not in found
    assert found["failures"][0]["text"].startswith("None:")


def test_a_kind_of_simulation_that_is_not_known_is_still_a_banner() -> None:
    record = a_record()
    record["study"]["simulated"] = ["from <dreams>"]
    document, _ = patient_document(record, Images())
    assert document["header"]["banners"] == [
        "SIMULATED DATA (from <dreams>). The raw data were not measured on a scanner."
    ]
    assert document["header"]["simulated"]


def test_a_phenotype_out_of_the_vocabulary_is_shown_as_stored() -> None:
    record = a_record()
    record["scans"][0]["values"][0] |= {"phenotype": "new_thing", "group": "", "unit": "N"}
    (table,) = [b for b in blocks(record)["values"] if b["kind"] == "values"]
    assert (table["rows"][0]["label"], table["rows"][0]["unit"]) == ("New thing", "N")


def test_checks_that_pass_everywhere_are_counted_and_the_others_listed() -> None:
    record = a_record()
    for place, facts in enumerate(record["scans"][0]["arms"].values()):
        facts["checks"] = [{"check": "one part", "status": "pass", "reason": "as expected"}]
        facts["checks"] += [{"check": "closed ring", "status": "fail" if place == 1 else "pass", "reason": "a gap"}]
    (table,) = [b for b in blocks(record)["quality"] if b["kind"] == "table"]
    assert "1 of 2 checks pass in every reconstruction" in table["caption"]
    assert [[c["text"] for c in row["cells"]] for row in table["rows"]] == [
        ["closed ring", "pass", "fail: a gap", "pass"]
    ]


def full() -> tuple[dict[str, Any], Images]:
    """A record and images with a block of every kind."""
    record = a_record(n_accelerated=2)
    facts = record["scans"][0]["arms"]
    for arm in facts.values():
        arm["curves"] = {"lv_curve_ml": list(np.linspace(100, 40, 20)), "rv_curve_ml": list(np.linspace(110, 50, 20))}
        arm["phases"] = {"ed_frame": 0, "es_frame": 7}
    walls = {name: {str(s): 6.0 + 0.1 * s for s in range(1, 17)} for name in facts}
    moved = {name: dict.fromkeys(one, 0.5) for name, one in walls.items() if name != "fully_sampled"}
    record["scans"][0]["segments"] = [
        {"quantity": "wall_thickness_mean", "unit": "mm", "values": walls, "differences": moved}
    ]
    shown = strip()
    strips = tuple(Strip(shown.scan, arm, shown.images, shown.labels, shown.pixel_mm, 0, 7, 3) for arm in facts)
    still = pictures.Sample(
        1000 * shown.images[0], 990 * shown.images[0], shown.labels[0], shown.labels[0], shown.pixel_mm
    )
    stills = tuple(Still(shown.scan, arm, "map", "T1", 0, still) for arm in list(facts)[1:])
    return record, Images(strips, stills)


def test_every_kind_of_block_is_laid_out_with_words_for_who_cannot_see(tmp_path: Path) -> None:
    record, images = full()
    kinds = {b["kind"] for section in blocks(record, images).values() for b in section}
    assert kinds == {"text", "table", "values", "definitions", "plots", "strips", "cards"}
    files = write_patient_report(tmp_path, record, images)
    page = files.page.read_text(encoding="utf-8")
    assert page.count("<img") == page.count("alt=") > 10
    assert 'alt=""' not in page
    assert files.pdf.read_bytes().startswith(b"%PDF-")


def test_a_phone_and_a_printer_can_show_it(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser driver playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path")
    record, images = full()
    page_file = write_patient_report(tmp_path, record, images).page
    complaints: list[str] = []
    requests: list[str] = []
    hear: Callable[[Any], None] = lambda message: complaints.append(message.text)  # noqa: E731
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 420, "height": 900})
        page.on("console", hear)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        assert page.title() == "Patient P, C"
        # wide tables scroll inside, the page does not
        assert page.evaluate("document.documentElement.scrollWidth") <= 421
        assert page.evaluate("Array.from(document.images).every(i => i.complete && i.naturalWidth > 0)")
        printed = page.pdf(prefer_css_page_size=True)
        browser.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert printed.startswith(b"%PDF-")


def test_formatting_is_that_of_all_reports() -> None:
    record = a_record()
    record["scans"][0]["values"][0]["cells"]["sense_Uniform2"] = value(95.04999, 100.0, 5.0, reason="a doubt")
    (table,) = [b for b in blocks(record)["values"] if b["kind"] == "values"]
    cell = table["rows"][0]["cells"][1]
    assert cell == {"value": "95.0", "difference": f"{tables.MINUS}5.0", "state": "inside", "mark": "†"}
