"""What is the answer, in words for somebody who orders a scan, and what can it not say? The sections decision and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports import decision_figures, tables
from reports.document import Block, Context, badges_block, in_order, plots_block, table_block
from reports.selection import absent_block, bias_margin_text, primary_of
from reports.tables import Row
from stats.equivalence import has_no_spread

Decision = Mapping[str, Any]
Level = Mapping[str, Any]
MOST_SENTENCES = 8  # more stand folded, below the table
FEW_CENTERS = 5  # below, the spread between centers cannot be estimated well (spec of random effects)


def decision(context: Context) -> list[Block]:
    """Claims of the primary measurements in words, how far every measurement goes, and one plot."""
    stored = [d for d in context.results.get("decision") or [] if context.margins(d["phenotype"])]
    if not stored:
        return [
            absent_block("Nothing was decided: no measurement with margins was compared with the fully sampled scan.")
        ]
    primary = primary_of(context, [d["phenotype"] for d in stored])
    said = [plain_sentence(context, d) for p in primary for d in stored if d["phenotype"] == p]
    words: Block = {
        "kind": "list",
        "title": f"In words ({len(said)})",
        "items": said,
        "folded": len(said) > MOST_SENTENCES,
    }
    how_far = table_block("decision-table", _how_far(context, stored))
    together = [str(t["sentence"]) for t in context.results.get("decision_together") or []]
    joint: Block = {"kind": "list", "title": "All main measurements together", "items": together, "folded": False}
    badges = badges_block(_badges(stored))
    ordered = [badges, how_far, words] if words["folded"] else [badges, words, how_far]
    return [*ordered, *([joint] if together else []), *_summary_plot(context)]


def limits(context: Context) -> list[Block]:
    """What must be known before the answer is used: about the scans, the reference, the centers, the margins."""
    texts, results = context.texts["limits"], context.results
    items = [str(context.texts["retrospective"])]
    items += [banner(context, kind) for kind in results["study"].get("simulated") or []]
    items.append(texts["truth known" if context.agreement("truth") else "truth unknown"])
    if results["plan"].get("frozen_before_results") is False:
        items.append(
            "The analysis plan was written when measurements were there already. What was chosen after the data were seen "
            "claims nothing."
        )
    n = len(context.centers)
    if n < FEW_CENTERS:
        items.append(texts["few centers"].format(n="1 center" if n == 1 else f"{n} centers"))
    if "propos" in str(results["plan"].get("margins_origin") or ""):
        items.append(texts["proposed margins"])
    items += [texts["not read"], texts["beyond"]]
    return [{"kind": "list", "title": "Limits", "items": items, "folded": False}]


def banner(context: Context, kind: str) -> str:
    """The warning that belongs to a kind of simulated data."""
    known = context.texts["banners"]
    return str(known.get(kind) or known["other"].format(kind=kind))


def plain_sentence(context: Context, entry: Decision) -> str:
    """``LV ejection fraction with CardioMM: valid up to 8× uniform. At 16× ... it was not shown that ...``."""
    head = f"{tables.phenotype_label(entry['phenotype'])} with {tables.method_label(entry['method'])}: "
    passed, stopped = climbed(entry)
    if passed is None:
        words = "not shown to be valid."
    elif entry.get("planned_after"):
        words = f"shown up to {_place(context, passed)}, but not claimed, because the plan was written when measurements were there."
    elif entry.get("primary", True):
        words = f"valid up to {_place(context, passed)}."
    else:
        words = f"shown up to {_place(context, passed)}, but not claimed, because the plan does not name it as a main measurement."
    if stopped is None:
        return f"{head}{words} This is the highest acceleration tested." if passed else f"{head}{words}"
    why = " and ".join(dict.fromkeys(_reasons(context, entry["phenotype"], stopped)))
    return f"{head}{words} At {_place(context, stopped, effective=False)} {why}."


def climbed(entry: Decision) -> tuple[Level | None, Level | None]:
    """The highest level that was passed together with all below it, and the level that ended the climb."""
    passed = None
    for level in entry["levels"]:
        if not level.get("passed", level["verdict"] == "shown"):
            return passed, level
        passed = level
    return passed, None


def _reasons(context: Context, phenotype: str, level: Level) -> list[str]:
    """In plain words, what was not shown in the arms of a level."""
    margins = context.margins(phenotype) or {}
    unit = margins.get("unit") or tables.phenotype_unit(phenotype)
    bias, single = (
        f"{m} {unit}".strip() for m in (bias_margin_text(margins), tables.plus_minus(margins.get("limits")))
    )
    rows = context.agreement("fully_sampled")
    said = {
        "bias only": f"the average is right within {bias}, but single patients may differ by more than {single}",
        "not shown": f"it was not shown that the average difference stays within {bias}",
        "centers": "the average of all patients is right, but a center contradicts it",
        "spread": "centers differ by too much to speak for other centers",
        "failures": "too many patients had no value",
        "withheld": "a center has too few patients to give its result",
    }
    same = "all patients differ by the same amount, which measurements never do"
    words = []
    for arm in level["arms"]:
        row = rows.get((phenotype, arm)) or {"verdict": level["verdict"]}
        if row["verdict"] == "too few":
            words.append(f"there are too few patients to decide ({tables.counts(row)} with both values)")
        elif row["verdict"] == "shown":
            why = row.get("contradicted_by", ["centers"] if len(level["arms"]) == 1 else [])
            words += [said[who] for who in why]
        elif row["verdict"] == "not shown" and has_no_spread(row.get("sd"), margins.get("limits") or 0.0):
            words.append(same)
        else:
            words.append(said[row["verdict"]])
    return words or ["it was not measured"]


def _place(context: Context, level: Level, *, effective: bool = True) -> str:
    """Pattern and acceleration of a level, perhaps with the effective one."""
    named = {a["arm"]: a for a in context.arms}
    arms = [named[name] for name in level["arms"] if name in named]
    if not arms:
        return str(level.get("label") or tables.acceleration(level["acceleration"]))
    known = [tables.effective(a) for a in arms] if effective else []
    added = [f" (effective {k})" if k != tables.MISSING else "" for k in known] or [""] * len(arms)
    return " and ".join(tables.arm_short(a) + e for a, e in zip(arms, added, strict=True))


def _badges(stored: Sequence[Decision]) -> list[tuple[str, str, str | None]]:
    """How many measurements of each method may be taken at some acceleration."""
    made: list[tuple[str, str, str | None]] = []
    for method in dict.fromkeys(d["method"] for d in stored):
        mine = [d for d in stored if d["method"] == method]
        valid = sum(d.get("claimed_up_to") is not None for d in mine)
        made.append((tables.method_label(method), f"{valid} of {len(mine)} measurements valid when accelerated", None))
    return made


def _how_far(context: Context, stored: Sequence[Decision]) -> tables.Table:
    methods = list(dict.fromkeys(d["method"] for d in stored))
    entries = {(d["phenotype"], d["method"]): d for d in stored}
    rows = []
    for phenotype in in_order([p for p, _ in entries]):
        cells = [tables.text(tables.with_unit(phenotype), href=f"#plots-{phenotype}")]
        cells += [tables.text(_cell(context, entries.get((phenotype, m)))) for m in methods]
        rows.append(Row(tuple(cells)))
    caption = "Up to which acceleration may each measurement be taken from the accelerated scan?"
    return tables.make_table(caption, ["Measurement", *(tables.method_label(m) for m in methods)], rows)


def _cell(context: Context, entry: Decision | None) -> str:
    if entry is None:
        return tables.MISSING
    passed, _ = climbed(entry)
    if passed is None:
        return "not shown"
    is_claim = entry.get("primary", True) and not entry.get("planned_after")
    return f"up to {_place(context, passed)}" + ("" if is_claim else ", not claimed")


def _summary_plot(context: Context) -> list[Block]:
    """Every measurement on the scale of its margins, a panel an arm."""
    rows = context.agreement("fully_sampled")
    phenotypes = [p for p in in_order([p for p, _ in rows]) if context.margins(p)]
    columns = [
        {
            "title": tables.arm_label(arm),
            "rows": {p: rows[p, arm["arm"]] for p in phenotypes if (p, arm["arm"]) in rows},
            "margins": {p: context.margins(p) for p in phenotypes},
        }
        for arm in context.arms
    ]
    columns = [c for c in columns if c["rows"]]
    if not columns:
        return []
    key = context.pictures.add(decision_figures.margin_key(), suffix=".svg")
    plot = context.pictures.add(decision_figures.margin_summary(columns, phenotypes=phenotypes), suffix=".svg")
    item = {
        "name": plot,
        "caption": "Between −1 and 1 (shaded) a measurement is inside its margin: the thick line must lie there for the average, the "
        "thin line for single patients.",
        "alt": "Difference from the fully sampled scan of all measurements in units of their margins, a panel a reconstruction; "
        "the numbers are in the grid below",
    }
    marks: Block = {"kind": "plot_key", "name": key, "alt": "Key to the plot: marks by verdict, lines, shaded margin"}
    return [marks, plots_block("All measurements in one plot", [item])]
