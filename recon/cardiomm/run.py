"""How does CardioMM reconstruct a whole scan? Texts once, frames and coils in batches, neighbors where it wants them."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohort.records import ConfigProblem
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, load_cardiomm, weights_sha256
from recon.cardiomm.encoders import check_width
from recon.cardiomm.engine import FoldedCardioMM, SteeredCardioMM
from recon.cardiomm.memory import coil_images_at_once, frames_at_once
from recon.cardiomm.network import CardioMM, Family
from recon.cardiomm.prompts import FAMILY_OF_PATTERN, TextEncoder, metadata_text, undersampling_text

Precision = Literal["auto", "fp32", "bf16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
GATED = ("cine", "tagging", "phase contrast")
"""Series over one heartbeat, whose last frame is followed by the first; all others end."""
Scan = NDArray[np.complex64]


@torch.inference_mode()
def cardiomm_image(
    masked: Scan,
    mask: NDArray[np.bool_],
    *,
    engine: FoldedCardioMM,
    metadata: Mapping[str, Any],
    device: torch.device,
    shared_maps: bool,
    encoder: TextEncoder,
    slices: Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """CardioMM on every frame of every slice.

    Parameters
    ----------
    masked : complex64 array (frames, slices, coils, ky, kx)
        Zero where the mask samples nothing.
    mask : bool array (frames, ky, kx)
    engine
        From ``engine_of``.
    metadata, shared_maps, encoder, progress
        As in ``recon.inference.reconstruct``.
    slices
        Indices of the slices wanted, None for all; the others serve as neighbors.
    batch_size
        Frames that go through the network together; None chooses by memory.

    Returns
    -------
    float32 array (frames, slices wanted, y, x)
    """
    n_frames, n_slices, n_coils, ny, nx = masked.shape
    size = engine.size
    wanted = range(n_slices) if slices is None else slices
    steered = engine.steer(*embedded(metadata, encoder=encoder, engine=engine, device=device))
    batch = frames_at_once(
        size, n_coils=n_coils, n_pixels=ny * nx, dtype=engine.dtype, device=device, batch_size=batch_size
    )
    maps = CoilMaps(
        masked,
        steered,
        shared=shared_maps,
        device=device,
        coil_images=coil_images_at_once(size, batch),
        n_calibration=int(metadata["n_calibration"]),
        family=cast(Family, FAMILY_OF_PATTERN[str(metadata["pattern"])]),
    )
    image = np.empty((n_frames, len(wanted), ny, nx), dtype=np.float32)
    for position, z in enumerate(wanted):
        for start in range(0, n_frames, batch):
            frames = np.arange(start, min(start + batch, n_frames))
            t, s = neighbors_of(frames, z, engine=engine, shape=masked.shape, metadata=metadata)
            out = steered.magnitude(
                steered.last_kspace(as_rows(masked[t, s], device), as_rows(mask[t], device), maps(t, s))
            )
            image[frames, position] = out.transpose(-1, -2).cpu().numpy()
        progress()
    return image


def neighbors_of(
    frames: NDArray[np.int_],
    z: int,
    *,
    engine: FoldedCardioMM,
    shape: tuple[int, ...],
    metadata: Mapping[str, Any],
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Frames and slices, each (batch, neighbors), that go into the network for these frames of a slice."""
    offsets = np.arange(engine.size.n_adjacent) - engine.size.n_adjacent // 2
    t, s = np.broadcast_arrays(frames[:, None], np.full((1, len(offsets)), z))
    if engine.size.stacked == "frames":
        cyclic = metadata.get("modality") in GATED
        return (frames[:, None] + offsets) % shape[0] if cyclic else (frames[:, None] + offsets).clip(
            0, shape[0] - 1
        ), s
    return t, np.broadcast_to((z + offsets).clip(0, shape[1] - 1), t.shape)


class CoilMaps:
    """Coil sensitivities of frames and slices, each computed once and kept as long as a neighbor may ask for it."""

    def __init__(
        self,
        masked: Scan,
        steered: SteeredCardioMM,
        *,
        shared: bool,
        device: torch.device,
        coil_images: int,
        n_calibration: int,
        family: Family,
    ) -> None:
        self.masked, self.steered, self.shared, self.device = masked, steered, shared, device
        self.options: dict[str, Any] = {"coil_images": coil_images, "n_calibration": n_calibration, "family": family}
        self._kept: dict[tuple[int, int], Tensor] = {}

    def __call__(self, t: NDArray[np.int_], s: NDArray[np.int_]) -> Tensor:
        """Maps (batch, neighbors, coils, nx, ny) of the frames t and slices s, each (batch, neighbors)."""
        keys = [(0 if self.shared else int(frame), int(z)) for frame, z in zip(t.flat, s.flat, strict=True)]
        asked = set(keys)
        self._kept = {key: maps for key, maps in self._kept.items() if key in asked or self._wanted_later(key, asked)}
        self._add([key for key in dict.fromkeys(keys) if key not in self._kept])
        found = [self._kept[key] for key in keys]
        if all(maps is found[0] for maps in found):
            return found[0].expand(*t.shape, -1, -1, -1)
        return torch.stack(found).unflatten(0, t.shape)

    def _wanted_later(self, key: tuple[int, int], asked: set[tuple[int, int]]) -> bool:
        """The next slice needs the maps of its neighbors; the last frame of a heartbeat those of the first ones."""
        size, (frame, z) = self.steered.size, key
        if size.n_adjacent == 1 or not any(z == other for _, other in asked):
            return False
        reach = size.n_adjacent // 2
        return size.stacked == "slices" or not reach <= frame < len(self.masked) - reach

    def _add(self, keys: Sequence[tuple[int, int]]) -> None:
        if not keys:
            return
        if self.shared:
            kspace = np.stack([self.masked[:, z].mean(axis=0) for _, z in keys])
        else:
            kspace = self.masked[[t for t, _ in keys], [z for _, z in keys]]
        self._kept |= zip(keys, self.steered.maps(as_rows(kspace, self.device), **self.options), strict=True)


def as_rows(array: NDArray[Any], device: torch.device) -> Tensor:
    """To the device, (..., ky, kx) -> (..., nx, ny): the network's rows are the readout."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).transpose(-1, -2).contiguous()


def embedded(
    metadata: Mapping[str, Any], *, encoder: TextEncoder, engine: FoldedCardioMM, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Both sentences as (1, encoder_width); one error where encoder and network do not belong together."""
    texts = [metadata_text(metadata), undersampling_text(str(metadata["pattern"]), float(metadata["acceleration"]))]
    vectors = torch.from_numpy(np.array(encoder(texts), dtype=np.float32)).to(device)
    check_width(
        vectors.shape[1],
        engine.size.encoder_width,
        encoder=type(encoder).__name__,
        network=engine.size.variant_name,
    )
    return vectors[:1], vectors[1:]


def network_of(weights: str | os.PathLike[str] | None, *, device: str | torch.device) -> CardioMM:
    """The network of a checkpoint, None for the shipped one; loaded once per process while the file does not change."""
    path = Path(weights or SHIPPED_WEIGHTS)
    return cached_network(str(path), weights_sha256(path), str(device))


def engine_of(
    weights: str | os.PathLike[str] | None, *, device: str | torch.device, precision: Precision = "auto"
) -> FoldedCardioMM:
    """The same network with its weights laid out for fast inference; made once per process."""
    path = Path(weights or SHIPPED_WEIGHTS)
    return cached_engine(str(path), weights_sha256(path), str(device), pick_precision(precision, device=device))


@lru_cache(maxsize=2)
def cached_network(path: str, sha256: str, device: str) -> CardioMM:
    """Load a network once per process; the hash makes a changed file a new one."""
    del sha256
    return load_cardiomm(Path(path), device=device)


@lru_cache(maxsize=2)
def cached_engine(path: str, sha256: str, device: str, dtype: torch.dtype) -> FoldedCardioMM:
    """Lay out a network's weights once per process."""
    return FoldedCardioMM(cached_network(path, sha256, device), dtype=dtype)


def pick_precision(precision: Precision, *, device: str | torch.device) -> torch.dtype:
    """``auto`` -> bfloat16 on a GPU that computes in it, single precision everywhere else.

    On a CPU single precision stays the default also where bfloat16 is several times faster, so that a study gives the
    same numbers on every machine.
    """
    if precision == "auto":
        where = torch.device(device)
        fast = where.type == "cuda" and torch.cuda.get_device_capability(where) >= (8, 0)
        return torch.bfloat16 if fast else torch.float32
    if precision not in DTYPES:
        raise ConfigProblem(f"unknown precision {precision!r}; expected auto, fp32 or bf16")
    return DTYPES[precision]
