"""How does a smooth random field look that is the same on every grid and changes slowly from slice to slice?"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BOX_MM = 320.0
"""Half width of the box in which the fields live."""


class SmoothFields:
    """Smooth random fields in mm coordinates, the same on every grid and changing slowly from slice to slice."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def sample(
        self, number: int, y: Array, x: Array, *, z_mm: float, wavelength_mm: float, z_scale_mm: float = 40.0
    ) -> Array:
        """Field ``number`` of unit standard deviation on rows ``y`` and columns ``x`` at ``z_mm``; no detail finer
        than the wavelength."""
        n = max(2, math.ceil(4 * BOX_MM / wavelength_mm))
        rng = np.random.default_rng((self._seed, number))
        first, second = rng.standard_normal((2, n, n))
        turn = z_mm / z_scale_mm
        order = np.arange(n)
        keep = np.hypot(order[:, None], order[None, :]) <= n
        weights = (math.cos(turn) * first + math.sin(turn) * second) * keep
        rows = np.cos(np.pi * (order + 0.5) * (y[:, None] + BOX_MM) / (2 * BOX_MM))
        columns = np.cos(np.pi * (order + 0.5) * (x[:, None] + BOX_MM) / (2 * BOX_MM))
        return rows @ weights @ columns.T * (2 / math.sqrt(keep.sum()))
