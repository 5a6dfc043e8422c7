"""Files of scores are checked before they are unblinded, and verdicts follow the scores."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.reader_images import Display
from flows.reader_results import analyse_kit, reader_results
from flows.reader_scores import open_kit, read_scores
from flows.readers import KEY_FILE, MANIFEST_FILE, export_kit
from tests.flows.reader_kits import Answer, answer_file, key_of, loss, make_run, options, page_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def kit(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_kit(run, tmp_path_factory.mktemp("kits") / "kit", options=options()).folder


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
