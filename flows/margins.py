"""Which differences would not matter, who said so, and which file fixed them?"""

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cohort.phenotypes import VOCABULARY
from cohort.records import ConfigProblem, MissingFile

PROPOSED = Path(__file__).parent / "configs" / "margins.toml"


@dataclass(frozen=True)
class Margin:
    """Symmetric margins of one phenotype: `bias` for the mean difference, `limits` for individuals, in `unit`."""

    bias: float
    limits: float
    unit: str
    evidence: str = ""
    source: str = ""


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
    content = path.read_bytes()
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"{path}: not a TOML file: {error}") from error
    rows, origin = table.get("margins"), table.get("origin")
    if not isinstance(rows, dict) or not rows or not isinstance(origin, str) or not origin.strip():
        raise ConfigProblem(f"{path}: expected `origin` (who set the margins) and tables [margins.<phenotype>]")
    unknown = sorted(set(rows) - set(VOCABULARY))
    if unknown:
        raise ConfigProblem(f"{path}: no phenotype is called {', '.join(unknown)}; known are {', '.join(VOCABULARY)}")
    by_phenotype = {name: _margin(path, name, row) for name, row in rows.items()}
    return Margins(by_phenotype, origin, hashlib.sha256(content).hexdigest())


def _margin(path: Path, name: str, row: object) -> Margin:
    if not isinstance(row, dict):
        raise ConfigProblem(f"{path}: [margins.{name}] must be a table")
    for key in ("bias", "limits"):
        value = row.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
            raise ConfigProblem(f"{path}: margins.{name}.{key} must be a number above 0, got {value!r}")
    if not isinstance(row.get("unit"), str):
        raise ConfigProblem(f"{path}: margins.{name}.unit must name the unit")
    return Margin(
        float(row["bias"]), float(row["limits"]), row["unit"], str(row.get("evidence", "")), str(row.get("source", ""))
    )
