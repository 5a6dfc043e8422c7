"""Does a scanner's mapping series give what the same images of a validation give, with and without motion?"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from flows.measure_map import measure_map
from flows.phenotype_inputs import LoadedSeries
from flows.phenotype_maps import fit_map, map_values, sequence_of
from flows.phenotype_normals import NORMAL_COLUMNS, normal_rows, printed
from flows.stages import ScanJob, upright

T1_TIMES = np.array([100.0, 180, 880, 960, 1650, 1740, 2500, 3200])
DECAY_TIMES = np.array([0.0, 20, 35, 55])
SPACING = (8.0, 2.0, 2.0)
SHIFTS = [0, 2, -2, 1, 0, -1, 2, 0]
TRUE_MS = {"T1 mapping": 1150.0, "T2 mapping": 47.0}


def heart() -> NDArray[np.uint8]:
    """(slices, y, x), the right ventricle at the left."""
    y, x = np.mgrid[:64, :64] - 31.5
    labels = np.zeros((64, 64), np.uint8)
    labels[np.hypot(y, x + 14) < 10] = 3
    labels[np.hypot(y, x) < 14] = 2
    labels[np.hypot(y, x) < 8] = 1
    return labels[None]


def loaded(kind: str, labels: NDArray[np.uint8], rng: np.random.Generator, *, moving: bool = False) -> LoadedSeries:
    times = T1_TIMES if kind == "T1 mapping" else DECAY_TIMES
    constant = np.array([900.0, 1700, TRUE_MS[kind], 1700]) if kind == "T1 mapping" else np.array([40.0, 150, 47, 150])
    tissue, t = constant[labels], times[:, None, None, None]
    signal = 1 - 1.9 * np.exp(-0.9 * t / tissue) if kind == "T1 mapping" else np.exp(-t / tissue)
    signal = np.where(labels > 0, 1.0, 0.05) * signal
    if moving:
        signal = np.stack([np.roll(image, shift, axis=-2) for image, shift in zip(signal, SHIFTS, strict=False)])
    signal = signal + rng.normal(0, 0.01, signal.shape)
    empty: dict[str, Any] = dict.fromkeys(
        ("frame_time_s", "heart_rate_bpm", "height_m", "weight_kg", "stack", "placed")
    )
    return LoadedSeries(
        image=np.abs(signal).astype(np.float32),
        phase=np.where(signal < 0, np.pi, 0).astype(np.float32) if kind == "T1 mapping" else None,
        times_ms=np.repeat(times[:, None], labels.shape[0], axis=1),
        spacing_mm=SPACING,
        affine=np.eye(4),
        vendor="",
        field_t=1.5,
        words=(),
        note="",
        **empty,
    )


@pytest.mark.parametrize(("kind", "align"), [("T1 mapping", False), ("T2 mapping", False), ("T2 mapping", True)])
def test_the_same_images_give_the_same_values(
    kind: str, align: bool, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Values, segments, quality and motion are those of `flows.measure_map`, which has no phase images."""
    labels = heart()
    series = LoadedSeries(**{**vars(loaded(kind, labels, rng, moving=align)), "phase": None})
    found = fit_map(series, kind, align=labels if align else None)
    values, facts = map_values(found, labels, series, kind)
    monkeypatch.setattr("flows.measure_map.read_times_ms", lambda path: series.times_ms)
    file = Path("map.mat")
    job = ScanJob("s", "C", "Siemens", 1.5, "Aera", "normal", "P1", kind, "short-axis", "map", file, file)
    theirs = measure_map(
        job,
        upright(series.image),
        upright(labels)[None],
        spacing=SPACING,
        at={},
        motion_correction=align,
    )
    for ours, other in zip(values, theirs.values, strict=True):
        assert (ours.phenotype, ours.status) == (other.phenotype, other.status)
        assert ours.value == pytest.approx(other.value, rel=1e-3 if align else 1e-9)
    assert facts.keys() == theirs.facts["map"].keys()
    if not align:
        assert facts["segment 8"] == pytest.approx(theirs.facts["map"]["segment 8"], rel=1e-9)
        assert facts["median_r2"] == pytest.approx(theirs.facts["map"]["median_r2"], rel=1e-9)


def test_motion_is_taken_away_and_told(rng: np.random.Generator) -> None:
    labels = heart()
    series = loaded("T1 mapping", labels, rng, moving=True)
    plain, corrected = (fit_map(series, "T1 mapping", align=given) for given in (None, labels))
    assert "signs from the phase images" in plain.how
    assert "signs searched, images aligned" in corrected.how
    wall = labels == 2
    errors = [np.nanmedian(np.abs(found.t_ms - 1150)[wall]) for found in (plain, corrected)]
    assert errors[1] < 0.7 * errors[0], errors
    assert corrected.motion["motion of slice 0"]["kept"]


def test_a_slice_that_cannot_be_aligned_is_measured_as_it_is(rng: np.random.Generator) -> None:
    labels = np.zeros_like(heart())
    labels[0, 30:34, 30:34] = 2
    series = loaded("T1 mapping", labels, rng)
    found = fit_map(series, "T1 mapping", align=labels)
    assert "not corrected" in found.motion["motion of slice 0"]
    np.testing.assert_array_equal(found.t_ms, fit_map(series, "T1 mapping").t_ms)


def test_the_sequence_decides_which_studies_are_beside() -> None:
    assert sequence_of("T1 mapping", ("short axis", "shmolli")) == "ShMOLLI"
    assert sequence_of("T1 mapping", ("molli",)) == "MOLLI"
    assert sequence_of("T1 mapping", ("scout",)) is None
    assert sequence_of("T2 mapping", ("grase",)) == "GraSE"
    assert sequence_of("T2* mapping", ("grase",)) is None
    row = {"patient": "P", "scan": "s", "phenotype": "t1_ms", "value": 990.0, "unit": "ms", "field_t": 1.5}
    (only,) = normal_rows([row, row | {"phenotype": "lv_edv_ml"}, row | {"value": None}], {"s": "ShMOLLI"})
    assert (only["normal_mean"], only["reason"]) == (962, "")
    (none,) = normal_rows([row | {"field_t": 0.55}], {"s": "MOLLI"})
    assert "source" not in none
    assert "0.55 T" in none["reason"]
    lines = printed(pd.DataFrame([only, none], columns=list(NORMAL_COLUMNS)).assign(series=["s", "low"]))
    assert [line.split(";")[0] for line in lines] == [
        "s: T1 990 ms",
        "  962 ± 25 (913 to 1011) ms at 1.5 T, ShMOLLI 5(1)1(1)1 Siemens, n = 342",
        "low: T1 990 ms",
        "  no verified normal values of T1 at 0.55 T (there are for 1.5, 3, 5 T)",
    ]
    (unknown,) = normal_rows([row | {"field_t": None}], {})
    assert unknown["reason"] == "the field strength is not known"
