"""How are the features of held-back lines turned into an expected error, and when is it too large?

A ridge regression on few features: its whole content is a table of numbers that a person can read (JSON).
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.atomic import replacing
from cohort.records import WeightsProblem

SHIPPED_MODELS = Path(__file__).parent / "weights" / "reliability.json"
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
MARGIN = 0.25  # of the fitted range by which a feature may leave it before the score counts as extrapolated

Float = NDArray[np.float64]


@dataclass(frozen=True)
class ReliabilityModel:
    """A fitted score.

    Attributes
    ----------
    name : str
        Method, date or data of the fit.
    features : tuple of str
    center, scale, coefficients : tuple of float
        ``score = intercept + sum(coefficients * (feature - center) / scale)``
    intercept : float
        log10 NMSE.
    lowest, highest : tuple of float
        Range of each feature in the fit.
    limit : float
        Score above which a slice is flagged.
    penalty : float
        Of the ridge, chosen with whole patients left out.
    n_cases, n_patients : int
    notes : dict
        Data, command, reconstruction weights (sha256), errors in cross-validation.
    """

    name: str
    features: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    limit: float
    penalty: float
    n_cases: int
    n_patients: int
    notes: dict[str, Any]

    def predict(self, features: Mapping[str, float]) -> float:
        """Expected log10 NMSE."""
        x = (self._vector(features) - self.center) / self.scale
        return float(self.intercept + x @ np.asarray(self.coefficients))

    def objections(self, features: Mapping[str, float]) -> tuple[str, ...]:
        """Why a slice should not be relied on unseen: too large an error, or features far beyond those of the fit."""
        found = []
        score = self.predict(features)
        if score > self.limit:
            found.append(f"expected NMSE above {10**self.limit:.3g}")
        x, low, high = self._vector(features), np.asarray(self.lowest), np.asarray(self.highest)
        room = MARGIN * (high - low)
        beyond = (x < low - room) | (x > high + room)
        found += [f"{name} is far outside what the score was fitted on" for name in np.array(self.features)[beyond]]
        return tuple(found)

    def _vector(self, features: Mapping[str, float]) -> Float:
        lacking = [name for name in self.features if name not in features]
        if lacking:
            raise ValueError(f"expected the features of {self.name}, lacking {', '.join(lacking)}")
        return np.array([features[name] for name in self.features], dtype=np.float64)


def fit_reliability(
    rows: Sequence[Mapping[str, float]],
    log_error: Sequence[float],
    patients: Sequence[Hashable],
    *,
    features: Sequence[str],
    limit_of_error: float,
    sensitivity: float,
    name: str,
    notes: Mapping[str, Any],
) -> ReliabilityModel:
    """Ridge regression of log10 NMSE, its penalty and its limit chosen with whole patients left out.

    Parameters
    ----------
    rows : features of each slice
    log_error : log10 NMSE of each slice against the fully sampled image
    patients : whom each slice belongs to, at least 3 different ones
    features : names to use
    limit_of_error : log10 NMSE above which a reconstruction counts as unreliable
    sensitivity : part of the unreliable slices that the limit of the score shall catch, by the left-out predictions

    Raises
    ------
    ValueError
        Lengths that differ, fewer than 3 patients, or no unreliable slice to set the limit by.
    """
    y, owners = np.asarray(log_error, dtype=np.float64), list(patients)
    if not len(rows) == len(y) == len(owners):
        raise ValueError(f"expected as many rows, errors and patients, got {len(rows)}, {len(y)}, {len(owners)}")
    codes = {owner: i for i, owner in enumerate(dict.fromkeys(owners))}
    if len(codes) < 3:
        raise ValueError(f"expected slices of at least 3 patients to leave some out, got {len(codes)}")
    fold = np.array([codes[owner] for owner in owners])
    x = np.array([[row[feature] for feature in features] for row in rows])
    left_out = {penalty: _left_out(x, y, fold, penalty) for penalty in PENALTIES}
    penalty = min(PENALTIES, key=lambda p: float(((left_out[p] - y) ** 2).mean()))
    unreliable = y > limit_of_error
    if not unreliable.any():
        raise ValueError(f"no slice has log10 NMSE above {limit_of_error}; the limit of the score cannot be set")
    center, scale, weights, intercept = _ridge(x, y, penalty)
    errors = left_out[penalty] - y
    return ReliabilityModel(
        name=name,
        features=tuple(features),
        center=tuple(center.tolist()),
        scale=tuple(scale.tolist()),
        coefficients=tuple(weights.tolist()),
        intercept=intercept,
        lowest=tuple(x.min(axis=0).tolist()),
        highest=tuple(x.max(axis=0).tolist()),
        limit=float(np.quantile(left_out[penalty][unreliable], 1 - sensitivity)),
        penalty=penalty,
        n_cases=len(y),
        n_patients=len(codes),
        notes={
            **notes,
            "limit_of_log10_nmse": limit_of_error,
            "wanted_sensitivity": sensitivity,
            "rms_error_of_left_out_patients": float(np.sqrt((errors**2).mean())),
            "variance_explained_in_left_out_patients": float(1 - (errors**2).mean() / y.var()),
        },
    )


def _left_out(x: Float, y: Float, fold: NDArray[np.int64], penalty: float) -> Float:
    """Prediction of every slice by a fit without its patient."""
    predicted = np.empty_like(y)
    for code in np.unique(fold):
        out = fold == code
        center, scale, weights, intercept = _ridge(x[~out], y[~out], penalty)
        predicted[out] = intercept + (x[out] - center) / scale @ weights
    return predicted


def _ridge(x: Float, y: Float, penalty: float) -> tuple[Float, Float, Float, float]:
    """Center, scale, weights of standardized features, intercept."""
    center, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    z = (x - center) / scale
    weights = np.linalg.solve(z.T @ z + penalty * np.eye(x.shape[1]), z.T @ (y - y.mean()))
    return center, scale, np.asarray(weights), float(y.mean())


def save_reliability_models(path: Path, models: Mapping[str, ReliabilityModel]) -> None:
    """Write the fits of all methods, atomically."""
    text = json.dumps({method: asdict(model) for method, model in models.items()}, indent=1)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def load_reliability_model(method: str, path: Path = SHIPPED_MODELS) -> ReliabilityModel:
    """The fit of a method.

    Raises
    ------
    WeightsProblem
        The file is missing or does not hold such fits.
    ValueError
        It has none for this method.
    """
    return _load(method, path, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=8)
def _load(method: str, path: Path, changed: int) -> ReliabilityModel:
    if not changed:
        raise WeightsProblem(path, "no such file; fit the score or give a model")
    try:
        content: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        models = {name: _model_of(fields) for name, fields in content.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsProblem(path, f"not a table of fitted scores ({str(error)[:100]})") from error
    if method not in models:
        raise ValueError(f"no reliability score was fitted for {method!r}; there is one for {', '.join(models)}")
    return models[method]


def _model_of(fields: Mapping[str, Any]) -> ReliabilityModel:
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return ReliabilityModel(**plain)
