"""Do networks survive being stored, and is a file that is no network refused in one clear line?"""

import pickle
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cohort.records import WeightsProblem
from recon.cardiomm.checkpoint import PUBLISHED_NAMES, load_cardiomm, read_checkpoint, save_cardiomm, weights_sha256
from recon.cardiomm.network import CardioMM, CardioMMSize

Content = dict[str, Any]


@pytest.fixture
def stored(tiny_cardiomm: CardioMM, tmp_path: Path) -> Path:
    path = tmp_path / "new folder" / "network.ckpt"
    save_cardiomm(path, tiny_cardiomm, notes={"steps": 3, "data": ["a", "b"]})
    return path


def rewrite(path: Path, change: Callable[[Content], object]) -> None:
    """Change a stored checkpoint in place."""
    content = read_checkpoint(path)
    change(content)
    torch.save(content, path)


# --- round trip


def test_round_trip_keeps_every_weight_and_the_size(tiny_cardiomm: CardioMM, stored: Path) -> None:
    loaded = load_cardiomm(stored)
    assert loaded.size == tiny_cardiomm.size
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())
    expected = tiny_cardiomm.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, value in loaded.state_dict().items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert read_checkpoint(stored)["cardioval"] == {"steps": 3, "data": ["a", "b"]}


def test_half_precision_loads_as_single(tiny_cardiomm: CardioMM, tmp_path: Path) -> None:
    expected = {name: value.clone() for name, value in tiny_cardiomm.state_dict().items()}
    save_cardiomm(tmp_path / "half.ckpt", tiny_cardiomm.half(), notes={})
    for name, value in load_cardiomm(tmp_path / "half.ckpt").state_dict().items():
        assert value.dtype == torch.float32
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-7, err_msg=name)


def test_layout_is_the_published_one(stored: Path, tiny_cardiomm: CardioMM) -> None:
    content = read_checkpoint(stored)
    names = set(content["state_dict"])
    assert {"lm_head_meta.fc1.weight", "lm_head_us.fc2.bias", "metausunetlight.cascades.1.dc_weight"} <= names
    assert "metausunetlight.sens_net.norm_unet.unet.prompt_level2.prompt_param" in names
    assert "metausunetlight.cascades.0.model.unet.enc_level1.encoder.0.CA.conv_du.2.weight" in names
    hyper = content["hyper_parameters"]
    assert set(hyper) == {*PUBLISHED_NAMES, "embedding_norm"}
    assert hyper["feature_dim"] == list(tiny_cardiomm.size.level_widths)


def test_writing_leaves_nothing_else_and_a_readable_file(stored: Path, tiny_cardiomm: CardioMM) -> None:
    save_cardiomm(stored, tiny_cardiomm, notes={})
    assert [file.name for file in stored.parent.iterdir()] == ["network.ckpt"]
    assert stat.S_IMODE(stored.stat().st_mode) & 0o044  # others may read what an installation ships

    class Unsavable:
        def __reduce__(self) -> str:
            raise pickle.PicklingError("no")

    before = weights_sha256(stored)
    with pytest.raises(pickle.PicklingError):
        save_cardiomm(stored, tiny_cardiomm, notes={"bad": Unsavable()})
    assert [file.name for file in stored.parent.iterdir()] == ["network.ckpt"]
    assert weights_sha256(stored) == before


def test_loading_leaves_the_global_random_state_alone(stored: Path) -> None:
    before = torch.get_rng_state()
    load_cardiomm(stored)
    np.testing.assert_array_equal(torch.get_rng_state(), before)


# --- published files


def test_published_file_is_taken_with_signs_and_without_its_extras(shared_data: Path) -> None:
    network = load_cardiomm(shared_data / "cardiomm_parity" / "public_uniform.ckpt")
    assert network.size == CardioMMSize(
        n_cascades=2,
        n_features=8,
        level_widths=(12, 16, 20),
        prompt_widths=(4, 8, 12),
        prompt_sizes=(16, 8, 4),
        sensitivity_features=4,
        sensitivity_level_widths=(8, 12, 16),
        sensitivity_prompt_widths=(4, 4, 8),
        n_prompts=(3, 3, 3),
        embedding_width=32,
        encoder_width=512,
        embedding_norm="sign",
    )


def test_loss_window_and_text_encoder_are_left_out_and_the_norm_defaults_to_signs(stored: Path) -> None:
    def publish(content: Content) -> None:
        content["state_dict"] |= {"loss.w": torch.ones(1, 1, 7, 7), "language_model_no.text.weight": torch.ones(2)}
        del content["hyper_parameters"]["embedding_norm"]
        content["hyper_parameters"] |= {"lr": 2e-4, "num_adj_slices": 1}

    rewrite(stored, publish)
    assert load_cardiomm(stored).size.embedding_norm == "sign"


def test_stacked_neighbor_slices_are_refused(stored: Path) -> None:
    rewrite(stored, lambda content: content["hyper_parameters"].update(num_adj_slices=3))
    with pytest.raises(WeightsProblem, match="only single-slice networks"):
        load_cardiomm(stored)


# --- what is no network


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("place", ["state_dict", "hyper_parameters", "extra"])
def test_a_file_that_would_run_code_is_refused(stored: Path, tmp_path: Path, place: str) -> None:
    target = tmp_path / "code_was_run"
    content = torch.load(stored, weights_only=True)
    content.setdefault(place, {})["evil"] = Malicious(target)
    torch.save(content, stored)
    with pytest.raises(WeightsProblem, match="not a checkpoint of tensors and plain values"):
        load_cardiomm(stored)
    stored.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(WeightsProblem, match="not a checkpoint of tensors and plain values"):
        load_cardiomm(stored)
    assert not target.exists()


def test_missing_and_unknown_weights_are_named(stored: Path) -> None:
    rewrite(stored, lambda content: content["state_dict"].pop("metausunetlight.cascades.1.dc_weight"))
    with pytest.raises(WeightsProblem, match=re.escape("lacks ['cascades.1.dc_weight']")):
        load_cardiomm(stored)
    rewrite(stored, lambda content: content["state_dict"].update({"metausunetlight.fog": torch.ones(1)}))
    with pytest.raises(WeightsProblem, match=re.escape("unknown ['fog']")):
        load_cardiomm(stored)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(stored: Path, value: float) -> None:
    rewrite(stored, lambda content: content["state_dict"]["lm_head_us.fc1.bias"].__setitem__(2, value))
    with pytest.raises(WeightsProblem, match=r"lm_head_us\.fc1\.bias holds NaN or infinite"):
        load_cardiomm(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_feat0": 6}, "size mismatch"),
        ({"num_cascades": 1}, "unknown"),
        ({"num_cascades": "two"}, "num_cascades"),
        ({"num_cascades": 0}, "num_cascades"),
        ({"feature_dim": [6, 8]}, "feature_dim"),
        ({"embedding_norm": "cosine"}, "embedding_norm"),
    ],
)
def test_hyper_parameters_that_do_not_fit_are_refused(stored: Path, change: Content, message: str) -> None:
    rewrite(stored, lambda content: content["hyper_parameters"].update(change))
    with pytest.raises(WeightsProblem, match=message):
        load_cardiomm(stored)


def test_files_of_another_kind_are_refused(stored: Path, tmp_path: Path) -> None:
    hyper = read_checkpoint(stored)["hyper_parameters"]
    cases: dict[str, tuple[Any, str]] = {
        "list": ([1, 2], "no state_dict"),
        "bare": ({"a": torch.ones(1)}, "no state_dict"),
        "sizeless": ({"state_dict": {}}, "no hyper_parameters"),
        "texts": (
            {"state_dict": {"lm_head_us.fc1.bias": "no tensor"}, "hyper_parameters": hyper},
            r"expected torch\.Tensor",
        ),
    }
    for name, (content, message) in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(WeightsProblem, match=message):
            load_cardiomm(tmp_path / name)
    whole = stored.read_bytes()
    for name, damaged in {"empty": b"", "text": b"hello\n", "cut": whole[: len(whole) // 2], "zip": whole[:40]}.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(WeightsProblem, match="not a checkpoint of tensors and plain values"):
            load_cardiomm(tmp_path / name)
    with pytest.raises(WeightsProblem, match="no such file"):
        load_cardiomm(tmp_path / "absent")
    with pytest.raises(WeightsProblem, match="no such file"):
        load_cardiomm(tmp_path)


def test_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-2, example B.1
    assert weights_sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
