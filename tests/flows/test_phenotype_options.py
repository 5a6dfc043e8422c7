"""Do options, conventions and doubts of the header reach the numbers, the keys and the record of a run?"""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import flows.phenotype_series
from cohort.images import read_labels, write_image
from cohort.records import ConfigProblem, MeasurementFailed
from flows.cli import app
from flows.config import Phenotyping, Segmentation
from flows.phenotype import phenotype
from flows.phenotype_inputs import find_images
from flows.phenotype_options import PhenotypeOptions, conventions_of, label_map_of, options_of
from flows.phenotype_series import series_key
from phenotyping.topology import repair

OPTIONS = PhenotypeOptions(study="study", center="local", model_folder=None, label_map={}, device="cpu")
SPACING = (8.0, 2.0, 2.0)


def heart(*, papillary: bool = False) -> NDArray[np.uint8]:
    """(2 frames, 6 slices, y, x): a cylinder that contracts, the right ventricle at the left."""
    y, x = np.mgrid[:60, :60] - 29.5
    frames = []
    for inner in (10, 7):
        labels = np.zeros((60, 60), np.uint8)
        labels[(np.hypot(y, x + 14) < inner + 4) & (x < 0)] = 3
        labels[np.hypot(y, x) < 14] = 2
        labels[np.hypot(y, x) < inner] = 1
        if papillary:
            labels[np.hypot(y, x - 3) < 2] = 2
        frames.append([labels] * 6)
    return np.array(frames)


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    root.mkdir()
    image = np.array([20.0, 200, 90, 180])[heart()].astype(np.float32)
    write_image(root / "cine.nii.gz", image, spacing_mm=SPACING, sidecar={})
    return root


@pytest.fixture
def labeled(monkeypatch: pytest.MonkeyPatch) -> Callable[[NDArray[np.uint8]], None]:
    """Sets what the network answers."""

    def answer(labels: NDArray[np.uint8]) -> None:
        monkeypatch.setattr(flows.phenotype_series, "segment", lambda *_, **__: labels)

    answer(heart())
    return answer


Answer = Callable[[NDArray[np.uint8]], None]


def values(table: pd.DataFrame) -> pd.Series:
    return table.set_index("phenotype")["value"]


@pytest.mark.usefixtures("labeled")
@pytest.mark.parametrize("label_map", [{1: "LV cavity"}, {1: "LV cavity", "LVC": 1, "3": 3}])
def test_a_run_with_a_label_map(cine: Path, tmp_path: Path, label_map: dict[str | int, Any]) -> None:
    options = replace(OPTIONS, label_map=label_map)
    summary = phenotype(cine, tmp_path / "out", options=options)
    assert summary.exit_status == 0
    record = tomllib.loads((tmp_path / "out" / "run.toml").read_text())["phenotype"]
    assert record["label_map"] == {str(theirs): ours for theirs, ours in label_map.items()}
    with pytest.raises(ConfigProblem, match="twice"):
        replace(OPTIONS, label_map={1: "LV cavity", "1": "RV cavity"})


def test_a_slice_order_that_there_is_not() -> None:
    with pytest.raises(ConfigProblem, match="expected anatomy, base_first, apex_first, got 'base'"):
        replace(OPTIONS, slice_order="base")  # type: ignore[arg-type]


def test_atria_are_kept_and_not_measured(cine: Path, labeled: Answer, tmp_path: Path) -> None:
    plain = phenotype(cine, tmp_path / "plain", options=OPTIONS)
    with_atria = heart()
    with_atria[:, :, 2:8, 2:8] = 4
    with_atria[:, :, 50:55, 2:8] = 5
    labeled(with_atria)
    for name, options in (("atria", OPTIONS), ("mended", replace(OPTIONS, topology_repair=True))):
        summary = phenotype(cine, tmp_path / name, options=options)
        kept = read_labels(tmp_path / name / "cine" / "labels.nii.gz", atria=True)[0]
        np.testing.assert_array_equal(kept, with_atria)
        pd.testing.assert_series_equal(values(summary.measurements), values(plain.measurements))
        assert summary.series["status"].tolist() == ["measured"]


def test_conventions_reach_the_numbers_and_the_record(cine: Path, labeled: Answer, tmp_path: Path) -> None:
    labeled(heart(papillary=True))
    plain = phenotype(cine, tmp_path / "out", options=OPTIONS)
    filled = replace(OPTIONS, conventions=Phenotyping(papillary="holes_filled"), slice_order="base_first")
    other = phenotype(cine, tmp_path / "out", options=filled)
    assert values(other.measurements)["lv_edv_ml"] > values(plain.measurements)["lv_edv_ml"]
    record = tomllib.loads((tmp_path / "out" / "run.toml").read_text())["phenotype"]
    assert (record["conventions"]["papillary"], record["slice_order"]) == ("holes_filled", "base_first")
    manifest = (tmp_path / "out" / "cine" / "series.json").read_text()
    assert '"slice_order": "base_first"' in manifest


def test_mended_labels_warn(cine: Path, labeled: Answer, tmp_path: Path) -> None:
    torn = heart()
    torn[:, 2, 28:31, 40] = 0  # a hole in the wall
    torn[:, 3, 2:4, 2:4] = 3
    labeled(torn)
    summary = phenotype(cine, tmp_path / "out", options=replace(OPTIONS, topology_repair=True))
    written = read_labels(tmp_path / "out" / "cine" / "labels.nii.gz")[0]
    np.testing.assert_array_equal(written, repair(torn, spacing_mm=SPACING).labels)
    assert (written != torn).any()
    assert summary.measurements["reason"].str.contains("labels repaired: ").all()


@pytest.mark.usefixtures("labeled")
def test_a_doubtful_voxel_size_warns_where_it_matters(cine: Path, tmp_path: Path) -> None:
    path = cine / "cine.nii.gz"
    stated = phenotype(cine, tmp_path / "stated", options=OPTIONS).measurements
    assert set(stated["geometry"]) == {"stated"}
    nifti = nibabel.Nifti1Image.from_bytes(nibabel.load(path).to_bytes())
    nifti.header.set_xyzt_units("unknown", "sec")
    nibabel.save(nifti, path)
    doubted = phenotype(cine, tmp_path / "doubted", options=OPTIONS).measurements.set_index("phenotype")
    assert set(doubted["geometry"]) == {"assumed"}
    warned = doubted["reason"].str.contains("voxel size assumed: the NIfTI names no unit of length")
    assert warned[["lv_edv_ml", "rv_esv_ml", "lv_mass_g", "max_wall_thickness_mm"]].all()
    assert not warned["lv_ef_percent"]
    assert doubted.loc["lv_edv_ml", "status"] == "warn"


def test_nothing_is_said_of_the_voxels_of_what_failed(
    cine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise MeasurementFailed("no heart")

    monkeypatch.setattr(flows.phenotype_series, "segment", stop)
    table = phenotype(cine, tmp_path / "out", options=OPTIONS).measurements
    assert set(table["geometry"]) == {""}
    assert set(table["status"]) == {"failed"}


def test_whatever_decides_the_numbers_is_in_the_key(cine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(options: PhenotypeOptions = OPTIONS) -> str:
        (series,), _ = find_images(cine, modality="cine")
        return series_key(series, cine, options)

    keys = [
        key(),
        key(replace(OPTIONS, conventions=Phenotyping(rv_phases="own"))),
        key(replace(OPTIONS, conventions=Phenotyping(motion_correction=True))),
        key(replace(OPTIONS, topology_repair=True)),
        key(replace(OPTIONS, slice_order="apex_first")),
        key(replace(OPTIONS, label_map={"1": 1})),
    ]
    (cine / "cine.nii.gz").rename(cine / "P_frame01.nii.gz")
    (cine / "cine.json").unlink()
    keys.append(key())
    (cine / "P_frame01.json").write_text('{"heart_rate_bpm": 60}')  # beside one frame of ACDC's layout
    keys.append(key())
    monkeypatch.setattr(flows.phenotype_series, "MEASUREMENT_VERSION", -1)
    keys.append(key())
    monkeypatch.setattr(flows.phenotype_series, "SEGMENTATION_VERSION", -1)
    keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key(replace(OPTIONS, label_map={1: 1})) == key(replace(OPTIONS, label_map={"1": 1}))
    assert key(replace(OPTIONS, device="cuda")) == keys[-1], "where it is computed decides nothing"


def test_conventions_of_a_configuration(tmp_path: Path) -> None:
    table = tomllib.loads(
        """
        [study]
        name = "a validation"
        [phenotypes]
        papillary = "convex_hull"
        [segmentation]
        model_folder = "nnunet"
        label_map = { 1 = "RV cavity" }
        [statistics]
        alpha = 0.025
        """
    )
    conventions, segmentation = conventions_of(table, base=tmp_path, origin="x.toml")
    assert conventions == Phenotyping(papillary="convex_hull")
    assert segmentation == Segmentation(model_folder=str(tmp_path / "nnunet"), label_map={"1": "RV cavity"})
    assert conventions_of({}, base=tmp_path, origin="x.toml") == (Phenotyping(), Segmentation())


def test_what_is_typed_goes_before_a_configuration(tmp_path: Path) -> None:
    table = {"segmentation": {"model_folder": "a", "label_map": {"1": "RV cavity"}, "topology_repair": True}}

    def made(model: Path | None = None, label_map: tuple[str, ...] = ()) -> PhenotypeOptions:
        given = {"base": tmp_path, "origin": "x", "study": "s", "center": "c", "device": "cpu"}
        return options_of(table, **given, model=model, label_map=label_map, slice_order="apex_first")  # type: ignore[arg-type]

    plain = made()
    assert (plain.model_folder, plain.label_map) == (tmp_path / "a", {"1": "RV cavity"})
    assert (plain.topology_repair, plain.slice_order, plain.study) == (True, "apex_first", "s")
    assert made(label_map=("2=LV cavity",)).label_map == {"2": "LV cavity"}
    other = made(model=Path("b"))
    assert (other.model_folder, other.label_map) == (Path("b"), {})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"phenotype": {}}, r"x.toml: unknown section phenotype; known are .*phenotypes"),
        ({"phenotypes": {"papilary": "x"}}, r"x.toml: \[phenotypes\]: unknown key papilary"),
        ({"phenotypes": {"papillary": "none"}}, "phenotypes.papillary: expected as_segmented"),
        ({"segmentation": {"topology_repair": "yes"}}, "expected bool, got 'yes'"),
    ],
)
def test_configurations_that_mean_nothing(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        conventions_of(table, base=tmp_path, origin="x.toml")


def test_the_command_reads_a_configuration(cine: Path, labeled: Answer, tmp_path: Path) -> None:
    labeled(heart(papillary=True))
    config, out = tmp_path / "study.toml", tmp_path / "out"
    config.write_text('[phenotypes]\npapillary = "holes_filled"\n[segmentation]\ntopology_repair = true\n')
    call = ["phenotype", str(cine), "--out", str(out), "--device", "cpu", "--config", str(config)]
    done = CliRunner().invoke(app, [*call, "--slice-order", "base_first"])
    assert done.exit_code == 0, done.output
    record = tomllib.loads((out / "run.toml").read_text())["phenotype"]
    assert record["conventions"]["papillary"] == "holes_filled"
    assert (record["slice_order"], record["topology_repair"]) == ("base_first", True)
    wrong = CliRunner().invoke(app, [*call, "--slice-order", "base"])
    assert isinstance(wrong.exception, ConfigProblem)


def test_label_maps_as_typed() -> None:
    assert label_map_of(["1=RV cavity", "LVC = 1"]) == {"1": "RV cavity", "LVC": "1"}
    for wrong, message in ((["1"], "expected THEIRS=OURS"), (["1=2", "1=3"], "given twice")):
        with pytest.raises(ConfigProblem, match=message):
            label_map_of(wrong)
