"""Do values come back from DICOM as they were, with their units and codes, and do the objects hold what the standard demands?"""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pypdf
import pytest
from highdicom._standard_utils import (
    get_iod_module_map,
    get_module_attribute_map,
    get_sop_class_iod_map,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage

from cohort.dicom_concepts import SCHEME, SEGMENTS, UNITS, check_of, concept_of, status_of, unit_of
from cohort.dicom_report import (
    NO_IMAGES,
    NOT_FOR_DIAGNOSIS,
    Group,
    Quantity,
    Range,
    Subject,
    write_encapsulated_pdf,
    write_measurement_report,
)
from cohort.phenotypes import VOCABULARY

SUBJECT = Subject(
    pseudonym="Center001_P001",
    run="ab" * 32,
    created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    version="0.1.0",
    simulated=("synthetic phantom",),
)
QUANTITIES = (
    Quantity(phenotype="lv_edv_ml", unit="mL", value=122.93164051199999),
    Quantity(phenotype="lv_ef_percent", unit="%", value=58.96017699115044),
    Quantity(phenotype="lv_mass_g", unit="g", value=83.6723876184),
    Quantity(phenotype="lv_sv_ml", unit="mL", value=None, reason="no left ventricle found"),
    Quantity(
        phenotype="t1_ms",
        unit="ms",
        value=1261.6857347365785,
        normal=(Range(low=1110.3, high=1257.3, description="MOLLI 5(3)3", source="Granitz et al. 2019"),),
    ),
    Quantity(phenotype="mean_wall_thickness_mm", unit="mm", value=6.000972231885562, segment=3),
)
GROUP = Group(
    name="cine_sax: CardioMM 8× uniform",
    scan="cine_sax",
    algorithm="CardioVal CardioMM",
    version="0.1.0 (7b35d1bc)",
    parameters=("pattern Uniform", "nominal acceleration 8.0"),
    quantities=QUANTITIES,
    checks=(("closed ring", "warn"), ("one part", "pass")),
)


def pdf_bytes() -> bytes:
    """A PDF of one empty page."""
    writer, stream = pypdf.PdfWriter(), BytesIO()
    writer.add_blank_page(100, 100)
    writer.write(stream)
    return stream.getvalue()


def write(folder: Path, *, groups: Any = (GROUP,), subject: Subject = SUBJECT) -> tuple[Path, Path]:
    """Both objects."""
    paths = folder / "report.dcm", folder / "measurements.dcm"
    made = write_encapsulated_pdf(paths[0], pdf_bytes(), subject=subject, title="A report")
    write_measurement_report(paths[1], groups, subject=subject, pdf=made)
    return paths


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Any]:
    """Read back: the PDF by pydicom, the report by highdicom."""
    pdf, report = write(tmp_path_factory.mktemp("dicom"))
    return pydicom.dcmread(pdf), highdicom.sr.srread(report)


def lacking(file: Dataset) -> list[str]:
    """Attributes of the mandatory modules of the object's IOD that type 1 or 2 demand and that it lacks, in sequences too."""
    modules = get_iod_module_map()[get_sop_class_iod_map()[file.SOPClassUID]]
    found = []
    for module in (m["key"] for m in modules if m["usage"] == "M" and m["key"] != CONTENT):
        for attribute in get_module_attribute_map()[module]:
            places = [file]
            for step in attribute["path"]:
                places = [item for place in places for item in place.get(step, [])]
            for place in places:
                here, keyword = attribute["keyword"] in place, attribute["keyword"]
                empty = not here or place[keyword].is_empty
                if (attribute["type"] == "1" and empty) or (attribute["type"] == "2" and not here):
                    found.append(f"{module}: {'/'.join([*attribute['path'], keyword])}")
    return found


#: its table lists the attributes of every type of item; `lacking_content` looks at each item by its type
CONTENT = "sr-document-content"
BY_TYPE = {
    "CONTAINER": ("ContinuityOfContent", "ContentSequence"),
    "NUM": ("MeasuredValueSequence",),
    "TEXT": ("TextValue",),
    "CODE": ("ConceptCodeSequence",),
    "UIDREF": ("UID",),
}


def lacking_content(item: Dataset, *, root: bool = True) -> list[str]:
    """What an item of the content tree and those below it lack (PS3.3 C.17.3)."""
    names = ("ValueType", "ConceptNameCodeSequence", *BY_TYPE[item.ValueType])
    names += () if root else ("RelationshipType",)
    found = [f"{item.ValueType}: {name}" for name in names if name not in item or item[name].is_empty]
    codes = [*item.get("ConceptNameCodeSequence", []), *item.get("ConceptCodeSequence", [])]
    for value in item.get("MeasuredValueSequence", []):
        found += [f"NUM: {n}" for n in ("NumericValue", "MeasurementUnitsCodeSequence") if n not in value]
        codes += value.MeasurementUnitsCodeSequence
    for code in codes:
        found += [f"code: {n}" for n in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning") if not code.get(n)]
    return found + [one for child in item.get("ContentSequence", []) for one in lacking_content(child, root=False)]


def groups_of(report: Any) -> Any:
    return report.content.get_image_measurement_groups()


def test_both_objects_hold_every_attribute_that_the_standard_demands(objects: tuple[Dataset, Any]) -> None:
    pdf, report = objects
    assert pdf.SOPClassUID == EncapsulatedPDFStorage
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert lacking(pdf) == []
    assert lacking(report) == []
    assert lacking_content(report) == []
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert {item.ValueType for item in report.ContentSequence} >= {"CONTAINER", "CODE", "TEXT", "UIDREF"}


@pytest.mark.parametrize(
    "keyword", ["MIMETypeOfEncapsulatedDocument", "ConversionType", "SeriesInstanceUID", "PatientID"]
)
def test_the_check_of_attributes_can_fail(objects: tuple[Dataset, Any], keyword: str) -> None:
    broken = deepcopy(objects[0])
    del broken[keyword]
    assert any(entry.endswith(keyword) for entry in lacking(broken))


def test_the_pdf_comes_back_whole(objects: tuple[Dataset, Any]) -> None:
    pdf = objects[0]
    content = pdf.EncapsulatedDocument[: pdf.EncapsulatedDocumentLength]
    assert content == pdf_bytes()
    assert len(pdf.EncapsulatedDocument) % 2 == 0
    assert (pdf.MIMETypeOfEncapsulatedDocument, pdf.Modality, pdf.BurnedInAnnotation) == (
        "application/pdf",
        "DOC",
        "NO",
    )


def test_values_units_and_codes_come_back(objects: tuple[Dataset, Any]) -> None:
    (group,) = groups_of(objects[1])
    found = [
        (m.name.scheme_designator, m.name.value, m.value, m.unit.value, m.unit.scheme_designator)
        for m in group.get_measurements()
    ]
    assert found == [
        ("LN", "8821-1", 122.93164051199999, "mL", "UCUM"),
        ("LN", "8811-2", 58.96017699115044, "%", "UCUM"),
        (SCHEME, "LVM", 83.6723876184, "g", "UCUM"),
        ("DCM", "113063", 1261.6857347365785, "ms", "UCUM"),
        ("DCM", "122445", 6.000972231885562, "mm", "UCUM"),
    ]


def test_places_and_derivations_come_back(objects: tuple[Dataset, Any]) -> None:
    measurements = groups_of(objects[1])[0].get_measurements()
    sites = [[site.value.value for site in m.finding_sites] for m in measurements]
    assert sites == [["87878005"], ["87878005"], ["87878005"], ["49848007"], [SEGMENTS[2].value]]
    assert SEGMENTS[2].value == "396646008"  # basal inferoseptal, PS3.16 CID 3717
    assert [m.derivation.value if m.derivation else None for m in measurements] == [None] * 3 + [
        "373099004",
        "373098007",
    ]


def test_a_published_range_comes_back_with_its_source(objects: tuple[Dataset, Any]) -> None:
    numbers = {i.name.meaning: i for i in items(objects[1], "NUM")}
    assert numbers["Normal Range Lower Limit"].value == 1110.3
    assert numbers["Normal Range Upper Limit"].value == 1257.3
    texts = {i.name.meaning: i.value for i in items(objects[1], "TEXT")}
    assert texts["Normal Range Authority"] == "Granitz et al. 2019"


def items(report: Any, kind: str) -> list[Any]:
    """Every content item of a kind."""
    from highdicom.sr.utils import find_content_items

    return find_content_items(report.content[0], value_type=highdicom.sr.ValueTypeValues(kind), recursive=True)


def test_a_failed_measurement_is_no_number(objects: tuple[Dataset, Any]) -> None:
    (group,) = groups_of(objects[1])
    assert not [m for m in group.get_measurements() if m.name.value == "90096001"]
    failed = [e for e in group.get_qualitative_evaluations() if e.name.value == "90096001"]
    assert [e.value.value for e in failed] == ["114006"]  # DCM, Measurement failure
    assert "lv_sv_ml: no left ventricle found" in [i.value for i in items(objects[1], "TEXT")]


def test_checks_and_algorithm_come_back(objects: tuple[Dataset, Any]) -> None:
    (group,) = groups_of(objects[1])
    found = {e.name.meaning: e.value.meaning for e in group.get_qualitative_evaluations()}
    assert found["Quality Assessment"] == "Usable - Does not meet the quality control standard"
    assert found["Quality control: closed ring"] == "Warning"
    assert found["Quality control: one part"] == "Passed"
    texts = [(i.name.meaning, i.value) for i in items(objects[1], "TEXT")]
    assert ("Algorithm Name", "CardioVal CardioMM") in texts
    assert ("Algorithm Version", "0.1.0 (7b35d1bc)") in texts
    assert ("Algorithm Parameters", "nominal acceleration 8.0") in texts


def test_labels_that_pass_every_check_are_usable(tmp_path: Path) -> None:
    _, path = write(tmp_path, groups=[replace(GROUP, checks=(("one part", "pass"),))])
    first = groups_of(highdicom.sr.srread(path))[0].get_qualitative_evaluations()[0]
    assert first.value.value == "111237"  # DCM, Usable - Meets the quality control standard


def test_it_says_what_it_is_not(objects: tuple[Dataset, Any]) -> None:
    pdf, report = objects
    said = [i.value for i in items(report, "TEXT")]
    assert NOT_FOR_DIAGNOSIS in said
    assert NO_IMAGES in said
    assert any(words.startswith("SIMULATED DATA (synthetic phantom)") for words in said)
    assert (report.ContentQualification, report.VerificationFlag, report.PreliminaryFlag) == (
        "RESEARCH",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert "research use only" in pdf.SeriesDescription
    assert "research use only" in report.SeriesDescription


def test_the_report_names_the_pdf_as_its_evidence(objects: tuple[Dataset, Any]) -> None:
    pdf, report = objects
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == pdf.StudyInstanceUID == report.StudyInstanceUID
    (series,) = study.ReferencedSeriesSequence
    assert [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence] == [pdf.SOPInstanceUID]


def test_only_the_pseudonym_names_the_patient(objects: tuple[Dataset, Any]) -> None:
    for file in objects:
        assert file.PatientID == "Center001_P001"
        assert file.PatientIdentityRemoved == "YES"
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber", "StudyID"):
            assert not file.get(keyword), keyword
        assert not file.get("ReferringPhysicianName")


def test_private_codes_name_their_scheme(objects: tuple[Dataset, Any]) -> None:
    (scheme,) = objects[1].CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == SCHEME


def test_equal_reports_are_equal_files_and_others_have_other_uids(tmp_path: Path) -> None:
    first = write(tmp_path / "a")
    again = write(tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    changed = write(tmp_path / "c", groups=[replace(GROUP, version="0.2.0")])
    other_run = write(tmp_path / "d", subject=replace(SUBJECT, run="cd" * 32))
    other_patient = write(tmp_path / "e", subject=replace(SUBJECT, pseudonym="Center001_P002"))
    files = [[pydicom.dcmread(p) for p in paths] for paths in (first, changed, other_run, other_patient)]
    assert len({pair[1].SOPInstanceUID for pair in files}) == 4
    assert files[0][0].SOPInstanceUID == files[1][0].SOPInstanceUID  # the same PDF
    assert len({pair[0].StudyInstanceUID for pair in files}) == 3  # the changed report is of the same study


@settings(deadline=None, max_examples=20)
@given(value=st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_any_number_comes_back_unrounded(value: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    quantity = Quantity(phenotype="rv_edv_ml", unit="mL", value=value)
    _, path = write(tmp_path_factory.mktemp("n"), groups=[replace(GROUP, quantities=(quantity,))])
    (measurement,) = groups_of(highdicom.sr.srread(path))[0].get_measurements()
    assert measurement.value == value


def test_every_phenotype_has_a_concept_and_a_unit() -> None:
    concepts = {name: concept_of(name) for name in VOCABULARY}
    whole = {
        (
            c.name.scheme_designator,
            c.name.value,
            c.site.value if c.site else "",
            c.derivation.value if c.derivation else "",
        )
        for c in concepts.values()
    }
    assert len(whole) == len(concepts), "two phenotypes cannot be told apart"
    for name, concept in concepts.items():
        assert len(concept.name.value) <= 16
        assert concept.name.value.isascii()
        assert len(concept.name.meaning) <= 64
        assert unit_of(VOCABULARY[name].unit).scheme_designator == "UCUM"
    assert set(UNITS) >= {p.unit for p in VOCABULARY.values()}


def test_checks_of_quality_control_have_codes_of_their_own() -> None:
    names = (
        "tissues present", "label order", "one part", "no holes", "closed ring", "centers aligned", "area falls to the apex",
        "slices contiguous", "apex covered", "inside the image", "steady in time", "slices present in time", "LV EDV", "LV EF",
        "RV EF", "stroke volumes agree", "mass constant", "phases", "complete",
    )  # fmt: skip
    codes = {check_of(name).value for name in names}
    assert len(codes) == len(names)
    assert all(len(code) <= 16 for code in codes)


def test_what_has_no_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no DICOM concept for 'lv_guess'"):
        concept_of("lv_guess")
    with pytest.raises(ValueError, match="no UCUM code for the unit 'pints'"):
        unit_of("pints")
    with pytest.raises(ValueError, match="passes, warns or fails; got 'maybe'"):
        status_of("maybe")
    with pytest.raises(ValueError, match="at least one group"):
        write(tmp_path, groups=[])
    with pytest.raises(ValueError, match="begins with %PDF-"):
        write_encapsulated_pdf(tmp_path / "x.dcm", b"<html>", subject=SUBJECT, title="t")
    assert not (tmp_path / "x.dcm").exists()
