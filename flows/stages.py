"""What happens to one scan: reconstruct all arms, label them, measure them. Plain functions from files to files.

Each stage reads files, writes files and then a manifest (see ``flows.caching``), so that it can be run, looked at and
repeated alone. A
problem of one arm is written down for that arm; the others go on.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.cmrxrecon import ALL_ZERO, KSpaceSlices, open_kspace, read_info, read_times_ms
from cohort.fingerprint import file_sha256
from cohort.geometry import scan_geometry
from cohort.geometry_rules import ScanKind, known_slice_order
from cohort.images import read_image, sidecar_path, without_atria, write_image, write_labels
from cohort.records import CardioValError, ConfigProblem, FileProblem, UnreadableFile
from flows.arms import CINE, ArmMask, arm_mask, arm_notes, mask_hashes, reconstruct_arm
from flows.caching import is_complete, read_manifest, stage_key, write_manifest
from flows.config import REFERENCE, Arm, ValidationConfig
from flows.reliability import reliability_entry, slice_reliability
from flows.resources import USAGE, metered, used
from phenotyping.contrast import segmentation_image
from phenotyping.nnunet import model_identity, segment
from phenotyping.topology import Repair, repair
from recon.acquired_region import AcquiredRegion, Survey
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, weights_sha256
from recon.cardiomm.encoders import encoder_from_folder
from recon.cardiomm.prompts import HashedNgramEncoder, TextEncoder
from recon.cardiomm.run import pick_precision
from recon.fourier import remove_readout_oversampling
from recon.inference import network_of, pick_device
from recon.reliability_model import SHIPPED_MODELS

RECONSTRUCTION_VERSION = 5
SEGMENTATION_VERSION = 5
# rows of the header that the measurements need
KEPT_INFO = ("Simulated", "HeartRate", "Height", "Weight")


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

    @property
    def kind(self) -> ScanKind:
        """What rules of geometry can ask for."""
        return ScanKind(scanner=self.scanner, vendor=self.vendor, center=self.center, modality=self.modality)

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
        geometry=[asdict(rule) for rule in config.geometry.rules()],
        undersampling=asdict(config.undersampling),
        masks=mask_hashes(job, config),
        methods=recon.methods,
        weights=weights_sha256(recon.weights or SHIPPED_WEIGHTS) if "cardiomm" in recon.methods else "",
        text=recon.clip_folder,
        precision=str(pick_precision(recon.precision, device=pick_device(config.running.device))),  # type: ignore[arg-type]
        reliability=file_sha256(SHIPPED_MODELS) if recon.reliability else "",
    )


@metered("reconstruct")
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
    with open_kspace(job.path) as source:
        oversampling = readout_oversampling(info, source.shape[-1], path=job.path)
        region = acquired_region(source, oversampling=oversampling)
        shape = (*source.shape[:3], region.ky.length, region.kx.length // oversampling)
        geometry = scan_geometry(
            info,
            shape=shape,
            scanner=job.scanner,
            vendor=job.vendor,
            center=job.center,
            modality=job.modality,
            rules=config.geometry.rules(),
        )
        arms = [
            started_arm(arm, job=job, config=config, region=region, shape=source.shape, oversampling=oversampling)
            for arm in (REFERENCE, *config.arms())
        ]
        reconstruct_slices(source, arms, region=region, oversampling=oversampling, job=job, config=config)
    common = {
        "scan": job.label,
        "frame_time_s": geometry.frame_time_s,
        "spacing_confidence": geometry.confidence,
        "spacing_note": geometry.note,
        "acquired": region.record(),
    }
    images = [
        write_arm(run, folder=job.folder, common=common, spacing_mm=geometry.spacing_mm)
        for run in arms
        if not run.problem
    ]
    files = [file for image in images for file in (image, sidecar_path(image))]
    content = {
        "scan": job.columns(),
        "geometry": asdict(geometry),
        "slice_order": known_slice_order(config.geometry.rules(), job.kind),
        "info": {name: value for name, value in info.items() if name in KEPT_INFO},
        "shape": list(shape),
        "kspace_sha256": file_sha256(job.path),
        "acquired": region.record(),
        "arms": {run.arm.name: run.entry() for run in arms},
        USAGE: used(),
    }
    return write_manifest(manifest, key=key, files=files, content=content)


@dataclass
class ArmRun:
    """An arm while its slices are reconstructed: its mask, the image so far or the reason why there is none."""

    arm: Arm
    notes: list[str]
    mask: ArmMask | None = None
    image: NDArray[np.float32] | None = None
    problem: str = ""
    seconds: float = 0.0
    reliability: dict[str, Any] = field(default_factory=reliability_entry)

    def entry(self) -> dict[str, Any]:
        """What the manifest says of the arm."""
        facts = {**asdict(self.arm), "status": "failed" if self.problem else "ok", "reason": self.problem}
        if self.problem:
            return {**facts, "effective_acceleration": None}
        made = {"image": self.file, "seconds": round(self.seconds, 3), "reliability": self.reliability}
        return {**facts, **self.sampling(), **made}

    def sampling(self) -> dict[str, Any]:
        """Facts of the mask, and what a reader must know."""
        mask = self.mask
        return {
            "effective_acceleration": 1.0 if mask is None else mask.effective_acceleration,
            "mask_seed": None if mask is None else mask.seed,
            "mask_file": "" if mask is None else mask.file,
            "notes": self.notes,
        }

    @property
    def file(self) -> str:
        """Name of the image."""
        return f"{self.arm.name}.nii.gz"


def acquired_region(source: KSpaceSlices, *, oversampling: int) -> AcquiredRegion:
    """Look at every slice once: are the values numbers, which of them were acquired, where is the center?"""
    survey = Survey()
    anything = False
    for index in range(source.shape[1]):
        kspace = source.read_slice(index)
        survey.add(kspace)
        anything = anything or bool(kspace.any())
        del kspace  # before the next is read
    if not anything:
        raise UnreadableFile(source.path, ALL_ZERO)
    return survey.region(oversampling=oversampling)


def started_arm(arm: Arm, *, job: ScanJob, config: ValidationConfig, **matrix: Any) -> ArmRun:
    """An arm with its mask, or with the reason why it has none."""
    run = ArmRun(arm, arm_notes(arm, job=job))
    if arm != REFERENCE:
        try:
            run.mask = arm_mask(arm, job=job, config=config, **matrix)
        except (CardioValError, ValueError) as problem:
            run.problem = one_line(problem)
    return run


def reconstruct_slices(
    source: KSpaceSlices,
    arms: list[ArmRun],
    *,
    region: AcquiredRegion,
    oversampling: int,
    job: ScanJob,
    config: ValidationConfig,
) -> None:
    """Fill in the arms' images slice by slice, so that no more than one slice of k-space is in memory."""
    encoder = text_encoder(config)
    n_readout = region.kx.length // oversampling
    n_slices = source.shape[1]
    full_size = (source.shape[0], n_slices, region.ky.length, n_readout)
    reach = neighboring_slices(config)
    for index in range(n_slices):
        window = range(max(0, index - reach), min(n_slices, index + reach + 1))
        # joined only where there are neighbors: a second copy of one slice can be a gigabyte
        read = [source.read_slice(z) for z in window]
        whole = region.pad(read.pop() if len(read) == 1 else np.concatenate(read, axis=1))
        read.clear()
        kspace = remove_readout_oversampling(whole, oversampling)
        if not any(run.mask is not None and run.mask.whole_readout for run in arms):
            whole = kspace  # frees what no arm needs
        for run in arms:
            if run.problem:
                continue
            started = time.perf_counter()
            of_whole = run.mask is not None and run.mask.whole_readout
            given = whole if of_whole else kspace
            try:
                part = reconstruct_arm(
                    given,
                    run.arm,
                    run.mask,
                    job=job,
                    config=config,
                    encoder=encoder,
                    slices=[window.index(index)],
                    n_readout=n_readout if of_whole else None,
                )
            except (CardioValError, ValueError) as problem:
                run.problem, run.image = f"slice {index}: {one_line(problem)}", None
                continue
            if run.image is None:
                run.image = np.empty(full_size, np.float32)
            run.image[:, index] = part[:, 0]
            run.seconds += time.perf_counter() - started
            if config.reconstruction.reliability and index == n_slices // 2:
                middle = given[:, window.index(index)][:, None]
                run.reliability = scored(run, middle, part, job=job, config=config, encoder=encoder)


def neighboring_slices(config: ValidationConfig) -> int:
    """Slices on each side that the network of the configuration looks at, beside the one it reconstructs."""
    if "cardiomm" not in config.reconstruction.methods:
        return 0
    size = network_of(config.reconstruction.weights or None, device=pick_device(config.running.device)).size
    return size.n_adjacent // 2 if size.stacked == "slices" else 0


def scored(
    run: ArmRun,
    kspace: NDArray[np.complex64],
    image: NDArray[np.float32],
    *,
    job: ScanJob,
    config: ValidationConfig,
    encoder: TextEncoder,
) -> dict[str, Any]:
    """How far the arm can be relied on, judged by some slices; a problem of the score is no problem of the arm."""
    if run.mask is None:
        return reliability_entry()
    try:
        found = slice_reliability(kspace, run.arm, run.mask, image=image, job=job, config=config, encoder=encoder)
    except (CardioValError, ValueError) as problem:
        return reliability_entry(problem=one_line(problem))
    return reliability_entry([] if found is None else [found])


def write_arm(run: ArmRun, *, folder: Path, common: Mapping[str, Any], spacing_mm: tuple[float, float, float]) -> Path:
    """Write an arm's image and let go of it."""
    if run.image is None:
        raise ValueError(f"expected an image of {run.arm.name}, got none")
    path = folder / run.file
    sidecar = {**common, "arm": run.arm.name, **run.sampling()}
    write_image(path, run.image, spacing_mm=spacing_mm, sidecar=sidecar)
    run.image = None
    return path


def readout_oversampling(info: Mapping[str, Any], n_readout: int, *, path: Path) -> int:
    """How often finer than needed the readout was sampled, from the header; never guessed silently.

    ``ReadOutOversample``, or else the readout's samples over ``ReconMatrix_X``, rounded.
    """
    stated = {key: info[key] for key in ("ReadOutOversample", "ReconMatrix_X") if info.get(key)}
    for key, value in stated.items():
        if not isinstance(value, int | float) or not 1e-3 < value < 1e6:
            raise UnreadableFile(path, f"states {key} as {str(value)[:40]!r}; expected a number above 0")
    if "ReadOutOversample" in stated:
        factor = round(float(stated["ReadOutOversample"]))
    elif "ReconMatrix_X" in stated:
        factor = max(1, round(n_readout / float(stated["ReconMatrix_X"])))
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
        return encoder_from_folder(folder)
    except (OSError, ImportError, ValueError) as problem:
        raise ConfigProblem(f"reconstruction.clip_folder: {' '.join(str(problem).split())}") from problem


def segmentation_key(job: ScanJob, reconstruction: Path, config: ValidationConfig) -> str:
    """What decides the labels: the images and the model."""
    return stage_key(
        "segment",
        SEGMENTATION_VERSION,
        images=read_manifest(reconstruction)["files"],
        times=times_of(job),
        model=model_identity(config.segmentation.model_folder or None)["sha256"],
        label_map=dict(config.segmentation.label_map),
        topology_repair=config.segmentation.topology_repair,
    )


def times_of(job: ScanJob) -> list[list[float]] | str | None:
    """Times of a mapping series for the keys of stages; in words where there are none, nothing for a cine."""
    if job.modality == CINE:
        return None
    try:
        times: list[list[float]] = read_times_ms(job.path).tolist()
    except (CardioValError, ValueError) as problem:
        return one_line(problem)
    return times


@metered("segment")
def segment_scan(job: ScanJob, reconstruction: Path, config: ValidationConfig) -> Path:
    """Label every arm of one scan; mapping series on one image of their own.

    Returns
    -------
    Path
        Manifest: for every arm its labels or the reason why there are none.
    """
    manifest, key = job.segmentation, segmentation_key(job, reconstruction, config)
    if is_complete(manifest, key=key):
        return manifest
    files: list[Path] = []
    arms: dict[str, Any] = {}
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
                    label_map=config.segmentation.label_map or None,
                    device=config.running.device,
                )
            )
            repaired = ""
            if config.segmentation.topology_repair:
                measured = without_atria(labels)
                mended = repair(measured, spacing_mm=spacing)
                atria = (labels != measured) & (mended.labels == 0)
                labels, repaired = np.where(atria, labels, mended.labels), told(mended)
        except (CardioValError, ValueError) as problem:
            arms[name] = {"status": "failed", "reason": one_line(problem)}
            continue
        path = job.folder / f"{name}_labels.nii.gz"
        write_labels(path, labels, spacing_mm=spacing, sidecar={"scan": job.label, "arm": name, "repaired": repaired})
        files += [path, sidecar_path(path)]
        arms[name] = {"status": "ok", "reason": "", "labels": path.name, "repaired": repaired}
    return write_manifest(manifest, key=key, files=files, content={"arms": arms, USAGE: used()})


def told(mended: Repair) -> str:
    """What was changed in the labels, in words; empty where nothing was."""
    return "; ".join(f.reason for f in mended.findings if f.status != "pass") if mended.n_changed else ""


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
