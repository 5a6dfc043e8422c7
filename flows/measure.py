"""What is measured on one scan? Phenotypes, image quality and overlap of every arm, as rows of the one tidy table."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.atomic import replacing
from cohort.cmrxrecon import read_times_ms
from cohort.fingerprint import file_sha256
from cohort.images import read_image, read_labels
from cohort.phenotypes import VOCABULARY
from cohort.records import CardioValError
from flows.caching import is_complete, read_manifest, stage_key, write_manifest
from flows.config import REFERENCE
from flows.stages import CINE, ScanJob, one_line, upright, upright_spacing
from phenotyping.biomarkers import myocardial_t1, myocardial_t2
from phenotyping.quality_control import overall, quality_control
from phenotyping.relaxometry import fit_decay, fit_inversion_recovery
from phenotyping.volumes import VentricularVolumes, measure_volumes
from phenotyping.wall_thickness import thickness_of_frame
from recon.metrics import heart_box, heart_scores, official_scores

MEASUREMENT_VERSION = 4
VOLUME_NAMES = [
    "lv_edv_ml",
    "lv_esv_ml",
    "lv_sv_ml",
    "lv_ef_percent",
    "lv_co_l_min",
    "lv_mass_g",
    "rv_edv_ml",
    "rv_esv_ml",
    "rv_sv_ml",
    "rv_ef_percent",
]
WALL_NAMES = ("max_wall_thickness_mm", "mean_wall_thickness_mm")
MAP_NAME = {"T1 mapping": "t1_ms", "T2 mapping": "t2_ms"}
QUALITY_NAMES = {"psnr": "psnr_db", "ssim": "ssim", "nmse": "nmse"}
HEART_NAMES = {"psnr": "heart_psnr_db", "ssim": "heart_ssim"}
DICE_NAMES = {"dice_lv": 1, "dice_myocardium": 2, "dice_rv": 3}
HEART_MARGIN_MM = 20.0
TRUTH = "truth"
MIN_FRAMES_FOR_OUTPUT = 6


@dataclass(frozen=True)
class Value:
    """One measurement: a number, or the reason why there is none."""

    phenotype: str
    value: float
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Picture:
    """A place of a scan worth showing: phase ED, ES or map, its slice, the image (y, x) and its labels."""

    phase: str
    slice: int
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Measured:
    """What one arm of one scan gave."""

    values: tuple[Value, ...]
    pictures: tuple[Picture, ...] = ()


def planned(modality: str, *, n_frames: int) -> list[str]:
    """Phenotypes that a scan of this modality should give; cardiac output needs a whole cycle."""
    if modality == CINE:
        names = [*VOLUME_NAMES, *WALL_NAMES]
        return names if n_frames >= MIN_FRAMES_FOR_OUTPUT else [name for name in names if name != "lv_co_l_min"]
    return [MAP_NAME[modality]] if modality in MAP_NAME else []


def measurement_key(job: ScanJob, segmentation: Path, reconstruction: Path) -> str:
    """What decides the measurements: images, labels, times and truth."""
    beside = [job.path.with_name(job.path.stem + suffix) for suffix in (".csv", "_truth.json", "_truth_labels.nii.gz")]
    return stage_key(
        "measure",
        MEASUREMENT_VERSION,
        images=read_manifest(reconstruction)["files"],
        labels=read_manifest(segmentation)["files"],
        beside={file.name: file_sha256(file) for file in beside if file.exists()},
        disease=job.disease,
        study=job.study,
    )


def measure_scan(job: ScanJob, reconstruction: Path, segmentation: Path) -> Path:
    """Measure every arm of one scan and compare it with the truth, where that is known.

    Returns
    -------
    Path
        Manifest with ``rows`` of the measurement table and ``gallery`` entries (paths relative to the manifest).
    """
    manifest, key = job.measurements, measurement_key(job, segmentation, reconstruction)
    if is_complete(manifest, key=key):
        return manifest
    recon, labelled = read_manifest(reconstruction), read_manifest(segmentation)
    reference = load_reference(job, labelled)
    rows: list[dict[str, Any]] = []
    gallery: list[dict[str, Any]] = []
    files: list[Path] = []
    shown: Measured | None = None
    for name, arm in recon["arms"].items():
        common = {
            **job.columns(),
            **{k: arm[k] for k in ("method", "pattern", "acceleration", "effective_acceleration")},
        }
        # every arm is shown at the reference's slices, wherever its own labels would have put the middle
        at = {picture.phase: picture.slice for picture in shown.pictures} if shown else {}
        measured = measure_arm(job, recon, arm, labelled["arms"][name], reference, at=at)
        rows += [{**common, **row_of(value)} for value in measured.values]
        if name == REFERENCE.name:
            shown = measured
        elif shown:
            for path, entry in save_pictures(
                job, name, shown, measured, spacing=tuple(recon["geometry"]["spacing_mm"])
            ):
                files.append(path)
                gallery.append({**entry, **{k: arm[k] for k in ("method", "pattern", "acceleration")}})
    rows += truth_rows(job, n_frames=recon["shape"][0])
    content = {"rows": rows, "gallery": gallery, "confidence": recon["geometry"]["confidence"]}
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
) -> Measured:
    """All values of one arm; what fails is a value with its reason."""
    names = planned(job.modality, n_frames=recon["shape"][0])
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
            measured = measure_cine(image, labels, recon=recon, spacing=spacing, at=at)
        else:
            measured = measure_map(job, image, labels, spacing=spacing, at=at)
    except (CardioValError, ValueError) as problem:
        return Measured((*values, *failed(names, one_line(problem))))
    return Measured((*values, *measured.values, *overlap_values(labels, reference)), measured.pictures)


def measure_cine(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    recon: Mapping[str, Any],
    spacing: tuple[float, float, float],
    at: Mapping[str, int],
) -> Measured:
    """Volumes, function, mass and wall thickness; quality control warns but never drops."""
    rate = recon["info"].get("HeartRate")
    volumes = measure_volumes(
        labels,
        spacing_mm=spacing,
        frame_time_s=recon["geometry"]["frame_time_s"],
        heart_rate_bpm=float(rate) if rate else None,
    )
    findings = quality_control(labels, spacing_mm=spacing, volumes=volumes)
    warning = "" if overall(findings) == "pass" else "; ".join(f.reason for f in findings if f.status != "pass")
    names = planned(CINE, n_frames=len(labels))
    values = [volume_value(volumes, name, warning) for name in VOLUME_NAMES if name in names]
    try:
        wall = thickness_of_frame(
            upright(labels[volumes.ed_frame]), spacing_mm=upright_spacing(spacing), convention="corrected"
        )
        values += [
            checked("max_wall_thickness_mm", wall.global_max_mm, warning),
            checked("mean_wall_thickness_mm", wall.global_mean_mm, warning),
        ]
    except CardioValError as problem:
        values += failed(WALL_NAMES, one_line(problem))
    middle = middle_slice(labels[volumes.ed_frame])
    pictures = [
        Picture(phase, z, image[frame, z], labels[frame, z])
        for phase, frame in (("ED", volumes.ed_frame), ("ES", volumes.es_frame))
        for z in [at.get(phase, middle)]
    ]
    return Measured(tuple(values), tuple(pictures))


def volume_value(volumes: VentricularVolumes, name: str, warning: str) -> Value:
    """One field of the volumes with quality control's word, or the reason why there is none."""
    number = getattr(volumes, name)
    if number is None:
        return Value(name, math.nan, "failed", volumes.reasons.get(name, "could not be measured"))
    return checked(name, number, warning)


def checked(name: str, number: float, warning: str) -> Value:
    """A value, with a warning where quality control or the plausible range give one."""
    known = VOCABULARY[name]
    reasons = [warning] if warning else []
    if not known.plausible_low <= number <= known.plausible_high:
        reasons.append(f"outside the plausible range {known.plausible_low:g} to {known.plausible_high:g} {known.unit}")
    return Value(name, float(number), "warn" if reasons else "ok", "; ".join(reasons))


def measure_map(
    job: ScanJob,
    series: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    spacing: tuple[float, float, float],
    at: Mapping[str, int],
) -> Measured:
    """Myocardial T1 or T2: fit around the heart, median of the middle of the wall."""
    name = MAP_NAME[job.modality]
    times = read_times_ms(job.path)
    box = heart_box(labels, margin_px=round(HEART_MARGIN_MM / spacing[1]))
    rows, columns = (np.flatnonzero(box.any(axis=axis)) for axis in (1, 0))
    whole = np.full(series.shape[1:], np.nan, dtype=np.float64)
    sd = np.full(series.shape[1:], np.nan, dtype=np.float64)
    if len(rows):
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        for z in range(series.shape[1]):
            signal = np.moveaxis(series[: len(times), z, part[0], part[1]], 0, -1)
            if name == "t1_ms":
                recovery = fit_inversion_recovery(signal, times[:, z])
                fitted, fitted_sd = recovery.t1_ms, recovery.t1_sd_ms
            else:
                decay = fit_decay(signal, times[:, z])
                fitted, fitted_sd = decay.t_ms, decay.t_sd_ms
            whole[z][part], sd[z][part] = fitted, fitted_sd
    if name == "t1_ms":
        region = myocardial_t1(whole, labels[0], spacing_mm=spacing, t1_sd_ms=sd)
    else:
        # two unknowns and three preparation times: a single pixel's uncertainty is too rough to exclude pixels by
        region = myocardial_t2(whole, labels[0], spacing_mm=spacing)
    z = at.get("map", middle_slice(labels[0]))
    value = checked(name, region.median_ms, region.reason)
    return Measured((value,), (Picture("map", z, whole[z].astype(np.float32), labels[0, z]),))


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
        Value(name, float(np.mean([dice(labels[f] == label, truth[f] == label) for f in frames])))
        for name, label in DICE_NAMES.items()
    ]


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    total = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def truth_rows(job: ScanJob, *, n_frames: int) -> list[dict[str, Any]]:
    """Rows of the true values, read only here, after everything was measured."""
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
    }
    names = planned(job.modality, n_frames=n_frames)
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
        path.parent.mkdir(exist_ok=True)
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


def middle_slice(labels: NDArray[np.uint8]) -> int:
    """The middle one of the slices that show the left ventricle."""
    slices = np.flatnonzero((labels == 1).any(axis=(1, 2)))
    return int(slices[len(slices) // 2]) if len(slices) else labels.shape[0] // 2


def failed(names: Any, reason: str) -> list[Value]:
    """A failed value for every name."""
    return [Value(name, math.nan, "failed", reason) for name in names]


def row_of(value: Value) -> dict[str, Any]:
    """The measurement's columns; a missing number is None, which JSON can hold."""
    number = value.value if math.isfinite(value.value) else None
    status = value.status if number is not None else "failed"
    return {
        "phenotype": value.phenotype,
        "unit": VOCABULARY[value.phenotype].unit,
        "value": number,
        "status": status,
        "reason": value.reason or ("" if number is not None else "the result is not a finite number"),
    }
