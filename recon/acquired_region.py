"""Which part of k-space was measured, and where is its center?

A file may lack lines: partial Fourier leaves out one side of ky, an asymmetric echo the beginning of kx. Some files hold
zeros there, others end early, so that the center of k-space is not the center of the array. Both are measured here.
Where the center is off, k-space is padded with zeros until it lies at n // 2, so that masks, calibration regions and
transforms mean what they say. Padding keeps the field of view: the pixel is the field of view over the padded length.
What was never measured is marked, so that no reconstruction takes its zeros for data.

The center is where the energy is: for each frame and slice the root of the energy of each line; of these, relative to
the whole, the median over frames and slices, which a spike or a nulled frame does not move; its highest line; and from
there the centroid of the energy above the background in a window that is symmetric and inside what was measured. The
phase that an object's position puts on k-space does not enter, as only magnitudes do.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed

HALF_WINDOW = 6  # lines on each side of the centroid's window
CENTROID_STEPS = 5
CENTERED_LINES = 2.0
"""An offset up to this is none: a smooth phase of the image moves the energy by a line or two in centered files."""
PROMINENCE = 3.0  # highest line over the median one, below which there is no center to be seen
LARGEST_OFFSET = 0.4  # of the axis; partial Fourier of 5/8, the least in use, gives 0.3
AXES = ("ky", "kx")


@dataclass(frozen=True)
class Axis:
    """One axis of k-space as stored, and as it is laid out with its center at n // 2.

    Attributes
    ----------
    acquired : bool array (n,)
        Where something was measured.
    center : float or None
        Position of the center in samples, None where no line stands out (it is then taken to be n // 2).
    start, length : int
        Where the stored samples begin in the padded axis, and its length.
    """

    acquired: NDArray[np.bool_]
    center: float | None
    start: int
    length: int

    @property
    def padded(self) -> bool:
        """Whether zeros are added."""
        return self.length != len(self.acquired)

    def laid_out(self) -> NDArray[np.bool_]:
        """``acquired`` on the padded axis."""
        out = np.zeros(self.length, np.bool_)
        out[self.start : self.start + len(self.acquired)] = self.acquired
        return out


@dataclass(frozen=True)
class AcquiredRegion:
    """What of a scan's k-space was measured: its two axes."""

    ky: Axis
    kx: Axis

    @property
    def full(self) -> bool:
        """Whether all of the matrix was measured, with its center where it should be."""
        return not (self.ky.padded or self.kx.padded) and bool(self.ky.acquired.all() and self.kx.acquired.all())

    def pad(self, array: NDArray[Any]) -> NDArray[Any]:
        """Zeros (or False) around (..., ky, kx) so that the center lies at n // 2; the array itself where it does."""
        if not (self.ky.padded or self.kx.padded):
            return array
        out = np.zeros((*array.shape[:-2], self.ky.length, self.kx.length), array.dtype)
        ky, kx = (slice(axis.start, axis.start + len(axis.acquired)) for axis in (self.ky, self.kx))
        out[..., ky, kx] = array
        return out

    def acquired(self, oversampling: int = 1) -> NDArray[np.bool_]:
        """Measured points (ky, kx) of the padded matrix, the readout without its oversampling.

        Without oversampling a sample of the readout stands for ``oversampling`` of the stored ones; it counts as
        measured where the stored one in its place was.
        """
        readout = self.kx.laid_out()
        kept = len(readout) // oversampling
        place = (np.arange(kept) - kept // 2) * oversampling + len(readout) // 2
        return self.ky.laid_out()[:, None] & readout[place]

    def record(self) -> dict[str, Any]:
        """Plain types for a manifest: sizes, centers and measured ranges, ky before kx."""
        axes = (self.ky, self.kx)
        return {
            "stored_matrix": [len(axis.acquired) for axis in axes],
            "padded_matrix": [axis.length for axis in axes],
            "center": [None if axis.center is None else round(axis.center, 2) for axis in axes],
            "acquired_first": [int(np.flatnonzero(axis.acquired)[0]) for axis in axes],
            "acquired_last": [int(np.flatnonzero(axis.acquired)[-1]) for axis in axes],
            "note": self.note(),
        }

    def note(self) -> str:
        """In words what is unusual; empty for full, centered k-space."""
        said = []
        for name, axis in zip(AXES, (self.ky, self.kx), strict=True):
            n, measured = len(axis.acquired), int(axis.acquired.sum())
            if axis.padded:
                said.append(
                    f"center of {name} at {axis.center:.1f} of {n}: padded to {axis.length}, from {axis.start} on"
                )
            if measured < n:
                said.append(f"{n - measured} of {n} {name} never measured")
        return "; ".join(said)


class Survey:
    """Energies of a scan's lines and samples, gathered slice by slice."""

    def __init__(self) -> None:
        self._lines: list[NDArray[np.float64]] = []
        self._samples: list[NDArray[np.float64]] = []

    def add(self, kspace: NDArray[np.complex64]) -> None:
        """Take in slices (frames, slices, coils, ky, kx), readout as stored."""
        for part in kspace.swapaxes(0, 1):
            planes = [np.einsum("cyx,cyx->yx", p.real, p.real) + np.einsum("cyx,cyx->yx", p.imag, p.imag) for p in part]
            energy = np.array(planes, np.float64)
            self._lines.append(energy.sum(2))
            self._samples.append(energy.sum(1))

    def region(self, *, oversampling: int = 1) -> AcquiredRegion:
        """What was measured, and how it is laid out.

        Parameters
        ----------
        oversampling
            Of the readout; the padded length of kx is a multiple of it.

        Raises
        ------
        MeasurementFailed
            A frame of a slice is empty; lines are missing inside what was measured, so that this is no fully sampled
            scan; or the energy lies where no center can be.
        """
        lines, samples = np.stack(self._lines, 1), np.stack(self._samples, 1)
        empty = np.argwhere(lines.sum(2) == 0)
        if len(empty):
            frame, index = (int(i) for i in empty[0])
            raise MeasurementFailed(
                f"expected signal in every frame and slice, got all-zero k-space in frame {frame}, slice {index} "
                f"({len(empty)} in all): leave the empty ones out"
            )
        n_ky, n_kx = lines.shape[2], samples.shape[2]
        return AcquiredRegion(
            ky=_axis(lines, "ky", multiple=2 if n_ky % 2 == 0 else 1),
            kx=_axis(samples, "kx", multiple=max(oversampling, 2 if n_kx % 2 == 0 else 1)),
        )


def survey(kspace: NDArray[np.complex64], *, oversampling: int = 1) -> AcquiredRegion:
    """``Survey`` of a scan that is in memory, (frames, slices, coils, ky, kx)."""
    found = Survey()
    found.add(kspace)
    return found.region(oversampling=oversampling)


def center_of(energy: NDArray[np.float64]) -> float | None:
    """Position of the center of k-space along an axis, to a part of a line; None where no line stands out.

    Parameters
    ----------
    energy : array (..., n)
        Sums of squares by line, of every frame and slice.
    """
    share = np.sqrt(energy / energy.sum(-1, keepdims=True)).reshape(-1, energy.shape[-1])
    amplitude = np.median(share, axis=0)
    inside = np.flatnonzero(amplitude)
    if len(inside) < 2 * HALF_WINDOW:
        return None
    first, last = int(inside[0]), int(inside[-1])
    background = float(np.median(amplitude[inside]))
    center = float(amplitude.argmax())
    if amplitude[round(center)] < PROMINENCE * background:
        return None
    for _ in range(CENTROID_STEPS):
        middle = round(center)
        half = min(HALF_WINDOW, middle - first, last - middle)
        window = slice(middle - half, middle + half + 1)
        weight = np.clip(amplitude[window] ** 2 - background**2, 0, None)
        if half < 1 or not weight.any():
            break
        center = float((weight * np.arange(window.start, window.stop)).sum() / weight.sum())
    return center


def centered_layout(n: int, center: int, *, multiple: int) -> tuple[int, int]:
    """Where n samples begin, and the least length, a multiple, of an axis whose middle n // 2 is their ``center``."""
    length = n + -n % multiple
    while length // 2 < center or length - length // 2 < n - center:
        length += multiple
    return length // 2 - center, length


def _axis(energy: NDArray[np.float64], name: str, *, multiple: int) -> Axis:
    measured = energy.reshape(-1, energy.shape[-1]) > 0
    acquired: NDArray[np.bool_] = np.any(measured, axis=0)
    n = len(acquired)
    inside = np.flatnonzero(acquired)
    first, last = int(inside[0]), int(inside[-1])
    lacking = ~measured[:, first : last + 1]
    if lacking.any():
        row = int(lacking.any(1).argmax())
        raise MeasurementFailed(
            f"expected a fully sampled scan, got one that lacks {int(lacking[row].sum())} of {last - first + 1} {name} "
            f"between those measured, the first at {name} {first + int(lacking[row].argmax())}: "
            "take the file of the fully sampled scan"
        )
    center = center_of(energy)
    offset = 0.0 if center is None else center - n // 2
    if abs(offset) <= CENTERED_LINES:
        return Axis(acquired, center, 0, n)
    if abs(offset) > LARGEST_OFFSET * n:
        raise MeasurementFailed(
            f"expected the center of k-space in the middle part of {name}, got the energy at {center:.1f} of {n}: "
            "the data are damaged, or their axes in another order"
        )
    return Axis(acquired, center, *centered_layout(n, round(n // 2 + offset), multiple=multiple))
