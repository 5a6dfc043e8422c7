"""Does a scan's description use words that the texts of CardioMM know?

A network steered by text gives an image for any text. Where a word lies outside the vocabulary, nothing was learned
about it, so the image may be worse than anywhere measured: this is to be written beside the image, not passed over.
Source of the vocabulary: CardioMM and MMCMR-427K, arXiv 2512.21652.
"""

from collections.abc import Mapping
from typing import Any

from cohort.naming import FIELDS_T, MODALITIES, VIEWS

LIFESPANS = ("Adult", "Pediatric", "Fetal")
VENDORS = ("Siemens", "UIH", "Philips", "GE", "Neusoft")
KNOWN: Mapping[str, tuple[str, ...]] = {
    "vendor": VENDORS,
    "modality": tuple(dict.fromkeys(MODALITIES.values())),
    "view": (*dict.fromkeys(VIEWS.values()), "unknown"),
}
FIELD_TOLERANCE_T = 0.05  # headers round: 2.98 T means 3.0 T


def prompt_notes(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Say, one sentence each, what the texts name that the vocabulary does not hold.

    Parameters
    ----------
    metadata
        As for ``recon.inference.reconstruct``: ``vendor``, ``modality``, ``view``, ``field_t`` in tesla, ``lifespan``
        (Adult where missing).

    Returns
    -------
    tuple of str
        Empty where every word is known.
    """
    found = {key: _text(metadata.get(key)) for key in KNOWN}
    if found["view"] == "":
        found["view"] = "unknown"  # a view that the file's name leaves open is called so in training, too
    notes = [_note(key, value, KNOWN[key]) for key, value in found.items() if value not in KNOWN[key]]
    lifespan = _text(metadata.get("lifespan")) or "Adult"
    if lifespan not in LIFESPANS:
        notes.append(_note("lifespan", lifespan, LIFESPANS))
    field = metadata.get("field_t")
    if field in (None, "") or not any(abs(float(field) - f) <= FIELD_TOLERANCE_T for f in FIELDS_T.values()):
        known = tuple(f"{f:g} T" for f in FIELDS_T.values())
        notes.append(_note("field strength", "" if field in (None, "") else f"{float(field):g} T", known))
    return tuple(notes)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _note(what: str, value: str, known: tuple[str, ...]) -> str:
    said = f"{what} {value!r} is not among the words" if value else f"no {what} is among the words"
    return f"{said} that CardioMM's texts know ({', '.join(known)}): nothing is known of its images there"
