"""Configurations: defaults, conversions, and one clear error for each mistake."""

from pathlib import Path

import pytest

import flows.config
from cohort.geometry_rules import SHIPPED_RULES, GeometryRule
from cohort.records import ConfigProblem, MissingFile
from flows.config import Arm, ValidationConfig, load_config, prepare_environment
from flows.outcome import write_run_record

GOOD = """
[study]
name = "trial"
cohort = "data"
out = "results"
[undersampling]
patterns = [["Uniform", 4], ["ktRadial", 24]]
[reconstruction]
methods = ["sense"]
[statistics]
confidence = 0.9
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_values_and_relative_paths(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert config.cohort == (tmp_path / "data").resolve()
    assert config.arms() == (Arm("sense", "Uniform", 4.0), Arm("sense", "ktRadial", 24.0))
    assert [arm.name for arm in config.arms()] == ["sense_Uniform4", "sense_ktRadial24"]
    assert config.statistics.confidence == 0.9
    assert config.statistics.alpha == 0.05


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "trial"', "", r"\[study\] needs name"),
        ("[statistics]", "[statistic]", "unknown section statistic"),
        ("confidence = 0.9", "confidense = 0.9", "unknown key confidense; known are"),
        ("confidence = 0.9", 'confidence = "high"', "expected float"),
        ("confidence = 0.9", "confidence = 0.2", "between 0.5 and 1"),
        ('["sense"]', '["magic"]', "unknown method 'magic'; known are zero_filled"),
        ('["Uniform", 4]', '["Spiral", 4]', "unknown pattern 'Spiral'"),
        ('["Uniform", 4]', '["Uniform", 1]', "acceleration must be above 1"),
        ('["Uniform", 4]', '["ktRadial", 24]', "asked for twice"),
        ('["Uniform", 4]', '"Uniform"', "expected pairs"),
        ("[study]", "[study", "not a TOML file"),
    ],
)
def test_each_mistake_has_its_message(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        load_config(write(tmp_path, GOOD.replace(old, new)))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no such configuration"):
        load_config(tmp_path / "nothing.toml")


def test_running_does_not_change_the_science(tmp_path: Path) -> None:
    first = load_config(write(tmp_path, GOOD))
    second = load_config(write(tmp_path, GOOD + "\n[running]\nworkers = 7\n"))
    assert second.running.workers == 7
    assert first.science() == second.science()


def test_the_users_environment_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    prepare_environment()
    import os

    assert os.environ["PREFECT_HOME"] == str(tmp_path / "home")
    assert (tmp_path / "home").is_dir()


def test_defaults_are_a_valid_study(tmp_path: Path) -> None:
    assert len(ValidationConfig(name="x", cohort=tmp_path, out=tmp_path).arms()) == 9


def test_conventions_and_geometry_rules(tmp_path: Path) -> None:
    text = """
[phenotypes]
lv_slices = "as_segmented"
body_surface = "dubois"
[geometry]
[[geometry.rule]]
vendor = "GE"
slice_thickness_mm = 8
slice_pitch_mm = 10
slice_order = "apex_first"
"""
    config = load_config(write(tmp_path, GOOD + text))
    assert (config.phenotypes.lv_slices, config.phenotypes.rv_phases) == ("as_segmented", "lv")
    rule = GeometryRule(vendor="GE", slice_thickness_mm=8.0, slice_pitch_mm=10.0, slice_order="apex_first")
    assert config.geometry.rules()[0] == rule
    assert config.geometry.rules()[1:] == SHIPPED_RULES
    alone = load_config(write(tmp_path, GOOD + text.replace("[geometry]\n", "[geometry]\nshipped_rules = false\n")))
    assert alone.geometry.rules() == (rule,)
    assert config.science() != alone.science()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[phenotypes]\nlv_slices = "all"', "phenotypes.lv_slices: expected half_ring, as_segmented, got 'all'"),
        ('[phenotypes]\nbody_surface = "haycock"', "expected mosteller, dubois"),
        ('[[geometry.rule]]\nmodel = "Vida"', "unknown key model; known are center"),
        ('[[geometry.rule]]\nvendor = "GE"', "states none of"),
        ('[[geometry.rule]]\nslice_pitch_mm = "wide"', "expected float"),
        ("[geometry]\nrule = 3", "expected tables"),
        ("[geometry]\nshipped_rules = 1", "expected bool"),
    ],
)
def test_mistakes_in_conventions(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        load_config(write(tmp_path, f"{GOOD}\n{text}\n"))


def test_the_record_of_a_run_reads_back(tmp_path: Path) -> None:
    """run.toml is a configuration: conventions and rules come back the same, a missing condition too."""
    table = '[segmentation]\nlabel_map = { 1 = "RV cavity", 3 = 1 }\n'
    table += '[[geometry.rule]]\nscanner = "Vida"\nslice_pitch_mm = 12.0\n[phenotypes]\nrv_slices = "with_lv"\n'
    config = load_config(write(tmp_path, GOOD + table))
    assert config.segmentation.label_map == {"1": "RV cavity", "3": 1}
    write_run_record(config, {})
    assert load_config(config.out / "run.toml").science() == config.science()


def test_the_example_states_the_defaults(tmp_path: Path) -> None:
    example = load_config(Path(flows.config.__file__).parent / "configs/example.toml")
    assert example.science() == ValidationConfig(name="x", cohort=tmp_path, out=tmp_path).science()
