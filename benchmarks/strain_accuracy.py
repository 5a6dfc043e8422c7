"""How accurate is myocardial strain on hearts whose motion is known? Writes strain_accuracy.json.

    python benchmarks/strain_accuracy.py [--patients 5] [--out benchmarks/strain_accuracy]

Synthetic patients, diseases in turn, from a seed of their own: cines of 12 frames and five slices
with chest, blood flow, papillary muscles and noise (SNR 30 in the myocardium), pixels of 1.8 mm, the true labels. The
truth is what each slice shows (`cohort.synthetic.motion_truth`); segments are compared by their sector of the slice.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from run_facts import run_facts  # noqa: E402

from cohort.synthetic.motion_truth import slice_contours, slice_strain  # noqa: E402
from cohort.synthetic.population import DISEASES, SyntheticPatient, draw_patient  # noqa: E402
from cohort.synthetic.rasterize import Grid, coarse_fractions, label_grid  # noqa: E402
from cohort.synthetic.render import fine_grid, render_cine  # noqa: E402
from cohort.synthetic.stack import plan_stack  # noqa: E402
from phenotyping import aha  # noqa: E402
from phenotyping.strain import measure_strain  # noqa: E402

N_FRAMES, N_SLICES, PIXEL_MM, SNR = 12, 5, 1.8, 30.0
MATRIX = (112, 112)


def sector_peaks(patient: SyntheticPatient, z_mm: float, level: aha.Level) -> dict[int, tuple[float, float]]:
    """True peak circumferential and radial strain of the sectors of one slice, at fixed directions."""
    contours = [slice_contours(patient, z_mm=z_mm, phase=t / N_FRAMES) for t in range(N_FRAMES)]
    center = contours[0][0].mean(axis=0)
    septum = patient.pose.septum_rad
    # x to the right, y downwards, seen from the apex: the world of `thickness_of_frame`
    frame = aha.axes(np.array([np.cos(septum), np.sin(septum), 0]), np.array([0, 0, -1.0]))
    points = np.column_stack([contours[0][0], np.zeros(len(contours[0][0]))])
    segment = aha.segments(points, np.append(center, 0), frame=frame, level=level)
    peaks = {}
    for number in np.unique(segment).tolist():
        chosen = segment == number
        around = []
        for side in (0, 1):
            pieces = [np.linalg.norm(np.roll(c[side], -1, axis=0) - c[side], axis=1)[chosen].sum() for c in contours]
            around.append(100 * (np.array(pieces) / pieces[0] - 1))
        across = [np.linalg.norm(epi - endo, axis=1)[chosen].sum() for endo, epi in contours]
        peaks[number] = float(np.mean(around, axis=0).min()), float((100 * (np.array(across) / across[0] - 1)).max())
    return peaks


def one(disease: str, number: int) -> dict[str, Any]:
    """Errors in points of one patient."""
    rng = np.random.default_rng((53, DISEASES.index(disease), number))
    patient = draw_patient(disease, rng=rng, field_t=1.5)
    fov = (MATRIX[0] * PIXEL_MM, MATRIX[1] * PIXEL_MM)
    cine = render_cine(patient, n_frames=N_FRAMES, n_slices=N_SLICES, matrix=MATRIX, fov_mm=fov, rng=rng)
    fine, coarse = fine_grid(MATRIX, fov), Grid(MATRIX, fov)
    image = coarse_fractions(cine.images, fine=fine, coarse=coarse)
    labels = label_grid(cine.label_fractions, fine=fine, coarse=coarse)
    sd = float(np.median(image[0][labels[0] == 2])) / SNR
    noisy = np.hypot(image + sd * rng.standard_normal(image.shape), sd * rng.standard_normal(image.shape))
    stack = plan_stack(patient, n_slices=N_SLICES)
    start = time.perf_counter(), time.process_time()
    found = measure_strain(noisy, labels, spacing_mm=(stack.pitch_mm, PIXEL_MM, PIXEL_MM), ed_frame=0)
    spent = time.perf_counter() - start[0], time.process_time() - start[1]
    phases = np.arange(N_FRAMES) / N_FRAMES
    truth = [slice_strain(patient, z_mm=stack.z_mm[z], phases=phases) for z in found.slices_used]
    around, across = (np.mean([getattr(t, name) for t in truth], axis=0) for name in ("circumferential", "radial"))
    peaks: dict[int, tuple[float, float]] = {}
    for z, level in found.slices_used.items():
        peaks |= sector_peaks(patient, stack.z_mm[z], level)
    return {
        "disease": disease,
        "number": number,
        "slices": len(found.slices_used),
        "true_gcs_percent": float(around.min()),
        "gcs_error": found.gcs_percent - float(around.min()),
        "worst_circumferential_error": float(np.abs(found.circumferential_percent - around).max()),
        "true_grs_percent": float(across.max()),
        "grs_error": found.grs_percent - float(across.max()),
        "worst_radial_error": float(np.abs(found.radial_percent - across).max()),
        "segment_circumferential_errors": [found.circumferential_peak_by_segment[k] - v[0] for k, v in peaks.items()],
        "segment_radial_errors": [found.radial_peak_by_segment[k] - v[1] for k, v in peaks.items()],
        "closure_mm": list(found.closure_mm.values()),
        "reasons": list(found.reasons),
        "seconds": spent[0],
        "processor_seconds": spent[1],
    }


def summary(values: list[float]) -> dict[str, float]:
    """Bias, spread and worst error."""
    errors = np.array(values)
    return {
        "n": len(errors),
        "bias": float(errors.mean()),
        "sd": float(errors.std(ddof=1)) if len(errors) > 1 else 0.0,
        "mean_abs": float(np.abs(errors).mean()),
        "worst": float(np.abs(errors).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "strain_accuracy")
    options = parser.parse_args()
    rows = []
    for i in range(options.patients):
        rows.append(one(DISEASES[i % len(DISEASES)], i // len(DISEASES)))
        print({k: (round(v, 2) if isinstance(v, float) else v) for k, v in rows[-1].items() if "segment" not in k})
    names = ("gcs_error", "worst_circumferential_error", "grs_error", "worst_radial_error")
    table = {name: summary([row[name] for row in rows]) for name in names}
    for name in ("segment_circumferential_errors", "segment_radial_errors"):
        table[name] = summary([error for row in rows for error in row[name]])
    print(json.dumps(table, indent=1))
    facts = run_facts("benchmarks/strain_accuracy.py")
    result = {"facts": facts, "summary": table, "patients": rows}
    options.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
