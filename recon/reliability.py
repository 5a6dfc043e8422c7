"""Can this reconstruction be relied on? Measured lines that it was not shown say so, without a reference image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.cardiomm.prompts import TextEncoder
from recon.checks import check_input
from recon.held_back import FRACTION, calibration_points, held_back_points
from recon.inference import METHODS, Method
from recon.kspace_energy import noise_variance, relative_radius
from recon.metrics import official_scores
from recon.predicted_kspace import predicted_kspace
from recon.reliability_model import ReliabilityModel, load_reliability_model
from recon.sampling import effective_acceleration

N_RINGS = 6  # of relative radius 0 to sqrt(2)
LOW_RADIUS = 0.5
SMALLEST = 1e-12  # below any ratio that float32 data can show

Complex = NDArray[np.complex64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class ReliabilityResult:
    """How far a reconstruction can be relied on.

    Attributes
    ----------
    score : float
        Expected log10 NMSE against the fully sampled image, mean over the slices: larger is worse.
    flagged : bool
        Whether the scan, or any slice of it, should not be relied on unseen.
    reasons : tuple of str
        In words, why it is flagged; empty if it is not.
    slice_scores : tuple of float
        Expected log10 NMSE of each slice.
    slice_flagged : tuple of bool
    features : dict
        Mean over the slices of what ``slice_features`` measures.
    n_held_back, n_outer : int
        Points kept back, and points measured outside the calibration region, in all frames.
    method : str
    model : str
        Which fit made scores of features.
    """

    score: float
    flagged: bool
    reasons: tuple[str, ...]
    slice_scores: tuple[float, ...]
    slice_flagged: tuple[bool, ...]
    features: dict[str, float]
    n_held_back: int
    n_outer: int
    method: str
    model: str


def reliability(
    kspace: Complex,
    mask: Bool,
    *,
    method: Method | str,
    metadata: Mapping[str, Any],
    rng: np.random.Generator,
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    model: ReliabilityModel | None = None,
    image: NDArray[Any] | None = None,
    fraction: float = FRACTION,
    shared_maps: bool = False,
    encoder: TextEncoder | None = None,
) -> ReliabilityResult:
    """Reconstruct without a tenth of the outer lines, and compare what is predicted there with what was measured.

    Parameters
    ----------
    kspace : complex64 array (frames, slices, coils, ky, kx)
        Points outside the mask are not read.
    mask : bool array (frames, ky, kx)
        One frame stands for all.
    method, metadata, device, weights, shared_maps, encoder
        As in ``recon.inference.reconstruct``; not ``zero_filled``, which predicts nothing.
    rng : numpy.random.Generator
        Draws the lines; the same state gives the same score.
    model : ReliabilityModel or None
        What makes a score of the features; None for the shipped fit of the method.
    image : array (frames, slices, y, x) or None
        The reconstruction from all lines, where it is at hand: saves one of two reconstructions.
    fraction : float
        Part of the outer lines that is kept back.

    Returns
    -------
    ReliabilityResult

    Raises
    ------
    ValueError
        As ``reconstruct``, a method that predicts no k-space or has no fit, or an image of another shape.
    MeasurementFailed
        Too few lines outside the calibration region.
    """
    kspace, mask = check_input(kspace, mask, method=method, methods=METHODS)
    fitted = model or load_reliability_model(method)
    held = held_back_points(mask, rng=rng, n_calibration=metadata.get("n_calibration"), fraction=fraction)
    if image is not None and image.shape != (*kspace.shape[:2], *kspace.shape[-2:]):
        raise ValueError(f"expected an image (frames, slices, y, x) of k-space {kspace.shape}, got {image.shape}")
    options: dict[str, Any] = {
        "method": method,
        "metadata": metadata,
        "device": device,
        "weights": weights,
        "shared_maps": shared_maps,
        "encoder": encoder,
    }
    table = []
    for z in range(kspace.shape[1]):
        whole = None if image is None else np.abs(image[:, z])
        table.append(held_back_features(kspace[:, z], mask, held, image=whole, **options))
    scores = [fitted.predict(row) for row in table]
    reasons = [fitted.objections(row) for row in table]
    return ReliabilityResult(
        score=float(np.mean(scores)),
        flagged=any(reasons),
        reasons=tuple(dict.fromkeys(reason for found in reasons for reason in found)),
        slice_scores=tuple(scores),
        slice_flagged=tuple(bool(found) for found in reasons),
        features={name: float(np.mean([row[name] for row in table])) for name in table[0]},
        n_held_back=int(held.sum()),
        n_outer=int((mask & ~calibration_points(mask, n_calibration=metadata.get("n_calibration"))).sum()),
        method=str(method),
        model=fitted.name,
    )


def merge_slices(results: Sequence[ReliabilityResult]) -> ReliabilityResult:
    """One result of a scan whose slices were judged one after another, with the same held-back points.

    Raises
    ------
    ValueError
        No result, or results of different methods or fits.
    """
    if len({(result.method, result.model) for result in results}) != 1:
        raise ValueError(f"expected results of one method and fit, got {len(results)} of {[r.model for r in results]}")
    sizes = [len(result.slice_scores) for result in results]
    scores = tuple(score for result in results for score in result.slice_scores)
    return ReliabilityResult(
        score=float(np.mean(scores)),
        flagged=any(result.flagged for result in results),
        reasons=tuple(dict.fromkeys(reason for result in results for reason in result.reasons)),
        slice_scores=scores,
        slice_flagged=tuple(flag for result in results for flag in result.slice_flagged),
        features={
            name: float(np.average([result.features[name] for result in results], weights=sizes))
            for name in results[0].features
        },
        n_held_back=results[0].n_held_back,
        n_outer=results[0].n_outer,
        method=results[0].method,
        model=results[0].model,
    )


def held_back_features(
    kspace: Complex, mask: Bool, held: Bool, *, image: NDArray[Any] | None = None, **options: Any
) -> dict[str, float]:
    """Reconstruct one slice (frames, coils, ky, kx) without the held-back points and measure how well they are met.

    ``options`` go to ``recon.predicted_kspace.predicted_kspace``; ``image`` (frames, y, x) is the magnitude from all
    points, computed if not given. Beside what ``slice_features`` returns: ``change``, the log10 NMSE between the images with
    and without the held-back points, and ``change_center``, the same in the middle half of both axes, where hearts are.
    """
    if image is None:
        image, _ = predicted_kspace(kspace, mask, **options)
    image_without, predicted = predicted_kspace(kspace, mask & ~held, **options)
    n_calibration = options["metadata"].get("n_calibration")
    features = slice_features(kspace, predicted, mask, held, n_calibration=n_calibration)
    change = official_scores(image, image_without)["nmse"] if image.any() else 1.0
    middle = (slice(None), *(slice(n // 4, n - n // 4) for n in image.shape[1:]))
    difference = np.abs(image[middle].astype(np.float64) - image_without[middle]) ** 2
    change_center = _log(float(difference.sum()), float((image[middle].astype(np.float64) ** 2).sum()))
    return features | {"change": _log(change, 1.0), "change_center": change_center}


def slice_features(
    measured: Complex, predicted: Complex, mask: Bool, held: Bool, *, n_calibration: int | None = None
) -> dict[str, float]:
    """What the comparison in k-space says, each as a base-10 logarithm of a ratio.

    Parameters
    ----------
    measured, predicted : complex arrays (frames, coils, ky, kx)
    mask, held : bool arrays (frames, ky, kx)
        Points measured, and of them those that ``predicted`` was not shown.

    Returns
    -------
    dict
        residual
            Energy of the difference over the measured energy, at the held-back points.
        residual_low, residual_high
            The same inside and outside half the way to the end of an axis; where none lies there, ``residual``.
        residual_to_noise
            Energy of the difference over that of the noise, about 0 for a perfect prediction.
        estimated_nmse
            Error energy that the unmeasured points would have, if they were met as well as held-back ones of their ring
            of k-space, over the energy of the predicted image (Parseval).
        worst_coil
            The worst coil's ``residual`` over that of all.
        tail
            Mean over median squared difference: spikes and single bad lines.
        misfit_calibration, misfit_outer
            Difference over energy at points that the reconstruction was shown.
        misfit_tail
            Largest over median squared difference at those points.
        weakest_coil
            Energy of the weakest coil over that of its noise, in the calibration region: a dead coil has noise alone.
        noise
            Energy of the noise of all points over the energy of the predicted image.
        acceleration
            Effective acceleration.
    """
    center = calibration_points(mask, n_calibration=n_calibration)
    difference = (np.abs(measured - predicted).astype(np.float64) ** 2).transpose(1, 0, 2, 3)
    energy = (np.abs(measured).astype(np.float64) ** 2).transpose(1, 0, 2, 3)
    noise = noise_variance(measured, mask)
    image_energy = float((np.abs(predicted).astype(np.float64) ** 2).sum())
    radius = np.broadcast_to(relative_radius(*mask.shape[1:]), mask.shape)

    def ratio(points: Bool) -> float:
        return _log(float(difference[:, points].sum()), float(energy[:, points].sum()))

    missed, present = difference[:, held], energy[:, held]
    residual = ratio(held)
    by_part = {
        f"residual_{name}": ratio(held & part) if (held & part).any() else residual
        for name, part in (("low", radius < LOW_RADIUS), ("high", radius >= LOW_RADIUS))
    }
    by_coil = [_log(d, e) for d, e in zip(missed.sum(axis=1), present.sum(axis=1), strict=True)]
    shown = mask & ~held
    tiny = float(np.finfo(np.float32).tiny)
    return {
        "residual": residual,
        **by_part,
        "residual_to_noise": _log(float(missed.sum()), float(noise.sum()) * missed.shape[1]),
        "estimated_nmse": _log(_unmeasured_error(difference.sum(axis=0), mask, held, radius), image_energy),
        "worst_coil": max(by_coil) - residual,
        "tail": _log(float(missed.mean()), float(np.median(missed))),
        "misfit_calibration": ratio(shown & center),
        "misfit_outer": ratio(shown & ~center),
        "misfit_tail": _log(float(difference[:, shown].max()), float(np.median(difference[:, shown]))),
        "weakest_coil": float(
            np.min(np.log10(np.maximum(energy[:, mask & center].mean(axis=1), tiny) / (noise + tiny)))
        ),
        "noise": _log(float(noise.sum()) * mask.size, image_energy),
        "acceleration": float(np.log10(effective_acceleration(mask))),
    }


def _unmeasured_error(difference: NDArray[np.float64], mask: Bool, held: Bool, radius: NDArray[np.float64]) -> float:
    """Sum over rings of the held-back points' mean error times the number of unmeasured points.

    A ring without held-back points takes its value from the neighboring ones, on a logarithmic scale.
    """
    ring = np.minimum((radius / np.sqrt(2) * N_RINGS).astype(np.int64), N_RINGS - 1)
    points = np.bincount(ring[held], minlength=N_RINGS)
    sums = np.bincount(ring[held], weights=difference[held], minlength=N_RINGS)
    known = points > 0
    mean = np.log(np.maximum(sums[known] / points[known], np.finfo(np.float64).tiny))
    places = np.arange(N_RINGS)
    each = np.exp(np.interp(places, places[known], mean))
    return float(each @ np.bincount(ring[~mask], minlength=N_RINGS))


def _log(above: float, below: float) -> float:
    """log10(above / below), held within what float32 can show; a ratio to nothing counts as 1."""
    if not below > 0:
        return 0.0
    return float(np.log10(np.clip(above / below, SMALLEST, 1 / SMALLEST)))
