"""Do records refuse what contradicts itself, and do errors say file and reason in one line?"""

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from cohort import records
from cohort.records import CardioValError, ConfigProblem, FileProblem, Geometry, MissingFile, Scan

SCAN: dict[str, Any] = {
    "center": "Center001",
    "vendor": "Siemens",
    "field_t": 3.0,
    "scanner": "Vida",
    "patient": "P001",
    "modality": "cine",
    "view": "short-axis",
    "split": "TestSet",
    "disease": "normal",
    "shape": (10, 6, 8, 160, 320),
    "path": Path("cine_sax.mat"),
    "stem": "cine_sax",
}


def test_every_error_is_in_the_tree_and_in_its_drawing() -> None:
    found = {name for name, value in vars(records).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert records.__doc__ is not None
    for name in found:
        assert issubclass(getattr(records, name), CardioValError)
        assert name in records.__doc__


def test_a_file_problem_is_one_line_and_survives_another_process() -> None:
    problem = MissingFile("a/b.mat", "missing:\n  no such\tfile")
    assert str(problem) == "a/b.mat: missing: no such file"
    again = pickle.loads(pickle.dumps(problem))
    assert (type(again), str(again), again.path) == (MissingFile, str(problem), Path("a/b.mat"))
    assert isinstance(problem, FileProblem)


def test_a_good_scan_is_accepted_and_frozen() -> None:
    scan = Scan(**SCAN)
    assert scan.status == "ok"
    with pytest.raises(AttributeError):
        scan.center = "Center002"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "bad"}, "a bad scan has a reason"),
        ({"reason": "truncated"}, "a good one has none"),
        ({"status": "doubtful"}, "'ok' or 'bad'"),
        ({"shape": (6, 8, 160, 320)}, "five positive numbers"),
        ({"shape": (10, 0, 8, 160, 320)}, "five positive numbers"),
        ({"field_t": math.nan}, "number of tesla"),
    ],
)
def test_a_scan_that_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        Scan(**SCAN | change)


def test_a_bad_scan_may_lack_what_is_unknown() -> None:
    scan = Scan(**SCAN | {"status": "bad", "reason": "truncated", "shape": (), "field_t": math.nan})
    assert scan.reason == "truncated"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing_mm": (8.0, 1.5, 0.0)}, "three positive"),
        ({"spacing_mm": (8.0, 1.5)}, "three positive"),
        ({"spacing_mm": (math.inf, 1.5, 1.5)}, "three positive"),
        ({"frame_time_s": -0.04}, "positive number of s"),
        ({"confidence": "sure"}, "'stated', 'table' or 'assumed'"),
    ],
)
def test_impossible_geometry_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"spacing_mm": (8.0, 1.5, 1.5), "frame_time_s": None, "confidence": "stated"}
    assert Geometry(**good).note == ""
    with pytest.raises(ConfigProblem, match=message):
        Geometry(**good | change)
