"""Are series told apart and classified, whatever is said of them, and does no name leave the reader?"""

import dataclasses
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from cohort.dicom import load_stack, read_cine
from cohort.dicom_series import DicomSeries, find_series, sort_into_series
from tests.cohort.dicom_files import cine, molli, single


def test_series_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    cine(tmp_path / "a", series="1.2.3", SeriesNumber=4, SeriesDescription="cine SAX")
    cine(tmp_path / "b", series="1.2.4", SeriesNumber=3, SeriesDescription="cine SAX", InstanceNumber=1)
    cine(tmp_path / "c", series="1.2.5", SeriesNumber=5, n_slices=1, SeriesDescription="cine 4CH")
    single(tmp_path / "d", 1, series="1.2.6", TriggerTime=1.0, SeriesNumber=6)
    found, problems = find_series(path for path in tmp_path.rglob("*") if path.is_file())
    assert [(s.number, s.kind) for s in found] == [(3, "cine"), (4, "cine"), (5, "other"), (6, "other")]
    assert "not of the short axis" in found[2].reason
    assert "neither a cine nor a mapping series" in found[3].reason
    assert not problems


def test_mapping_series(tmp_path: Path) -> None:
    times = [100, 1100, 2100, 180, 260]
    molli(tmp_path / "m", times, ImageType=["ORIGINAL", "PRIMARY", "M"])
    for i, t in enumerate(times):
        single(
            tmp_path / "p" / f"{i}", t, series="1.2.8", InversionTime=t, ImageType=["ORIGINAL", "PRIMARY", "P"],
            RescaleSlope=2, RescaleIntercept=-4096, BitsStored=12, HighBit=11,
        )  # fmt: skip
    (series,), _ = find_series(tmp_path.rglob("?"))
    stack = load_stack(series)
    assert series.kind == "T1 mapping"
    assert stack.times_ms[:, 0].tolist() == times  # in the order taken, which tells inversions apart
    assert stack.images[:, 0, 0, 0].tolist() == times
    assert stack.phase is not None
    np.testing.assert_allclose(stack.phase[:, 0, 0, 0], (2 * np.array(times) - 4096) * np.pi / 4096, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "kind", "times"),
    [
        ([{"ImageComments": f"T2prep. duration {t} ms"} for t in (0, 25, 55)], "T2 mapping", [0, 25, 55]),
        ([{"EchoTime": t, "ScanningSequence": "GR"} for t in (2, 5, 8)], "T2* mapping", [2, 5, 8]),
        ([{"EchoTime": t, "ScanningSequence": "SE"} for t in (10, 20, 30)], "T2 mapping", [10, 20, 30]),
        ([{"ImageComments": f"TIeff {t} ms"} for t in (90, 1000, 2000)], "T1 mapping", [90, 1000, 2000]),
    ],
)
def test_times_of_other_mapping_series(
    tmp_path: Path, given: list[dict[str, Any]], kind: str, times: list[float]
) -> None:
    for i, tags in enumerate(given):
        single(tmp_path / f"{i}", i, series="1.2.3", InstanceNumber=i, **tags)
    (series,), _ = find_series(tmp_path.iterdir())
    assert series.kind == kind
    assert load_stack(series).times_ms[:, 0].tolist() == times


def test_a_preparation_time_in_private_text(tmp_path: Path) -> None:
    for i, t in enumerate((0, 35, 55)):
        path = single(tmp_path / f"{i}", i, series="1.2.3")
        file = pydicom.dcmread(path)
        file.private_block(0x0019, "VENDOR", create=True).add_new(0x10, "LO", f"t2_prep={t} ms")
        file.save_as(path)
    (series,), _ = find_series(tmp_path.iterdir())
    assert series.kind == "T2 mapping"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "T1 MAP"]}, "a map"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "neither magnitude nor phase"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "phase images"),
        ({"RescaleSlope": 2, "RescaleIntercept": -4096, "BitsStored": 12}, "phase images"),
        ({"Modality": "CT"}, "another modality"),
    ],
)
def test_images_that_are_no_magnitude(tmp_path: Path, given: dict[str, Any], reason: str) -> None:
    cine(tmp_path, series="1.2.3", **given)
    (series,), _ = find_series(tmp_path.iterdir())
    assert (series.kind, reason in series.reason) == ("other", True)


def test_a_scout_for_the_inversion_time_is_no_t1_mapping(tmp_path: Path) -> None:
    molli(tmp_path, list(range(100, 400, 10)))
    (series,), _ = find_series(tmp_path.iterdir())
    assert (series.kind, "scout" in series.reason) == ("other", True)


def timed(folder: Path, tags: Callable[[int, int], dict[str, Any]], *, n_times: int = 5, **given: Any) -> DicomSeries:
    """A series of three slices whose tags depend on time and slice."""
    for t in range(n_times):
        for z in range(3):
            single(folder / f"{t}_{z}", 1, series="1.2.3", z=z, **{"TriggerTime": 30.0 * t, **given, **tags(t, z)})
    (series,), _ = find_series(folder.iterdir())
    return series


def clock(seconds: float) -> str:
    """A time of day, from a little before midnight."""
    now = (86390 + seconds) % 86400
    return f"{int(now // 3600):02d}{int(now % 3600 // 60):02d}{now % 60:09.6f}"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (lambda t, z: {"AcquisitionTime": clock(2.0 * t + 0.1 * z)}, "taken over 8 s, one after the other"),
        (lambda t, z: {"AcquisitionDateTime": "20200103" + clock(2.0 * t)}, "taken over 8 s"),
        (lambda t, z: {"TriggerTime": 900.0 * t + 50 * z}, "trigger times over 3.6 s"),
        (lambda t, z: {"TemporalPositionIdentifier": (2 * t) % 5 + 1}, "temporal positions that do not rise"),
        (lambda t, z: {"SeriesDescription": "SAX rest_perf"}, "perfusion by its description"),
        (lambda t, z: {"ProtocolName": "sa cine_tag"}, "tagging"),
        (lambda t, z: {"SeriesDescription": "SAX cSPAMM"}, "tagging"),
        (lambda t, z: {"SeriesDescription": "SAX LGE psir"}, "late enhancement"),
        (lambda t, z: {"SeriesDescription": "sax Real-Time"}, "real time"),
        (lambda t, z: {"SeriesDescription": "sax DYNAMIC"}, "dynamic series by its"),
    ],
)
def test_what_has_trigger_times_and_is_no_cine(
    tmp_path: Path, tags: Callable[[int, int], dict[str, Any]], reason: str
) -> None:
    series = timed(tmp_path, tags)
    assert (series.kind, reason in series.reason) == ("other", True), series.reason


@pytest.mark.parametrize(
    "tags",
    [
        lambda t, z: {"AcquisitionTime": clock(12.0 * z)},  # each slice in its breath-hold
        lambda t, z: {"AcquisitionTime": clock(12.0 * z + 0.03 * t)},
        lambda t, z: {"AcquisitionTime": clock(30.0 * (t % 2) if z == 1 else 0.0)},  # one slice again
        lambda t, z: {"TemporalPositionIdentifier": t + 1},  # phases numbered so
        lambda t, z: {"TemporalPositionIdentifier": 1, "TriggerTime": 0.3 * t},
        lambda t, z: {"SeriesDescription": "perfect stage SAX"},
        lambda t, z: {"AcquisitionTime": None},
    ],
)
def test_what_is_a_cine_all_the_same(tmp_path: Path, tags: Callable[[int, int], dict[str, Any]]) -> None:
    series = timed(tmp_path, tags)
    assert (series.kind, series.reason) == ("cine", "")


def test_nothing_that_identifies_a_patient_leaves_the_reader(tmp_path: Path) -> None:
    paths = cine(tmp_path, series="1.2.3", SeriesDescription="Doe Jane sax", AcquisitionTime="101112")
    (series,), _ = find_series(paths)
    text = repr(series) + repr(load_stack(series)) + repr(read_cine(tmp_path))
    text += repr([dataclasses.asdict(frame) for frame in series.frames]) + repr(pickle.dumps(series.frames))
    for secret in ("Doe", "Jane", "MRN12345", "19700102", "Hill", "St X", "20200103", "ACCN", "101112", "36672"):
        # not within the digits of a UID, which are drawn at random
        assert not re.search(rf"(?<!\d){secret.lower()}(?!\d)", text.lower()), secret
    assert series.frames[0].facts.words == ("short axis",)
    assert len({frame.facts.subject for frame in series.frames}) == 1
    assert (series.frames[0].facts.height_m, series.frames[0].facts.weight_kg) == (1.75, 70.0)


def test_the_t1_phantom(shared_data: Path) -> None:
    root = shared_data / "t1_phantom" / "shmolli_3T"
    found, problems = find_series(path for path in root.rglob("*") if path.is_file())
    assert [(s.number, s.kind, len(s.phase)) for s in found] == [
        (12, "T1 mapping", 7), (14, "other", 0), (15, "other", 0),
    ]  # fmt: skip
    stack = load_stack(found[0])
    assert not problems
    assert stack.times_ms[:, 0].tolist() == [100, 1100, 2100, 3100, 4100, 180, 260]
    assert stack.spacing_mm == pytest.approx((8.0, 0.9375, 0.9375))
    assert stack.phase is not None
    assert -np.pi <= stack.phase.min() < stack.phase.max() <= np.pi
    # the signal at 100 ms is inverted against that at 4100 ms wherever the magnitude falls early
    early, later, last = (stack.images[i, 0] for i in (0, 6, 4))
    recovering = (early > 200) & (later < 0.7 * early) & (last > 200)
    turn = np.cos(stack.phase[0, 0] - stack.phase[4, 0])[recovering]
    assert np.count_nonzero(recovering) > 3000
    assert np.mean(turn < -0.9) > 0.95


def test_a_series_of_no_frames_is_not_made() -> None:
    assert sort_into_series([]) == []
    assert DicomSeries("other", ()).files == ()
