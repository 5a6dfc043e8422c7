"""Does the command train on what it is told, patient by patient, and show how it went?"""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows import commands_train, terminal, train
from flows.cli import app
from flows.cohort_training import CohortData, measured_data
from flows.learning_curves import draw_learning_curves
from flows.train import simulated_data, text_encoder, train_reconstruction, training_options
from recon.cardiomm.checkpoint import load_cardiomm, read_checkpoint
from recon.cardiomm.network import CardioMMSize
from recon.training import SIZES, SMALL, Progress, TrainingOptions
from recon.training_data import Sampling

TINY = CardioMMSize(
    n_cascades=1,
    n_features=4,
    level_widths=(4, 4, 8),
    prompt_widths=(4, 4, 4),
    prompt_sizes=(8, 4, 4),
    sensitivity_features=4,
    sensitivity_level_widths=(4, 4, 8),
    sensitivity_prompt_widths=(4, 4, 4),
    n_prompts=(2, 2, 2),
    embedding_width=8,
)


@pytest.fixture
def options() -> TrainingOptions:
    sampling = Sampling(readout_window=(24, 32), pixel_mm=(5.0, 6.0), largest_matrix=80, largest_radial=80)
    return TrainingOptions(
        steps=2, checkpoint_every=1, size=TINY, sampling=sampling, precision="fp32", monitor_draws=1, warmup_steps=1
    )


@pytest.fixture
def drawn_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phantoms that are quick to draw: one slice, a beat of ten frames that all differ."""

    def cine(patient: Any, *, n_frames: int, rng: np.random.Generator, **given: Any) -> Any:  # noqa: ARG001
        images = rng.random((n_frames, 2, 34, 36)).astype(np.float32)
        return type("Drawn", (), {"images": images})

    def mapping(patient: Any, *, kind: str, **given: Any) -> Any:  # noqa: ARG001
        images = np.linspace(-1 if kind == "T1" else 0.1, 1, 2 * 34 * 36).reshape(2, 34, 36)
        return type("Drawn", (), {"images": images})

    monkeypatch.setattr(train, "render_cine", cine)
    monkeypatch.setattr(train, "render_mapping", mapping)


# --- what is trained on


@pytest.mark.usefixtures("drawn_phantoms")
def test_phantoms_are_watched_by_others_and_keep_their_series() -> None:
    notes: dict[str, Any] = {}
    single, watched = simulated_data(None, 3, options=TrainingOptions(), notes=notes)
    assert {image.source for image in single} == {"phantom000", "phantom001", "phantom002"}
    assert {image.source for image in watched} == {f"phantom00{n}" for n in (3, 4, 5, 6)}
    assert {image.image.ndim for image in single} == {2}
    assert {image.metadata["modality"] for image in single} == {"cine", "T1 mapping", "T2 mapping"}
    assert any(np.iscomplexobj(image.image) for image in single)
    assert notes == {"phantoms": 3, "monitor_phantoms": 4}
    stacked = replace(SMALL, n_adjacent=3, stacked="frames")
    beats, _ = simulated_data(None, 1, options=TrainingOptions(size=stacked), notes={})
    assert {image.image.shape for image in beats} == {(10, 34, 36)}
    assert len(beats) == 2
    # frame 3 of the series is the second single frame that is kept
    np.testing.assert_array_equal(beats[0].image[3], single[2].image)
    with pytest.raises(ConfigProblem, match="ACDC has single frames"):
        simulated_data(Path(), 1, options=TrainingOptions(size=stacked), notes={})


def test_a_cohort_is_divided_by_patient_and_bad_scans_are_named(
    cohort_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = sorted(cohort_copy.rglob("cine_sax.mat"))
    (broken := good[0]).write_bytes(broken.read_bytes()[:2000])
    notes: dict[str, Any] = {}
    data, watched = measured_data(
        CohortData(cohort_copy, monitor_share=0.5), options=TrainingOptions(seed=3), notes=notes
    )
    assert watched is not None
    assert not set(data.patients) & set(watched.patients)
    assert {*data.patients, *watched.patients} == {f"/TestSet/Center001/Siemens/1.5/Aera/P00{n}" for n in (1, 2)}
    assert len(data) + len(watched) == 3
    assert len(notes["cohort_left_out"]) == 1
    assert broken.relative_to(cohort_copy).as_posix() in notes["cohort_left_out"][0]
    assert "training goes on without" in caplog.text
    assert notes["cohort_training"] == list(data.patients)
    cine = TrainingOptions(size=replace(SMALL, n_adjacent=3, stacked="frames"))
    with pytest.raises(ConfigProblem, match="no scan can be trained on, 4 were found"):
        measured_data(CohortData(cohort_copy), options=cine, notes={})  # of two frames each
    with pytest.raises(ConfigProblem, match="too few patients to watch"):
        measured_data(CohortData(cohort_copy, monitor_share=0.01), options=TrainingOptions(), notes={})
    _, nobody = measured_data(CohortData(cohort_copy, monitor_share=0.0), options=TrainingOptions(), notes={})
    assert nobody is None


@pytest.mark.parametrize(
    ("wrong", "message"), [({"monitor_share": 1.0}, "share of monitor"), ({"share": 0.0}, "measured draws")]
)
def test_shares_out_of_range_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        CohortData(Path(), **wrong)


# --- what is typed


def test_options_from_what_is_typed() -> None:
    typed = training_options(size="released", cascades=3, texts="none", adjacent=5, whole_readout=True, steps=7)
    expected = replace(SIZES["released"], n_cascades=3, texts="none", n_adjacent=5, stacked="frames")
    assert typed.size == expected
    assert typed.steps == 7
    assert typed.sampling.readout_window[0] > 1000
    assert training_options(size="small").size == SMALL

    def wide(texts: Any) -> Any:
        return np.zeros((len(texts), 384), np.float32)

    assert training_options(size="small", encoder=wide).size.encoder_width == 384


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": "huge"}, "expected one of small, released"),
        ({"adjacent": 2}, "expected 1, 3 or 5"),
        ({"texts": "all"}, "expected texts to be one of both"),
        ({"precision": "fp8"}, "expected a precision of bf16, fp16, fp32"),
        ({"batch_size": 0}, "batch_size of 1 or more"),
        ({"max_minutes": 0.0}, "more than 0 minutes"),
        ({"patience": -1}, "patience of 0 or more"),
    ],
)
def test_wrong_options_are_one_error(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        training_options(**{"size": "small", **wrong})


def test_a_missing_clip_folder_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match=r"clip.*config\.json: no such file"):
        text_encoder(tmp_path / "clip")
    assert text_encoder(None) is None


# --- what comes out


@pytest.mark.usefixtures("drawn_phantoms")
def test_a_training_on_phantoms_and_a_cohort_leaves_all_files(
    cohort_copy: Path, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "N_MONITOR_PHANTOMS", 1)
    cohort = CohortData(cohort_copy, monitor_share=0.5)
    path = train_reconstruction(acdc=None, n_phantoms=1, out=tmp_path, options=options, cohort=cohort)
    assert load_cardiomm(path).size == TINY
    notes = read_checkpoint(path)["cardioval"]
    assert notes["phantoms"] == 1
    assert len(notes["cohort_monitor"]) == 1
    assert notes["skipped"] == []
    assert {"state.ckpt", "cardiomm.ckpt", "best.ckpt", "log.jsonl", "learning_curves.png"} == {
        file.name for file in tmp_path.iterdir() if file.is_file()
    }
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["monitor_patients"] for entry in log] == [2, 2]  # a phantom and one of the cohort
    shutil.rmtree(next(cohort_copy.rglob("P001")))
    with pytest.raises(ConfigProblem, match="of another training"):
        train_reconstruction(acdc=None, n_phantoms=1, out=tmp_path, options=options, cohort=cohort)


@pytest.mark.usefixtures("drawn_phantoms")
def test_the_command_trains_and_tells_each_check(
    options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SIZES", {"small": TINY})
    monkeypatch.setattr(train, "Sampling", lambda: options.sampling)
    monkeypatch.setattr(train, "N_MONITOR_PHANTOMS", 1)
    called = ["train", "cardiomm", "--out", str(tmp_path), "--phantoms", "1", "--steps", "2", "--check-every", "1"]
    done = CliRunner().invoke(app, [*called, "--texts", "metadata", "--precision", "fp32"])
    assert done.exit_code == 0, done.output
    assert "step 1 of 2" in done.output
    assert "step 2 of 2" in done.output
    assert " dB, " in done.output
    assert load_cardiomm(tmp_path / "cardiomm.ckpt").size.texts == "metadata"
    assert isinstance(CliRunner().invoke(app, [*called, "--texts", "none"]).exception, ConfigProblem)


def test_a_terminal_gets_a_bar_with_loss_psnr_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    for module in (terminal, commands_train):
        monkeypatch.setattr(module, "console", console)
    with commands_train.training_progress() as progress:
        progress(Progress(1, 8, 0.5, None, 0.1, 7.0, False))
        progress(Progress(2, 8, 0.25, 31.5, 0.2, 6.0, True))
    assert "2/8" in screen.getvalue()
    assert "loss 0.2500, monitor 31.50 dB, 6 min left" in screen.getvalue()


def test_no_data_is_refused(options: TrainingOptions, tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="expected training data, got none"):
        train_reconstruction(acdc=None, n_phantoms=0, out=tmp_path, options=options)


def entry(step: int, monitor: float | None) -> str:
    psnr = None if monitor is None else 30 - monitor
    record = {"step": step, "loss": 1 / step, "monitor_loss": monitor, "monitor_psnr": psnr, "learning_rate": 1e-3}
    return json.dumps(record) + "\n"


@pytest.mark.parametrize("monitor", [0.5, None])
def test_learning_curves_are_drawn_again_from_the_log(tmp_path: Path, monitor: float | None) -> None:
    (tmp_path / "log.jsonl").write_text(entry(1, monitor) + entry(2, monitor))
    before = draw_learning_curves(tmp_path).read_bytes()
    assert matplotlib.image.imread(tmp_path / "learning_curves.png").shape == (360, 1080, 4)
    (tmp_path / "learning_curves.png").unlink()
    assert draw_learning_curves(tmp_path).read_bytes() == before
    (tmp_path / "log.jsonl").write_text(entry(1, monitor) + entry(2, monitor) + entry(3, 0.1))
    assert draw_learning_curves(tmp_path).read_bytes() != before


def test_a_log_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no log"):
        draw_learning_curves(tmp_path)
    for content in ("", "{}\n", "3\n", "no json\n"):
        (tmp_path / "log.jsonl").write_text(content)
        with pytest.raises(UnreadableFile, match="expected"):
            draw_learning_curves(tmp_path)
