"""Does the shipped network label a heart on any grid and scale, and are bad or malicious weights refused?"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from cohort.records import MeasurementFailed, WeightsProblem
from phenotyping.nnunet import (
    SHIPPED_MODEL,
    load_checkpoint_safely,
    model_identity,
    nnunet_environment,
    nnunet_library,
    segment,
)

SPACING_MM = (8.0, 1.5, 1.5)


def drawn_heart(ny: int = 120, nx: int = 128, *, pixel_mm: tuple[float, float] = (1.5, 1.5)) -> np.ndarray:
    """A short-axis slice as bright blood in a gray ring with a bright crescent beside it, in a gray thorax, (y, x)."""
    y = (np.arange(ny) - ny / 2)[:, None] * pixel_mm[0]
    x = (np.arange(nx) - nx / 2)[None, :] * pixel_mm[1]
    image = np.where((y / 85) ** 2 + (x / 95) ** 2 < 1, 0.35, 0.02)
    image[((y + 5) / 60) ** 2 + ((x - 70) / 25) ** 2 < 1] = 0.05  # lungs
    image[((y + 5) / 60) ** 2 + ((x + 75) / 20) ** 2 < 1] = 0.05
    radius = np.hypot(y, x - 10)
    crescent = (np.hypot(y, (x + 14) * 0.9) < 36) & (radius > 36)
    image[crescent] = 0.95
    image[radius < 34] = 0.25
    image[radius < 24] = 1.0
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def heart() -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, 0.02, (2, 2, 120, 128))
    return np.abs(drawn_heart() + noise).astype(np.float32)


@pytest.fixture(scope="module")
def labels(heart: np.ndarray) -> np.ndarray:
    return segment(heart, spacing_mm=SPACING_MM, device="cpu")


@pytest.fixture
def copied_model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_MODEL, tmp_path / "model"))


def test_labels_are_ours_on_the_grid_of_the_image(heart: np.ndarray, labels: np.ndarray) -> None:
    assert labels.shape == heart.shape
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    y, x = np.nonzero(labels[0, 0] == 1)
    assert abs(y.mean() - 60) < 4
    assert abs(x.mean() - (64 + 10 / 1.5)) < 4


def test_scale_and_phase_do_not_matter(heart: np.ndarray, labels: np.ndarray) -> None:
    phase = np.exp(1j * np.linspace(0, 3, heart.shape[-1]))
    np.testing.assert_array_equal(segment(heart * 1e-7 * phase, spacing_mm=SPACING_MM, device="cpu"), labels)


def test_whole_field_and_region_around_the_heart_agree(heart: np.ndarray, labels: np.ndarray) -> None:
    whole = segment(heart, spacing_mm=SPACING_MM, device="cpu", whole_field=True)
    np.testing.assert_array_equal(whole[0], labels[0])
    assert (whole == labels).mean() > 0.995


def test_only_one_heart_is_kept(heart: np.ndarray, labels: np.ndarray) -> None:
    """What is labeled is one connected thing, a part of what the network alone would label."""
    everything = segment(heart, spacing_mm=SPACING_MM, device="cpu", largest_only=False)
    for frame, raw in zip(labels, everything, strict=True):
        assert ndimage.label(frame > 0, np.ones((3, 3, 3)))[1] == 1
        np.testing.assert_array_equal(frame[frame > 0], raw[frame > 0])


def test_spacing_is_slice_y_x() -> None:
    """The same heart sampled twice as finely along y is found again, if the spacing says so."""
    image = drawn_heart(240, 128, pixel_mm=(0.75, 1.5))[None, None]
    found = segment(image, spacing_mm=(8.0, 0.75, 1.5), device="cpu")
    y, x = np.nonzero(found[0, 0] == 1)
    assert abs(y.mean() - 120) < 8
    assert abs(x.mean() - (64 + 10 / 1.5)) < 4
    area_mm2 = len(y) * 0.75 * 1.5
    assert area_mm2 == pytest.approx(np.pi * 24**2, rel=0.2)


def test_global_randomness_and_environment_are_left_alone(copied_model: Path, heart: np.ndarray) -> None:
    """A model not loaded before: building the network draws initial weights."""
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), dict(os.environ)  # noqa: NPY002
    segment(heart[:1, :1], spacing_mm=SPACING_MM, model_folder=copied_model, device="cpu")
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == dict(os.environ)


def rename(folder: Path, labels: dict[str, object]) -> Path:
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(description | {"labels": labels}))
    return folder


def reorder(folder: Path, order: list[int]) -> Path:
    """Let the network answer class ``order[n]`` of the shipped one as its class n."""
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = load_checkpoint_safely(path)
    for name, weight in checkpoint["network_weights"].items():
        if "seg_layers" in name:
            checkpoint["network_weights"][name] = weight[order].clone()
    torch.save(checkpoint, path)
    return folder


def test_labels_are_matched_by_name_not_by_number(copied_model: Path, heart: np.ndarray, labels: np.ndarray) -> None:
    """A model in ACDC's order (as nnU-Net's own ACDC data set names it) answers in ours."""
    rename(reorder(copied_model, [0, 3, 2, 1]), {"background": 0, "RV": 1, "MLV": 2, "LVC": 3})
    found = segment(heart, spacing_mm=SPACING_MM, model_folder=copied_model, device="cpu")
    # a voxel where two classes are equally likely may fall to either: sums of another order are rounded in another way
    assert np.count_nonzero(found != labels) <= 1e-4 * labels.size


def test_wrong_order_is_detected_and_the_fitting_map_works(
    copied_model: Path, heart: np.ndarray, labels: np.ndarray
) -> None:
    """Names that lie, as in data sets whose description and files disagree."""
    rename(copied_model, {"background": 0, "RV": 1, "MLV": 2, "LVC": 3})
    options = {"spacing_mm": SPACING_MM, "model_folder": copied_model, "device": "cpu"}
    fitting = '{"RV" = "LV cavity", "MLV" = "myocardium", "LVC" = "RV cavity"}'
    with pytest.raises(MeasurementFailed, match=f"in 2 of 2 volumes.*label_map = {re.escape(fitting)}"):
        segment(heart, **options)
    right = {"RV": "LV cavity", "MLV": "myocardium", "LVC": "RV cavity"}
    np.testing.assert_array_equal(segment(heart, label_map=right, **options), labels)
    np.testing.assert_array_equal(segment(heart, label_map={1: 1, "2": 2, 3: "rv"}, **options), labels)


def test_labels_without_meaning_are_refused_and_can_be_named(
    copied_model: Path, heart: np.ndarray, labels: np.ndarray
) -> None:
    rename(copied_model, {"background": 0, "1": 1, "2": 2, "3": 3})
    options = {"spacing_mm": SPACING_MM, "model_folder": copied_model, "device": "cpu"}
    with pytest.raises(WeightsProblem, match=r"expected labels named LV cavity.*no meaning for 1"):
        segment(heart, **options)
    found = segment(heart, label_map={"1": "LV", "2": "myocardium", "3": "background"}, **options)
    np.testing.assert_array_equal(found, np.where(labels == 3, 0, labels))


def own_answer(folder: Path, volume: np.ndarray, spacing_mm: tuple, *, mirroring: bool) -> np.ndarray:
    """nnU-Net's own prediction of one volume, one tile after the other."""
    library = nnunet_library()
    with nnunet_environment():
        predictor = library.nnUNetPredictor(
            use_mirroring=mirroring, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
        )
        folds = tuple(int(path.name.removeprefix("fold_")) for path in sorted(folder.glob("fold_*")))
        predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
        return predictor.predict_single_npy_array(volume[None], {"spacing": list(spacing_mm)})


@pytest.mark.parametrize(
    ("spacing_mm", "mirroring", "n_folds"),
    [((8.0, 1.5625, 1.5625), True, 1), ((8.0, 1.8, 1.4), False, 2)],
    ids=["mirrored", "resampled, two folds"],
)
def test_batched_labels_are_those_of_nnunet_frame_by_frame(
    copied_model: Path, heart: np.ndarray, spacing_mm: tuple, mirroring: bool, n_folds: int
) -> None:
    """The oracle is nnU-Net's predictor itself, on every frame alone, to the last voxel."""
    if n_folds == 2:  # another network, so that an average is asked for
        shutil.copytree(copied_model / "fold_0", copied_model / "fold_1")
        path = copied_model / "fold_1" / "checkpoint_final.pth"
        checkpoint = load_checkpoint_safely(path)
        checkpoint["network_weights"] = {
            k: 1.02 * w if w.ndim == 4 else w for k, w in checkpoint["network_weights"].items()
        }
        torch.save(checkpoint, path)
    image = 300 * heart[:, :, 8:, :100]
    image[1] *= 0.5
    found = segment(
        image,
        spacing_mm=spacing_mm,
        model_folder=copied_model,
        device="cpu",
        mirroring=mirroring,
        whole_field=True,
        largest_only=False,
    )
    for frame, volume in zip(found, image, strict=True):
        np.testing.assert_array_equal(frame, own_answer(copied_model, volume, spacing_mm, mirroring=mirroring))


def into_3d(folder: Path) -> Path:
    """The folder with a small 3-D network of random weights instead."""
    plans = json.loads((folder / "plans.json").read_text())
    configuration = plans["configurations"].pop("2d") | {"patch_size": [4, 32, 32], "spacing": [8.0, 2.0, 2.0]}
    architecture = configuration["architecture"]
    architecture["arch_kwargs"] |= {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
    }
    plans["configurations"] = {"3d_fullres": configuration}
    (folder / "plans.json").write_text(json.dumps(plans))
    library = nnunet_library()
    manager = library.PlansManager(plans)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = library.nnUNetTrainer.build_network_architecture(
            manager, manager.get_configuration("3d_fullres"), 1, 4, enable_deep_supervision=False
        )
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = load_checkpoint_safely(path)
    checkpoint["init_args"]["configuration"] = "3d_fullres"
    torch.save(checkpoint | {"network_weights": network.state_dict()}, path)
    return folder


def test_3d_models_work_as_nnunet_lets_them(copied_model: Path, heart: np.ndarray) -> None:
    folder = into_3d(copied_model)
    image = np.repeat(heart[:, :1, 30:90, 40:100], 5, axis=1) * np.linspace(0.5, 1, 5)[:, None, None]
    found = segment(
        image,
        spacing_mm=(8.0, 1.5, 1.5),
        model_folder=folder,
        device="cpu",
        largest_only=False,
        check_order=False,
    )
    assert len(np.unique(found)) > 1
    for frame, volume in zip(found, image, strict=True):
        np.testing.assert_array_equal(frame, own_answer(folder, volume, (8.0, 1.5, 1.5), mirroring=False))


@pytest.mark.parametrize("name", ["dataset.json", "plans.json", "fold_0/checkpoint_final.pth"])
def test_incomplete_folder_is_named(copied_model: Path, heart: np.ndarray, name: str) -> None:
    (copied_model / name).unlink()
    with pytest.raises(WeightsProblem, match=r"nnU-Net v2 result folder"):
        segment(heart, spacing_mm=SPACING_MM, model_folder=copied_model)


@pytest.mark.parametrize("name", ["dataset.json", "plans.json", "fold_0/checkpoint_final.pth"])
def test_truncated_file_is_named(copied_model: Path, heart: np.ndarray, name: str) -> None:
    content = (copied_model / name).read_bytes()
    (copied_model / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsProblem, match=Path(name).name):
        segment(heart, spacing_mm=SPACING_MM, model_folder=copied_model)


class Trap:
    """Pickles to a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


def test_checkpoint_that_would_run_code_is_refused(copied_model: Path, heart: np.ndarray, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    path = copied_model / "fold_0" / "checkpoint_final.pth"
    checkpoint = load_checkpoint_safely(path)
    torch.save({**checkpoint, "logging": Trap(trace)}, path)
    with pytest.raises(WeightsProblem, match="refused"):
        segment(heart, spacing_mm=SPACING_MM, model_folder=copied_model)
    assert not trace.exists()


def test_plan_that_names_other_code_is_refused(copied_model: Path, heart: np.ndarray) -> None:
    plans = json.loads((copied_model / "plans.json").read_text())
    plans["configurations"]["2d"]["architecture"]["network_class_name"] = "subprocess.Popen"
    (copied_model / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(WeightsProblem, match=r"refused.*subprocess\.Popen"):
        segment(heart, spacing_mm=SPACING_MM, model_folder=copied_model)


def test_checkpoint_as_nnunet_writes_it_is_read(copied_model: Path) -> None:
    """nnU-Net's own files hold numpy scalars, its arguments and a device."""
    path = copied_model / "fold_0" / "checkpoint_final.pth"
    extra = {"_best_ema": np.float64(0.9), "logging": {"losses": [np.float32(1.0)]}, "device": torch.device("cpu")}
    torch.save(load_checkpoint_safely(path) | extra, path)
    assert load_checkpoint_safely(path)["_best_ema"] == 0.9


def test_images_that_cannot_be_segmented() -> None:
    with pytest.raises(MeasurementFailed, match=r"expects \(frames, slices, y, x\)"):
        segment(np.ones((2, 3, 4)), spacing_mm=SPACING_MM)
    with pytest.raises(MeasurementFailed, match="NaN"):
        segment(np.full((1, 1, 64, 64), np.nan), spacing_mm=SPACING_MM)
    with pytest.raises(MeasurementFailed, match="frame 1 is empty"):
        segment(np.stack([np.ones((1, 64, 64)), np.zeros((1, 64, 64))]), spacing_mm=SPACING_MM)
    with pytest.raises(MeasurementFailed, match="spacing"):
        segment(np.ones((1, 1, 64, 64)), spacing_mm=(8.0, 0.0, 1.5))


def test_identity_follows_the_content(copied_model: Path) -> None:
    shipped = model_identity()
    assert shipped["name"] == "shipped nnU-Net"
    assert model_identity(copied_model)["sha256"] == shipped["sha256"]
    plans = copied_model / "plans.json"
    plans.write_text(plans.read_text() + "\n")
    assert model_identity(copied_model)["sha256"] != shipped["sha256"]


def test_shipped_model_is_small_and_says_its_hash() -> None:
    size = sum(file.stat().st_size for file in SHIPPED_MODEL.rglob("*") if file.is_file())
    assert size < 10e6
    assert model_identity()["sha256"] in (SHIPPED_MODEL / "MODEL_CARD.md").read_text()
