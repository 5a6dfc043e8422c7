"""What did the shipped network see in training? Draws scans as the training does and writes their summary.

    python -m flows.training_cohort --acdc DIR [--phantoms 24] [--draws 160] [--weights FILE] [--out FILE]

To be run again whenever the weights are: the shift of a cohort is measured against this summary.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.train import ACDC_SCANNERS, ACDC_TERMS, acdc_images, phantom_images, training_and_monitor_patients
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, weights_sha256
from recon.cardiomm.prompts import metadata_text
from recon.shift import summarize_scan
from recon.training_cohort import SHIPPED_COHORT, ScanSummary, TrainingCohort, save_training_cohort, training_cohort
from recon.training_data import Sampling, SimulatedData, TrainingImage, cached_masks

N_DRAWS, SEED = 160, 2025


def summarize_training(
    *,
    acdc: Path | None,
    n_phantoms: int,
    n_draws: int = N_DRAWS,
    sampling: Sampling | None = None,
    weights: Path | None = None,
    seed: int = SEED,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingCohort:
    """Draw scans from the patients and phantoms of the training, with its coils, noise and masks.

    Parameters
    ----------
    acdc, n_phantoms
        Training data as in ``flows.train.train_reconstruction``; the watched and held patients are left out.
    n_draws
        Scans to summarize.
    sampling
        That of the training; None for its default.
    weights
        Checkpoint that the summary belongs to; None for the shipped one.
    seed
        Of the draws, and of the phantoms and scanners as in training.
    progress
        Called after every draw.
    """
    images: list[TrainingImage] = []
    notes: dict[str, Any] = {"draws": n_draws, "seed": seed, "phantoms": n_phantoms}
    notes["weights_sha256"] = weights_sha256(weights or SHIPPED_WEIGHTS)
    if acdc is not None:
        patients, _ = training_and_monitor_patients()
        images += acdc_images(acdc, patients, rng=np.random.default_rng(seed))
        notes |= {"acdc_terms": ACDC_TERMS, "acdc_patients": len(patients)}
    if n_phantoms:
        images += phantom_images(n_phantoms, seed=seed)
    if not images:
        raise ValueError("expected training data: a folder of ACDC, a number of phantoms, or both")
    data, scans = SimulatedData(images), []
    for number in range(n_draws):
        scans.append(draw_summary(data, sampling or Sampling(), rng=np.random.default_rng((seed, number))))
        progress(number + 1, n_draws)
    return training_cohort(scans, sentences=sentences_of(images), notes=notes)


def draw_summary(data: SimulatedData, sampling: Sampling, *, rng: np.random.Generator) -> ScanSummary:
    """One scan with everything drawn as ``recon.training_data.draw_batch`` draws it."""
    pattern = str(rng.choice(sampling.patterns))
    acceleration, n_calibration = int(rng.choice(sampling.accelerations)), int(rng.choice(sampling.n_calibrations))
    samples = data.draw(1, n_adjacent=1, pattern=pattern, sampling=sampling, rng=rng)
    ny, nx = samples.kspace.shape[-2:]
    masks = cached_masks(pattern, nx, ny, acceleration, min(n_calibration, nx, ny), int(rng.integers(8)))
    mask = masks[int(rng.integers(len(masks)))][None]
    return summarize_scan(samples.kspace[:, :1], mask, metadata=samples.metadata[0])


def sentences_of(images: Sequence[TrainingImage]) -> list[str]:
    """Every metadata sentence of the training; of ACDC those of both of its scanners, between which each training draws."""
    known = {metadata_text(image.metadata) for image in images}
    cine = [image.metadata for image in images if image.source.startswith("patient")]
    known |= {metadata_text({**metadata, **scanner}) for metadata in cine[:1] for scanner in ACDC_SCANNERS}
    return sorted(known)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path)
    parser.add_argument("--phantoms", type=int, default=24)
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED_COHORT)
    options = parser.parse_args()
    cohort = summarize_training(
        acdc=options.acdc, n_phantoms=options.phantoms, n_draws=options.draws, weights=options.weights
    )
    save_training_cohort(options.out, cohort)
    print(f"{options.out.name}: {len(cohort.scans)} draws, {len(cohort.sentences)} sentences")


if __name__ == "__main__":
    main()
