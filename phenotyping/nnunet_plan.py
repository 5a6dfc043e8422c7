"""How large is the segmentation network, and how long does it learn? nnU-Net's own plan, or one small enough for a CPU."""

import json
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from cohort.records import ConfigProblem

CONFIGURATION: Final = "2d"
#: optimizer steps that the shipped weights took from nothing; 5000 more followed on other phantoms, from those weights
SHIPPED_STEPS: Final = 11000
PlanName = Literal["small", "standard"]


@dataclass(frozen=True)
class SmallPlan:
    """What is edited of nnU-Net's 2-D plan; spacing, resampling and augmentation stay its own.

    Attributes
    ----------
    patch_px
        Side of the square tiles.
    batch
        Patches a step.
    widths
        Features of the stages, each at half the resolution of the one before.
    """

    patch_px: int = 128
    batch: int = 8
    widths: tuple[int, ...] = (24, 48, 96, 160, 160)

    def __post_init__(self) -> None:
        coarsest = 2 ** (len(self.widths) - 1)
        if self.patch_px < 2 * coarsest or self.patch_px % coarsest:
            raise ConfigProblem(
                f"a patch of {self.patch_px} pixels cannot be halved {len(self.widths) - 1} times; "
                f"expected a multiple of {coarsest}, at least {2 * coarsest}"
            )
        if self.batch < 1 or not self.widths or min(self.widths) < 1:
            raise ConfigProblem(f"batch and widths must be positive, got {self.batch} and {self.widths}")


SHIPPED_PLAN: Final = SmallPlan()
"""Of the shipped weights."""


def checked_plan(name: str) -> PlanName:
    """The name of a plan, or ConfigProblem."""
    for known in get_args(PlanName):
        if name == known:
            return known
    raise ConfigProblem(f"plan {name!r} is unknown; expected {' or '.join(get_args(PlanName))}")


def edited_plan(plans: dict[str, Any], small: SmallPlan) -> dict[str, Any]:
    """nnU-Net's plans with only the 2-D configuration, made small.

    Parameters
    ----------
    plans
        As nnU-Net's planner gives them; not changed.
    small
        Patch, batch and widths.
    """
    plan: dict[str, Any] = json.loads(json.dumps(plans))
    configuration = plan["configurations"][CONFIGURATION]
    n_stages = len(small.widths)
    configuration["patch_size"], configuration["batch_size"] = [small.patch_px, small.patch_px], small.batch
    configuration["normalization_schemes"], configuration["use_mask_for_norm"] = ["ZScoreNormalization"], [False]
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": n_stages,
        "features_per_stage": list(small.widths),
        "kernel_sizes": [[3, 3]] * n_stages,
        "strides": [[1, 1]] + [[2, 2]] * (n_stages - 1),
        "n_conv_per_stage": [2] * n_stages,
        "n_conv_per_stage_decoder": [2] * (n_stages - 1),
    }
    plan["configurations"] = {CONFIGURATION: configuration}
    return plan
