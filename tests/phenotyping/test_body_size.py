"""Is the body surface that of the published formulas?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.records import MeasurementFailed
from phenotyping.body_size import body_surface_area_m2


def test_published_examples() -> None:
    """180 cm and 80 kg: Mosteller gives 2 m2 exactly, Du Bois 1.996 m2 (their equation worked by hand)."""
    assert body_surface_area_m2(height_cm=180, weight_kg=80, formula="mosteller") == pytest.approx(2.0)
    assert body_surface_area_m2(height_cm=180, weight_kg=80, formula="dubois") == pytest.approx(1.996, abs=5e-4)


@given(height=st.floats(140, 205), weight=st.floats(40, 130))
def test_adults_differ_little_between_the_formulas(height: float, weight: float) -> None:
    one, other = (
        body_surface_area_m2(height_cm=height, weight_kg=weight, formula=formula)  # type: ignore[arg-type]
        for formula in ("mosteller", "dubois")
    )
    assert one == pytest.approx(other, rel=0.2)


@pytest.mark.parametrize(
    ("height", "weight", "words"),
    [(1.8, 80, "height must be 40 to 250 cm"), (180, 80_000, "weight must be"), (float("nan"), 80, "check its unit")],
)
def test_wrong_units_are_refused(height: float, weight: float, words: str) -> None:
    with pytest.raises(MeasurementFailed, match=words):
        body_surface_area_m2(height_cm=height, weight_kg=weight, formula="mosteller")


def test_unknown_formula() -> None:
    with pytest.raises(MeasurementFailed, match="'mosteller' or 'dubois'"):
        body_surface_area_m2(height_cm=180, weight_kg=80, formula="haycock")  # type: ignore[arg-type]
