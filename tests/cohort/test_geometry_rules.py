"""Does the first rule that fits decide, and only what it states?"""

import pytest

from cohort.geometry import scan_geometry
from cohort.geometry_rules import (
    SHIPPED_RULES,
    GeometryRule,
    ScanKind,
    known_fov_x,
    known_slice_order,
    known_slice_pitch_mm,
)
from cohort.records import ConfigProblem, MeasurementFailed

VIDA = ScanKind(scanner="Siemens_30T_Vida", vendor="Siemens", center="Center001", modality="cine")


def test_the_first_rule_that_states_a_property_decides_it() -> None:
    rules = (
        GeometryRule(scanner="vida", slice_order="base_first"),
        GeometryRule(vendor="SIEMENS", fov_x="oversampled", slice_order="apex_first"),
        GeometryRule(scanner="Vida", fov_x="nominal", slice_pitch_mm=11.0),
    )
    assert known_slice_order(rules, VIDA) == "base_first"
    assert known_fov_x(rules, VIDA) == "oversampled"
    assert known_slice_pitch_mm(rules, VIDA, slice_thickness_mm=8.0) == 11.0


@pytest.mark.parametrize("condition", [{"center": "Center002"}, {"modality": "T1 mapping"}, {"vendor": "GE"}])
def test_a_rule_of_other_scans_does_not_fit(condition: dict[str, str]) -> None:
    rules = (GeometryRule(**condition, fov_x="nominal", slice_order="base_first"),)  # type: ignore[arg-type]
    assert known_fov_x(rules, VIDA) is None
    assert known_slice_order(rules, VIDA) == "anatomy"


@pytest.mark.parametrize(("asked", "stated", "fits"), [(None, 8.0, 1), (8.0, 8.0, 1), (8.0, 6.0, 0), (0.0, None, 1)])
def test_the_pitch_belongs_to_a_thickness(asked: float | None, stated: float | None, fits: int) -> None:
    rules = (GeometryRule(slice_thickness_mm=asked, slice_pitch_mm=12.0),)
    assert (known_slice_pitch_mm(rules, VIDA, slice_thickness_mm=stated) == 12.0) is bool(fits)


def test_models_without_their_vendor() -> None:
    assert known_fov_x(SHIPPED_RULES, ScanKind(scanner="umr780")) == "oversampled"
    assert known_fov_x(SHIPPED_RULES, ScanKind(scanner="IngeniaCX")) == "nominal"
    assert known_fov_x(SHIPPED_RULES, ScanKind(scanner="voyager", vendor="GE")) is None


def test_a_study_rule_replaces_the_assumption() -> None:
    """Without a rule the pitch of this scan is its thickness, assumed; with one it is known."""
    info = {"FOVx": 300.0, "FOVy": 300.0, "ReadOutOversample": 2.0, "SliceThickness": 8.0, "FOVxSpans": "nominal"}
    shape = (12, 6, 10, 150, 150)
    rule = GeometryRule(vendor="GE", center="Center003", slice_pitch_mm=10.0)
    for center, pitch_mm, confidence in (("Center003", 10.0, "table"), ("Center004", 8.0, "assumed")):
        found = scan_geometry(
            info, shape=shape, scanner="voyager", vendor="GE", center=center, rules=(rule, *SHIPPED_RULES)
        )
        assert (found.spacing_mm[0], found.confidence) == (pitch_mm, confidence)
    with pytest.raises(MeasurementFailed, match="or a geometry rule"):
        scan_geometry({k: v for k, v in info.items() if k != "SliceThickness"}, shape=shape, scanner="voyager")


def test_what_the_header_states_goes_before_the_rules() -> None:
    info = {"FOVx": 300.0, "FOVy": 300.0, "ReadOutOversample": 2.0, "SlicePitch": 9.0}
    found = scan_geometry(
        info, shape=(12, 6, 10, 150, 150), scanner="Vida", rules=(GeometryRule(slice_pitch_mm=12.0, fov_x="nominal"),)
    )
    assert found.spacing_mm[0] == 9.0


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"fov_x": "half"}, "fov_x is 'nominal' or 'oversampled', not 'half'"),
        ({"slice_order": "up"}, "slice_order is 'anatomy' or"),
        ({"slice_pitch_mm": -1.0}, "cannot be negative"),
        ({"vendor": "GE"}, "states none of"),
    ],
)
def test_a_rule_without_sense_is_refused(rule: dict, words: str) -> None:
    with pytest.raises(ConfigProblem, match=words):
        GeometryRule(**rule)
