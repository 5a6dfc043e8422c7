"""What does a run say in one table? Image quality, Dice, EF bias and limits by arm, as Markdown from a run folder.

python benchmarks/run_table.py RUN_DIR
"""

import json
import sys
from pathlib import Path
from typing import Any

QUALITY = ("psnr_db", "ssim", "nmse", "heart_psnr_db", "heart_ssim")
DICE = ("dice_lv", "dice_myocardium", "dice_rv")
PHENOTYPES = (
    "lv_ef_percent",
    "lv_edv_ml",
    "lv_esv_ml",
    "lv_mass_g",
    "rv_ef_percent",
    "max_wall_thickness_mm",
    "t1_ms",
    "t2_ms",
)


def main(folder: Path) -> None:
    """Print the tables of one run."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    arms = [arm["arm"] for arm in results["arms"]]
    print(
        f"{results['study']['title']}; {results['cohort']['n_patients']} patients, commit {results['provenance']['commit']}\n"
    )
    for modality in sorted({row["modality"] for row in results["image_quality"]}):
        table(f"{modality}: image quality against fully sampled", arms, QUALITY, quality_cells(results, modality))
    table("Dice against true or expert labels", arms, DICE, dice_cells(results))
    for against in ("fully_sampled", "truth"):
        table(f"bias [limits of agreement] against {against}", arms, PHENOTYPES, agreement_cells(results, against))


def quality_cells(results: dict[str, Any], modality: str) -> dict[tuple[str, str], str]:
    """Mean and bootstrap interval."""
    rows = [row for row in results["image_quality"] if row["modality"] == modality]
    return {(row["arm"], row["metric"]): interval(row) for row in rows}


def dice_cells(results: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Mean and bootstrap interval."""
    return {(row["arm"], row["phenotype"]): interval(row) for row in results["overlap"]}


def agreement_cells(results: dict[str, Any], against: str) -> dict[tuple[str, str], str]:
    """Bias, limits, verdict and pairs."""
    cells = {}
    for row in results["agreement"]:
        if row["against"] != against or row["bias"] is None or row["lower_limit"] is None:
            continue
        limits = f"{row['lower_limit']['estimate']:.1f}, {row['upper_limit']['estimate']:.1f}"
        cells[row["arm"], row["phenotype"]] = (
            f"{row['bias']['estimate']:+.1f} [{limits}] {row['verdict']}, n {row['n']}"
        )
    return cells


def interval(row: dict[str, Any]) -> str:
    """Mean (low to high)."""
    if row.get("low") is None:
        return f"{row['mean']:.3f}"
    return f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def table(title: str, arms: list[str], columns: tuple[str, ...], cells: dict[tuple[str, str], str]) -> None:
    """One Markdown table, without empty columns."""
    columns = tuple(c for c in columns if any((arm, c) in cells for arm in arms))
    if not columns:
        return
    print(f"**{title}**\n\n| arm | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for arm in arms:
        if any((arm, c) in cells for c in columns):
            print(f"| {arm} | {' | '.join(cells.get((arm, c), '') for c in columns)} |")
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
