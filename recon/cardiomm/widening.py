"""With which weights does a network of neighboring images start, if there is a trained one of single images?"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

FIRST: Final = "model.unet.feat_extract.weight"
LAST: Final = "model.unet.conv_last.weight"
"""Convolutions of a cascade that take and give the stack: real parts of all images, then imaginary parts of all."""
PREFIX: Final = "cascades."


def widened(weights: Mapping[str, Tensor], *, n_adjacent: int) -> dict[str, Tensor]:
    """Weights of a network of single images for one of stacks, which treats the middle image as before.

    The first convolution of each cascade ignores the neighbors until training tells it otherwise. The last one gives every
    image of the stack the cleaned middle one: neighbors look alike, and what was measured of them overwrites it where it was
    measured. Normalization is over the stack: unequal neighbors change the mean and the deviation by which the middle image is scaled.

    Parameters
    ----------
    weights
        State of a ``CardioMM`` with ``n_adjacent`` 1.
    n_adjacent
        Images in a stack, odd.

    Returns
    -------
    dict
        The same names; weights without a stack are those given.

    Raises
    ------
    ValueError
        The weights are of stacks already, or the stack would have no middle.
    """
    if n_adjacent < 1 or n_adjacent % 2 == 0:
        raise ValueError(f"expected an odd number of adjacent images, got {n_adjacent}")
    middle = n_adjacent // 2
    wider = dict(weights)
    for name, weight in weights.items():
        if not name.startswith(PREFIX):
            continue
        if name.endswith(FIRST):
            if weight.shape[1] != 2:
                raise ValueError(f"{name}: expected 2 channels, of single images, got {weight.shape[1]}")
            stacked = torch.zeros(len(weight), 2, n_adjacent, *weight.shape[2:], dtype=weight.dtype)
            stacked[:, :, middle] = weight
            wider[name] = stacked.flatten(1, 2)
        elif name.endswith(LAST):
            wider[name] = weight.repeat_interleave(n_adjacent, dim=0)
    return wider
