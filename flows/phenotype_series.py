"""What happens to one series of images: read, label, measure, and write labels, picture and DICOM segmentation."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.dicom_segmentation import Maker, write_segmentations
from cohort.fingerprint import file_sha256
from cohort.images import write_image, write_labels
from cohort.phenotypes import VOCABULARY
from cohort.records import CardioValError, ConfigProblem, Geometry
from flows.caching import is_complete, read_manifest, stage_key, write_manifest
from flows.config import Phenotyping
from flows.measure_cine import measure_cine, planned_of_cine
from flows.measured_values import Value, failed, row_of
from flows.phenotype_inputs import ImageSeries, LoadedSeries, load
from flows.phenotype_maps import MAP_PHENOTYPE, fit_map, map_values, planned_of_map
from flows.phenotype_normals import caption
from flows.phenotype_picture import cine_picture, map_picture, thickness_picture
from flows.provenance import version
from flows.stages import one_line, upright, upright_spacing
from flows.tissue_values import normals_of
from phenotyping.contrast import segmentation_image
from phenotyping.nnunet import model_identity, segment
from phenotyping.nnunet_labels import LabelMap

PHENOTYPE_VERSION = 2
METHOD: Final = "images"


@dataclass(frozen=True)
class PhenotypeOptions:
    """How series are labeled; `label_map` is the model's names or numbers to ours."""

    study: str
    center: str
    model_folder: Path | None
    label_map: LabelMap
    device: str


def label_map_of(pairs: list[str]) -> dict[str | int, str | int]:
    """What was typed as THEIRS=OURS; numbers become numbers.

    Raises
    ------
    ConfigProblem
        An entry without `=`, or one said twice.
    """
    found: dict[str | int, str | int] = {}
    for pair in pairs:
        theirs, equals, ours = (part.strip() for part in pair.partition("="))
        if not (theirs and equals and ours):
            raise ConfigProblem(f"label map: expected THEIRS=OURS such as '1=RV cavity', got {pair!r}")
        key = int(theirs) if theirs.isdigit() else theirs
        if key in found:
            raise ConfigProblem(f"label map: {theirs!r} is given twice")
        found[key] = int(ours) if ours.isdigit() else ours
    return found


def planned(series: ImageSeries, *, n_frames: int = 0) -> list[str]:
    """Phenotypes that a series should give."""
    return planned_of_cine(n_frames=n_frames) if series.kind == "cine" else planned_of_map(series.kind)


def series_key(series: ImageSeries, root: Path, options: PhenotypeOptions) -> str:
    """What decides the results of a series: its files, how it is read, and the model."""
    return stage_key(
        "phenotype",
        PHENOTYPE_VERSION,
        files={path.relative_to(root).as_posix(): file_sha256(path) for path in series.files},
        kind=series.kind,
        patient=series.patient,
        study=[options.study, options.center],
        label_map=dict(options.label_map),
        model=model_identity(options.model_folder)["sha256"],
    )


def phenotype_series(series: ImageSeries, root: Path, folder: Path, options: PhenotypeOptions) -> Path:
    """Measure one series.

    Returns
    -------
    Path
        Manifest with the `rows` of the measurement table; made before, it is used again if nothing changed.

    Raises
    ------
    CardioValError
        The series cannot be read or labeled; what fails after that is a row with its reason.
    """
    manifest, key = folder / "series.json", series_key(series, root, options)
    if is_complete(manifest, key=key):
        return manifest
    remove_old(manifest)
    loaded = load(series)
    shown = loaded.image
    if series.kind != "cine":
        # T2 and T2* series alike: the mean holds the contrast of all times
        modality = "T1 mapping" if series.kind == "T1 mapping" else "T2 mapping"
        shown = segmentation_image(loaded.image, np.asarray(loaded.times_ms)[:, 0], modality=modality)
    labels = segment(
        shown,
        spacing_mm=loaded.spacing_mm,
        model_folder=options.model_folder,
        device=options.device,
        label_map=dict(options.label_map) or None,
    )
    files = write_segmentation_files(series, loaded, labels, folder, options)
    if series.kind == "cine":
        values, facts, more = _cine(series, loaded, labels, folder)
    else:
        values, facts, more = _map(series, loaded, shown[0], labels[0], folder)
    content = {
        "rows": [{**columns(series, loaded, options), **row_of(value)} for value in values],
        "facts": {
            **facts,
            "shape": list(loaded.image.shape),
            "spacing_mm": list(loaded.spacing_mm),
            "note": loaded.note,
        },
    }
    return write_manifest(manifest, key=key, files=[*files, *more], content=content)


def remove_old(manifest: Path) -> None:
    """Take away what an earlier run made of other files or with another model: if this one fails, nothing old remains."""
    try:
        names = list(read_manifest(manifest)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    for path in [manifest, *(manifest.parent / name for name in names)]:
        path.unlink(missing_ok=True)


def write_segmentation_files(
    series: ImageSeries, loaded: LoadedSeries, labels: NDArray[np.uint8], folder: Path, options: PhenotypeOptions
) -> list[Path]:
    """Labels as NIfTI and, for DICOM images, as DICOM SEG."""
    identity = model_identity(options.model_folder)
    stored = loaded.stored(labels)
    path = folder / "labels.nii.gz"
    sidecar: dict[str, Any] = {
        "series": series.name,
        "labels": "0 background, 1 LV cavity, 2 myocardium, 3 RV cavity",
        "model": identity,
    }
    sidecar |= {"frame_time_s": loaded.frame_time_s if series.kind == "cine" else None, "note": loaded.note}
    write_labels(path, stored, spacing_mm=loaded.spacing_mm, sidecar=sidecar, affine=loaded.affine)
    files = [path, path.with_name("labels.json")]
    if loaded.stack is not None:
        maker = Maker(model=identity["name"], model_sha256=identity["sha256"], version=version("cardioval"))
        # of a mapping series the first image stands for all, which show the same place
        frames = loaded.stack.frames[: len(stored)]
        files += write_segmentations(folder / "segmentation", frames, stored, maker=maker)
    return files


def columns(series: ImageSeries, loaded: LoadedSeries | None, options: PhenotypeOptions) -> dict[str, Any]:
    """The columns of the measurement table that name the series and the way to its images."""
    field_t = loaded.field_t if loaded is not None else math.nan
    return {
        "study": options.study,
        "center": options.center,
        "vendor": loaded.vendor if loaded is not None else "unknown",
        "field_t": field_t if math.isfinite(field_t) else None,
        "disease": "unknown",
        "patient": series.patient,
        "scan": series.name,
        "modality": series.kind,
        "method": METHOD,
        "pattern": "none",
        "acceleration": 1.0,
        "effective_acceleration": 1.0,
        "geometry": "stated",
    }


def failed_rows(series: ImageSeries, reason: str, options: PhenotypeOptions) -> list[dict[str, Any]]:
    """Rows of a series that could not be read or labeled."""
    names = planned(series, n_frames=len(series.files))
    return [{**columns(series, None, options), **row_of(value)} for value in failed(names, reason)]


def header_record(loaded: LoadedSeries) -> dict[str, Any]:
    """What the header says, in the words of a reconstruction's record: voxels as stated, cm, kg and 1/min."""
    geometry = Geometry(spacing_mm=loaded.spacing_mm, frame_time_s=loaded.frame_time_s, confidence="stated")
    height_cm = None if loaded.height_m is None else 100 * loaded.height_m
    info = {"HeartRate": loaded.heart_rate_bpm, "Height": height_cm, "Weight": loaded.weight_kg}
    return {"geometry": asdict(geometry), "info": {name: value for name, value in info.items() if value is not None}}


def _cine(
    series: ImageSeries, loaded: LoadedSeries, labels: NDArray[np.uint8], folder: Path
) -> tuple[list[Value], dict[str, Any], list[Path]]:
    recon = header_record(loaded)
    facts: dict[str, Any] = {}
    try:
        # this function takes images as k-space gives them, lying on their side
        measured = measure_cine(
            upright(loaded.image),
            upright(labels),
            recon=recon,
            spacing=upright_spacing(loaded.spacing_mm),
            at={},
            options=Phenotyping(),
        )
        values, facts = list(measured.values), dict(measured.facts)
    except (CardioValError, ValueError) as problem:
        names = planned_of_cine(n_frames=len(labels), recon=recon, options=Phenotyping())
        values = failed(names, one_line(problem))
    picture, doubt = folder / "picture.png", failed_checks(facts)
    cine_picture(
        picture,
        loaded.image,
        labels,
        spacing_mm=loaded.spacing_mm,
        phases={"ED": facts["ed_frame"], "ES": facts["es_frame"]} if facts else {},
        curves_ml={"LV": facts["lv_curve_ml"], "RV": facts["rv_curve_ml"]} if facts else {},
        title=f"{series.name}{doubt}",
    )
    pictures = [picture]
    if facts.get("wall_thickness_mean"):
        title = "Mean wall thickness at ED" + ("; quality control failed" if doubt else "")
        pictures.append(thickness_picture(folder / "wall_thickness.png", facts["wall_thickness_mean"], title))
    facts |= {"frame_time_s": loaded.frame_time_s, "heart_rate_bpm": loaded.heart_rate_bpm}
    return values, facts, pictures


def _map(
    series: ImageSeries, loaded: LoadedSeries, shown: NDArray[np.float32], labels: NDArray[np.uint8], folder: Path
) -> tuple[list[Value], dict[str, Any], list[Path]]:
    fitted = fit_map(loaded, series.kind)
    values, regions = map_values(fitted, labels, loaded, series.kind)
    name = MAP_PHENOTYPE[series.kind].removesuffix("_ms")
    path, picture = folder / f"{name}_map.nii.gz", folder / "picture.png"
    write_image(
        path,
        loaded.stored(fitted.t_ms)[None],
        spacing_mm=loaded.spacing_mm,
        sidecar={"series": series.name, "unit": "ms", "fit": fitted.how},
        allow_nan=True,
        affine=loaded.affine,
    )
    normals = normals_of(MAP_PHENOTYPE[series.kind], field_t=loaded.field_t, sequence=fitted.sequence)
    map_picture(
        picture,
        shown,
        fitted.t_ms,
        labels,
        spacing_mm=loaded.spacing_mm,
        kind=series.kind,
        title=", ".join([series.name, *(in_words(value) for value in values)]),
        notes=caption(normals) if values else [],
    )
    facts = {"fit": fitted.how, "sequence": fitted.sequence, "times_ms": np.asarray(loaded.times_ms).tolist()}
    facts |= {"map": regions} if regions else {}
    return values, facts, [path, path.with_name(f"{name}_map.json"), picture]


def failed_checks(facts: Mapping[str, Any]) -> str:
    """What the title of a picture says of quality control, if labels failed it."""
    names = [finding["check"] for finding in facts.get("quality_control", ()) if finding["status"] == "fail"]
    return f"; labels failed quality control: {', '.join(names)}" if names else ""


def in_words(value: Value) -> str:
    """A value for the title of a picture."""
    known = VOCABULARY[value.phenotype]
    number = f"{value.value:.0f} {known.unit}" if value.status != "failed" else "not measured"
    return f"{known.symbol} {number}"
