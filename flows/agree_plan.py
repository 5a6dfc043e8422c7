"""What is fixed before a table of readings is read: margins, levels, reference and what the replicates are?"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cohort.atomic import write_text
from cohort.foreign import parse_toml, read_content
from cohort.records import ConfigProblem, MissingFile
from flows.agree_table import TableOptions
from flows.analysis_options import Statistics
from flows.analysis_plan import PLAN_FILE, AnalysisPlan, canonical, plan_facts, plan_hash, read_plan
from flows.margins import Margins, checked_margin

Truth = Literal["", "constant", "varying"]
NOTHING_FIXED = "none: nothing was fixed beforehand, so the study describes"
UNUSED = ("ladder", "methods", "reclassification", "diagnosis", "bootstrap", "rules")  # they are about images
VERDICT_RULE = (
    "the 1 - 2 alpha interval of the mean difference lies inside the margin of the bias, and the outer confidence limits "
    "of the 95 % limits of agreement inside the margin of the limits; never where all differences are the same, and no "
    "claim where the whole interval of the share inside, failures counted as outside, lies below 95 %; no comparison is "
    "corrected for the others"
)


@dataclass(frozen=True)
class AgreementOptions:
    """How an agreement study is made.

    Attributes
    ----------
    table
        How the table is to be understood.
    reference
        The method that others are compared with; empty for the first of the table.
    tests
        Methods to compare; empty for all others.
    margins
        File of the margins; None for a description.
    truth
        Whether what is measured stays the same between the replicates of a subject; needed where there are any.
    error_ratio
        Of Deming regression: variance of the errors of the test over that of the reference. None takes it from the
        replicates where the truth is constant, and 1 elsewhere.
    confidence, alpha, minimum
        Of intervals; of each one-sided test; fewest subjects for a verdict.
    title
        Of the page.
    """

    table: TableOptions = field(default_factory=TableOptions)
    reference: str = ""
    tests: tuple[str, ...] = ()
    margins: Path | None = None
    truth: Truth = ""
    error_ratio: float | None = None
    confidence: float = 0.95
    alpha: float = 0.05
    minimum: int = 6
    title: str = ""

    def __post_init__(self) -> None:
        if self.truth not in ("", "constant", "varying"):
            raise ConfigProblem(f"--truth: expected constant or varying, got {self.truth!r}")
        if self.error_ratio is not None and not 0 < self.error_ratio < float("inf"):
            raise ConfigProblem(f"--error-ratio must be a number above 0, got {self.error_ratio}")
        if self.reference and self.reference in self.tests:
            raise ConfigProblem(f"{self.reference!r} is the reference and cannot be a test as well")


def agreement_plan(options: AgreementOptions) -> AnalysisPlan:
    """Margins and levels as the analysis of a validation takes them."""
    chosen = Statistics(confidence=options.confidence, alpha=options.alpha, minimum_patients=options.minimum)
    return AnalysisPlan(margins=agreement_margins(options.margins), options=chosen)


def agreement_margins(path: Path | None) -> Margins:
    """Read a margins file whose measurements may have any name.

    Raises
    ------
    MissingFile
        If there is no such file.
    ConfigProblem
        If it is no TOML, has no ``origin`` or no margins, or a margin is not a number above 0 with a unit.
    """
    if path is None:
        return Margins({}, NOTHING_FIXED)
    if not path.is_file():
        raise MissingFile(path, "no such margins file")
    content = read_content(path)
    table = parse_toml(content, path)
    rows, origin = table.get("margins"), table.get("origin")
    if not isinstance(rows, dict) or not rows or not isinstance(origin, str) or not origin.strip():
        raise ConfigProblem(f"{path}: expected `origin` (who set the margins) and tables [margins.<measurement>]")
    by_name = {name: checked_margin(path, name, row) for name, row in rows.items()}
    return Margins(by_name, origin, hashlib.sha256(content).hexdigest())


def agreement_plan_facts(plan: AnalysisPlan, options: AgreementOptions) -> dict[str, Any]:
    """The plan as results.json has it, with its hash; what is about images is left out."""
    facts = {key: value for key, value in plan_facts(plan).items() if key not in (*UNUSED, "sha256")}
    facts["rules"] = {"verdict": VERDICT_RULE}
    facts["ladder"], facts["kind"] = [], "agreement"
    facts["agreement"] = {
        "reference": options.reference,
        "tests": list(options.tests),
        "truth": options.truth,
        "error_ratio": options.error_ratio,
    }
    facts = json.loads(canonical(facts))
    return facts | {"sha256": plan_hash(facts)}


def freeze_agreement(facts: Mapping[str, Any], folder: Path, *, now: datetime | None = None) -> dict[str, Any]:
    """Write ``plan.json`` into the folder of a study before its table is read, or find the same plan there.

    Raises
    ------
    ConfigProblem
        If the folder holds another plan, or something that is no agreement study.
    """
    path = folder / PLAN_FILE
    if path.exists():
        frozen = read_plan(path)
        if frozen["sha256"] != facts["sha256"]:
            keys = sorted(
                k for k in {*frozen, *facts} - {"sha256", "frozen_utc", "file"} if frozen.get(k) != facts.get(k)
            )
            raise ConfigProblem(
                f"{path} fixes another plan ({', '.join(keys)} differ); a plan is not changed once data are seen: give "
                "another folder by --out"
            )
        return frozen
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigProblem(f"{folder} holds something else than an agreement study; give another folder by --out")
    moment = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    frozen = dict(facts) | {"frozen_utc": moment, "file": PLAN_FILE}
    write_text(path, json.dumps(frozen, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return frozen
