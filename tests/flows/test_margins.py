"""The margins file: the proposal that comes with the project, and what is refused."""

from pathlib import Path

import pytest

from cohort.records import ConfigProblem, MissingFile
from flows.margins import PROPOSED, load_margins

GOOD = 'origin = "clinic"\n[margins.lv_ef_percent]\nbias = 3\nlimits = 8.0\nunit = "points"\n'


def test_proposal() -> None:
    margins = load_margins()
    assert "to be confirmed by a clinician" in margins.origin
    assert len(margins.by_phenotype) == 14
    ejection = margins.by_phenotype["lv_ef_percent"]
    assert (ejection.bias, ejection.limits, ejection.unit) == (3.0, 8.0, "points")
    assert all(margin.bias < margin.limits and margin.source for margin in margins.by_phenotype.values())


def test_proposal_is_the_reference_table(shared_data: Path) -> None:
    import json

    from cohort.phenotypes import VOCABULARY

    rows = json.loads((shared_data / "reference/statistics/22_margins.json").read_text())["rows"]
    expected = {row["phenotype"]: (row["bias_margin"], row["loa_margin"]) for row in rows}
    ours = {VOCABULARY[name].margin_key: (m.bias, m.limits) for name, m in load_margins().by_phenotype.items()}
    assert ours == expected


def test_one_direction_may_be_worse_than_the_other(tmp_path: Path) -> None:
    file = tmp_path / "margins.toml"
    file.write_text(GOOD.replace("bias = 3", "bias_lower = -2\nbias_upper = 4.5"))
    margin = load_margins(file).by_phenotype["lv_ef_percent"]
    assert (margin.lower, margin.upper, margin.bias, margin.symmetric) == (-2.0, 4.5, 4.5, False)
    assert margin.bias_text == "\u22122 to 4.5"
    plain = load_margins().by_phenotype["lv_ef_percent"]
    assert (plain.lower, plain.upper, plain.symmetric, plain.bias_text) == (-3.0, 3.0, True, "±3")


def test_hash_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "margins.toml"
    file.write_text(GOOD)
    margins = load_margins(file)
    assert margins.by_phenotype["lv_ef_percent"].bias == 3.0
    file.write_text(GOOD + "# a word\n")
    assert load_margins(file).sha256 != margins.sha256 != load_margins(PROPOSED).sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("origin =", "not a TOML file"),
        (GOOD.replace("origin", "author"), "expected `origin`"),
        ('origin = "clinic"\n', "tables"),
        (GOOD.replace("lv_ef_percent", "lvef"), "no phenotype is called lvef; known are lv_edv_ml"),
        (GOOD.replace("bias = 3", "bias = -3"), "margins.lv_ef_percent.bias must be a number above 0, got -3"),
        (GOOD.replace("limits = 8.0", "limits = nan"), "limits must be a number above 0, got nan"),
        (GOOD.replace('unit = "points"', ""), "unit must name the unit"),
        (GOOD.replace("bias = 3", "bias_lower = -3"), "needs either bias, or bias_lower and bias_upper"),
        (GOOD.replace("bias = 3", "bias = 3\nbias_lower = -3\nbias_upper = 4"), "needs either bias, or"),
        (GOOD.replace("bias = 3", "bias_lower = 3\nbias_upper = 4"), "bias_lower must be a number below 0, got 3"),
        ('origin = "clinic"\n[margins]\nlv_ef_percent = 3\n', "must be a table"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "margins.toml"
    file.write_text(text)
    with pytest.raises(ConfigProblem, match=message):
        load_margins(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no such margins file"):
        load_margins(tmp_path / "none.toml")
