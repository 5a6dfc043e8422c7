"""Which pictures stand on a patient's page? Curves, the beat frame by frame, maps, bull's-eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any, Final

from reports import pictures, tables
from reports.bullseye import NAMES, bullseye_svg
from reports.document import Block
from reports.patient_blocks import REFERENCE, PatientContext, plots, table, text
from reports.patient_pictures import Still, curves_svg, shown_frames, strip_box, strip_png, strip_window
from reports.segments import QUANTITIES
from reports.tables import Cell

CURVES: Final = (
    ("lv_curve_ml", "LV cavity", "volume (mL)"),
    ("rv_curve_ml", "RV cavity", "volume (mL)"),
    ("circumferential_strain_percent", "Circumferential strain", "strain (%)"),
    ("radial_strain_percent", "Radial strain", "strain (%)"),
)
MOST_PANELS: Final = 2
SIDE_PX: Final = 220
DRAWN: Final = "wall_thickness_mean"
LEAST_SCALE, WIDEST_SCALE = 1.0, 4.0  # mm, ends of the scale of differences
PHASE_NAMES: Final = {"ED": "end-diastole", "ES": "end-systole", "map": "map"}
CONTOUR_WORDS: Final = "Contours as found on each picture itself: orange, LV cavity; blue, outer border of the LV myocardium; green, RV cavity."


def curves(context: PatientContext) -> list[Block]:
    """Volumes (and strain where it was measured) of every reconstruction, fully sampled in black."""
    blocks: list[Block] = []
    for scan in context.scans():
        panels: list[dict[str, Any]] = []
        for key, title, unit in CURVES:
            drawn = [
                {"label": context.label(arm["arm"]), "values": values, "reference": arm["arm"] == REFERENCE}
                for arm in context.arms
                if (values := (scan["arms"].get(arm["arm"]) or {"curves": {}})["curves"].get(key))
            ]
            if drawn:
                panels.append({"title": title, "unit": unit, "curves": drawn})
        for start in range(0, len(panels), MOST_PANELS):
            part = panels[start : start + MOST_PANELS]
            name = context.pictures.add(curves_svg(part, frame_time_s=scan["frame_time_s"]), suffix=".svg")
            titles = " and ".join(panel["title"] for panel in part)
            alt = f"{titles} over the beat, a line for each reconstruction; the numbers are in the record beside this page"
            item = {"name": name, "caption": _phases(context, scan), "alt": alt, "colored": False}
            blocks += plots(f"{titles}: {scan['scan']}", [item])
    return blocks


def _phases(context: PatientContext, scan: Mapping[str, Any]) -> str:
    """Which frames are ED and ES in each arm, shortly where all agree."""
    found: dict[str, list[str]] = {}
    for arm in context.arms:
        phases = (scan["arms"].get(arm["arm"]) or {"phases": {}})["phases"]
        if phases.get("ed_frame") is not None:
            words = f"ED frame {phases['ed_frame']}, ES frame {phases['es_frame']}"
            found.setdefault(words, []).append(context.label(arm["arm"]))
    if len(found) == 1:
        return f"{next(iter(found))} in all reconstructions (frames count from 0)."
    return "; ".join(f"{words}: {', '.join(labels)}" for words, labels in found.items()) + " (frames count from 0)."


def cine(context: PatientContext) -> list[Block]:
    """The middle slice over the beat, a strip for each reconstruction on one gray scale."""
    blocks: list[Block] = [text(note) for note in context.images.notes]
    for scan in context.scans():
        mine = {strip.arm: strip for strip in context.images.strips if strip.scan == scan["scan"]}
        if not mine:
            blocks += _stills(context, [s for s in context.images.stills if _is(s, scan, ("ED", "ES"))])
            continue
        first = mine.get(REFERENCE) or next(iter(mine.values()))
        frames, box = shown_frames(first), strip_box(first)
        window = strip_window(first, box)
        items = []
        for arm in context.arms:
            strip = mine.get(arm["arm"])
            if strip is None:
                continue
            # its own ED and ES, where they are other frames than the reference's
            own = sorted({*frames, strip.ed_frame, strip.es_frame}) if len(strip.images) > len(frames) else frames
            png = strip_png(strip, frames=own, box=box, window=window)
            label = context.label(arm["arm"])
            alt = f"{label}, slice {strip.slice}: {len(own)} frames of the beat; ED is frame {strip.ed_frame}, ES {strip.es_frame}"
            name = context.pictures.add(png, suffix=".png")
            items.append({"name": name, "label": label, "alt": alt})
        title = f"{scan['scan']}, slice {first.slice}: {len(frames)} of {len(first.images)} frames"
        words = f"One gray scale for all. ED and ES with contours. {CONTOUR_WORDS}"
        blocks.append({"kind": "strips", "title": title, "text": words, "items": items})
    return blocks


def maps(context: PatientContext) -> list[Block]:
    """Maps of every reconstruction with contours, and their differences from fully sampled."""
    blocks: list[Block] = []
    for scan in context.scans():
        blocks += _stills(context, [s for s in context.images.stills if _is(s, scan, ("map",))])
        blocks += _regions(context, scan)
    return blocks


def _is(still: Still, scan: Mapping[str, Any], phases: Sequence[str]) -> bool:
    return still.scan == scan["scan"] and still.phase in phases


def _stills(context: PatientContext, found: Sequence[Still]) -> list[Block]:
    """Cards of stored pictures, a block for each phase and slice."""
    blocks: list[Block] = []
    for phase, place in dict.fromkeys((s.phase, s.slice) for s in found):
        mine = {s.arm: s for s in found if (s.phase, s.slice) == (phase, place)}
        first = next(iter(mine.values()))
        scale, box = pictures.common_scale(first.sample, first.kind), pictures.heart_box(first.sample)
        what = f"{first.kind} map" if phase == "map" else PHASE_NAMES[phase]
        place_words = f"{first.scan}, {what}, slice {place}"

        def add(still: Still, which: str, *, scale: pictures.Scale = scale, box: tuple[slice, slice] = box) -> str:
            png = pictures.picture(still.sample, what=which, scale=scale, box=box, side_px=SIDE_PX)
            return context.pictures.add(png, suffix=".png")

        cards: list[dict[str, Any]] = [
            {"label": context.label(REFERENCE), "image": add(first, "reference"), "error": None}
            | {"alt": f"Fully sampled, {place_words}, with contours", "error_alt": ""}
        ]
        for arm in context.arms:
            still = mine.get(arm["arm"])
            if still is None or still.sample.reference.shape != first.sample.reference.shape:
                continue
            label = context.label(arm["arm"])
            cards.append(
                {"label": label, "image": add(still, "image"), "error": add(still, "error")}
                | {
                    "alt": f"{label}, {place_words}, with contours",
                    "error_alt": f"Difference of {label} from fully sampled",
                }
            )
        bars = context.pictures.add(pictures.scale_bars(scale), suffix=".svg")
        words = f"{CONTOUR_WORDS} Dotted white: those of the fully sampled one. Below each: its difference from fully sampled."
        blocks.append({"kind": "cards", "title": place_words, "text": words, "bars": bars, "items": cards})
    return blocks


def _regions(context: PatientContext, scan: Mapping[str, Any]) -> list[Block]:
    """Medians of the map's regions: wall, septum, AHA segments."""
    arms = [arm for arm in context.arms if (scan["arms"].get(arm["arm"]) or {}).get("map")]
    facts = {arm["arm"]: scan["arms"][arm["arm"]]["map"] for arm in arms}
    names = [
        name
        for name in dict.fromkeys(name for one in facts.values() for name in one)
        if any(isinstance(one.get(name), Mapping) and "median_ms" in one[name] for one in facts.values())
    ]
    rows = []
    for name in names:
        number = name.removeprefix("segment ")
        label = f"{name} ({NAMES[int(number)]})" if number.isdigit() and int(number) in NAMES else name
        rows.append([tables.text(label), *(_median(facts[arm["arm"]].get(name)) for arm in arms)])
    if not rows:
        return []
    caption = f"{scan['scan']}: median (interquartile range; pixels) of each region, ms"
    return [table(caption, ["Region", *(context.label(arm["arm"]) for arm in arms)], rows)]


def _median(region: Any) -> Cell:
    if not isinstance(region, Mapping) or region.get("median_ms") is None:
        return tables.text(None)
    low, high = (tables.number(region.get(key), 0) for key in ("q25_ms", "q75_ms"))
    return Cell(
        f"{tables.number(region['median_ms'], 1)} ({low} to {high}; {region.get('n_used')})", region["median_ms"]
    )


def wall(context: PatientContext) -> list[Block]:
    """Bull's-eyes of the mean thickness and of its differences, and the numbers of every quantity."""
    blocks: list[Block] = []
    for scan in context.scans():
        for entry in sorted(scan["segments"], key=lambda entry: entry["quantity"] != DRAWN):
            title = f"{QUANTITIES.get(entry['quantity'], entry['quantity'])} ({entry['unit']}): {scan['scan']}"
            if entry["quantity"] == DRAWN:
                blocks += plots(title, _bullseyes(context, entry))
            arms = [arm for arm in context.arms if arm["arm"] in entry["values"]]
            rows = [
                [
                    Cell(str(segment), segment),
                    tables.text(NAMES.get(segment)),
                    *(_at(entry, a["arm"], segment) for a in arms),
                ]
                for segment in sorted({int(s) for one in entry["values"].values() for s in one})
            ]
            columns = ["No.", "Segment", *(context.label(arm["arm"]) for arm in arms)]
            blocks.append(table(f"{title}; in brackets the difference from fully sampled", columns, rows))
    return blocks


def _at(entry: Mapping[str, Any], arm: str, segment: int) -> Cell:
    value = entry["values"][arm].get(str(segment))
    digits = tables.DECIMALS_BY_UNIT.get(entry["unit"], tables.DECIMALS_WITHOUT_UNIT)
    difference = entry["differences"].get(arm, {}).get(str(segment))
    words = tables.number(value, digits)
    if difference is not None:
        words += f" ({tables.number(difference, digits, signed=True)})"
    return Cell(words, value)


def _bullseyes(context: PatientContext, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    reference = entry["values"].get(REFERENCE, {})
    moved = [abs(v) for one in entry["differences"].values() for v in one.values()]
    end = min(max(ceil(2 * max(moved, default=0.0)) / 2, LEAST_SCALE), WIDEST_SCALE)
    low, high = floor(min(reference.values(), default=0.0)), ceil(max(reference.values(), default=1.0))
    items = []
    for arm in context.arms:
        absolute = arm["arm"] == REFERENCE
        stored = reference if absolute else entry["differences"].get(arm["arm"], {})
        if not stored:
            continue
        limits = (float(low), float(max(high, low + 1))) if absolute else (-end, end)
        what = "mean thickness" if absolute else "difference from fully sampled"
        svg = bullseye_svg({int(s): v for s, v in stored.items()}, title=what, unit=entry["unit"], limits=limits)
        label = context.label(arm["arm"])
        alt = f"Bull's-eye of the AHA segments, {label}, {what}; the numbers are in the table below"
        name = context.pictures.add(svg, suffix=".svg")
        items.append({"name": name, "caption": label, "alt": alt, "colored": True})
    return items
