"""Which shift of a center from the training cohort is flagged, and by which measure?

    python benchmarks/distribution_shift.py --acdc DIR [--cohort FILE] [--out FILE]

Centers are made of the held ACDC patients and of new phantoms: two acquired as in training, the others with one thing
changed each. Writes distribution_shift.json and .png.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from reliability_cases import Subject, acdc_subject, make_case, phantom_subject  # noqa: E402
from run_facts import run_facts  # noqa: E402

from cohort.acdc import split  # noqa: E402
from recon.cardiomm.prompts import metadata_text  # noqa: E402
from recon.shift import MEASURES, Scan, Shift, shift_from_training  # noqa: E402
from recon.training_cohort import SHIPPED_COHORT, load_training_cohort  # noqa: E402

SEED, N_PHANTOMS = 73_001, 12
USUAL: dict[str, Any] = {"snr_range": (12.0, 60.0), "pixel_range_mm": (2.2, 2.8)}
ARMS = (("Uniform", 4), ("Uniform", 8), ("ktUniform", 8), ("ktGaussian", 16), ("ktRadial", 24))
EXPECTED = {
    "held ACDC, as in training": (),
    "new phantoms, as in training": (),
    "SNR 3 to 5": ("noise",),
    # where noise is weak, what is left of the signal at the edges of k-space is what is measured: nothing to flag
    "SNR 150 to 300": (),
    "pixel 1.0 mm": ("radial_energy",),
    "pixel 6 mm": ("radial_energy",),
    "coils that couple": ("coil_correlation",),
    "partial Fourier, 2x": ("mask_overlap",),
    "unseen vendor": ("text_novelty",),
    "unseen field": ("text_novelty",),
    "unseen modality": ("text_novelty",),
    "inverted contrast": (),
}


def scans_of(center: str, held: list[Subject], phantoms: list[Subject], rng: np.random.Generator) -> Iterator[Scan]:
    """One scan of each subject of a center."""
    subjects = phantoms if center.startswith("new phantoms") else held
    for number, subject in enumerate(subjects):
        pattern, acceleration = ARMS[number % len(ARMS)]
        options = dict(USUAL)
        if center.startswith("SNR"):
            options["snr_range"] = (3.0, 5.0) if "SNR 3" in center else (150.0, 300.0)
        elif center.startswith("pixel"):
            options["pixel_range_mm"] = (1.0, 1.05) if "1.0" in center else (6.0, 6.2)
        fault = "unseen_contrast" if center == "inverted contrast" else "none"
        case = make_case(subject, pattern, acceleration, fault=fault, rng=rng, **options)
        kspace, mask, metadata = case.kspace, case.mask, dict(case.metadata)
        if center == "coils that couple":
            kspace = (kspace + 1.5 * kspace.mean(axis=2, keepdims=True) * np.sqrt(kspace.shape[2])).astype(np.complex64)
        elif center.startswith("partial Fourier"):
            mask = np.zeros_like(mask)
            mask[:, ::2] = True
            n = mask.shape[1]
            mask[:, n // 2 - 10 : n // 2 + 10] = True
            mask[:, int(0.65 * n) :] = False
        elif center == "unseen vendor":
            metadata |= {"vendor": "Canon", "scanner": "Vantage"}
        elif center == "unseen field":
            metadata |= {"field_t": 7.0}
        elif center == "unseen modality":
            metadata |= {"modality": "late Gadolinium enhancement"}
        yield center, kspace, mask, metadata


def draw(table: list[Shift], path: Path) -> None:
    """Values of each center within the usual range, a panel a measure."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    centers = list(dict.fromkeys(row.center for row in table))
    figure, panels = plt.subplots(1, len(MEASURES), figsize=(14, 4.4), sharey=True, layout="constrained")
    for panel, measure in zip(panels, MEASURES, strict=True):
        rows = [row for row in table if row.measure == measure]
        values = [row.value for row in rows]
        low, high = rows[0].low, rows[0].high
        room = 0.1 * (max(values) - min(values) or 1)
        panel.axvspan(max(low, min(values) - room), min(high, max(values) + room), color="0.88")
        for place, row in enumerate(rows):
            panel.plot(row.value, place, "o", color="C3" if row.flagged else "C0")
        panel.set(title=measure.replace("_", " "), yticks=range(len(centers)), yticklabels=centers)
    panels[0].invert_yaxis()
    figure.suptitle("median of each center; gray: usual range of training draws; red: flagged")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, default=SHIPPED_COHORT)
    parser.add_argument(
        "--weights", type=Path, help="not used: the summary names its weights; accepted as in all benchmarks"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, rng = time.perf_counter(), np.random.default_rng(SEED)
    cohort = load_training_cohort(options.cohort)
    held = [acdc_subject(options.acdc, name, rng=rng) for name in split()["validation"]]
    drawn = (phantom_subject(i, seed=SEED) for i in range(2 * N_PHANTOMS))
    # of the scanners that phantoms are drawn with, not every one occurs in a training; only known ones are unshifted
    known = (subject for subject in drawn if metadata_text(subject.metadata) in cohort.sentences)
    phantoms = list(islice(known, N_PHANTOMS))
    table: list[Shift] = []
    for center in EXPECTED:
        table += shift_from_training(scans_of(center, held, phantoms, rng), cohort=cohort)
        print(
            center,
            [(row.measure, round(row.value, 3)) for row in table if row.center == center and row.flagged],
            flush=True,
        )
    flagged = {center: [r.measure for r in table if r.center == center and r.flagged] for center in EXPECTED}
    result = {
        "training": cohort.notes,
        "flagged": flagged,
        "expected": {center: list(measures) for center, measures in EXPECTED.items()},
        "expected_flags_found": all(set(EXPECTED[center]) <= set(found) for center, found in flagged.items()),
        "unshifted_without_flags": not any(flagged[center] for center in list(EXPECTED)[:2]),
        "table": [asdict(row) for row in table],
        "seconds": round(time.perf_counter() - start),
        **run_facts("benchmarks/distribution_shift.py"),
    }
    text = json.dumps(result, indent=1).replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
    options.out.write_text(text + "\n", encoding="utf-8")
    draw(table, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
