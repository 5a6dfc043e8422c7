"""Is the truth of the beating heart exact?"""

import math
from dataclasses import replace

import numpy as np
import pytest

from cohort.synthetic.cardiac_cycle import CycleTiming, filling
from cohort.synthetic.phantom import Heart, RightVentricle, quadrature, truncated_spheroid_ml
from cohort.synthetic.population import DISEASES, draw_patient
from cohort.synthetic.segments import SEGMENTS, middle_of, segment_of, spread
from cohort.synthetic.truth import wall_thickness_mm

TIMING = CycleTiming()
RIGHT = RightVentricle(
    edv_ml=150,
    ef=0.55,
    timing=TIMING,
    half_angle_rad=(0.7, 1.2),
    center_rad=0.0,
    roundness=0.7,
    skew=-0.2,
    start_u=0.1,
    taper=0.5,
    wall_mm=3.0,
)
PLAIN = Heart(
    a_mm=26.0,
    c_mm=62.0,
    base_ratio=0.4,
    harmonics=(),
    wall_mm=(8.0,) * 16,
    apex_mm=6.0,
    ef=0.6,
    shortening_mm=13.0,
    motility=(1.0,) * 16,
    focal=(False,) * 16,
    timing=TIMING,
    right=RIGHT,
)
KNOTS = (0.0, 0.25, 0.55, 0.85, 1.0)


def integral_ml(heart: Heart, phase: float, outer: str, inner: str | None, knots: tuple[float, ...]) -> float:
    """Volume between two surfaces by quadrature, without any of the closed forms."""
    theta, u, weight = quadrature(knots, n_theta=1440, n_panel=40)
    surfaces = heart.surfaces(theta, u, phase)
    area = getattr(surfaces, outer) - (getattr(surfaces, inner) if inner else 0.0)
    return float((weight * area).sum() / 2 * heart.long_axis_mm(phase) / 1000)


def test_a_whole_spheroid_has_the_textbook_volume() -> None:
    assert truncated_spheroid_ml(20, 50, base_mm=50) == pytest.approx(4 / 3 * math.pi * 20**2 * 50 / 1000, rel=1e-14)
    assert truncated_spheroid_ml(20, 50, base_mm=0) == pytest.approx(2 / 3 * math.pi * 20**2 * 50 / 1000, rel=1e-14)


def test_quadrature_of_a_plain_spheroid_is_its_closed_form() -> None:
    assert integral_ml(PLAIN, 0.0, "endocardium", None, KNOTS) == pytest.approx(PLAIN.lv_edv_ml, rel=1e-8)


def test_harmonics_add_half_their_squares() -> None:
    oval = replace(PLAIN, harmonics=((2, 0.06, 1.0), (3, 0.02, 2.0)))
    assert oval.lv_edv_ml == pytest.approx(PLAIN.lv_edv_ml * (1 + (0.06**2 + 0.02**2) / 2), rel=1e-12)
    assert integral_ml(oval, 0.0, "endocardium", None, KNOTS) == pytest.approx(oval.lv_edv_ml, rel=1e-8)


@pytest.mark.parametrize("disease", DISEASES)
def test_muscle_keeps_its_volume_and_cavities_follow_their_curves(disease: str) -> None:
    heart = draw_patient(disease, rng=np.random.default_rng(11), field_t=1.5).heart
    wall = (heart.apex_u, 0.0, 0.2, *KNOTS[1:])
    for phase in (0.0, 0.2, 0.37, 0.5, 0.9):
        muscle = integral_ml(heart, phase, "epicardium", "endocardium", wall)
        assert muscle == pytest.approx(heart.muscle_volume_ml, rel=1e-5)
        left = integral_ml(heart, phase, "endocardium", None, KNOTS)
        assert left == pytest.approx(float(heart.lv_volume_ml(phase)), rel=1e-6)
        right = integral_ml(heart, phase, "right_cavity", "epicardium", (heart.right.start_u, *KNOTS[1:]))
        assert right == pytest.approx(float(heart.rv_volume_ml(phase)), rel=2e-3)


def test_surfaces_are_nested_and_the_apex_is_closed() -> None:
    heart = draw_patient("hypertrophic", rng=np.random.default_rng(2), field_t=1.5).heart
    theta = np.linspace(0, 2 * np.pi, 90)[:, None]
    u = np.linspace(heart.apex_u - 0.1, 1.1, 120)[None, :]
    for phase in (0.0, 0.38):
        s = heart.surfaces(theta, u, phase)
        assert np.all(s.endocardium <= s.epicardium + 1e-9)
        assert np.all(s.epicardium <= s.right_cavity + 1e-9)
        assert np.all(s.right_cavity <= s.right_wall + 1e-9)
        assert np.all(s.right_wall[:, u[0] < heart.apex_u] == 0)
        assert np.all(s.right_wall[:, u[0] > 1.001] == 0)


def test_thickness_at_end_diastole_is_the_prescribed_one() -> None:
    heart = draw_patient("normal", rng=np.random.default_rng(5), field_t=1.5).heart
    for segment in SEGMENTS:
        surfaces = heart.surfaces(*middle_of(segment), 0.0)
        radial = float(np.sqrt(surfaces.epicardium) - np.sqrt(surfaces.endocardium))
        assert radial == pytest.approx(heart.wall_mm[segment - 1], rel=1e-12)
        assert segment_of(*middle_of(segment)) == segment
    measured = wall_thickness_mm(heart, phase=0.0)
    assert measured["global"]["radial_max"] == pytest.approx(max(heart.wall_mm), rel=0.01)
    for segment in map(str, SEGMENTS):
        assert measured[segment]["normal_mean"] <= measured[segment]["radial_mean"] + 1e-6


def test_normal_thickness_of_a_nearly_straight_tube_is_the_radial_one() -> None:
    tube = replace(PLAIN, c_mm=3000.0, base_ratio=0.02, a_mm=25.0, shortening_mm=13.0, wall_mm=(9.0,) * 16)
    basal = wall_thickness_mm(tube, phase=0.0)["1"]
    assert basal["radial_mean"] == pytest.approx(9.0, rel=1e-9)
    assert basal["normal_mean"] == pytest.approx(9.0, rel=1e-3)


def test_infarcted_segments_are_thin_and_hardly_thicken() -> None:
    heart = draw_patient("infarct", rng=np.random.default_rng(4), field_t=1.5).heart
    ed, es = wall_thickness_mm(heart, phase=0.0), wall_thickness_mm(heart, phase=0.38)
    scar = [str(k) for k in SEGMENTS if heart.focal[k - 1]]
    remote = [str(k) for k in SEGMENTS if not heart.focal[k - 1]]
    thickening = {k: es[k]["radial_mean"] / ed[k]["radial_mean"] - 1 for k in scar + remote}
    assert max(ed[k]["radial_mean"] for k in scar) < np.mean([ed[k]["radial_mean"] for k in remote])
    assert np.mean([thickening[k] for k in scar]) < 0.5 * np.mean([thickening[k] for k in remote])
    theta, u = middle_of(int(scar[0]))
    motion = np.sqrt(heart.surfaces(theta, u, 0.38).endocardium / heart.surfaces(theta, u, 0.0).endocardium)
    assert motion == pytest.approx(1, abs=0.05)


def test_the_cycle_starts_full_rests_empty_and_closes() -> None:
    phase = np.linspace(0, 1, 2001)
    full = filling(phase, TIMING)
    assert full[0] == full[-1] == pytest.approx(1)
    assert full.min() == pytest.approx(0, abs=1e-12)
    assert np.all(full[(phase >= TIMING.ejection_end) & (phase <= TIMING.relaxation_end)] < 1e-9)
    assert np.all(np.diff(full[phase <= TIMING.ejection_end]) <= 0)
    assert np.all(np.diff(full[phase >= TIMING.relaxation_end]) >= 0)
    assert filling(1.25, TIMING) == pytest.approx(filling(0.25, TIMING))


def test_spread_values_stay_within_their_range_and_a_constant_stays() -> None:
    theta, u = np.linspace(0, 2 * np.pi, 200)[:, None], np.linspace(0, 1, 50)[None, :]
    assert np.allclose(spread((3.0,) * 16, theta, u), 3.0, atol=1e-12)
    values = tuple(float(k) for k in SEGMENTS)
    assert spread(values, theta, u).min() >= 1
    assert spread(values, theta, u).max() <= 16


def test_impossible_hearts_are_refused() -> None:
    with pytest.raises(ValueError, match="base motion of 60"):
        replace(PLAIN, shortening_mm=60.0)
    with pytest.raises(ValueError, match="motile segments cannot eject"):
        replace(PLAIN, ef=0.8, motility=(0.0,) * 12 + (1.0,) * 4)
    with pytest.raises(ValueError, match="16 segments"):
        replace(PLAIN, wall_mm=(8.0,) * 17)
    with pytest.raises(ValueError, match="one after the other"):
        CycleTiming(ejection_end=0.5, relaxation_end=0.4)
