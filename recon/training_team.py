"""How do several processes train one network? What they share, and who writes.

Started by torchrun, a process per GPU (NCCL) or per share of a CPU (gloo). Every process draws its own samples and holds
the same weights; process 0 alone writes files. Without torchrun there is one process and nothing to share.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

BUFFERS = next(  # newer versions of torch have another name for it
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)


@contextmanager
def joined_team(device: str) -> Iterator[str]:
    """Join the processes that torchrun started, if it did; gives the device of this one and leaves them at the end."""
    if not distributed.is_torchelastic_launched() or distributed.is_initialized():
        yield device
        return
    if device == "cuda":
        device = f"cuda:{distributed.get_node_local_rank()}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def tells() -> bool:
    """Whether this process is the one that talks to the user, on its machine."""
    return distributed.get_node_local_rank(fallback_rank=0) == 0


@dataclass(frozen=True)
class Team:
    """The processes of a training: this one's number, and how many there are."""

    rank: int
    size: int
    device: str

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network with gradients that are averaged over all processes."""
        if self.size == 1:
            return network
        unchanged: dict[str, Any] = {BUFFERS: False}  # the prompts stay as they are
        return DistributedDataParallel(
            network,
            device_ids=[torch.device(self.device)] if self.device.startswith("cuda") else None,
            **unchanged,
        )

    def mean(self, value: float) -> float:
        """Mean of a number over all processes, the same in each."""
        return value if self.size == 1 else sum(self.gathered(value)) / self.size

    def told(self, value: float) -> float:
        """The number that the first process has, so that all decide alike by it."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, src=0)
        return float(shared)

    def gathered(self, value: Any) -> list[Any]:
        """What every process has, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            distributed.barrier()


def current_team(device: str) -> Team:
    """The processes that this one has joined, or itself alone."""
    if not distributed.is_initialized():
        return Team(0, 1, device)
    return Team(distributed.get_rank(), distributed.get_world_size(), device)
