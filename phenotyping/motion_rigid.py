"""Which shift and turn of each image lets one curve fit them all best? The first step of motion correction.

The residual of the fit is minimized over the motion of all images together. An image at an extreme time bends the curve
toward itself, so that registering images one by one to what the fit expects hardly moves it. Here the projector of the fit
(variable projection: Golub and Pereyra, doi 10.1088/0266-5611/19/2/201) stands in the normal equations, which knows how
far the curve follows each image; Gauss-Newton then converges in a few steps.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from phenotyping.fit_quality import RATIO_RANGE
from phenotyping.relaxometry import FitStatus, fit_decay, fit_inversion_recovery

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Curve = Literal["recovery", "decay"]

#: widths of the smoothing in pixels, from coarse to fine: a step reaches about as far as the images are smooth
LEVELS_PX: Final = (4.0, 2.0, 1.0, 0.75)
STEPS: Final = 15
LARGEST_STEP_PX: Final = 1.0
#: further than a heart moves between breath-held beats: such an image was lost, and stays where it was
LARGEST_MM: Final = 20.0
SETTLED_PX: Final = 0.01
#: keeps an image whose contrast tells little (near the null) from running away
DAMPING: Final = 0.05


@dataclass(frozen=True)
class CurveFit:
    """Samples with their sign `(pixels, n_times)`, what the fit expects, and an orthonormal basis of the directions in
    which the fit can follow `(pixels, n_times, n_unknowns)`; all of the pixels where there is a fit (`usable`)."""

    signs: Array
    expected: Array
    basis: Array
    usable: Mask


def rigid_motion(images: Array, times: Array, *, curve: Curve, mask: Mask, spacing_mm: tuple[float, float]) -> Array:
    """Motion of each image against the common position.

    Parameters
    ----------
    images
        `(n_times, y, x)`, magnitudes on a scale near 1.
    times
        `(n_times,)`, ms.
    mask
        `(y, x)`: where the residual counts.

    Returns
    -------
    `(n_times, 3)`: turn about the middle of the image in rad, shift y and x in mm, from the common position to the image;
    means are 0.
    """
    n, shape = len(images), images.shape[1:]
    motion = np.zeros((n, 3))
    where = np.argwhere(mask).astype(np.float64)
    middle = (np.array(shape) - 1) / 2
    pixel = np.array(spacing_mm)
    arm = (where - middle) * pixel
    reach = float(np.sqrt((arm**2).sum(axis=1).mean())) or 1.0
    for width in LEVELS_PX:
        smooth = np.stack([ndimage.gaussian_filter(image, width) for image in images])
        slopes = np.stack([np.gradient(image, *spacing_mm) for image in smooth])
        damping, cost, before = DAMPING, np.inf, motion
        for _ in range(STEPS):
            now, step = _step(smooth, slopes, motion, times, curve, arm, middle, pixel, damping)
            if now > cost:  # back, and a shorter step from there
                motion, damping = before, 30 * damping
                _, step = _step(smooth, slopes, motion, times, curve, arm, middle, pixel, damping)
            else:
                cost, before, damping = now, motion, max(DAMPING, damping / 3)
            limit = LARGEST_STEP_PX * float(pixel.min())
            step[:, 0] = np.clip(step[:, 0], -limit / reach, limit / reach)
            step[:, 1:] = np.clip(step[:, 1:], -limit, limit)
            motion = motion + step
            lost = np.abs(motion * [reach, 1, 1]).max(axis=1) > LARGEST_MM
            motion[lost] = 0.0
            motion = motion - motion.mean(axis=0)
            if np.abs(step * [reach, 1, 1]).max() < SETTLED_PX * pixel.min():
                break
        if _step(smooth, slopes, motion, times, curve, arm, middle, pixel, damping)[0] > cost:
            motion = before
    return motion


def _step(
    images: Array,
    slopes: Array,
    motion: Array,
    times: Array,
    curve: Curve,
    arm: Array,
    middle: Array,
    pixel: Array,
    damping: float,
) -> tuple[float, Array]:
    """Mean squared residual, and the damped Gauss-Newton step of all motions, `(n_times, 3)`."""
    n = len(images)
    samples, moved = np.empty((len(arm), n)), np.empty((len(arm), n, 3))
    for i, (turn, *shift) in enumerate(motion):
        cos, sin = np.cos(turn), np.sin(turn)
        # (x, y) turn counterclockwise in the order x, y: y' = sin x + cos y
        turned = np.column_stack([sin * arm[:, 1] + cos * arm[:, 0], cos * arm[:, 1] - sin * arm[:, 0]])
        place = ((turned + shift) / pixel + middle).T
        samples[:, i] = _at(images[i], place)
        down, right = _at(slopes[i, 0], place), _at(slopes[i, 1], place)
        moved[:, i] = np.column_stack([down * turned[:, 1] - right * turned[:, 0], down, right])
    fit = fitted_curve(samples, times, curve)
    if not fit.usable.any():
        return float("inf"), np.zeros((n, 3))
    jacobian = fit.signs[:, :, None] * moved[fit.usable]
    residual = fit.signs * samples[fit.usable] - fit.expected
    # GN of |P r|^2 with P = 1 - Q Q': normal matrix J' P J, J block-diagonal over images
    through = np.einsum("pnk,pna->pkna", fit.basis, jacobian)
    square = np.einsum("pna,pnb->nab", jacobian, jacobian)
    normal = -np.einsum("pkna,pkmb->namb", through, through, optimize=True)
    normal[np.arange(n), :, np.arange(n)] += square
    normal = normal.reshape(3 * n, 3 * n)
    side = np.einsum("pna,pn->na", jacobian, residual).reshape(-1)
    scale = np.sqrt(np.einsum("naa->na", square).reshape(-1) + 1e-300)
    normal = normal / scale[:, None] / scale[None, :] + damping * np.eye(3 * n)
    step = -(np.linalg.solve(normal, side / scale) / scale).reshape(n, 3)
    return float((residual**2).mean()), step


def fitted_curve(samples: Array, times: Array, curve: Curve) -> CurveFit:
    """Fit every row of `samples` `(pixels, n_times)` and give what motion correction needs of it."""
    if curve == "recovery":
        # found anew at every alignment: that of images not yet aligned is wrong, and sends some of them astray
        known = inversion_efficiency(samples, times)
        recovery = fit_inversion_recovery(samples, times, look_locker=False, efficiency=known)
        usable = recovery.status == FitStatus.OK
        rank = np.argsort(np.argsort(times, kind="stable"), kind="stable")
        signs = np.where(rank < recovery.n_inverted[usable, None], -1.0, 1.0)
        t, constant, slope = recovery.t1_star_ms[usable], recovery.a[usable], -recovery.b[usable]
    else:
        decay = fit_decay(samples, times)
        usable = decay.status == FitStatus.OK
        signs = np.ones((int(usable.sum()), len(times)))
        t, constant, slope = decay.t_ms[usable], decay.offset[usable], decay.amplitude[usable]
    ratio = times / t[:, None]
    e = np.exp(-ratio)
    level = np.divide(constant, slope, out=np.zeros_like(slope), where=slope != 0)
    columns = [level[:, None] + e, ratio * e]
    basis, _ = np.linalg.qr(np.stack(columns, axis=-1)) if len(t) else (np.zeros((0, len(times), len(columns))), None)
    return CurveFit(signs, constant[:, None] + slope[:, None] * e, basis, usable)


def inversion_efficiency(samples: Array, times: Array) -> float:
    """Half of the median B / A, for all pixels.

    With a B of its own, a pixel can follow images right after the inversion wherever they lie: their position would not
    be determined. B / A is a property of sequence and inversion more than of tissue.
    """
    free = fit_inversion_recovery(samples, times)
    usable = free.status == FitStatus.OK
    ratio = float(np.median(free.b[usable] / free.a[usable])) if usable.any() else 2.0
    return float(np.clip(ratio, *RATIO_RANGE)) / 2


def _at(image: Array, place: Array) -> Array:
    return np.asarray(ndimage.map_coordinates(image, place, order=1, mode="nearest"))
