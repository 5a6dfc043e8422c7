"""Where do values of single segments of the wall go? Into a table of their own: the study's verdicts are of whole hearts."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cohort.atomic import replacing
from flows.caching import read_manifest

SEGMENT_FILE = "segments.parquet"
SCAN_COLUMNS = ("study", "center", "vendor", "field_t", "disease", "patient", "scan", "modality")
ARM_COLUMNS = ("method", "pattern", "acceleration")
COLUMNS = (*SCAN_COLUMNS, *ARM_COLUMNS, "quantity", "unit", "segment", "value")
NUMBERS = ("field_t", "acceleration", "value")
#: facts of an arm that are values by AHA segment, with their unit
UNITS = {
    "wall_thickness_mean": "mm",
    "wall_thickness_max": "mm",
    "circumferential_strain_peak": "%",
    "radial_strain_peak": "%",
}


def by_segment(values: Mapping[int, float]) -> dict[str, float | None]:
    """Values by AHA segment as a manifest holds them: text keys, None for a segment without points."""
    return {str(segment): value if math.isfinite(value) else None for segment, value in values.items()}


def segments_of_images(facts: Mapping[str, Any], *, map_name: str | None) -> list[dict[str, Any]]:
    """Quantity, unit, segment and value of every AHA segment of one series that `cardioval phenotype` measured.

    Parameters
    ----------
    facts
        Of its manifest.
    map_name
        What its map shows (``t1_ms``), None for a cine.
    """
    rows = [
        {"quantity": quantity, "unit": unit, "segment": int(segment), "value": float(value)}
        for quantity, unit in UNITS.items()
        for segment, value in facts.get(quantity, {}).items()
        if value is not None
    ]
    if map_name is not None:
        rows += [
            {
                "quantity": map_name,
                "unit": "ms",
                "segment": int(name.removeprefix("segment ")),
                "value": entry["median_ms"],
            }
            for name, entry in facts.get("map", {}).items()
            if name.startswith("segment ")
        ]
    return rows


def segment_table(manifests: Iterable[Path]) -> pd.DataFrame:
    """One row for each scan, arm, quantity and AHA segment that has a value.

    Parameters
    ----------
    manifests
        Of the measurement stage; the reconstruction's, which names the arms, lie beside them.
    """
    rows: list[dict[str, Any]] = []
    for path in manifests:
        reconstruction = read_manifest(path.with_name("reconstruction.json"))
        for name, facts in read_manifest(path).get("facts", {}).items():
            arm = reconstruction["arms"][name]
            common = {**reconstruction["scan"], **{key: arm[key] for key in ARM_COLUMNS}}
            for quantity, unit in UNITS.items():
                for segment, value in facts.get(quantity, {}).items():
                    if value is not None:
                        here = {"quantity": quantity, "unit": unit, "segment": int(segment), "value": float(value)}
                        rows.append({**common, **here})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = {name: "float64" if name in NUMBERS else "int64" if name == "segment" else "str" for name in COLUMNS}
    return table.astype({name: kind for name, kind in kinds.items() if kind != "str"}).sort_values(
        ["center", "patient", "scan", "method", "acceleration", "pattern", "quantity", "segment"], kind="stable"
    )


def write_segments(folder: Path, manifests: Iterable[Path]) -> Path:
    """Write segments.parquet beside measurements.parquet."""
    path = folder / SEGMENT_FILE
    with replacing(path) as temporary:
        segment_table(manifests).reset_index(drop=True).to_parquet(temporary, index=False)
    return path
