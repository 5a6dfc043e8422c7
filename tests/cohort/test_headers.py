"""Are headers and timing files of all years read, and are contradictions told?"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort.cmrxrecon import read_info, read_times_ms, write_info, write_kspace, write_times_ms
from cohort.records import MissingFile, UnreadableFile, WrongShape


def scan(folder: Path, stem: str, *, frames: int = 4, slices: int = 2, info: dict[str, object] | None = None) -> Path:
    path = folder / f"{stem}.mat"
    write_kspace(path, np.ones((frames, slices, 1, 2, 2), np.complex64), info=info or {})
    return path


# ---- headers


def test_a_header_of_the_challenge(tmp_path: Path) -> None:
    text = (
        "\ufeffParameter,Value_1\r\nFieldStrength(T),3\r\nFOVx(mm),400\r\nReconMatrix_X,208\r\nSliceThickness(mm),\r\n"
        'TE(ms),NaN\r\nFlipAngle(degree),35,\r\n"Sequence","tfi2d, cine"\r\n\r\nModel,CIMA.X\r\n'
    )
    (tmp_path / "cine_sax_info.csv").write_bytes(text.encode("utf-8"))
    assert read_info(tmp_path / "cine_sax.mat") == {
        "FieldStrength": 3.0,
        "FOVx": 400.0,
        "ReconMatrix_X": 208.0,
        "FlipAngle": 35.0,
        "Sequence": "tfi2d, cine",
        "Model": "CIMA.X",
    }


def test_other_names_of_a_header(tmp_path: Path) -> None:
    (tmp_path / "cine_sax.csv").write_text("Parameter,Value\nFOVx,300\n", encoding="utf-8")  # as in Center007
    assert read_info(tmp_path / "cine_sax.mat") == {"FOVx": 300.0}
    assert read_info(tmp_path / "cine_sax_kus_ktGaussian24.mat") == {"FOVx": 300.0}
    write_times_ms(tmp_path / "T1map.mat", np.ones((3, 1)))  # T1map.csv holds times, it is no header
    with pytest.raises(MissingFile, match=r"T1map_info\.csv: missing: the header"):
        read_info(tmp_path / "T1map.mat")


def test_a_header_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a_info.csv").write_bytes("Parameter,Value\nModel,Größe\n".encode("latin-1"))
    assert read_info(tmp_path / "a.mat") == {"Model": "Größe"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a first line"),
        ("FOVx,400\n", "expected a first line"),
        ("Parameter,Value\nTR(s),0.04\n", "states TR in s; expected ms"),
        ("Parameter,Value\nFOVx(cm),40\n", "states FOVx in cm; expected mm"),
        ("Parameter,Value\nFOVx(mm),400\nFOVx,300\n", "states FOVx twice, as 400.0 and as 300.0"),
    ],
)
def test_headers_that_cannot_be_trusted(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a_info.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableFile, match=message):
        read_info(tmp_path / "a.mat")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).filter(
    lambda text: not set("()\ufeff") & set(text)
)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(
    info=st.dictionaries(
        TEXT, st.floats(allow_nan=False, allow_infinity=False) | TEXT.filter(lambda t: not is_number(t))
    )
)
def test_headers_survive(tmp_path_factory: pytest.TempPathFactory, info: dict[str, float | str]) -> None:
    path = tmp_path_factory.mktemp("info") / "a.mat"
    write_info(path, info)
    assert read_info(path) == info


def test_what_has_no_value_is_left_out(tmp_path: Path) -> None:
    write_info(tmp_path / "a.mat", {"TE(ms)": None, "TR(ms)": float("nan"), "TI(ms)": np.array([100, 180.5]), "n": 3})
    assert read_info(tmp_path / "a.mat") == {"TI": "100 180.5", "n": 3.0}


# ---- times


@settings(max_examples=30, deadline=None)
@given(
    times=st.integers(1, 3).flatmap(
        lambda slices: st.lists(st.lists(st.floats(1, 5000), min_size=slices, max_size=slices), min_size=1, max_size=5)
    )
)
def test_times_survive(tmp_path_factory: pytest.TempPathFactory, times: list[list[float]]) -> None:
    expected = np.array(times)
    path = scan(tmp_path_factory.mktemp("times"), "T1map", frames=len(expected), slices=expected.shape[1])
    write_times_ms(path, expected)
    np.testing.assert_array_equal(read_times_ms(path), expected)


def test_a_timing_file_of_2023(tmp_path: Path) -> None:
    """A row of slice names, a column of labels; the last frame absent; more columns than slices; acquisition order."""
    path = scan(tmp_path, "T1map", frames=4, slices=2)
    (tmp_path / "T1map.csv").write_text(
        "TI,Slice1,Slice2,Slice3\nTI1,110,111,112\nTI2,1010,1011,1012\nTI3,190,191,192\nTI4,0,0,\n", encoding="utf-8"
    )
    np.testing.assert_array_equal(read_times_ms(path), [[110, 111], [1010, 1011], [190, 191]])


def test_one_column_counts_for_all_slices_and_zero_is_an_echo_time(tmp_path: Path) -> None:
    path = scan(tmp_path, "T2map", frames=3, slices=2)
    (tmp_path / "T2map.csv").write_text(",Slice1,Slice2\nTE1,55,\nTE2,35,\nTE3,0,\n", encoding="utf-8")
    np.testing.assert_array_equal(read_times_ms(path), [[55, 55], [35, 35], [0, 0]])


@pytest.mark.parametrize(
    ("stem", "key", "value", "expected"),
    [
        ("T1map", "TI(ms)", "[100, 180.5; 1100]", [100, 180.5, 1100]),
        ("T1mappost_lax_4ch", "TI(ms)", "100 180 260 0", [100, 180, 260]),
        ("T2smap", "TE(ms)", [2.1, 4.2], [2.1, 4.2]),
        ("T1rho", "TSL(ms)", "0 10 20", [0, 10, 20]),
        ("T1rho", "TE(ms)", "0,10,20,5e1", [0, 10, 20, 50]),
    ],
)
def test_times_of_the_header(tmp_path: Path, stem: str, key: str, value: object, expected: list[float]) -> None:
    path = scan(tmp_path, stem, info={key: value})
    np.testing.assert_array_equal(read_times_ms(path), np.repeat(np.array(expected)[:, None], 2, axis=1))


def test_no_times_anywhere(tmp_path: Path) -> None:
    path = scan(tmp_path, "T1map", info={"TI(ms)": None})
    with pytest.raises(MissingFile, match=r"T1map\.csv: missing: no timing file, and T1map_info\.csv states no TI"):
        read_times_ms(path)
    (tmp_path / "T1map_info.csv").unlink()
    with pytest.raises(MissingFile, match=r"no timing file, and no header with TI\(ms\)"):
        read_times_ms(path)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ("a,100,100\nb,,\nc,300,300", UnreadableFile, "a time between others is blank"),
        ("a,100,100\nb,0,180\nc,300,300", UnreadableFile, "a time between others is blank"),
        ("a,100,100\nb,-5,180", UnreadableFile, "negative"),
        ("a,100,soon", UnreadableFile, "a cell that is no number"),
        ("a,1,1\nb,2,2\nc,3,3\nd,4,4\ne,5,5", WrongShape, "5 times for 4 frames"),
        ("a,0,0\nb,,", MissingFile, "holds no times"),
        ("a,1,1,1\nb,2,2,2", WrongShape, "times for 3 slices; the k-space has 4"),
        ("", MissingFile, "holds no times"),
    ],
)
def test_times_that_cannot_be_right(tmp_path: Path, rows: str, error: type[Exception], message: str) -> None:
    path = scan(tmp_path, "T1map", slices=4 if "slices" in message else 2)
    (tmp_path / "T1map.csv").write_text(f"TI,S1,S2\n{rows}\n", encoding="utf-8")
    with pytest.raises(error, match=message):
        read_times_ms(path)


def test_a_cine_has_no_times(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no mapping series"):
        read_times_ms(scan(tmp_path, "cine_sax"))


@pytest.mark.parametrize("times", [np.ones(3), np.ones((0, 2)), np.array([[-1.0]]), np.array([[np.nan]])])
def test_impossible_times_are_not_written(tmp_path: Path, times: np.ndarray) -> None:
    with pytest.raises(WrongShape, match="expected times in ms"):
        write_times_ms(tmp_path / "T1map.mat", times)
