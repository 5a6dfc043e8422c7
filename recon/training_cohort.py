"""What did the scans look like on which the shipped network was trained? A small table of numbers beside its weights."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cohort.atomic import replacing
from cohort.records import WeightsProblem
from recon.cardiomm.checkpoint import WEIGHTS_FOLDER

SHIPPED_COHORT = WEIGHTS_FOLDER / "training_cohort.json"
N_DIGITS = 4


@dataclass(frozen=True)
class ScanSummary:
    """Measures of one scan, see ``recon.shift``.

    Attributes
    ----------
    rings : tuple of float
        Share of the energy in rings of k-space, from the center to the end of an axis; sum 1.
    coil_correlation : float
        Mean absolute correlation of two coils, 0 to 1; NaN for one coil.
    noise : float
        log10 of noise over signal amplitude.
    density : tuple of float
        Share of points measured, in cells of k-space.
    sentence : str
        What the network was told of the scan.
    """

    rings: tuple[float, ...]
    coil_correlation: float
    noise: float
    density: tuple[float, ...]
    sentence: str


@dataclass(frozen=True)
class TrainingCohort:
    """Draws of a training as the network saw them, and all of its sentences.

    Attributes
    ----------
    scans : tuple of ScanSummary
    sentences : tuple of str
        Every different metadata sentence of the training, also those that no draw happens to hold.
    notes : dict
        Data, terms, command, seed, weights (sha256).
    """

    scans: tuple[ScanSummary, ...]
    sentences: tuple[str, ...]
    notes: dict[str, Any]

    def __post_init__(self) -> None:
        if len(self.scans) < 2 or not self.sentences:
            raise ValueError(
                f"expected at least 2 training scans and a sentence, got {len(self.scans)} and {len(self.sentences)}"
            )


def training_cohort(scans: Sequence[ScanSummary], *, sentences: Sequence[str], notes: dict[str, Any]) -> TrainingCohort:
    """Join the summaries of training draws; sentences of the scans are added to those given."""
    known = dict.fromkeys([*sentences, *(scan.sentence for scan in scans)])
    return TrainingCohort(tuple(scans), tuple(sorted(known)), notes)


def save_training_cohort(path: Path, cohort: TrainingCohort) -> None:
    """Write as JSON, a scan a line, four significant digits."""
    lines = ",\n".join("  " + json.dumps(_rounded(asdict(scan))) for scan in cohort.scans)
    head = json.dumps({"notes": cohort.notes, "sentences": cohort.sentences}, indent=1)[:-2]
    with replacing(path) as temporary:
        temporary.write_text(f'{head},\n "scans": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def load_training_cohort(path: Path = SHIPPED_COHORT) -> TrainingCohort:
    """Read a summary.

    Raises
    ------
    WeightsProblem
        Missing, or not such a summary.
    """
    return _load(path, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=4)
def _load(path: Path, changed: int) -> TrainingCohort:
    if not changed:
        raise WeightsProblem(path, "no such file; make it with flows.training_cohort or give a cohort")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scans = [_summary(scan) for scan in content["scans"]]
        return TrainingCohort(tuple(scans), tuple(content["sentences"]), content["notes"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsProblem(path, f"not a summary of a training cohort ({str(error)[:100]})") from error


def _summary(fields: dict[str, Any]) -> ScanSummary:
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return ScanSummary(**plain)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{N_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, tuple | list) else value
