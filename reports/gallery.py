"""Which pictures are shown side by side? For a slice: the fully sampled image, every arm, their errors, one scale."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from reports import pictures, tables

Block = dict[str, Any]
SIDES_PX = (
    (48, 280),
    (120, 220),
    (280, 170),
)  # up to so many arms shown: longer side of a picture; keeps the page under 8 MB
SMALLEST_SIDE_PX = 120
MOST_NAMED = 12  # files that could not be read
KINDS = {"T1": "T1 map", "T2": "T2 map"}


class AddPicture(Protocol):
    """Keeps a picture and returns its name."""

    def __call__(self, content: bytes, *, suffix: str) -> str: ...


def gallery_anchor(center: str, patient: str) -> str:
    """Where the pictures of a patient begin on the page; letters, digits and ``-`` only."""
    return "pictures-" + "-".join(
        re.sub(r"[^A-Za-z0-9]", lambda m: f"-{ord(m[0]):x}-", part) for part in (center, patient)
    )


def gallery_blocks(results: Mapping[str, Any], *, run_dir: Path, add: AddPicture, anchors: bool = True) -> list[Block]:
    """Blocks of the gallery, a block a slice; files that cannot be read are named, not fatal.

    With ``anchors`` the first block of a patient has the anchor that links to the patient lead to.
    """
    entries = results["gallery"]
    if not entries:
        return [{"kind": "text", "text": "No pictures were kept for this run."}]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(
            (entry["center"], entry["patient"], entry["modality"], entry["phase"], entry["slice"]), []
        ).append(entry)
    side_px = next((side for most, side in SIDES_PX if len(entries) <= most), SMALLEST_SIDE_PX)
    blocks: list[Block] = [
        {
            "kind": "text",
            "text": (
                "Cropped to the heart. Solid lines: contours found on the picture itself (orange, left ventricular "
                "cavity; blue, outer border of the myocardium; green, right ventricular cavity). Dotted white lines on "
                "accelerated pictures: contours of the fully sampled one."
            ),
        }
    ]
    arms = {a["arm"]: a for a in results["arms"]}
    unread: list[str] = []
    anchored: set[str] = set()
    for (center, patient, *_), members in groups.items():
        block = _group(members, arms=arms, run_dir=run_dir, add=add, side_px=side_px, unread=unread)
        if block:
            anchor = gallery_anchor(str(center), str(patient))
            block["anchor"] = anchor if anchors and anchor not in anchored else ""
            anchored.add(anchor)
            blocks.append(block)
    if unread:
        more = f"; and {len(unread) - MOST_NAMED} more" if len(unread) > MOST_NAMED else ""
        named = "; ".join(unread[:MOST_NAMED]) + more
        blocks.append({"kind": "text", "text": f"Pictures that could not be read: {named}."})
    return blocks


def map_kind(entry: Mapping[str, Any]) -> str:
    """``T1``, ``T2`` or ``magnitude``, from the entry's phase and names."""
    if entry["phase"] != "map":
        return "magnitude"
    words = f"{entry['modality']} {entry['path']}".lower()
    return next((kind for kind in KINDS if kind.lower() in words), "magnitude")


def _group(
    members: list[Mapping[str, Any]],
    *,
    arms: Mapping[str, Mapping[str, Any]],
    run_dir: Path,
    add: AddPicture,
    side_px: int,
    unread: list[str],
) -> Block | None:
    samples = []
    for entry in sorted(members, key=lambda e: list(arms).index(e["arm"]) if e["arm"] in arms else len(arms)):
        try:
            samples.append((entry, pictures.read_sample(_inside(run_dir, entry["path"]))))
        except (OSError, KeyError, ValueError) as problem:
            unread.append(f"{entry['path']} ({type(problem).__name__})")
    if not samples:
        return None
    first, reference = samples[0]
    kind = map_kind(first)
    scale = pictures.common_scale(reference, kind)
    box = pictures.heart_box(reference)
    what = KINDS.get(kind, f"{first['phase']} ({'end-diastole' if first['phase'] == 'ED' else 'end-systole'})")
    place = f"{first['center']}, patient {first['patient']}, {first['modality']}, slice {first['slice']}"
    whole = pictures.picture(reference, what="reference", scale=scale, box=box, side_px=side_px)
    card = {"label": "Fully sampled", "caption": "reference", "image": add(whole, suffix=".png"), "error": None}
    card["alt"] = f"Fully sampled {what}, {place}, with contours"
    rows: dict[str, list[dict[str, Any]]] = {}
    for entry, sample in samples:
        if sample.reference.shape != reference.reference.shape:
            unread.append(f"{entry['path']} (other shape than its group)")
            continue
        made = _card(
            entry, sample, arms.get(entry["arm"], entry), f"{what}, {place}", scale, box=box, add=add, side_px=side_px
        )
        rows.setdefault(entry["method"], []).append(made)
    bars = add(pictures.scale_bars(scale), suffix=".svg")
    bars_alt = "Scales of the pictures and of the errors" + (f", in {scale.unit}" if scale.unit else "")
    methods = [{"method": m, "label": tables.method_label(m), "cards": cards} for m, cards in rows.items()]
    title = f"{what}: {place}"
    return {"kind": "gallery", "title": title, "reference": card, "rows": methods, "bars": bars, "bars_alt": bars_alt}


def _card(
    entry: Mapping[str, Any],
    sample: pictures.Sample,
    arm: Mapping[str, Any],
    what: str,
    scale: pictures.Scale,
    *,
    box: tuple[slice, slice],
    add: AddPicture,
    side_px: int,
) -> dict[str, Any]:
    method = tables.method_label(entry["method"])
    caption = tables.arm_short(entry)
    if tables.effective(arm) != tables.MISSING:
        caption += f" (effective {tables.effective(arm)})"
    made = {
        name: add(pictures.picture(sample, what=name, scale=scale, box=box, side_px=side_px), suffix=".png")
        for name in ("image", "error")
    }
    alts = {"alt": f"{method} {caption}, {what}, with contours", "error_alt": f"Error of {method} {caption}"}
    return {"label": method, "caption": caption} | alts | made


def _inside(run_dir: Path, relative: str) -> Path:
    """A path of the run folder; results.json may come from elsewhere and must not make us read other files."""
    path = (run_dir / relative).resolve()
    if not path.is_relative_to(run_dir.resolve()):
        raise ValueError(f"{relative}: outside the run folder")
    return path
