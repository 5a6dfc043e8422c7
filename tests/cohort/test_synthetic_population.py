"""Are synthetic patients distributed as they should be, repeatable, and of one random source?"""

import numpy as np
import pytest

from cohort.synthetic.phantom import MUSCLE_DENSITY_G_PER_ML
from cohort.synthetic.population import DISEASES, HYPERTROPHIC_WALL_MM, SyntheticPatient, draw_patient
from cohort.synthetic.tissues import FIELDS_T, TISSUE_NAMES, tissues_at


def draw(disease: str, seed: int, field_t: float = 1.5) -> SyntheticPatient:
    return draw_patient(disease, rng=np.random.default_rng(seed), field_t=field_t)


def test_one_seed_repeats_and_two_differ() -> None:
    assert draw("infarct", 1) == draw("infarct", 1)
    assert draw("infarct", 1) != draw("infarct", 2)


def test_the_global_random_state_is_untouched() -> None:
    before = np.random.get_state()  # noqa: NPY002  the state that must not move
    draw("normal", 3)
    after = np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert np.array_equal(before[1], after[1])


def test_healthy_ventricles_eject_nearly_the_same() -> None:
    for seed in range(12):
        heart = draw("normal", seed).heart
        assert abs(heart.lv_edv_ml * heart.ef - heart.right.edv_ml * heart.right.ef) < 5


def test_healthy_means_are_near_the_published_ones() -> None:
    patients = [draw("normal", seed) for seed in range(40)]
    for sex, edv, ef, mass in (("male", 166, 58, 103), ("female", 124, 61, 70)):
        hearts = [p.heart for p in patients if p.sex == sex]
        assert np.mean([h.lv_edv_ml for h in hearts]) == pytest.approx(edv, rel=0.12)
        assert np.mean([100 * h.ef for h in hearts]) == pytest.approx(ef, abs=3)
        assert np.mean([h.lv_mass_g for h in hearts]) == pytest.approx(mass, rel=0.15)


@pytest.mark.parametrize("disease", DISEASES)
def test_each_disease_meets_its_definition(disease: str) -> None:
    for seed in range(8):
        patient = draw(disease, seed, 3.0)
        heart = patient.heart
        assert 45 <= patient.heart_rate_bpm <= 110
        assert min(heart.wall_mm) > 2
        assert heart.lv_mass_g == pytest.approx(heart.muscle_volume_ml * MUSCLE_DENSITY_G_PER_ML)
        assert any(heart.focal) == (disease == "infarct")
        if disease == "dilated":
            assert heart.ef < 0.40
        if disease == "hypertrophic":
            assert max(heart.wall_mm) >= HYPERTROPHIC_WALL_MM
        if disease == "rv_overload":
            assert heart.right.ef < 0.40


def test_the_tissue_table_is_the_specified_one() -> None:
    # T1 / T2 of the specification (phantom.md): blood, myocardium, fat, muscle, liver
    expected = {
        1.5: ((1550, 250), (1000, 50), (290, 85), (1000, 45), (580, 46)),
        3.0: ((1900, 180), (1200, 45), (370, 75), (1400, 40), (800, 34)),
        0.55: ((1150, 260), (700, 58), (190, 93), (600, 50), (340, 66)),
        5.0: ((2130, 110), (1450, 38), (420, 60), (1500, 32), (950, 28)),
    }
    for field_t in FIELDS_T:
        table = {t.name: (t.t1_ms, t.t2_ms) for t in tissues_at(field_t)}
        assert tuple(table) == TISSUE_NAMES
        names = ("blood", "myocardium", "fat", "muscle", "liver")
        assert tuple(table[name] for name in names) == expected[field_t]


def test_unknown_diseases_and_fields_are_named() -> None:
    with pytest.raises(ValueError, match="no disease 'flu'"):
        draw("flu", 0)
    with pytest.raises(ValueError, match=r"no tissue table for 7\.0 T"):
        draw("normal", 0, 7.0)
