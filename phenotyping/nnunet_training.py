"""How are the shipped segmentation weights made? By nnU-Net's own steps, with its plan edited to a small 2-D one.

Label order in the data set is ours (1 LV cavity, 2 myocardium, 3 RV cavity). Everything runs in this process: no worker
pools, so that it cannot hang on a small machine. The held-out ACDC patients of `cohort.acdc.split` never enter.
"""

import contextlib
import io
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform  # type: ignore[import-untyped]
from batchgeneratorsv2.transforms.utils.random import RandomTransform  # type: ignore[import-untyped]

from cohort.atomic import replacing, write_bytes
from cohort.fingerprint import file_sha256
from cohort.records import ConfigProblem
from phenotyping.nnunet import CHECKPOINT, load_checkpoint_safely, nnunet_environment, nnunet_library
from phenotyping.nnunet_dataset import (
    DATASET,
    Progress,
    plain,
    plan_and_preprocess,
    write_json,
    write_raw_dataset,
)
from phenotyping.nnunet_folds import chosen_folds, held_back_dice, read_splits
from phenotyping.nnunet_plan import CONFIGURATION, SHIPPED_STEPS, checked_plan

STEPS_PER_EPOCH = 50  # nnU-Net changes the learning rate, monitors and saves once an epoch
FOLD_SEED_STEP = 1_000_003


def train_nnunet(
    *,
    acdc: str | Path | None,
    phantoms: int,
    out: str | Path,
    steps: int = SHIPPED_STEPS,
    seed: int,
    threads: int,
    folds: str = "",
    plan: str = "small",
    start_from: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Path:
    """Train a 2-D nnU-Net on the ACDC training split and on phantoms; continue where an earlier call stopped.

    Without folds one network learns from all but a few patients, which are watched. In a cross-validation by patient
    each fold holds a fifth of the patients back, and ``cross_validation.json`` says how well it labels them.

    Parameters
    ----------
    acdc : path or None
        The ACDC folder with ``patient001`` ...; None for phantoms only.
    phantoms : int
        How many synthetic patients to draw; each gives cine frames and mapping images.
    out : path
        Working folder: ``nnUNet_raw``, ``nnUNet_preprocessed``, ``nnUNet_results`` and the result ``model``.
    steps : int
        Optimizer steps of each network (rounded up to whole epochs of 50); by default as many as the shipped weights took.
    seed : int
        Of the phantoms, the monitored patients, the initial weights and the augmentation. Global generators are left as
        they were.
    threads : int
        torch threads.
    folds : str
        ``all``, or the folds to train in this call (``0,1``) of a five-fold cross-validation; empty for none.
    plan : str
        ``small``, nnU-Net's plan edited for a CPU, or ``standard``, its own (for a GPU); trained alike.
    start_from : path or None
        A result folder whose weights the networks begin with, at half the learning rate; None for weights drawn anew.
    device : str
        ``cpu`` or ``cuda``.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    pathlib.Path
        ``out/model``: an nnU-Net v2 result folder (``dataset.json``, ``plans.json``, ``fold_*/checkpoint_final.pth``
        with tensors and plain values only), as `phenotyping.nnunet.segment` takes, which averages the folds.

    Raises
    ------
    ConfigProblem
        Neither ACDC nor phantoms; an unknown plan or fold, or fewer patients than folds; weights to start from that fit
        another plan; or the folder holds a training with other settings.
    """
    numbers, plan_name = chosen_folds(folds), checked_plan(plan)
    if acdc is None and phantoms < 1:
        raise ConfigProblem("nothing to train on: give an ACDC folder, a number of phantoms, or both")
    report: Progress = progress if progress is not None else _silent
    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    begin = _first_checkpoint(Path(start_from)) if start_from is not None else None
    settings: dict[str, Any] = {"acdc": acdc is not None, "phantoms": phantoms, "seed": seed}
    if begin is not None:
        settings |= {"start_from_sha256": file_sha256(begin)}
    _check_same_settings(out / "settings.json", settings | {"plan": plan_name, "cross_validated": bool(numbers)})
    folders = {f"nnUNet_{part}": str(out / f"nnUNet_{part}") for part in ("raw", "preprocessed", "results")}
    with nnunet_environment(**folders), _private_randomness(seed), _torch_threads(threads):
        if not (out / "nnUNet_preprocessed" / DATASET / "done").exists():
            folder = Path(acdc) if acdc is not None else None
            write_raw_dataset(out, folder, phantoms, seed, report, cross_validated=bool(numbers))
            plan_and_preprocess(out, report, plan=plan_name)
        for fold in numbers or (0,):
            stage = f"fold {fold}" if numbers else "train"
            _train(out, fold, steps, device, report, stage=stage, start_from=begin)
            if numbers:
                _validate_fold(out, fold, device)
    return out / "model"


class CardioValTrainer(nnunet_library().nnUNetTrainer):  # type: ignore[misc]
    """nnU-Net's trainer made short: Adam, few epochs, more heart in a batch, undersampling artifacts, safe files."""

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = 2e-3
        self.num_iterations_per_epoch = STEPS_PER_EPOCH
        self.num_val_iterations_per_epoch = 4
        self.oversample_foreground_percent = 0.33
        self.save_every = 2
        self.report: Progress = _silent
        self.stage = "train"
        self.seed = 0

    def configure_optimizers(self) -> tuple[Any, Any]:
        """AdamW and a cosine from `initial_lr` to nearly zero: hundreds of steps do what takes SGD thousands."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=1e-2)
        return optimizer, _CosineByEpoch(optimizer, self.initial_lr, self.num_epochs)

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> Any:
        """nnU-Net's augmentation; blur and low resolution more often, mirroring less (anatomy is not mirrored), artifacts."""
        transforms = nnunet_library().nnUNetTrainer.get_training_transforms(*args, **kwargs)
        more_often = {"GaussianBlurTransform": 0.3, "SimulateLowResolutionTransform": 0.3, "GammaTransform": 0.3}
        for index, item in enumerate(transforms.transforms):
            if isinstance(item, RandomTransform):
                name = type(item.transform).__name__
                item.apply_probability = more_often.get(name, item.apply_probability)
            elif type(item).__name__ == "MirrorTransform":
                transforms.transforms[index] = RandomTransform(item, 0.25)
        added = [RandomTransform(Undersample(), 0.15), RandomTransform(InvertContrast(), 0.05)]
        transforms.transforms[1:1] = added  # after the spatial transform
        return transforms

    def initialize(self) -> None:
        """Let the network answer in float32 also where it computes in bfloat16, so that the loss is exact."""
        super().initialize()
        self.network.register_forward_hook(lambda _module, _inputs, outputs: [output.float() for output in outputs])
        self.half_on_cpu = self.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()

    def train_step(self, batch: dict) -> dict:
        """One optimizer step, reported; in bfloat16 on processors that have it (1.7 times faster)."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half_on_cpu):
            result = super().train_step(batch)
        self.steps_done = getattr(self, "steps_done", self.current_epoch * STEPS_PER_EPOCH) + 1
        self.report(self.stage, self.steps_done, self.num_epochs * STEPS_PER_EPOCH)
        return result

    def on_train_epoch_start(self) -> None:
        """Seed by epoch, so that a resumed training draws what an uninterrupted one would."""
        super().on_train_epoch_start()
        _seed_everything(self.seed + 1000 * self.current_epoch)

    def print_to_log_file(self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True) -> None:
        """Log to the file only."""
        del also_print_to_console
        super().print_to_log_file(*args, also_print_to_console=False, add_timestamp=add_timestamp)

    def plot_network_architecture(self) -> None:
        """Not wanted."""

    def _save_debug_information(self) -> None:
        """Not wanted: it would store the name of the machine."""

    def save_checkpoint(self, filename: str) -> None:
        """Write tensors and plain values only, and never half a file."""
        checkpoint = {
            "network_weights": self.network.state_dict(),
            "optimizer_state": self.optimizer.state_dict(),
            "grad_scaler_state": self.grad_scaler.state_dict() if self.grad_scaler is not None else None,
            "logging": plain(self.logger.get_checkpoint()),
            "_best_ema": plain(self._best_ema),
            "current_epoch": self.current_epoch + 1,
            "init_args": {"configuration": self.configuration_name, "fold": self.fold},
            "trainer_name": "nnUNetTrainer",  # the network is the one that trainer builds: any nnU-Net can load it
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
        }
        _save(checkpoint, Path(filename))

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Continue from a file written by `save_checkpoint`, read without executing code."""
        if isinstance(filename_or_checkpoint, str):
            filename_or_checkpoint = load_checkpoint_safely(filename_or_checkpoint)
        checkpoint = filename_or_checkpoint
        self.network.load_state_dict(checkpoint["network_weights"])
        self.optimizer.load_state_dict(checkpoint["optimizer_state"])
        if self.grad_scaler is not None and checkpoint["grad_scaler_state"] is not None:
            self.grad_scaler.load_state_dict(checkpoint["grad_scaler_state"])
        self.logger.load_checkpoint(checkpoint["logging"])
        self.current_epoch, self._best_ema = checkpoint["current_epoch"], checkpoint["_best_ema"]


class _CosineByEpoch(torch.optim.lr_scheduler.LRScheduler):
    """Learning rate lr/2 (1 + cos(pi epoch/epochs)), set when nnU-Net's trainer says which epoch begins."""

    def __init__(self, optimizer: torch.optim.Optimizer, initial_lr: float, n_epochs: int) -> None:
        self.initial_lr, self.n_epochs = initial_lr, n_epochs
        super().__init__(optimizer)

    def step(self, epoch: int | None = None) -> None:
        """Set the rate of this epoch."""
        part = (epoch or 0) / self.n_epochs
        for group in self.optimizer.param_groups:
            group["lr"] = max(1e-5, 0.5 * self.initial_lr * (1 + math.cos(math.pi * part)))


class Undersample(ImageOnlyTransform):
    """Drop phase-encode lines of the patch outside a fully sampled center, as in an accelerated, zero-filled scan."""

    def get_parameters(self, **data_dict: Any) -> dict:
        """Axis (as mirrored patches have either), lines that are kept."""
        axis = int(torch.randint(1, 3, (1,)))
        n_lines = data_dict["image"].shape[axis]
        acceleration = 1.5 + 3.5 * float(torch.rand(1))
        keep = torch.rand(n_lines) < 1 / acceleration
        if torch.rand(1) < 0.5:  # regular lines instead of random ones
            keep = torch.arange(n_lines) % round(acceleration) == 0
        half = max(4, int(n_lines * (0.05 + 0.05 * float(torch.rand(1)))))
        keep[n_lines // 2 - half : n_lines // 2 + half] = True
        return {"axis": axis, "keep": keep}

    def _apply_to_image(self, img: torch.Tensor, *, axis: int, keep: torch.Tensor) -> torch.Tensor:
        floor = img.amin()
        spectrum = torch.fft.fftshift(torch.fft.fft(img - floor, dim=axis), dim=axis)
        shape = [1] * img.ndim
        shape[axis] = -1
        aliased = torch.fft.ifft(torch.fft.ifftshift(spectrum * keep.view(shape), dim=axis), dim=axis).abs()
        return (aliased + floor).to(img.dtype)


class InvertContrast(ImageOnlyTransform):
    """Dark where it was bright: mapping series have blood darker than myocardium at some delays."""

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        del params
        return -img


def _train(
    out: Path, number: int, steps: int, device: str, report: Progress, *, stage: str, start_from: Path | None
) -> None:
    folder = out / "nnUNet_preprocessed" / DATASET
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    dataset = json.loads((folder / "dataset.json").read_text())
    # far apart, so that no epoch of one fold draws what an epoch of another drew
    seed = json.loads((out / "settings.json").read_text())["seed"] + FOLD_SEED_STEP * number
    trained = out / "nnUNet_results" / DATASET / f"CardioValTrainer__{plans['plans_name']}__{CONFIGURATION}"
    fold = trained / f"fold_{number}"
    earlier = [fold / name for name in ("checkpoint_latest.pth", CHECKPOINT) if (fold / name).exists()]
    _seed_everything(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = CardioValTrainer(
            {**plans, "continue_training": bool(earlier)}, CONFIGURATION, number, dataset, torch.device(device)
        )
        trainer.logger.plot_progress_png = _no_picture
        trainer.num_epochs, trainer.seed, trainer.report = -(-steps // STEPS_PER_EPOCH), seed, report
        trainer.stage = stage
        if start_from is not None:
            trainer.initial_lr *= 0.5
        trainer.initialize()
        if earlier:
            trainer.load_checkpoint(str(earlier[0]))
        elif start_from is not None:
            _load_weights(trainer, start_from)
    if trainer.current_epoch < trainer.num_epochs:
        trainer.run_training()
    _export(fold, out / "model")


def _first_checkpoint(model: Path) -> Path:
    found = sorted(model.glob(f"fold_*/{CHECKPOINT}"))
    if not found:
        raise ConfigProblem(f"{model}: no fold_*/{CHECKPOINT} to start from; give an nnU-Net v2 result folder")
    return found[0]


def _load_weights(trainer: CardioValTrainer, path: Path) -> None:
    weights = load_checkpoint_safely(path)["network_weights"]
    try:
        trainer.network.load_state_dict(weights)
    except RuntimeError as problem:
        raise ConfigProblem(f"{path}: these weights are of another plan than the one that is trained") from problem


def _validate_fold(out: Path, fold: int, device: str) -> None:
    """Add the Dice of the patients that the fold held back to what is known of the others."""
    path, raw = out / "model" / "cross_validation.json", out / "nnUNet_raw" / DATASET
    known = json.loads(path.read_text()) if path.exists() else {}
    cases = read_splits(raw)[fold]["val"]
    known[f"fold_{fold}"] = held_back_dice(raw, out / "model", cases, fold=fold, device=device)
    write_json(path, dict(sorted(known.items())))


def _save(content: dict[str, Any], path: Path) -> None:
    """Whole or not at all; through a stream, since torch writes the name of a file into it, and a temporary one is random."""
    with replacing(path) as partial, partial.open("wb") as stream:
        torch.save(content, stream)


def _export(fold: Path, target: Path) -> None:
    """The result folder to ship: weights without the optimizer, plans and data set description."""
    checkpoint = load_checkpoint_safely(fold / CHECKPOINT)
    kept = ("network_weights", "init_args", "trainer_name", "inference_allowed_mirroring_axes", "current_epoch")
    _save({name: checkpoint[name] for name in kept}, target / fold.name / CHECKPOINT)
    for name in ("plans.json", "dataset.json"):
        write_bytes(target / name, (fold.parent / name).read_bytes())


def _check_same_settings(path: Path, settings: dict[str, Any]) -> None:
    before_there_was_a_choice = {"plan": "small", "cross_validated": False}
    if path.exists() and before_there_was_a_choice | json.loads(path.read_text()) != settings:
        stored = " ".join(path.read_text().split())
        raise ConfigProblem(f"{path.parent} holds a training with other settings ({stored}); choose another folder")
    write_json(path, settings)


def _no_picture(output_folder: str) -> None:
    """In place of nnU-Net's progress picture, drawn anew every epoch."""


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def _seed_everything(seed: int) -> None:
    """nnU-Net draws from the global generators: the only place where we touch them, inside `_private_randomness`."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@contextlib.contextmanager
def _private_randomness(seed: int) -> Iterator[None]:
    """Seed the global generators, and give them back as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        _seed_everything(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
