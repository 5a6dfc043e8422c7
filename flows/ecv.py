"""How large is the extracellular volume, from the native and the post-contrast T1 series of a `cardioval phenotype` folder?

The myocardium's T1 are the medians that were measured for each region, on each series' own labels: the two maps need not lie
on each other. Blood is the middle of the left cavity.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cohort.atomic import write_text
from cohort.images import read_image, read_labels
from cohort.normal_values import normal_range
from cohort.records import ConfigProblem, MeasurementFailed
from flows.caching import read_manifest
from phenotyping.ecv import TREIBEL_MOLLI_1_5T, ExtracellularVolume, extracellular_volume
from phenotyping.regions import blood_pool

MANIFEST, MAP_FILE, LABEL_FILE = "series.json", "t1_map.nii.gz", "labels.nii.gz"
MIN_BLOOD_PIXELS: Final = 20
#: the synthetic hematocrit's only protocol
SYNTHETIC_FIELD_T, SYNTHETIC_SEQUENCE, FIELD_TOLERANCE_T = 1.5, "MOLLI", 0.1
#: of what is plausible in a living heart: below, T1 before and after were mixed up or the heart was missed; above, amyloid
#: reaches some 70 %
PLAUSIBLE: Final = (0.10, 0.80)


@dataclass(frozen=True)
class MeasuredT1:
    """One T1 series: medians in ms by region, of blood too, and whose and how it was scanned."""

    name: str
    patient: str
    field_t: float | None
    sequence: str | None
    regions_ms: dict[str, float]
    blood_ms: float


@dataclass(frozen=True)
class RegionEcv:
    """Extracellular volume and partition coefficient of one region, as fractions."""

    region: str
    native_ms: float
    post_ms: float
    ecv: float
    partition: float


@dataclass(frozen=True)
class SeriesEcv:
    """What `measure_ecv` found; `normal` are published ranges in words, `doubts` what speaks against the values."""

    patient: str
    native: str
    post: str
    native_blood_ms: float
    post_blood_ms: float
    hematocrit: float
    synthetic: bool
    protocol: str
    regions: tuple[RegionEcv, ...]
    normal: tuple[str, ...]
    doubts: tuple[str, ...]


def measure_ecv(
    folder: Path, native: str, post: str, *, hematocrit: float | None = None, synthetic: bool = False
) -> SeriesEcv:
    """ECV of the wall, the septum and the AHA segments that both series show.

    Parameters
    ----------
    folder
        Of `cardioval phenotype`.
    native, post
        Names of the series before and after contrast agent, as `series.csv` has them.
    hematocrit
        Measured, a fraction; or
    synthetic
        estimated from the native blood, which is known for MOLLI at 1.5 T only.

    Raises
    ------
    ConfigProblem
        A series that is none, of another patient or field; not exactly one hematocrit.
    MeasurementFailed
        No myocardium or blood measured in a series, blood whose T1 did not fall, or a protocol without regression.
    """
    if (hematocrit is None) != synthetic:
        raise ConfigProblem("give either --hematocrit (a fraction such as 0.42) or --synthetic-hematocrit")
    before, after = (t1_series(folder, name) for name in (native, post))
    if before.patient != after.patient:
        raise ConfigProblem(
            f"{native} is of patient {before.patient}, {post} of {after.patient}: ECV needs one patient"
        )
    if before.field_t != after.field_t:
        raise ConfigProblem(f"{native} was scanned at {before.field_t} T, {post} at {after.field_t} T")
    if synthetic:
        check_synthetic(before)
    blood = {"native_blood_ms": before.blood_ms, "post_blood_ms": after.blood_ms}
    regions = [name for name in before.regions_ms if name in after.regions_ms]
    found: ExtracellularVolume = extracellular_volume(
        native_ms=[before.regions_ms[name] for name in regions],
        post_ms=[after.regions_ms[name] for name in regions],
        hematocrit=hematocrit,
        synthetic=TREIBEL_MOLLI_1_5T if synthetic else None,
        **blood,
    )
    values = tuple(
        RegionEcv(name, before.regions_ms[name], after.regions_ms[name], float(ecv), float(share))
        for name, ecv, share in zip(regions, found.ecv, found.lambda_, strict=True)
    )
    return SeriesEcv(
        patient=before.patient,
        native=native,
        post=post,
        hematocrit=found.hematocrit,
        synthetic=found.synthetic,
        protocol=found.protocol,
        regions=values,
        normal=published(before),
        doubts=tuple(doubts(before, after, values)),
        **blood,
    )


def t1_series(folder: Path, name: str) -> MeasuredT1:
    """The medians of one T1 series of a phenotype folder; errors as `measure_ecv`."""
    place = folder / name
    if not name or not (place / MANIFEST).is_file() or not (place / MAP_FILE).is_file():
        known = sorted(path.parent.relative_to(folder).as_posix() for path in folder.rglob(MAP_FILE))
        raise ConfigProblem(f"{name!r} is no T1 series of {folder}; there are {', '.join(known) or 'none'}")
    content = read_manifest(place / MANIFEST)
    facts, rows = content["facts"], content["rows"]
    measured = facts.get("map", {})
    regions = {key: entry["median_ms"] for key, entry in measured.items() if is_region(entry)}
    if "wall" not in regions or not rows:
        reason = next((row["reason"] for row in rows if row["status"] == "failed"), "no myocardium was measured in it")
        raise MeasurementFailed(f"{name}: {reason}")
    t1_ms, spacing, _ = read_image(place / MAP_FILE, allow_nan=True)
    labels, _, _ = read_labels(place / LABEL_FILE)
    pool = blood_pool(labels[0], spacing_mm=spacing)
    values = t1_ms[0][pool & (t1_ms[0] > 0)]  # NaN is not above 0
    if values.size < MIN_BLOOD_PIXELS:
        raise MeasurementFailed(
            f"{name}: only {values.size} pixels of blood with a T1 in the middle of the cavity, {MIN_BLOOD_PIXELS} are needed"
        )
    first = rows[0]
    return MeasuredT1(
        name, first["patient"], first["field_t"], facts.get("sequence"), regions, float(np.median(values))
    )


def is_region(entry: Any) -> bool:
    """Whether a fact of a map is a region's median; others tell of motion and of what was not measured."""
    return isinstance(entry, dict) and isinstance(entry.get("median_ms"), int | float)


def check_synthetic(native: MeasuredT1) -> None:
    """Refuse a synthetic hematocrit where its regression was not made."""
    field = native.field_t
    if field is None or abs(field - SYNTHETIC_FIELD_T) > FIELD_TOLERANCE_T or native.sequence != SYNTHETIC_SEQUENCE:
        scanned = (
            f"{native.sequence or 'an unnamed sequence'} at {'an unknown field' if field is None else f'{field:g} T'}"
        )
        raise MeasurementFailed(
            f"{native.name} is {scanned}; a synthetic hematocrit is known for {SYNTHETIC_SEQUENCE} at "
            f"{SYNTHETIC_FIELD_T} T only: measure the hematocrit"
        )


def published(native: MeasuredT1) -> tuple[str, ...]:
    """Published ranges of healthy people in words, each with its source, or why there is none."""
    if native.field_t is None:
        return ("the field strength is not known",)
    found = normal_range("ecv_percent", field_t=native.field_t, sequence=native.sequence)
    return (*([found.reason] if found.reason else []), *(row.text for row in found.values))


def doubts(before: MeasuredT1, after: MeasuredT1, values: tuple[RegionEcv, ...]) -> list[str]:
    """What speaks against the values."""
    found = []
    if before.sequence != after.sequence:
        found.append(f"sequences differ: {before.sequence or 'unnamed'} before, {after.sequence or 'unnamed'} after")
    low, high = PLAUSIBLE
    odd = [value.region for value in values if not low <= value.ecv <= high]
    if odd:
        found.append(f"outside {100 * low:g} to {100 * high:g} %: {', '.join(odd)}")
    return found


def write_ecv(path: Path, found: SeriesEcv) -> None:
    """Everything as JSON."""
    write_text(path, json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n")
