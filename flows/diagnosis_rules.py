"""Which number should tell which disease, and which patients are cases, controls or neither?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cohort.foreign import parse_toml, read_content
from cohort.phenotypes import VOCABULARY
from cohort.records import ConfigProblem, MissingFile

PROPOSED = Path(__file__).parent / "configs" / "diagnosis.toml"
Side = Literal["low", "high"]
Group = Literal["case", "healthy", "other", "unknown"]


@dataclass(frozen=True)
class DiagnosisRule:
    """A phenotype that is low or high in a disease; `labels` are the words that name it, in small letters."""

    phenotype: str
    disease: str
    labels: tuple[str, ...]
    positive_when: Side


@dataclass(frozen=True)
class DiagnosisRules:
    """All rules, the words for the healthy and for the unknown, and the fewest cases and controls to compare."""

    rules: tuple[DiagnosisRule, ...]
    healthy: tuple[str, ...]
    unknown: tuple[str, ...]
    minimum_cases: int

    def group(self, disease: str | None, rule: DiagnosisRule) -> Group:
        """Sort one patient for a rule."""
        word = "" if disease is None else disease.strip().lower()
        if word in rule.labels:
            return "case"
        if word in self.healthy:
            return "healthy"
        return "unknown" if word in self.unknown else "other"


def load_diagnosis(path: Path | None = None) -> DiagnosisRules:
    """Read a file of rules; None is the one that comes with the project.

    Raises
    ------
    MissingFile
        If there is no such file.
    ConfigProblem
        If it is no TOML, or a rule lacks a part or names a phenotype that does not exist.
    """
    path = PROPOSED if path is None else Path(path)
    if not path.is_file():
        raise MissingFile(path, "no such file of diagnoses")
    table = parse_toml(read_content(path), path)
    rows, least = table.get("rule", []), table.get("minimum_cases")
    if not isinstance(rows, list) or not isinstance(least, int) or isinstance(least, bool) or least < 2:
        raise ConfigProblem(f"{path}: expected tables [[rule]], and minimum_cases of at least 2")
    return DiagnosisRules(
        rules=tuple(_rule(path, row) for row in rows),
        healthy=_words(path, table, "healthy"),
        unknown=_words(path, table, "unknown"),
        minimum_cases=least,
    )


def _rule(path: Path, row: Mapping[str, Any]) -> DiagnosisRule:
    phenotype, disease, side = (row.get(key) for key in ("phenotype", "disease", "positive_when"))
    if not isinstance(phenotype, str) or phenotype not in VOCABULARY:
        raise ConfigProblem(f"{path}: [[rule]] phenotype: no phenotype is called {phenotype!r}")
    if not isinstance(disease, str) or not disease:
        raise ConfigProblem(f"{path}: [[rule]] of {phenotype} must name its disease")
    if side not in ("low", "high"):
        raise ConfigProblem(f'{path}: [[rule]] positive_when: expected "low" or "high", got {side!r}')
    labels = _words(path, row, "labels")
    if not labels:
        raise ConfigProblem(f"{path}: [[rule]] of {phenotype} needs labels")
    return DiagnosisRule(phenotype, disease, labels, side)


def _words(path: Path, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    words = table.get(key)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ConfigProblem(f"{path}: {key} must be a list of words")
    return tuple(word.strip().lower() for word in words)
