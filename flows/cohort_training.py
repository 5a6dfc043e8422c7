"""Which scans of a cohort does a training learn from, and which patients are watched?"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohort.catalogue import catalogue_hash, scan_tree, split_by_patient
from cohort.cmrxrecon import read_info
from cohort.records import CardioValError, ConfigProblem, FileProblem
from flows.stages import readout_oversampling
from recon.training import TrainingOptions
from recon.training_scans import MeasuredScans, TrainingScan
from recon.training_team import tells

PATIENT_KEY = ("release", "split", "center", "vendor", "field_t", "scanner", "patient")
"""Patient numbers are used again for other people between releases, sets, centers and scanners."""
GIBIBYTE = 2**30

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CohortData:
    """A cohort of measured scans and how it is used.

    Attributes
    ----------
    root
        In the MMCMR layout, fully sampled.
    monitor_share
        Of its patients, who are watched instead of trained on; 0 for none.
    share
        Of the draws that come from it where there are simulated data as well.
    memory_gib
        For the slices in memory.
    """

    root: Path
    monitor_share: float = 0.1
    share: float = 0.5
    memory_gib: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.monitor_share < 1:
            raise ConfigProblem(f"expected a share of monitor patients from 0 to below 1, got {self.monitor_share}")
        if not 0 < self.share < 1:
            raise ConfigProblem(f"expected a share of measured draws between 0 and 1, got {self.share}")
        if not self.memory_gib > 0:
            raise ConfigProblem(f"expected memory above 0 GiB for the slices, got {self.memory_gib}")


def measured_data(
    cohort: CohortData, *, options: TrainingOptions, notes: dict[str, Any]
) -> tuple[MeasuredScans, MeasuredScans | None]:
    """Scans to train on and scans to watch, of different patients; ``notes`` is told what they are.

    Scans that the catalogue calls bad are left out with a line each. A network of neighboring frames learns from cine
    alone, of as many frames at least.

    Raises
    ------
    ConfigProblem
        No scan can be used, or too few patients to watch some.
    """
    table = scan_tree(cohort.root)
    bad = table[table["status"] != "ok"]
    lines = [f"{row.file}: {row.reason}" for row in bad.itertuples()]
    usable = table[table["status"] == "ok"]
    if options.size.n_adjacent > 1:
        long = usable["shape"].map(lambda shape: shape[0] >= options.size.n_adjacent)
        usable = usable[(usable["modality"] == "cine") & long]
    scans: dict[str, TrainingScan] = {}
    for row in usable.to_dict("records"):
        try:
            scans[row["file"]] = training_scan({str(key): value for key, value in row.items()})
        except CardioValError as problem:
            lines.append(f"{row['file']}: {problem.reason if isinstance(problem, FileProblem) else problem}")
    for line in lines if tells() else ():
        log.warning("training goes on without %s", line)
    if not scans:
        first = f"; the first: {lines[0]}" if lines else ""
        raise ConfigProblem(f"{cohort.root}: no scan can be trained on, {len(table)} were found{first}")
    known = usable[usable["file"].isin(scans)].reset_index(drop=True)
    parts = {"training": known}
    if cohort.monitor_share:
        shares = {"training": 1 - cohort.monitor_share, "monitor": cohort.monitor_share}
        parts = split_by_patient(known, fractions=shares, seed=options.seed)
    if any(part.empty for part in parts.values()):
        raise ConfigProblem(
            f"{cohort.root}: too few patients to watch a share of {cohort.monitor_share} of them; give a larger share, or 0"
        )
    data = {name: stream([scans[file] for file in part["file"]], cohort, options) for name, part in parts.items()}
    notes |= {
        "cohort": cohort.root.name,
        "cohort_sha256": catalogue_hash(table),
        "cohort_share": cohort.share,
        "cohort_left_out": lines,
        **{f"cohort_{name}": list(scans.patients) for name, scans in data.items()},
    }
    return data["training"], data.get("monitor")


def training_scan(row: Mapping[str, Any]) -> TrainingScan:
    """A row of the catalogue, with its readout oversampling from the header."""
    path = Path(row["path"])
    names = ("field_t", "vendor", "scanner", "modality", "view")
    return TrainingScan(
        path=path,
        name=row["file"],
        shape=tuple(int(n) for n in row["shape"]),
        oversampling=readout_oversampling(read_info(path), row["shape"][-1], path=path),
        metadata={name: row[name] for name in names},
        source="/".join(str(row[key]) for key in PATIENT_KEY),
        size_bytes=int(row["size_bytes"]),
    )


def stream(scans: list[TrainingScan], cohort: CohortData, options: TrainingOptions) -> MeasuredScans:
    """Scans that are read piece by piece."""
    return MeasuredScans(
        scans,
        seed=options.seed,
        memory_bytes=int(cohort.memory_gib * GIBIBYTE),
        n_frames=max(MeasuredScans.n_frames, options.size.n_adjacent),
    )
