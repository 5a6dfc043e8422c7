"""Reader studies: what readers get is blind, ordered, and the same for all arms but the image."""

import itertools
import json
import re
import shutil
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cohort.records import CardioValError, ConfigProblem, MissingFile
from flows.cli import app
from flows.reader_images import Display, chosen_frames, find_scans, heart_cut, pictured, representative_slices
from flows.reader_order import drawn_repeats, reading_order
from flows.reader_results import analyse_kit
from flows.reader_scores import open_kit
from flows.readers import KEY_FILE, export_kit
from tests.flows.reader_kits import (
    ARMS,
    CENTERS,
    DATA,
    FRAMES,
    X,
    Y,
    answer_file,
    items_of,
    key_of,
    loss,
    make_run,
    options,
    page_of,
    pixels,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def kit(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_kit(run, tmp_path_factory.mktemp("kits") / "kit", options=options()).folder


# the order


@settings(max_examples=25, deadline=None)
@given(n_scans=st.integers(6, 12), n_arms=st.integers(2, 5), seed=st.integers(0, 2**32))
def test_every_series_is_shown_once_and_repeated_ones_twice_far_apart(n_scans: int, n_arms: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    series = [(f"{s}-{a}", f"scan{s}") for s in range(n_scans) for a in range(n_arms)]
    twice = drawn_repeats([(name, name[-1]) for name, _ in series], share=0.2, rng=rng)
    order = reading_order(series, repeated=twice, rng=rng, codes=set())
    names = [one.series for one in order]
    assert sorted(names) == sorted([name for name, _ in series] + twice)
    assert len({one.code for one in order}) == len(order)
    assert [one.series for one in order if one.repeat] == [n for i, n in enumerate(names) if n in names[:i]]
    scan = dict(series)
    assert all(scan[a] != scan[b] for a, b in itertools.pairwise(names))
    places = [[i for i, n in enumerate(names) if n == name] for name in twice]
    assert all(second - first > len(names) // 4 for first, second in places)


def test_repeats_are_spread_over_the_arms(rng: np.random.Generator) -> None:
    series = [(f"{s}-{a}", str(a)) for s in range(20) for a in range(4)]
    twice = drawn_repeats(series, share=0.25, rng=rng)
    assert sorted(name[-1] for name in twice) == sorted("0123" * 5)


def test_readers_see_other_orders_and_codes_of_the_same_series(kit: Path) -> None:
    shown = key_of(kit)["shown"]
    one, two = ([s["series"] for s in shown[r]] for r in ("R1", "R2"))
    assert sorted(one) == sorted(two)
    assert one != two
    assert not {s["code"] for s in shown["R1"]} & {s["code"] for s in shown["R2"]}
    assert [i["code"] for i in items_of(page_of(kit))] == [s["code"] for s in shown["R1"]]


def test_a_seed_makes_the_same_kit_again_and_none_another(run: Path, kit: Path, tmp_path: Path) -> None:
    again = export_kit(run, tmp_path / "again", options=options()).folder
    assert (again / KEY_FILE).read_bytes() == (kit / KEY_FILE).read_bytes()
    assert page_of(again) == page_of(kit)
    drawn = [key_of(export_kit(run, tmp_path / str(i), options=options(seed=None)).folder)["shown"] for i in range(2)]
    assert drawn[0] != drawn[1]


# the pictures


def test_all_arms_share_the_scale_of_the_fully_sampled_image(run: Path) -> None:
    scan = next(s for s in find_scans(run) if s.kind == "cine")
    found = {name: json.loads(p) for name, p in pictured(scan, arms=list(ARMS), display=Display()).payloads.items()}
    full, half, same = (found[name]["panels"][0] for name in ("fully_sampled", "sense_Uniform8", "cardiomm_ktRadial16"))
    white = pixels(full["src"]) == 255  # and above
    assert 0 < white.mean() < 0.05
    assert np.abs(pixels(half["src"]) - pixels(full["src"]) / 2)[~white].max() <= 1
    assert same["src"] == full["src"]
    assert {k: v for k, v in half.items() if k != "src"} == {k: v for k, v in full.items() if k != "src"}


def test_a_sprite_holds_the_frames_in_rows(run: Path) -> None:
    scan = next(s for s in find_scans(run) if s.kind == "cine")
    found = json.loads(pictured(scan, arms=["fully_sampled"], display=Display(n_slices=1)).payloads["fully_sampled"])
    (panel,) = found["panels"]
    assert (found["frames"], panel["columns"]) == (FRAMES, 2)
    assert pixels(panel["src"]).shape == (2 * panel["height"], 2 * panel["width"])
    # upright: the stored x runs down
    assert (panel["height"], panel["width"]) == (X, Y)
    assert found["frame_s"] == 0.03
    assert panel["aspect"] == 1


def test_a_map_keeps_its_colors_and_is_black_without_values(run: Path) -> None:
    scan = next(s for s in find_scans(run) if s.kind == "T1 map")
    found = pictured(scan, arms=list(ARMS), display=Display())
    assert list(found.payloads) == list(ARMS)
    shown = json.loads(found.payloads["fully_sampled"])
    colors = pixels(shown["panels"][0]["src"])
    assert shown["frames"] == 1
    assert (colors == 0).all(axis=-1).any()
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) == 3  # wall, blood and nothing


def test_slices_frames_and_cut_in_closed_form() -> None:
    labels = np.zeros((2, 9, 10, 12), np.uint8)
    labels[0, :, 4:6, 5:8] = 1
    assert representative_slices(labels, n=3) == [1, 4, 7]
    assert representative_slices(labels[:, :2], n=3) == [0, 1]
    assert representative_slices(np.zeros_like(labels), n=1) == [4]
    assert heart_cut(labels.any(axis=(0, 1)), pixel_mm=(2.0, 1.0), margin_mm=4) == (slice(2, 8), slice(1, 12))
    assert heart_cut(np.zeros((3, 4), bool), pixel_mm=(1, 1), margin_mm=1) == (slice(0, 3), slice(0, 4))
    assert chosen_frames(12, most=4) == [0, 3, 6, 9]
    assert chosen_frames(5, most=0) == chosen_frames(5, most=9) == [0, 1, 2, 3, 4]


def test_fewer_frames_and_pixels_keep_beat_and_shape(run: Path) -> None:
    scan = next(s for s in find_scans(run) if s.kind == "cine")
    display = Display(n_slices=1, n_frames=2, side_px=12, jpeg_quality=95)
    shown = json.loads(pictured(scan, arms=["fully_sampled"], display=display).payloads["fully_sampled"])
    (panel,) = shown["panels"]
    assert shown["frames"] * shown["frame_s"] == pytest.approx(FRAMES * 0.03)
    assert panel["src"].startswith("data:image/jpeg")
    assert panel["width"] * panel["aspect"] / panel["height"] == pytest.approx(Y / X)
    assert max(panel["width"], panel["height"]) == 12


# blindness


def test_nothing_on_a_page_tells_what_a_series_is(run: Path, kit: Path) -> None:
    secrets = {
        *ARMS,
        "sense",
        "cardiomm",
        "zero_filled",
        "fully",
        "sampled",
        "Uniform",
        "ktRadial",
        "radial",
        "acceler",
        "undersampl",
        "secret",
    }
    secrets |= {*CENTERS, "Smith", "Siemens", "cine_sax", "T1map", str(run), run.name, "s0001", 'repeat":'}
    for reader in ("R1", "R2"):
        page = page_of(kit, reader)
        pictures = DATA.findall(page)
        text = DATA.sub("", page).lower()
        assert pictures
        assert [word for word in secrets if word.lower() in text] == []
        for content in map(b64decode, pictures):
            assert re.findall(rb"(tEXt|iTXt|zTXt|tIME|eXIf|iCCP)", content) == []
    folder = kit / "readers" / "R1"
    assert [p.name for p in folder.iterdir()] == ["reading.html"]
    assert (kit / KEY_FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "changes", [{"title": "CardioMM against the rest"}, {"readers": ("Smith001", "R2")}, {"title": "Harbor"}]
)
def test_titles_and_names_that_tell_something_are_refused(run: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigProblem, match="readers must not know"):
        export_kit(run, tmp_path / "kit", options=options(**changes))
    assert not (tmp_path / "kit").exists()


# the choice of scans


def test_few_scans_are_spread_over_kinds_and_centers(run: Path, tmp_path: Path) -> None:
    key = key_of(export_kit(run, tmp_path / "kit", options=options(scans=4)).folder)
    assert {(s["kind"], s["center"]) for s in key["series"]} == {(k, c) for k in ("cine", "T1 map") for c in CENTERS}
    assert len(key["series"]) == 4 * len(ARMS)
    assert key["simulated"] == ["disc"]


def test_methods_and_kinds_can_be_chosen_and_the_reference_stays(run: Path, tmp_path: Path) -> None:
    key = key_of(export_kit(run, tmp_path / "kit", options=options(methods=("sense",), kinds=("cine",))).folder)
    assert {(s["kind"], s["arm"]) for s in key["series"]} == {("cine", "fully_sampled"), ("cine", "sense_Uniform8")}


def test_images_that_are_missing_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", patients=2, maps=False, failed={0: ("sense_Uniform8",), 1: ("fully_sampled",)})
    made = export_kit(run, tmp_path / "kit", options=options())
    assert [(m["arm"], m["reason"]) for m in made.missing] == [("sense_Uniform8", "mask samples nothing")]
    assert list(made.skipped.values()) == ["Center001 Smith001 cine_sax: no fully sampled image (mask samples nothing)"]
    assert made.n_scans == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"readers": ()}, "different names"),
        ({"readers": ("R1", "R1")}, "different names"),
        ({"readers": ("../x",)}, "different names"),
        ({"repeat": 1.5}, "between 0 and 1"),
        ({"margin": 0.0}, "above 0 and below 4"),
        ({"scans": 0}, "at least one scan"),
        ({"kinds": ("strain",)}, "expected different ones of cine, map"),
        ({"criteria": ("beauty",)}, "criterion: expected different ones of overall"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        options(**changes)


@pytest.mark.parametrize("changes", [{"n_slices": 0}, {"jpeg_quality": 30}, {"n_frames": -1}])
def test_displays_that_cannot_be_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(CardioValError):
        Display(**changes)


def test_problems_of_the_export_are_named(run: Path, kit: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="holds a kit"):
        export_kit(run, kit, options=options())
    with pytest.raises(ConfigProblem, match="no method 'grappa'; it has cardiomm, sense"):
        export_kit(run, tmp_path / "kit", options=options(methods=("grappa",)))
    with pytest.raises(ConfigProblem, match=r"above 0\.01 MB: show fewer scans"):
        export_kit(run, tmp_path / "kit", options=options(max_mb=0.01))
    with pytest.raises(MissingFile, match="no reconstructed scans"):
        export_kit(tmp_path, tmp_path / "kit", options=options())
    assert not (tmp_path / "kit").exists()


# from the command line, and in the browser


def test_both_commands_from_the_command_line(run: Path, tmp_path: Path) -> None:
    call = CliRunner()
    words = [
        "readers",
        "export",
        str(run),
        "--out",
        str(tmp_path / "kit"),
        "--readers",
        "R1,R2",
        "--seed",
        "3",
        "--criteria",
        "overall",
    ]
    made = call.invoke(app, words)
    assert made.exit_code == 0, made.output
    paths = [str(answer_file(tmp_path / "kit", r, tmp_path, loss)) for r in ("R1", "R2")]
    found = call.invoke(app, ["readers", "analyse", str(tmp_path / "kit"), *paths, "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "out" / "index.html").is_file()
    wrong = call.invoke(
        app, ["readers", "analyse", str(tmp_path / "kit"), *paths, "--out", str(tmp_path / "out"), "--margin", "9"]
    )
    assert isinstance(wrong.exception, ConfigProblem)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
def test_readers_score_by_keyboard_save_and_are_analysed(run: Path, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser driver playwright is not installed")
    kit = export_kit(run, tmp_path / "kit", options=options(scans=2, kinds=("cine",), repeat=0.25)).folder
    key = key_of(kit)
    series = {s["series"]: s for s in key["series"]}
    saved, problems = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for reader in ("R1", "R2"):
            page = browser.new_context(accept_downloads=True).new_page()
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
            page.goto((kit / "readers" / reader / "reading.html").as_uri())
            page.keyboard.press("Enter")  # closes the instructions
            for shown in key["shown"][reader]:
                page.wait_for_selector(f'body[data-ready="{shown["code"]}"]')
                for criterion in key["plan"]["criteria"]:
                    page.keyboard.press(str(loss(series[shown["series"]], criterion)))
                page.keyboard.press("n")
            assert page.inner_text("#next-step") == "All series are scored. Save the file."
            with page.expect_download() as download:
                page.click("#save")
            saved.append(tmp_path / download.value.suggested_filename)
            download.value.save_as(saved[-1])
        browser.close()
    assert problems == []
    assert [path.name for path in saved] == [f"scores_{open_kit(kit).name}_{r}.csv" for r in ("R1", "R2")]
    results, _ = analyse_kit(kit, saved, tmp_path / "out")
    assert {r["scored"] for r in results["readers"]} == {len(key["shown"]["R1"])}
    table = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert (table["score"] == table["method"].map({"fully_sampled": 5, "sense": 3, "cardiomm": 5})).all()
    assert (table["seconds"] >= 0).all()
