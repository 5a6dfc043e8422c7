"""How accurate is wall thickness (convention `corrected`)? Writes wall_thickness_accuracy.json.

    python benchmarks/wall_thickness_accuracy.py [--shells 24] [--patients 10] [--out benchmarks/wall_thickness_accuracy]

Analytic shells (`cohort.synthetic.shells`) with drawn radii, walls of 6 to 14 mm, offsets against the pixel grid,
septum directions, slice positions and tilts, labeled by pixel centers in thin slices 8 mm apart: the error of mean and
maximum of every AHA segment against the distance between the surfaces. Then synthetic patients of all diseases with
their true labels (slices 8 mm thick, pixels of 1.5 mm; papillary muscles in the cavity) against their closed-form truth.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from run_facts import run_facts  # noqa: E402

from cohort.synthetic.population import DISEASES, draw_patient  # noqa: E402
from cohort.synthetic.rasterize import Grid, label_grid, rasterize_heart, slice_points  # noqa: E402
from cohort.synthetic.shells import Shell  # noqa: E402
from cohort.synthetic.stack import plan_stack  # noqa: E402
from cohort.synthetic.truth import wall_thickness_mm  # noqa: E402
from phenotyping import aha  # noqa: E402
from phenotyping.wall_thickness import thickness_of_frame, wall_thickness  # noqa: E402

PITCH_MM = 8.0
PIXELS_MM = (1.0, 1.5, 2.0)
KINDS = ("cylinder", "ellipsoid", "eccentric", "tilted", "eccentric and tilted")


def drawn_shell(kind: str, rng: np.random.Generator) -> Shell:
    """A shell of one kind with everything else drawn."""
    tilted, eccentric = "tilted" in kind, "eccentric" in kind
    return Shell(
        a_mm=float(rng.uniform(18, 30)),
        c_mm=math.inf if kind == "cylinder" else float(rng.uniform(60, 80)),
        wall_mm=float(rng.uniform(6, 14)),
        eccentricity_mm=float(rng.uniform(0.5, 3)) if eccentric else 0.0,
        septum_rad=float(rng.uniform(0, 2 * math.pi)),
        tilt_rad=math.radians(rng.uniform(3, 12)) if tilted else 0.0,
        tilt_direction_rad=float(rng.uniform(0, 2 * math.pi)),
        center_mm=(float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1))),
    )


def shell_errors(shell: Shell, *, pixel_mm: float, shift_mm: float) -> dict[str, list[float]]:
    """Errors in mm of mean and maximum of the 16 segments, the global values, and segment 17."""
    axis = (np.arange(math.ceil(110 / pixel_mm)) - math.ceil(110 / pixel_mm) / 2) * pixel_mm
    low = -40.0 if math.isinf(shell.c_mm) else -shell.c_mm - shell.wall_mm - PITCH_MM
    high = 40.0 if math.isinf(shell.c_mm) else 0.35 * shell.c_mm
    z = np.arange(low + shift_mm, high, PITCH_MM)
    affine = np.diag([pixel_mm, pixel_mm, PITCH_MM, 1.0])
    affine[:3, 3] = axis[0], axis[0], z[0]
    found = wall_thickness(shell.labels(axis, axis, z), affine, convention="corrected")
    used = list(found.slices_used)
    frame = aha.axes(np.array([math.cos(shell.septum_rad), math.sin(shell.septum_rad), 0]), np.array([0, 0, 1.0]))
    rows = []
    for k, level in zip(used, aha.levels(len(used)), strict=True):
        points = shell.endocardium(float(z[k]))
        segment = aha.segments(points, points.mean(axis=0), frame=frame, level=level)
        length = np.linalg.norm(np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0), axis=1)
        rows.append(np.stack([segment, shell.thickness(points), length]))
    segment, thickness, length = np.concatenate(rows, axis=1)
    inside = {name: segment == name for name in aha.SEGMENTS}
    errors = {
        "segment_mean": [
            found.mean_mm[s] - float(np.average(thickness[m], weights=length[m])) for s, m in inside.items()
        ],
        "segment_max": [found.max_mm[s] - float(thickness[m].max()) for s, m in inside.items()],
        "global_mean": [found.global_mean_mm - float(np.average(thickness, weights=length))],
        "global_max": [found.global_max_mm - float(thickness.max())],
    }
    if not math.isinf(shell.c_mm) and shell.tilt_rad == 0:
        errors["apex"] = [found.mean_mm[aha.APEX] - shell.apex_thickness()]
    return errors


def patient_errors(disease: str, number: int, *, pixel_mm: float = 1.5) -> dict[str, Any]:
    """Errors in mm of one synthetic patient's true labels at end-diastole."""
    patient = draw_patient(disease, rng=np.random.default_rng((31, DISEASES.index(disease), number)), field_t=1.5)
    stack = plan_stack(patient, n_slices=int(patient.heart.length_mm // PITCH_MM) + 1, slice_thickness_mm=PITCH_MM)
    grid = Grid((200, 200), (200 * pixel_mm, 200 * pixel_mm))
    labels = np.zeros((len(stack.z_mm), *grid.shape), np.uint8)
    for k, z_mm in enumerate(stack.z_mm):
        points = slice_points(patient.heart, patient.pose, grid, z_mm=z_mm, thickness_mm=stack.thickness_mm)
        heart = rasterize_heart(patient.heart, points, phase=0.0)
        whole = np.zeros((4, *grid.shape), np.float32)
        whole[0] = 1
        whole[:, heart.rows, heart.columns] = heart.labels()
        labels[k] = label_grid(whole, fine=grid, coarse=grid)
    found = thickness_of_frame(labels, spacing_mm=(stack.pitch_mm, pixel_mm, pixel_mm), convention="corrected")
    truth = wall_thickness_mm(patient.heart, phase=0.0)
    row: dict[str, Any] = {"disease": disease, "number": number}
    for kind in ("radial", "normal"):
        row[f"true_{kind}_max_mm"] = truth["global"][f"{kind}_max"]
        row[f"max_against_{kind}_mm"] = found.global_max_mm - truth["global"][f"{kind}_max"]
        row[f"mean_against_{kind}_mm"] = found.global_mean_mm - truth["global"][f"{kind}_mean"]
        row[f"segment_mean_against_{kind}_mm"] = [
            round(found.mean_mm[s] - truth[str(s)][f"{kind}_mean"], 3) for s in aha.SEGMENTS
        ]
    apex = found.mean_mm[aha.APEX] - patient.heart.apex_mm
    row["apex_error_mm"] = None if math.isnan(apex) else apex
    return row


def summary(errors: list[float]) -> dict[str, float]:
    """Bias, typical and worst error."""
    values = np.array(errors)
    return {
        "n": len(values),
        "missing": int(np.isnan(values).sum()),
        "bias_mm": float(np.nanmean(values)),
        "mean_abs_mm": float(np.nanmean(np.abs(values))),
        "p95_abs_mm": float(np.nanpercentile(np.abs(values), 95)),
        "worst_mm": float(np.nanmax(np.abs(values))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shells", type=int, default=24, help="of each kind and pixel size")
    parser.add_argument("--patients", type=int, default=10, help="synthetic patients, diseases go round")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "wall_thickness_accuracy")
    options = parser.parse_args()
    result: dict[str, Any] = {"facts": run_facts("benchmarks/wall_thickness_accuracy.py"), "shells": {}, "patients": {}}
    for pixel_mm in PIXELS_MM:
        for kind in KINDS:
            rng = np.random.default_rng((17, KINDS.index(kind)))
            collected: dict[str, list[float]] = {}
            for _ in range(options.shells):
                shell, shift = drawn_shell(kind, rng), float(rng.uniform(0, PITCH_MM))
                for name, errors in shell_errors(shell, pixel_mm=pixel_mm, shift_mm=shift).items():
                    collected.setdefault(name, []).extend(errors)
            table = {name: summary(errors) for name, errors in collected.items()}
            result["shells"].setdefault(f"{pixel_mm} mm", {})[kind] = table
            print(pixel_mm, kind, {k: (round(v["bias_mm"], 3), round(v["worst_mm"], 3)) for k, v in table.items()})
    rows = [patient_errors(DISEASES[i % len(DISEASES)], i // len(DISEASES)) for i in range(options.patients)]
    result["patients"]["rows"] = rows
    for kind in ("radial", "normal"):
        for name in ("max", "mean"):
            key = f"{name}_against_{kind}_mm"
            result["patients"][key] = summary([row[key] for row in rows])
    for row in rows:
        print({k: (round(v, 2) if isinstance(v, float) else v) for k, v in row.items() if "segment" not in k})
    options.out.with_suffix(".json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
