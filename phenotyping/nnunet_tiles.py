"""What does a 2-D network say about many slices at once? Overlapping tiles of all slices go through it in batches.

The sums are nnU-Net's (Isensee et al., Nature Methods 18, 2021, doi 10.1038/s41592-020-01008-z): tiles half a patch
apart, weighted by a Gaussian and added in half precision in nnU-Net's order, so that a label does not depend on what
else is in the batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import torch

Network = Callable[[torch.Tensor], torch.Tensor]

#: tiles at once on a CPU: a few fill the vector units, more only leave the cache
CPU_TILES = 2
MAX_GPU_TILES = 128
#: share of the GPU's free memory for the activations of a batch
GPU_MEMORY_SHARE = 0.5
#: activations of a U-Net in eval mode at one time, in multiples of its first full-resolution feature maps
LIVE_FEATURE_MAPS = 8


@dataclass(frozen=True)
class TilePlan:
    """How slices are cut into tiles.

    Attributes
    ----------
    patch
        Size of a tile, pixels.
    starts
        From the size of a padded slice to the first rows and first columns of its tiles.
    weight
        Of the pixels of a tile, (patch), half precision.
    n_classes
        Channels that the network gives.
    mirror_axes
        Axes of a slice (0 rows, 1 columns) over whose mirror images is averaged; none for speed.
    n_features
        Channels of the network at full resolution: what a batch needs of memory depends on them.
    """

    patch: tuple[int, int]
    starts: Callable[[tuple[int, int]], tuple[Sequence[int], Sequence[int]]]
    weight: torch.Tensor
    n_classes: int
    mirror_axes: tuple[int, ...]
    n_features: int


@torch.inference_mode()
def slice_logits(
    stacks: Sequence[torch.Tensor], networks: Sequence[Network], plan: TilePlan, *, device: torch.device
) -> list[torch.Tensor]:
    """Logits of every slice of every stack, averaged over networks (the folds).

    Parameters
    ----------
    stacks
        (channels, slices, y, x) each, float32; those of equal size in the plane are cut into common batches.
    networks
        From (n, channels, *patch) to (n, classes, *patch), on ``device`` and in eval mode.
    plan, device
        Tiles, and where they are computed.

    Returns
    -------
    (classes, slices, y, x) each, half precision, on the CPU.
    """
    found: dict[int, torch.Tensor] = {}
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, stack in enumerate(stacks):
        by_size.setdefault(tuple(stack.shape[2:]), []).append(index)
    for indices in by_size.values():
        planes = torch.cat([stacks[i] for i in indices], dim=1)
        logits = mean_of_folds([_tiled(planes, network, plan, device) for network in networks])
        found |= zip(indices, logits.split([stacks[i].shape[1] for i in indices], dim=1), strict=True)
    return [found[index] for index in range(len(stacks))]


def mean_of_folds(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean in half precision, added in the order of the folds as nnU-Net does."""
    total = logits[0]
    for more in logits[1:]:
        total += more
    return total / len(logits) if len(logits) > 1 else total


def _tiled(planes: torch.Tensor, network: Network, plan: TilePlan, device: torch.device) -> torch.Tensor:
    """(classes, slices, y, x) of one network: every tile of every slice."""
    padded, rows, columns = _padded(planes, plan.patch)
    n_slices, size = padded.shape[1], (int(padded.shape[2]), int(padded.shape[3]))
    tiles = [(z, y, x) for (y, x), z in product(product(*plan.starts(size)), range(n_slices))]
    weight = plan.weight.to(device)
    keep = device if device.type == "cuda" else torch.device("cpu")
    padded = padded.to(keep)
    total = torch.zeros((plan.n_classes, *padded.shape[1:]), dtype=torch.half, device=keep)
    weights = torch.zeros(size, dtype=torch.half, device=keep)
    for y, x in product(*plan.starts(size)):
        weights[y : y + plan.patch[0], x : x + plan.patch[1]] += weight
    n_at_once = batch_size(plan, device)
    start = 0
    while start < len(tiles):
        batch = tiles[start : start + n_at_once]
        try:
            answers = _answers(padded, batch, network, plan, device)
        except torch.OutOfMemoryError:
            if n_at_once == 1:
                raise
            n_at_once //= 2
            torch.cuda.empty_cache()
            continue
        answers *= weight
        for answer, (z, y, x) in zip(answers, batch, strict=True):
            total[:, z, y : y + plan.patch[0], x : x + plan.patch[1]] += answer
        start += len(batch)
    return torch.div(total, weights, out=total)[:, :, rows, columns].cpu()


def _answers(
    padded: torch.Tensor, batch: Sequence[tuple[int, int, int]], network: Network, plan: TilePlan, device: torch.device
) -> torch.Tensor:
    height, width = plan.patch
    tiles = torch.stack([padded[:, z, y : y + height, x : x + width] for z, y, x in batch]).to(device)
    with torch.autocast("cuda", enabled=device.type == "cuda"):
        answers = network(tiles)
        flips = [axes for n in range(len(plan.mirror_axes)) for axes in combinations(plan.mirror_axes, n + 1)]
        for axes in flips:
            dims = [axis + 2 for axis in axes]
            answers += torch.flip(network(torch.flip(tiles, dims)), dims)
        return answers / (len(flips) + 1) if flips else answers


def _padded(planes: torch.Tensor, patch: tuple[int, int]) -> tuple[torch.Tensor, slice, slice]:
    """Zeros around slices smaller than a tile, and where the slice lies in the result."""
    before, sizes = [], []
    for size, wanted in zip(planes.shape[2:], patch, strict=True):
        before.append(max(0, wanted - size) // 2)
        sizes.append(max(size, wanted))
    (top, left), (height, width) = before, planes.shape[2:]
    around = (left, sizes[1] - width - left, top, sizes[0] - height - top)
    padded = torch.nn.functional.pad(planes, around) if any(around) else planes
    return padded, slice(top, top + height), slice(left, left + width)


def batch_size(plan: TilePlan, device: torch.device) -> int:
    """Tiles at once, by the memory that is free."""
    if device.type != "cuda":
        return CPU_TILES * torch.get_num_threads()
    free, _ = torch.cuda.mem_get_info(device)
    bytes_a_tile = 4 * LIVE_FEATURE_MAPS * plan.n_features * plan.patch[0] * plan.patch[1]
    return max(1, min(MAX_GPU_TILES, int(GPU_MEMORY_SHARE * free / bytes_a_tile)))
