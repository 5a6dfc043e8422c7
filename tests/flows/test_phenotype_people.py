"""Does one name stand for one person, whatever numbers the headers have?"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.dicom_headers import Facts, Frame
from cohort.dicom_series import DicomSeries
from flows.phenotype_people import apart, names_of_people

ROOT = Path("/images")


def series(file: str, *, subject: str, study: str) -> DicomSeries:
    facts = Facts(
        series_uid=f"1.{file}",
        study_uid=study,
        frame_of_reference="1.2",
        series_number=1,
        transfer_syntax="1.2.840.10008.1.2.1",
        vendor="GE",
        scanner="",
        field_t=1.5,
        heart_rate_bpm=None,
        height_m=None,
        weight_kg=None,
        gradient_echo=True,
        words=(),
        subject=subject,
    )
    frame = Frame(
        path=ROOT / file,
        index=None,
        sop_class="",
        sop_instance="",
        number=0,
        rows=4,
        columns=4,
        position=(0.0, 0.0, 0.0),
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        pixel_mm=(1.0, 1.0),
        thickness_mm=8.0,
        trigger_ms=None,
        inversion_ms=None,
        echo_ms=None,
        preparation_ms=None,
        component="magnitude",
        slope=1.0,
        intercept=0.0,
        facts=facts,
    )
    return DicomSeries("cine", (frame,))


@given(names=st.lists(st.sampled_from(["P", "P-2", "P-3", "P-2-2", "Q"]), max_size=8), others=st.sets(st.just("Q-2")))
def test_names_are_told_apart(names: list[str], others: set[str]) -> None:
    told = apart(names, others=others)
    assert len(set(told)) == len(names)
    assert not set(told) & others
    for i, (name, new) in enumerate(zip(names, told, strict=True)):
        assert new == name if name not in names[:i] else new.startswith(f"{name}-")


@pytest.mark.parametrize(
    ("found", "names"),
    [
        # one number everywhere: the folders are the people
        ([("P1/a", "ANON", "1"), ("P2/a", "ANON", "2"), ("P3/a", "ANON", "3")], ["P1", "P2", "P3"]),
        # two people in one folder, and a third in the folder whose name the second would get
        ([("P/a", "A", "1"), ("P/b", "B", "2"), ("P-2/a", "C", "3")], ["P", "P-3", "P-2"]),
        # one study over several folders is one person
        ([("cine/a", "A", "1"), ("maps/a", "A", "1")], ["images", "images"]),
        # two visits in one folder are one person
        ([("P1/one/a", "A", "1"), ("P1/two/a", "A", "2"), ("P2/a", "A", "3")], ["P1", "P1", "P2"]),
        # studies and folders in a chain
        ([("x/a", "A", "1"), ("y/a", "A", "1"), ("y/b", "A", "2"), ("z/b", "A", "2")], ["images"] * 4),
        ([("a", "A", "1"), ("b", "B", "2")], ["images", "images-2"]),
    ],
)
def test_names_of_people(found: list[tuple[str, str, str]], names: list[str]) -> None:
    made = [series(file, subject=subject, study=study) for file, subject, study in found]
    assert names_of_people(ROOT, made) == names
    assert names_of_people(ROOT, made[::-1]) == names[::-1]


def test_names_of_other_images_are_nobody_else_s() -> None:
    made = [series("P/a", subject="A", study="1"), series("P/b", subject="B", study="2")]
    assert names_of_people(ROOT, made, others={"P", "P-2"}) == ["P", "P-3"]
