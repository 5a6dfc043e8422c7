"""Do damaged and hostile files bring out only our own errors? Some hundred cases; `benchmarks/fuzz_readers.py` runs 10,000."""

import faulthandler
import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks import fuzz_corpus as corpus
from benchmarks import fuzz_images as pictures
from benchmarks.fuzz_cases import (
    ESCAPE,
    FOREIGN,
    GREEDY,
    HANG,
    READ,
    REFUSED,
    generator_of,
    judge,
    judge_hostile,
    judged,
    warm,
    write_case,
)
from benchmarks.fuzz_corpus import TARGETS, Target
from benchmarks.fuzz_hostile import HOSTILE, Hostile
from benchmarks.fuzz_mutations import BYTES, REPACK, TEXT, mutated
from cohort import acdc, cmrxrecon, images
from cohort.catalogue import catalogue_hash, scan_tree
from cohort.dicom import read_cine
from cohort.dicom_headers import read_frames
from cohort.foreign import check_unpacked, parse_json, parse_toml, read_content, read_parquet
from cohort.records import (
    CardioValError,
    ConfigProblem,
    MissingFile,
    NotFinite,
    UnreadableFile,
    WeightsProblem,
    WrongShape,
    printable,
)
from flows.agree_table import TableOptions, read_readings
from flows.caching import is_complete, write_manifest
from flows.stages import readout_oversampling

CASES, SEED = 24, 20251124


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Valid cases of every target, read once: a reader that refuses a good file fails here."""
    warm(tmp_path_factory.mktemp("warm") / "cases")
    return tmp_path_factory.mktemp("valid")


@pytest.fixture(autouse=True)
def not_for_ever() -> Iterator[None]:
    """A library in C that runs in a circle cannot be interrupted; the run then ends, and tells where."""
    faulthandler.dump_traceback_later(600, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_files_bring_out_our_own_errors_only(target: Target, valid: Path, tmp_path: Path) -> None:
    for index in range(CASES):
        folder = tmp_path / str(index) / "case"
        folder.mkdir(parents=True)
        damaged = write_case(target, folder, valid / target.name, seed=SEED, index=index)
        outcome = judge(target, folder)
        assert outcome.fine, (index, damaged, outcome)


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_hostile_files_are_refused(case: Hostile, valid: Path, tmp_path: Path) -> None:  # noqa: ARG001
    outcome = judge_hostile(case, tmp_path)
    assert outcome.kind == REFUSED, outcome


# --- the judge can say no --------------------------------------------------------------------------------------------


def raises(error: Exception) -> Callable[[], object]:
    def read() -> None:
        raise error

    return read


def opens_outside() -> None:
    Path("/etc/hostname").read_bytes()


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda: None, READ),
        (raises(UnreadableFile("a", "b")), REFUSED),
        (raises(UnreadableFile("a", "does not fit into memory")), GREEDY),
        (raises(KeyError("a")), FOREIGN),
        (raises(MemoryError()), GREEDY),
        (lambda: np.empty(2**31, np.uint8), GREEDY),
        (lambda: np.ones(450 * 2**20, np.uint8), GREEDY),
        (opens_outside, ESCAPE),
        (lambda: subprocess.run(["true"], check=True), ESCAPE),
    ],
)
def test_the_judge_tells_what_was_done(read: Callable[[], object], kind: str, tmp_path: Path) -> None:
    assert judged(read, tmp_path).kind == kind


def test_the_judge_does_not_wait(tmp_path: Path) -> None:
    assert judged(signal.pause, tmp_path, seconds=0.2).kind == HANG


def test_the_judge_sees_what_is_left_behind(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    target = Target("writes", lambda folder, variant: None, (lambda folder: (folder / "new").write_text("a"),), ("*",))
    assert judge(target, folder).kind == ESCAPE
    writes = Hostile("writes", lambda folder, outside: None, lambda folder: (folder.parent / "ran").mkdir())
    assert judge_hostile(writes, tmp_path / "other").kind == ESCAPE


def test_hostile_cases_harm_readers_that_believe_them(tmp_path: Path) -> None:
    """The cases are what they say: other readers follow the link, unpack the bomb and run the code."""
    cases = {case.name: case for case in HOSTILE}
    folder, outside = tmp_path / "case", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    cases["HDF5 external link"].write(folder, outside)
    with h5py.File(folder / "cine_sax.mat") as file:
        assert file["kspace"][0, 0, 0, 0, 0]["real"] == 4711
    cases["CardioMM weights that run code"].write(folder, outside)
    import torch

    torch.load(folder / "a.ckpt", weights_only=False)
    assert (outside / "ran").is_dir()
    cases["NIfTI gzip bomb"].write(folder, outside)
    import gzip

    with gzip.open(folder / "image.nii.gz") as stream:
        assert sum(len(stream.read(2**20)) for _ in range(64)) == 64 * 2**20
    assert (folder / "image.nii.gz").stat().st_size < 2**22


def test_mutations_are_those_of_the_seed_and_leave_the_global_state(tmp_path: Path) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    target = TARGETS[0]
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        write_case(target, folder, tmp_path / "valid", seed=1, index=4)
        made.append((folder / "cine_sax.mat").read_bytes())
    assert made[0] == made[1]
    content = b"a = 1\nb = [2, 3]\nc = 'x'\n" * 20
    for mutation in (*BYTES, *TEXT):
        results = {mutation(content, generator_of(SEED, target, index)) for index in range(10)}
        assert len(results) > 1
        mutation(b"", generator_of(SEED, target, 0))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_damage_inside_a_packing_is_packed_again(tmp_path: Path) -> None:
    import gzip
    import zipfile

    rng = np.random.default_rng(1)
    packed = gzip.compress(bytes(range(256)) * 9)
    assert {len(gzip.decompress(REPACK["gzip"](packed, rng))) for _ in range(9)}
    corpus.write_weights(tmp_path, 1)
    for _ in range(9):
        (tmp_path / "b.zip").write_bytes(REPACK["zip"]((tmp_path / "checkpoint_final.pth").read_bytes(), rng))
        with zipfile.ZipFile(tmp_path / "b.zip") as archive:
            assert archive.testzip() is None
    assert mutated(b"abc", rng, text=False) != mutated(b"abc", rng, text=False)


# --- one test for each fault that was found --------------------------------------------------------------------------


def test_deflated_dicom_files_are_read(tmp_path: Path) -> None:
    for variant, name in ((0, "plain"), (2, "deflated")):
        (tmp_path / name).mkdir()
        pictures.write_dicom(tmp_path / name, variant)
    np.testing.assert_array_equal(read_cine(tmp_path / "plain").images, read_cine(tmp_path / "deflated").images)


def test_what_pydicom_raises_does_not_quote_the_header(tmp_path: Path) -> None:
    pictures.write_dicom(tmp_path, 0)
    path = tmp_path / "0.dcm"
    content = path.read_bytes()
    # Rows, a number of two bytes, gets three
    place = content.index(b"\x28\x00\x10\x00US")
    path.write_bytes(content[: place + 6] + struct.pack("<H", 3) + b"Doe" + content[place + 10 :])
    with pytest.raises(UnreadableFile) as caught:
        read_frames(path)
    assert "Doe" not in str(caught.value)


def test_pixels_that_slope_and_intercept_make_infinite(tmp_path: Path) -> None:
    file = pictures.dicom_base("1.2.3.7", syntax="1.2.840.10008.1.2.1")
    file.ImagePositionPatient, file.ImageOrientationPatient, file.PixelSpacing = [0, 0, 0], pictures.ORIENTATION, [1, 1]
    file.SliceThickness, file.TriggerTime, file.RescaleSlope, file.RescaleIntercept = 8, 0, "1e300", 0
    file.PixelData = np.full(pictures.PIXELS, 7, np.uint16).tobytes()
    file["PixelData"].VR = "OW"
    pictures.save_dicom(tmp_path / "0.dcm", file)
    with pytest.raises(NotFinite, match="slope and intercept"):
        read_cine(tmp_path)


def test_vendor_and_scanner_are_short_and_printable(tmp_path: Path) -> None:
    file = pictures.dicom_base("1.2.3.7", syntax="1.2.840.10008.1.2.1")
    file.ImagePositionPatient, file.ImageOrientationPatient, file.PixelSpacing = [0, 0, 0], pictures.ORIENTATION, [1, 1]
    file.Manufacturer = "x\x1b[2J" + "y" * 55
    file.PixelData = bytes(48)
    file["PixelData"].VR = "OW"
    pictures.save_dicom(tmp_path / "0.dcm", file)
    vendor = read_frames(tmp_path / "0.dcm")[0].facts.vendor
    assert vendor.startswith("x\\x1b[2Jy")
    assert len(vendor) <= 64


def test_acdc_files_that_are_damaged(tmp_path: Path) -> None:
    pictures.write_acdc(tmp_path, 0)
    home = tmp_path / "patient001"
    path = home / "patient001_frame01.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:30] + b"\xff" * 20 + whole[50:])
    with pytest.raises(UnreadableFile, match="not a readable NIfTI"):
        acdc.read_patient(home)
    path.write_bytes(whole)
    info = home / "Info.cfg"
    info.write_text(info.read_text().replace("184.0", "nan"))
    with pytest.raises(UnreadableFile, match="Height and Weight above 0"):
        acdc.read_patient(home)


def test_a_sidecar_with_nan_is_read_as_not_stated(tmp_path: Path) -> None:
    pictures.write_nifti(tmp_path, 0)
    (tmp_path / "image.json").write_text('{"frame_time_s": NaN, "a": 1e999, "b": [-Infinity, 2.5]}')
    assert images.read_image(tmp_path / "image.nii.gz")[2] == {"frame_time_s": None, "a": None, "b": [None, 2.5]}


def test_an_image_with_a_little_behind_it_is_read(tmp_path: Path) -> None:
    pictures.write_nifti(tmp_path, 1)
    path = tmp_path / "image.nii"
    whole = images.read_image(path)[0]
    path.write_bytes(path.read_bytes() + bytes(100))
    np.testing.assert_array_equal(images.read_image(path)[0], whole)
    path.write_bytes(path.read_bytes() + bytes(2**20))
    with pytest.raises(UnreadableFile, match="holds more than"):
        images.read_image(path)


def test_a_matlab_empty_array_is_still_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        made = file.create_dataset("kspace", data=np.array([0, 8], np.uint64))
        made.attrs["MATLAB_empty"] = np.uint8(1)
    with pytest.raises(WrongShape, match="3 to 5 axes"):
        cmrxrecon.read_header(tmp_path / "a.mat")


def test_names_of_a_cohort_can_be_written_and_hashed(tmp_path: Path) -> None:
    corpus.write_cohort(tmp_path, 0)
    patient = next(tmp_path.rglob("P001"))
    (patient / "cine_sax.mat").rename(Path(os.fsdecode(os.fsencode(patient) + b"/cine_\xff\x1b[2J.mat")))
    table = scan_tree(tmp_path)
    assert list(table["status"]) == ["bad", "bad", "ok"]  # listed in cohort.csv and not there, and the odd one
    assert any("printable" in reason for reason in table["reason"])
    table.drop(columns="shape").to_parquet(tmp_path / "table.parquet")
    assert len(catalogue_hash(table)) == 64


def test_links_within_the_cohort_are_followed(tmp_path: Path) -> None:
    corpus.write_cohort(tmp_path, 0)
    first, second = sorted(tmp_path.rglob("P00?"))
    header = first / "cine_sax_info.csv"
    header.unlink()
    header.symlink_to(second / "cine_sax_info.csv")
    assert list(scan_tree(tmp_path)["status"]) == ["ok", "ok"]


def test_links_of_masks_within_the_cohort_are_followed(tmp_path: Path) -> None:
    corpus.write_cohort(tmp_path, 0)
    scan = next(tmp_path.rglob("FullSample/**/P001/cine_sax.mat"))
    mask = Path(str(scan.parent).replace("FullSample", "Mask_TaskAll")) / "cine_sax_mask_Uniform8.mat"
    mask.parent.mkdir(parents=True)
    corpus.write_masks(mask.parents[1], 0)
    mask.symlink_to(mask.parents[1] / "mask.mat")
    assert cmrxrecon.find_mask(scan, pattern="Uniform", acceleration=8) == mask


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"', b"NaN", b"[1e999]", b"\xff", b"9" * 5000, b"", b"{"],
)
def test_what_is_no_json(content: bytes) -> None:
    with pytest.raises(UnreadableFile, match="not JSON"):
        parse_json(content, "a.json")
    assert parse_json(b'"\\ud83d\\ude00"', "a.json") == "\U0001f600"


@pytest.mark.parametrize(
    "content",
    [b"a = " + b"[" * 100_000, b"a" + b".a" * 1000 + b" = 1", b"a = " + b"9" * 5000, b"\xff = 1", b"a = 1\n" * 10**6],
)
def test_what_is_no_toml(content: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(ConfigProblem, match="not a"):
        parse_toml(content, "a.toml")
    assert time.process_time() - begun < 60  # a name of many parts took hours


def test_content_is_looked_at_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no such file"):
        read_content(tmp_path / "absent")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(UnreadableFile, match="not a plain file"):
            read_content(path)
    (tmp_path / "a").write_bytes(b"12345")
    assert read_content(tmp_path / "a", limit=5) == b"12345"
    with pytest.raises(UnreadableFile, match="larger than"):
        read_content(tmp_path / "a", limit=4)


def test_what_a_file_may_unpack_to() -> None:
    check_unpacked("a", 2**26, packed_bytes=1)
    check_unpacked("a", 2**30, packed_bytes=2**30 // 200 + 1)
    for n_bytes, packed in ((2**26 + 1, 1), (2**30, 2**30 // 201), (-1, 10)):
        with pytest.raises(UnreadableFile):
            check_unpacked("a", n_bytes, packed_bytes=packed)


def test_texts_that_are_shown() -> None:
    assert printable("P001 é ü 心") == "P001 é ü 心"
    assert printable("a\x1b[2J\n\udcff\u202e") == "a\\x1b[2J\\n\\udcff\\u202e"


def test_a_table_of_repeated_words_is_no_bomb(tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame({"study": ["s"] * 100_000, "value": np.arange(100_000) % 7})
    table.to_parquet(tmp_path / "a.parquet")
    assert len(read_parquet(tmp_path / "a.parquet")) == 100_000
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(UnreadableFile, match="not a readable Parquet table"):
        read_parquet(tmp_path / "b.parquet")


def test_cells_of_many_digits_and_tables_of_many_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("subject,method,value\nS1,old," + "9" * 100_000 + "x\nS1,new,1\n")
    with pytest.raises(CardioValError):
        read_readings(path, TableOptions())
    path.write_text("subject," + ",".join(f"m{i}" for i in range(20_000)) + "\nS1" + ",1" * 20_000 + "\n")
    with pytest.raises(ConfigProblem, match="20001 columns"):
        read_readings(path, TableOptions())


def test_a_manifest_is_not_believed_beyond_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "stage"
    inside.mkdir()
    (tmp_path / "other.bin").write_bytes(b"1")
    (inside / "a.bin").write_bytes(b"1")
    path = write_manifest(inside / "stage.json", key="k", files=[inside / "a.bin"], content={})
    assert is_complete(path, key="k")
    content = json.loads(path.read_text())
    content["files"] = {"../other.bin": content["files"]["a.bin"]}
    path.write_text(json.dumps(content))
    assert not is_complete(path, key="k")
    path.write_text('{"key": ' + "[" * 100_000)
    assert not is_complete(path, key="k")


def test_weights_that_hold_something_else_than_numbers(tmp_path: Path) -> None:
    import torch

    from recon.cardiomm.checkpoint import load_cardiomm

    corpus.write_weights(tmp_path, 0)
    path = tmp_path / "cardiomm.ckpt"
    content = torch.load(path, weights_only=True)
    name = next(iter(content["state_dict"]))
    for value, message in (
        (1, "else than names with tensors"),
        (content["state_dict"][name].to(torch.int32), "do not fit"),
    ):
        changed = {**content, "state_dict": {**content["state_dict"], name: value}}
        torch.save(changed, path)
        with pytest.raises(WeightsProblem, match=message):
            load_cardiomm(path)


@pytest.mark.parametrize("value", ["wide", -2.0, 1e-320, 1e300])
@pytest.mark.parametrize("key", ["ReadOutOversample", "ReconMatrix_X"])
def test_a_readout_oversampling_that_is_no_number(key: str, value: object) -> None:
    with pytest.raises(UnreadableFile, match=f"states {key} as"):
        readout_oversampling({key: value}, 256, path=Path("cine_sax.mat"))
