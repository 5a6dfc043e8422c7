"""Is each kind of shift flagged by its own measure, and none where there is none?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cohort.records import WeightsProblem
from recon.kspace_energy import relative_radius
from recon.sampling import undersampling_mask
from recon.shift import (
    MEASURES,
    Shift,
    coil_correlation,
    jensen_shannon,
    sampling_density,
    shift_from_training,
    summarize_scan,
)
from recon.training_cohort import (
    TrainingCohort,
    load_training_cohort,
    save_training_cohort,
    training_cohort,
)

SCANNERS = (
    {"field_t": 1.5, "vendor": "Siemens", "scanner": "Aera", "modality": "cine", "view": "short-axis"},
    {"field_t": 3.0, "vendor": "UIH", "scanner": "umr780", "modality": "cine", "view": "short-axis"},
)
Scan = tuple[str, NDArray[np.complex64], NDArray[np.bool_], dict[str, Any]]


def white(rng: np.random.Generator, *shape: int) -> NDArray[np.complex64]:
    """Complex white noise."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def make_scan(
    rng: np.random.Generator,
    center: str,
    *,
    noise: float = 1.0,
    fall: float = 1.0,
    mixing: float = 0.5,
    pattern: str = "Uniform",
    acceleration: int = 4,
    n_coils: int = 6,
    scanner: dict[str, Any] | None = None,
) -> Scan:
    """k-space that falls off from the center, in coils that share a part of their signal, with noise."""
    ny, nx = (int(n) for n in rng.choice((56, 64, 72), 2))
    fall_off = (1 + 12 * fall * relative_radius(ny, nx) * rng.uniform(0.8, 1.25)) ** -2
    common, own = white(rng, 2, 1, 1, ny, nx), white(rng, 2, 1, n_coils, ny, nx)
    share = mixing * rng.uniform(0.8, 1.2)
    kspace = (share * common + (1 - share) * own) * fall_off
    kspace = kspace + 0.002 * noise * rng.uniform(0.7, 1.4) * white(rng, *kspace.shape)
    mask = undersampling_mask(pattern, nx=nx, ny=ny, n_frames=2, acceleration=acceleration, n_calibration=16, seed=3)
    return center, kspace.astype(np.complex64), mask, scanner or dict(SCANNERS[int(rng.integers(2))])


@pytest.fixture(scope="module")
def cohort() -> TrainingCohort:
    """Sixty draws."""
    rng = np.random.default_rng(0)
    scans = [make_scan(rng, "train", acceleration=int(rng.choice((4, 6)))) for _ in range(60)]
    return training_cohort(
        [summarize_scan(kspace, mask, metadata=metadata) for _, kspace, mask, metadata in scans],
        sentences=[],
        notes={"of": "a test"},
    )


def flagged(table: list[Shift], center: str) -> set[str]:
    return {row.measure for row in table if row.center == center and row.flagged}


# --- laws


def test_a_center_like_the_training_has_no_flags(cohort: TrainingCohort) -> None:
    rng = np.random.default_rng(1)
    table = shift_from_training([make_scan(rng, "same") for _ in range(8)], cohort=cohort)
    assert [row.measure for row in table] == list(MEASURES)
    assert flagged(table, "same") == set()
    assert all(row.n_scans == 8 for row in table)


@pytest.mark.parametrize(
    ("change", "measure"),
    [
        ({"noise": 12.0}, "noise"),
        ({"fall": 5.0}, "radial_energy"),
        ({"mixing": 0.97}, "coil_correlation"),
        ({"pattern": "ktRadial"}, "mask_overlap"),
        ({"scanner": {**SCANNERS[0], "vendor": "Philips"}}, "text_novelty"),
        ({"scanner": {**SCANNERS[0], "field_t": 0.55}}, "text_novelty"),
    ],
)
def test_a_shifted_center_is_flagged_by_its_measure_and_the_other_center_is_not(
    cohort: TrainingCohort, change: dict[str, Any], measure: str
) -> None:
    rng = np.random.default_rng(2)
    scans = [make_scan(rng, "same") for _ in range(4)] + [make_scan(rng, "other", **change) for _ in range(4)]
    table = shift_from_training(scans, cohort=cohort)
    assert flagged(table, "same") == set()
    assert measure in flagged(table, "other")
    if measure in ("coil_correlation", "mask_overlap", "text_novelty"):
        assert flagged(table, "other") == {measure}


def test_number_of_coils_is_no_shift(cohort: TrainingCohort) -> None:
    rng = np.random.default_rng(4)
    table = shift_from_training([make_scan(rng, "many", n_coils=24) for _ in range(5)], cohort=cohort)
    assert flagged(table, "many") == set()


def test_nothing_outside_the_mask_is_read(cohort: TrainingCohort) -> None:
    center, kspace, mask, metadata = make_scan(np.random.default_rng(5), "a")
    spoiled = np.where(mask[:, None, None], kspace, np.complex64(np.nan))
    first, second = (shift_from_training([(center, k, mask, metadata)], cohort=cohort) for k in (kspace, spoiled))
    assert first == second


def test_scale_is_no_shift() -> None:
    _, kspace, mask, metadata = make_scan(np.random.default_rng(6), "a")
    first, second = (summarize_scan(k, mask, metadata=metadata) for k in (kspace, 1000 * kspace))
    np.testing.assert_allclose(second.rings, first.rings, rtol=1e-4)
    assert second.noise == pytest.approx(first.noise, abs=1e-4)
    assert second.coil_correlation == pytest.approx(first.coil_correlation, abs=1e-4)


DISTRIBUTION = arrays(np.float64, 6, elements=st.floats(0.01, 1)).map(lambda x: x / x.sum())


@given(DISTRIBUTION, DISTRIBUTION)
def test_divergence_is_symmetric_and_between_zero_and_one(p: NDArray[np.float64], q: NDArray[np.float64]) -> None:
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))
    assert -1e-12 <= jensen_shannon(p, q) <= 1
    assert jensen_shannon(p, p) == pytest.approx(0)


# --- closed forms


def test_divergence_of_disjoint_distributions_is_one_bit() -> None:
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1


def test_correlation_of_equal_coils_is_one_of_independent_ones_none(rng: np.random.Generator) -> None:
    full = np.ones((2, 32, 32), np.bool_)
    same = np.repeat(white(rng, 2, 1, 32, 32), 4, axis=1) * np.array([1, 2j, 3, -1], np.complex64)[:, None, None]
    assert coil_correlation(same, full) == pytest.approx(1)
    assert coil_correlation(white(rng, 2, 8, 32, 32), full) < 0.05
    assert np.isnan(coil_correlation(white(rng, 2, 1, 32, 32), full))


def test_density_of_a_full_and_of_a_half_mask() -> None:
    full = np.ones((3, 48, 32), np.bool_)
    np.testing.assert_array_equal(sampling_density(full), 1)
    half = full.copy()
    half[:, ::2] = False
    np.testing.assert_allclose(sampling_density(half), 0.5, atol=0.26)
    assert sampling_density(half).mean() == pytest.approx(0.5, abs=0.03)


def test_one_coil_leaves_its_measure_open(cohort: TrainingCohort) -> None:
    rng = np.random.default_rng(8)
    table = shift_from_training([make_scan(rng, "one", n_coils=1)], cohort=cohort)
    row = next(row for row in table if row.measure == "coil_correlation")
    assert np.isnan(row.value)
    assert not row.flagged
    assert row.n_scans == 0


# --- contract


def test_the_unseen_sentence_and_its_nearest_are_named(cohort: TrainingCohort) -> None:
    scan = make_scan(np.random.default_rng(9), "new", scanner={**SCANNERS[0], "scanner": "Sola"})
    row = next(row for row in shift_from_training([scan], cohort=cohort) if row.measure == "text_novelty")
    assert "1.5T, Siemens, Sola" in row.note
    assert "nearest: 'Adult cardiac MRI reconstruction.Vendor: 1.5T, Siemens, Aera" in row.note
    assert 0 < row.value < 0.5


def test_file_round_trip(cohort: TrainingCohort, tmp_path: Path) -> None:
    save_training_cohort(tmp_path / "cohort.json", cohort)
    loaded = load_training_cohort(tmp_path / "cohort.json")
    assert (loaded.sentences, loaded.notes) == (cohort.sentences, cohort.notes)
    np.testing.assert_allclose([s.rings for s in loaded.scans], [s.rings for s in cohort.scans], rtol=1e-3)
    (tmp_path / "bad.json").write_text('{"scans": []}', encoding="utf-8")
    with pytest.raises(WeightsProblem, match="not a summary"):
        load_training_cohort(tmp_path / "bad.json")
    with pytest.raises(WeightsProblem, match="no such file"):
        load_training_cohort(tmp_path / "none.json")


def test_shipped_summary_knows_its_weights_and_sentences() -> None:
    shipped = load_training_cohort()
    assert len(shipped.scans) == shipped.notes["draws"]
    assert all(sentence.startswith("Adult cardiac MRI") for sentence in shipped.sentences)
    assert "weights_sha256" in shipped.notes


def test_what_cannot_be_compared_is_refused(cohort: TrainingCohort) -> None:
    with pytest.raises(ValueError, match="at least one scan"):
        shift_from_training([], cohort=cohort)
    center, kspace, mask, metadata = make_scan(np.random.default_rng(1), "a")
    with pytest.raises(ValueError, match="expected k-space"):
        shift_from_training([(center, kspace[0], mask, metadata)], cohort=cohort)
    with pytest.raises(ValueError, match="with signal"):
        shift_from_training([(center, 0 * kspace, mask, metadata)], cohort=cohort)
    with pytest.raises(ValueError, match="at least 2 training scans"):
        training_cohort([], sentences=["a"], notes={})
