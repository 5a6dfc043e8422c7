"""The steps of one scan that can be looked at alone."""

from pathlib import Path

import numpy as np
import pytest

from cohort.records import ConfigProblem, UnreadableFile
from flows.config import Reconstruction, ValidationConfig
from flows.measure import mean_dice, planned
from flows.measured_values import Value, middle_slice, row_of
from flows.stages import readout_oversampling, text_encoder, upright, upright_spacing

HERE = Path("scan.mat")


@pytest.mark.parametrize(
    ("info", "n_readout", "factor"),
    [
        ({"ReadOutOversample": 2.0}, 256, 2),
        ({"ReadOutOversample": 1.0}, 256, 1),
        ({"ReconMatrix_X": 128.0}, 256, 2),
        ({"ReconMatrix_X": 208.0}, 418, 2),
        ({"ReconMatrix_X": 256.0}, 256, 1),
    ],
)
def test_oversampling_from_the_header(info: dict[str, float], n_readout: int, factor: int) -> None:
    assert readout_oversampling(info, n_readout, path=HERE) == factor


def test_oversampling_is_never_guessed() -> None:
    with pytest.raises(UnreadableFile, match="neither ReadOutOversample nor ReconMatrix_X"):
        readout_oversampling({}, 256, path=HERE)
    with pytest.raises(UnreadableFile, match="no multiple"):
        readout_oversampling({"ReadOutOversample": 2.0}, 255, path=HERE)


def test_upright_is_its_own_inverse(rng: np.random.Generator) -> None:
    image = rng.normal(size=(2, 3, 4, 5))
    assert upright(image).shape == (2, 3, 5, 4)
    assert np.array_equal(upright(upright(image)), image)
    assert upright_spacing((8.0, 2.0, 1.5)) == (8.0, 1.5, 2.0)


def test_missing_text_encoder_is_a_configuration_problem(tmp_path: Path) -> None:
    config = ValidationConfig(
        name="x", cohort=tmp_path, out=tmp_path, reconstruction=Reconstruction(clip_folder=str(tmp_path / "none"))
    )
    with pytest.raises(ConfigProblem, match=r"clip_folder.*no such file"):
        text_encoder(config)


def test_dice_is_averaged_over_the_frames_that_have_the_structure() -> None:
    assert mean_dice("dice_rv", [0.8, None, 0.6]).value == pytest.approx(0.7)
    nowhere = mean_dice("dice_rv", [None, None])
    assert (nowhere.status, nowhere.reason) == ("failed", "neither the labels nor the truth have the structure")


def test_cardiac_output_is_planned_only_for_whole_cycles() -> None:
    assert "lv_co_l_min" in planned("cine", n_frames=10)
    assert "lv_co_l_min" not in planned("cine", n_frames=2)
    assert planned("T1 mapping", n_frames=8) == ["t1_ms", "septal_t1_ms"]
    assert planned("perfusion", n_frames=8) == []


def test_a_number_that_is_none_is_a_failure() -> None:
    row = row_of(Value("lv_edv_ml", float("nan")))
    assert row["status"] == "failed"
    assert row["value"] is None
    assert "not a finite number" in row["reason"]


def test_middle_slice_is_where_the_ventricle_is() -> None:
    labels = np.zeros((9, 4, 4), np.uint8)
    labels[2:7, 1, 1] = 1
    assert middle_slice(labels) == 4
    assert middle_slice(np.zeros((9, 4, 4), np.uint8)) == 4
