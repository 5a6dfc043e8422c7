"""How does CardioMM get from masked k-space to an image? The whole cascade, top to bottom.

Shapes: k-space (batch, coils, nx, ny) complex64 with nx = readout = rows and ny = phase encoding = columns, mask
(batch, nx, ny), text embeddings (batch, encoder width). One sample is one frame of one slice; a network for stacked
neighbors (slices, or frames of a cine) takes (batch, neighbors, coils, nx, ny) and (batch, neighbors, nx, ny), with the
wanted one in the middle.
Source: CardioMM, arXiv 2512.21652.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from recon.cardiomm.consistency import SenseConsistency
from recon.cardiomm.regularizer import NormalizedUNet, RegularizerSize
from recon.fourier import fft2c, ifft2c

Family = Literal["uniform", "random", "radial"]
EmbeddingNorm = Literal["l2", "sign"]
Texts = Literal["both", "undersampling", "metadata", "none"]
VARIANT_NAMES: dict[Texts, str] = {
    "both": "CardioMM",
    "undersampling": "CardioSM+UT",
    "metadata": "CardioSM+MT",
    "none": "CardioSM",
}
"""What the paper calls a network by the texts that steer it."""
Stacked = Literal["slices", "frames"]
Consistency = Literal["soft", "sense"]
Widths = tuple[int, int, int]


@dataclass(frozen=True)
class CardioMMSize:
    """Everything that fixes the network's shape; the defaults are the released size (68.4 M parameters).

    Attributes
    ----------
    n_cascades
        Phases, each with weights of its own.
    n_features, level_widths, prompt_widths, prompt_sizes
        Widths of the image U-Nets, see RegularizerSize.
    sensitivity_features, sensitivity_level_widths, sensitivity_prompt_widths
        The same for the coil sensitivity U-Net.
    n_prompts
        Prompts in each level's bank.
    embedding_width
        Numbers in a text embedding after the projection head.
    encoder_width
        Numbers in a text embedding before the head (512 for CLIP ViT-B/16, 384 for sentence encoders).
    embedding_norm
        ``"sign"`` reproduces published checkpoints, whose normalisation over an axis of length one turns every number
        into its sign; ``"l2"`` is the intended unit length.
    texts
        Which texts steer the network, see ``VARIANT_NAMES``. The blocks of a text that is left out stay and get zeros,
        so that all variants are of one size.
    n_adjacent
        Neighbors reconstructed together along the channels, an odd number; 1 for each image by itself.
    stacked
        What the neighbors are: ``"slices"`` (the release) or ``"frames"`` of a cine, whose k-t masks complement each
        other.
    consistency
        What follows the last phase: ``"soft"`` nothing (the release, whose samples are a weighted mean of measured and
        model), ``"sense"`` a correction by what was measured, see ``recon.cardiomm.consistency``.
    """

    n_cascades: int = 10
    n_features: int = 48
    level_widths: Widths = (72, 96, 120)
    prompt_widths: Widths = (24, 48, 72)
    prompt_sizes: Widths = (64, 32, 16)
    sensitivity_features: int = 24
    sensitivity_level_widths: Widths = (36, 48, 60)
    sensitivity_prompt_widths: Widths = (12, 24, 36)
    n_prompts: Widths = (3, 3, 3)
    embedding_width: int = 256
    encoder_width: int = 512
    embedding_norm: EmbeddingNorm = field(default="l2")
    texts: Texts = "both"
    n_adjacent: int = 1
    stacked: Stacked = "slices"
    consistency: Consistency = "soft"

    def __post_init__(self) -> None:
        if self.n_adjacent < 1 or self.n_adjacent % 2 == 0:
            raise ValueError(f"expected an odd number of adjacent images, 1 or more, got {self.n_adjacent}")
        if self.texts not in VARIANT_NAMES:
            raise ValueError(f"expected texts to be one of {', '.join(VARIANT_NAMES)}, got {self.texts!r}")

    @property
    def variant_name(self) -> str:
        """What the paper calls this network: CardioMM, CardioSM+UT, CardioSM+MT or CardioSM."""
        return VARIANT_NAMES[self.texts]

    def image_unet(self) -> RegularizerSize:
        """Size of the U-Net of each phase."""
        return RegularizerSize(
            self.n_features,
            self.level_widths,
            self.prompt_widths,
            self.prompt_sizes,
            self.n_prompts,
            self.embedding_width,
        )

    def sensitivity_unet(self) -> RegularizerSize:
        """Size of the U-Net that estimates coil sensitivities."""
        return RegularizerSize(
            self.sensitivity_features,
            self.sensitivity_level_widths,
            self.sensitivity_prompt_widths,
            self.prompt_sizes,
            self.n_prompts,
            self.embedding_width,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return asdict(self)


class CardioMM(nn.Module):
    """Unrolled multi-coil reconstruction steered by two texts."""

    def __init__(self, size: CardioMMSize, *, shared_slope: bool = False) -> None:
        super().__init__()
        self.size = size
        self.gradient_checkpointing = False  # training sets it: less memory, a third more time, the same gradients
        self.lm_head_meta = ProjectionHead(size.encoder_width, size.embedding_width, norm=size.embedding_norm)
        self.lm_head_us = ProjectionHead(size.encoder_width, size.embedding_width, norm=size.embedding_norm)
        self.sens_net = SensitivityNet(size.sensitivity_unet(), shared_slope=shared_slope)
        self.cascades = nn.ModuleList(
            Cascade(size.image_unet(), n_images=size.n_adjacent, shared_slope=shared_slope)
            for _ in range(size.n_cascades)
        )
        self.final = SenseConsistency() if size.consistency == "sense" else None

    def forward(
        self,
        masked_kspace: Tensor,
        mask: Tensor,
        *,
        metadata_embedding: Tensor,
        undersampling_embedding: Tensor,
        n_calibration: int,
        family: Family,
        maps: Tensor | None = None,
    ) -> Tensor:
        """Reconstruct magnitude images.

        Parameters
        ----------
        masked_kspace
            (batch, coils, nx, ny) complex64, zero where not sampled; with neighbors (batch, neighbors, coils, nx, ny).
        mask
            (batch, nx, ny) bool, True where sampled; with neighbors (batch, neighbors, nx, ny).
        metadata_embedding, undersampling_embedding
            (batch, encoder_width) from the text encoder, before the projection heads.
        n_calibration
            Fully sampled central columns, or the side of the central square when ``family`` is radial.
        family
            Which calibration region the mask has.
        maps
            Coil sensitivities of the k-space's shape to use instead of estimating them from every frame.

        Returns
        -------
        Tensor
            (batch, nx, ny), the root sum of squares over the coils, on the scale of the k-space.
        """
        kspace = self.reconstruct_kspace(
            masked_kspace,
            mask,
            metadata_embedding=metadata_embedding,
            undersampling_embedding=undersampling_embedding,
            n_calibration=n_calibration,
            family=family,
            maps=maps,
        )
        return root_sum_of_squares(ifft2c(kspace), dim=1)

    def reconstruct_kspace(
        self,
        masked_kspace: Tensor,
        mask: Tensor,
        *,
        metadata_embedding: Tensor,
        undersampling_embedding: Tensor,
        n_calibration: int,
        family: Family,
        maps: Tensor | None = None,
    ) -> Tensor:
        """The last k-space (batch, coils, nx, ny), before the coils are combined; arguments as in ``forward``."""
        metadata, undersampling = self.steer(metadata_embedding, undersampling_embedding)
        measured, sampled = self.with_neighbors(masked_kspace), self.with_neighbors(mask[..., None, :, :])
        if maps is None:
            region = {"n_calibration": n_calibration, "family": family}
            stacked = self.run(self.sens_net, measured, metadata, undersampling, **region)
        else:
            stacked = self.with_neighbors(maps)
        kspace = measured
        for cascade in self.cascades:
            kspace = self.run(cascade, kspace, measured, sampled, stacked, metadata, undersampling)
        if self.final is not None:
            kspace = self.final(kspace, measured, sampled, stacked)
        return kspace[:, self.size.n_adjacent // 2]

    def run(self, part: nn.Module, *given: Tensor, **named: Any) -> Tensor:
        """One part of the cascade; with gradient checkpointing it is computed again when its gradient is needed."""
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            out: Tensor = part(*given, **named)
            return out
        again: Tensor = checkpoint(part, *given, use_reentrant=False, preserve_rng_state=False, **named)
        return again

    def sensitivity_maps(
        self,
        masked_kspace: Tensor,
        mask: Tensor,
        *,
        metadata_embedding: Tensor,
        undersampling_embedding: Tensor,
        n_calibration: int,
        family: Family,
    ) -> Tensor:
        """Coil sensitivities of unit root sum of squares, of the k-space's shape; arguments as in ``forward``."""
        del mask  # the calibration region is fully sampled by contract
        metadata, undersampling = self.steer(metadata_embedding, undersampling_embedding)
        one_each = masked_kspace if masked_kspace.ndim == 5 else masked_kspace[:, None]
        maps: Tensor = self.sens_net(one_each, metadata, undersampling, n_calibration=n_calibration, family=family)
        return maps.reshape(masked_kspace.shape)

    def steer(self, metadata_embedding: Tensor, undersampling_embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Both texts after their heads (batch, embedding_width); zeros for a text that this variant does without."""
        metadata, undersampling = self.lm_head_meta(metadata_embedding), self.lm_head_us(undersampling_embedding)
        if self.size.texts not in ("both", "metadata"):
            metadata = torch.zeros_like(metadata)
        if self.size.texts not in ("both", "undersampling"):
            undersampling = torch.zeros_like(undersampling)
        return metadata, undersampling

    def with_neighbors(self, array: Tensor) -> Tensor:
        """Add the axis of neighbors where there is one image a sample; refuse another number of neighbors."""
        stacked = array[:, None] if array.ndim == 4 and self.size.n_adjacent == 1 else array
        if stacked.ndim != 5 or stacked.shape[1] != self.size.n_adjacent:
            raise ValueError(
                f"expected {self.size.n_adjacent} neighboring {self.size.stacked} on the axis after the batch, got shape "
                f"{tuple(array.shape)}; stack as many as the network was trained with"
            )
        return stacked


class Cascade(nn.Module):
    """One phase: combine the coils, clean the images, go back to k-space, keep what was measured."""

    def __init__(self, size: RegularizerSize, *, n_images: int = 1, shared_slope: bool) -> None:
        super().__init__()
        self.dc_weight = nn.Parameter(torch.ones(1))
        self.model = NormalizedUNet(size, n_images=n_images, shared_slope=shared_slope)

    def forward(
        self, kspace: Tensor, measured: Tensor, sampled: Tensor, maps: Tensor, metadata: Tensor, undersampling: Tensor
    ) -> Tensor:
        """K-space and maps (batch, neighbors, coils, nx, ny), sampled (batch, neighbors, 1, nx, ny)."""
        images = (ifft2c(kspace) * maps.conj()).sum(dim=2)
        model = fft2c(self.model(images, metadata, undersampling)[:, :, None] * maps)
        weight = self.dc_weight.abs()
        return torch.where(sampled, (measured + weight * model) / (1 + weight), model)


class SensitivityNet(nn.Module):
    """Coil sensitivities from the calibration region, one coil image at a time."""

    def __init__(self, size: RegularizerSize, *, shared_slope: bool) -> None:
        super().__init__()
        self.norm_unet = NormalizedUNet(size, shared_slope=shared_slope)

    def forward(
        self, masked_kspace: Tensor, metadata: Tensor, undersampling: Tensor, *, n_calibration: int, family: Family
    ) -> Tensor:
        """K-space (batch, neighbors, coils, nx, ny) to maps of the same shape."""
        batch, n_adjacent, n_coils = masked_kspace.shape[:3]
        images = ifft2c(calibration_region(masked_kspace, n_calibration=n_calibration, family=family))
        # every coil image keeps the text of its own sample (the release mixes them up in batches of different texts)
        cleaned = self.norm_unet(
            images.flatten(0, 2)[:, None],
            metadata.repeat_interleave(n_adjacent * n_coils, dim=0),
            undersampling.repeat_interleave(n_adjacent * n_coils, dim=0),
        )
        maps = cleaned[:, 0].unflatten(0, (batch, n_adjacent, n_coils))
        norm = root_sum_of_squares(maps, dim=2)[:, :, None]
        return maps / torch.where(norm > 0, norm, torch.ones_like(norm))


class ProjectionHead(nn.Module):
    """Linear map of a text embedding and its normalisation; ``fc2`` is unused but part of published checkpoints."""

    def __init__(self, encoder_width: int, embedding_width: int, *, norm: EmbeddingNorm) -> None:
        super().__init__()
        self.norm = norm
        self.fc1 = nn.Linear(encoder_width, embedding_width)
        self.fc2 = nn.Linear(embedding_width, 3)

    def forward(self, embedding: Tensor) -> Tensor:
        projected = self.fc1(embedding)
        if self.norm == "sign":
            return torch.sign(projected)
        # length sqrt(width) keeps each number near one, like the signs, so that the gates start in their working range
        return functional.normalize(projected, dim=-1) * projected.shape[-1] ** 0.5


def calibration_region(kspace: Tensor, *, n_calibration: int, family: Family) -> Tensor:
    """Keep the central columns (or the central square for radial masks), zero elsewhere; start at (n - c + 1) // 2.

    Of an odd axis and an even width this is one column past the lines that the published masks sample, so the last
    column may be empty; released networks were trained that way.
    """
    nx, ny = kspace.shape[-2:]
    longest = min(nx, ny) if family == "radial" else ny
    if n_calibration > longest:
        raise ValueError(f"expected a calibration region of at most {longest} for {nx} x {ny}, got {n_calibration}")
    keep = torch.zeros((nx, ny), dtype=torch.bool, device=kspace.device)
    columns = slice((ny - n_calibration + 1) // 2, (ny - n_calibration + 1) // 2 + n_calibration)
    rows = slice(None)
    if family == "radial":
        rows = slice((nx - n_calibration + 1) // 2, (nx - n_calibration + 1) // 2 + n_calibration)
    keep[rows, columns] = True
    return torch.where(keep, kspace, torch.zeros_like(kspace))


def root_sum_of_squares(x: Tensor, *, dim: int) -> Tensor:
    """Square root of the sum of |x|^2 along one axis; its gradient is finite at zero."""
    power = (x.real.square() + x.imag.square()).sum(dim=dim)
    return torch.sqrt(torch.where(power > 0, power, torch.full_like(power, torch.finfo(power.dtype).tiny)))
