"""How thick is the wall by the UK Biobank's convention, step by step?

A repetition from a written description, quirks included (pixel-center contours, nearest point instead of nearest
segment, septum midpoint in contour order, base taken from the affine); for comparison with published numbers
(Bai et al., doi 10.1186/s12968-018-0471-x). For measuring use the `corrected` convention.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import UnivariateSpline
from scipy.spatial import cKDTree

from cohort.records import MeasurementFailed
from phenotyping import aha
from phenotyping.labels import LV, MYOCARDIUM, NAMES, RV, Labels

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MIN_PIXELS: Final = 10
MIN_SLICES: Final = 6
#: smoothing of the spline, and the sampling relative to the contour's pixels
SMOOTHNESS: Final = 0.05
UPSAMPLE: Final = 4


def ukbb_points(labels_xyz: Labels, affine: Array) -> aha.WallPoints:
    """Thickness at every endocardial contour point of a label volume `(x, y, z)`; weights are all one.

    Raises
    ------
    MeasurementFailed
        Where the convention's own checks fail: 10 voxels a tissue, 6 contiguous slices with LV and myocardium, RV
        in the middle slice.
    """
    mid = _check(labels_xyz)
    frame = _frame(labels_xyz[:, :, mid], affine, mid)
    slices = [z for z in range(labels_xyz.shape[2]) if _measurable(labels_xyz[:, :, z])]
    height = [(affine @ [labels_xyz.shape[0] / 2, labels_xyz.shape[1] / 2, z, 1])[2] for z in slices]
    if not slices:
        raise MeasurementFailed("no slice with a connected LV cavity and wall of 10 pixels")
    base_first = [slices[i] for i in np.argsort(-np.array(height), kind="stable")]
    level_of_slice = dict(zip(base_first, aha.levels(len(slices)), strict=True))
    points, thickness, segment = [], [], []
    for z in slices:
        endo, epi = _borders(labels_xyz[:, :, z])
        endo_world, epi_world = (_world(_smooth(_contour(mask)), affine, z) for mask in (endo, epi))
        distance, _ = cKDTree(epi_world).query(endo_world)
        points.append(endo_world)
        thickness.append(np.asarray(distance, dtype=np.float64))
        center = endo_world.mean(axis=0)
        segment.append(aha.segments(endo_world, center, frame=frame, level=level_of_slice[z]))
    every = np.concatenate(thickness)
    return aha.WallPoints(
        np.concatenate(points), every, np.ones_like(every), np.concatenate(segment), frame, level_of_slice, {}
    )


def _check(labels: Labels) -> int:
    """The middle slice, if the volume passes the convention's quality control."""
    for tissue in (LV, MYOCARDIUM, RV):
        count = int(np.count_nonzero(labels == tissue))
        if count < MIN_PIXELS:
            raise MeasurementFailed(f"{NAMES[tissue]} has {count} voxels, the ukbb convention needs {MIN_PIXELS}")
    per_slice = [np.count_nonzero(labels == tissue, axis=(0, 1)) >= MIN_PIXELS for tissue in (LV, MYOCARDIUM)]
    good = np.flatnonzero(per_slice[0] & per_slice[1])
    if good.size < MIN_SLICES or np.any(np.diff(good) != 1):
        raise MeasurementFailed(
            f"the ukbb convention needs {MIN_SLICES} contiguous slices with LV and myocardium, found {good.tolist()}"
        )
    mid = round(float(np.mean(np.nonzero(labels == LV)[2])))
    image = labels[:, :, mid]
    if np.count_nonzero(_borders(image)[1]) < MIN_PIXELS or np.count_nonzero(image == RV) < MIN_PIXELS:
        raise MeasurementFailed(f"the middle slice {mid} holds too little LV wall or RV")
    return mid


def _measurable(image: Labels) -> bool:
    endo = _largest(image == LV)
    return bool(np.count_nonzero(endo) >= MIN_PIXELS and np.count_nonzero(_myocardium(image)) >= MIN_PIXELS)


def _borders(image: Labels) -> tuple[Mask, Mask]:
    endo = _largest(image == LV)
    return endo, _largest(endo | _myocardium(image))


def _myocardium(image: Labels) -> Mask:
    parts, n = ndimage.label(image == MYOCARDIUM)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)
    sizes[0] = 0
    kept: Mask = (sizes >= MIN_PIXELS)[parts]
    return kept


def _largest(mask: Mask) -> Mask:
    parts, n = ndimage.label(mask)
    if n == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: Mask = parts == np.argmax(sizes)
    return largest


def _contour(mask: Mask) -> Array:
    """Boundary pixels `(n, 2)` as (row, column) in OpenCV's order."""
    found, _ = cv2.findContours(np.ascontiguousarray(mask, dtype=np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    return np.asarray(found[0], dtype=np.float64).reshape(-1, 2)[:, ::-1]


def _smooth(contour: Array) -> Array:
    """Periodically padded smoothing splines of both coordinates, evaluated at four times the points."""
    n = len(contour)
    pad = n // 2
    index = np.arange(-pad, n + pad)
    t_padded = index / n
    t = np.arange(UPSAMPLE * n) / (UPSAMPLE * n)
    padded = contour[index % n]
    columns = [UnivariateSpline(t_padded, padded[:, k], s=SMOOTHNESS * len(padded))(t) for k in (0, 1)]
    return np.stack(columns, axis=1)


def _world(contour: Array, affine: Array, z: int) -> Array:
    homogeneous = np.column_stack([contour, np.full(len(contour), float(z)), np.ones(len(contour))])
    world = (homogeneous @ affine.T)[:, :3]
    return world.astype(np.float32).astype(np.float64)


def _frame(image: Labels, affine: Array, z: int) -> aha.Axes:
    endo, epi = _borders(image)
    epi_contour = _contour(epi)
    rv = (image == RV).astype(np.uint8)
    rows, columns = epi_contour.astype(np.int64).T
    kernel = np.ones((3, 3), np.uint8)
    while not rv[rows, columns].any():
        rv = np.asarray(cv2.dilate(rv, kernel), dtype=np.uint8)
    septum = epi_contour[rv[rows, columns] > 0]
    midpoint = septum[round(len(septum) / 2)]
    center = _contour(endo).mean(axis=0)
    direction = _world(midpoint[None], affine, z)[0] - _world(center[None], affine, z)[0]
    base = np.array(affine[:3, 2], dtype=np.float64)
    return aha.axes(direction, base if base[2] > 0 else -base)
