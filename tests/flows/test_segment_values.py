"""Do values of segments go through manifests into their own table, and none be invented?"""

from pathlib import Path

import pandas as pd

from flows.caching import write_manifest
from flows.segment_values import by_segment, segments_of_images, write_segments


def manifest(folder: Path, patient: str, mean_mm: dict[int, float]) -> Path:
    """The measurement of one scan with a fully sampled and a failed arm."""
    folder.mkdir()
    scan = {"study": "s", "center": "C", "vendor": "V", "field_t": 1.5, "disease": "", "patient": patient}
    scan |= {"modality": "cine", "scan": "cine_sax"}
    arms = {
        "fully_sampled": {"method": "fully_sampled", "pattern": "none", "acceleration": 1.0},
        "sense_Uniform8": {"method": "sense", "pattern": "Uniform", "acceleration": 8.0},
    }
    write_manifest(folder / "reconstruction.json", key="r", files=[], content={"scan": scan, "arms": arms})
    facts = {"fully_sampled": {"wall_thickness_mean": by_segment(mean_mm)}, "sense_Uniform8": {}}
    return write_manifest(folder / "measurements.json", key="m", files=[], content={"rows": [], "facts": facts})


def test_segments_round_trip(tmp_path: Path) -> None:
    manifests = [
        manifest(tmp_path / "b", "P002", {1: 7.5, 16: 6.0}),
        manifest(tmp_path / "a", "P001", {1: 9.25, 2: float("nan")}),
    ]
    table = pd.read_parquet(write_segments(tmp_path, manifests))
    assert table[["patient", "segment", "value"]].to_numpy().tolist() == [
        ["P001", 1, 9.25],
        ["P002", 1, 7.5],
        ["P002", 16, 6.0],
    ]
    assert set(table["quantity"]) == {"wall_thickness_mean"}
    assert set(table["unit"]) == {"mm"}
    assert set(table["method"]) == {"fully_sampled"}


def test_a_run_without_cines_has_an_empty_table(tmp_path: Path) -> None:
    table = pd.read_parquet(write_segments(tmp_path, []))
    assert table.empty
    assert "segment" in table


def test_images_give_wall_strain_and_map_by_segment() -> None:
    cine = {
        "wall_thickness_mean": by_segment({1: 7.5, 2: float("nan")}),
        "radial_strain_peak": {"8": 31.0},
        "notes": [],
    }
    assert [tuple(row.values()) for row in segments_of_images(cine, map_name=None)] == [
        ("wall_thickness_mean", "mm", 1, 7.5),
        ("radial_strain_peak", "%", 8, 31.0),
    ]
    regions = {"wall": {"median_ms": 1000.0}, "segment 8": {"median_ms": 1010.0}, "median_r2": 0.9, "not measured": {}}
    assert [tuple(row.values()) for row in segments_of_images({"map": regions}, map_name="t1_ms")] == [
        ("t1_ms", "ms", 8, 1010.0)
    ]
    assert segments_of_images({}, map_name="t2star_ms") == []
