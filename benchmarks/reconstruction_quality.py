"""How good are the images of every method on patients that no training saw? PSNR, SSIM and NMSE by mask and method.

python benchmarks/reconstruction_quality.py --acdc ACDC/training --out benchmarks/reconstruction_quality.json
python benchmarks/reconstruction_quality.py --sets phantoms --weights none=DIR/cardiomm.ckpt --methods --out FILE

Three sets of simulated k-space: the 20 held ACDC patients (ED and ES, three slices, 2 mm, 8 coils), phantoms of two
centers whose vendor and field the shipped training saw, and phantoms of a third center (UIH at 5 T). Rows of a method or
of weights that are in the file already are kept, so that the file grows from call to call. Intervals resample patients.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from run_facts import run_facts

from cohort.acdc import split
from cohort.cmrxrecon import read_info, read_kspace
from cohort.synthetic.acquisition import Receiver
from cohort.synthetic.from_acdc import simulate_from_acdc
from cohort.synthetic.study import Center, ScanPlan, simulate_cohort
from recon.baselines import fully_sampled
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, weights_sha256
from recon.fourier import remove_readout_oversampling
from recon.inference import reconstruct
from recon.metrics import frame_scores
from recon.sampling import effective_acceleration, undersampling_mask
from stats.resampling import bootstrap_mean

MASKS = (("Uniform", 4), ("Uniform", 8), ("ktGaussian", 16), ("ktRadial", 24))
N_CALIBRATION = 20
BASELINES = ("zero_filled", "sense", "compressed_sensing", "grappa", "low_rank_sparse")
METRICS = ("psnr", "ssim", "nmse")
SEED = 31  # of masks, phantoms and bootstrap; no training uses it
MATRIX, FOV_MM = (152, 168), (319.2, 352.8)
PHANTOM_CENTERS = (
    Center("Center101", "Siemens", "Aera", 1.5, MATRIX, FOV_MM, Receiver(n_coils=8, snr=40.0)),
    Center("Center102", "Philips", "IngeniaCX", 3.0, MATRIX, FOV_MM, Receiver(n_coils=8, snr=40.0)),
    Center("Center103", "UIH", "umrJupiter", 5.0, MATRIX, FOV_MM, Receiver(n_coils=8, snr=40.0)),
)
NEW_CENTER = "Center103"
PHANTOM_PLAN = ScanPlan(n_frames=8, n_slices=4, mapping=())
PHANTOM_SLICES = (1, 2)


@dataclass(frozen=True)
class Case:
    """One patient's fully sampled k-space (frames, slices, coils, ky, kx)."""

    cohort: str
    patient: str
    kspace: NDArray[np.complex64]
    metadata: dict[str, Any]


def main() -> None:
    """Measure what is not in the file yet, then write file and table."""
    given = arguments()
    torch.set_num_threads(given.threads)
    path = Path(given.out)
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    arms = [(name, "", name) for name in given.methods]
    arms += [(name, weights, weights_sha256(weights)) for name, weights in given.weights]
    with tempfile.TemporaryDirectory() as folder:
        for case in track(list(cases(given.sets, acdc=given.acdc, folder=Path(folder))), description="patients"):
            for arm, weights, identity in arms:
                done = {(r["cohort"], r["patient"], r["arm"], r["identity"]) for r in rows}
                if (case.cohort, case.patient, arm, identity) not in done:
                    rows = [
                        r for r in rows if (r["cohort"], r["patient"], r["arm"]) != (case.cohort, case.patient, arm)
                    ]
                    rows += measured(case, arm=arm, weights=weights, identity=identity)
    content = {"facts": run_facts("benchmarks/reconstruction_quality.py"), "summary": summary(rows), "rows": rows}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table(content), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path, help="ACDC training folder, for the set acdc")
    parser.add_argument("--out", default="benchmarks/reconstruction_quality.json")
    parser.add_argument("--sets", nargs="+", choices=("acdc", "phantoms"), default=["acdc", "phantoms"])
    parser.add_argument("--methods", nargs="*", choices=BASELINES, default=list(BASELINES))
    parser.add_argument(
        "--weights",
        nargs="*",
        type=lambda text: tuple(text.split("=", 1)),
        default=[("cardiomm", str(SHIPPED_WEIGHTS))],
        help="NAME=FILE of CardioMM checkpoints; default: the shipped one",
    )
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def cases(sets: Sequence[str], *, acdc: Path | None, folder: Path) -> Iterator[Case]:
    """Every patient of the sets asked for."""
    if "acdc" in sets:
        if acdc is None:
            raise SystemExit("the set acdc needs --acdc FOLDER; or give --sets phantoms")
        for path in simulate_from_acdc(acdc, folder / "acdc", patients=split()["validation"], seed=SEED):
            kspace = without_oversampling(path)
            n = kspace.shape[1]
            scanner = {"field_t": 1.5, "vendor": "Siemens", "scanner": "Aera"}
            yield Case("acdc_held", path.parent.name, kspace[:, [n // 4, n // 2, (3 * n) // 4]], scanner)
    if "phantoms" in sets:
        centers = {center.name: center for center in PHANTOM_CENTERS}
        for path in simulate_cohort(
            folder / "phantoms", centers=PHANTOM_CENTERS, patients_per_center=5, plan=PHANTOM_PLAN, seed=SEED
        ):
            center = centers[path.parents[2].name]
            cohort = "phantom_new_center" if center.name == NEW_CENTER else "phantom"
            scanner = {"field_t": center.field_t, "vendor": center.vendor, "scanner": center.model}
            kspace = without_oversampling(path)[:, list(PHANTOM_SLICES)]
            yield Case(cohort, f"{center.name}-{path.parent.name}", kspace, scanner)


def without_oversampling(path: Path) -> NDArray[np.complex64]:
    """K-space with the readout's oversampling removed."""
    return remove_readout_oversampling(read_kspace(path), int(float(read_info(path)["ReadOutOversample"])))


def measured(case: Case, *, arm: str, weights: str, identity: str) -> list[dict[str, Any]]:
    """One row a mask: the patient's mean over frames and slices."""
    n_frames, _, _, ny, nx = case.kspace.shape
    reference = fully_sampled(case.kspace)
    rows = []
    for pattern, acceleration in MASKS:
        if arm == "grappa" and pattern != "Uniform":
            continue
        if arm == "low_rank_sparse" and case.cohort == "acdc_held":
            continue  # two frames are no series
        size = {"nx": nx, "ny": ny, "n_frames": n_frames}
        mask = undersampling_mask(pattern, **size, acceleration=acceleration, n_calibration=N_CALIBRATION, seed=SEED)
        metadata = case.metadata | {"modality": "cine", "view": "short-axis"}
        metadata |= {"pattern": pattern, "acceleration": acceleration, "n_calibration": N_CALIBRATION}
        image = reconstruct(
            case.kspace,
            mask,
            method="cardiomm" if weights else arm,  # type: ignore[arg-type]  # one of BASELINES
            metadata=metadata,
            weights=weights or None,
            shared_maps=True,
        )
        scores = frame_scores(reference, np.abs(image))
        rows.append(
            {
                "cohort": case.cohort,
                "patient": case.patient,
                "arm": arm,
                "identity": identity,
                "mask": f"{pattern}{acceleration}",
                "effective_acceleration": round(effective_acceleration(mask), 3),
                **{name: round(float(values.mean()), 5) for name, values in scores.items()},
            }
        )
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over patients with a bootstrap interval, and the gain over SENSE in the same patients."""
    out = []
    for cohort, mask, arm in sorted({(r["cohort"], r["mask"], r["arm"]) for r in rows}):
        mine = {r["patient"]: r for r in rows if (r["cohort"], r["mask"], r["arm"]) == (cohort, mask, arm)}
        sense = {r["patient"]: r for r in rows if (r["cohort"], r["mask"], r["arm"]) == (cohort, mask, "sense")}
        entry: dict[str, Any] = {"cohort": cohort, "mask": mask, "arm": arm, "n": len(mine)}
        entry["effective_acceleration"] = float(np.mean([r["effective_acceleration"] for r in mine.values()]))
        for metric in METRICS:
            entry[metric] = interval([r[metric] for r in mine.values()])
        if arm != "sense" and set(mine) <= set(sense):
            entry["psnr_over_sense"] = interval([r["psnr"] - sense[p]["psnr"] for p, r in mine.items()])
        out.append(entry)
    return out


def interval(values: Sequence[float]) -> list[float]:
    """[mean, low, high]."""
    found = bootstrap_mean(values, rng=np.random.default_rng(SEED))
    return [round(v, 4) for v in (found.estimate, found.low, found.high)]


def table(content: dict[str, Any]) -> str:
    """The summary as Markdown."""
    facts = content["facts"]
    lines = [
        "# Image quality on patients that no training saw",
        "",
        "Simulated k-space, 20 calibration lines; means over patients with 95 % intervals from resampled patients. PSNR in dB as",
        "the official evaluation defines it. Made by",
        "",
        f"    {facts['command']}",
        "",
        f"at commit {facts['commit']} with {facts['versions']} on {facts['machine']}.",
    ]
    for cohort in sorted({e["cohort"] for e in content["summary"]}):
        for mask in [f"{p}{a}" for p, a in MASKS]:
            entries = [e for e in content["summary"] if (e["cohort"], e["mask"]) == (cohort, mask)]
            if not entries:
                continue
            effective = entries[0]["effective_acceleration"]
            lines += [
                "",
                f"## {cohort}, {mask} (effective {effective:.1f}x), {max(e['n'] for e in entries)} patients",
                "",
            ]
            lines += ["| method | PSNR dB | SSIM | NMSE | PSNR over SENSE, dB |", "|---|---|---|---|---|"]
            for e in sorted(entries, key=lambda e: e["psnr"][0]):
                gain = shown(e["psnr_over_sense"], 2, sign="+") if "psnr_over_sense" in e else ""
                cells = [e["arm"], shown(e["psnr"], 2), shown(e["ssim"], 3), shown(e["nmse"], 4), gain]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown(values: Sequence[float], digits: int, *, sign: str = "") -> str:
    """Mean (low to high)."""
    mean, low, high = (f"{v:{sign}.{digits}f}" for v in values)
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
