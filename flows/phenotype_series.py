"""What happens to one series of images: read, label, measure, and write labels, picture and DICOM segmentation."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.dicom_segmentation import Maker, write_segmentations
from cohort.dicom_series import by_position
from cohort.fingerprint import file_sha256
from cohort.images import without_atria, write_image, write_labels
from cohort.phenotypes import VOCABULARY
from cohort.records import CardioValError, Confidence, Geometry
from flows.caching import is_complete, read_manifest, stage_key, write_manifest
from flows.measure import MEASUREMENT_VERSION
from flows.measure_cine import measure_cine, planned_of_cine
from flows.measured_values import Value, failed, row_of, with_geometry, with_warning
from flows.phenotype_inputs import ImageSeries, LoadedSeries, load
from flows.phenotype_maps import MAP_PHENOTYPE, fit_map, map_values, planned_of_map
from flows.phenotype_normals import caption
from flows.phenotype_options import PhenotypeOptions as PhenotypeOptions
from flows.phenotype_picture import cine_picture, map_picture, thickness_picture
from flows.provenance import version
from flows.stages import SEGMENTATION_VERSION, one_line, told, upright, upright_spacing
from flows.tissue_values import normals_of
from phenotyping.contrast import segmentation_image
from phenotyping.labels import ALL_NAMES
from phenotyping.nnunet import model_identity, segment
from phenotyping.topology import repair

PHENOTYPE_VERSION = 4
METHOD: Final = "images"


def planned(series: ImageSeries, options: PhenotypeOptions) -> list[str]:
    """Phenotypes that a series should give, as far as that is known without reading it."""
    if series.kind != "cine":
        return planned_of_map(series.kind)
    n_images = len([path for path in series.files if path.suffix != ".json"])
    n_frames = min(map(len, by_position(series.dicom.frames))) if series.dicom is not None else n_images
    return planned_of_cine(n_frames=n_frames, options=options.conventions)


def series_key(series: ImageSeries, root: Path, options: PhenotypeOptions) -> str:
    """What decides the results of a series: its files, how it is read, labeled and measured, and the model."""
    return stage_key(
        "phenotype",
        PHENOTYPE_VERSION,
        versions={"segment": SEGMENTATION_VERSION, "measure": MEASUREMENT_VERSION},
        files={path.relative_to(root).as_posix(): file_sha256(path) for path in series.files},
        kind=series.kind,
        patient=series.patient,
        study=[options.study, options.center],
        options=options.science(),
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
        The series cannot be read or labeled; what fails after that is a row with its reason, or, of the DICOM SEG, a note.
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
    labels, repaired = labels_of(shown, loaded, options)
    files = write_label_file(series, loaded, labels, folder, options)
    measured = without_atria(labels)
    if series.kind == "cine":
        values, facts, more = _cine(series, loaded, measured, folder, options)
    else:
        values, facts, more = _map(series, loaded, shown[0], measured[0], folder, options)
    values = with_geometry(values, confidence=confidence(loaded), note=loaded.doubt)
    values = with_warning(values, f"labels repaired: {repaired}") if repaired else values
    segmentations, note = write_dicom_segmentations(loaded, labels, folder, options)
    content = {
        "rows": [{**columns(series, loaded, options), **row_of(value)} for value in values],
        "facts": {
            **facts,
            "shape": list(loaded.image.shape),
            "spacing_mm": list(loaded.spacing_mm),
            "repaired": repaired,
            "note": "; ".join(filter(None, (loaded.note, note))),
        },
    }
    return write_manifest(manifest, key=key, files=[*files, *more, *segmentations], content=content)


def labels_of(
    shown: NDArray[np.float32], loaded: LoadedSeries, options: PhenotypeOptions
) -> tuple[NDArray[np.uint8], str]:
    """Labels, atria among them where the map asks for them, and what was mended in words."""
    labels = segment(
        shown,
        spacing_mm=loaded.spacing_mm,
        model_folder=options.model_folder,
        device=options.device,
        label_map=dict(options.label_map) or None,
    )
    if not options.topology_repair:
        return labels, ""
    measured = without_atria(labels)
    mended = repair(measured, spacing_mm=loaded.spacing_mm)
    return np.where((labels != measured) & (mended.labels == 0), labels, mended.labels), told(mended)


def remove_old(manifest: Path) -> None:
    """Take away what an earlier run made of other files or with another model: if this one fails, nothing old remains."""
    try:
        names = list(read_manifest(manifest)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    for path in [manifest, *(manifest.parent / name for name in names)]:
        path.unlink(missing_ok=True)


def write_label_file(
    series: ImageSeries, loaded: LoadedSeries, labels: NDArray[np.uint8], folder: Path, options: PhenotypeOptions
) -> list[Path]:
    """Labels as NIfTI."""
    path = folder / "labels.nii.gz"
    sidecar: dict[str, Any] = {
        "series": series.name,
        "labels": ", ".join(f"{number} {name}" for number, name in ALL_NAMES.items()),
        "model": model_identity(options.model_folder),
    }
    sidecar |= {"frame_time_s": loaded.frame_time_s if series.kind == "cine" else None, "note": loaded.note}
    write_labels(path, loaded.stored(labels), spacing_mm=loaded.spacing_mm, sidecar=sidecar, affine=loaded.affine)
    return [path, path.with_name("labels.json")]


def write_dicom_segmentations(
    loaded: LoadedSeries, labels: NDArray[np.uint8], folder: Path, options: PhenotypeOptions
) -> tuple[list[Path], str]:
    """Labels of DICOM images as DICOM SEG, all or none; why there is none is a note, for the numbers do not need it."""
    if loaded.stack is None:
        return [], ""
    identity, stored = model_identity(options.model_folder), loaded.stored(labels)
    maker = Maker(model=identity["name"], model_sha256=identity["sha256"], version=version("cardioval"))
    # of a mapping series the first image stands for all, which show the same place
    frames = loaded.stack.frames[: len(stored)]
    try:
        return write_segmentations(folder / "segmentation", frames, stored, maker=maker), ""
    except OSError:  # of the disk, which has nothing to do with the header
        raise
    except Exception as problem:  # highdicom checks more of a header than measuring needs, with errors of any kind
        for path in (folder / "segmentation").glob("segmentation_t*.dcm"):
            path.unlink()
        return [], f"no DICOM SEG: {one_line(problem)}"


def confidence(loaded: LoadedSeries) -> Confidence:
    """Whether the size of a voxel is stated; DICOM always does."""
    return "assumed" if loaded.doubt else "stated"


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
        "geometry": confidence(loaded) if loaded is not None else "",
    }


def failed_rows(series: ImageSeries, reason: str, options: PhenotypeOptions) -> list[dict[str, Any]]:
    """Rows of a series that could not be read or labeled."""
    names = planned(series, options)
    return [{**columns(series, None, options), **row_of(value)} for value in failed(names, reason)]


def header_record(loaded: LoadedSeries, options: PhenotypeOptions) -> dict[str, Any]:
    """What the header says, in the words of a reconstruction's record: cm, kg and 1/min."""
    geometry = Geometry(
        spacing_mm=loaded.spacing_mm,
        frame_time_s=loaded.frame_time_s,
        confidence=confidence(loaded),
        note=loaded.doubt,
    )
    height_cm = None if loaded.height_m is None else 100 * loaded.height_m
    info = {"HeartRate": loaded.heart_rate_bpm, "Height": height_cm, "Weight": loaded.weight_kg}
    known = {name: value for name, value in info.items() if value is not None}
    return {"geometry": asdict(geometry), "info": known, "slice_order": options.slice_order}


def _cine(
    series: ImageSeries, loaded: LoadedSeries, labels: NDArray[np.uint8], folder: Path, options: PhenotypeOptions
) -> tuple[list[Value], dict[str, Any], list[Path]]:
    recon = header_record(loaded, options)
    facts: dict[str, Any] = {}
    try:
        # this function takes images as k-space gives them, lying on their side
        measured = measure_cine(
            upright(loaded.image),
            upright(labels),
            recon=recon,
            spacing=upright_spacing(loaded.spacing_mm),
            at={},
            options=options.conventions,
        )
        values, facts = list(measured.values), dict(measured.facts)
    except (CardioValError, ValueError) as problem:
        names = planned_of_cine(n_frames=len(labels), recon=recon, options=options.conventions)
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
    series: ImageSeries,
    loaded: LoadedSeries,
    shown: NDArray[np.float32],
    labels: NDArray[np.uint8],
    folder: Path,
    options: PhenotypeOptions,
) -> tuple[list[Value], dict[str, Any], list[Path]]:
    fitted = fit_map(loaded, series.kind, align=labels if options.conventions.motion_correction else None)
    values, regions = map_values(fitted, labels, loaded, series.kind)
    name = MAP_PHENOTYPE[series.kind].removesuffix("_ms")
    picture = folder / "picture.png"
    files: list[Path] = []
    for quantity, values_of_pixels, unit in (
        ("map", fitted.t_ms, "ms"),
        ("sd", fitted.sd_ms, "ms"),
        ("r2", fitted.r2, ""),
    ):
        path = folder / f"{name}_{quantity}.nii.gz"
        write_image(
            path,
            loaded.stored(values_of_pixels)[None],
            spacing_mm=loaded.spacing_mm,
            sidecar={"series": series.name, "unit": unit, "fit": fitted.how},
            allow_nan=True,
            affine=loaded.affine,
        )
        files += [path, path.with_name(f"{name}_{quantity}.json")]
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
    return values, facts, [*files, picture]


def failed_checks(facts: Mapping[str, Any]) -> str:
    """What the title of a picture says of quality control, if labels failed it."""
    names = [finding["check"] for finding in facts.get("quality_control", ()) if finding["status"] == "fail"]
    return f"; labels failed quality control: {', '.join(names)}" if names else ""


def in_words(value: Value) -> str:
    """A value for the title of a picture."""
    known = VOCABULARY[value.phenotype]
    number = f"{value.value:.0f} {known.unit}" if value.status != "failed" else "not measured"
    return f"{known.symbol} {number}"
