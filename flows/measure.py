"""What is measured on one scan? Phenotypes, image quality and overlap of every arm, as rows of the one tidy table."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.atomic import replacing
from cohort.fingerprint import file_sha256
from cohort.images import read_image, read_labels
from cohort.records import CardioValError
from flows.caching import is_complete, read_manifest, stage_key, write_manifest
from flows.config import REFERENCE, ValidationConfig
from flows.measure_cine import measure_cine, planned_of_cine
from flows.measure_map import HEART_MARGIN_MM, measure_map, planned_of_map
from flows.measured_values import Measured, Value, failed, row_of, with_geometry, with_warning
from flows.resources import USAGE, metered, used
from flows.stages import CINE, ScanJob, one_line, times_of, upright, upright_spacing
from phenotyping.overlap import dice
from recon.metrics import heart_box, heart_scores, official_scores

MEASUREMENT_VERSION = 8
QUALITY_NAMES = {"psnr": "psnr_db", "ssim": "ssim", "nmse": "nmse"}
HEART_NAMES = {"psnr": "heart_psnr_db", "ssim": "heart_ssim"}
DICE_NAMES = {"dice_lv": 1, "dice_myocardium": 2, "dice_rv": 3}
TRUTH = "truth"
# methods that join coils by the root of the sum of squares, which lifts the noise floor
ROOT_SUM_OF_SQUARES = (REFERENCE.method, "zero_filled")


def planned(
    modality: str,
    *,
    n_frames: int,
    recon: Mapping[str, Any] | None = None,
    config: ValidationConfig | None = None,
) -> list[str]:
    """Phenotypes that a scan of this modality should give; `recon`, its record, tells what the header knows."""
    if modality == CINE:
        return planned_of_cine(n_frames=n_frames, recon=recon, options=config.phenotypes if config else None)
    return planned_of_map(modality)


def measurement_key(job: ScanJob, segmentation: Path, reconstruction: Path, config: ValidationConfig) -> str:
    """What decides the measurements: images, labels, header, times, truth and conventions."""
    recon = read_manifest(reconstruction)
    return stage_key(
        "measure",
        MEASUREMENT_VERSION,
        images=recon["files"],
        times=times_of(job),
        header=[recon["geometry"], recon["info"], recon.get("slice_order")],
        conventions=asdict(config.phenotypes),
        labels=read_manifest(segmentation)["files"],
        beside=beside(job),
        disease=job.disease,
        study=job.study,
    )


def beside(job: ScanJob) -> dict[str, str]:
    """Hashes of the files beside a scan that its measurements read: times, and the truth where it is known."""
    files = [job.path.with_name(job.path.stem + suffix) for suffix in (".csv", "_truth.json", "_truth_labels.nii.gz")]
    return {file.name: file_sha256(file) for file in files if file.exists()}


@metered("measure")
def measure_scan(job: ScanJob, reconstruction: Path, segmentation: Path, config: ValidationConfig) -> Path:
    """Measure every arm of one scan and compare it with the truth, where that is known.

    Returns
    -------
    Path
        Manifest with ``rows`` of the measurement table, ``gallery`` entries (paths relative to the manifest), and in
        ``facts`` for every arm how it was measured.
    """
    manifest, key = job.measurements, measurement_key(job, segmentation, reconstruction, config)
    if is_complete(manifest, key=key):
        return manifest
    recon, labelled = read_manifest(reconstruction), read_manifest(segmentation)
    reference = load_reference(job, labelled)
    rows: list[dict[str, Any]] = []
    gallery: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    trust = recon["geometry"]["confidence"]
    files: list[Path] = []
    shown: Measured | None = None
    for name, arm in recon["arms"].items():
        common = {
            **job.columns(),
            **{k: arm[k] for k in ("method", "pattern", "acceleration", "effective_acceleration")},
            "geometry": trust,
        }
        # every arm is shown at the reference's slices, wherever its own labels would have put the middle
        at = {picture.phase: picture.slice for picture in shown.pictures} if shown else {}
        measured = measure_arm(job, recon, arm, labelled["arms"][name], reference, at=at, config=config)
        values = with_geometry(measured.values, confidence=trust, note=recon["geometry"]["note"])
        rows += [{**common, **row_of(value)} for value in values]
        facts[name] = measured.facts
        if name == REFERENCE.name:
            shown = measured
        elif shown:
            for path, entry in save_pictures(
                job, name, shown, measured, spacing=tuple(recon["geometry"]["spacing_mm"])
            ):
                files.append(path)
                gallery.append({**entry, **{k: arm[k] for k in ("method", "pattern", "acceleration")}})
    rows += truth_rows(job, planned(job.modality, n_frames=recon["shape"][0], recon=recon, config=config))
    content = {
        "rows": rows,
        "gallery": gallery,
        "confidence": trust,
        "facts": facts,
        "beside": beside(job),
        USAGE: used(),
    }
    return write_manifest(manifest, key=key, files=files, content=content)


@dataclass(frozen=True)
class Reference:
    """What arms are compared with: the fully sampled images and labels, and the true labels where known."""

    image: NDArray[np.float32] | None
    labels: NDArray[np.uint8] | None
    true_labels: NDArray[np.uint8] | None


def load_reference(job: ScanJob, labelled: Mapping[str, Any]) -> Reference:
    """Read the fully sampled arm and the truth's labels."""
    image_path = job.folder / f"{REFERENCE.name}.nii.gz"
    label_path = job.folder / f"{REFERENCE.name}_labels.nii.gz"
    truth_path = job.path.with_name(f"{job.stem}_truth_labels.nii.gz")
    return Reference(
        image=read_image(image_path)[0] if image_path.exists() else None,
        labels=read_labels(label_path)[0] if labelled["arms"][REFERENCE.name]["status"] == "ok" else None,
        true_labels=read_labels(truth_path)[0] if truth_path.exists() else None,
    )


def measure_arm(
    job: ScanJob,
    recon: Mapping[str, Any],
    arm: Mapping[str, Any],
    labelled: Mapping[str, Any],
    reference: Reference,
    *,
    at: Mapping[str, int],
    config: ValidationConfig,
) -> Measured:
    """All values of one arm; what fails is a value with its reason."""
    names = planned(job.modality, n_frames=recon["shape"][0], recon=recon, config=config)
    if arm["status"] != "ok":
        return Measured(tuple(failed(names, arm["reason"])))
    image, spacing, _ = read_image(job.folder / arm["image"])
    values: list[Value] = []
    if arm["method"] != REFERENCE.method:
        values += quality_values(reference, image, spacing)
    if labelled["status"] != "ok":
        return Measured((*values, *failed(names, labelled["reason"])))
    labels = read_labels(job.folder / labelled["labels"])[0]
    try:
        if job.modality == CINE:
            measured = measure_cine(image, labels, recon=recon, spacing=spacing, at=at, options=config.phenotypes)
        else:
            measured = measure_map(
                job,
                image,
                labels,
                spacing=spacing,
                at=at,
                root_sum_of_squares=arm["method"] in ROOT_SUM_OF_SQUARES,
                motion_correction=config.phenotypes.motion_correction,
            )
    except (CardioValError, ValueError) as problem:
        return Measured((*values, *failed(names, one_line(problem))))
    of_labels = [*measured.values, *overlap_values(labels, reference)]
    if labelled.get("repaired"):
        of_labels = with_warning(of_labels, f"labels repaired: {labelled['repaired']}")
    return Measured((*values, *of_labels), measured.pictures, measured.facts)


def quality_values(
    reference: Reference, image: NDArray[np.float32], spacing: tuple[float, float, float]
) -> list[Value]:
    """PSNR, SSIM, NMSE against the fully sampled images, of the whole image and around the heart."""
    if reference.image is None:
        return failed([*QUALITY_NAMES.values(), *HEART_NAMES.values()], "there is no fully sampled image")
    scores = official_scores(reference.image, image)
    values = [Value(name, scores[key]) for key, name in QUALITY_NAMES.items()]
    if reference.labels is None or not reference.labels.any():
        return values + failed(HEART_NAMES.values(), "no heart found on the fully sampled image")
    box = heart_box(reference.labels, margin_px=round(HEART_MARGIN_MM / spacing[1]))
    near = heart_scores(reference.image, image, region=box)
    return values + [Value(name, near[key]) for key, name in HEART_NAMES.items()]


def overlap_values(labels: NDArray[np.uint8], reference: Reference) -> list[Value]:
    """Dice of each structure against the true labels, in 3-D, mean over the truth's ED and ES (or its only frame)."""
    truth = reference.true_labels
    if truth is None:
        return []
    if truth.shape != labels.shape:
        return failed(DICE_NAMES, f"true labels have shape {truth.shape}, the images {labels.shape}")
    cavity = (truth == DICE_NAMES["dice_lv"]).sum(axis=(1, 2, 3))
    frames = sorted({int(cavity.argmax()), int(cavity.argmin())})
    return [
        mean_dice(name, [dice(labels[f] == label, truth[f] == label) for f in frames])
        for name, label in DICE_NAMES.items()
    ]


def mean_dice(name: str, scores: list[float | None]) -> Value:
    """Mean over the frames in which either has the structure."""
    known = [score for score in scores if score is not None]
    if not known:
        return failed([name], "neither the labels nor the truth have the structure")[0]
    return Value(name, float(np.mean(known)))


def truth_rows(job: ScanJob, names: list[str]) -> list[dict[str, Any]]:
    """Rows of the true values of these names, where known; read only here, after everything was measured."""
    path = job.path.with_name(f"{job.stem}_truth.json")
    if not path.exists():
        return []
    true = json.loads(path.read_text(encoding="utf-8"))["phenotypes"]
    common = {
        **job.columns(),
        "method": TRUTH,
        "pattern": "none",
        "acceleration": 1.0,
        "effective_acceleration": 1.0,
        "geometry": "",
    }
    return [{**common, **row_of(Value(name, float(true[name])))} for name in names if true.get(name) is not None]


def save_pictures(
    job: ScanJob, arm: str, reference: Measured, measured: Measured, *, spacing: tuple[float, float, float]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Write each picture of an arm beside the fully sampled one of the same phase."""
    expected = {picture.phase: picture for picture in reference.pictures}
    for picture in measured.pictures:
        first = expected.get(picture.phase)
        if first is None:
            continue
        path = job.folder / "pictures" / f"{arm}_{picture.phase}.npz"
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                reference=upright(first.image),
                image=upright(picture.image),
                labels_reference=upright(first.labels),
                labels_image=upright(picture.labels),
                spacing_mm=np.asarray(upright_spacing(spacing)),
            )
        entry = {"center": job.center, "patient": job.patient, "modality": job.modality}
        yield (
            path,
            {**entry, "path": f"pictures/{path.name}", "phase": picture.phase, "slice": picture.slice, "arm": arm},
        )
