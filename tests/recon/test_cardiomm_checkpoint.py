"""Do networks survive being stored, and is a file that is no network refused in one clear line?"""

import pickle
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cohort.records import WeightsProblem
from recon.cardiomm.checkpoint import (
    OUR_KEYS,
    PUBLISHED_NAMES,
    load_cardiomm,
    read_checkpoint,
    save_cardiomm,
    weights_sha256,
)
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
    assert set(hyper) == {*PUBLISHED_NAMES, *OUR_KEYS}
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


# --- sizes, neighbors, variants


SIZES: dict[str, dict[str, Any]] = {
    "sentence encoder": {"encoder_width": 384},
    "stacked slices": {"n_adjacent": 3},
    "stacked frames": {"n_adjacent": 5, "stacked": "frames"},
    "one phase, uneven widths": {"n_cascades": 1, "n_features": 5, "level_widths": (7, 9, 4), "n_prompts": (1, 4, 2)},
    "other prompts": {"prompt_widths": (3, 8, 1), "prompt_sizes": (5, 3, 1), "embedding_width": 3},
    "other sensitivities": {"sensitivity_features": 6, "sensitivity_level_widths": (4, 10, 4)},
}


@pytest.mark.parametrize("name", SIZES)
def test_any_size_survives_and_runs(tiny_cardiomm: CardioMM, tmp_path: Path, name: str) -> None:
    size = replace(tiny_cardiomm.size, **SIZES[name])
    with torch.random.fork_rng(devices=[]):
        network = CardioMM(size).eval().requires_grad_(False)
    save_cardiomm(tmp_path / "any.ckpt", network, notes={})
    loaded = load_cardiomm(tmp_path / "any.ckpt")
    assert loaded.size == size
    generator = torch.Generator().manual_seed(2)
    given: dict[str, Any] = {
        "masked_kspace": torch.randn(1, size.n_adjacent, 2, 18, 17, generator=generator, dtype=torch.complex64),
        "mask": torch.ones(1, size.n_adjacent, 18, 17, dtype=torch.bool),
        "metadata_embedding": torch.randn(1, size.encoder_width, generator=generator),
        "undersampling_embedding": torch.randn(1, size.encoder_width, generator=generator),
        "n_calibration": 6,
    }
    for family in ("random", "radial"):
        image = loaded(**given, family=family)
        assert image.shape == (1, 18, 17)
        np.testing.assert_allclose(image, network(**given, family=family), atol=1e-5 * float(image.max()))


def test_published_layout_of_stacked_slices(tiny_cardiomm: CardioMM, tmp_path: Path) -> None:
    """The release's name for it, twice three channels in and out of every phase, and nothing else of another shape."""
    paths = {n: tmp_path / f"{n}.ckpt" for n in (1, 3)}
    for n, path in paths.items():
        save_cardiomm(path, CardioMM(replace(tiny_cardiomm.size, n_adjacent=n)), notes={})
    single, stacked = (read_checkpoint(path) for path in paths.values())
    assert stacked["hyper_parameters"]["num_adj_slices"] == 3
    assert stacked["state_dict"].keys() == single["state_dict"].keys()
    different = {
        name.removeprefix("metausunetlight."): tuple(value.shape)
        for name, value in stacked["state_dict"].items()
        if value.shape != single["state_dict"][name].shape
    }
    assert different == {
        f"cascades.{i}.model.unet.{name}.weight": shape
        for i in range(2)
        for name, shape in (("feat_extract", (4, 6, 3, 3)), ("conv_last", (6, 4, 5, 5)))
    }
    rewrite(paths[3], lambda c: [c["hyper_parameters"].pop(key) for key in ("stacked", "texts", "embedding_norm")])
    size = load_cardiomm(paths[3]).size
    assert (size.n_adjacent, size.stacked, size.texts, size.embedding_norm) == (3, "slices", "both", "sign")
    rewrite(
        paths[3], lambda c: c["hyper_parameters"].update(adjacent_slices=c["hyper_parameters"].pop("num_adj_slices"))
    )
    assert load_cardiomm(paths[3]).size == size


@pytest.mark.parametrize(
    ("texts", "name"),
    [("both", "CardioMM"), ("undersampling", "CardioSM+UT"), ("metadata", "CardioSM+MT"), ("none", "CardioSM")],
)
def test_variants_are_of_one_size_and_the_checkpoint_says_which(
    tiny_cardiomm: CardioMM, stored: Path, tmp_path: Path, texts: Any, name: str
) -> None:
    save_cardiomm(tmp_path / "variant.ckpt", CardioMM(replace(tiny_cardiomm.size, texts=texts)), notes={})
    loaded = load_cardiomm(tmp_path / "variant.ckpt")
    assert loaded.size.variant_name == name
    shapes = {key: value.shape for key, value in loaded.state_dict().items()}
    assert shapes == {key: value.shape for key, value in load_cardiomm(stored).state_dict().items()}


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
        ({"num_adj_slices": 3}, "size mismatch.*feat_extract"),
        ({"num_adj_slices": 2}, "odd number of adjacent images"),
        ({"num_adj_slices": 0}, "num_adj_slices"),
        ({"stacked": "coils"}, "stacked 'coils' is unknown; expected one of"),
        ({"texts": "disease"}, "texts 'disease' is unknown; expected one of"),
        ({"llm_model_dim": 384}, r"size mismatch.*lm_head_(meta|us)\.fc1\.weight"),
        ({"llm_embd_dim": 16}, "size mismatch"),
        ({"len_prompt": [2, 2, 2]}, "size mismatch.*prompt_level2"),
        ({"prompt_size": [8, 4, 5]}, "size mismatch.*prompt_level3"),
        ({"sens_feature_dim": [4, 4, 4]}, "size mismatch.*sens_net"),
    ],
)
def test_hyper_parameters_that_do_not_fit_are_refused(stored: Path, change: Content, message: str) -> None:
    rewrite(stored, lambda content: content["hyper_parameters"].update(change))
    with pytest.raises(WeightsProblem, match=message) as problem:
        load_cardiomm(stored)
    assert len(str(problem.value).splitlines()) == 1


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
