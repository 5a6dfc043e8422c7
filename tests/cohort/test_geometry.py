"""Is a voxel as large as anatomy says, and is everything assumed also said?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.geometry import fov_x_convention, scan_geometry
from cohort.headers import InfoValue
from cohort.records import ConfigProblem, MeasurementFailed

Info = dict[str, InfoValue]
STORED = (12, 6, 10, 160, 320)  # twice oversampled
REMOVED = (12, 6, 10, 160, 160)


def header(**change: InfoValue | None) -> Info:
    info: dict[str, InfoValue | None] = {
        "FOVx": 320.0,
        "FOVy": 320.0,
        "ReadOutOversample": 2.0,
        "SlicePitch": 10.0,
        "TR": 60.0,
    }
    return {key: value for key, value in (info | change).items() if value is not None}


# ---- in plane


@pytest.mark.parametrize(
    ("scanner", "fov_x_mm"),
    [
        ("Siemens_30T_Vida", 320.0),
        ("Siemens_30T_Prisma", 320.0),
        ("Siemens_30T_CIMA.X", 320.0),
        ("Siemens_15T_Aera", 320.0),
        ("Philips_30T_IngeniaCX", 320.0),
        ("Siemens_15T_Sola", 640.0),
        ("Siemens_15T_Avanto", 640.0),
        ("Siemens_055T_Freemax", 640.0),
        ("UIH_30T_umr780", 640.0),
        ("UIH_50T_Jupiter", 640.0),
    ],
)
@pytest.mark.parametrize("model_only", [False, True])
def test_fov_conventions_of_the_scanners(scanner: str, fov_x_mm: float, model_only: bool) -> None:
    """Each header below is of a 320 mm image with 2 mm pixels, in the convention of its scanner."""
    vendor, _, model = scanner.split("_")
    name = {"scanner": model, "vendor": vendor} if model_only else {"scanner": scanner}
    for shape, removed in ((STORED, False), (REMOVED, True)):
        geometry = scan_geometry(header(FOVx=fov_x_mm), shape=shape, **name, readout_removed=removed)  # type: ignore[arg-type]
        assert geometry.spacing_mm == pytest.approx((10.0, 2.0, 2.0))
        assert geometry.confidence == "table"
        assert geometry.note == ""


def test_pixel_of_a_philips_scan() -> None:
    """FOVx 299 mm, 304 samples stored: 598 / 304 = 1.967 mm fits the thorax, 299 / 256 does not (specs, 1.5)."""
    info = header(FOVx=299.0, ReconMatrix_X=256.0)
    geometry = scan_geometry(info, shape=(12, 6, 10, 160, 304), scanner="IngeniaCX", readout_removed=False)
    assert geometry.spacing_mm[2] == pytest.approx(1.967, abs=5e-4)
    geometry = scan_geometry(info, shape=(12, 6, 10, 160, 152), scanner="IngeniaCX")
    assert geometry.spacing_mm[2] == pytest.approx(1.967, abs=5e-4)


@given(
    fov_mm=st.floats(200, 500),
    nx=st.integers(50, 300),
    factor=st.sampled_from([1.0, 1.5, 2.0]),
    scanner=st.sampled_from(["Vida", "Sola", "UIH_30T_umr790", "unheard of"]),
)
def test_removing_the_oversampling_keeps_the_pixel(fov_mm: float, nx: int, factor: float, scanner: str) -> None:
    info = header(FOVx=fov_mm, ReadOutOversample=factor)
    stored = scan_geometry(info, shape=(2, 1, 4, 100, 2 * nx), scanner=scanner, readout_removed=False)
    removed = scan_geometry(info, shape=(2, 1, 100, 2 * nx / factor), scanner=scanner)  # type: ignore[arg-type]
    assert stored.spacing_mm == pytest.approx(removed.spacing_mm)


def test_an_unknown_scanner_is_assumed_nominal_and_says_so() -> None:
    geometry = scan_geometry(header(), shape=REMOVED, scanner="GE_15T_voyager")
    assert geometry.confidence == "assumed"
    assert "meaning of FOVx unknown for 'GE_15T_voyager'" in geometry.note
    assert fov_x_convention("GE_15T_voyager") is None


def test_simulated_files_mean_the_image_unless_they_say_so() -> None:
    simulated = header(Simulated="synthetic phantom")
    geometry = scan_geometry(simulated, shape=REMOVED, scanner="UIH_30T_umr780")
    assert geometry.spacing_mm == (10.0, 2.0, 2.0)
    assert geometry.confidence == "stated"
    spans = scan_geometry(simulated | {"FOVxSpans": "oversampled"}, shape=REMOVED, scanner="Vida")
    assert spans.spacing_mm == (10.0, 2.0, 1.0)
    with pytest.raises(MeasurementFailed, match="FOVxSpans is 'nominal' or 'oversampled'"):
        scan_geometry(simulated | {"FOVxSpans": "both"}, shape=REMOVED, scanner="Vida")


def test_oversampling_not_stated() -> None:
    geometry = scan_geometry(header(FOVx=640.0, ReadOutOversample=None), shape=REMOVED, scanner="Sola")
    assert geometry.spacing_mm[2] == 2.0
    assert geometry.confidence == "assumed"
    assert "readout oversampling not stated: assumed 2" in geometry.note
    needless = scan_geometry(header(ReadOutOversample=None), shape=REMOVED, scanner="Vida")
    assert needless.note == ""


def test_oversampling_that_is_still_there() -> None:
    """Center006: matrix 208, 418 samples stored; taken for removed, the pixel would be half as large."""
    info = header(FOVx=400.0, ReconMatrix_X=208.0)
    with pytest.raises(ConfigProblem, match="still have the oversampling of 2"):
        scan_geometry(info, shape=(12, 6, 10, 160, 418), scanner="Vida")
    assert scan_geometry(info, shape=(12, 6, 10, 160, 209), scanner="Vida").spacing_mm[2] == pytest.approx(400 / 209)


def test_an_implausible_pixel_is_told() -> None:
    geometry = scan_geometry(header(FOVy=1600.0), shape=REMOVED, scanner="Vida")
    assert geometry.confidence == "assumed"
    assert "pixel of 10.00 x 2.00 mm (y, x) is implausible" in geometry.note


@pytest.mark.parametrize("key", ["FOVx", "FOVy"])
@pytest.mark.parametrize("value", [None, "unknown", 0.0])
def test_no_field_of_view_no_pixel(key: str, value: InfoValue | None) -> None:
    with pytest.raises(MeasurementFailed, match=f"the header states no {key}"):
        scan_geometry(header(**{key: value}), shape=REMOVED, scanner="Vida")


# ---- through plane


@pytest.mark.parametrize(
    ("scanner", "change", "pitch_mm", "confidence", "said"),
    [
        ("Vida", {"SliceThickness": 8.0}, 10.0, "table", ""),  # the stated pitch wins
        ("Vida", {"SlicePitch": None, "SliceThickness": 8.0, "SliceGap": 1.5}, 9.5, "table", ""),
        ("Vida", {"SlicePitch": None, "SliceThickness": 8.0, "SliceGap": 0.0}, 8.0, "table", ""),
        ("Vida", {"SlicePitch": None, "SliceThickness": 8.0}, 12.0, "table", "slice pitch 12 mm from the table"),
        ("Vida", {"SlicePitch": None, "SliceThickness": 6.0}, 10.0, "table", "slice pitch 10 mm from the table"),
        ("Siemens_30T_Prisma", {"SlicePitch": None}, 10.0, "table", "no thickness"),
        ("Aera", {"SlicePitch": None}, 13.0, "table", "no thickness"),
        ("Prisma", {"SlicePitch": None, "SliceThickness": 7.0}, 7.0, "assumed", "volumes may be too small"),
        ("UIH_30T_umr780", {"SlicePitch": None, "SliceThickness": 8.0}, 8.0, "assumed", "slice gap unknown"),
    ],
)
def test_slice_pitch(
    scanner: str, change: dict[str, InfoValue | None], pitch_mm: float, confidence: str, said: str
) -> None:
    geometry = scan_geometry(header(**change), shape=REMOVED, scanner=scanner)
    assert geometry.spacing_mm[0] == pitch_mm
    assert geometry.confidence == confidence
    assert said in geometry.note
    assert bool(said) == bool(geometry.note)
    assert geometry.slice_thickness_mm == change.get("SliceThickness")


def test_no_pitch_no_volume() -> None:
    with pytest.raises(MeasurementFailed, match=r"add a row SlicePitch\(mm\)"):
        scan_geometry(header(SlicePitch=None), shape=REMOVED, scanner="Sola")


def test_a_single_slice_has_no_gap() -> None:
    geometry = scan_geometry(header(SlicePitch=None, SliceThickness=8.0), shape=(1, 1, 10, 160, 160), scanner="Vida")
    assert (geometry.spacing_mm[0], geometry.note) == (8.0, "")


# ---- time


@pytest.mark.parametrize(
    ("scanner", "frames", "change", "seconds", "said"),
    [
        ("Vida", 12, {}, 0.06, ""),
        ("Vida", 12, {"TR": 6.0}, None, "TR 6 ms with 12 frames is no heart cycle"),
        ("Vida", 12, {"TR": None}, None, ""),
        ("Vida", 12, {"TR": None, "HeartRate": 75.0}, 60 / 75 / 12, "frame time from the heart rate"),
        ("UIH_30T_umr780", 12, {"TR": 6.0}, 0.06, "frame time 10 x TR, as for UIH"),
        ("UIH_30T_umr780", 12, {}, 0.06, ""),
        ("UIH_30T_umr780", 12, {"TR": 6.0, "Simulated": "synthetic phantom"}, None, "no heart cycle"),
        ("Vida", 2, {"HeartRate": 60.0}, 0.5, "frame time from the heart rate"),  # ED and ES only
        ("Vida", 1, {}, None, ""),
    ],
)
def test_frame_time(
    scanner: str, frames: int, change: dict[str, InfoValue | None], seconds: float | None, said: str
) -> None:
    geometry = scan_geometry(header(**change), shape=(frames, *REMOVED[1:]), scanner=scanner)
    assert geometry.frame_time_s == (None if seconds is None else pytest.approx(seconds))
    assert said in geometry.note
    assert bool(said) == bool(geometry.note)
