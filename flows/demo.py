"""What does the demo do? The main job on an embedded synthetic cohort, with the weights that are shipped."""

from collections.abc import Callable
from pathlib import Path

from cohort.catalogue import scan_tree
from cohort.records import CardioValError
from cohort.synthetic.study import DEMO_CENTERS, Center, ScanPlan, simulate_cohort
from flows.caching import is_complete, stage_key, write_manifest
from flows.config import Reconstruction, Statistics, Undersampling, ValidationConfig

DEMO_VERSION = 2
DEMO_SEED = 7
PRIMARY = ("lv_edv_ml", "lv_esv_ml", "lv_ef_percent", "lv_mass_g", "t1_ms", "t2_ms")
"""What the demo claims; the rest is measured and described."""
TITLE = "Demonstration: accelerated cardiac MRI of synthetic patients"


def demo_config(out: Path, *, smoke: bool) -> ValidationConfig:
    """The demo's validation; the smoke version has one accelerated arm a method, zero-filled ones among them."""
    patterns = (("Uniform", 8.0),) if smoke else (("Uniform", 8.0), ("ktGaussian", 16.0), ("ktRadial", 24.0))
    methods = ("zero_filled", "sense", "cardiomm") if smoke else ("sense", "cardiomm")
    return ValidationConfig(
        name="smoke" if smoke else "demo",
        title=TITLE,
        cohort=out / "cohort",
        out=out / "run",
        undersampling=Undersampling(patterns=patterns),
        reconstruction=Reconstruction(methods=methods),
        statistics=Statistics(primary=PRIMARY),
    )


def demo_plan(*, smoke: bool) -> tuple[tuple[Center, ...], int, ScanPlan]:
    """Centers, patients a center, and what is scanned: 4 x 3 patients, or 2 x 1 with fewer frames."""
    if smoke:
        return DEMO_CENTERS[1:3], 1, ScanPlan(n_frames=5)
    return DEMO_CENTERS, 3, ScanPlan()


def demo_cohort(
    out: Path, *, smoke: bool, workers: int = 1, progress: Callable[[str], None] = lambda scan: None
) -> Path:
    """Write the demo's cohort, or find it complete and unchanged.

    Raises
    ------
    CardioValError
        The folder holds another cohort.
    """
    root = out / "cohort"
    centers, patients, plan = demo_plan(smoke=smoke)
    manifest, key = root / "cohort.json", stage_key("demo", DEMO_VERSION, centers=centers, plan=plan, seed=DEMO_SEED)
    if is_complete(manifest, key=key):
        return root
    if root.exists() and manifest.exists():
        raise CardioValError(f"{root} holds another or a changed cohort; remove it, or give another folder with --out")
    paths = simulate_cohort(
        root,
        centers=centers,
        patients_per_center=patients,
        plan=plan,
        seed=DEMO_SEED,
        workers=workers,
        progress=progress,
    )
    bad = scan_tree(root)["status"].ne("ok").sum()
    if bad:
        raise CardioValError(f"{root}: {bad} scans that were just written cannot be read; is the disk full?")
    write_manifest(manifest, key=key, files=paths, content={"seed": DEMO_SEED})
    return root


def n_demo_scans(*, smoke: bool) -> int:
    """Scans in the demo's cohort."""
    centers, patients, plan = demo_plan(smoke=smoke)
    return len(centers) * patients * (1 + len(plan.mapping))
