"""How does a patient's report become DICOM: the PDF in an Encapsulated PDF, its numbers in a structured report (TID 1500)?

Both lie in one study that is made up, since k-space has no DICOM study. Its UIDs, and those of the series, follow from the
run and the pseudonym, those of the objects from what is in them too: the same report has the same UIDs, another has not. There are no DICOM images to refer to: the structured report names
the Encapsulated PDF as its evidence, and says so in words. Written with highdicom (Bridge et al.,
doi 10.1007/s10278-022-00683-y).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

from cohort.atomic import replacing
from cohort.dicom_concepts import SCHEME, SEGMENTS, check_of, concept_of, status_of, unit_of

MAKER: Final = "CardioVal"
NOT_FOR_DIAGNOSIS: Final = "Research software. Not a medical device; for research use only, not for diagnosis."
NO_IMAGES: Final = (
    "Measured on images reconstructed from k-space files. They do not exist as DICOM objects, so nothing refers to images; "
    "the evidence named is the Encapsulated PDF of the same study."
)
PDF_SERIES, SR_SERIES = 9101, 9102
LONGEST_NAME: Final = 64  # LO


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Whose report it is, and of which run.

    `run` identifies the run (a hash of its inputs and configuration), `created` is its moment, UTC; `simulated` are the kinds
    of simulation, empty for measured data.
    """

    pseudonym: str
    run: str
    created: datetime
    version: str
    simulated: tuple[str, ...] = ()

    def uid(self, *parts: str) -> UID:
        """A UID that follows from run, pseudonym and what it is of."""
        return generate_uid(entropy_srcs=[MAKER, self.run, self.pseudonym, *parts])


@dataclass(frozen=True, kw_only=True)
class Range:
    """A published range of healthy people, in the unit of the value, and its source."""

    low: float
    high: float
    description: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One measured number, or (value None) the reason why there is none; `segment` is an AHA segment of the wall."""

    phenotype: str
    unit: str
    value: float | None
    reason: str = ""
    segment: int | None = None
    normal: tuple[Range, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Group:
    """What one reconstruction of one scan gave, and by which algorithm.

    `checks` are quality control's: (name, ``pass``, ``warn`` or ``fail``).
    """

    name: str
    scan: str
    algorithm: str
    version: str
    parameters: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    checks: tuple[tuple[str, str], ...] = ()


def write_encapsulated_pdf(path: Path, pdf: bytes, *, subject: Subject, title: str) -> Dataset:
    """Write a PDF as a DICOM object.

    Parameters
    ----------
    path
        For the `.dcm` file.
    pdf
        The document.
    subject, title
        For the header.

    Returns
    -------
    The object as written: evidence for :func:`write_measurement_report`.

    Raises
    ------
    ValueError
        Bytes that are no PDF.
    """
    if not pdf.startswith(b"%PDF-"):
        raise ValueError(f"a PDF begins with %PDF-, got {pdf[:8]!r}")
    file = FileDataset(str(path), {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = EncapsulatedPDFStorage
    content = hashlib.sha256(pdf).hexdigest()
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = subject.uid("pdf", content)
    file.SpecificCharacterSet = "ISO_IR 192"
    _study(file, subject)
    file.Modality, file.SeriesInstanceUID, file.SeriesNumber = "DOC", subject.uid("pdf series"), PDF_SERIES
    file.SeriesDescription = "CardioVal report, research use only"
    file.ConversionType = "WSD"
    file.InstanceNumber = 1
    file.AcquisitionDateTime = ""
    file.BurnedInAnnotation = "NO"  # the pages name the pseudonym only
    file.DocumentTitle = title[:1024]
    file.ConceptNameCodeSequence = [_coded(codes.DCM.ImagingMeasurementReport)]
    file.VerificationFlag = "UNVERIFIED"
    file.MIMETypeOfEncapsulatedDocument = "application/pdf"
    file.EncapsulatedDocumentLength = len(pdf)
    file.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    _save(path, file)
    return file


def write_measurement_report(path: Path, groups: Sequence[Group], *, subject: Subject, pdf: Dataset) -> Dataset:
    """Write measurements as a Comprehensive 3D SR by template TID 1500.

    Parameters
    ----------
    path
        For the `.dcm` file.
    groups
        A measurement group each (TID 1501).
    subject
        As given to :func:`write_encapsulated_pdf`.
    pdf
        What that returned.

    Returns
    -------
    The object as written. Values are stored unrounded (FD) beside their decimal form.

    Raises
    ------
    ValueError
        No group, or a phenotype, unit or outcome without a code.
    """
    import highdicom
    from highdicom import sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    if not groups:
        raise ValueError("a measurement report needs at least one group of measurements")
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[MAKER, subject.version]),
            name=MAKER,
            manufacturer_name=MAKER,
            model_name=f"{MAKER} {subject.version}",
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.MagneticResonanceImagingOfHeart,
        imaging_measurements=[_group(group, subject) for group in groups],
        title=codes.DCM.ImagingMeasurementReport,
    )
    for words in _statements(subject):
        report[0].ContentSequence.append(_comment(words))
    made = sr.Comprehensive3DSR(
        evidence=[pdf],
        content=report,
        series_instance_uid=subject.uid("sr series"),
        series_number=SR_SERIES,
        sop_instance_uid=subject.uid("sr", repr(tuple(groups)), pdf.SOPInstanceUID),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        is_final=False,
        content_date=subject.created.date(),
        content_time=subject.created.time(),
        series_description="CardioVal measurements, research use only",
        manufacturer_model_name=MAKER,
        software_versions=subject.version,
        device_serial_number=subject.run[:LONGEST_NAME],
        content_qualification=highdicom.ContentQualificationValues.RESEARCH,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                designator=SCHEME, name="CardioVal's own concepts", responsible_organization=MAKER
            )
        ],
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    _study(made, subject)
    for library in made.get("ContributingEquipmentSequence", []):
        library.ContributionDateTime = f"{subject.created:%Y%m%d%H%M%S}"  # not the clock's: equal runs, equal files
    made.PerformedProcedureCodeSequence = []
    _save(path, made)
    return made


def _group(group: Group, subject: Subject) -> Any:
    from highdicom import sr

    checks = [sr.QualitativeEvaluation(name=check_of(name), value=status_of(status)) for name, status in group.checks]
    if group.checks:
        passed = all(status == "pass" for _, status in group.checks)
        usable = codes.DCM.UsableMeetsTheQualityControlStandard
        value = usable if passed else codes.DCM.UsableDoesNotMeetTheQualityControlStandard
        checks.insert(0, sr.QualitativeEvaluation(name=codes.DCM.QualityAssessment, value=value))
    failed = [quantity for quantity in group.quantities if quantity.value is None]
    # a NUM without a value, with this code as its qualifier, would be DICOM's way, but highdicom cannot read it back
    failures = [
        sr.QualitativeEvaluation(name=concept_of(one.phenotype).name, value=codes.DCM.MeasurementFailure)
        for one in failed
    ]
    made = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            identifier=group.name, uid=subject.uid("group", group.scan, group.name)
        ),
        algorithm_id=sr.AlgorithmIdentification(
            name=group.algorithm[:LONGEST_NAME],
            version=group.version,
            manufacturer=MAKER,
            parameters=list(group.parameters) or None,
        ),
        session=group.scan,
        measurements=[_measurement(one, subject, group) for one in group.quantities if one.value is not None],
        qualitative_evaluations=[*checks, *failures],
    )
    for one in failed:
        made[0].ContentSequence.append(_comment(f"{one.phenotype}: {one.reason or 'not measured'}"))
    return made


def _measurement(quantity: Quantity, subject: Subject, group: Group) -> Any:
    from highdicom import sr

    concept = concept_of(quantity.phenotype)
    site = concept.site if quantity.segment is None else SEGMENTS[quantity.segment - 1]
    place = "" if quantity.segment is None else f" segment {quantity.segment}"
    identifier = f"{quantity.phenotype}{place}"
    if quantity.value is None:
        raise ValueError(f"{identifier}: a failed measurement is no NUM")
    return sr.Measurement(
        name=concept.name,
        value=float(quantity.value),
        unit=unit_of(quantity.unit),
        tracking_identifier=sr.TrackingIdentifier(
            identifier=identifier, uid=subject.uid("value", group.scan, group.name, identifier)
        ),
        derivation=concept.derivation,
        finding_sites=[sr.FindingSite(anatomic_location=site)] if site else None,
        properties=_properties(quantity),
    )


def _properties(quantity: Quantity) -> Any:
    """The first published range; a measurement can hold one (TID 310 includes TID 312 once)."""
    from highdicom import sr

    if not quantity.normal:
        return None
    normal, unit = quantity.normal[0], unit_of(quantity.unit)
    ends = ((codes.SCT.NormalRangeLowerLimit, normal.low), (codes.SCT.NormalRangeUpperLimit, normal.high))
    relation = sr.RelationshipTypeValues.HAS_PROPERTIES
    return sr.MeasurementProperties(
        normal_range_properties=sr.NormalRangeProperties(
            values=[
                sr.NumContentItem(name=name, value=float(end), unit=unit, relationship_type=relation)
                for name, end in ends
            ],
            description=normal.description,
            authority=normal.source,
        )
    )


def _comment(words: str) -> Any:
    from highdicom import sr

    return sr.TextContentItem(name=codes.DCM.Comment, value=words, relationship_type=sr.RelationshipTypeValues.CONTAINS)


def _statements(subject: Subject) -> list[str]:
    kinds = ", ".join(subject.simulated)
    simulated = [f"SIMULATED DATA ({kinds}): the raw data were not measured on a scanner."] if kinds else []
    return [NOT_FOR_DIAGNOSIS, *simulated, NO_IMAGES]


def _study(file: Dataset, subject: Subject) -> None:
    """Patient, study and equipment: the pseudonym, and empty where there would be a person's data."""
    file.PatientID = subject.pseudonym[:LONGEST_NAME]
    file.PatientName = file.PatientBirthDate = file.PatientSex = ""
    file.PatientIdentityRemoved = "YES"
    file.DeidentificationMethod = "Pseudonym of the cohort; no other identifier was read"
    file.StudyInstanceUID, file.StudyID = subject.uid("study"), ""
    file.StudyDate = file.StudyTime = file.AccessionNumber = file.ReferringPhysicianName = ""
    file.Manufacturer = file.ManufacturerModelName = MAKER
    file.SoftwareVersions = subject.version
    file.ContentDate = file.InstanceCreationDate = f"{subject.created:%Y%m%d}"
    file.ContentTime = file.InstanceCreationTime = f"{subject.created:%H%M%S}"


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _save(path: Path, file: Dataset) -> None:
    with replacing(path) as temporary:
        pydicom.dcmwrite(temporary, file, enforce_file_format=True)
