"""Are the names of folders and files of the real cohorts understood?"""

import pytest

from cohort.naming import parse_scanner, parse_stem
from cohort.records import ConfigProblem


@pytest.mark.parametrize(
    ("folder", "vendor", "field_t", "model"),
    [
        ("Siemens_30T_CIMA.X", "Siemens", 3.0, "CIMA.X"),
        ("Siemens_055T_Freemax", "Siemens", 0.55, "Freemax"),
        ("UIH_15T_umr670", "UIH", 1.5, "umr670"),
        ("UIH_50T_Jupiter", "UIH", 5.0, "Jupiter"),
        ("Philips_30T_IngeniaCX", "Philips", 3.0, "IngeniaCX"),
        ("GE_15T_voyager", "GE", 1.5, "voyager"),
    ],
)
def test_scanners(folder: str, vendor: str, field_t: float, model: str) -> None:
    scanner = parse_scanner(folder)
    assert (scanner.vendor, scanner.field_t, scanner.model) == (vendor, field_t, model)


@pytest.mark.parametrize("folder", ["UIH 50T", "UIH_50T", "UIH_50T_", "UIH_50T_umr_Omega", "Siemens", "_30T_Vida", ""])
def test_folders_that_are_no_three_parts(folder: str) -> None:
    with pytest.raises(ConfigProblem, match="is not Vendor_Field_Model"):
        parse_scanner(folder)


@pytest.mark.parametrize("folder", ["UIH_5T_Jupiter", "Siemens_3.0T_Vida", "Siemens_Vida_30T"])
def test_unknown_fields(folder: str) -> None:
    with pytest.raises(ConfigProblem, match="none of 055T, 15T, 30T, 50T"):
        parse_scanner(folder)


@pytest.mark.parametrize(
    ("stem", "modality", "view"),
    [
        ("cine_sax", "cine", "short-axis"),
        ("cine_lax", "cine", "long-axis"),
        ("cine_lax_r2ch", "cine", "long-axis"),
        ("cine_lvot", "cine", "outflow tract"),
        ("cine_rvot", "cine", "outflow tract"),
        ("cine_ot", "cine", "outflow tract"),
        ("cine_ax", "cine", "unknown"),
        ("cine_lv", "cine", "unknown"),
        ("cine_sax_kus_ktGaussian24", "cine", "short-axis"),
        ("T1map", "T1 mapping", "short-axis"),
        ("T1map_lax_4ch", "T1 mapping", "long-axis"),
        ("T1mappost", "T1 mapping post", "short-axis"),
        ("T1rho", "T1 rho mapping", "short-axis"),
        ("T2map", "T2 mapping", "short-axis"),
        ("T2smap", "T2 star mapping", "short-axis"),
        ("T1w", "T1 weighted", "short-axis"),
        ("T2w_lax_2ch", "T2 weighted", "long-axis"),
        ("tagging", "tagging", "short-axis"),
        ("perfusion", "perfusion", "short-axis"),
        ("blackblood", "blackblood", "short-axis"),
        ("lge_sax", "late Gadolinium enhancement", "short-axis"),
        ("lge_lax_3ch", "late Gadolinium enhancement", "long-axis"),
        ("flow2d", "phase contrast", "unknown"),
        ("flow2d_inplane", "phase contrast", "in-plane"),
        ("flow2d_throughplane_m", "phase contrast", "through-plane"),
        ("aorta_sag", "cine", "sagittal aorta"),
        ("aorta_tra", "cine", "transversal aorta"),
    ],
)
def test_files(stem: str, modality: str, view: str) -> None:
    assert parse_stem(stem) == (modality, view)


@pytest.mark.parametrize("stem", ["", "report", "mask", "t1map", "T1mapping", "scan_cine_sax"])
def test_unknown_files(stem: str) -> None:
    with pytest.raises(ConfigProblem, match="begins with no known modality"):
        parse_stem(stem)
