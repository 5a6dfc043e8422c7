"""Where does a point of one frame of a cine lie in the next one?

A B-spline deformation (Rueckert et al., doi 10.1109/42.796284) between two images of the same contrast: least squares of
intensities, two resolutions, all pixels, one thread. The same images give the same deformation, bit by bit, whatever
else the process does, so that calls may run side by side in threads: the optimizer is LBFGS2, because SimpleITK's LBFGSB
keeps its state in variables that all threads share and gives wrong transforms there.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

Array = NDArray[np.float64]

FINE_MM = 1.4
"""Pixels smaller than this are averaged to `WORKING_MM`: the cost grows with their number, the accuracy does not."""
WORKING_MM = 1.8


@dataclass(frozen=True)
class RegistrationOptions:
    """How finely the motion between two frames is described.

    Attributes
    ----------
    knots_mm
        Distance of the B-spline's control points. About twice the thickness of the wall: finer follows noise, coarser
        misses the difference between its inner and its outer border.
    iterations
        At most so many steps of the optimizer at each of the two resolutions.
    """

    knots_mm: float = 14.0
    iterations: int = 10


def prepared(image: NDArray[np.floating], *, spacing_mm: tuple[float, float], white: float) -> sitk.Image:
    """An image `(y, x)` for `deformation`: its place in mm of the array, pixels not needlessly fine.

    Intensities become percent of ``white``: the optimizer stops where the gradient is small as a number.
    """
    made = sitk.GetImageFromArray(np.asarray(100 * image / white, dtype=np.float32))
    made.SetSpacing(spacing_mm[::-1])
    if min(spacing_mm) >= FINE_MM:
        return made
    spacing = [max(WORKING_MM, s) for s in made.GetSpacing()]
    size = [
        max(round(n * old / new), 8) for n, old, new in zip(made.GetSize(), made.GetSpacing(), spacing, strict=True)
    ]
    blur = [max((new / 2) ** 2 - (old / 2) ** 2, 0.0) for old, new in zip(made.GetSpacing(), spacing, strict=True)]
    smooth = sitk.DiscreteGaussian(made, blur, 16, 0.01, True)
    half = [(new - old) / 2 for old, new in zip(made.GetSpacing(), spacing, strict=True)]
    return sitk.Resample(smooth, size, sitk.Transform(), sitk.sitkLinear, half, spacing)


def deformation(fixed: sitk.Image, moving: sitk.Image, *, options: RegistrationOptions) -> sitk.Transform:
    """The transform that takes points of ``fixed`` to where they are in ``moving``."""
    mesh = [max(2, round(n * s / options.knots_mm)) for n, s in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
    transform = sitk.BSplineTransformInitializer(fixed, mesh, 3)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(sitk.ImageRegistrationMethod.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetNumberOfThreads(1)
    method.SetOptimizerAsLBFGS2(
        solutionAccuracy=1e-5, numberOfIterations=options.iterations, hessianApproximateAccuracy=5
    )
    method.SetInitialTransform(transform, True)
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.Execute(fixed, moving)
    return transform


def transported(points_mm: Array, transform: sitk.Transform) -> Array:
    """Points `(n, 2)` as (y, x) in mm after a transform; those outside of its domain stay."""
    return np.array([transform.TransformPoint((float(x), float(y)))[::-1] for y, x in points_mm])
