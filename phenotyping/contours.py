"""Where does the border of a labeled region run between the pixel centers?

Of all closed curves that leave every pixel center on its own side, the one whose curvature changes least: the stair
steps of a mask say no more than on which side the centers lie. A bulge that moves several labels stays.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial import cKDTree
from skimage.measure import find_contours

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: standard deviation of the smoothing of the mask for the first guess, pixels
SMOOTHING_PIXELS: Final = 1.0
AREA_BISECTIONS: Final = 9
#: distance of the points on a contour, pixels
STEP_PIXELS: Final = 1.0
#: what a change of curvature costs against a pixel center on the wrong side, pixels^6; one step of refinement each
STIFFNESS: Final = (10.0, 100.0, 1000.0)
#: changes of curvature above this (pixels^-2) are corners and cost in proportion to their size, not to its square:
#: a contour that must not bend would swing beyond them. An oval of radius 15 that is 8 % longer than wide reaches it
CORNER: Final = 0.001
#: pixel centers are kept this far from the curve, so that it runs between them rather than touches them
MARGIN_PIXELS: Final = 0.1
#: pixel centers further from the curve than this cannot change sides
REACH_PIXELS: Final = 2.0
NEWTON_STEPS: Final = 50
CLOSE_PIXELS: Final = 1e-5
#: keeps the linear system regular where no pixel center is near
TETHER: Final = 1e-6


def subpixel_contour(mask: Mask, pixel: Array) -> Array:
    """Border of a region without holes as a closed polygon with evenly spaced points.

    With the curve's normal displacement u(s) the sum over pixel centers on the wrong side of their squared distance
    to the curve, plus `STIFFNESS` times the integral of (d curvature / ds)^2, is least; s in pixels. Circles cost
    nothing, so a circle comes out as a circle; corners cost less than their square (`CORNER`).

    Parameters
    ----------
    mask
        `(nx, ny)`, one connected region.
    pixel
        Pixel size along both axes, any unit.

    Returns
    -------
    `(n, 2)` in index units (pixel centers at whole numbers), about `STEP_PIXELS` apart, first point not repeated.
    """
    scale = np.asarray(pixel, dtype=np.float64) / np.sqrt(np.prod(pixel))
    corner, cut = _cut_out(mask)
    curve = even(_first_guess(cut) * scale, STEP_PIXELS)
    near = np.argwhere(ndimage.distance_transform_edt(cut) + ndimage.distance_transform_edt(~cut) <= 2 * REACH_PIXELS)
    inside = cut[tuple(near.T)]
    for stiffness in STIFFNESS:
        curve = even(_displaced(curve, near * scale, inside, stiffness), STEP_PIXELS)
    return curve / scale + corner


def distance_to_contour(points: Array, contour: Array) -> Array:
    """Distance of points `(n, 2)` to the nearest place on a closed polygon `(m, 2)`."""
    start = contour
    edge = np.roll(contour, -1, axis=0) - start
    length2 = np.maximum(np.sum(edge**2, axis=1), 1e-12)
    offset = points[:, None, :] - start
    along = np.clip(np.sum(offset * edge, axis=2) / length2, 0, 1)
    return np.sqrt(np.min(np.sum((offset - along[..., None] * edge) ** 2, axis=2), axis=1))


def even(contour: Array, step: float) -> Array:
    """The same closed contour with at least 16 points about ``step`` apart."""
    closed = np.concatenate([contour, contour[:1]])
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    n = max(int(np.ceil(arc[-1] / step)), 16)
    at = np.arange(n) * arc[-1] / n
    return np.stack([np.interp(at, arc, closed[:, k]) for k in (0, 1)], axis=1)


def enclosed(contour: Array) -> float:
    """Area inside a closed polygon `(n, 2)`."""
    x, y = contour.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def centroid(contour: Array) -> Array:
    """Center of the area inside a closed polygon `(n, 2)`."""
    nxt = np.roll(contour, -1, axis=0)
    cross = contour[:, 0] * nxt[:, 1] - nxt[:, 0] * contour[:, 1]
    return np.asarray(((contour + nxt) * cross[:, None]).sum(axis=0) / (3 * cross.sum()))


# --- first guess ---------------------------------------------------------------------------------------------------


def _cut_out(mask: Mask) -> tuple[Array, Mask]:
    margin = 5
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    corner = np.array([rows[0], columns[0]], dtype=np.float64) - margin
    return corner, np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], margin)


def _first_guess(cut: Mask) -> Array:
    """Contour of the smoothed mask at the level that keeps the mask's area.

    Smoothing alone would draw a circle of radius R inward by sigma^2 / 2R.
    """
    area = float(cut.sum())
    soft = ndimage.gaussian_filter(cut.astype(np.float64), SMOOTHING_PIXELS)
    low, high = 0.1, 0.9
    for _ in range(AREA_BISECTIONS):
        level = (low + high) / 2
        contour = _longest_contour(soft, level)
        low, high = (level, high) if enclosed(contour) > area else (low, level)
    return contour


def _longest_contour(soft: Array, level: float) -> Array:
    contours = find_contours(soft, level)
    return np.asarray(max(contours, key=len))[:-1] if contours else np.zeros((0, 2))


# --- the smoothest curve that the pixels allow ---------------------------------------------------------------------


def _displaced(curve: Array, centers: Array, inside: Mask, stiffness: float) -> Array:
    """One linearized step: the curve moved along its normals."""
    curve = np.stack(
        [ndimage.gaussian_filter1d(curve[:, k], SMOOTHING_PIXELS / STEP_PIXELS, mode="wrap") for k in (0, 1)], axis=1
    )
    tangent, normal, curvature, step = _geometry(curve)
    n = len(curve)
    distance, found = cKDTree(curve).query(centers)
    near = distance <= REACH_PIXELS
    nearest = np.asarray(found)[near]
    inside, offset = inside[near], centers[near] - curve[nearest]
    along = nearest + np.sum(offset * tangent[nearest], axis=1) / step
    sign = np.where(inside, 1.0, -1.0)
    height = np.sum(offset * normal[nearest], axis=1) + sign * MARGIN_PIXELS
    first = np.floor(along).astype(np.int64)
    share, rows = along - first, np.arange(len(along))
    at = np.zeros((len(along), n))
    at[rows, first % n] = 1 - share
    at[rows, (first + 1) % n] = share
    change, start = _change_of_curvature(curvature, step)
    weight = stiffness * step / np.sqrt(1 + (start / CORNER) ** 2)
    stiff, push = (change.T * weight) @ change + TETHER * np.eye(n), -(change.T * weight) @ start

    def cost(u: Array) -> float:
        short = np.minimum(sign * (at @ u - height), 0)
        return float(short @ short + u @ (stiff @ u) - 2 * push @ u)

    u = np.zeros(n)
    for _ in range(NEWTON_STEPS):
        wrong = np.flatnonzero(sign * (at @ u - height) < 0)
        held = at[wrong]
        factor = cho_factor(stiff + held.T @ held)
        move = cho_solve(factor, push + held.T @ height[wrong]) - u
        if np.abs(move).max() < CLOSE_PIXELS:
            break
        before = cost(u)
        while cost(u + move) > before and np.abs(move).max() > CLOSE_PIXELS / 10:
            move /= 2
        u = u + move
    return np.asarray(curve + u[:, None] * normal)


def _geometry(curve: Array) -> tuple[Array, Array, Array, float]:
    """Tangent, outward normal, curvature (positive for a circle), and the distance of the points."""
    ahead, behind = np.roll(curve, -1, axis=0), np.roll(curve, 1, axis=0)
    step = float(np.linalg.norm(ahead - curve, axis=1).mean())
    tangent = ahead - behind
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12)
    turn = np.sign(np.dot(curve[:, 0], ahead[:, 1]) - np.dot(curve[:, 1], ahead[:, 0]))
    normal = turn * np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    curvature = -np.sum((ahead - 2 * curve + behind) * normal, axis=1) / step**2
    return tangent, normal, curvature, step


def _change_of_curvature(curvature: Array, step: float) -> tuple[Array, Array]:
    """Matrix and start of d/ds (curvature - u'' - curvature^2 u), the curvature of the displaced curve to first order."""
    here = np.eye(len(curvature))
    ahead, behind = np.roll(here, 1, axis=1), np.roll(here, -1, axis=1)
    slope = (ahead - here) / step
    change = -slope @ ((ahead - 2 * here + behind) / step**2 + np.diag(curvature**2))
    return change, slope @ curvature
