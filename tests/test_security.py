"""Does each promise of docs/security.md hold? One test or more for each; the page names them, and only those that exist."""

import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from benchmarks import fuzz_images as pictures
from cohort.dicom import load_stack, read_cine
from cohort.dicom_headers import Facts, Frame, read_frames
from cohort.dicom_report import Group, Quantity, Subject, write_encapsulated_pdf, write_measurement_report
from cohort.dicom_segmentation import Maker, write_segmentations
from cohort.dicom_series import find_series
from cohort.records import CardioValError, UnreadableFile
from reports.patient import file_stem

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cohort", "recon", "phenotyping", "stats", "reports", "flows")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TEMPLATES = sorted((ROOT / "reports" / "templates").glob("*.html.j2"))
EVERYWHERE = {"0.0.0.0", "::", ""}
NETWORK = {
    "socket",
    "ssl",
    "urllib",
    "http",
    "ftplib",
    "smtplib",
    "requests",
    "httpx",
    "aiohttp",
    "websockets",
    "paramiko",
}
#: the only files that may speak to a network: Prefect's server, Dask's cluster, and the check whether they are there
MAY_CONNECT = {
    "flows/run_server.py",
    "flows/prefect_server.py",
    "flows/dead_runs.py",
    "flows/doctor_schedule.py",
    "flows/doctor_software.py",
    "flows/runners.py",
    "flows/notifications.py",
    "flows/serve.py",
}
TEXT_VRS = {"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "DA", "DT", "TM"}
MARK = "Zz"


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(node: ast.expr) -> str:
    """``torch.load`` of a call."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{getattr(node, 'lineno', 0)}"


# --- pseudonyms only -------------------------------------------------------------------------------------------------

#: what a reader of DICOM keeps, and nothing else: texts that name a scanner, UIDs, numbers
KEPT_OF_IMAGE = {
    *("path", "index", "sop_class", "sop_instance", "number", "rows", "columns", "position", "orientation", "pixel_mm"),
    *("thickness_mm", "trigger_ms", "inversion_ms", "echo_ms", "preparation_ms", "component", "slope", "intercept"),
    *("facts", "acquired_s", "temporal_position"),
}
KEPT_OF_SERIES = {
    *("series_uid", "study_uid", "frame_of_reference", "series_number", "transfer_syntax", "vendor", "scanner"),
    *("field_t", "heart_rate_bpm", "height_m", "weight_kg", "gradient_echo", "words", "subject"),
}
KEPT_TEXTS = {"Manufacturer", "ManufacturerModelName"}


def test_the_reader_of_dicom_has_no_place_for_anything_else() -> None:
    assert {field.name for field in dataclasses.fields(Frame)} == KEPT_OF_IMAGE
    assert {field.name for field in dataclasses.fields(Facts)} == KEPT_OF_SERIES


def marked_image() -> tuple[Dataset, dict[str, str]]:
    """An image whose every text, of all that the standard knows, is a mark of its own; keyword to mark."""
    file = pictures.dicom_base("1.2.3.7", syntax="1.2.840.10008.1.2.1")
    marks = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (vr, _, _, retired, keyword) in DicomDictionary.items():
            if vr in TEXT_VRS and keyword and not retired and number >> 16 not in (0x0000, 0x0002):
                marks[keyword] = f"{MARK}{number:08X}"
                setattr(file, keyword, marks[keyword])
    file.Modality, file.PhotometricInterpretation, file.ImageType = "MR", "MONOCHROME2", ["ORIGINAL", "PRIMARY", "M"]
    for keyword in ("Modality", "PhotometricInterpretation", "ImageType", "SpecificCharacterSet"):
        marks.pop(keyword, None)
    file.SpecificCharacterSet = "ISO_IR 192"
    file.add_new((0x0019, 0x0010), "LO", "SIEMENS MR HEADER")
    file.add_new((0x0019, 0x1008), "LO", f"{MARK}private Doe^Jane")
    file.ImagePositionPatient, file.ImageOrientationPatient, file.PixelSpacing = [0, 0, 0], pictures.ORIENTATION, [1, 1]
    file.SliceThickness, file.TriggerTime = 8, 0
    file.PixelData = np.full(pictures.PIXELS, 7, np.uint16).tobytes()
    file["PixelData"].VR = "OW"
    return file, marks


def test_no_text_of_a_header_leaves_the_reader_but_those_listed(tmp_path: Path) -> None:
    file, marks = marked_image()
    assert len(marks) > 1000
    pictures.save_dicom(tmp_path / "0.dcm", file)
    series, problems = find_series([tmp_path / "0.dcm"])
    assert not problems
    told = repr(series) + repr(read_cine(tmp_path))
    assert {keyword for keyword, mark in marks.items() if mark.lower() in told.lower()} == KEPT_TEXTS
    assert told.count(MARK) == told.count(marks["Manufacturer"]) + told.count(marks["ManufacturerModelName"])


@pytest.mark.parametrize(
    "keyword", ["InstanceNumber", "TriggerTime", "ImagePositionPatient", "PatientWeight", "SeriesNumber"]
)
def test_errors_and_logs_do_not_quote_a_header(keyword: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, _ = marked_image()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        number = pydicom.datadict.tag_for_keyword(keyword)
        file[keyword] = pydicom.DataElement(number, "LO", f"{MARK}Doe^Jane")
        pictures.save_dicom(tmp_path / "0.dcm", file)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            words = repr(read_frames(tmp_path / "0.dcm"))
        except CardioValError as error:
            words = str(error)
        except Exception as error:
            words = f"foreign {error!r}"
    assert not words.startswith("foreign")
    assert f"{MARK}Doe" not in words + caplog.text + "".join(str(one.message) for one in told)


def identifying(file: Dataset) -> set[str]:
    """Keywords of the patient's, persons' and institutions' data that are not empty, anywhere in a file."""
    found = set()
    for element in file.iterall():
        group = element.tag.group
        named = (
            element.VR == "PN"
            or group == 0x0010
            or re.search("Institution|Operator|Physician|Station|Address|Accession", element.keyword)
        )
        if named and str(element.value).strip():
            found.add(element.keyword)
    return found


def test_segmentations_and_reports_name_the_pseudonym_only(tmp_path: Path) -> None:
    source = tmp_path / "images"
    source.mkdir()
    pictures.write_dicom(source, 0)
    assert identifying(pydicom.dcmread(source / "0.dcm")) >= {"PatientName", "PatientID", "PatientBirthDate"}
    stack = load_stack(find_series(sorted(source.iterdir()))[0][0])
    made = write_segmentations(
        tmp_path,
        stack.frames,
        np.ones(stack.images.shape, np.uint8),
        maker=Maker(model="a", model_sha256="ab" * 32, version="1"),
    )
    for path in made:
        assert identifying(pydicom.dcmread(path)) == set()
        assert b"Doe" not in path.read_bytes()
    from datetime import UTC, datetime

    subject = Subject(pseudonym="Center001_P001", run="r" * 64, created=datetime(2026, 1, 1, tzinfo=UTC), version="1")
    pdf = write_encapsulated_pdf(tmp_path / "a.dcm", b"%PDF-1.7\n", subject=subject, title="report")
    group = Group(
        name="a",
        scan="cine",
        algorithm="b",
        version="1",
        parameters=(),
        quantities=(Quantity(phenotype="lv_ef_percent", unit="%", value=60.0),),
    )
    report = write_measurement_report(tmp_path / "b.dcm", [group], subject=subject, pdf=pdf)
    for file in (pdf, report):
        assert identifying(file) == {"PatientID"}
        assert file.PatientID == "Center001_P001"


# --- nobody but this machine -----------------------------------------------------------------------------------------


def test_prefect_listens_on_loopback_and_tells_nobody() -> None:
    program = (
        "from flows.config import prepare_environment; prepare_environment()\n"
        "import json, os; from prefect.settings import get_current_settings\n"
        "from prefect._internal.analytics import is_telemetry_enabled\n"
        "s = get_current_settings().server\n"
        "print(json.dumps([s.api.host, s.analytics_enabled, is_telemetry_enabled(), os.environ['nnUNet_compile']]))"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") and k not in ("DO_NOT_TRACK", "CI")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=clean, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1])[:3] == ["127.0.0.1", False, False]


def test_no_source_binds_to_every_address() -> None:
    for path in SOURCES:
        found = tree(path)
        # to compare with them is no binding, nor is the constant that is compared
        asked = [n for n in ast.walk(found) if isinstance(n, ast.Compare)]
        named = {leaf.id for n in asked for leaf in ast.walk(n) if isinstance(leaf, ast.Name)}
        asked += [n for n in found.body if isinstance(n, ast.Assign) and name_of(n.targets[0]) in named]
        compared = {id(leaf) for n in asked for leaf in ast.walk(n)}
        for node in ast.walk(found):
            if isinstance(node, ast.Constant) and node.value in ("0.0.0.0", "::") and id(node) not in compared:
                pytest.fail(f"{place(path, node)} names all addresses")
            if isinstance(node, ast.keyword) and node.arg in ("host", "bind") and isinstance(node.value, ast.Constant):
                assert node.value.value not in EVERYWHERE, place(path, node.value)


def test_only_the_listed_files_can_reach_a_network() -> None:
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            reached = {n for n in names if n.split(".")[0] in NETWORK and not n.startswith("urllib.parse")}
            assert not reached or name in MAY_CONNECT, f"{place(path, node)} imports {reached}"


def test_what_this_process_listens_to_is_on_loopback() -> None:
    """Holds for whatever was started before in the same test run, Prefect's server among it."""
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            sockets = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        for one in sockets:
            if one.status == psutil.CONN_LISTEN:
                assert one.laddr.ip in ("127.0.0.1", "::1"), f"{process.name()} listens on {one.laddr}"


# --- nothing is run ----------------------------------------------------------------------------------------------------


def test_no_source_runs_what_a_file_says() -> None:
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            name = name_of(node.func)
            given = {k.arg: k.value for k in node.keywords if k.arg}
            where = f"{place(path, node)} calls {name}"
            assert name not in (
                "eval",
                "exec",
                "os.system",
                "os.popen",
                "yaml.load",
                "yaml.unsafe_load",
                "marshal.loads",
            ), where
            assert not re.fullmatch(r"(pickle|cloudpickle|dill|joblib|shelve)\.(load|loads|open|Unpickler)", name), (
                where
            )
            assert "shell" not in given, where
            if name == "torch.load":
                assert isinstance(given.get("weights_only"), ast.Constant), where
                assert given["weights_only"].value is True, where  # type: ignore[attr-defined]
            if name == "np.load":
                assert isinstance(given.get("allow_pickle"), ast.Constant), where
                assert given["allow_pickle"].value is False, where  # type: ignore[attr-defined]
            if name.endswith("from_pretrained"):
                assert given.keys() >= {"local_files_only"} or None in {k.arg for k in node.keywords}, where


def test_prefect_is_told_to_keep_no_result() -> None:
    """Its storage holds pickles, which are believed. That it keeps none of an error either is tried with the flows."""
    from flows.validate import TASKS

    made = 0
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            for one in getattr(node, "decorator_list", ()):
                if isinstance(one, ast.Call) and name_of(one.func) == "flow":
                    given = {k.arg: k.value for k in one.keywords if k.arg}
                    assert isinstance(given.get("persist_result"), ast.Constant), place(path, one)
                    assert given["persist_result"].value is False, place(path, one)  # type: ignore[attr-defined]
                    made += 1
    assert made >= 2
    assert all(task.persist_result is False for task in TASKS.values())


# --- pages -------------------------------------------------------------------------------------------------------------


def test_every_page_forbids_itself_to_load_or_run_anything() -> None:
    pages = [path for path in TEMPLATES if "<html" in path.read_text(encoding="utf-8")]
    assert len(pages) >= 3
    for path in pages:
        text = path.read_text(encoding="utf-8")
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
        assert policy, f"{path.name} has no policy"
        rules = dict(rule.strip().partition(" ")[::2] for rule in policy[1].split(";") if rule.strip())
        assert rules["default-src"] == "'none'"
        assert rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules.get("img-src", "data:") == "data:"
        assert re.fullmatch(r"('sha256-\{\{ \w+ \}\}'\s*)*", rules.get("script-src", "")), path.name
        assert text.index("Content-Security-Policy") < text.index("<style")


def test_no_template_loads_or_marks_safe_what_is_not_ours() -> None:
    for path in TEMPLATES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""(?:src|href|action|data|poster)\s*=\s*["']?\s*(?:https?:)?//""", text), path.name
        assert not re.search(r"\son\w+\s*=", text), f"{path.name} has a handler in its markup"
        assert not re.search(r"@import|url\(\s*['\"]?http", text), path.name
        marked = set(re.findall(r"\{\{\s*([\w.]+)\s*\|\s*safe", text))
        assert marked <= {"style", "script", "study", "payload"}, f"{path.name} marks {marked} as safe"
    for path in (ROOT / "reports").rglob("*.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and name_of(node.func).endswith("jinja2.Environment"):
                escaped = {k.arg: k.value for k in node.keywords}.get("autoescape")
                assert isinstance(escaped, ast.Constant), place(path, node)
                assert escaped.value is True, place(path, node)


# --- paths -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "..\\up", "a\x00b", "..", ".", "", "C:x", "a\nb"])
def test_names_of_patients_lead_nowhere(name: str, tmp_path: Path) -> None:
    stem = file_stem(name, name)
    assert (tmp_path / f"{stem}.html").resolve().parent == tmp_path.resolve()
    assert stem.isprintable()


def test_messages_cannot_command_a_terminal() -> None:
    shown = str(UnreadableFile("a\x1b[2J.mat", "what\x1b]0;x\x07 came"))
    assert "\x1b" not in shown
    assert "\x07" not in shown


# --- the page ------------------------------------------------------------------------------------------------------------


def test_the_page_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= 20
    for file, function in named:
        names = {node.name for node in ast.walk(tree(ROOT / file)) if isinstance(node, ast.FunctionDef)}
        assert function in names, f"docs/security.md names {file}::{function}"
    ours = {
        node.name
        for node in ast.walk(tree(Path(__file__)))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert ours - {"test_the_page_names_tests_that_exist", "test_every_promise_has_a_test"} <= {
        function for _, function in named
    }


def test_every_promise_has_a_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| P\d+ ", line)]
    assert len(rows) >= 10
    assert all("::" in row for row in rows)
