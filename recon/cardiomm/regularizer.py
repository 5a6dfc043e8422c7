"""How does one phase of CardioMM clean an image? A text-conditioned U-Net of channel-attention blocks.

The undersampling text chooses a prompt (what the artifacts look like), the metadata text gates the features (what the
image looks like). Source: CardioMM, arXiv 2512.21652; parameter names follow the published checkpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

ENCODER_BLOCKS = (2, 3, 3)
DECODER_BLOCKS = (2, 2, 3)
BOTTLENECK_BLOCKS = 3
LEVELS = 3
"""Three stride-2 levels, so images are padded to multiples of 8."""


SlopeMaker = Callable[[], nn.Module]


def slope_maker(*, shared: bool) -> SlopeMaker:
    """Make activations: one PReLU for all places (training), or one each (a checkpoint stores each place's slope)."""
    if not shared:
        return nn.PReLU
    activation = nn.PReLU()
    return lambda: activation


@dataclass(frozen=True)
class RegularizerSize:
    """Widths of one U-Net.

    Attributes
    ----------
    n_features
        Channels at full resolution (c0).
    level_widths
        Channels after the first, second and third stride-2 convolution.
    prompt_widths, prompt_sizes
        Channels and side length in pixels of the prompts of levels 1, 2, 3.
    n_prompts
        Prompts in each level's bank.
    embedding_width
        Numbers in a text embedding after the projection head.
    """

    n_features: int
    level_widths: tuple[int, int, int]
    prompt_widths: tuple[int, int, int]
    prompt_sizes: tuple[int, int, int]
    n_prompts: tuple[int, int, int]
    embedding_width: int


class TextConditionedUNet(nn.Module):
    """U-Net on real channels, shape (batch, channels, height, width) with height and width multiples of 8."""

    def __init__(
        self, size: RegularizerSize, *, n_channels: int = 2, n_outputs: int = 2, shared_slope: bool = False
    ) -> None:
        super().__init__()
        activation = slope_maker(shared=shared_slope)
        widths = (size.n_features, *size.level_widths)
        self.feat_extract = nn.Conv2d(n_channels, widths[0], 3, padding=1, bias=False)
        for level in range(1, LEVELS + 1):
            below, above = widths[level], widths[level - 1]
            prompt_width = size.prompt_widths[level - 1]
            # the first block of the encoder has a slope of its own in training, too
            first = nn.PReLU if level == 1 else activation
            blocks = ENCODER_BLOCKS[level - 1]
            setattr(self, f"enc_level{level}", DownBlock(above, below, blocks, activation, first=first))
            setattr(self, f"skip_attn{level}", SkipBlock(above, activation))
            setattr(
                self,
                f"prompt_level{level}",
                PromptBlock(
                    prompt_width, size.prompt_sizes[level - 1], size.n_prompts[level - 1], size.embedding_width
                ),
            )
            setattr(
                self, f"dec_level{level}", UpBlock(below, above, prompt_width, DECODER_BLOCKS[level - 1], activation)
            )
            setattr(self, f"metacond_level{level}", MetadataGate(above, size.embedding_width))
        self.bottleneck = nn.Sequential(
            *(ChannelAttentionBlock(widths[-1], activation) for _ in range(BOTTLENECK_BLOCKS))
        )
        self.conv_last = nn.Conv2d(widths[0], n_outputs, 5, padding=2, bias=False)

    def forward(self, x: Tensor, metadata: Tensor, undersampling: Tensor) -> Tensor:
        """Clean ``x`` (batch, channels, height, width) under two embeddings (batch, embedding_width)."""
        x = self.feat_extract(x)
        skips: list[Tensor] = []
        for level in range(1, LEVELS + 1):
            x, skip = self.get_submodule(f"enc_level{level}")(x)
            skips.append(self.get_submodule(f"skip_attn{level}")(skip))
        x = self.bottleneck(x)
        for level in range(LEVELS, 0, -1):
            prompt = self.get_submodule(f"prompt_level{level}")(undersampling, x.shape[-2:])
            x = self.get_submodule(f"dec_level{level}")(x, prompt, skips[level - 1])
            x = self.get_submodule(f"metacond_level{level}")(x, metadata)
        out: Tensor = self.conv_last(x)
        return out


class ChannelAttention(nn.Module):
    """Scale each channel by a number in (0, 1) computed from all channel means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(width, width // 4, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(width // 4, width, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean(dim=(-2, -1), keepdim=True))


class ChannelAttentionBlock(nn.Module):
    """x + attention(conv(act(conv(x))))."""

    def __init__(self, width: int, activation: SlopeMaker) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            activation(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.CA = ChannelAttention(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.CA(self.body(x))


class DownBlock(nn.Module):
    """Blocks at one resolution (their output is the skip), then a stride-2 convolution."""

    def __init__(self, above: int, below: int, n_blocks: int, activation: SlopeMaker, *, first: SlopeMaker) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(ChannelAttentionBlock(above, first if i == 0 else activation) for i in range(n_blocks))
        )
        self.down = nn.Conv2d(above, below, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.encoder(x)
        return self.down(skip), skip


class SkipBlock(nn.Module):
    """One block on the way of the skip connection."""

    def __init__(self, width: int, activation: SlopeMaker) -> None:
        super().__init__()
        self.skip_attn = nn.Sequential(ChannelAttentionBlock(width, activation))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.skip_attn(x)
        return out


class PromptBlock(nn.Module):
    """A mixture of fixed prompt images, weighted by the undersampling text."""

    prompt_param: Tensor

    def __init__(self, width: int, side: int, n_prompts: int, embedding_width: int) -> None:
        super().__init__()
        # kept as initialised, part of the checkpoint
        self.register_buffer("prompt_param", torch.rand(1, n_prompts, width, side, side))
        self.linear_layer2 = nn.Linear(embedding_width, n_prompts)
        self.dec_conv3x3 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, embedding: Tensor, size: torch.Size) -> Tensor:
        weights = functional.softmax(self.linear_layer2(embedding), dim=1)
        prompt = torch.einsum("bn,nchw->bchw", weights, self.prompt_param[0].to(weights.dtype))
        resized = functional.interpolate(prompt, size=tuple(size), mode="bilinear", align_corners=False)
        out: Tensor = self.dec_conv3x3(resized)
        return out


class UpBlock(nn.Module):
    """Fuse with the prompt, double the resolution, add the skip."""

    def __init__(self, below: int, above: int, prompt_width: int, n_blocks: int, activation: SlopeMaker) -> None:
        super().__init__()
        joint = below + prompt_width
        self.fuse = nn.Sequential(*(ChannelAttentionBlock(joint, activation) for _ in range(n_blocks)))
        self.reduce = nn.Conv2d(joint, below, 1, bias=False)
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(below, above, 1, bias=False),
        )
        self.ca = ChannelAttentionBlock(above, activation)

    def forward(self, x: Tensor, prompt: Tensor, skip: Tensor) -> Tensor:
        x = self.reduce(self.fuse(torch.cat([x, prompt], dim=1)))
        out: Tensor = self.ca(self.up(x) + skip)
        return out


class MetadataGate(nn.Module):
    """f = (x * gamma + beta) * sigmoid(Linear(embedding)), then block(f) + x."""

    def __init__(self, width: int, embedding_width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.fc = nn.Linear(embedding_width, width)
        self.block = ChannelAttentionBlock(width, nn.PReLU)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc(embedding))[:, :, None, None]
        out: Tensor = self.block((x * self.gamma + self.beta) * gate) + x
        return out


class NormalizedUNet(nn.Module):
    """The U-Net on complex images (batch, n, height, width): standardise, pad, clean, undo."""

    def __init__(self, size: RegularizerSize, *, n_images: int = 1, shared_slope: bool = False) -> None:
        super().__init__()
        self.unet = TextConditionedUNet(
            size, n_channels=2 * n_images, n_outputs=2 * n_images, shared_slope=shared_slope
        )

    def forward(self, image: Tensor, metadata: Tensor, undersampling: Tensor) -> Tensor:
        channels = torch.cat([image.real, image.imag], dim=1)
        mean = channels.mean(dim=(1, 2, 3), keepdim=True)
        sd = channels.std(dim=(1, 2, 3), keepdim=True)
        # an image of zeros stays one instead of becoming NaN
        scaled = (channels - mean) / torch.where(sd > 0, sd, torch.ones_like(sd))
        padded, crop = pad_to_multiple(scaled, 2**LEVELS)
        cleaned = self.unet(padded, metadata, undersampling).to(channels.dtype)[..., crop[0], crop[1]] * sd + mean
        real, imag = cleaned.chunk(2, dim=1)
        return torch.complex(real.contiguous(), imag.contiguous())


def pad_to_multiple(x: Tensor, multiple: int) -> tuple[Tensor, tuple[slice, slice]]:
    """Zero-pad the last two axes to multiples, floor(pad / 2) before and the rest after; return it and the way back."""
    height, width = x.shape[-2:]
    down, right = -height % multiple, -width % multiple
    top, left = down // 2, right // 2
    padded = functional.pad(x, (left, right - left, top, down - top))
    return padded, (slice(top, top + height), slice(left, left + width))
