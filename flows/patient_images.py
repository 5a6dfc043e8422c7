"""Where in a run are the pictures of one patient? Images and labels of the cine's middle slice, stored pictures of maps.

Images may be missing: a run can be told to keep none. What cannot be read is a note on the page, not an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.images import read_image, read_labels
from cohort.records import CardioValError
from flows.caching import read_manifest
from flows.measure_cine import cycle_facts
from flows.stages import upright, upright_spacing
from phenotyping.volumes import measure_volumes
from reports.gallery import map_kind
from reports.patient_pictures import Images, Still, Strip
from reports.pictures import read_sample

CINE = "cine"


def images_of(run: Path, record: Mapping[str, Any]) -> Images:
    """Everything that can be shown of a patient."""
    strips: list[Strip] = []
    stills: list[Still] = []
    notes: list[str] = []
    for scan in record["scans"]:
        if scan["folder"] is None:
            continue
        folder = run / scan["folder"]
        if scan["modality"] == CINE:
            strips += strips_of(folder, scan, notes)
        stills += stills_of(folder, scan, notes)
    return Images(tuple(strips), tuple(stills), tuple(notes))


def strips_of(folder: Path, scan: Mapping[str, Any], notes: list[str]) -> Iterator[Strip]:
    """The middle slice over the beat of each arm; all at the slice of the fully sampled one."""
    place: int | None = None
    missing = []
    for arm, made in sorted(scan["arms"].items(), key=lambda item: item[0] != "fully_sampled"):
        frames = made["phases"].get("ed_frame"), made["phases"].get("es_frame")
        if None in frames:
            continue  # was not measured; the reason is among the values
        try:
            image, spacing, _ = read_image(folder / f"{arm}.nii.gz")
            labels = read_labels(folder / f"{arm}_labels.nii.gz")[0]
        except CardioValError:
            missing.append(arm)
            continue
        if labels.shape != image.shape or max(frames) >= len(image):
            notes.append(f"{scan['scan']} {arm}: images and labels do not fit, {image.shape} and {labels.shape}")
            continue
        place = middle(labels[frames[0]]) if place is None else place
        pixel = upright_spacing(spacing)[1:]
        yield Strip(
            scan["scan"], arm, upright(image[:, place]), upright(labels[:, place]), pixel, *frames, place
        )  # fmt: skip
    if missing:
        notes.append(
            f"{scan['scan']}: the run kept no images of {', '.join(missing)}, so their frames cannot be shown."
        )


def middle(labels: NDArray[np.uint8]) -> int:
    """The middle one of the slices with left ventricle, or of all."""
    found = np.flatnonzero((labels == 1).any(axis=(1, 2)))
    return int(found[len(found) // 2]) if len(found) else labels.shape[0] // 2


def stills_of(folder: Path, scan: Mapping[str, Any], notes: list[str]) -> Iterator[Still]:
    """Pictures that the measuring left beside its manifest."""
    try:
        gallery = read_manifest(folder / "measurements.json").get("gallery") or []
    except (OSError, ValueError):
        return
    for entry in gallery:
        try:
            path = (folder / entry["path"]).resolve()
            if not path.is_relative_to(folder.resolve()):
                raise ValueError("outside the scan's folder")
            sample = read_sample(path)
        except (OSError, KeyError, ValueError) as problem:
            notes.append(f"{scan['scan']}: {entry.get('path')} could not be read ({type(problem).__name__})")
            continue
        yield Still(scan["scan"], entry["arm"], entry["phase"], map_kind(entry), int(entry["slice"]), sample)


def fill_curves(run: Path, record: Mapping[str, Any]) -> None:
    """Measure volumes over the beat from the stored labels where an older run kept no curve.

    Only curves that are missing are filled in, with the phases found beside them; labels that are gone leave none.
    """
    for scan in record["scans"]:
        if scan["modality"] != CINE or scan["folder"] is None:
            continue
        for arm, made in scan["arms"].items():
            if made["curves"].get("lv_curve_ml") or made["status"] != "ok":
                continue
            try:
                labels, spacing, _ = read_labels(run / scan["folder"] / f"{arm}_labels.nii.gz")
                facts = cycle_facts({"info": {"HeartRate": scan["heart_rate_bpm"]}, "geometry": scan})
                volumes = measure_volumes(
                    labels,
                    spacing_mm=spacing,
                    frame_time_s=facts["frame_time_s"],
                    heart_rate_bpm=facts["heart_rate_bpm"],
                )
            except (CardioValError, ValueError):
                continue
            made["curves"]["lv_curve_ml"] = [float(v) for v in volumes.lv_curve_ml]
            made["curves"]["rv_curve_ml"] = [float(v) for v in volumes.rv_curve_ml]
            made["phases"] |= {"ed_frame": volumes.ed_frame, "es_frame": volumes.es_frame}
