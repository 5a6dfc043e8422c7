"""Where in the field of view is the heart, so that the network need not look elsewhere?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

HEART_MARGIN_PX = 16  # around the heart found in the first frame, on the model's grid: it moves by less in a cycle
BACKGROUND_LOGIT = 1e4  # outside the region; finite also in half precision, so that interpolation beside it is, too
SMALL_PART = 0.1  # what is smaller, compared with the largest thing labeled, is not searched for in later frames


@dataclass(frozen=True)
class Region:
    """In-plane part of the model's grid that holds the heart, and the grid that it belongs to."""

    rows: slice
    columns: slice
    shape: tuple[int, ...]
    bounding_box: object

    def fits(self, shape: tuple[int, ...], bounding_box: object) -> bool:
        """Whether a frame (channels, slices, y, x) lies on the same grid."""
        return self.shape == tuple(shape[1:]) and self.bounding_box == bounding_box

    def surrounded(self, logits: torch.Tensor, *, background: int | None) -> torch.Tensor:
        """The logits of the region within the whole grid; elsewhere only class ``background`` is likely, or none."""
        whole = torch.full((logits.shape[0], *self.shape), -BACKGROUND_LOGIT, dtype=logits.dtype)
        if background is not None:
            whole[background] = BACKGROUND_LOGIT
        whole[:, :, self.rows, self.columns] = logits
        return whole


def heart_region(labels: NDArray[Any], *, patch: tuple[int, int], bounding_box: object) -> Region | None:
    """The in-plane box around all larger things labeled, at least one patch large; None where there is nothing.

    Parameters
    ----------
    labels
        (slices, y, x) on the model's grid.
    patch
        Of the network, pixels.
    bounding_box
        Part of the image that the model's grid covers.
    """
    n_voxels = (labels > 0).sum(axis=0)
    parts, n_parts = ndimage.label(n_voxels)
    if not n_parts:
        return None
    sizes = ndimage.sum_labels(n_voxels, parts, np.arange(1, n_parts + 1))
    found = np.isin(parts, 1 + np.flatnonzero(sizes > SMALL_PART * sizes.max()))
    box = []
    for axis, wanted in enumerate(patch):
        where = np.flatnonzero(found.any(axis=1 - axis))
        low, high, size = int(where[0]) - HEART_MARGIN_PX, int(where[-1]) + 1 + HEART_MARGIN_PX, found.shape[axis]
        length = min(size, max(wanted, high - low))
        start = min(max(0, (low + high - length) // 2), size - length)
        box.append(slice(start, start + length))
    return Region(box[0], box[1], labels.shape, bounding_box)


def largest_part(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels (slices, y, x) of the largest part connected in 3-D, diagonals included; all others become background."""
    parts, n_parts = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    if n_parts < 2:
        return labels
    sizes = np.bincount(parts.ravel())[1:]
    return np.where(parts == 1 + int(np.argmax(sizes)), labels, 0).astype(np.uint8)
