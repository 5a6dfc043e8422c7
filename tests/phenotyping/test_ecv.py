"""Is the extracellular volume that which made the T1 values?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.records import MeasurementFailed
from phenotyping.ecv import TREIBEL_MOLLI_1_5T, SyntheticHematocrit, extracellular_volume


@given(ecv=st.floats(0.1, 0.7), hematocrit=st.floats(0.2, 0.6), agent=st.floats(0.2, 3.0), native=st.floats(700, 1600))
def test_agent_in_the_extracellular_space_gives_it_back(
    ecv: float, hematocrit: float, agent: float, native: float
) -> None:
    """Agent of rate `agent` (1/s) in plasma and interstitium alike: blood's rate rises by (1 - Hct) of it, tissue's by
    ECV."""
    blood = 1700.0
    post = 1 / (1 / native + ecv * agent / 1000)
    post_blood = 1 / (1 / blood + (1 - hematocrit) * agent / 1000)
    found = extracellular_volume(
        native_ms=native, post_ms=post, native_blood_ms=blood, post_blood_ms=post_blood, hematocrit=hematocrit
    )
    assert float(found.ecv) == pytest.approx(ecv, rel=1e-9)
    assert float(found.lambda_) == pytest.approx(ecv / (1 - hematocrit), rel=1e-9)
    assert (found.synthetic, found.protocol) == (False, "measured")


def test_maps_and_missing_pixels() -> None:
    native = np.array([[1000.0, np.nan], [0.0, 1100.0]])
    post = np.array([[500.0, 500.0], [500.0, 1200.0]])
    found = extracellular_volume(
        native_ms=native, post_ms=post, native_blood_ms=1600.0, post_blood_ms=400.0, hematocrit=0.4
    )
    assert found.ecv[0, 0] == pytest.approx(0.6 * 0.001 / 0.001875)
    assert np.isnan(found.ecv[0, 1])
    assert np.isnan(found.ecv[1, 0])
    assert found.ecv[1, 1] < 0  # T1 rose: nothing hides that


def test_synthetic_hematocrit_is_flagged_and_named() -> None:
    found = extracellular_volume(
        native_ms=1000.0, post_ms=500.0, native_blood_ms=1550.0, post_blood_ms=400.0, synthetic=TREIBEL_MOLLI_1_5T
    )
    assert found.synthetic
    assert "1.5 T" in found.protocol
    assert found.hematocrit == pytest.approx(866 / 1550 - 0.1232)
    own = SyntheticHematocrit("ours", 800.0, -0.1, "in-house regression")
    assert own.estimate(1600.0) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"hematocrit": None}, "either a measured hematocrit"),
        ({"synthetic": TREIBEL_MOLLI_1_5T}, "either a measured hematocrit"),
        ({"hematocrit": 42.0}, "fraction between 0 and 1, got 42"),
        ({"post_blood_ms": 1700.0}, "shorter T1 after contrast"),
        ({"post_ms": np.ones(3)}, "one shape"),
        ({"hematocrit": None, "synthetic": TREIBEL_MOLLI_1_5T, "native_blood_ms": 5000.0}, "this scanner and sequence"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], match: str) -> None:
    good: dict[str, object] = {
        "native_ms": 1000.0,
        "post_ms": 500.0,
        "native_blood_ms": 1600.0,
        "post_blood_ms": 400.0,
        "hematocrit": 0.42,
    }
    with pytest.raises(MeasurementFailed, match=match):
        extracellular_volume(**{**good, **change})  # type: ignore[arg-type]
