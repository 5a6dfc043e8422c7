"""Which differences would not matter, who said so, and which file fixed them?"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cohort.foreign import parse_toml, read_content
from cohort.phenotypes import VOCABULARY
from cohort.records import ConfigProblem, MissingFile

PROPOSED = Path(__file__).parent / "configs" / "margins.toml"
MINUS = "\u2212"


@dataclass(frozen=True)
class Margin:
    """Margins of one phenotype in `unit`: `bias` for the mean difference, `limits` for individuals.

    The mean difference must lie inside ``(lower, upper)``: +-`bias`, or `bias_lower` to `bias_upper` where one direction
    is worse than the other; `bias` is then the wider of the two.
    """

    bias: float
    limits: float
    unit: str
    evidence: str = ""
    source: str = ""
    bias_lower: float | None = None
    bias_upper: float | None = None

    @property
    def lower(self) -> float:
        """What the mean difference must lie above."""
        return -self.bias if self.bias_lower is None else self.bias_lower

    @property
    def upper(self) -> float:
        """What the mean difference must lie below."""
        return self.bias if self.bias_upper is None else self.bias_upper

    @property
    def symmetric(self) -> bool:
        """Whether both directions are judged alike."""
        return -self.lower == self.upper

    @property
    def bias_text(self) -> str:
        """The margin of the bias in words, without its unit."""
        return f"±{self.bias:g}" if self.symmetric else f"{MINUS}{-self.lower:g} to {self.upper:g}"


@dataclass(frozen=True)
class Margins:
    """Margins by phenotype, where they come from and the SHA-256 of the file that fixed them."""

    by_phenotype: Mapping[str, Margin]
    origin: str
    sha256: str | None = None


def load_margins(path: Path | None = None) -> Margins:
    """Read a margins file; None is the proposal that comes with the project.

    Raises
    ------
    MissingFile
        If there is no such file.
    ConfigProblem
        If it is not TOML, has no `origin` or no margins, names a phenotype that does not exist, or a margin is not a
        number above 0 with a unit.
    """
    path = PROPOSED if path is None else Path(path)
    if not path.is_file():
        raise MissingFile(path, "no such margins file")
    content = read_content(path)
    table = parse_toml(content, path)
    rows, origin = table.get("margins"), table.get("origin")
    if not isinstance(rows, dict) or not rows or not isinstance(origin, str) or not origin.strip():
        raise ConfigProblem(f"{path}: expected `origin` (who set the margins) and tables [margins.<phenotype>]")
    unknown = sorted(set(rows) - set(VOCABULARY))
    if unknown:
        raise ConfigProblem(f"{path}: no phenotype is called {', '.join(unknown)}; known are {', '.join(VOCABULARY)}")
    by_phenotype = {name: checked_margin(path, name, row) for name, row in rows.items()}
    return Margins(by_phenotype, origin, hashlib.sha256(content).hexdigest())


def checked_margin(path: Path, name: str, row: object) -> Margin:
    """One table of a margins file, or ConfigProblem naming what is wrong with it."""
    if not isinstance(row, dict):
        raise ConfigProblem(f"{path}: [margins.{name}] must be a table")
    sides = [key for key in ("bias_lower", "bias_upper") if key in row]
    if len(sides) == 1 or (sides and "bias" in row):
        raise ConfigProblem(f"{path}: [margins.{name}] needs either bias, or bias_lower and bias_upper")
    for key, sign in [("limits", 1), *([("bias_lower", -1), ("bias_upper", 1)] if sides else [("bias", 1)])]:
        value = row.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < sign * value < math.inf:
            side = "above" if sign > 0 else "below"
            raise ConfigProblem(f"{path}: margins.{name}.{key} must be a number {side} 0, got {value!r}")
    if not isinstance(row.get("unit"), str):
        raise ConfigProblem(f"{path}: margins.{name}.unit must name the unit")
    lower, upper = (float(row[key]) for key in ("bias_lower", "bias_upper")) if sides else (None, None)
    return Margin(
        bias=float(row["bias"]) if lower is None or upper is None else max(-lower, upper),
        limits=float(row["limits"]),
        unit=row["unit"],
        evidence=str(row.get("evidence", "")),
        source=str(row.get("source", "")),
        bias_lower=lower,
        bias_upper=upper,
    )
