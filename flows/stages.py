"""What happens to one scan: reconstruct all arms, label them, measure them. Plain functions from files to files.

Each stage reads files, writes files and then a manifest (see ``flows.caching``), so that it can be run, looked at and
repeated alone. A
problem of one arm is written down for that arm; the others go on.
"""

import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.cmrxrecon import read_info, read_kspace, read_times_ms
from cohort.fingerprint import file_sha256
from cohort.geometry import scan_geometry
from cohort.images import read_image, write_image, write_labels
from cohort.records import CardioValError, ConfigProblem, FileProblem, UnreadableFile
from flows.caching import is_complete, read_manifest, stage_key, write_manifest
from flows.config import REFERENCE, Arm, ValidationConfig
from phenotyping.contrast import segmentation_image
from phenotyping.nnunet import model_identity, segment
from recon.baselines import fully_sampled
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, weights_sha256
from recon.cardiomm.prompts import ClipEncoder, HashedNgramEncoder, TextEncoder
from recon.fourier import remove_readout_oversampling
from recon.inference import reconstruct
from recon.sampling import effective_acceleration, undersampling_mask

RECONSTRUCTION_VERSION = 2
SEGMENTATION_VERSION = 4
CINE = "cine"


@dataclass(frozen=True)
class ScanJob:
    """One scan of a run: a row of the catalogue and the folder for its results."""

    study: str
    center: str
    vendor: str
    field_t: float
    scanner: str
    disease: str
    patient: str
    modality: str
    view: str
    stem: str
    path: Path
    folder: Path

    @property
    def reconstruction(self) -> Path:
        """Manifest of the reconstruction stage."""
        return self.folder / "reconstruction.json"

    @property
    def segmentation(self) -> Path:
        """Manifest of the segmentation stage."""
        return self.folder / "segmentation.json"

    @property
    def measurements(self) -> Path:
        """Manifest of the measurement stage."""
        return self.folder / "measurements.json"

    @property
    def label(self) -> str:
        """Short name for progress and logs; pseudonyms only."""
        return f"{self.center} {self.patient} {self.stem}"

    def columns(self) -> dict[str, Any]:
        """The columns of the measurement table that name the scan."""
        keys = ("study", "center", "vendor", "field_t", "disease", "patient", "modality")
        return {**{key: getattr(self, key) for key in keys}, "scan": self.stem}


def reconstruction_key(job: ScanJob, config: ValidationConfig) -> str:
    """What decides the reconstructions: k-space, header, masks, methods, weights."""
    recon = config.reconstruction
    return stage_key(
        "reconstruct",
        RECONSTRUCTION_VERSION,
        kspace=file_sha256(job.path),
        header=dict(sorted(read_info(job.path).items())),
        scan=[job.center, job.patient, job.stem, job.vendor, job.scanner, job.field_t, job.modality, job.view],
        undersampling=asdict(config.undersampling),
        methods=recon.methods,
        weights=weights_sha256(recon.weights or SHIPPED_WEIGHTS) if "cardiomm" in recon.methods else "",
        text=recon.clip_folder,
    )


def reconstruct_scan(job: ScanJob, config: ValidationConfig) -> Path:
    """Reconstruct one scan fully sampled and in every arm.

    Returns
    -------
    Path
        Manifest: geometry, header facts, and for every arm its image or the reason why there is none.

    Raises
    ------
    FileProblem, MeasurementFailed
        The scan itself cannot be used.
    """
    manifest, key = job.reconstruction, reconstruction_key(job, config)
    if is_complete(manifest, key=key):
        return manifest
    info = read_info(job.path)
    raw = read_kspace(job.path)
    oversampling = readout_oversampling(info, raw.shape[-1], path=job.path)
    kspace = remove_readout_oversampling(raw, oversampling)
    del raw
    geometry = scan_geometry(info, shape=kspace.shape, scanner=job.scanner, vendor=job.vendor)
    files, arms = [], {}
    common = {
        "scan": job.label,
        "frame_time_s": geometry.frame_time_s,
        "spacing_confidence": geometry.confidence,
        "spacing_note": geometry.note,
    }
    encoder = text_encoder(config)
    for arm in (REFERENCE, *config.arms()):
        started = time.perf_counter()
        path = job.folder / f"{arm.name}.nii.gz"
        try:
            image, effective, seed = reconstruct_arm(kspace, arm, job=job, config=config, encoder=encoder)
        except (CardioValError, ValueError) as problem:
            arms[arm.name] = {
                **asdict(arm),
                "status": "failed",
                "reason": one_line(problem),
                "effective_acceleration": None,
            }
            continue
        sidecar = {**common, "arm": arm.name, "effective_acceleration": effective, "mask_seed": seed}
        write_image(path, image, spacing_mm=geometry.spacing_mm, sidecar=sidecar)
        files.append(path)
        arms[arm.name] = {
            **asdict(arm),
            "status": "ok",
            "reason": "",
            "effective_acceleration": effective,
            "mask_seed": seed,
            "image": path.name,
            "seconds": round(time.perf_counter() - started, 3),
        }
    content = {
        "geometry": asdict(geometry),
        "info": {name: value for name, value in info.items() if name in ("Simulated", "HeartRate")},
        "shape": list(kspace.shape),
        "arms": arms,
    }
    return write_manifest(manifest, key=key, files=files, content=content)


def readout_oversampling(info: Mapping[str, Any], n_readout: int, *, path: Path) -> int:
    """How often finer than needed the readout was sampled, from the header; never guessed silently.

    ``ReadOutOversample``, or else the readout's samples over ``ReconMatrix_X``, rounded.
    """
    if info.get("ReadOutOversample"):
        factor = round(float(info["ReadOutOversample"]))
    elif info.get("ReconMatrix_X"):
        factor = max(1, round(n_readout / float(info["ReconMatrix_X"])))
    else:
        raise UnreadableFile(
            path,
            "the header states neither ReadOutOversample nor ReconMatrix_X, so the voxel size is open; add one of them",
        )
    if factor < 1 or n_readout % factor:
        raise UnreadableFile(path, f"readout of {n_readout} samples is no multiple of its oversampling {factor}")
    return factor


def text_encoder(config: ValidationConfig) -> TextEncoder:
    """CLIP from the folder that the configuration names, or the embedded encoder."""
    folder = config.reconstruction.clip_folder
    if not folder:
        return HashedNgramEncoder()
    try:
        return ClipEncoder(folder)
    except (OSError, ImportError, ValueError) as problem:
        raise ConfigProblem(f"reconstruction.clip_folder: {' '.join(str(problem).split())}") from problem


def reconstruct_arm(
    kspace: NDArray[np.complex64], arm: Arm, *, job: ScanJob, config: ValidationConfig, encoder: TextEncoder
) -> tuple[NDArray[np.float32], float, int | None]:
    """Magnitude image (frames, slices, y, x), effective acceleration and the mask's seed."""
    if arm == REFERENCE:
        return fully_sampled(kspace), 1.0, None
    n_frames, _, _, ny, nx = kspace.shape
    under = config.undersampling
    # every scan has a mask of its own, and the same one in every run and for every method
    seed = zlib.crc32(f"{under.seed}|{job.label}|{arm.pattern}{arm.acceleration:g}".encode())
    mask = undersampling_mask(
        arm.pattern,
        nx=nx,
        ny=ny,
        n_frames=n_frames,
        acceleration=arm.acceleration,
        n_calibration=under.n_calibration,
        seed=seed,
    )
    metadata = {
        "field_t": job.field_t,
        "vendor": job.vendor,
        "scanner": job.scanner,
        "modality": job.modality,
        "view": job.view,
        "pattern": arm.pattern,
        "acceleration": arm.acceleration,
        "n_calibration": under.n_calibration,
    }
    image = reconstruct(
        kspace,
        mask,
        method=arm.method,  # type: ignore[arg-type]  # checked when the configuration was read
        metadata=metadata,
        device=config.running.device,
        weights=config.reconstruction.weights or None,
        shared_maps=job.modality == CINE,
        encoder=encoder,
    )
    return np.abs(image).astype(np.float32), effective_acceleration(mask), seed


def segmentation_key(reconstruction: Path, config: ValidationConfig) -> str:
    """What decides the labels: the images and the model."""
    return stage_key(
        "segment",
        SEGMENTATION_VERSION,
        images=read_manifest(reconstruction)["files"],
        model=model_identity(config.segmentation.model_folder or None)["sha256"],
    )


def segment_scan(job: ScanJob, reconstruction: Path, config: ValidationConfig) -> Path:
    """Label every arm of one scan; mapping series on one image of their own.

    Returns
    -------
    Path
        Manifest: for every arm its labels or the reason why there are none.
    """
    manifest, key = job.segmentation, segmentation_key(reconstruction, config)
    if is_complete(manifest, key=key):
        return manifest
    files, arms = [], {}
    for name, arm in read_manifest(reconstruction)["arms"].items():
        if arm["status"] != "ok":
            arms[name] = {"status": "failed", "reason": arm["reason"]}
            continue
        image, spacing, _ = read_image(job.folder / arm["image"])
        try:
            shown = image
            if job.modality != CINE:
                shown = segmentation_image(image, read_times_ms(job.path)[:, 0], modality=job.modality)
            labels = upright(
                segment(
                    upright(shown),
                    spacing_mm=upright_spacing(spacing),
                    model_folder=config.segmentation.model_folder or None,
                    device=config.running.device,
                )
            )
        except (CardioValError, ValueError) as problem:
            arms[name] = {"status": "failed", "reason": one_line(problem)}
            continue
        path = job.folder / f"{name}_labels.nii.gz"
        write_labels(path, labels, spacing_mm=spacing, sidecar={"scan": job.label, "arm": name})
        files.append(path)
        arms[name] = {"status": "ok", "reason": "", "labels": path.name}
    return write_manifest(manifest, key=key, files=files, content={"arms": arms})


def upright(array: NDArray[Any]) -> NDArray[Any]:
    """Swap y and x: images as they are looked at, readout downward and phase encoding to the right; and back again.

    Short-axis scans are encoded across the body, so (y, x) arrays lie on their side. Networks and anatomical conventions
    (which side is anterior) expect them upright.
    """
    return np.ascontiguousarray(array.swapaxes(-1, -2))


def upright_spacing(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """The spacing of an upright image."""
    return spacing_mm[0], spacing_mm[2], spacing_mm[1]


def one_line(problem: Exception) -> str:
    """An error's message in one line; a file's problem without its folder, which the table names elsewhere."""
    if isinstance(problem, FileProblem):
        return problem.reason
    return " ".join(str(problem).split()) or type(problem).__name__


def usable(arms: Mapping[str, Any]) -> list[str]:
    """Names of the arms that have what the stage made."""
    return [name for name, arm in arms.items() if arm["status"] == "ok"]
