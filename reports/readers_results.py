"""What did a reader study find, on one page? Computes no statistic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cohort.atomic import write_text
from reports import tables
from reports.document import Block, Pictures, plots_block, table_block, tabs_block, text_block
from reports.readers_figures import differences, distributions
from reports.readers_page import reader_texts
from reports.render import finite, parse_utc, render_html
from reports.tables import Cell, Row, estimate, make_table, numeric, text

REFERENCE = "fully_sampled"
RESEARCH = "Research software; not for diagnosis."
NO_BREAK = "\u00a0"
RETROSPECTIVE = "Accelerated series were made by leaving out samples of fully sampled scans: readers saw the motion and noise of those."
COMPARED = (
    *("Series", "Arm", "Patients", "Difference", "Bound", "Verdict"),
    *("Readers random", "Patients by all readers", "Missing as worst"),
)
VERDICTS = {"not inferior": "Not inferior", "not shown": "Not shown", "too few": "Too few"}


def write_reader_report(folder: Path, results: Mapping[str, Any], *, version: str) -> Path:
    """Write ``index.html`` from the content of reader_results.json."""
    document, pictures = reader_document(finite(dict(results)), version=version)
    page = folder / "index.html"
    write_text(page, render_html(document, pictures=pictures))
    return page


def reader_document(results: Mapping[str, Any], *, version: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The page as data, and its pictures."""
    pictures = Pictures()
    sections = [
        _section("verdict", "Are readers served as well?", "clinician", INTRO_VERDICT, _verdict(results, pictures)),
        _section("scores", "All criteria", "engineer", INTRO_SCORES, _scores(results, pictures)),
        _section("tests", "Differences between arms", "engineer", INTRO_TESTS, _tests(results)),
        _section("agreement", "Agreement of readers", "regulator", INTRO_AGREEMENT, _agreement(results)),
        _section("readers", "Readers and files", "regulator", INTRO_READERS, _readers(results)),
    ]
    return {"header": _header(results, version), "sections": sections}, pictures.files


INTRO_VERDICT = (
    "Blinded readers scored accelerated and fully sampled series in random order from 1 (non-diagnostic) to 5 (excellent). An arm is not inferior "
    "where the lower bound (one-sided 97.5 %) of its mean difference from fully sampled lies above the margin."
)
INTRO_SCORES = (
    "Differences are taken within a reader and a scan, averaged over readers and scans to one value a patient, and patients are the independent "
    "units (Student t): these results are of the readers who took part. Readers random: readers are a sample as well (Hillis 2007), for readers "
    "who were not there. Missing as worst: an image that an arm could not give counts as 1 by every reader."
)
INTRO_TESTS = (
    "Friedman's test over all arms on patients' mean scores, then Wilcoxon's signed-rank test of each arm against fully sampled, p adjusted by Holm. "
    "A difference that is not significant shows no equality; the verdicts above rest on the margin alone."
)
INTRO_AGREEMENT = (
    "Between readers: first showings. Within a reader: series that were shown twice. Kappa has quadratic weights and falls where nearly all scores "
    "are equal; Gwet's AC2 does not; Krippendorff's alpha (ordinal) allows for open scores. 1 is perfect, 0 is chance. Intervals take series as independent, which those of one patient are not: "
    "they are rather too narrow."
)
INTRO_READERS = "What was handed in, with the hash of each file, and what was decided before anyone scored."


def _header(results: Mapping[str, Any], version: str) -> dict[str, Any]:
    created = parse_utc(results["created_utc"])
    readers, arms = len(results["readers"]), len(results["arms"]) - 1
    methods = list(dict.fromkeys(a["method"] for a in results["arms"] if a["arm"] != REFERENCE))
    return {
        "title": "Reader study",
        "what": f"{readers} reader{'s' * (readers != 1)}, {arms} accelerated arm{'s' * (arms != 1)} against fully sampled, kit {results['kit']}",
        "run": results["run"],
        "name": "reader study",
        "created": created.strftime("%Y-%m-%d %H:%M UTC"),
        "created_utc": results["created_utc"],
        "version": version,
        "banners": [*_simulated(results), *(n for n in results["notes"] if "exploratory" in n)],
        "warnings": [*(n for n in results["notes"] if "exploratory" not in n), RETROSPECTIVE, RESEARCH],
        "methods": [{"id": m, "label": tables.method_label(m)} for m in methods],
    }


def _simulated(results: Mapping[str, Any]) -> list[str]:
    """A warning where what readers saw was never acquired."""
    how = ", ".join(results["simulated"])
    return [f"Simulated data ({how}): these scores say nothing about patients."] if how else []


def _section(identifier: str, title: str, audience: str, intro: str, blocks: list[Block]) -> dict[str, Any]:
    return {"id": identifier, "title": title, "audience": audience, "intro": intro, "blocks": blocks}


def _verdict(results: Mapping[str, Any], pictures: Pictures) -> list[Block]:
    """The primary criterion of each kind: sentences, differences with the margin, and how scores are spread."""
    primary, margin = results["plan"]["primary"], results["plan"]["margin"]
    blocks: list[Block] = []
    sentences = []
    for kind in _kinds(results):
        rows = _rows(results, kind, primary)
        accelerated = [r for r in rows if r["arm"] != REFERENCE]
        sentences += [_sentence(r, kind, results) for r in accelerated]
        items = [
            {
                "name": pictures.add(picture, suffix=".svg"),
                "caption": caption,
                "alt": f"{caption}: {kind}",
            }
            for picture, caption in (
                (
                    differences(accelerated, labels=_labels(results, accelerated), margin=margin),
                    "Mean difference from fully sampled, with 95 % intervals",
                ),
                (
                    distributions(rows, labels=_labels(results, rows), words=reader_texts()["scale"]),
                    "Scores given, first showings of all readers",
                ),
            )
        ]
        blocks.append(plots_block(f"{_title(kind)}: {_criterion(primary).lower()}", items))
    return [{"kind": "list", "title": "In words", "items": sentences, "folded": False}, *blocks]


def _sentence(row: Mapping[str, Any], kind: str, results: Mapping[str, Any]) -> str:
    """The verdict on one arm in words."""
    arm, margin = _label(results, row["arm"]), results["plan"]["margin"]
    what = f"{_title(kind)}, {arm}"
    if row["verdict"] == "too few":
        return f"{what}: no verdict; {row['reason']}."
    difference = tables.interval(row["difference"], 2, signed=True)
    bound = tables.number(row["bound"], 2)
    told = {True: "also with readers as a sample", False: "not with readers as a sample", None: ""}
    of_readers = told[row["readers_random_above_margin"]] if row["verdict"] == "not inferior" else ""
    words = "not inferior to fully sampled" if row["verdict"] == "not inferior" else "not shown to be as good"
    more = f"; {of_readers}" if of_readers else ""
    gaps = ""
    if row["n_missing_images"] and row["missing_as_worst_above_margin"] is False and row["verdict"] == "not inferior":
        gaps = f" This does not hold if the {row['n_missing_images']} missing images count as 1."
    return f"{what}: {words} (difference {difference}, bound {bound} against −{margin:g}, {row['n_patients']} patients{more}).{gaps}"


def _scores(results: Mapping[str, Any], pictures: Pictures) -> list[Block]:
    """Two tables a criterion, kinds and arms below each other, and the spread of the scores."""
    panels = []
    for criterion in results["plan"]["criteria"]:
        rows = [r for r in results["scores"] if r["criterion"] == criterion]
        title = _criterion(criterion)
        given = make_table(
            f"{title}: scores given",
            ("Series", "Arm", "Scores", "Open", "Missing images", "Median (quartiles)", "Mean", "3 or better"),
            [_given_row(results, r) for r in rows],
        )
        compared = make_table(
            f"{title}: differences from fully sampled",
            COMPARED,
            [_compared_row(results, r) for r in rows if r["arm"] != REFERENCE],
        )
        items = []
        for kind in _kinds(results):
            own = [r for r in rows if r["kind"] == kind]
            picture = distributions(own, labels=_labels(results, own), words=reader_texts()["scale"])
            name = pictures.add(picture, suffix=".svg")
            items.append({"name": name, "caption": _title(kind), "alt": f"{_title(kind)}: scores given"})
        plots = plots_block("Scores given", items, folded=True)
        tables_of = [table_block(f"compared-{criterion}", compared), table_block(f"scores-{criterion}", given)]
        panels.append((title, [*tables_of, plots]))
    return [tabs_block("criteria", "Criterion", panels)]


def _given_row(results: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
    """What one arm was given."""
    low, high = (tables.number(q, 1) for q in row["quartiles"])
    share = row["diagnostic_share"]
    cells = (
        text(_title(row["kind"])),
        text(_unbroken(results, row["arm"])),
        *(numeric(row[name], 0) for name in ("n_scores", "n_open", "n_missing_images")),
        Cell(f"{tables.number(row['median'], 1)} ({low} to {high})", row["median"]),
        estimate(row["mean"], 2),
        Cell(tables.MISSING if share is None else f"{100 * share:.0f} %", share),
    )
    return Row(cells, _method(results, row["arm"]))


def _compared_row(results: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
    """How one arm stands against fully sampled."""
    cells = (
        text(_title(row["kind"])),
        text(_unbroken(results, row["arm"])),
        numeric(row["n_patients"], 0),
        estimate(row["difference"], 2, signed=True),
        numeric(row["bound"], 2, signed=True),
        text(VERDICTS[row["verdict"]].replace(" ", NO_BREAK)),
        estimate(row["difference_readers_random"], 2, signed=True),
        numeric(row["n_patients_crossed"], 0),
        estimate(row["difference_missing_as_worst"], 2, signed=True),
    )
    return Row(cells, _method(results, row["arm"]))


def _unbroken(results: Mapping[str, Any], name: str) -> str:
    """An arm's label that stays on one line."""
    return _label(results, name).replace(" ", NO_BREAK)


def _tests(results: Mapping[str, Any]) -> list[Block]:
    """Friedman and the pairs after it."""
    overall, pairs = [], []
    for row in results["tests"]:
        named = (text(_title(row["kind"])), text(_criterion(row["criterion"])))
        friedman = row["friedman"]
        found = (
            (numeric(friedman["statistic"], 2), Cell(tables.p_value(friedman["p"]), friedman["p"]))
            if friedman
            else None
        )
        overall.append(
            Row((*named, numeric(row["n_patients"], 0), *(found or (text(None), text(None))), text(row["reason"])))
        )
        pairs += [
            Row(
                (
                    *named,
                    text(_label(results, p["arm"])),
                    Cell(tables.p_value(p["p"]), p["p"]),
                    Cell(tables.p_value(p["p_holm"]), p["p_holm"]),
                ),
                _method(results, p["arm"]),
            )
            for p in row["pairs"]
        ]
    heads = ("Series", "Criterion", "Patients", "Statistic", "p", "Why not")
    first = make_table("Friedman's test over all arms; patients with scores of every arm", heads, overall)
    blocks = [table_block("friedman", first)]
    if pairs:
        caption = "Wilcoxon's signed-rank test against fully sampled"
        blocks.append(
            table_block("wilcoxon", make_table(caption, ("Series", "Criterion", "Arm", "p", "p by Holm"), pairs))
        )
    return blocks


def _agreement(results: Mapping[str, Any]) -> list[Block]:
    """Between and within readers."""
    between, within, pairs = [], [], []
    for row in results["inter"]:
        named = (text(_title(row["kind"])), text(_criterion(row["criterion"])))
        between.append(
            Row(
                (
                    *named,
                    numeric(row["n_readers"], 0),
                    numeric(row["n_series"], 0),
                    estimate(row["ac2"], 2),
                    estimate(row["alpha"], 2),
                )
            )
        )
        pairs += [Row((*named, text(" and ".join(p["readers"])), *_pair_cells(p))) for p in row["pairs"]]
    for row in results["intra"]:
        named = (text(_title(row["kind"])), text(_criterion(row["criterion"])))
        within.append(Row((*named, text(row["reader"]), *_pair_cells(row))))
    names = ("Series", "Criterion")
    measures = ("Series scored twice", "Equal", "At most 1 apart", "Second minus first", "Kappa")
    blocks = [
        table_block(
            "between", make_table("All readers together", (*names, "Readers", "Series scored", "AC2", "Alpha"), between)
        ),
    ]
    if pairs:
        columns = (*names, "Readers", "Series by both", *measures[1:])
        blocks.append(table_block("pairs", make_table("Readers two by two", columns, pairs)))
    blocks.append(
        table_block(
            "within", make_table("Each reader's second look against the first", (*names, "Reader", *measures), within)
        )
    )
    return blocks


def _pair_cells(pair: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        numeric(pair["n"], 0),
        estimate(pair["equal"], 2),
        estimate(pair["within_one"], 2),
        numeric(pair["mean_difference"], 2, signed=True),
        estimate(pair["kappa"], 2),
    )


def _readers(results: Mapping[str, Any]) -> list[Block]:
    """Files and the plan."""
    rows = [
        Row(
            (
                text(r["reader"]),
                *(numeric(r[name], 0) for name in ("shown", "scored", "open", "median_seconds")),
                text(r["file"]),
                text(r["sha256"]),
            )
        )
        for r in results["readers"]
    ]
    columns = ("Reader", "Series shown", "Scored", "Open", "Median seconds a series", "File", "sha256")
    plan = results["plan"]
    facts = [
        (
            "Margin",
            f"{plan['margin']:g} points"
            + ("" if plan["margin"] == plan["margin_sealed"] else f" (sealed: {plan['margin_sealed']:g})"),
        ),
        ("Claim rests on", _criterion(plan["primary"])),
        ("Criteria", ", ".join(_criterion(c) for c in plan["criteria"])),
        ("Shown twice", f"{100 * plan['repeat']:g} % of the series"),
        ("Level", f"one-sided {100 * (1 - plan['alpha']):g} %, intervals {100 * plan['confidence']:g} %"),
        ("Fewest patients", f"{plan['minimum_patients']} for a verdict"),
        ("Readers asked", ", ".join(plan["readers"])),
        (
            "Several arms",
            "each arm is judged by itself, without correction; the margin and the criterion of the claim were sealed before scoring",
        ),
    ]
    return [
        table_block("files", make_table("Files of scores", columns, rows)),
        text_block(
            "The plan was sealed in the kit's key, whose hash begins with the kit's name and stands on every page and in every file of scores."
        ),
        {"kind": "definitions", "items": facts},
    ]


def _kinds(results: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(r["kind"] for r in results["scores"]))


def _rows(results: Mapping[str, Any], kind: str, criterion: str) -> list[Mapping[str, Any]]:
    return [r for r in results["scores"] if r["kind"] == kind and r["criterion"] == criterion]


def _title(kind: str) -> str:
    return "Cine" if kind == "cine" else kind


def _criterion(name: str) -> str:
    return str(reader_texts()["criteria"].get(name, {}).get("title", name))


def _arm(results: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(a for a in results["arms"] if a["arm"] == name)
    return found


def _label(results: Mapping[str, Any], name: str) -> str:
    return tables.arm_label(_arm(results, name))


def _labels(results: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_label(results, r["arm"]) for r in rows]


def _method(results: Mapping[str, Any], name: str) -> str | None:
    return None if name == REFERENCE else str(_arm(results, name)["method"])
