"""Do held-back lines tell a good reconstruction from a bad one, and is what was held back really not looked at?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.cardiomm.checkpoint import save_cardiomm
from recon.cardiomm.network import CardioMM
from recon.fourier import ifft2c
from recon.held_back import held_back_points
from recon.inference import reconstruct
from recon.predicted_kspace import predicted_kspace
from recon.reliability import held_back_features, merge_slices, reliability, slice_features
from recon.reliability_model import ReliabilityModel, load_reliability_model
from recon.sampling import undersampling_mask

METADATA: dict[str, Any] = {"field_t": 1.5, "vendor": "Siemens", "scanner": "Aera", "modality": "cine"}
METADATA |= {"view": "short-axis", "pattern": "Uniform", "acceleration": 2, "n_calibration": 16}
SENSE: dict[str, Any] = {"method": "sense", "metadata": METADATA, "device": "cpu"}


@pytest.fixture
def mask() -> NDArray[np.bool_]:
    return undersampling_mask("Uniform", nx=48, ny=64, n_frames=2, acceleration=2, n_calibration=16)


@pytest.fixture
def kspace(coil_phantom: Any, rng: np.random.Generator) -> NDArray[np.complex64]:
    noise = rng.standard_normal((2, *coil_phantom.kspace.shape)) * 0.001
    return (coil_phantom.kspace + noise[0] + 1j * noise[1]).astype(np.complex64)


@pytest.fixture
def weights(tiny_cardiomm: CardioMM, tmp_path: Path) -> Path:
    save_cardiomm(tmp_path / "tiny.ckpt", tiny_cardiomm, notes={})
    return tmp_path / "tiny.ckpt"


@pytest.fixture
def plain_model() -> ReliabilityModel:
    """The score is the residual itself."""
    return ReliabilityModel(
        "plain",
        ("residual",),
        (0.0,),
        (1.0,),
        (1.0,),
        0.0,
        (-9.0,),
        (9.0,),
        1.0,
        1.0,
        n_cases=3,
        n_patients=3,
        notes={},
    )


# --- the prediction


@pytest.mark.parametrize("shared_maps", [False, True])
def test_network_k_space_has_the_image_that_is_returned(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], weights: Path, shared_maps: bool
) -> None:
    options = {"method": "cardiomm", "metadata": METADATA, "device": "cpu", "weights": weights}
    expected = reconstruct(kspace[:, :1], mask, shared_maps=shared_maps, **options)[:, 0]  # type: ignore[arg-type]
    image, predicted = predicted_kspace(kspace[:, 0], mask, shared_maps=shared_maps, **options)  # type: ignore[arg-type]
    np.testing.assert_allclose(image, expected, atol=1e-5 * expected.max())
    combined = torch.linalg.vector_norm(ifft2c(torch.from_numpy(predicted)), dim=1)
    np.testing.assert_allclose(combined.numpy(), expected, atol=1e-4 * expected.max())


def test_sense_predicts_lines_that_it_was_not_shown(coil_phantom: Any, mask: NDArray[np.bool_]) -> None:
    truth = coil_phantom.kspace[:, 0]
    image, predicted = predicted_kspace(truth, mask, **SENSE)
    missed = np.linalg.norm((predicted - truth)[:, :, ~mask[0]]) / np.linalg.norm(truth[:, :, ~mask[0]])
    assert missed < 0.5
    np.testing.assert_array_equal(image, np.abs(reconstruct(coil_phantom.kspace[:, :1], mask, **SENSE)[:, 0]))


def test_zero_filling_predicts_nothing(kspace: NDArray[np.complex64], mask: NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match="zero_filled keeps no k-space"):
        predicted_kspace(kspace[:, 0], mask, method="zero_filled", metadata=METADATA)


# --- features


@pytest.mark.parametrize("method", ["sense", "cardiomm"])
def test_what_is_held_back_is_compared_but_not_looked_at(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], weights: Path, method: str
) -> None:
    held = held_back_points(mask, rng=np.random.default_rng(0), n_calibration=16)
    options = {"method": method, "metadata": METADATA, "device": "cpu", "weights": weights}
    image = np.ones((2, 64, 48))
    first, second = (
        held_back_features(k[:, 0], mask, held, image=image, **options)
        for k in (kspace, np.where(held[:, None, None], 3 * kspace, kspace))
    )
    for name in ("misfit_calibration", "misfit_outer", "change", "acceleration"):
        assert first[name] == second[name]
    assert first["residual"] != second["residual"]


def test_scale_does_not_matter(kspace: NDArray[np.complex64], mask: NDArray[np.bool_]) -> None:
    held = held_back_points(mask, rng=np.random.default_rng(0), n_calibration=16)
    first, second = (held_back_features(k[:, 0], mask, held, **SENSE) for k in (kspace, 1000 * kspace))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert second[name] == pytest.approx(value, abs=0.02), name


def test_a_fault_raises_what_it_should(kspace: NDArray[np.complex64], mask: NDArray[np.bool_]) -> None:
    held = held_back_points(mask, rng=np.random.default_rng(0), n_calibration=16)
    sound = held_back_features(kspace[:, 0], mask, held, **SENSE)
    moved = kspace.copy()
    moved[:, :, :, 8:24:4] *= -1
    assert held_back_features(moved[:, 0], mask, held, **SENSE)["misfit_outer"] > sound["misfit_outer"] + 0.1
    spoiled = kspace.copy()
    spoiled[0, :, :, np.flatnonzero(held[0, :, 0])[0], 5] += np.abs(kspace).max()
    assert held_back_features(spoiled[:, 0], mask, held, **SENSE)["tail"] > sound["tail"] + 0.5


def test_closed_form_of_a_prediction_of_nothing(rng: np.random.Generator) -> None:
    mask = undersampling_mask("Uniform", nx=64, ny=96, n_frames=2, acceleration=2, n_calibration=16)
    held = held_back_points(mask, rng=rng, n_calibration=16)
    measured = (rng.standard_normal((2, 3, 96, 64)) + 1j * rng.standard_normal((2, 3, 96, 64))).astype(np.complex64)
    # what was not shown is predicted as zero, so all of its energy is missed; white k-space, so rings are alike
    predicted = np.where((mask & ~held)[:, None], measured, np.complex64(0))
    found = slice_features(measured, predicted, mask, held, n_calibration=16)
    for name in ("residual", "residual_low", "residual_high", "worst_coil"):
        assert found[name] == pytest.approx(0, abs=1e-9), name
    assert found["residual_to_noise"] == pytest.approx(0, abs=0.1)
    assert found["misfit_outer"] == found["misfit_calibration"] == -12
    n_unmeasured, n_shown = int((~mask).sum()), int((mask & ~held).sum())
    assert found["estimated_nmse"] == pytest.approx(np.log10(n_unmeasured / n_shown), abs=0.05)
    # the mean of squares of complex noise over their median
    assert found["tail"] == pytest.approx(np.log10(1 / np.log(2)), abs=0.05)


# --- the score


def test_score_is_repeatable_and_says_how_it_came(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], plain_model: ReliabilityModel
) -> None:
    before = torch.get_rng_state()
    results = [reliability(kspace, mask, rng=np.random.default_rng(3), model=plain_model, **SENSE) for _ in range(2)]
    assert results[0] == results[1]
    assert torch.equal(before, torch.get_rng_state())
    result = results[0]
    assert len(result.slice_scores) == 2
    assert result.score == pytest.approx(np.mean(result.slice_scores)) == pytest.approx(result.features["residual"])
    assert not result.flagged
    assert result.reasons == ()
    assert 0 < result.n_held_back < 0.3 * result.n_outer
    strict = reliability(kspace, mask, rng=np.random.default_rng(3), model=replace(plain_model, limit=-5.0), **SENSE)
    assert strict.flagged
    assert strict.slice_flagged == (True, True)
    assert strict.reasons == ("expected NMSE above 1e-05",)


def test_slices_judged_one_by_one_make_the_same_scan(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], plain_model: ReliabilityModel
) -> None:
    whole, *single = (
        reliability(kspace[:, z], mask, rng=np.random.default_rng(3), model=plain_model, **SENSE)
        for z in (slice(None), slice(0, 1), slice(1, 2))
    )
    merged = merge_slices(single)
    assert merged.features == pytest.approx(whole.features)
    assert merged.slice_scores == pytest.approx(whole.slice_scores)
    assert (merged.flagged, merged.n_held_back) == (whole.flagged, whole.n_held_back)
    with pytest.raises(ValueError, match="one method and fit"):
        merge_slices([])


def test_an_image_at_hand_saves_a_reconstruction_and_changes_nothing(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], plain_model: ReliabilityModel
) -> None:
    image = reconstruct(kspace, mask, **SENSE)
    given, computed = (
        reliability(kspace, mask, rng=np.random.default_rng(3), model=plain_model, image=i, **SENSE)
        for i in (image, None)
    )
    assert given.features == pytest.approx(computed.features, abs=1e-3)


def test_shipped_scores_serve_both_methods(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], weights: Path
) -> None:
    for method in ("sense", "cardiomm"):
        result = reliability(
            kspace, mask, method=method, metadata=METADATA, rng=np.random.default_rng(0), device="cpu", weights=weights
        )
        assert np.isfinite(result.score)
        assert result.model == load_reliability_model(method).name
        assert set(load_reliability_model(method).features) <= set(result.features)


def test_one_clear_error_for_what_cannot_be_told(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], plain_model: ReliabilityModel
) -> None:
    center = np.zeros_like(mask)
    center[:, 24:40] = True
    with pytest.raises(MeasurementFailed, match="no reliability can be told"):
        reliability(kspace, center, rng=np.random.default_rng(0), model=plain_model, **SENSE)
    with pytest.raises(ValueError, match="expected an image"):
        reliability(kspace, mask, rng=np.random.default_rng(0), model=plain_model, image=np.ones((1, 2)), **SENSE)
    with pytest.raises(ValueError, match="no reliability score was fitted for 'zero_filled'"):
        reliability(kspace, mask, rng=np.random.default_rng(0), method="zero_filled", metadata=METADATA)
