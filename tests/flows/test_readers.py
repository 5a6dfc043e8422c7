"""Reader studies: what readers get is blind, ordered and the same for all arms; files of scores are checked; verdicts follow the scores."""

import csv
import itertools
import json
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from cohort.images import write_image, write_labels
from cohort.records import CardioValError, ConfigProblem, MissingFile, UnreadableFile
from flows.cli import app
from flows.reader_images import Display, chosen_frames, find_scans, heart_cut, pictured, representative_slices
from flows.reader_order import drawn_repeats, reading_order
from flows.reader_results import analyse_kit, reader_results
from flows.reader_scores import COLUMNS, open_kit, read_scores
from flows.readers import KEY_FILE, MANIFEST_FILE, KitOptions, export_kit

ARMS = {
    "fully_sampled": ("fully_sampled", "none", 1.0),
    "sense_Uniform8": ("sense", "Uniform", 8.0),
    "cardiomm_ktRadial16": ("cardiomm", "ktRadial", 16.0),
}
CENTERS = ("Center001", "Harbor")
FRAMES, SLICES, Y, X = 4, 5, 24, 20
SPACING = (8.0, 3.0, 3.0)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DATA = re.compile(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)")


def write_cine(
    folder: Path, center: str, patient: str, rng: np.random.Generator, *, failed: tuple[str, ...] = ()
) -> None:
    """A beating disc; each arm is as bright as its part of the reference says."""
    y, x = np.mgrid[:Y, :X]
    radius = np.hypot(y - 12, x - 10)
    labels = np.zeros((FRAMES, SLICES, Y, X), np.uint8)
    labels[:, 1:4] = np.where(radius < 3, 1, np.where(radius < 5, 2, 0))
    image = (100 * (labels == 1) + 40 * (labels == 2) + rng.uniform(0, 10, labels.shape)).astype(np.float32)
    entries = {}
    for name, (method, pattern, acceleration) in ARMS.items():
        entry = {"method": method, "pattern": pattern, "acceleration": acceleration, "status": "ok", "reason": ""}
        if name in failed:
            entry |= {"status": "failed", "reason": "mask samples nothing"}
        else:
            entry["image"] = f"{name}.nii.gz"
            shown = image * (0.5 if method == "sense" else 1.0)
            write_image(folder / f"{name}.nii.gz", shown, spacing_mm=SPACING, sidecar={})
            write_labels(folder / f"{name}_labels.nii.gz", labels, spacing_mm=SPACING, sidecar={})
        entries[name] = entry
    write_scan(folder, center, patient, "cine", "cine_sax", entries)


def write_map(folder: Path, center: str, patient: str) -> None:
    """A ring of 1200 ms, as the measuring stage keeps it, without values far from it."""
    y, x = np.mgrid[:X, :Y]
    radius = np.hypot(y - 10, x - 12)
    labels = np.where(radius < 3, 1, np.where(radius < 5, 2, 0)).astype(np.uint8)
    values = np.where(radius < 9, np.where(labels == 2, 1200, 1800), np.nan).astype(np.float32)
    gallery = []
    (folder / "pictures").mkdir(parents=True)
    for name in list(ARMS)[1:]:
        path = f"pictures/{name}_map.npz"
        arrays = {"reference": values, "image": values + 50, "labels_reference": labels, "labels_image": labels}
        np.savez_compressed(folder / path, **arrays, spacing_mm=np.array(SPACING))
        gallery.append({"path": path, "phase": "map", "slice": 0, "arm": name})
    (folder / "measurements.json").write_text(json.dumps({"gallery": gallery}), encoding="utf-8")
    facts = ("method", "pattern", "acceleration")
    entries = {
        n: dict(zip(facts, f, strict=True)) | {"status": "ok", "reason": "", "image": ""} for n, f in ARMS.items()
    }
    write_scan(folder, center, patient, "T1 mapping", "T1map", entries)


def write_scan(folder: Path, center: str, patient: str, modality: str, scan: str, arms: dict[str, Any]) -> None:
    """The manifest of the reconstruction stage, as far as readers need it."""
    named = {"study": "secret", "center": center, "vendor": "Siemens", "field_t": 3.0, "patient": patient}
    manifest = {
        "scan": named | {"modality": modality, "scan": scan},
        "geometry": {"spacing_mm": SPACING, "frame_time_s": 0.03},
        "arms": arms,
    }
    (folder / "reconstruction.json").write_text(json.dumps(manifest), encoding="utf-8")


def make_run(
    folder: Path, *, patients: int = 3, maps: bool = True, failed: dict[int, tuple[str, ...]] | None = None
) -> Path:
    """A run folder with one cine a patient in two centers, and maps of the first patient of each."""
    rng = np.random.default_rng(5)
    for i, center in enumerate(CENTERS):
        for k in range(patients):
            patient = f"Smith{k:03d}"
            place = folder / "scans" / center / patient
            (place / "cine").mkdir(parents=True)
            write_cine(place / "cine", center, patient, rng, failed=(failed or {}).get(i * patients + k, ()))
            if maps and k == 0:
                (place / "T1").mkdir()
                write_map(place / "T1", center, patient)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def options(**changes: Any) -> KitOptions:
    given: dict[str, Any] = {"readers": ("R1", "R2"), "margin": 0.5, "seed": 11, "criteria": ("overall", "artifacts")}
    return KitOptions(**given | changes)


@pytest.fixture(scope="module")
def kit(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_kit(run, tmp_path_factory.mktemp("kits") / "kit", options=options()).folder


def key_of(kit: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((kit / KEY_FILE).read_text(encoding="utf-8"))
    return content


def page_of(kit: Path, reader: str = "R1") -> str:
    return (kit / "readers" / reader / "reading.html").read_text(encoding="utf-8")


def items_of(page: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', page)
    assert found
    items: list[dict[str, Any]] = json.loads(found[1])["items"]
    return items


def payload(page: str, item: dict[str, Any]) -> dict[str, Any]:
    found = re.search(rf'id="{item["data"]}">(.*?)</script>', page)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


def pixels(src: str) -> np.ndarray:
    found = DATA.fullmatch(src)
    assert found
    with Image.open(BytesIO(b64decode(found[1]))) as picture:
        return np.asarray(picture).astype(float)


Answer = Callable[[dict[str, Any], str], int | str]


def answer_file(kit: Path, reader: str, folder: Path, answer: Answer) -> Path:
    """What a reader's page would save, by a rule from the series' facts and the criterion to a score."""
    key, name = key_of(kit), json.loads((kit / MANIFEST_FILE).read_text(encoding="utf-8"))["kit"]
    series = {s["series"]: s for s in key["series"]}
    path = folder / f"{reader}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for position, one in enumerate(key["shown"][reader], start=1):
            for criterion in key["plan"]["criteria"]:
                writer.writerow(
                    [name, reader, position, one["code"], criterion, answer(series[one["series"]], criterion), 9]
                )
    return path


def loss(series: dict[str, Any], _: str) -> int:
    """Readers for whom nothing is lost by one method, and two points by the other."""
    return {"fully_sampled": 5, "sense": 3, "cardiomm": 5}[series["method"]]


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


# the files of scores


@pytest.fixture
def files(kit: Path, tmp_path: Path) -> list[Path]:
    return [answer_file(kit, reader, tmp_path, loss) for reader in ("R1", "R2")]


def test_scores_are_unblinded(kit: Path, files: list[Path]) -> None:
    table = read_scores(open_kit(kit), files).table
    assert len(table) == 2 * len(key_of(kit)["shown"]["R1"]) * 2
    assert (table["score"] == table["method"].map({"fully_sampled": 5, "sense": 3, "cardiomm": 5})).all()
    assert table["repeat"].sum() == 2 * 2 * round(0.2 * 24)


def test_a_table_program_may_have_saved_the_file(kit: Path, files: list[Path]) -> None:
    before = read_scores(open_kit(kit), files).table
    files[0].write_text("\ufeff" + files[0].read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")
    pd.testing.assert_frame_equal(read_scores(open_kit(kit), files).table, before)


def test_another_key_is_refused(run: Path, kit: Path, files: list[Path], tmp_path: Path) -> None:
    other = export_kit(run, tmp_path / "other", options=options(seed=12)).folder
    with pytest.raises(UnreadableFile, match="scores of kit"):
        read_scores(open_kit(other), files)
    swapped = tmp_path / "swapped"
    shutil.copytree(kit, swapped)
    shutil.copy(other / KEY_FILE, swapped / KEY_FILE)
    with pytest.raises(UnreadableFile, match="not the key that was sealed"):
        open_kit(swapped)
    shutil.copy(other / MANIFEST_FILE, swapped / MANIFEST_FILE)
    with pytest.raises(UnreadableFile, match="page was changed"):
        open_kit(swapped)


@pytest.mark.parametrize("old", ['"margin": 0.5', '"repeat": false', "sense_Uniform8"])
def test_a_changed_key_is_refused(kit: Path, tmp_path: Path, old: str) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(kit, changed)
    text = (changed / KEY_FILE).read_text(encoding="utf-8")
    assert old in text
    new = {'"margin": 0.5': '"margin": 1.5', '"repeat": false': '"repeat": true'}.get(old, "cardiomm_ktRadial16")
    (changed / KEY_FILE).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UnreadableFile, match="not the key that was sealed"):
        open_kit(changed)


def test_a_changed_page_is_refused_and_an_absent_one_noted(kit: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(kit, copy)
    page = copy / "readers" / "R1" / "reading.html"
    page.write_text(page_of(kit) + " ", encoding="utf-8")
    with pytest.raises(UnreadableFile, match="changed after the kit was made"):
        open_kit(copy)
    page.unlink()
    assert open_kit(copy).notes == ("readers/R1/reading.html is not in the kit any more, so it could not be checked.",)


def first_cells(line: str) -> list[str]:
    return line.split(",")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ls: [ls[0].replace("score", "points"), *ls[1:]], "expected the columns"),
        (lambda ls: [*ls, ls[1]], "stands on line 2 already"),
        (lambda ls: [*ls[:2], ls[2].replace(",5,", ",6,").replace(",3,", ",6,"), *ls[3:]], "expected a score 1 to 5"),
        (lambda ls: [*ls[:2], ls[2].replace("artifacts", "beauty"), *ls[3:]], "no criterion 'beauty'"),
        (lambda ls: [*ls[:2], ls[2].replace(first_cells(ls[2])[3], "AAAAAAAA"), *ls[3:]], "nobody was shown it"),
        (lambda ls: [line.replace(",R1,", ",R2,") for line in ls], "was shown to reader R1"),
        (lambda ls: [line.replace(",R1,", ",R9,") for line in ls], "no reader 'R9'"),
        (lambda ls: [*ls[:5], ls[5].replace(",R1,", ",R2,"), *ls[6:]], "scores of one reader"),
        (lambda ls: [*ls[:2], ls[2] + ",x", *ls[3:]], "line 3: expected 7 cells, got 8"),
        (lambda ls: [], "expected the columns"),
        (lambda ls: ls[:1], "got none"),
    ],
)
def test_files_with_problems_are_refused(
    kit: Path, files: list[Path], change: Callable[[list[str]], list[str]], message: str
) -> None:
    lines = files[0].read_text(encoding="utf-8").splitlines()
    files[0].write_text("\n".join(change(lines)), encoding="utf-8")
    with pytest.raises(UnreadableFile, match=message):
        read_scores(open_kit(kit), files)


def test_no_file_two_of_one_reader_and_files_that_are_none(kit: Path, files: list[Path], tmp_path: Path) -> None:
    opened = open_kit(kit)
    with pytest.raises(ConfigProblem, match="no files of scores"):
        read_scores(opened, [])
    with pytest.raises(ConfigProblem, match=r"R1 has handed in R1\.csv already"):
        read_scores(opened, [files[0], files[0]])
    with pytest.raises(MissingFile, match="no such file of scores"):
        read_scores(opened, [tmp_path / "none.csv"])
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UnreadableFile, match="not a text file"):
        read_scores(opened, [tmp_path / "binary.csv"])
    with pytest.raises(ConfigProblem, match="hold no score"):
        read_scores(opened, [answer_file(kit, "R2", tmp_path, lambda s, c: "")])
    with pytest.raises(MissingFile, match="readers export"):
        open_kit(tmp_path)


# what the scores say


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit of 20 patients and three readers."""
    folder = tmp_path_factory.mktemp("large")
    run = make_run(
        folder / "run", patients=10, maps=False, failed={0: ("cardiomm_ktRadial16",), 3: ("cardiomm_ktRadial16",)}
    )
    made = options(readers=("A", "B", "C"), criteria=("overall",), display=Display(n_slices=1, n_frames=1))
    return export_kit(run, folder / "kit", options=made).folder


def judged(kit: Path, folder: Path, answer: Answer, **more: Any) -> dict[str, Any]:
    opened = open_kit(kit)
    paths = [answer_file(kit, reader, folder, answer) for reader in key_of(kit)["shown"]]
    results = reader_results(opened, read_scores(opened, paths), **more)
    json.dumps(results, allow_nan=False)
    return results


def row_of(results: dict[str, Any], arm: str) -> dict[str, Any]:
    return next(r for r in results["scores"] if r["arm"] == arm and r["criterion"] == "overall" and r["kind"] == "cine")


@pytest.mark.parametrize(
    ("lost", "verdict"), [(0.0, "not inferior"), (0.15, "not inferior"), (0.5, "not shown"), (1.2, "not shown")]
)
def test_a_known_loss_gets_its_verdict(
    large: Path, tmp_path: Path, rng: np.random.Generator, lost: float, verdict: str
) -> None:
    quality: dict[str, float] = {}

    def noisy(series: dict[str, Any], _: str) -> int:
        true = quality.setdefault(series["patient"] + series["center"], rng.uniform(3.0, 4.5))
        return int(np.clip(np.floor(true - lost * (series["method"] == "sense") + rng.uniform(0, 1)), 1, 5))

    row = row_of(judged(large, tmp_path, noisy), "sense_Uniform8")
    assert row["verdict"] == verdict
    assert row["difference"]["estimate"] == pytest.approx(-lost, abs=0.3)
    assert row["bound"] == pytest.approx(row["difference"]["low"])
    assert row["n_patients"] == 20


def test_differences_are_averaged_over_readers_before_patients_count(large: Path, tmp_path: Path) -> None:
    """Twenty patients stay twenty, however many readers agree on them: the interval does not narrow."""
    patients = {f"Smith{k:03d}": k % 2 for k in range(10)}
    results = judged(large, tmp_path, lambda s, c: 4 - (patients[s["patient"]] if s["method"] == "sense" else 0))
    row = row_of(results, "sense_Uniform8")
    d = np.repeat([0.0, -1.0], 10)
    half = 2.0930240544 * d.std(ddof=1) / np.sqrt(20)  # Student's t, 97.5 %, 19 degrees of freedom
    assert row["difference"]["estimate"] == pytest.approx(-0.5)
    assert row["difference"]["low"] == pytest.approx(-0.5 - half)
    # readers are the same here, so taking them as random changes nothing
    assert row["difference_readers_random"]["low"] == pytest.approx(-0.5 - half)
    assert row["counts"] == [0, 0, 30, 30, 0]


def test_readers_who_differ_among_themselves_widen_the_interval_with_readers_random(
    large: Path, tmp_path: Path
) -> None:
    opened = open_kit(large)
    lost = {"A": 0, "B": 1, "C": 2}
    paths = [answer_file(large, r, tmp_path, lambda s, c, by=lost[r]: 5 - by * (s["method"] == "sense")) for r in lost]
    row = row_of(reader_results(opened, read_scores(opened, paths)), "sense_Uniform8")
    assert row["difference"] == {"estimate": -1.0, "low": -1.0, "high": -1.0}
    # mean squares of readers only: t with 2 degrees of freedom on the three readers' means
    half = 4.3026527297 * 1.0 / np.sqrt(3)
    assert row["difference_readers_random"]["low"] == pytest.approx(-1 - half)


def test_missing_images_count_as_worst_in_the_sensitivity_analysis(large: Path, tmp_path: Path) -> None:
    row = row_of(judged(large, tmp_path, lambda s, c: 5), "cardiomm_ktRadial16")
    assert (row["n_missing_images"], row["n_patients"], row["verdict"]) == (2, 18, "not inferior")
    assert row["difference_missing_as_worst"]["estimate"] == pytest.approx(2 * (1 - 5) / 20)
    assert row["missing_as_worst_above_margin"] is False


def test_perfect_readers_agree_with_themselves_and_each_other(large: Path, tmp_path: Path) -> None:
    results = judged(large, tmp_path, loss)
    (between,) = results["inter"]
    assert between["ac2"]["estimate"] == between["alpha"]["estimate"] == 1
    assert [p["kappa"]["estimate"] for p in between["pairs"]] == [1, 1, 1]
    assert all(r["equal"]["estimate"] == r["kappa"]["estimate"] == 1 for r in results["intra"])
    assert all(r["n"] == round(0.2 * 58) for r in results["intra"])
    (test,) = results["tests"]
    assert test["friedman"]["p"] < 1e-6
    assert {p["arm"]: p["p_holm"] < 0.001 for p in test["pairs"]} == {
        "sense_Uniform8": True,
        "cardiomm_ktRadial16": False,
    }


def test_readers_who_throw_dice_agree_by_chance(large: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    results = judged(large, tmp_path, lambda s, c: int(rng.integers(1, 6)))
    (between,) = results["inter"]
    assert abs(between["alpha"]["estimate"]) < 0.3
    assert between["alpha"]["low"] < 0 < between["alpha"]["high"]


def test_one_score_for_all_is_a_stated_result(large: Path, tmp_path: Path) -> None:
    results = judged(large, tmp_path, lambda s, c: 4)
    row = row_of(results, "sense_Uniform8")
    assert (row["verdict"], row["difference"]["low"]) == ("not inferior", 0.0)
    (between,) = results["inter"]
    assert between["alpha"] is None  # no score varies
    assert between["ac2"]["estimate"] == 1
    assert results["tests"][0]["friedman"]["p"] == 1


def test_few_patients_one_reader_and_open_scores_are_stated(kit: Path, tmp_path: Path) -> None:
    opened = open_kit(kit)
    left = {"n": 0}

    def some(series: dict[str, Any], criterion: str) -> int | str:
        left["n"] += 1
        return "" if left["n"] == 1 else loss(series, criterion)

    results = reader_results(opened, read_scores(opened, [answer_file(kit, "R2", tmp_path, some)]))
    json.dumps(results, allow_nan=False)
    assert "No scores of R1: the results are those of R2." in results["notes"]
    assert "Reader R2 left 1 of 29 series open." in results["notes"]
    maps = next(r for r in results["scores"] if r["kind"] == "T1 map" and r["arm"] == "sense_Uniform8")
    assert (maps["verdict"], maps["reason"]) == ("too few", "2 patients, at least 6 are needed")
    assert {r["reason"] for r in results["inter"]} == {"one reader"}
    assert maps["difference_readers_random"] is None


def test_another_margin_makes_the_verdict_exploratory(large: Path, tmp_path: Path) -> None:
    results = judged(large, tmp_path, loss, margin=2.5)
    assert row_of(results, "sense_Uniform8")["verdict"] == "not inferior"
    assert results["plan"]["margin_sealed"] == 0.5
    assert any("exploratory" in note for note in results["notes"])


def test_results_are_written_and_can_be_read_again(kit: Path, files: list[Path], tmp_path: Path) -> None:
    results, page = analyse_kit(kit, files, tmp_path / "out")
    opened = open_kit(kit)
    again = reader_results(opened, read_scores(opened, files))
    stored = json.loads((tmp_path / "out" / "reader_results.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(results))
    assert {k: v for k, v in again.items() if k != "created_utc"} == {
        k: v for k, v in results.items() if k != "created_utc"
    }
    table = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert len(table) == 2 * 29 * 2
    assert page.is_file()


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
    kit = export_kit(run, tmp_path / "kit", options=options(scans=4, kinds=("cine",), repeat=0.25)).folder
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
