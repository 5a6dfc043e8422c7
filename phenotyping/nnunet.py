"""Where in a short-axis image are the cavities and the myocardium? Any nnU-Net v2 model answers; one is shipped.

The only file that imports nnunetv2 (Isensee et al., Nature Methods 18, 2021, doi 10.1038/s41592-020-01008-z). Weights
are read without executing code: the checkpoint by torch's restricted unpickler, the architecture from known modules.
"""

import contextlib
import hashlib
import importlib
import io
import json
import os
import pickle
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.foreign import check_weights
from cohort.records import MeasurementFailed, WeightsProblem
from phenotyping.nnunet_labels import LabelMap, check_model_order, label_table
from phenotyping.nnunet_region import Region, heart_region, largest_part
from phenotyping.nnunet_tiles import TilePlan, mean_of_folds, slice_logits

SHIPPED_MODEL = Path(__file__).with_name("weights")
CHECKPOINT = "checkpoint_final.pth"
TILE_STEP = 0.5  # of a patch, as nnU-Net's command
TRUSTED_MODULES = ("dynamic_network_architectures.architectures.", "torch.nn.")
LOGIT_BYTES = 256 * 2**20  # held at once; a longer series is labeled in several rounds
# normalizations after which the scale of the image is gone
SCALE_FREE = {"ZScoreNormalization", "RescaleTo01Normalization"}


def segment(
    image: NDArray[Any],
    *,
    spacing_mm: tuple[float, float, float],
    model_folder: str | Path | None = None,
    device: str = "auto",
    label_map: LabelMap | None = None,
    folds: Collection[int] | None = None,
    mirroring: bool = False,
    whole_field: bool = False,
    largest_only: bool = True,
    check_order: bool = True,
) -> NDArray[np.uint8]:
    """Label the left ventricle, its myocardium and the right ventricle in every slice of every frame.

    Each frame is one nnU-Net case: normalized, resampled to the model's spacing and brought back to the image's grid by
    nnU-Net's own functions, in memory. The tiles of all slices and frames go through a 2-D network in batches, with the
    labels that nnU-Net gives for each frame alone; a 3-D network takes frame after frame.

    Parameters
    ----------
    image : (frames, slices, y, x)
        Real or complex; only the magnitude counts, at any scale.
    spacing_mm : (float, float, float)
        Slice pitch, y, x.
    model_folder : path, optional
        An nnU-Net v2 result folder (``dataset.json``, ``plans.json``, ``fold_*/checkpoint_final.pth``). The shipped model
        by default.
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda``...
    label_map : mapping, optional
        The model's label names or numbers to ours, where ``dataset.json`` does not say it in known words or says it
        wrongly; see ``phenotyping.nnunet_labels.label_table``. Only with it atria are kept (4 LA, 5 RA).
    folds : collection of int, optional
        Which folds of the model are averaged; all by default.
    mirroring : bool
        Average over mirrored images, as the model allows: better by little, slower by 4.
    whole_field : bool
        Look at the whole field of view in each frame. By default only in the first; in the others of a 2-D model only
        around the heart found there, which is several times faster.
    largest_only : bool
        Keep, in each frame, only the largest connected thing among all labeled (nnU-Net's usual post-processing): there
        is one heart, and what lies elsewhere in the body is an error.
    check_order : bool
        Stop where the anatomy says that the labels have another order; False for a network that has learned nothing yet.

    Returns
    -------
    uint8 (frames, slices, y, x)
        0 background, 1 LV cavity, 2 myocardium, 3 RV cavity.

    Raises
    ------
    MeasurementFailed
        The image has not four axes, is not finite, or a frame is empty; or the labels that are found have another order
        than the model's names or the map say (``phenotyping.nnunet_labels.check_model_order``).
    WeightsProblem
        The folder is no usable nnU-Net result, or a label of it has no known meaning.
    ConfigProblem
        The label map does not fit the model.
    """
    folder = Path(model_folder) if model_folder is not None else SHIPPED_MODEL
    magnitude = _magnitude(image, spacing_mm)
    model = _load_model(
        folder.resolve(), _content_hash(folder), _device(device), None if folds is None else frozenset(folds)
    )
    table = label_table(folder, model.dataset["labels"], label_map)
    scaled = _scaled(magnitude, model)
    labels = np.zeros(magnitude.shape, np.uint8)
    region: Region | None = None
    for frames in _rounds(magnitude.shape, n_classes=model.n_classes, look_first=not whole_field):
        cases = [_preprocess(scaled[frame], spacing_mm, model) for frame in frames]
        logits = _predict(cases, model, region, mirroring=mirroring)
        if frames[0] == 0 and not whole_field and model.is_2d:
            region = heart_region(
                np.asarray(model.label_manager.convert_logits_to_segmentation(logits[0])),
                patch=tuple(model.configuration.patch_size),
                bounding_box=cases[0][1]["bbox_used_for_cropping"],
            )
        for frame, case, answer in zip(frames, cases, logits, strict=True):
            found = table[_to_image_grid(answer, case[1], model)]
            labels[frame] = largest_part(found) if largest_only else found
    if check_order:
        check_model_order(labels, model.dataset["labels"], table)
    return labels


def model_identity(model_folder: str | Path | None = None) -> dict[str, str]:
    """Name and content hash (sha256 over the checkpoints and plans) of a model, for provenance."""
    folder = Path(model_folder) if model_folder is not None else SHIPPED_MODEL
    name = "shipped nnU-Net" if model_folder is None else folder.name
    return {"name": name, "sha256": _content_hash(folder)}


@lru_cache(maxsize=1)
def nnunet_library() -> SimpleNamespace:
    """Everything of nnunetv2 that the project uses; imported on first use, since it takes seconds and may warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
        from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
        from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    return SimpleNamespace(
        DatasetFingerprintExtractor=DatasetFingerprintExtractor,
        ExperimentPlanner=ExperimentPlanner,
        SimpleITKIO=SimpleITKIO,
        to_segmentation=convert_predicted_logits_to_segmentation_with_correct_shape,
        nnUNetPredictor=nnUNetPredictor,
        compute_gaussian=compute_gaussian,
        tile_starts=compute_steps_for_sliding_window,
        nnUNetTrainer=nnUNetTrainer,
        find_trainer=recursive_find_trainer_class_by_name,
        PlansManager=PlansManager,
    )


@contextlib.contextmanager
def nnunet_environment(**variables: str) -> Iterator[None]:
    """Set nnU-Net's environment variables (paths, compile, processes), whatever the user's shell says; then undo."""
    wanted = {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "0", "nnUNet_wandb_enabled": "0", **variables}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def load_checkpoint_safely(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint with tensors, plain types and numpy scalars (as nnU-Net writes); anything else is refused.

    Raises
    ------
    WeightsProblem
        Not there, not a checkpoint, or it would execute code.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsProblem(path, "no such file; expected an nnU-Net v2 checkpoint")
    check_weights(path)
    try:
        with torch.serialization.safe_globals(_harmless_types()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "refused: it holds more than tensors and plain values, and loading it could execute code"
        raise WeightsProblem(path, reason) from error
    except Exception as error:  # torch raises whatever damaged bytes lead it to
        raise WeightsProblem(path, f"not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(checkpoint, dict):
        raise WeightsProblem(path, f"expected a dictionary, got {type(checkpoint).__name__}")
    return checkpoint


def _harmless_types() -> list[Any]:
    """What nnU-Net's own checkpoints hold besides tensors: numpy scalars, under the names of numpy 1 and 2."""
    core = importlib.import_module("numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray")
    names = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
    return [np.dtype, *(type(np.dtype(kind)) for kind in "fdilqB?"), *((core.scalar, name) for name in names)]


@dataclass(frozen=True)
class _Model:
    """A loaded result folder: one predictor a fold."""

    predictors: tuple[Any, ...]
    plans: Any
    configuration: Any
    label_manager: Any
    dataset: dict[str, Any]
    device: torch.device

    @property
    def is_2d(self) -> bool:
        """Whether slices are labeled each by itself."""
        return len(self.configuration.patch_size) == 2

    @property
    def n_classes(self) -> int:
        """Channels of the logits."""
        return int(self.label_manager.num_segmentation_heads)

    def tiles(self, *, mirroring: bool) -> TilePlan:
        """How slices are cut, as nnU-Net would."""
        library, patch = nnunet_library(), tuple(self.configuration.patch_size)
        return TilePlan(
            patch=patch,
            starts=lambda size: tuple(library.tile_starts(size, patch, TILE_STEP)),
            weight=library.compute_gaussian(patch, sigma_scale=1 / 8, value_scaling_factor=10, device=self.device),
            n_classes=self.n_classes,
            mirror_axes=tuple(self.predictors[0].allowed_mirroring_axes or ()) if mirroring else (),
            n_features=int(self.configuration.network_arch_init_kwargs.get("features_per_stage", (32,))[0]),
        )


def _magnitude(image: NDArray[Any], spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    if image.ndim != 4:
        raise MeasurementFailed(f"segmentation expects (frames, slices, y, x), got an image of shape {image.shape}")
    if len(spacing_mm) != 3 or not all(np.isfinite(size) and size > 0 for size in spacing_mm):
        raise MeasurementFailed(f"segmentation expects a spacing (slice pitch, y, x) in mm, got {spacing_mm}")
    magnitude = np.abs(image).astype(np.float32)
    if not np.isfinite(magnitude).all():
        raise MeasurementFailed("segmentation: the image holds NaN or infinity")
    peaks = magnitude.max(axis=(1, 2, 3))
    if not (peaks > 0).all():
        raise MeasurementFailed(f"segmentation: frame {int(np.argmin(peaks))} is empty (all zero)")
    return magnitude


def _scaled(magnitude: NDArray[np.float32], model: _Model) -> NDArray[np.float32]:
    """Values near one, by a power of two: nnU-Net normalizes in float32 and squares; other digits do not change.

    Left alone where the model's normalization needs the scale.
    """
    if not set(model.configuration.normalization_schemes) <= SCALE_FREE:
        return magnitude
    return np.ldexp(magnitude, -int(np.frexp(magnitude.max())[1]))


def _rounds(shape: tuple[int, ...], *, n_classes: int, look_first: bool) -> Iterator[range]:
    """Frames that are labeled together: the first by itself where it tells where the heart is, then as fit in memory."""
    n_frames = shape[0]
    at_once = max(1, LOGIT_BYTES // (2 * n_classes * int(np.prod(shape[1:]))))
    starts = [0, *range(1, n_frames, at_once)] if look_first else [*range(0, n_frames, at_once)]
    for start, stop in pairwise([*starts, n_frames]):
        yield range(start, stop)


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _content_hash(folder: Path) -> str:
    """Hash of all that decides a prediction. Raises WeightsProblem where a part is missing."""
    checkpoints = sorted(folder.glob(f"fold_*/{CHECKPOINT}"))
    files = [folder / "dataset.json", folder / "plans.json", *checkpoints]
    for file in files[:2]:
        if not file.is_file():
            raise WeightsProblem(file, "no such file; an nnU-Net v2 result folder has dataset.json and plans.json")
    if not checkpoints:
        raise WeightsProblem(folder, f"no fold_*/{CHECKPOINT} in it; expected an nnU-Net v2 result folder")
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _load_model(
    folder: Path,
    content_hash: str,  # noqa: ARG001 - part of the key
    device: str,
    folds: frozenset[int] | None,
) -> _Model:
    library = nnunet_library()
    dataset, plans = _read_json(folder / "dataset.json"), _read_json(folder / "plans.json")
    paths = sorted(folder.glob(f"fold_*/{CHECKPOINT}"))
    if folds is not None:
        wanted = {f"fold_{fold}" for fold in folds}
        missing = sorted(wanted - {path.parent.name for path in paths})
        if missing or not wanted:
            raise WeightsProblem(folder, f"expected {', '.join(missing) or 'a fold to use'} with a {CHECKPOINT} in it")
        paths = [path for path in paths if path.parent.name in wanted]
    checkpoints = [load_checkpoint_safely(path) for path in paths]
    try:
        name = checkpoints[0]["init_args"]["configuration"]
        trainer, mirror_axes = checkpoints[0]["trainer_name"], checkpoints[0]["inference_allowed_mirroring_axes"]
        manager = library.PlansManager(plans)
        configuration = manager.get_configuration(name)
        label_manager = manager.get_label_manager(dataset)
        _check_usable(folder, dataset, configuration)
        predictors = []
        for checkpoint in checkpoints:
            network = _build_network(library, trainer, manager, configuration, label_manager)
            network.load_state_dict(checkpoint["network_weights"])
            predictor = _new_predictor(library, device)
            with nnunet_environment():
                predictor.manual_initialization(
                    network, manager, configuration, None, dataset, trainer, tuple(mirror_axes) if mirror_axes else None
                )
            predictor.network = predictor.network.to(predictor.device).eval()
            predictors.append(predictor)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, ImportError, AssertionError) as error:
        raise WeightsProblem(folder, f"plans, dataset and checkpoint do not fit: {error!s:.200}") from error
    return _Model(tuple(predictors), manager, configuration, label_manager, dataset, torch.device(device))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsProblem(path, f"not readable as JSON ({error})") from error
    if not isinstance(content, dict):
        raise WeightsProblem(path, f"expected a JSON object, got {type(content).__name__}")
    return content


def _check_usable(folder: Path, dataset: Mapping[str, Any], configuration: Any) -> None:
    """One input channel, no cascade, and an architecture from modules that are known to be networks only."""
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    if len(channels) != 1:
        raise WeightsProblem(folder, f"the model wants {len(channels)} input channels; a cine or mapping image has one")
    if configuration.previous_stage_name is not None:
        raise WeightsProblem(folder, "the model is the second stage of a cascade; give one that works alone")
    arguments = configuration.network_arch_init_kwargs
    imported = [arguments.get(key) for key in configuration.network_arch_init_kwargs_req_import]
    for name in (configuration.network_arch_class_name, *imported):
        if name is not None and not str(name).startswith(TRUSTED_MODULES):
            raise WeightsProblem(
                folder / "plans.json", f"refused: the architecture names {name!r}, which is no network"
            )


def _build_network(library: SimpleNamespace, trainer: str, manager: Any, configuration: Any, label_manager: Any) -> Any:
    builder = library.nnUNetTrainer
    if trainer != builder.__name__:
        builder = library.find_trainer(trainer)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then overwritten
        return builder.build_network_architecture(
            manager, configuration, 1, label_manager.num_segmentation_heads, enable_deep_supervision=False
        )


def _new_predictor(library: SimpleNamespace, device: str) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it comments on the device
        return library.nnUNetPredictor(
            tile_step_size=TILE_STEP,
            use_gaussian=True,
            use_mirroring=False,
            perform_everything_on_device=device.startswith("cuda"),
            device=torch.device(device),
            allow_tqdm=False,
        )


def _preprocess(
    volume: NDArray[np.float32], spacing_mm: tuple[float, float, float], model: _Model
) -> tuple[torch.Tensor, dict[str, Any]]:
    """nnU-Net's crop, normalization and resampling of one frame (slices, y, x)."""
    preprocessor = model.configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(
        volume[None], None, {"spacing": list(spacing_mm)}, model.plans, model.configuration, model.dataset
    )
    return torch.from_numpy(np.ascontiguousarray(data)), properties


def _predict(
    cases: list[tuple[torch.Tensor, dict[str, Any]]], model: _Model, region: Region | None, *, mirroring: bool
) -> list[torch.Tensor]:
    """Logits (classes, slices, y, x) of each frame on the model's grid, averaged over folds; background outside the
    region, where a frame lies on the region's grid (frames with other empty borders are cropped otherwise)."""
    if not model.is_2d:
        return [mean_of_folds([_whole_volume(one, data, mirroring) for one in model.predictors]) for data, _ in cases]
    within = [
        region if region is not None and region.fits(data.shape, properties["bbox_used_for_cropping"]) else None
        for data, properties in cases
    ]
    parts = [
        data if part is None else data[:, :, part.rows, part.columns]
        for (data, _), part in zip(cases, within, strict=True)
    ]
    networks = [predictor.network for predictor in model.predictors]
    logits = slice_logits(parts, networks, model.tiles(mirroring=mirroring), device=model.device)
    background = None if model.label_manager.has_regions else 0
    return [
        answer if part is None else part.surrounded(answer, background=background)
        for answer, part in zip(logits, within, strict=True)
    ]


def _whole_volume(predictor: Any, data: torch.Tensor, mirroring: bool) -> torch.Tensor:
    predictor.use_mirroring = mirroring
    logits: torch.Tensor = predictor.predict_sliding_window_return_logits(data).cpu()
    return logits


def _to_image_grid(logits: torch.Tensor, properties: dict[str, Any], model: _Model) -> NDArray[np.integer]:
    """nnU-Net's way back: interpolate the logits to the image's grid, choose the class, undo the crop."""
    labels = nnunet_library().to_segmentation(
        logits,
        model.plans,
        model.configuration,
        model.label_manager,
        properties,
        num_threads_torch=torch.get_num_threads(),
    )
    return np.asarray(labels)
