"""Are text encoders read from a local folder, offline and without running code, and do they give what is defined?

The folders hold tiny models of random weights, saved here in the layout of the published ones.
"""

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cohort.records import ConfigProblem
from recon.cardiomm import encoders
from recon.cardiomm.encoders import (
    ClipEncoder,
    SentenceEncoder,
    check_width,
    encoder_from_folder,
    importable_transformers,
)
from recon.cardiomm.prompts import metadata_text, undersampling_text

VIDA = {"field_t": 3.0, "vendor": "Siemens", "scanner": "Vida", "modality": "cine", "view": "short-axis"}
TEXTS = [metadata_text(VIDA), undersampling_text("ktRadial", 24), "word " * 200]
LETTERS = [chr(c) for c in range(33, 127)]
TINY = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}

pytest.importorskip("transformers", reason="needs the extra 'clip'")


def seeded(make: Callable[[], Any]) -> Any:
    """A model of random weights; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make()


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP, 12 numbers a text."""
    folder = tmp_path_factory.mktemp("clip")
    words = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    ends = {"eos_token_id": len(words) - 1, "bos_token_id": len(words) - 2}
    text = {**TINY, **ends, "vocab_size": len(words), "projection_dim": 12}
    vision = {**TINY, "image_size": 32, "patch_size": 16}
    with importable_transformers() as get:
        config = get("CLIPConfig")(text_config=text, vision_config=vision, projection_dim=12)
        seeded(lambda: get("CLIPModel")(config)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder of 384 numbers."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    with importable_transformers() as get:
        shape = TINY | {"hidden_size": 384, "max_position_embeddings": 64, "vocab_size": len(words)}
        seeded(lambda: get("BertModel")(get("BertConfig")(**shape))).save_pretrained(folder)
    return folder


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a folder with some files changed."""

    def change(folder: Path, **files: Callable[[bytes], bytes] | None) -> Path:
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in folder.iterdir():
            action = files.get(file.stem, bytes)
            if action is not None:
                (copy / file.name).write_bytes(action(file.read_bytes()))
        return copy

    return change


# --- law


@pytest.mark.parametrize("kind", ["clip_folder", "bert_folder"])
def test_neighbors_and_padding_change_no_text(kind: str, request: pytest.FixtureRequest) -> None:
    encoder = encoder_from_folder(request.getfixturevalue(kind))
    vectors = encoder(TEXTS)
    assert vectors.shape == (3, 12 if kind == "clip_folder" else 384)
    assert vectors.shape[1] == encoder.width
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(encoder(TEXTS[1:2]), vectors[1:2], atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    # another reading gives the same numbers
    np.testing.assert_array_equal(encoder_from_folder(request.getfixturevalue(kind))(TEXTS), vectors)


def test_random_states_and_settings_are_left_alone(clip_folder: Path, bert_folder: Path) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    for folder in (clip_folder, bert_folder):
        encoder_from_folder(folder)(TEXTS)
    np.testing.assert_array_equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index] # noqa: NPY002
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


# --- definition: from the model's own outputs


def test_clip_gives_the_projected_feature_of_the_last_token(clip_folder: Path) -> None:
    with importable_transformers() as get:
        tokens = get("AutoTokenizer").from_pretrained(clip_folder)(TEXTS[1:2], return_tensors="pt")
        whole = get("CLIPModel").from_pretrained(clip_folder).eval()
    with torch.no_grad():
        hidden = whole.text_model(input_ids=tokens["input_ids"]).last_hidden_state[0, -1]
        expected = whole.text_projection(hidden)
    np.testing.assert_allclose(ClipEncoder(clip_folder)(TEXTS[1:2])[0], expected, atol=1e-5)


def test_sentence_vector_is_the_mean_over_its_words(bert_folder: Path) -> None:
    with importable_transformers() as get:
        tokenizer = get("AutoTokenizer").from_pretrained(bert_folder)
        model = get("AutoModel").from_pretrained(bert_folder).eval()
    with torch.no_grad():
        for text, vector in zip(TEXTS[:2], SentenceEncoder(bert_folder)(TEXTS[:2]), strict=True):
            words = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
            np.testing.assert_allclose(vector, model(**words).last_hidden_state[0].mean(dim=0), atol=1e-5)


# --- which encoder, and what is refused


def test_the_folder_says_which_encoder(clip_folder: Path, bert_folder: Path, tmp_path: Path) -> None:
    assert isinstance(encoder_from_folder(clip_folder), ClipEncoder)
    assert isinstance(encoder_from_folder(str(bert_folder)), SentenceEncoder)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match=r"expected a text encoder, model_type clip, .*bert.*got 'gpt2'"):
        encoder_from_folder(tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match="expected JSON with a model_type"):
            encoder_from_folder(tmp_path)


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a local copy of openai/clip-vit-base-patch16"):
        ClipEncoder(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="expected a local copy of a sentence encoder"):
        SentenceEncoder(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        encoder_from_folder(tmp_path)


def test_pickled_weights_are_not_read(bert_folder: Path, changed: Callable[..., Path]) -> None:
    folder = changed(bert_folder, model=None)
    target = folder / "code_was_run"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(target),)

    torch.save({"evil": Malicious()}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        encoder_from_folder(folder)
    assert not target.exists()


def test_code_in_a_folder_is_not_run(bert_folder: Path, changed: Callable[..., Path]) -> None:
    def point_to_code(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | {"auto_map": {"AutoModel": "own.Model"}}).encode()

    folder = changed(bert_folder, config=point_to_code)
    (folder / "own.py").write_text("raise SystemExit('code was run')")
    # the library's own class serves; the code beside it does not
    np.testing.assert_array_equal(SentenceEncoder(folder)(TEXTS), SentenceEncoder(bert_folder)(TEXTS))


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_lacking_are_not_made_up(clip_folder: Path, changed: Callable[..., Path]) -> None:
    from safetensors.torch import load, save

    def without_projection(content: bytes) -> bytes:
        return save({k: v for k, v in load(content).items() if "text_projection" not in k}, {"format": "pt"})

    with pytest.raises(ValueError, match=r"weights lack \['text_projection\.weight'\]"):
        ClipEncoder(changed(clip_folder, model=without_projection))


@pytest.mark.parametrize(
    ("pooling", "refused"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, ""),
        ({"pooling_mode": "mean"}, ""),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "pooling_mode_cls_token"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
    ],
)
def test_another_pooling_is_refused(tmp_path: Path, pooling: dict[str, Any], refused: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(pooling))
    if refused:
        with pytest.raises(ValueError, match=f"expected mean pooling.*{refused}"):
            encoders.check_pooling(tmp_path / "config.json")
    else:
        encoders.check_pooling(tmp_path / "config.json")


def test_another_width_is_one_message_that_names_both() -> None:
    check_width(384, 384, encoder="a", network="b")
    with pytest.raises(ConfigProblem, match=r"text encoder MiniLM gives 384 .* network CardioSM\+UT takes 512"):
        check_width(384, 512, encoder="MiniLM", network="CardioSM+UT")


# --- what is installed


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="need the extra 'clip'"):
        ClipEncoder(tmp_path)


def test_an_unusable_torchvision_is_called_absent_and_no_longer_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import utils
    from transformers.utils import import_utils

    before = utils.is_torchvision_available, import_utils.is_torchvision_available
    monkeypatch.setattr(encoders, "torchvision_works", lambda: False)
    with importable_transformers():
        assert not utils.is_torchvision_available()
        assert not import_utils.is_torchvision_available()
        assert not import_utils.is_torchvision_v2_available()
    assert (utils.is_torchvision_available, import_utils.is_torchvision_available) == before
    monkeypatch.setattr(encoders, "torchvision_works", lambda: True)
    with importable_transformers():
        assert (utils.is_torchvision_available, import_utils.is_torchvision_available) == before


@pytest.mark.parametrize(
    ("code", "works"),
    [
        ("", True),
        ("raise RuntimeError('operator torchvision::nms does not exist')", False),
        ("import nothing_of_this_name", False),
        ("from . import half; raise OSError('undefined symbol')", False),
    ],
)
def test_torchvision_works_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, works: bool) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    (package / "half.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert encoders.torchvision_works() is works
        assert ("torchvision" in sys.modules) is works
        assert "torchvision.half" not in sys.modules
    finally:
        sys.modules.pop("torchvision", None)


def test_absent_torchvision_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    assert encoders.torchvision_works()
    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.setattr(sys, "path", [])
    assert encoders.torchvision_works()
