"""Did the heart move between the images of a mapping series, and how does the series look without that?

Rigid motion first, of all images together (`phenotyping.motion_rigid`). Then the deformation of each image: images of
different contrast cannot be compared with each other, but each can be with what the fit expects at its time (synthetic
images: Xue et al., doi 10.1002/mrm.23153). Fit and registration take turns: the fit of images that are better aligned
expects sharper images.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohort.records import MeasurementFailed
from phenotyping.motion_rigid import Curve, fitted_curve, rigid_motion
from phenotyping.relaxometry import fit_decay, fit_inversion_recovery

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: the outer border of the region counts as well; more would count the chest, which does not move with the heart
MARGIN_MM: Final = 6.0
#: image around the region, which moves into it
BOX_MARGIN_MM: Final = 25.0
MIN_REGION_PIXELS: Final = 50


@dataclass(frozen=True)
class MotionOptions:
    """How motion is searched and when it is believed.

    Attributes
    ----------
    deformable
        Refine the rigid motion of each image by a B-spline deformation, where the residual falls by `min_gain` more.
    knots_mm
        Distance of the B-spline's control points.
    deformable_rounds
        Turns of fit and registration.
    min_gain
        Share by which the fit's residual must fall for the correction to be kept. Interpolation alone takes some noise
        away, so that a small gain proves nothing.
    """

    deformable: bool = True
    knots_mm: float = 30.0
    deformable_rounds: int = 2
    min_gain: float = 0.05


@dataclass(frozen=True)
class MotionCorrection:
    """A series without motion, or as it was, and what was found.

    Displacements are those between an image and the common position of all, over the region and all images, mm;
    `shift_mm` `(times, 2)` is each image's mean (y, x) displacement in the region. `residual_before` and
    `residual_after` are means of the fit's residual SD in the region, in the unit of the signal. `kept` tells whether
    the correction was applied, `deformed` whether rigid motion was not enough; `reason` why it was not applied.
    """

    series: Array
    displacement_mean_mm: float
    displacement_p95_mm: float
    displacement_max_mm: float
    shift_mm: Array
    residual_before: float
    residual_after: float
    kept: bool
    deformed: bool
    reason: str = ""


def correct_motion(
    series: NDArray[Any],
    times_ms: NDArray[np.floating],
    *,
    curve: Curve,
    region: Mask,
    spacing_mm: tuple[float, float],
    options: MotionOptions | None = None,
) -> MotionCorrection:
    """Align the images of one slice of a mapping series.

    Parameters
    ----------
    series
        `(n_times, y, x)`, magnitudes.
    times_ms
        `(n_times,)`, ms.
    curve
        ``recovery`` (T1) or ``decay`` (T2, T2*, T1rho).
    region
        `(y, x)`, the heart: where motion is searched and judged.
    spacing_mm
        (y, x), mm.
    options
        See `MotionOptions`.

    Returns
    -------
    The corrected series if the residual of the fit falls far enough, else the series as it was. The same input gives
    the same output, bit by bit.

    Raises
    ------
    MeasurementFailed
        For shapes that do not fit, a region too small, fewer images than the fit leaves a residual for, or values that
        are not finite.
    """
    options = options or MotionOptions()
    images, times = _checked(series, times_ms, curve, region)
    rows, columns = _box(region, spacing_mm)
    part, inside = images[:, rows, columns], region[rows, columns]
    scale = float(np.percentile(part, 99)) or 1.0
    near = np.asarray(ndimage.distance_transform_edt(~inside, sampling=spacing_mm) <= MARGIN_MM)
    before = _residual(part, times, curve, inside)
    transforms = _rigid(part / scale, times, curve, near, spacing_mm)
    moved = _all_resampled(part, spacing_mm, transforms)
    after, deformed = _residual(moved, times, curve, inside), False
    if options.deformable:
        bent = _deformed(part / scale, times, curve, near, spacing_mm, transforms, options)
        other = _all_resampled(part, spacing_mm, bent)
        residual = _residual(other, times, curve, inside)
        deformed = residual < (1 - options.min_gain) * after
        if deformed:
            transforms, moved, after = bent, other, residual
    fields = np.stack([_displacement(tx, part[0].shape, spacing_mm) for tx in transforms])
    length = np.linalg.norm(fields, axis=-1)[:, inside]
    found = MotionCorrection(
        series=images,
        displacement_mean_mm=float(length.mean()),
        displacement_p95_mm=float(np.percentile(length, 95)),
        displacement_max_mm=float(length.max()),
        shift_mm=fields[:, inside].mean(axis=1),
        residual_before=before,
        residual_after=after,
        kept=after < (1 - options.min_gain) * before,
        deformed=deformed,
    )
    if not found.kept:
        change = 100 * (after / before - 1) if before > 0 else 0.0
        need = f"needed is a fall by {100 * options.min_gain:.0f} %"
        return replace(found, reason=f"the residual of the fit changed by {change:+.1f} %; {need}")
    corrected = images.copy()
    corrected[:, rows, columns] = moved
    return replace(found, series=corrected)


# --- registration --------------------------------------------------------------------------------------------------


def _rigid(images: Array, times: Array, curve: Curve, near: Mask, spacing_mm: tuple[float, float]) -> list[Any]:
    """One rigid transform an image, from the common position to the image."""
    sitk = _simpleitk()
    reference = _image(images[0], spacing_mm)
    center = reference.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in images.shape[:0:-1]])
    transforms = []
    for turn, down, right in rigid_motion(images, times, curve=curve, mask=near, spacing_mm=spacing_mm):
        transform = sitk.Euler2DTransform()
        transform.SetCenter(center)
        transform.SetAngle(float(turn))
        transform.SetTranslation((float(right), float(down)))
        transforms.append(transform)
    return transforms


def _deformed(
    images: Array,
    times: Array,
    curve: Curve,
    near: Mask,
    spacing_mm: tuple[float, float],
    rigid: list[Any],
    options: MotionOptions,
) -> list[Any]:
    """Rigid motion and a deformation an image."""
    # percent of the bright parts: the optimizer stops where the gradient is small as a number
    percent = 100 / max(float(np.percentile(images, 99)), 1e-30)
    moving = [_image(image * percent, spacing_mm) for image in images]
    bent: list[Any] = [None] * len(moving)
    both = list(rigid)
    for _ in range(options.deformable_rounds):
        expected, usable = synthetic_series(_all_resampled(images, spacing_mm, both), times, curve)
        mask = _image((usable & near).astype(np.uint8), spacing_mm, kind=np.uint8)
        for i, image in enumerate(moving):
            bent[i] = _fit_spline(
                _image(expected[i] * percent, spacing_mm), image, mask, rigid[i], bent[i], options.knots_mm
            )
        # the deformation comes first: x -> rigid(spline(x))
        both = [_simpleitk().CompositeTransform([tx, spline]) for tx, spline in zip(rigid, bent, strict=True)]
    return both


def _fit_spline(fixed: Any, moving: Any, mask: Any, rigid: Any, begin: Any, knots_mm: float) -> Any:
    sitk = _simpleitk()
    if begin is None:
        size = [n * s for n, s in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
        begin = sitk.BSplineTransformInitializer(fixed, [max(1, round(mm / knots_mm)) for mm in size], order=3)
    spline = sitk.BSplineTransform(begin)
    method = _method(mask)
    # not LBFGSB: it keeps its state where all threads share it, and scans are measured in threads
    method.SetOptimizerAsLBFGS2(solutionAccuracy=1e-5, numberOfIterations=25, hessianApproximateAccuracy=5)
    method.SetMovingInitialTransform(rigid)
    method.SetInitialTransform(spline, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:
        return begin
    return spline


def _method(mask: Any) -> Any:
    """Mean squares on every pixel of the mask, one thread: expected and measured image share their contrast."""
    method = _simpleitk().ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(_simpleitk().sitkLinear)
    return method


# --- what the fit expects ------------------------------------------------------------------------------------------


def synthetic_series(series: Array, times: Array, curve: Curve) -> tuple[Array, Mask]:
    """What the fit expects of each magnitude image, `(n_times, y, x)`, and where there is a fit; elsewhere the images."""
    flat = series.reshape(len(series), -1).T
    fit = fitted_curve(flat, times, curve)
    expected = flat.copy()
    expected[fit.usable] = np.abs(fit.expected)
    return np.ascontiguousarray(expected.T).reshape(series.shape), fit.usable.reshape(series.shape[1:])


def _residual(series: Array, times: Array, curve: Curve, inside: Mask) -> float:
    """Mean residual SD of the fit that is measured (all its unknowns free); motion shows at edges, which medians miss."""
    samples = np.moveaxis(series, 0, -1)[inside]
    fit = fit_inversion_recovery(samples, times) if curve == "recovery" else fit_decay(samples, times)
    found = fit.residual_sd[np.isfinite(fit.residual_sd)]
    return float(found.mean()) if found.size else float("inf")


# --- images --------------------------------------------------------------------------------------------------------


def _checked(series: NDArray[Any], times_ms: NDArray[np.floating], curve: Curve, region: Mask) -> tuple[Array, Array]:
    images, times = np.asarray(series), np.asarray(times_ms, dtype=np.float64)
    if np.iscomplexobj(images):
        raise MeasurementFailed("motion correction takes magnitudes; give np.abs of complex images")
    images = images.astype(np.float64)
    if images.ndim != 3 or times.shape != images.shape[:1] or np.shape(region) != images.shape[1:]:
        raise MeasurementFailed(
            f"expected images (n_times, y, x), times (n_times,) and a region (y, x); got {images.shape}, {times.shape}, "
            f"{np.shape(region)}"
        )
    least = 4 if curve == "recovery" else 3
    if len(times) < least:
        raise MeasurementFailed(
            f"a {curve} of {len(times)} images leaves no residual to judge motion by: {least} needed"
        )
    if np.count_nonzero(region) < MIN_REGION_PIXELS or not np.isfinite(images).all():
        raise MeasurementFailed(
            f"motion is searched in a region of {MIN_REGION_PIXELS} pixels or more of finite images, got "
            f"{np.count_nonzero(region)} pixels"
        )
    return images, times


def _box(region: Mask, spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
    found = []
    for axis, spacing in enumerate(spacing_mm):
        hit = np.flatnonzero(region.any(axis=1 - axis))
        margin = round(BOX_MARGIN_MM / spacing)
        found.append(slice(max(0, int(hit[0]) - margin), min(region.shape[axis], int(hit[-1]) + 1 + margin)))
    return found[0], found[1]


def _image(array: NDArray[Any], spacing_mm: tuple[float, float], *, kind: Any = np.float32) -> Any:
    image = _simpleitk().GetImageFromArray(np.ascontiguousarray(array, dtype=kind))
    image.SetSpacing((float(spacing_mm[1]), float(spacing_mm[0])))
    return image


def _all_resampled(images: Array, spacing_mm: tuple[float, float], transforms: list[Any]) -> Array:
    return np.stack([_resampled(image, spacing_mm, tx) for image, tx in zip(images, transforms, strict=True)])


def _resampled(image: Array, spacing_mm: tuple[float, float], transform: Any) -> Array:
    """The image seen from the common position, by a windowed sinc, which keeps noise as it is."""
    sitk = _simpleitk()
    moving = _image(image, spacing_mm, kind=np.float64)
    padded = sitk.ZeroFluxNeumannPad(moving, [8, 8], [8, 8])
    moved = sitk.Resample(padded, moving, transform, sitk.sitkLanczosWindowedSinc, 0.0, sitk.sitkFloat64, False)
    return np.asarray(sitk.GetArrayFromImage(moved))


def _displacement(transform: Any, shape: tuple[int, ...], spacing_mm: tuple[float, float]) -> Array:
    """Displacement (y, x) in mm of every pixel, `(y, x, 2)`."""
    sitk = _simpleitk()
    reference = _image(np.zeros(shape), spacing_mm)
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, reference.GetSize(), reference.GetOrigin(), reference.GetSpacing()
    )
    return np.asarray(sitk.GetArrayFromImage(field))[..., ::-1]


def _simpleitk() -> Any:
    """SimpleITK is large; it is imported where motion is corrected."""
    import SimpleITK

    return SimpleITK
