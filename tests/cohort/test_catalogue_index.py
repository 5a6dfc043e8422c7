"""Does a catalogue made with an index say the same as one made without, whatever happened to the files in between?"""

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohort import catalogue_files, catalogue_index, cmrxrecon
from cohort.catalogue import catalogue_hash, scan_tree
from cohort.catalogue_index import Indexed, read_index, write_index

VIDA = "Cine/TestSet/FullSample/Center001/Siemens_30T_Vida"
FILES = [f"{VIDA}/P{i:03d}/cine_sax.mat" for i in range(1, 5)]


def add(root: Path, file: str, *, n_slices: int = 2) -> Path:
    path = root / file
    cmrxrecon.write_kspace(path, np.ones((3, n_slices, 4, 6, 10), np.complex64), info={"FOVx(mm)": 300.0})
    return path


@pytest.fixture(autouse=True)
def rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as rested at once, though they are seconds old, and few are worth an index."""
    monkeypatch.setattr(catalogue_files, "SETTLED_NS", 0)
    monkeypatch.setattr(catalogue_index, "WORTH_INDEX", 1)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for file in FILES:
        add(tmp_path / "cohort", file)
    return tmp_path / "cohort"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the patients whose headers are opened."""
    found: list[str] = []

    def note(path: Path) -> tuple[int, ...]:
        found.append(path.parent.name)
        return cmrxrecon.read_header(path)

    monkeypatch.setattr(catalogue_index, "read_header", note)
    return found


def test_the_second_time_nothing_is_opened_and_the_table_is_the_same(
    cohort: Path, tmp_path: Path, opened: list[str]
) -> None:
    without = scan_tree(cohort)
    index = tmp_path / "place" / "index"
    first = scan_tree(cohort, index=index)
    opened.clear()
    second = scan_tree(cohort, index=index)
    assert opened == []
    pd.testing.assert_frame_equal(first, without)
    pd.testing.assert_frame_equal(second, without)
    assert catalogue_hash(second) == catalogue_hash(without)


@pytest.mark.parametrize("what", ["content", "same size and date", "header", "new header", "moved in"])
def test_what_has_changed_is_opened_again(cohort: Path, tmp_path: Path, opened: list[str], what: str) -> None:
    index = tmp_path / "index"
    scan_tree(cohort, index=index)
    opened.clear()
    file = cohort / FILES[1]
    if what == "content":
        add(cohort, FILES[1], n_slices=5)
    elif what == "same size and date":
        stat = file.stat()
        file.write_bytes(bytes(stat.st_size))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    elif what == "header":
        file.with_name("cine_sax_info.csv").write_text("nothing", encoding="utf-8")
    elif what == "new header":
        file.with_name("cine_sax.csv").write_text("Parameter,Value\n", encoding="utf-8")
    else:
        (cohort / FILES[2]).replace(file)
    table = scan_tree(cohort, index=index)
    assert opened == ["P002"]
    pd.testing.assert_frame_equal(table, scan_tree(cohort))


def test_bad_files_and_links_are_looked_at_each_time(cohort: Path, tmp_path: Path, opened: list[str]) -> None:
    """A bad file may become good without a change of its own: a disk is mounted again."""
    (cohort / FILES[0]).write_bytes(b"nothing")
    linked = cohort / FILES[1]
    linked.rename(cohort / "stored.mat")
    linked.symlink_to(cohort / "stored.mat")
    index = tmp_path / "index"
    table = scan_tree(cohort, index=index)
    assert list(table["status"]) == ["bad", "ok", "ok", "ok"]
    assert set(read_index(index, root=cohort.resolve())) == set(FILES[2:])
    opened.clear()
    pd.testing.assert_frame_equal(scan_tree(cohort, index=index), table)
    assert opened == ["P001", "P002"]


def test_a_file_that_has_just_changed_is_not_trusted_yet(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_files, "SETTLED_NS", 3600 * 10**9)
    scan_tree(cohort, index=tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_small_cohort_needs_none(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_index, "WORTH_INDEX", 5)
    scan_tree(cohort, index=tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_what_is_gone_leaves_the_index(cohort: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    scan_tree(cohort, index=index)
    (cohort / FILES[0]).unlink()
    assert len(scan_tree(cohort, index=index)) == 3
    assert set(read_index(index, root=cohort.resolve())) == set(FILES[1:])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_index_counts_as_none(tmp_path: Path, place: float, change: int, cut: bool) -> None:
    index = tmp_path / "index"
    known = {file: Indexed(f"cine_sax.mat:{i}:2:3", (3, 2, 4, 6, 10 + i)) for i, file in enumerate(FILES)}
    write_index(index, known, root=tmp_path)
    assert read_index(index, root=tmp_path) == known
    content = bytearray(index.read_bytes())
    at = int(place * len(content))
    content[at] ^= change
    index.write_bytes(content[:at] if cut else content)
    assert read_index(index, root=tmp_path) == {}


def test_an_index_of_another_cohort_or_version_counts_as_none(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    scan_tree(cohort, index=index)
    assert read_index(index, root=tmp_path / "another") == {}
    monkeypatch.setattr(catalogue_index, "INDEX_VERSION", catalogue_index.INDEX_VERSION + 1)
    assert read_index(index, root=cohort.resolve()) == {}


def test_an_index_that_cannot_be_kept_does_no_harm(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert len(scan_tree(cohort, index=tmp_path / "folder")) == 4
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert len(scan_tree(cohort, index=tmp_path / "file" / "index")) == 4


def test_several_processes_find_the_same(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cohort / FILES[0]).write_bytes(b"nothing")
    expected = scan_tree(cohort)
    monkeypatch.setattr(catalogue_index, "WORTH_PROCESSES", 1)
    pd.testing.assert_frame_equal(scan_tree(cohort, processes=2), expected)


def test_the_hash_is_that_of_all_rows_in_one_list(cohort: Path) -> None:
    """As it was before rows were hashed one by one: runs of before are still known by it."""
    (cohort / FILES[0]).write_bytes(b"nothing")
    (cohort / VIDA / "P009").mkdir()
    (cohort / VIDA / "P009/notes.mat").write_text("ä", encoding="utf-8")
    table = scan_tree(cohort)
    rows = table.drop(columns="path").sort_values("file").to_dict(orient="records")
    for row in rows:
        row["shape"] = [int(n) for n in row["shape"]]
        row["field_t"] = None if math.isnan(row["field_t"]) else float(row["field_t"])
        row["size_bytes"] = int(row["size_bytes"])
    assert catalogue_hash(table) == hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
