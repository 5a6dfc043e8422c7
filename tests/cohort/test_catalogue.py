"""Does the catalogue list every scan once, good or bad, and do its selections and divisions keep their promises?"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_corpus import mrd_header, mrd_rows, numbers, save_mrd
from cohort import catalogue, cmrxrecon
from cohort.catalogue import catalogue_hash, find_duplicates, scan_tree, select, split_by_patient
from cohort.records import ConfigProblem, MissingFile, UnreadableFile

FULL = "MultiCoil/Cine/TestSet/FullSample"
VIDA = f"{FULL}/Center001/Siemens_30T_Vida"


def add(root: Path, file: str, *, seed: int = 1) -> Path:
    path = root / file
    rng = np.random.default_rng(seed)
    kspace = rng.standard_normal((3, 2, 4, 6, 10)) + 1j * rng.standard_normal((3, 2, 4, 6, 10))
    cmrxrecon.write_kspace(path, kspace, info={"FOVx(mm)": 300.0})
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    root = tmp_path / "cohort"
    add(root, f"{VIDA}/P001/cine_sax.mat", seed=1)
    add(root, f"{VIDA}/P002/cine_sax.mat", seed=2)
    add(root, f"{FULL}/Center002/UIH_15T_umr670/P001/cine_lax_4ch.mat", seed=3)
    add(root, "MultiCoil/Mapping/TestSet/FullSample/Center001/Siemens_30T_Vida/P001/T1mappost.mat", seed=4)
    add(root, "MultiCoil/Cine/TrainingSet/FullSample_TaskR1/Center003/Siemens_30T_CIMA.X/P104/cine_sax.mat", seed=5)
    add(root, "MultiCoil/Cine/TestSet/UnderSample_TaskAll/Center001/Siemens_30T_Vida/P001/cine_sax.mat", seed=6)
    (root / "diseases.csv").write_text(
        "center,patient,disease\nCenter001,P001,hypertrophic\nCenter002,P001,normal\n", encoding="utf-8"
    )
    return root


# ---- what is listed


def test_every_scan_has_a_row(cohort: Path) -> None:
    table = scan_tree(cohort)
    assert list(table.columns) == list(catalogue.COLUMNS)
    assert len(table) == 5  # undersampled files are no scans
    assert (table["status"] == "ok").all()
    assert (table["reason"] == "").all()
    row = table[table["scanner"] == "CIMA.X"].iloc[0]
    assert (row["release"], row["split"], row["center"], row["patient"]) == (
        "TaskR1",
        "TrainingSet",
        "Center003",
        "P104",
    )
    assert (row["vendor"], row["field_t"], row["modality"], row["view"]) == ("Siemens", 3.0, "cine", "short-axis")
    assert (row["shape"], row["disease"], row["stem"]) == ((3, 2, 4, 6, 10), "unknown", "cine_sax")
    assert row["size_bytes"] == Path(row["path"]).stat().st_size
    mapping = table[table["stem"] == "T1mappost"].iloc[0]
    assert (mapping["modality"], mapping["disease"]) == ("T1 mapping post", "hypertrophic")
    umr = table[table["vendor"] == "UIH"].iloc[0]
    assert (umr["field_t"], umr["view"], umr["disease"]) == (1.5, "long-axis", "normal")


def test_no_data_is_read(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("data read")

    monkeypatch.setattr(cmrxrecon, "read_variable", refuse)
    assert (scan_tree(cohort)["status"] == "ok").all()


def test_a_table_survives_parquet(cohort: Path, tmp_path: Path) -> None:
    add(cohort, f"{VIDA}/P003/strange.mat")
    table = scan_tree(cohort)
    table.to_parquet(tmp_path / "catalogue.parquet")
    again = pd.read_parquet(tmp_path / "catalogue.parquet")
    assert [tuple(s) for s in again["shape"]] == list(table["shape"])
    assert catalogue_hash(again) == catalogue_hash(table)


def test_bad_files_each_have_a_row_and_a_reason(cohort: Path) -> None:
    expected = {}

    def bad(name: str, content: bytes | None, reason: str) -> None:
        path = add(cohort, name)
        if content is not None:
            path.write_bytes(content)
        expected[name] = reason

    whole = (cohort / VIDA / "P001/cine_sax.mat").read_bytes()
    bad(f"{VIDA}/P010/cine_sax.mat", whole[:-100], "truncated MATLAB v7.3 file")
    bad(f"{VIDA}/P011/cine_sax.mat", b"", "empty file")
    bad(f"{VIDA}/P012/cine_sax.mat", b"hello", "not a MATLAB file")
    bad(f"{VIDA}/P013/notes.mat", None, "file name 'notes' begins with no known modality")
    bad(f"{FULL}/Center009/UIH_50T/P001/cine_sax.mat", None, "scanner folder 'UIH_50T' is not Vendor_Field_Model")
    bad(f"{FULL}/Center009/UIH_5T_x/P001/cine_sax.mat", None, "field '5T' is none of")
    bad(f"{FULL}/P001/cine_sax.mat", None, "not in the layout")
    bad(f"{VIDA}/patient1/cine_sax.mat", None, "expected folders CenterNNN and PNNN, found 'Center001' and 'patient1'")
    bad(f"{VIDA}/P014/cine_sax.mat", None, "cine_sax_info.csv: missing: the header")
    (cohort / VIDA / "P014/cine_sax_info.csv").unlink()
    bad(f"{VIDA}/P015/cine_sax.mat", None, "cine_sax_info.csv: expected a first line")
    (cohort / VIDA / "P015/cine_sax_info.csv").write_text("nothing", encoding="utf-8")
    cmrxrecon.write_mask(cohort / VIDA / "P016/cine_sax.mat", np.ones((1, 4, 4), bool))
    expected[f"{VIDA}/P016/cine_sax.mat"] = "no k-space variable: expected one of"

    table = scan_tree(cohort).set_index("file")
    assert set(table.index[table["status"] == "bad"]) == set(expected)
    for name, reason in expected.items():
        assert table.loc[name, "reason"].startswith(reason) or reason in table.loc[name, "reason"]
        assert "\n" not in table.loc[name, "reason"]
    assert (table["status"] == "ok").sum() == 5
    known = table.loc[f"{VIDA}/P010/cine_sax.mat"]  # what the path says is known all the same
    assert (known["center"], known["scanner"], known["patient"], known["modality"]) == (
        "Center001",
        "Vida",
        "P010",
        "cine",
    )


def test_listed_but_missing(cohort: Path) -> None:
    there, missing = f"{VIDA}/P001/cine_sax.mat", f"{VIDA}/P077/cine_sax.mat"
    (cohort / "cohort.csv").write_text(f"path,sha256\n{there},\n{missing},\n", encoding="utf-8")
    table = scan_tree(cohort).set_index("file")
    assert len(table) == 6
    assert table.loc[there, "status"] == "ok"
    assert table.loc[missing, "reason"] == "missing: listed in cohort.csv but not there"
    assert (table.loc[missing, "patient"], table.loc[missing, "size_bytes"]) == ("P077", 0)


def test_hashes_of_the_manifest(cohort: Path) -> None:
    first, second = f"{VIDA}/P001/cine_sax.mat", f"{VIDA}/P002/cine_sax.mat"
    right = hashlib.sha256((cohort / first).read_bytes()).hexdigest()
    (cohort / "cohort.csv").write_text(f"path,sha256\n{first},{right}\n{second},{right}\n", encoding="utf-8")
    assert (scan_tree(cohort)["status"] == "ok").all()
    table = scan_tree(cohort, verify_sha256=True).set_index("file")
    assert table.loc[first, "status"] == "ok"
    assert f"cohort.csv says {right[:12]}" in table.loc[second, "reason"]


@pytest.mark.parametrize("name", ["../outside.mat", "/etc/passwd", "a/../../b.mat"])
def test_a_manifest_stays_within_the_cohort(cohort: Path, name: str) -> None:
    (cohort / "cohort.csv").write_text(f"path\n{name}\n", encoding="utf-8")
    with pytest.raises(UnreadableFile, match="expected paths within the cohort"):
        scan_tree(cohort)


def test_links(cohort: Path, tmp_path: Path) -> None:
    outside = add(tmp_path / "elsewhere", f"{VIDA}/P001/cine_sax.mat")
    target = cohort / VIDA / "P020"
    target.mkdir()
    (target / "cine_sax.mat").symlink_to(outside)
    (target / "cine_lax.mat").symlink_to(cohort / VIDA / "P001/cine_sax.mat")
    shutil.copy(cohort / VIDA / "P001/cine_sax_info.csv", target / "cine_lax_info.csv")
    (target / "T1map.mat").symlink_to(target / "nowhere.mat")
    (cohort / VIDA / "P021").symlink_to(outside.parent, target_is_directory=True)
    (cohort / FULL / "loop").symlink_to(cohort, target_is_directory=True)
    table = scan_tree(cohort).set_index("file")
    assert table.loc[f"{VIDA}/P020/cine_sax.mat", "reason"] == "symbolic link out of the cohort; not followed"
    assert table.loc[f"{VIDA}/P020/cine_lax.mat", "status"] == "ok"
    assert table.loc[f"{VIDA}/P020/T1map.mat", "reason"] == "missing: no such file"
    assert "symbolic link to a folder" in table.loc[f"{VIDA}/P021", "reason"]
    assert "symbolic link to a folder" in table.loc[f"{FULL}/loop", "reason"]
    assert len(table) == 5 + 5


def test_mrd_files_are_scans(cohort: Path) -> None:
    kspace = numbers(2, 3, 2, 6, 8)
    rows = mrd_rows(kspace, np.random.default_rng(1))
    (cohort / f"{VIDA}/P003").mkdir()
    save_mrd(cohort / f"{VIDA}/P003/cine_sax.h5", rows, mrd_header(8, 6))
    save_mrd(cohort / f"{VIDA}/P003/cine_lax.mrd", rows[:-1], mrd_header(8, 6))
    save_mrd(cohort / f"{VIDA}/P002/cine_sax.h5", rows, mrd_header(8, 6))
    (cohort / f"{VIDA}/P003/T1map.h5").write_bytes(b"no HDF5")
    rows = {row["file"].removeprefix(f"{VIDA}/"): row for row in scan_tree(cohort).to_dict("records")}
    good = rows["P003/cine_sax.h5"]
    assert (good["status"], good["shape"], good["modality"], good["view"], good["stem"]) == (
        "ok", kspace.shape, "cine", "short-axis", "cine_sax",
    )  # fmt: skip
    assert "1 of 36 lines were not acquired" in rows["P003/cine_lax.mrd"]["reason"]
    assert "damaged MRD file" in rows["P003/T1map.h5"]["reason"]
    # their results would lie in one folder
    assert rows["P002/cine_sax.h5"]["reason"] == "has the name of cine_sax.mat beside it; keep one of them"
    assert rows["P002/cine_sax.mat"]["status"] == "ok"


def test_the_header_beside_an_mrd_file_goes_before_its_own(cohort: Path) -> None:
    path = cohort / f"{VIDA}/P003/cine_sax.h5"
    path.parent.mkdir()
    save_mrd(path, mrd_rows(numbers(1, 1, 1, 6, 8), np.random.default_rng(1)), mrd_header(8, 6))
    assert cmrxrecon.read_info(path)["FOVx"] == 300.0
    cmrxrecon.write_info(path, {"FOVx(mm)": 310.0, "TR(ms)": 40.0})
    info = cmrxrecon.read_info(path)
    assert (info["FOVx"], info["FOVy"], info["TR"]) == (310.0, 300.0, 40.0)


def test_half_written_and_hidden_files_are_no_scans(cohort: Path) -> None:
    (cohort / VIDA / "P001/.writing-ab12-cine_sax.mat.part").write_bytes(b"half")
    (cohort / VIDA / "P001/._cine_sax.mat").write_bytes(b"of another system")
    assert len(scan_tree(cohort)) == 5


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no such folder; expected a cohort with <Modality>"):
        scan_tree(tmp_path / "none")
    add(tmp_path, "MultiCoil/Cine/TestSet/UnderSample/Center001/Siemens_30T_Vida/P001/cine_sax.mat")
    with pytest.raises(MissingFile, match="no k-space file; expected <Modality>/<Set>/FullSample/"):
        scan_tree(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("center,patient\nCenter001,P001\n", "no column 'disease'"),
        ("", "no column 'center'"),
        ("center,patient,disease\nC,P,normal\nC,P,dilated\n", "gives C P two diseases, normal and dilated"),
    ],
)
def test_a_disease_table_that_cannot_be_used(cohort: Path, text: str, message: str) -> None:
    (cohort / "diseases.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableFile, match=message):
        scan_tree(cohort)


# ---- select


def test_selections(cohort: Path) -> None:
    table = scan_tree(cohort)
    assert len(select(table)) == 5
    assert set(select(table, center="Center001")["patient"]) == {"P001", "P002"}
    assert len(select(table, field_t=3.0, modality="cine")) == 3
    assert len(select(table, field_t=[1.5, 3.0], vendor=("UIH", "Siemens"))) == 5
    assert len(select(table, disease="hypertrophic", view="short-axis", split="TestSet", status="ok")) == 2
    assert len(select(table, vendor="UIH", field_t=3.0)) == 0
    assert list(select(table, patient="P104").index) == [0]


@pytest.mark.parametrize(
    "wanted", [{"center": "Center1"}, {"field_t": 7}, {"modality": ["cine", "T1"]}, {"status": "bad"}]
)
def test_a_typing_error_is_no_empty_selection(cohort: Path, wanted: dict[str, str]) -> None:
    with pytest.raises(ConfigProblem, match=f"no scan has {next(iter(wanted))} .*; there are"):
        select(scan_tree(cohort), **wanted)  # type: ignore[arg-type]


# ---- divide


def people(n: int, diseases: list[str], scans: int = 2) -> pd.DataFrame:
    rows = [
        {"center": f"Center00{i % 3}", "patient": f"P{i // 2:03d}", "disease": diseases[i % len(diseases)], "stem": s}
        for i in range(n)
        for s in range(scans)
    ]
    return pd.DataFrame(rows)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(6, 60), weights=st.lists(st.integers(1, 9), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_no_patient_is_in_two_parts_and_nothing_is_lost(n: int, weights: list[int], seed: int) -> None:
    table = people(n, ["a", "b"])
    fractions = {f"part{i}": w / sum(weights) for i, w in enumerate(weights)}
    parts = split_by_patient(table, fractions=fractions, seed=seed)
    who = [set(zip(p["center"], p["patient"], strict=True)) for p in parts.values()]
    assert sum(len(w) for w in who) == len(set.union(*who))
    assert sum(len(p) for p in parts.values()) == len(table)
    total = len(set.union(*who))
    for share, members in zip(fractions.values(), who, strict=True):
        assert abs(len(members) - share * total) <= 1.001


def test_diseases_are_spread_evenly() -> None:
    table = people(100, list("abcde"))
    table["patient"] = [f"P{i // 2:03d}" for i in range(len(table))]
    parts = split_by_patient(table, fractions={"train": 0.8, "held": 0.2}, seed=3)
    held = parts["held"].drop_duplicates(["center", "patient"])["disease"].value_counts()
    assert held.to_dict() == dict.fromkeys("abcde", 4)


def test_the_seed_decides_alone() -> None:
    table = people(40, ["a", "b"])
    fractions = {"train": 0.5, "held": 0.5}
    state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    first = split_by_patient(table, fractions=fractions, seed=1)["held"]
    shuffled = split_by_patient(table.sample(frac=1, random_state=5), fractions=fractions, seed=1)["held"]
    other = split_by_patient(table, fractions=fractions, seed=2)["held"]
    keys = [set(zip(t["center"], t["patient"], strict=True)) for t in (first, shuffled, other)]
    assert keys[0] == keys[1] != keys[2]
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index, union-attr]  # noqa: NPY002


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 0.6, "b": 0.6}])
def test_shares_that_do_not_add_up(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigProblem, match="add up to 1"):
        split_by_patient(people(10, ["a"]), fractions=fractions, seed=1)


def test_too_few_patients() -> None:
    with pytest.raises(ConfigProblem, match="1 patients cannot be divided into 2 parts"):
        split_by_patient(people(1, ["a"]), fractions={"a": 0.5, "b": 0.5}, seed=1)


# ---- hash and duplicates


def test_the_hash_follows_content_not_place(cohort: Path, tmp_path: Path) -> None:
    table = scan_tree(cohort)
    shutil.copytree(cohort, tmp_path / "copy")
    assert catalogue_hash(scan_tree(tmp_path / "copy")) == catalogue_hash(table)
    assert catalogue_hash(table.sample(frac=1, random_state=1)) == catalogue_hash(table)
    add(cohort, f"{VIDA}/P099/cine_sax.mat")
    assert catalogue_hash(scan_tree(cohort)) != catalogue_hash(table)
    assert catalogue_hash(table.assign(disease="normal")) != catalogue_hash(table)


def test_duplicates(cohort: Path) -> None:
    assert find_duplicates(scan_tree(cohort)) == []
    again = add(cohort, f"{VIDA}/P050/cine_sax.mat", seed=2)
    add(cohort, f"{VIDA}/P051/notes.mat", seed=2)  # bad scans are not compared
    first = cohort / VIDA / "P002/cine_sax.mat"
    assert find_duplicates(scan_tree(cohort)) == [[str(first.resolve()), str(again.resolve())]]
