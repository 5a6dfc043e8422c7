"""Does a patient's report say what the run's table says, on the page, in the PDF and in DICOM, and is foreign text only text?"""

import json
import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pandas as pd
import pydicom
import pypdf
import pytest
from typer.testing import CliRunner

from cohort.images import write_image, write_labels
from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.cli import app
from flows.patient_record import patient_record
from flows.patient_report import PatientReport, groups_of, key_of, open_run, write_patient_reports
from reports.patient import file_stem
from reports.tables import decimals, phenotype_label

N_FRAMES, N_SLICES, SHAPE, SPACING = 14, 3, (40, 44), (10.0, 2.0, 2.0)
MARKUP = '<script>alert(1)</script> <b>bold</b> #emph[typst] $x$ {{ 7 * 7 }} \\u{41} & "quoted"'
ARMS = (("fully_sampled", "none", 1.0), ("sense", "Uniform", 4.0), ("cardiomm", "ktRadial", 8.0))
NAMES = ("fully_sampled", "sense_Uniform4", "cardiomm_ktRadial8")
CINE = {
    "lv_edv_ml": ("mL", (123.449999, 124.05, None)),
    "lv_esv_ml": ("mL", (50.45, 69.99, None)),
    "lv_ef_percent": ("%", (59.125, 43.5833333, None)),
    "lv_mass_g": ("g", (83.6723876184, 100.6723876184, None)),
    "lv_edvi_ml_m2": ("mL/m²", (65.9, 66.2, None)),
    "lv_massi_g_m2": ("g/m²", (44.7, 53.7, None)),
    "max_wall_thickness_mm": ("mm", (7.105, 7.115, None)),
    "psnr_db": ("dB", (None, 31.234, 27.0)),
}
T1 = {"t1_ms": ("ms", (1201.25, 1190.75, 1246.25)), "septal_t1_ms": ("ms", (1210.0, 1199.5, 1260.0))}
MARGINS = {
    "lv_edv_ml": {"bias": 8.0, "limits": 20.0, "unit": "mL"},
    "lv_ef_percent": {"bias": 3.0, "limits": 8.0, "unit": "points"},
    "lv_mass_g": {"bias": 6.0, "limits": 17.0, "unit": "g"},
    "t1_ms": {"bias": 15.0, "limits": 45.0, "unit": "ms"},
}
PROVENANCE = {
    "cardioval_version": "0.1.0",
    "commit": "0123456789abcdef",
    "config_sha256": "ef" * 32,
    "inputs_sha256": "01" * 32,
    "started_utc": "2026-01-02T03:00:00+00:00",
    "command": "cardioval validate fake.toml",
    "weights": [{"name": "shipped CardioMM", "sha256": "cd" * 32}],
}


def rows_of(patient: str, scan: str, modality: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of measurements.parquet; None is a failure."""
    found = []
    for phenotype, (unit, by_arm) in values.items():
        for (method, pattern, acceleration), value in zip(ARMS, by_arm, strict=True):
            if method == "fully_sampled" and value is None:
                continue  # image quality has no reference value
            failed = value is None
            warn = phenotype == "lv_mass_g" and method == "sense"
            found.append(
                {"study": "fake", "center": "Center001", "vendor": "Siemens", "field_t": 3.0, "disease": MARKUP}
                | {"patient": patient, "scan": scan, "modality": modality, "method": method, "pattern": pattern}
                | {"acceleration": acceleration, "effective_acceleration": 1.0 + acceleration / 2}
                | {"phenotype": phenotype, "unit": unit, "value": np.nan if failed else value}
                | {"status": "failed" if failed else "warn" if warn else "ok"}
                | {"reason": "no left ventricle found" if failed else MARKUP if warn else "", "geometry": "stated"}
            )
    return found


def write_scan(folder: Path, *, patient: str, scan: str, modality: str) -> None:
    """Manifests, images and stored pictures of one scan: a ring that contracts."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    cine = modality == "cine"
    frames = N_FRAMES if cine else 1
    radius = 8 + 3 * np.cos(2 * np.pi * np.arange(frames) / frames)
    r = np.hypot(y - 20, x - 24)[None]
    rings = np.select([r < radius[:, None, None], r < 14, np.hypot(y - 20, (x - 7) / 0.6)[None] < 6], [1, 2, 3], 0)
    labels = np.repeat(rings[:, None], N_SLICES if cine else 1, axis=1).astype(np.uint8)
    image = np.choose(labels, (0.2, 1.0, 0.4, 0.9)).astype(np.float32)
    facts: dict[str, Any] = {}
    for arm in NAMES[:2] if cine else ():
        write_image(folder / f"{arm}.nii.gz", image, spacing_mm=SPACING, sidecar={})
        write_labels(folder / f"{arm}_labels.nii.gz", labels, spacing_mm=SPACING, sidecar={})
        facts[arm] = {"ed_frame": 0, "es_frame": 7, "body_surface_m2": 1.873, "body_surface_formula": "mosteller"}
        facts[arm] |= {
            "lv_curve_ml": list(radius**2),
            "rv_curve_ml": [60.0] * frames,
            "conventions": {"papillary": "as_segmented"},
        }
        facts[arm]["quality_control"] = [
            {"check": "closed ring", "status": "warn", "reason": MARKUP},
            {"check": "one part", "status": "pass", "reason": "as expected"},
        ]
    gallery = []
    for arm in () if cine else NAMES[1:]:
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        pair = {"reference": 1200 * image[0, 0], "image": 1190 * image[0, 0]}
        pair |= {
            "labels_reference": labels[0, 0],
            "labels_image": labels[0, 0],
            "spacing_mm": np.array([8.0, 2.0, 2.0]),
        }
        np.savez_compressed(folder / "pictures" / f"{arm}_map.npz", **pair)
        gallery.append(
            {"path": f"pictures/{arm}_map.npz", "phase": "map", "slice": 0, "arm": arm, "modality": modality}
        )
    made = {
        name: {"status": "ok", "reason": "", "notes": [], "effective_acceleration": 1.0 + acceleration / 2}
        | {
            "reliability": {
                "status": "ok",
                "reason": "",
                "expected_nmse": 0.0123,
                "flagged": name == NAMES[1],
                "reasons": [MARKUP],
            }
        }
        for name, (_, _, acceleration) in zip(NAMES, ARMS, strict=True)
    }
    reconstruction = {
        "scan": {"center": "Center001", "patient": patient, "scan": scan},
        "geometry": {
            "spacing_mm": SPACING,
            "frame_time_s": 0.05 if cine else None,
            "confidence": "assumed",
            "note": "no thickness",
        },
        "info": {"HeartRate": 61.5, "Height": 169.8, "Weight": 74.4, "Simulated": "synthetic phantom"},
        "shape": [frames, N_SLICES, 4, *SHAPE],
        "arms": made,
    }
    segmentation = {"arms": {name: {"status": "ok", "reason": "", "repaired": ""} for name in NAMES}}
    manifests = {
        "reconstruction": reconstruction,
        "segmentation": segmentation,
        "measurements": {"facts": facts, "gallery": gallery},
    }
    for name, content in manifests.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps({"key": "k", "files": {}, **content}))


def write_run(folder: Path) -> Path:
    """Two patients, a cine and T1 mapping each; a third of whom nothing could be read."""
    rows: list[dict[str, Any]] = []
    for patient in ("P001", "P002"):
        for scan, modality, values in (("cine_sax", "cine", CINE), ("T1map", "T1 mapping", T1)):
            rows += rows_of(patient, scan, modality, values)
            place = folder / "scans" / "Center001" / "Siemens_30T_Vida" / patient / scan
            write_scan(place, patient=patient, scan=scan, modality=modality)
    pd.DataFrame(rows).to_parquet(folder / "measurements.parquet", index=False)
    base = {key: rows[0][key] for key in ("study", "center", "vendor", "field_t", "disease")}
    pd.DataFrame(
        [
            base | {"patient": "P001", "scan": "cine_sax", "modality": "cine", "method": m, "pattern": p, "acceleration": a}
            | {"quantity": "wall_thickness_mean", "unit": "mm", "segment": s, "value": 6 + 0.1 * s + shift}
            for (m, p, a), shift in zip(ARMS[:2], (0.0, 0.25), strict=True)
            for s in range(1, 17)
        ]
    ).to_parquet(folder / "segments.parquet", index=False)  # fmt: skip
    results = {
        "schema": 2,
        "study": {"name": "fake", "title": "A fake study", "created_utc": "2026-01-02T03:04:05+00:00", "simulated": ["synthetic phantom"]},
        "plan": {"margins": MARGINS, "margins_origin": "a proposal", "sha256": "ab" * 32},
        "arms": [
            {"arm": name, "method": m, "pattern": p, "acceleration": a} for name, (m, p, a) in zip(NAMES, ARMS, strict=True)
        ],
        "failures": [
            {"center": "Center001", "patient": "P001", "scan": "cine_sax", "stage": f"measurement, {NAMES[2]}", "n_measurements": 7, "reason": MARKUP},
            {"center": "Center002", "patient": "P009", "scan": "cine_sax", "stage": "read", "reason": "truncated: 1024 bytes"},
        ],
        "provenance": PROVENANCE,
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake run's folder."""
    return write_run(tmp_path_factory.mktemp("fake-run"))


@pytest.fixture(scope="module")
def written(run: Path) -> PatientReport:
    """The report of one patient, with DICOM."""
    (report,) = write_patient_reports(run, ["Center001/P001"], dicom=True)
    return report


class Page(HTMLParser):
    """Value tables of a page: caption -> label -> texts of the cells; and every element's name and attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: dict[str, dict[str, list[str]]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside, self.caption, self.label, self.kind = False, "", "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("br", "dd", "p", "li"):
            self.handle_data(" ")
        if tag == "table":
            self.inside, self.caption, self.label = dict(attrs).get("class") == "values", "", ""
        if tag in ("caption", "th", "td"):
            self.kind = tag
            if self.inside and tag == "th" and dict(attrs).get("scope") == "row":
                self.kind, self.label = "label", ""
            if self.inside and tag == "td":
                self.tables[self.caption].setdefault(self.label, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption" and self.inside:
            self.tables[self.caption] = {}
        if tag in ("caption", "th", "td"):
            self.kind = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if not self.inside:
            return
        if self.kind == "caption":
            self.caption += data
        elif self.kind == "label":
            self.label += data
        elif self.kind == "td":
            self.tables[self.caption][self.label][-1] += data


@pytest.fixture(scope="module")
def page(written: PatientReport) -> Page:
    """The page, parsed."""
    return Page(written.files.page)


def rounded(value: float, digits: int, *, signed: bool = False) -> str:
    """A number to so many digits by exact decimal arithmetic."""
    exact = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
    text = f"{exact:+f}" if signed and exact else f"{abs(exact):f}" if not exact else f"{exact:f}"
    return text.replace("-", "−")


def cells(page: Page, phenotype: str) -> list[str]:
    """A phenotype's row on the page: margin (where the table has that column), then each arm."""
    label = phenotype_label(phenotype)
    (row,) = [
        row
        for table in page.tables.values()
        for name, row in table.items()
        if re.sub(r"\s*\(.*\)$", "", name.strip()) == label
    ]
    return [" ".join(cell.split()) for cell in row]


@pytest.mark.parametrize("phenotype", [*CINE, *T1])
def test_numbers_on_the_page_are_the_tables_to_the_last_digit(page: Page, phenotype: str) -> None:
    _, values = {**CINE, **T1}[phenotype]
    digits = decimals(phenotype)
    shown = cells(page, phenotype)[-3:]
    for value, text in zip(values, shown, strict=True):
        reference = values[0]
        if value is None:
            assert text.split()[0] in ("failed", "–")
            continue
        assert text.split()[0] == rounded(value, digits)
        if reference is not None and value != reference:
            assert rounded(value - reference, digits, signed=True) in text.split()


def test_differences_are_judged_against_the_individual_margin(page: Page) -> None:
    assert cells(page, "lv_edv_ml")[2].endswith("+0.6 inside")
    assert cells(page, "lv_ef_percent")[2].endswith("outside")
    # equal to the margin is not inside, as in the study's analysis
    assert cells(page, "lv_mass_g")[2].endswith("+17.0 outside")
    assert cells(page, "t1_ms")[2].endswith("−10.5 inside")
    assert cells(page, "t1_ms")[3].endswith("+45.0 outside")
    assert not re.search("inside|outside", " ".join(cells(page, "septal_t1_ms")))  # no margin was planned


def test_the_record_holds_the_same_numbers_unrounded(written: PatientReport, run: Path) -> None:
    record = json.loads(written.files.record.read_text(encoding="utf-8"))
    table = pd.read_parquet(run / "measurements.parquet")
    found = {
        (scan["scan"], row["phenotype"], arm): cell["value"]
        for scan in record["scans"]
        for row in scan["values"]
        for arm, cell in row["cells"].items()
    }
    mine = table[table["patient"] == "P001"]
    assert len(found) == len(mine)
    arms = {entry[0]: name for entry, name in zip(ARMS, NAMES, strict=True)}
    for row in mine.to_dict("records"):
        value = found[row["scan"], row["phenotype"], arms[row["method"]]]
        assert value == (None if row["status"] == "failed" else row["value"])


def test_the_summary_counts_what_the_tables_show(run: Path) -> None:
    record = patient_record(open_run(run), ("Center001", "P001"))
    by_arm = {entry["arm"]: entry for entry in record["summary"]}
    assert by_arm[NAMES[1]] == {
        "arm": NAMES[1], "planned": 9, "measured": 9, "warned": 1, "judged": 4, "outside": 2, "scored": 2, "flagged": 2,
    }  # fmt: skip
    assert by_arm[NAMES[2]]["measured"] == 2
    assert by_arm[NAMES[2]]["outside"] == 1
    assert by_arm[NAMES[0]]["judged"] == 0


def test_foreign_text_stays_text_on_the_page(page: Page) -> None:
    assert MARKUP in page.text
    assert not [tag for tag, _ in page.elements if tag in ("script", "b", "iframe", "object")]
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]


def test_the_page_is_complete_in_itself(page: Page) -> None:
    sources = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href") and v]
    assert all(s.startswith(("data:", "#")) for s in sources)
    targets = {attrs["id"] for _, attrs in page.elements if attrs.get("id")}
    assert {s[1:] for s in sources if s.startswith("#")} <= targets
    assert all(attrs.get("alt") for tag, attrs in page.elements if tag == "img")
    (policy,) = [
        a["content"] for t, a in page.elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_the_page_says_what_it_is(page: Page) -> None:
    words = " ".join(page.text.split())
    assert "SYNTHETIC PATIENTS." in words
    assert "Not a medical device" in words
    assert "ASSUMED: volumes, mass and thickness scale with it (no thickness)" in words
    assert "body surface of 1.87 m²: Mosteller 1987" in words
    assert "Petersen et al. 2017, doi 10.1186/s12968-017-0327-9" in words
    assert "Granitz et al. 2019, doi 10.1007/s00508-018-1411-3" in words
    assert "LVEDV, LVESV" in words.partition("no verified normal values")[0]
    assert "1 of 2 checks pass in every reconstruction" in words
    assert "Date of birth, age not recorded" in words
    assert "Siemens Vida, 3 T" in words
    assert "measurement, CardioMM 8× k-t radial" in words


def test_the_pdf_has_the_numbers_and_the_statement_on_every_page(written: PatientReport) -> None:
    texts = [" ".join(p.extract_text().split()) for p in pypdf.PdfReader(written.files.pdf).pages]
    assert all("Research software. Not a medical device" in text for text in texts)
    assert all(re.search("SYNTHETIC PATIENTS|SIMULATED DATA", text) for text in texts)
    whole = " ".join(texts)
    for phenotype, (_, values) in {**CINE, **T1}.items():
        for value in values:
            if value is not None:
                assert rounded(value, decimals(phenotype)) in whole, phenotype
    assert "<script>alert(1)</script>" in whole
    assert "#emph[typst] $x$ {{ 7 * 7 }}" in whole


def test_equal_runs_give_equal_files(run: Path, written: PatientReport, tmp_path: Path) -> None:
    (again,) = write_patient_reports(run, ["Center001/P001"], dicom=True, out=tmp_path)
    for one, other in zip(
        (written.files.page, written.files.pdf, written.files.record, *written.dicom),
        (again.files.page, again.files.pdf, again.files.record, *again.dicom),
        strict=True,
    ):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes()


def test_dicom_holds_the_runs_values_and_the_same_pdf(written: PatientReport) -> None:
    pdf = pydicom.dcmread(written.dicom[0])
    assert pdf.EncapsulatedDocument[: pdf.EncapsulatedDocumentLength] == written.files.pdf.read_bytes()
    assert pdf.PatientID == "Center001_P001"
    report: Any = highdicom.sr.srread(written.dicom[1])
    groups = {g.tracking_identifier: g for g in report.content.get_image_measurement_groups()}
    assert set(groups) == {
        f"{scan}: {label}"
        for scan in ("cine_sax", "T1map")
        for label in ("Fully sampled", "SENSE 4× uniform", "CardioMM 8× k-t radial")
    }
    reference = {m.name.value: (m.value, m.unit.value) for m in groups["cine_sax: Fully sampled"].get_measurements()}
    assert reference["8821-1"] == (123.449999, "mL")
    assert reference["8811-2"] == (59.125, "%")
    assert reference["LVMi"] == (44.7, "g/m2")
    assert reference["8277-6"] == (1.873, "m2")
    mapped = [(m.name.value, m.value, m.unit.value) for m in groups["T1map: SENSE 4× uniform"].get_measurements()]
    assert mapped == [("113063", 1190.75, "ms"), ("113063", 1199.5, "ms")]
    failed = groups["cine_sax: CardioMM 8× k-t radial"]
    assert failed.get_measurements() == []
    assert {e.value.meaning for e in failed.get_qualitative_evaluations()} == {"Measurement failure"}
    walls = [m for m in groups["cine_sax: SENSE 4× uniform"].get_measurements() if m.name.value == "122445"]
    assert [m.value for m in walls][1:] == pytest.approx([6.25 + 0.1 * s for s in range(1, 17)], abs=0)


def test_ranges_that_cannot_be_compared_are_not_in_dicom(run: Path) -> None:
    record = patient_record(open_run(run), ("Center001", "P001"))
    group = next(g for g in groups_of(record) if g.name == "cine_sax: Fully sampled")
    assert all(not q.normal for q in group.quantities)  # sex and age are not known
    mapped = next(g for g in groups_of(record) if g.name == "T1map: Fully sampled")
    assert [len(q.normal) for q in mapped.quantities] == [3, 3]


def test_a_known_sex_chooses_the_range_and_age_stays_open(run: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(run / "measurements.parquet").assign(sex="female")
    for name in ("results.json", "segments.parquet"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    table.to_parquet(tmp_path / "measurements.parquet")
    record = patient_record(open_run(tmp_path), ("Center001", "P001"))
    (entry,) = [r for r in record["ranges"] if r["phenotype"] == "lv_ef_percent"]
    assert [(row["mean"], row["sd"]) for row in entry["rows"]] == [(61, 5)]
    assert entry["reason"] == "the patient's age is not recorded"


def test_without_the_folder_of_scans_the_numbers_remain(run: Path, tmp_path: Path) -> None:
    for name in ("results.json", "measurements.parquet"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (report,) = write_patient_reports(tmp_path, ["Center001/P002"])
    again = Page(report.files.page)
    assert cells(again, "lv_edv_ml")[1].split()[0] == "123.4"
    assert report.dicom == ()
    assert "the run's folder of the scan was not found" in again.text


def test_images_that_were_not_kept_are_named(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("*.nii.gz", "report")))
    (report,) = write_patient_reports(copy, ["Center001/P001"])
    assert "the run kept no images of fully_sampled, sense_Uniform4" in Page(report.files.page).text


def test_curves_that_an_older_run_lacks_are_measured_from_its_labels(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("report")))
    (path,) = (copy / "scans").rglob("P001/cine_sax/measurements.json")
    manifest = json.loads(path.read_text())
    for facts in manifest["facts"].values():
        del facts["lv_curve_ml"], facts["rv_curve_ml"]
    path.write_text(json.dumps(manifest))
    (report,) = write_patient_reports(copy, ["Center001/P001"])
    record = json.loads(report.files.record.read_text())
    (cine,) = [s for s in record["scans"] if s["modality"] == "cine"]
    curve = np.array(cine["arms"]["fully_sampled"]["curves"]["lv_curve_ml"])
    assert len(curve) == N_FRAMES
    assert curve.argmax() == 0
    assert curve.argmin() == N_FRAMES // 2


def test_all_patients_and_one_of_whom_nothing_was_measured(run: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int, str]] = []
    reports = write_patient_reports(run, out=tmp_path, advance=lambda *said: told.append(said), dicom=True)
    assert [(r.center, r.patient) for r in reports] == [
        ("Center001", "P001"),
        ("Center001", "P002"),
        ("Center002", "P009"),
    ]
    assert told[-1] == ("patients", 3, 3, "Center002 P009")
    empty = Page(reports[-1].files.page)
    assert "truncated: 1024 bytes" in empty.text
    assert "Nothing was measured of this patient" in empty.text
    assert [p.name for p in reports[-1].dicom] == ["Center002_P009_report.dcm"]


def test_wrong_names_are_refused_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="the run has no patient Center001/P007; it has Center001/P001"):
        write_patient_reports(run, ["Center001/P001", "Center001/P007"], out=tmp_path)
    assert not list(tmp_path.iterdir())
    for name in ("P001", "/P001", "Center001/"):
        with pytest.raises(ConfigProblem, match="named CENTER/PATIENT"):
            key_of(name)
    with pytest.raises(MissingFile, match="is this the folder of a finished run"):
        write_patient_reports(tmp_path)
    (tmp_path / "results.json").write_text("{")
    (tmp_path / "measurements.parquet").write_bytes(b"no parquet")
    with pytest.raises(UnreadableFile, match=r"results\.json: not JSON"):
        write_patient_reports(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UnreadableFile, match="not a readable Parquet table"):
        write_patient_reports(tmp_path)


def test_file_names_stay_in_the_folder() -> None:
    assert file_stem("Center001", "P003") == "Center001_P003"
    assert file_stem("..", "../../x") == "_.._.._x"
    assert "/" not in file_stem("a/b", "c\\d e")


def test_two_patients_never_share_a_file(run: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(run / "measurements.parquet")
    (tmp_path / "results.json").write_bytes((run / "results.json").read_bytes())
    second = table["patient"] == "P002"
    table.loc[second, ["center", "patient"]] = ["Center001_P001", "x"]
    table.loc[~second, ["center", "patient"]] = ["Center001", "P001_x"]
    table.to_parquet(tmp_path / "measurements.parquet")
    with pytest.raises(ConfigProblem, match="would both be Center001_P001_x"):
        write_patient_reports(tmp_path, out=tmp_path / "out")


def test_the_command(run: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["patient", str(run), "Center001/P002", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert {p.name for p in tmp_path.iterdir()} == {f"Center001_P002.{end}" for end in ("html", "pdf", "json")}
    for arguments in ([str(run)], [str(run), "Center001/P002", "--all"]):
        refused = runner.invoke(app, ["patient", *arguments])
        assert isinstance(refused.exception, ConfigProblem)
