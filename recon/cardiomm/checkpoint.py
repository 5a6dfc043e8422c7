"""How is a CardioMM network stored and loaded? Published Lightning checkpoints and ours, without executing code."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from cohort.atomic import replacing
from cohort.fingerprint import file_sha256
from cohort.foreign import check_weights
from cohort.records import WeightsProblem
from recon.cardiomm.network import CardioMM, CardioMMSize, Consistency, EmbeddingNorm, Stacked, Texts

NETWORK_PREFIX = "metausunetlight."
HEAD_PREFIXES = ("lm_head_meta.", "lm_head_us.")
WEIGHTS_FOLDER = Path(__file__).parent / "weights"
SHIPPED_WEIGHTS = WEIGHTS_FOLDER / "cardiomm_small.ckpt"
NO_SUCH_FILE = "no such file; give a CardioMM checkpoint or leave weights out for the shipped ones"

# hyper-parameter names of published checkpoints -> ours
PUBLISHED_NAMES = {
    "num_cascades": "n_cascades",
    "n_feat0": "n_features",
    "feature_dim": "level_widths",
    "prompt_dim": "prompt_widths",
    "sens_n_feat0": "sensitivity_features",
    "sens_feature_dim": "sensitivity_level_widths",
    "sens_prompt_dim": "sensitivity_prompt_widths",
    "len_prompt": "n_prompts",
    "prompt_size": "prompt_sizes",
    "llm_embd_dim": "embedding_width",
    "llm_model_dim": "encoder_width",
    "num_adj_slices": "n_adjacent",
}
OTHER_NAMES = {"adjacent_slices": "num_adj_slices"}
"""Other spellings of a hyper-parameter."""
LARGEST = {"n_cascades": 100, "n_adjacent": 99}
LARGEST_WIDTH = 16384
"""Hyper-parameters beyond these are damage: building such a network would take for ever."""
OUR_KEYS: dict[str, tuple[str, tuple[str, ...]]] = {
    # a checkpoint that does not name its normalisation is a published one
    "embedding_norm": ("sign", get_args(EmbeddingNorm)),
    "texts": ("both", get_args(Texts)),
    "stacked": ("slices", get_args(Stacked)),
    "consistency": ("soft", get_args(Consistency)),
}
"""Hyper-parameters of our own: what a checkpoint without them means, and what they may be."""


def load_cardiomm(path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> CardioMM:
    """Load a network for inference.

    Parameters
    ----------
    path
        A Lightning checkpoint (``state_dict`` and ``hyper_parameters``), published or written by ``save_cardiomm``.
    device
        Where the network shall live.

    Returns
    -------
    CardioMM
        In evaluation mode. A checkpoint that does not name its embedding normalisation is taken as published: ``sign``.

    Raises
    ------
    WeightsProblem
        The file is missing, would execute code, or does not hold this network.
    """
    path = Path(path)
    content = read_checkpoint(path)
    size = checkpoint_size(content, path=path)
    weights = network_weights(content["state_dict"])
    with torch.device("meta"):  # shapes only: no random numbers, and no memory before the weights are known to fit
        network = CardioMM(size)
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False, assign=True)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        first, *others = str(error).splitlines()[1:] or [str(error)]  # torch puts a heading over the list
        more = f" and {len(others)} more" if others else ""
        raise WeightsProblem(path, f"weights do not fit the stated size: {first.strip()[:200]}{more}") from error
    if missing or unexpected:
        raise WeightsProblem(
            path, f"not a CardioMM network of the stated size: lacks {missing[:3]}, has unknown {unexpected[:3]}"
        )
    for name, value in network.state_dict().items():
        if value.layout != torch.strided or not value.is_floating_point():
            raise WeightsProblem(path, f"{name} holds {value.dtype}, {value.layout}; expected floating point numbers")
        if not torch.isfinite(value).all():
            raise WeightsProblem(path, f"{name} holds NaN or infinite values")
    network.float()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            # channels beside each other: the same numbers, 1.3 times faster on CPU
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device).eval().requires_grad_(False)


def save_cardiomm(path: str | os.PathLike[str], network: CardioMM, *, notes: Mapping[str, Any]) -> None:
    """Write a checkpoint in the published layout, atomically.

    ``notes`` (plain types: training data, seed, steps) goes beside the weights under ``cardioval``.
    """
    state = {
        name if name.startswith(HEAD_PREFIXES) else NETWORK_PREFIX + name: value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    size = network.size.to_dict()
    hyper = {published: plain(size[ours]) for published, ours in PUBLISHED_NAMES.items()}
    hyper |= {key: size[key] for key in OUR_KEYS}
    write_checkpoint(Path(path), {"state_dict": state, "hyper_parameters": hyper, "cardioval": dict(notes)})


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Save to a temporary file in the same folder, then rename: a half-written file never bears the name."""
    with replacing(path) as temporary, temporary.open("wb") as stream:  # torch would write the temporary name into it
        torch.save(dict(content), stream)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain types only; anything that would run code is refused."""
    if not path.is_file():
        raise WeightsProblem(path, NO_SUCH_FILE)
    check_weights(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever damaged bytes lead it to
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise WeightsProblem(path, f"not a checkpoint of tensors and plain values ({reason})") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise WeightsProblem(path, "holds no state_dict; expected a Lightning checkpoint of CardioMM")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content["state_dict"].items()):
        raise WeightsProblem(path, "its state_dict holds something else than names with tensors; expected torch.Tensor")
    return content


def checkpoint_size(content: Mapping[str, Any], *, path: Path) -> CardioMMSize:
    """The network's size from the hyper-parameters beside the weights."""
    hyper = content.get("hyper_parameters")
    if not isinstance(hyper, Mapping):
        raise WeightsProblem(path, "holds no hyper_parameters, so the network's size is unknown")
    hyper = {OTHER_NAMES.get(str(name), name): value for name, value in hyper.items()}
    known: dict[str, Any] = {
        ours: tuple(hyper[name]) if isinstance(hyper[name], list | tuple) else hyper[name]
        for name, ours in PUBLISHED_NAMES.items()
        if hyper.get(name) is not None
    }
    default = CardioMMSize()
    for published, ours in PUBLISHED_NAMES.items():
        if ours in known and not same_kind(known[ours], getattr(default, ours)):
            raise WeightsProblem(
                path, f"{published} is {str(hyper[published])[:80]}; expected numbers like {getattr(default, ours)}"
            )
        largest = LARGEST.get(ours, LARGEST_WIDTH)
        if ours in known and np.max(known[ours]) > largest:
            raise WeightsProblem(
                path, f"{published} is {str(hyper[published])[:80]}; no such network has over {largest}"
            )
    for key, (missing, choices) in OUR_KEYS.items():
        known[key] = hyper.get(key, missing)
        if known[key] not in choices:
            raise WeightsProblem(path, f"{key} {known[key]!r} is unknown; expected one of {choices}")
    try:
        return CardioMMSize(**known)
    except ValueError as error:
        raise WeightsProblem(path, str(error)) from error


def same_kind(value: Any, example: int | tuple[int, ...]) -> bool:
    """A positive whole number like the example, or as many of them."""
    if isinstance(example, tuple):
        return isinstance(value, tuple) and len(value) == len(example) and all(same_kind(v, 1) for v in value)
    return type(value) is int and value > 0


def network_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip the Lightning prefixes; leave out the loss window and the frozen text encoder."""
    kept = {}
    for name, value in state.items():
        if name.startswith(NETWORK_PREFIX):
            kept[name.removeprefix(NETWORK_PREFIX)] = value
        elif name.startswith(HEAD_PREFIXES):
            kept[name] = value
    return kept


def weights_sha256(path: str | os.PathLike[str]) -> str:
    """Hash of a weights file, for provenance."""
    if not Path(path).is_file():
        raise WeightsProblem(path, NO_SUCH_FILE)
    return file_sha256(path)


def plain(value: Any) -> Any:
    """Tuples as lists, as published checkpoints hold them."""
    return list(value) if isinstance(value, tuple) else value
