"""What is fixed before the data are seen, how is that proven, and does a run still follow it?

A plan is made from the configuration alone. Its canonical JSON has a SHA-256; both are written to ``plan.json`` before a
measurement is read, and a run that goes on in the same folder must follow the same plan.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohort.atomic import write_text
from cohort.foreign import read_json
from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.analysis_options import Statistics
from flows.config import ValidationConfig
from flows.diagnosis_rules import DiagnosisRules, load_diagnosis
from flows.margins import Margins, load_margins

PLAN_FILE = "plan.json"
PLAN_SCHEMA = 1
RESAMPLES_OF_LIMITS = 10_000  # their tails need more than means do
# facts about the freezing, not part of what is fixed
NOT_HASHED = ("sha256", "frozen_utc", "file", "frozen_before_results")
# <= 35 and <= 40 are impaired, >= 50 is not: the class that a cut-off itself belongs to
ABOVE_FROM_PERCENT = 50.0
CLASS_RULE = "a cut-off below 50 % belongs to the class under it, one from 50 % on to the class over it"
CENTER_RULES = {
    "interval": "no claim where the whole interval of a center's mean difference lies outside the margin of the bias",
    "mean": "no claim where a center's mean difference lies outside the margin of the bias",
    "described": "centers are described and decide nothing",
}
FAILURE_RULE = (
    "patients without a value are not filled in; the verdict rests on the pairs, and beside it all failures are counted "
    "as outside the margin of the limits, with the number of patients at that margin that the claim would bear; no claim "
    "where the whole interval of the share inside, so counted, lies below 95 %"
)
LADDER_RULE = (
    "accelerations are tested within each phenotype and method from the lowest nominal one; the claim ends before the "
    "first at which an arm is not shown, or its centers or its failures contradict it (fixed sequence, no correction)"
)
VERDICT_RULE = (
    "the 1 - 2 alpha interval of the mean difference lies inside the margin of the bias, and the outer exact confidence "
    "limits of the 95 % limits of agreement lie inside the margin of the limits; never where all differences are the same"
)
CENTER_UNIT_RULE = (
    "from minimum_centers on a claim is one for further centers: the 1 - 2 alpha interval of the random-effects mean lies "
    "inside the margin of the bias, and the outer confidence limits of the limits for a new patient of a new center inside "
    "that of the limits; below, it is one for the centers studied"
)


@dataclass(frozen=True)
class Rung:
    """A pattern and its nominal acceleration."""

    pattern: str
    acceleration: float


@dataclass(frozen=True)
class AnalysisPlan:
    """All choices of the analysis; an empty `ladder` or `methods` takes those of the table.

    `primary` carries the claim; `primary_stated` says whether somebody named it, or it is all that has margins.
    """

    margins: Margins
    options: Statistics = field(default_factory=Statistics)
    ladder: tuple[Rung, ...] = ()
    methods: tuple[str, ...] = ()
    diagnosis: DiagnosisRules = field(default_factory=load_diagnosis)

    @property
    def primary(self) -> tuple[str, ...]:
        """Phenotypes that carry the claim."""
        return self.options.primary or tuple(self.margins.by_phenotype)

    @property
    def primary_stated(self) -> bool:
        """Whether the configuration names them."""
        return bool(self.options.primary)


def plan_of(config: ValidationConfig) -> AnalysisPlan:
    """Make the plan of a run from its configuration.

    Raises
    ------
    ConfigProblem
        If a primary phenotype has no margins, or the configuration names a plan.json that fixes something else.
    """
    chosen = config.statistics
    rungs = sorted({Rung(p, float(a)) for p, a in config.undersampling.patterns}, key=_height)
    plan = AnalysisPlan(
        margins=load_margins(Path(chosen.margins) if chosen.margins else None),
        options=chosen,
        ladder=tuple(rungs),
        methods=tuple(config.reconstruction.methods),
        diagnosis=load_diagnosis(Path(chosen.diagnosis) if chosen.diagnosis else None),
    )
    check_primary(plan)
    if chosen.plan:
        _check_same(Path(chosen.plan), read_plan(Path(chosen.plan)), plan_facts(plan))
    return plan


def check_primary(plan: AnalysisPlan) -> None:
    """Refuse a claim that nothing could support.

    Raises
    ------
    ConfigProblem
        If a phenotype named as primary has no margins.
    """
    bare = [name for name in plan.options.primary if name not in plan.margins.by_phenotype]
    if bare:
        raise ConfigProblem(
            f"statistics.primary: {', '.join(bare)} has no margins, so that nothing could be claimed; add it to the "
            "margins file or leave it out"
        )


def plan_facts(plan: AnalysisPlan) -> dict[str, Any]:
    """The plan as results.json has it, with its hash; the same plan gives the same hash on every machine."""
    options = plan.options
    facts: dict[str, Any] = {
        "schema": PLAN_SCHEMA,
        "confidence": options.confidence,
        "alpha": options.alpha,
        "minimum_patients": options.minimum_patients,
        "margins": {
            name: {
                "bias": margin.bias,
                "bias_lower": margin.lower,
                "bias_upper": margin.upper,
                "limits": margin.limits,
                "unit": margin.unit,
                "evidence": margin.evidence,
            }
            for name, margin in plan.margins.by_phenotype.items()
        },
        "margins_origin": plan.margins.origin,
        "margins_sha256": plan.margins.sha256,
        "primary": list(plan.primary),
        "primary_stated": plan.primary_stated,
        "ladder": [asdict(rung) for rung in plan.ladder],
        "methods": list(plan.methods),
        "centers": {
            "rule": options.center_rule,
            "rule_text": CENTER_RULES[options.center_rule],
            "unit_text": CENTER_UNIT_RULE if options.center_rule != "described" else CENTER_RULES["described"],
            "minimum_in_center": options.minimum_in_center,
            "minimum_centers": options.minimum_centers,
        },
        "rules": {"verdict": VERDICT_RULE, "ladder": LADDER_RULE, "failures": FAILURE_RULE},
        "reclassification": {
            "lv_ef_percent": {"cut_offs": list(options.ef_cut_offs), "near": options.ef_near, "rule": CLASS_RULE}
        },
        "diagnosis": asdict(plan.diagnosis),
        "bootstrap": {
            "n_resamples": options.n_resamples,
            "n_resamples_of_limits": RESAMPLES_OF_LIMITS,
            "seed": options.seed,
        },
    }
    # through JSON once, so that tuples and numbers are what a reader of plan.json gets
    facts = json.loads(canonical(facts))
    return facts | {"sha256": plan_hash(facts)}


def canonical(facts: Mapping[str, Any]) -> str:
    """JSON in the one form that is hashed: sorted keys, no spaces, no NaN."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def plan_hash(facts: Mapping[str, Any]) -> str:
    """SHA-256 of all that is fixed; facts about the freezing do not count."""
    fixed = {key: value for key, value in facts.items() if key not in NOT_HASHED}
    return hashlib.sha256(canonical(fixed).encode()).hexdigest()


def freeze(plan: AnalysisPlan, folder: Path, *, now: datetime | None = None) -> dict[str, Any]:
    """Write ``plan.json`` into a run's folder, or find the same plan there; return it with the time it was frozen.

    A folder with measurements but without a plan (a run of an earlier version) gets one that says it came after them.

    Raises
    ------
    ConfigProblem
        If the folder holds another plan.
    """
    path, facts = folder / PLAN_FILE, plan_facts(plan)
    if path.exists():
        frozen = read_plan(path)
        _check_same(path, frozen, facts)
        return frozen
    moment = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    frozen = facts | {"frozen_utc": moment, "frozen_before_results": not _has_results(folder), "file": PLAN_FILE}
    write_text(path, json.dumps(frozen, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return frozen


def read_plan(path: Path) -> dict[str, Any]:
    """A plan.json, checked against its own hash.

    Raises
    ------
    MissingFile, UnreadableFile
        If it is not there, is no plan, or was changed after it was frozen.
    """
    if not path.is_file():
        raise MissingFile(path, "no such plan")
    facts = read_json(path)
    if not isinstance(facts, dict) or "sha256" not in facts:
        raise UnreadableFile(path, "expected a plan with its sha256, as `cardioval validate` writes it")
    if plan_hash(facts) != facts["sha256"]:
        raise UnreadableFile(path, "was changed after it was frozen: its content does not have the hash it states")
    return facts


def _check_same(path: Path, frozen: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if frozen["sha256"] == wanted["sha256"]:
        return
    keys = sorted((set(frozen) | set(wanted)) - set(NOT_HASHED))
    differing = [key for key in keys if frozen.get(key) != wanted.get(key)]
    raise ConfigProblem(
        f"{path} fixes another plan ({str(frozen['sha256'])[:12]}) than the configuration asks for "
        f"({str(wanted['sha256'])[:12]}): {', '.join(differing)} differ. A plan is not changed once data are seen; "
        "restore the configuration, or run it in another folder"
    )


def _has_results(folder: Path) -> bool:
    if (folder / "measurements.parquet").exists() or (folder / "results.json").exists():
        return True
    return (folder / "scans").is_dir() and any((folder / "scans").rglob("measurements.json"))


def _height(rung: Rung) -> tuple[float, str]:
    return rung.acceleration, rung.pattern


def rungs_of(arms: Sequence[Mapping[str, Any]]) -> tuple[Rung, ...]:
    """The ladder of the arms that were made, from the lowest acceleration."""
    found = {Rung(str(arm["pattern"]), float(arm["acceleration"])) for arm in arms if arm["method"] != "fully_sampled"}
    return tuple(sorted(found, key=_height))
