"""How far are the scans of a center from what the reconstruction network was trained on?

Five measures of a scan, all of measured points alone, so that they need no reference image: the spread of its energy over
k-space, the correlation of its coils, its noise, where it was sampled, and what is said of it in words. Training draws
give the range that is usual.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.cardiomm.prompts import HashedNgramEncoder, TextEncoder, metadata_text
from recon.coils import calibration_size
from recon.fourier import center_crop
from recon.kspace_energy import noise_variance, radial_energy
from recon.training_cohort import ScanSummary, TrainingCohort, load_training_cohort

N_RINGS = 16
DENSITY_BINS = (16, 4)  # of ky, whose sides differ in partial Fourier, and of |kx|
MEASURES = ("radial_energy", "coil_correlation", "noise", "mask_overlap", "text_novelty")
ONE_SIDED = {"radial_energy": "high", "mask_overlap": "low", "text_novelty": "high"}
RANGE = (1.0, 99.0)  # percentiles of training draws
SAME_TEXT = 1e-6

Scan = tuple[str, NDArray[np.complex64], NDArray[np.bool_], Mapping[str, Any]]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """One measure of one center beside the training.

    Attributes
    ----------
    center, measure : str
    value : float
        Median over the center's scans; NaN if none defines it (coil correlation of single coils).
    low, high : float
        Usual range: 1st and 99th percentile of training draws, open (infinite) on the side that is no shift.
    share_outside : float
        Part of the scans outside the range.
    n_scans : int
        Scans that define the measure.
    flagged : bool
        Whether the median lies outside.
    note : str
        In words, where numbers say too little: the sentence that was never seen and the nearest one that was.
    """

    center: str
    measure: str
    value: float
    low: float
    high: float
    share_outside: float
    n_scans: int
    flagged: bool
    note: str = ""


def shift_from_training(
    scans: Iterable[Scan], *, cohort: TrainingCohort | None = None, encoder: TextEncoder | None = None
) -> list[Shift]:
    """Measure every center of a cohort against the training.

    Parameters
    ----------
    scans : iterable of (center, kspace, mask, metadata)
        k-space (frames, slices, coils, ky, kx), points outside the mask not read; mask (frames, ky, kx), one frame for
        all; metadata as the metadata sentence needs it. One scan at a time is held.
    cohort : TrainingCohort or None
        What the network was trained on; None for the summary beside the shipped weights.
    encoder : TextEncoder or None
        That of the network; None for the embedded one.

    Returns
    -------
    list of Shift
        Centers in order of appearance, measures in the order of ``MEASURES``.

    Raises
    ------
    ValueError
        No scan, or shapes that do not fit.
    WeightsProblem
        The summary of the training is missing or unreadable.
    """
    summaries = ((center, summarize_scan(kspace, mask, metadata=said)) for center, kspace, mask, said in scans)
    return shift_of_summaries(summaries, cohort=cohort, encoder=encoder)


def shift_of_summaries(
    scans: Iterable[tuple[str, ScanSummary]],
    *,
    cohort: TrainingCohort | None = None,
    encoder: TextEncoder | None = None,
) -> list[Shift]:
    """As `shift_from_training`, of scans that were summarized before by `summarize_scan`: pairs of center and summary."""
    reference = cohort or load_training_cohort()
    embed = encoder or HashedNgramEncoder()
    known = np.asarray(embed(reference.sentences), dtype=np.float64)
    centers: dict[str, list[ScanSummary]] = {}
    for center, summary in scans:
        centers.setdefault(center, []).append(summary)
    if not centers:
        raise ValueError("expected at least one scan to compare with the training, got none")
    usual = [_distances(scan, reference, skip=i) for i, scan in enumerate(reference.scans)]
    ranges = {name: _usual_range(name, [row[name] for row in usual]) for name in MEASURES[:-1]}
    ranges["text_novelty"] = (-np.inf, SAME_TEXT)
    table = []
    for center, members in centers.items():
        rows = [_distances(scan, reference) for scan in members]
        for row, scan in zip(rows, members, strict=True):
            row["text_novelty"], _ = _novelty(scan.sentence, reference.sentences, known, embed)
        for name in MEASURES:
            note = _unseen(members, reference, known, embed) if name == "text_novelty" else ""
            table.append(_shift(center, name, [row[name] for row in rows], ranges[name], note))
    return table


def summarize_scan(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], *, metadata: Mapping[str, Any]
) -> ScanSummary:
    """The measures of one scan that need no comparison.

    Parameters
    ----------
    kspace : complex array (frames, slices, coils, ky, kx)
    mask : bool array (frames, ky, kx), one frame for all

    Raises
    ------
    ValueError
        Shapes that do not fit, no measured point, or values there that are not finite.
    """
    if kspace.ndim != 5 or mask.ndim != 3 or mask.shape[1:] != kspace.shape[3:] or len(mask) not in (1, len(kspace)):
        raise ValueError(
            f"expected k-space (frames, slices, coils, ky, kx) and a mask (frames, ky, kx), got {kspace.shape} and {mask.shape}"
        )
    sampled = np.broadcast_to(mask, (len(kspace), *mask.shape[1:]))
    rings, correlations, noise = [], [], []
    for z in range(kspace.shape[1]):
        measured = np.where(sampled[:, None], kspace[:, z], np.complex64(0))
        energy = float((np.abs(measured).astype(np.float64) ** 2).sum())
        if not (np.isfinite(energy) and energy > 0):
            raise ValueError(f"expected finite measured k-space with signal, got energy {energy} in slice {z}")
        ring = radial_energy(measured, sampled, n_bins=N_RINGS)
        rings.append(ring)
        correlations.append(coil_correlation(measured, sampled))
        noise.append(_noise_share(measured, sampled))
    return ScanSummary(
        rings=tuple(np.mean(rings, axis=0).tolist()),
        coil_correlation=float(np.mean(correlations)),
        noise=float(np.median(noise)),
        density=tuple(sampling_density(sampled).tolist()),
        sentence=metadata_text(metadata),
    )


def coil_correlation(kspace: NDArray[np.complex64], mask: NDArray[np.bool_]) -> float:
    """Mean absolute correlation of two coils over the sampled central square of one slice (frames, coils, ky, kx).

    A mean over pairs, so it does not grow with the number of coils; NaN for one coil. 1: all coils see the same; low:
    each sees its own part. Without a fully sampled center all measured points count.
    """
    n_coils = kspace.shape[1]
    if n_coils < 2:
        return float("nan")
    block = _center(kspace, mask)
    flat = block.transpose(1, 0, 2, 3).reshape(n_coils, -1).astype(np.complex128)
    covariance = flat @ flat.conj().T
    sd = np.sqrt(np.maximum(np.diag(covariance).real, np.finfo(np.float64).tiny))
    correlation = np.abs(covariance) / np.outer(sd, sd)
    return float(correlation[~np.eye(n_coils, dtype=bool)].mean())


def sampling_density(mask: NDArray[np.bool_]) -> Float:
    """Share of the points that is measured, in 16 x 4 cells of ky and |kx|, flattened; mean over frames."""
    density = mask.mean(axis=0)
    n_ky, n_kx = density.shape
    rows = np.arange(n_ky) * DENSITY_BINS[0] // n_ky
    columns = np.minimum(np.abs(np.arange(n_kx) - n_kx // 2) / max(n_kx / 2, 1) * DENSITY_BINS[1], DENSITY_BINS[1] - 1)
    cells = (rows, columns.astype(np.int64))
    cell = cells[0][:, None] * DENSITY_BINS[1] + cells[1][None, :]
    n_cells = DENSITY_BINS[0] * DENSITY_BINS[1]
    points = np.bincount(cell.ravel(), minlength=n_cells)
    sums = np.bincount(cell.ravel(), weights=density.ravel(), minlength=n_cells)
    return np.asarray(np.where(points > 0, sums / np.maximum(points, 1), 0.0))


def jensen_shannon(p: Float, q: Float) -> float:
    """Jensen-Shannon divergence of two distributions in bits: 0 for equal ones, 1 for disjoint ones.

    Source: Lin 1991, doi:10.1109/18.61115.
    """
    middle = (p + q) / 2

    def relative(a: Float) -> float:
        inside = a > 0
        return float((a[inside] * np.log2(a[inside] / middle[inside])).sum())

    return (relative(p) + relative(q)) / 2


def _noise_share(measured: NDArray[np.complex64], sampled: NDArray[np.bool_]) -> float:
    """log10 of noise over signal amplitude, the signal that of the sampled central square."""
    variance = float(noise_variance(measured, sampled).mean())
    center = _center(measured, sampled)
    signal = float((np.abs(center).astype(np.float64) ** 2).sum()) / (len(measured) * measured.shape[1])
    per_pixel = signal / (sampled.shape[1] * sampled.shape[2])
    return float(0.5 * np.log10(max(variance / per_pixel, 1e-12)))


def _center(kspace: NDArray[np.complex64], mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
    """The largest fully sampled square about the center, so that lines and spokes compare; all of it if there is none."""
    side = min(calibration_size(mask))
    return center_crop(kspace, (side, side)) if side > 1 else kspace


def _distances(scan: ScanSummary, cohort: TrainingCohort, *, skip: int | None = None) -> dict[str, float]:
    """Measures of a scan against the training, leaving out one training draw (the scan itself)."""
    others = [other for i, other in enumerate(cohort.scans) if i != skip]
    mean = np.mean([_amplitudes(other.rings) for other in others], axis=0)
    mine = np.asarray(scan.density)
    densities = np.array([other.density for other in others])
    overlap = np.minimum(mine, densities).sum(axis=1) / np.maximum(mine, densities).sum(axis=1)
    return {
        "radial_energy": jensen_shannon(_amplitudes(scan.rings), mean),
        "coil_correlation": scan.coil_correlation,
        "noise": scan.noise,
        "mask_overlap": float(overlap.max()),
    }


def _amplitudes(rings: Sequence[float]) -> Float:
    """Shares of amplitude instead of energy, of which the innermost rings hold nearly all whatever the rest does."""
    root = np.sqrt(np.asarray(rings))
    return np.asarray(root / root.sum())


def _usual_range(name: str, values: Sequence[float]) -> tuple[float, float]:
    finite = np.asarray(values)[np.isfinite(values)]
    low, high = (float(edge) for edge in np.percentile(finite, RANGE))
    side = ONE_SIDED.get(name)
    return (-np.inf if side == "high" else low), (np.inf if side == "low" else high)


def _shift(center: str, name: str, values: Sequence[float], usual: tuple[float, float], note: str) -> Shift:
    low, high = usual
    finite = np.asarray(values)[np.isfinite(values)]
    if not len(finite):
        return Shift(center, name, float("nan"), low, high, float("nan"), 0, False, "not defined for these scans")
    outside = (finite < low) | (finite > high)
    middle = float(np.median(finite))
    flagged = not low <= middle <= high
    if name == "text_novelty":
        flagged = bool(outside.any())  # one unseen scanner of a center is news, whatever its other scans say
    return Shift(center, name, middle, low, high, float(outside.mean()), len(finite), flagged, note)


def _novelty(sentence: str, sentences: Sequence[str], known: Float, encoder: TextEncoder) -> tuple[float, str]:
    """1 - cosine to the nearest training sentence, and that sentence."""
    if sentence in sentences:
        return 0.0, sentence
    mine = np.asarray(encoder([sentence])[0], dtype=np.float64)
    lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(mine)
    cosine = known @ mine / np.maximum(lengths, np.finfo(np.float64).tiny)
    nearest = int(cosine.argmax())
    return float(max(1 - cosine[nearest], 2 * SAME_TEXT)), sentences[nearest]


def _unseen(members: Sequence[ScanSummary], cohort: TrainingCohort, known: Float, encoder: TextEncoder) -> str:
    """The sentence farthest from the training, and the nearest one of the training."""
    found = {scan.sentence: _novelty(scan.sentence, cohort.sentences, known, encoder) for scan in members}
    sentence, (novelty, nearest) = max(found.items(), key=lambda item: item[1][0])
    return f"never seen: {sentence!r}; nearest: {nearest!r}" if novelty > SAME_TEXT else ""
