"""Configurations: defaults, conversions, and one clear error for each mistake."""

from pathlib import Path

import pytest

from cohort.records import ConfigProblem, MissingFile
from flows.config import Arm, ValidationConfig, load_config, prepare_environment

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
