"""How does one U-Net of CardioMM run fast? Its weights laid out once, what depends only on the texts computed once.

The same function as ``recon.cardiomm.regularizer``, for inference with one pair of texts, in fewer passes over memory:

- weights in one precision, channels beside each other in memory;
- the activation in place, the channel attention and the skip in one pass;
- the 1x1 convolutions around an upsampling commute with it, so they are one, at the coarse resolution;
- gates become a factor and an offset a channel; prompts are mixed, resized and convolved once for each feature size.

Precision: the convolutions and the activations between them are of ``dtype``; standardisation, the attention's numbers
and what leaves the last convolution are single precision.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.cardiomm.regularizer import (
    LEVELS,
    ChannelAttentionBlock,
    MetadataGate,
    NormalizedUNet,
    PromptBlock,
    TextConditionedUNet,
    pad_to_multiple,
)


@dataclass(frozen=True)
class FoldedBlock:
    """A channel-attention block: two convolutions, the slope between them, the attention's two matrices."""

    first: Tensor
    slope: float
    second: Tensor
    squeeze: Tensor
    excite: Tensor

    @classmethod
    def of(cls, block: ChannelAttentionBlock, dtype: torch.dtype) -> "FoldedBlock":
        """Lay out a block's weights."""
        state = block.state_dict()
        return cls(
            laid_out(state["body.0.weight"], dtype),
            float(state["body.1.weight"]),
            laid_out(state["body.2.weight"], dtype),
            state["CA.conv_du.0.weight"].float().flatten(1),
            state["CA.conv_du.2.weight"].float().flatten(1),
        )

    def __call__(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """x + attention(conv(act(conv(x)))); ``skip`` takes the place of the first x."""
        y = functional.leaky_relu_(functional.conv2d(x, self.first, padding=1), self.slope)
        y = functional.conv2d(y, self.second, padding=1)
        means = y.mean(dim=(-2, -1), dtype=torch.float32)
        gate = torch.sigmoid(functional.relu(means @ self.squeeze.T) @ self.excite.T).to(y.dtype)
        return torch.addcmul(x if skip is None else skip, y, gate[:, :, None, None])


@dataclass(frozen=True)
class FoldedLevel:
    """One resolution: what happens on the way down, across and up."""

    encoder: tuple[FoldedBlock, ...]
    down: Tensor
    down_bias: Tensor
    across: tuple[FoldedBlock, ...]
    fuse: tuple[FoldedBlock, ...]
    up: Tensor
    after: FoldedBlock
    conditioned: FoldedBlock
    prompt: PromptBlock
    gate: MetadataGate

    @classmethod
    def of(cls, unet: TextConditionedUNet, level: int, dtype: torch.dtype) -> "FoldedLevel":
        """Lay out the weights of one level."""

        def blocks(name: str) -> tuple[FoldedBlock, ...]:
            return tuple(FoldedBlock.of(cast(ChannelAttentionBlock, b), dtype) for b in unet.get_submodule(name))  # type: ignore[attr-defined]

        down = cast(nn.Conv2d, unet.get_submodule(f"enc_level{level}.down"))
        reduce, up = (
            unet.get_submodule(f"dec_level{level}.{name}").weight.detach().double().flatten(1)  # type: ignore[operator]
            for name in ("reduce", "up.1")
        )
        gate = cast(MetadataGate, unet.get_submodule(f"metacond_level{level}"))
        return cls(
            encoder=blocks(f"enc_level{level}.encoder"),
            down=laid_out(down.weight, dtype),
            down_bias=cast(Tensor, down.bias).detach().to(dtype),
            across=blocks(f"skip_attn{level}.skip_attn"),
            fuse=blocks(f"dec_level{level}.fuse"),
            up=laid_out((up @ reduce)[:, :, None, None], dtype),
            after=FoldedBlock.of(cast(ChannelAttentionBlock, unet.get_submodule(f"dec_level{level}.ca")), dtype),
            conditioned=FoldedBlock.of(gate.block, dtype),
            prompt=cast(PromptBlock, unet.get_submodule(f"prompt_level{level}")),
            gate=gate,
        )


class FoldedUNet:
    """A ``NormalizedUNet`` with its weights laid out; ``steer`` gives what runs."""

    def __init__(self, network: NormalizedUNet, *, dtype: torch.dtype) -> None:
        unet = network.unet
        self.dtype = dtype
        self.entry = laid_out(unet.feat_extract.weight, dtype)
        self.levels = tuple(FoldedLevel.of(unet, level, dtype) for level in range(1, LEVELS + 1))
        self.bottleneck = tuple(FoldedBlock.of(cast(ChannelAttentionBlock, b), dtype) for b in unet.bottleneck)
        self.exit = laid_out(unet.conv_last.weight, dtype)

    def steer(self, metadata: Tensor, undersampling: Tensor) -> "SteeredUNet":
        """Fix the texts: embeddings (1, embedding_width) after their heads."""
        return SteeredUNet(self, metadata, undersampling)


class SteeredUNet:
    """A U-Net under one pair of texts, for any number of images."""

    def __init__(self, folded: FoldedUNet, metadata: Tensor, undersampling: Tensor) -> None:
        self.folded, self.undersampling = folded, undersampling
        self.gates = [gate_of(level.gate, metadata, folded.dtype) for level in folded.levels]
        self._prompts: dict[tuple[int, int], list[Tensor]] = {}

    def __call__(self, image: Tensor) -> Tensor:
        """Clean complex images (batch, n, height, width): standardise, pad, clean, undo."""
        channels = torch.cat([image.real, image.imag], dim=1)
        sd, mean = torch.std_mean(channels, dim=(1, 2, 3), keepdim=True)
        # an image of zeros stays one instead of becoming NaN
        scaled = (channels - mean) / torch.where(sd > 0, sd, torch.ones_like(sd))
        padded, (rows, columns) = pad_to_multiple(scaled, 2**LEVELS)
        folded = self.folded
        laid = padded.to(folded.dtype, memory_format=torch.channels_last)
        cleaned = self.features(laid, self.prompts(padded.shape[-2], padded.shape[-1]))
        out = functional.conv2d(cleaned, folded.exit, padding=2).float()[..., rows, columns] * sd + mean
        real, imag = out.chunk(2, dim=1)
        return torch.complex(real.contiguous(), imag.contiguous())

    def features(self, x: Tensor, prompts: list[Tensor]) -> Tensor:
        """The U-Net before its last convolution."""
        folded = self.folded
        x = functional.conv2d(x, folded.entry, padding=1)
        skips: list[Tensor] = []
        for level in folded.levels:
            x = in_turn(level.encoder, x)
            skips.append(in_turn(level.across, x))
            x = functional.conv2d(x, level.down, level.down_bias, stride=2, padding=1)
        x = in_turn(folded.bottleneck, x)
        for index in range(LEVELS - 1, -1, -1):
            level, (factor, offset) = folded.levels[index], self.gates[index]
            x = torch.cat([x, prompts[index].expand(len(x), -1, -1, -1)], dim=1)
            x = functional.conv2d(in_turn(level.fuse, x), level.up)
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = level.after(x.add_(skips.pop()))
            gated = torch.addcmul(offset, x, factor)
            x = level.conditioned(gated, skip=x.add_(gated))
        return x

    def prompts(self, height: int, width: int) -> list[Tensor]:
        """The prompts of all levels for images of this padded size; computed once."""
        if (height, width) not in self._prompts:
            self._prompts[height, width] = [
                level.prompt(self.undersampling, torch.Size((height >> number, width >> number))).to(
                    self.folded.dtype, memory_format=torch.channels_last
                )
                for number, level in enumerate(self.folded.levels, start=1)
            ]
        return self._prompts[height, width]


def gate_of(gate: MetadataGate, metadata: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Factor and offset (1, channels, 1, 1): (x gamma + beta) g = x (gamma g) + beta g."""
    open_by = torch.sigmoid(gate.fc(metadata))[:, :, None, None]
    return (gate.gamma * open_by).to(dtype), (gate.beta * open_by).to(dtype)


def in_turn(blocks: tuple[FoldedBlock, ...], x: Tensor) -> Tensor:
    """One block after the other."""
    for block in blocks:
        x = block(x)
    return x


def laid_out(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights of a convolution in the wanted precision, channels beside each other."""
    return weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
