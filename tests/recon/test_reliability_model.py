"""Does the fit find a law that is there, choose its limit as asked, and survive being written down?"""

from pathlib import Path

import numpy as np
import pytest

from cohort.records import WeightsProblem
from recon.reliability_model import (
    ReliabilityModel,
    fit_reliability,
    load_reliability_model,
    save_reliability_models,
)

Row = dict[str, float]


def table(rng: np.random.Generator, n_patients: int = 12, each: int = 10) -> tuple[list[Row], np.ndarray, list[str]]:
    """Two features of which the error is a linear law, one without meaning."""
    x = rng.standard_normal((n_patients * each, 3))
    error = -2 + 0.4 * x[:, 0] - 0.2 * x[:, 1] + 0.02 * rng.standard_normal(len(x))
    rows = [dict(zip("abc", map(float, values), strict=True)) for values in x]
    return rows, error, [f"p{i // each}" for i in range(len(x))]


def fitted(rng: np.random.Generator) -> tuple[ReliabilityModel, list[Row], np.ndarray]:
    rows, error, patients = table(rng)
    model = fit_reliability(
        rows,
        error.tolist(),
        patients,
        features="abc",
        limit_of_error=-1.8,
        sensitivity=0.9,
        name="law",
        notes={"by": "test"},
    )
    return model, rows, error


def test_a_linear_law_is_found(rng: np.random.Generator) -> None:
    model, rows, error = fitted(rng)
    predicted = np.array([model.predict(row) for row in rows])
    assert np.sqrt(((predicted - error) ** 2).mean()) < 0.03
    slopes = np.asarray(model.coefficients) / model.scale
    np.testing.assert_allclose(slopes, [0.4, -0.2, 0], atol=0.02)
    assert (model.n_cases, model.n_patients) == (120, 12)
    assert model.notes["variance_explained_in_left_out_patients"] > 0.98
    assert model.notes["by"] == "test"


def test_limit_catches_the_part_asked_for(rng: np.random.Generator) -> None:
    model, rows, error = fitted(rng)
    flagged = np.array([bool(model.objections(row)) for row in rows])
    assert flagged[error > -1.8].mean() == pytest.approx(0.9, abs=0.05)
    assert flagged[error < -2.0].mean() < 0.05


def test_far_from_the_fit_is_an_objection_of_its_own(rng: np.random.Generator) -> None:
    model, _, _ = fitted(rng)
    objections = model.objections({"a": -2.0, "b": 0.0, "c": 30.0})
    assert objections == ("c is far outside what the score was fitted on",)
    with pytest.raises(ValueError, match="lacking b"):
        model.predict({"a": 0.0, "c": 0.0})


def test_file_round_trip(rng: np.random.Generator, tmp_path: Path) -> None:
    model, _, _ = fitted(rng)
    save_reliability_models(tmp_path / "scores.json", {"sense": model})
    assert load_reliability_model("sense", tmp_path / "scores.json") == model
    with pytest.raises(ValueError, match="no reliability score was fitted for 'cardiomm'"):
        load_reliability_model("cardiomm", tmp_path / "scores.json")


def test_files_that_hold_no_score_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsProblem, match="no such file"):
        load_reliability_model("sense", tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"sense": {"name": 3}}', encoding="utf-8")
    with pytest.raises(WeightsProblem, match="not a table of fitted scores"):
        load_reliability_model("sense", tmp_path / "bad.json")


def test_too_little_to_fit_is_refused(rng: np.random.Generator) -> None:
    rows, error, patients = table(rng)
    options = {"features": "abc", "sensitivity": 0.9, "name": "x", "notes": {}}
    with pytest.raises(ValueError, match="at least 3 patients"):
        fit_reliability(rows[:20], error[:20].tolist(), patients[:20], limit_of_error=-2, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many rows"):
        fit_reliability(rows[:-1], error.tolist(), patients, limit_of_error=-2, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be set"):
        fit_reliability(rows, error.tolist(), patients, limit_of_error=5, **options)  # type: ignore[arg-type]
