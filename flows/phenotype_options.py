"""How are images measured that are already reconstructed? The model, its labels, and the conventions of the numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from cohort.geometry_rules import SliceOrder
from cohort.records import ConfigProblem
from flows.config import SECTIONS, Phenotyping, Segmentation, section
from phenotyping.nnunet_labels import LabelMap


@dataclass(frozen=True)
class PhenotypeOptions:
    """How series are labeled and measured.

    Attributes
    ----------
    study, center
        For the table.
    model_folder
        An nnU-Net v2 result folder, None for the network that is shipped.
    label_map
        The model's names or numbers to ours.
    device
        `auto`, `cpu` or `cuda`.
    conventions
        As in a validation's [phenotypes].
    topology_repair
        As in a validation's [segmentation].
    slice_order
        `base_first`, `apex_first`, or `anatomy` to find the base in the labels. Slices of DICOM images are in the order of
        their places, whatever order they were taken in.

    Raises
    ------
    ConfigProblem
        A label of the map is given twice, as number and as text; or there is no such slice order.
    """

    study: str
    center: str
    model_folder: Path | None
    label_map: LabelMap
    device: str
    conventions: Phenotyping = field(default_factory=Phenotyping)
    topology_repair: bool = False
    slice_order: SliceOrder = "anatomy"

    def __post_init__(self) -> None:
        # TOML and JSON know only keys that are text, and keys of two kinds have no order
        keys: dict[str | int, str | int] = {str(theirs): ours for theirs, ours in self.label_map.items()}
        if len(keys) < len(self.label_map):
            raise ConfigProblem(f"label map: a label is given twice, as number and as text: {dict(self.label_map)}")
        object.__setattr__(self, "label_map", keys)
        checked_order(self.slice_order)

    def science(self) -> dict[str, Any]:
        """What decides the numbers besides the model's weights, as plain types."""
        return {
            "label_map": dict(self.label_map),
            "topology_repair": self.topology_repair,
            "slice_order": self.slice_order,
            "conventions": asdict(self.conventions),
        }


def label_map_of(pairs: Iterable[str]) -> dict[str | int, str | int]:
    """What was typed as THEIRS=OURS, both as text.

    Raises
    ------
    ConfigProblem
        An entry without `=`, or one said twice.
    """
    found: dict[str | int, str | int] = {}
    for pair in pairs:
        theirs, equals, ours = (part.strip() for part in pair.partition("="))
        if not (theirs and equals and ours):
            raise ConfigProblem(f"label map: expected THEIRS=OURS such as '1=RV cavity', got {pair!r}")
        if theirs in found:
            raise ConfigProblem(f"label map: {theirs!r} is given twice")
        found[theirs] = ours
    return found


def checked_order(word: str) -> SliceOrder:
    """The word, if it is a slice order; ConfigProblem if not."""
    for order in get_args(SliceOrder):
        if word == order:
            return cast(SliceOrder, order)
    raise ConfigProblem(f"slice order: expected {', '.join(get_args(SliceOrder))}, got {word!r}")


def options_of(
    table: Mapping[str, Any],
    *,
    base: Path,
    origin: str,
    study: str,
    center: str,
    model: Path | None,
    label_map: Iterable[str],
    device: str,
    slice_order: str,
) -> PhenotypeOptions:
    """A configuration and what was typed; a model or a label map that was typed goes before the configuration's.

    A label map belongs to a model: that of the configuration is left out where another model was typed.
    Parameters and errors as in `conventions_of`, `label_map_of` and `PhenotypeOptions`.
    """
    conventions, segmentation = conventions_of(table, base=base, origin=origin)
    typed = label_map_of(label_map)
    configured = Path(segmentation.model_folder) if segmentation.model_folder else None
    return PhenotypeOptions(
        study=study,
        center=center,
        model_folder=model or configured,
        label_map=typed or ({} if model else segmentation.label_map),
        device=device,
        conventions=conventions,
        topology_repair=segmentation.topology_repair,
        slice_order=checked_order(slice_order),
    )


def conventions_of(table: Mapping[str, Any], *, base: Path, origin: str) -> tuple[Phenotyping, Segmentation]:
    """The sections of a configuration that images need: [phenotypes] and [segmentation].

    A validation's file will do; its other sections mean nothing here.

    Parameters
    ----------
    table
        The parsed TOML.
    base
        Folder to which `model_folder` is relative.
    origin
        Name of the file, for messages.

    Raises
    ------
    ConfigProblem
        A section, a key or a value that no configuration has.
    """
    known = {"study", "provenance", *SECTIONS}
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigProblem(f"{origin}: unknown section {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    phenotypes, segmentation = (
        section(SECTIONS[name], table.get(name, {}), where=f"{origin}: [{name}]")
        for name in ("phenotypes", "segmentation")
    )
    if segmentation.model_folder:
        object.__setattr__(segmentation, "model_folder", str((base / segmentation.model_folder).resolve()))
    return phenotypes, segmentation
