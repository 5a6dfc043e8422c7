"""Which frozen language model turns a sentence into numbers? Read from a local folder; nothing is downloaded.

Published CardioMM networks were trained with the text half of CLIP (512 numbers); sentence encoders of the BERT kind
with mean pooling (384 numbers) are the other possibility. Weights are read from ``safetensors`` only, so that no file
runs code.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import ConfigProblem

EXTRA = "text encoders need the extra 'clip' (pip install 'cardioval[clip]')"
CLIP_MODELS = ("clip", "clip_text_model")
"""``model_type`` of a whole CLIP and of its text half alone."""
SENTENCE_MODELS = ("bert", "mpnet", "roberta", "xlm-roberta", "distilbert", "albert", "electra", "deberta-v2")
POOLING = Path("1_Pooling") / "config.json"
"""Where a sentence encoder says how the vectors of its words become one."""

Vectors = NDArray[np.float32]


def encoder_from_folder(folder: str | Path) -> "ClipEncoder | SentenceEncoder":
    """The encoder that a folder holds, by the ``model_type`` of its ``config.json``.

    Parameters
    ----------
    folder
        With the tokenizer's files, ``config.json`` and ``model.safetensors``.

    Raises
    ------
    FileNotFoundError, OSError
        A file is missing.
    ValueError
        Another kind of model, or one whose sentences are pooled otherwise.
    ImportError
        transformers is not installed.
    """
    kind = model_type(folder)
    if kind in CLIP_MODELS:
        return ClipEncoder(folder)
    if kind in SENTENCE_MODELS:
        return SentenceEncoder(folder)
    raise ValueError(
        f"{folder}: expected a text encoder, model_type {', '.join((*CLIP_MODELS, *SENTENCE_MODELS))}, got {kind!r}"
    )


def model_type(folder: str | Path) -> str:
    """What a folder's ``config.json`` says it is."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected a local copy of a text encoder such as openai/clip-vit-base-patch16"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return str(config["model_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected JSON with a model_type ({error})") from error


class FolderEncoder:
    """Tokenizer and model of a local folder; what the two kinds of encoder share."""

    def __init__(self, folder: str | Path, *, model_class: str, expected: str) -> None:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; expected {expected}")
        with importable_transformers() as get:
            import torch

            local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            self._tokenizer = get("AutoTokenizer").from_pretrained(folder, **local)
            with torch.random.fork_rng(devices=[]), without_progress_bar():
                model, info = get(model_class).from_pretrained(
                    folder, use_safetensors=True, output_loading_info=True, **local
                )
        # what a file lacks is filled with random numbers, which would steer the network at random
        lacking = sorted(str(name) for name in info["missing_keys"] if "pooler" not in str(name))
        if lacking:
            raise ValueError(f"{folder}: weights lack {lacking[:3]}; expected {expected}")
        self._model = model.float().eval()
        stated = int(getattr(self._tokenizer, "model_max_length", 0) or sys.maxsize)
        # a tokenizer that does not know the model's limit states an enormous one
        self._longest = min(stated, int(getattr(self._model.config, "max_position_embeddings", stated)))

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self(["width"]).shape[1])

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Embed sentences: (n, width) float32, not normalised."""
        import torch

        batch = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        )
        with torch.no_grad():
            vectors: Vectors = self._pool(batch).float().numpy()
        return vectors

    def _pool(self, batch: Any) -> Any:
        raise NotImplementedError


class ClipEncoder(FolderEncoder):
    """CLIP's pooled and projected text feature (openai/clip-vit-base-patch16: 512 numbers).

    Parameters
    ----------
    folder
        A folder with the tokenizer's files and the model (``config.json``, ``model.safetensors``); a whole CLIP or its
        text half.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(
            folder,
            model_class="CLIPTextModelWithProjection",
            expected="a local copy of openai/clip-vit-base-patch16",
        )

    def _pool(self, batch: Any) -> Any:
        return self._model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).text_embeds


class SentenceEncoder(FolderEncoder):
    """Mean of the last layer over a sentence's words (sentence-transformers/all-MiniLM-L6-v2: 384 numbers).

    Parameters
    ----------
    folder
        A folder with the tokenizer's files and the model (``config.json``, ``model.safetensors``). Where it says how
        words are pooled (``1_Pooling/config.json``), that must be the mean. A normalisation that may follow in the
        folder is left out: the network has its own.
    """

    def __init__(self, folder: str | Path) -> None:
        check_pooling(Path(folder) / POOLING)
        super().__init__(folder, model_class="AutoModel", expected="a local copy of a sentence encoder")

    def _pool(self, batch: Any) -> Any:
        words = self._model(**batch).last_hidden_state
        # padding is no word
        kept = batch["attention_mask"][..., None].to(words.dtype)
        return (words * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)


def check_pooling(path: Path) -> None:
    """Refuse a sentence encoder that was trained with another pooling than the mean."""
    if path.is_file():
        pooling = json.loads(path.read_text(encoding="utf-8"))
        chosen = sorted(key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True)
        mode = pooling.get("pooling_mode", "mean" if chosen == ["pooling_mode_mean_tokens"] else chosen or "mean")
        if mode != "mean":
            raise ValueError(
                f"{path}: expected mean pooling of the words, got {mode}; use an encoder with mean pooling"
            )


def check_width(encoder_width: int, network_width: int, *, encoder: str, network: str) -> None:
    """Refuse texts of another length than a network was trained with.

    Raises
    ------
    ConfigProblem
        Names both.
    """
    if encoder_width != network_width:
        raise ConfigProblem(
            f"text encoder {encoder} gives {encoder_width} numbers a text, but the network {network} takes "
            f"{network_width}; name the folder of the encoder that it was trained with (CLIP ViT-B/16 gives 512, small "
            "sentence encoders 384)"
        )


@contextmanager
def importable_transformers() -> Iterator[Callable[[str], Any]]:
    """Give names of transformers, also where an unusable torchvision lies beside torch.

    transformers imports torchvision with every model where it finds it, also for texts. A torchvision that does not fit
    torch's build (there is none for CPU builds in some places) raises then. Such a one is called absent while this
    context lasts; one that works is left alone.
    """
    try:
        import transformers
        from transformers.utils import import_utils
    except ImportError as error:
        raise ImportError(f"{EXTRA}: {error}") from error

    def get(name: str) -> Any:
        try:
            return getattr(transformers, name)
        except (ImportError, AttributeError) as error:
            raise ImportError(f"{EXTRA}: {error}") from error

    if torchvision_works():
        yield get
        return
    # both places: other modules take the function from the package, the package's own ones from the module
    places = [
        (module, name) for module in (transformers.utils, import_utils) for name in HIDDEN if hasattr(module, name)
    ]
    kept = [(module, name, getattr(module, name)) for module, name in places]
    try:
        for module, name in places:
            setattr(module, name, lambda: False)
        yield get
    finally:
        for module, name, function in kept:
            setattr(module, name, function)
        for function in vars(import_utils).values():  # answers that were remembered in the meantime
            if callable(getattr(function, "cache_clear", None)):
                function.cache_clear()


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Reading a small file is no reason to write on the terminal."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


HIDDEN = ("is_torchvision_available", "is_torchvision_v2_available")


def torchvision_works() -> bool:
    """Whether torchvision is absent (so that nothing need be hidden) or can be imported; leaves no half of it behind."""
    if "torchvision" in sys.modules:
        return True
    before = set(sys.modules)
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        return error.name == "torchvision"
    except Exception:  # any: a library of another build fails in many ways
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "torchvision":
                del sys.modules[name]
        return False
    return True
