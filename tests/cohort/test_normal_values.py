"""Are normal values those of one study, one field, one sequence, with a source?"""

import re

import pytest

from cohort.normal_values import NORMAL_VALUES, NormalValue, normal_range
from cohort.phenotypes import VOCABULARY


def test_every_row_has_a_source_and_plausible_numbers() -> None:
    for row in NORMAL_VALUES:
        assert re.search(r"doi 10\.\d{4,}/\S+$", row.source), row
        assert 0 < row.sd < 0.25 * row.mean
        assert row.n >= 10
        assert row.phenotype in VOCABULARY or row.phenotype == "ecv_percent"
        if row.phenotype in VOCABULARY:
            assert VOCABULARY[row.phenotype].is_plausible(row.mean)


def test_range_of_one_study() -> None:
    found = normal_range("t1_ms", field_t=3.0, sequence="molli", scheme="3(3)3(3)5", vendor="Philips")
    assert found.reason == ""
    assert [(row.mean, row.sd) for row in found.values] == [(1052, 23)]
    assert found.values[0].low == pytest.approx(1052 - 1.96 * 23)
    assert found.values[0].high == pytest.approx(1052 + 1.96 * 23)
    assert "10.1186/s12968-014-0069-x" in found.values[0].text


def test_studies_that_differ_are_listed_and_not_pooled() -> None:
    found = normal_range("t1_ms", field_t=1.494, sequence="MOLLI", scheme="3(3)3(3)5")
    assert sorted(row.mean for row in found.values) == [950, 1017]


def test_septal_values_use_the_same_table() -> None:
    assert normal_range("septal_t1_ms", field_t=1.5, sequence="ShMOLLI") == normal_range(
        "t1_ms", field_t=1.5, sequence="ShMOLLI"
    )


@pytest.mark.parametrize(
    ("phenotype", "field_t", "sequence", "reason"),
    [
        ("t1rho_ms", 1.5, None, "no verified normal values of T1ρ are in the table"),
        ("t1_ms", 0.55, "MOLLI", "at 0.55 T (there are for 1.5, 3, 5 T)"),
        ("t2_ms", 3.0, "T2-prepared FLASH", "for T2-prepared FLASH (there are for GraSE)"),
        ("lv_edv_ml", 1.5, None, "no verified normal values of LVEDV"),
    ],
)
def test_without_a_source_there_is_none_and_a_reason(
    phenotype: str, field_t: float, sequence: str | None, reason: str
) -> None:
    found = normal_range(phenotype, field_t=field_t, sequence=sequence)
    assert found.values == ()
    assert reason in found.reason


def test_unknown_sequence_is_said() -> None:
    found = normal_range("t1_ms", field_t=3.0)
    assert len({row.sequence for row in found.values}) > 1
    assert "not comparable" in found.reason


def test_table_can_be_the_sites_own() -> None:
    own = NormalValue("t1_ms", 5.0, "MOLLI", "5(3)3", "UIH", 1500, 40, "ms", 50, "in-house, doi 10.1000/none")
    assert normal_range("t1_ms", field_t=5.0, sequence="MOLLI", table=(own,)).values == (own,)
