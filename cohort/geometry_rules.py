"""What is known of a scanner that its headers do not say: whose field of view FOVx is, slice pitch, slice order?

One table of rules, the project's own or a study's; the first rule that fits a scan and states a property decides it.
Source of the project's rules: an independent reconstruction of 850 subjects of the CMRxRecon challenges 2023 to 2025,
where thorax and ventricle decided which field of view is meant and how far slices lie apart; and MMCMR-427K's own
treatment of Center007. They state no slice order: most scanners of these cohorts store both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from cohort.records import ConfigProblem

Convention = Literal["nominal", "oversampled"]
SliceOrder = Literal["anatomy", "base_first", "apex_first"]


@dataclass(frozen=True, kw_only=True)
class GeometryRule:
    """What holds for the scans that fit; an empty condition fits all, an empty property states nothing.

    Attributes
    ----------
    vendor, scanner, center, modality
        Conditions, upper and lower case alike; `scanner` is the model ("Vida").
    slice_thickness_mm
        Condition for the pitch alone: the thickness that the header states, 0 where it states none; None for any.
    fov_x
        ``nominal``: FOVx is the field of view of the image; ``oversampled``: of all readout samples.
    slice_pitch_mm
        Distance of slice centers, gap included; 0 states nothing.
    slice_order
        ``base_first``, ``apex_first``, or ``anatomy``: found in the labels.

    Raises
    ------
    ConfigProblem
        For an unknown word, a negative length, or a rule that states nothing.
    """

    vendor: str = ""
    scanner: str = ""
    center: str = ""
    modality: str = ""
    slice_thickness_mm: float | None = None
    fov_x: str = ""
    slice_pitch_mm: float = 0.0
    slice_order: str = ""

    def __post_init__(self) -> None:
        for name, words in (("fov_x", get_args(Convention)), ("slice_order", get_args(SliceOrder))):
            if getattr(self, name) not in ("", *words):
                raise ConfigProblem(
                    f"geometry rule: {name} is {' or '.join(map(repr, words))}, not {getattr(self, name)!r}"
                )
        if not self.slice_pitch_mm >= 0 or not (self.slice_thickness_mm or 0) >= 0:
            raise ConfigProblem("geometry rule: slice_pitch_mm and slice_thickness_mm cannot be negative")
        if not (self.fov_x or self.slice_pitch_mm or self.slice_order):
            raise ConfigProblem("geometry rule: states none of fov_x, slice_pitch_mm and slice_order")


@dataclass(frozen=True, kw_only=True)
class ScanKind:
    """What of a scan rules can ask for; `scanner` is a model or a folder ("Siemens_30T_Vida")."""

    scanner: str
    vendor: str = ""
    center: str = ""
    modality: str = ""


SHIPPED_RULES: tuple[GeometryRule, ...] = (
    GeometryRule(scanner="Vida", fov_x="nominal"),
    GeometryRule(scanner="Prisma", fov_x="nominal"),
    GeometryRule(scanner="CIMA.X", fov_x="nominal"),
    GeometryRule(scanner="Aera", fov_x="nominal"),
    GeometryRule(scanner="Sola", fov_x="oversampled"),
    GeometryRule(scanner="Avanto", fov_x="oversampled"),
    GeometryRule(scanner="Freemax", fov_x="oversampled"),
    GeometryRule(vendor="UIH", fov_x="oversampled"),
    GeometryRule(vendor="Philips", fov_x="nominal"),
    GeometryRule(scanner="Vida", slice_thickness_mm=8.0, slice_pitch_mm=12.0),
    GeometryRule(scanner="Vida", slice_thickness_mm=6.0, slice_pitch_mm=10.0),
    GeometryRule(scanner="Vida", slice_thickness_mm=0.0, slice_pitch_mm=12.0),
    GeometryRule(scanner="Prisma", slice_thickness_mm=0.0, slice_pitch_mm=10.0),
    GeometryRule(scanner="Aera", slice_thickness_mm=0.0, slice_pitch_mm=13.0),  # 12 to 14
)


def known_fov_x(rules: Sequence[GeometryRule], kind: ScanKind) -> Convention | None:
    """Whose field of view FOVx is, None where no rule says."""
    found = next((rule.fov_x for rule in rules if rule.fov_x and _fits(rule, kind)), None)
    return found  # type: ignore[return-value]  # checked when the rule was made


def known_slice_pitch_mm(
    rules: Sequence[GeometryRule], kind: ScanKind, *, slice_thickness_mm: float | None
) -> float | None:
    """Slice pitch at the thickness that the header states (None where it states none), None where no rule says."""
    for rule in rules:
        fits = rule.slice_thickness_mm is None or rule.slice_thickness_mm == (slice_thickness_mm or 0.0)
        if rule.slice_pitch_mm and fits and _fits(rule, kind):
            return rule.slice_pitch_mm
    return None


def known_slice_order(rules: Sequence[GeometryRule], kind: ScanKind) -> SliceOrder:
    """Slice order of a scan; "anatomy" where no rule says."""
    found = next((rule.slice_order for rule in rules if rule.slice_order and _fits(rule, kind)), "anatomy")
    return found  # type: ignore[return-value]  # checked when the rule was made


def vendor_and_model(scanner: str) -> tuple[str, str]:
    """Both in lower case, from a model or a folder; models of UIH and Philips are known by their name."""
    vendor, _, rest = scanner.lower().partition("_")
    if not rest:
        vendor, rest = "", scanner.lower()
    model = rest.rpartition("_")[2]
    if model.startswith("umr"):
        return "uih", model
    return ("philips", model) if model.startswith("ingenia") else (vendor, model)


def _fits(rule: GeometryRule, kind: ScanKind) -> bool:
    vendor, model = vendor_and_model(kind.scanner)
    known = {
        "vendor": vendor or kind.vendor.lower(),
        "scanner": model,
        "center": kind.center.lower(),
        "modality": kind.modality.lower(),
    }
    return all(not getattr(rule, name) or getattr(rule, name).lower() == value for name, value in known.items())
