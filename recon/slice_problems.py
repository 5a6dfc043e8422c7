"""What does a method need to know of each slice? Checked k-space in convenient units, and the coil maps."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.coils import calibrated_maps, soft_maps

KSpace = NDArray[np.complex64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SliceProblem:
    """One slice in units near its largest k-space value, so that no square over- or underflows.

    Attributes
    ----------
    kspace : complex tensor (frames, coils, ky, kx)
    maps : complex tensor (coils, y, x)
        Of unit root sum of squares, or less where they are soft.
    unit : float
        A power of two, so that dividing by it is exact.
    """

    kspace: torch.Tensor
    maps: torch.Tensor
    unit: float

    def to_image(self, solution: torch.Tensor) -> NDArray[np.complex64]:
        """Solution (frames, y, x) on the scale of the data's root sum of squares, also where the maps are soft."""
        norm = torch.linalg.vector_norm(self.maps, dim=0)
        image: NDArray[np.complex64] = (solution * (norm * self.unit)).to(torch.complex64).cpu().numpy()
        return image


def slice_problems(
    kspace: KSpace,
    mask: Mask,
    *,
    maps: NDArray[np.complex64] | None,
    device: str | torch.device,
    soft_threshold: float | None = None,
) -> Iterator[SliceProblem]:
    """The slices one after the other, so that only one is held at a time.

    Parameters
    ----------
    kspace : complex array (frames, slices, coils, ky, kx)
    mask : bool array (frames, ky, kx)
    maps : complex array (slices, coils, y, x) or None
        Coil sensitivities of unit root sum of squares; None for ESPIRiT maps of the mask's calibration region.
    device : str
        Where torch computes.
    soft_threshold : float or None
        See ``recon.coils.soft_maps``; only of our own maps.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    MeasurementFailed
        If a slice has no signal or is not finite, or there are no maps and the mask has no calibration region.
    """
    check_inputs(kspace, mask)
    if maps is not None and maps.shape != kspace.shape[1:]:
        raise ValueError(f"expected maps (slices, coils, y, x) of shape {kspace.shape[1:]}, got {maps.shape}")
    for index in range(kspace.shape[1]):
        part = torch.tensor(kspace[:, index], dtype=torch.complex64, device=device)
        low, high = torch.aminmax(torch.view_as_real(part))  # of abs() there would be a copy
        unit = 2.0 ** math.floor(math.log2(float(max(-low, high))))
        part /= unit
        if maps is not None:
            sensitivities = torch.tensor(maps[index], dtype=torch.complex64, device=device)
        else:
            found = calibrated_maps(part[:, None], mask)
            sensitivities = (found.maps if soft_threshold is None else soft_maps(found, soft_threshold))[0]
        yield SliceProblem(part, sensitivities, unit)


def check_inputs(kspace: NDArray[Any], mask: NDArray[Any]) -> None:
    """Refuse what no method can reconstruct: wrong axes, a mask of another size, no signal, NaN or infinity."""
    if kspace.ndim != 5:
        raise ValueError(f"expected k-space (frames, slices, coils, ky, kx), got {kspace.ndim} axes {kspace.shape}")
    wanted = (kspace.shape[0], *kspace.shape[-2:])
    if mask.shape != wanted or mask.dtype != np.bool_:
        raise ValueError(
            f"expected a bool mask (frames, ky, kx) of shape {wanted}, got {mask.dtype} {mask.shape}; "
            "make it for the k-space after removal of the readout oversampling"
        )
    energy = np.array([[np.vdot(part, part).real for part in frame] for frame in kspace])
    if not np.isfinite(energy).all():
        raise MeasurementFailed("expected finite k-space, got NaN or infinity")
    if not energy.all():
        frame, index = np.argwhere(energy == 0)[0]
        raise MeasurementFailed(
            f"expected signal in every frame and slice, got all-zero k-space in frame {frame}, slice {index}"
        )
