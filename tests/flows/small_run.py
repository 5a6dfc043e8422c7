"""A run so small that it can be cut off hundreds of times: real stages, tables and statistics, drawn labels, no server and
an empty report."""

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cohort.synthetic.acquisition import Receiver
from cohort.synthetic.study import Center, ScanPlan, simulate_cohort
from flows.config import HistoryOptions, Reconstruction, Undersampling, ValidationConfig
from flows.running import Running

CENTER = Center("Center001", "Siemens", "Aera", 1.5, (40, 48), (300.0, 340.0), Receiver(n_coils=2, snr=40.0))
TIMES = {
    "study": {"created_utc"},
    "provenance": {"started_utc", "wall_s", "commit"},  # who develops may commit meanwhile
    "plan": {"frozen_utc"},
}


def small_cohort(root: Path) -> Path:
    """Two patients with a cine of two frames each."""
    simulate_cohort(
        root, centers=[CENTER], patients_per_center=2, plan=ScanPlan(n_frames=2, n_slices=3, mapping=()), seed=3
    )
    return root


def small_config(cohort: Path, out: Path, **changes: Any) -> ValidationConfig:
    """One accelerated arm."""
    options: dict[str, Any] = {
        "undersampling": Undersampling(patterns=(("Uniform", 2.0),), n_calibration=8),
        "reconstruction": Reconstruction(methods=("zero_filled",), reliability=False),
        "running": Running(device="cpu", workers=1, retries=0),
        "history": HistoryOptions(record=False),
    }
    return ValidationConfig(name="small", cohort=cohort, out=out, **(options | changes))


def drawn_labels(image: NDArray[Any], **_: Any) -> NDArray[np.uint8]:
    """A ring that contracts, and a right ventricle beside it, wherever the image has them."""
    _, _, n_y, n_x = image.shape
    y, x = np.mgrid[:n_y, :n_x]
    radius, beside = np.hypot(y - n_y / 2, x - n_x / 2), np.hypot(y - n_y / 2, x - n_x / 2 + 14)
    labels = np.zeros(image.shape, np.uint8)
    for frame, plane in enumerate(labels):
        plane[:, beside < 6 - frame] = 3
        plane[:, radius < 9] = 2
        plane[:, radius < 6 - 2 * frame] = 1
    return labels


@dataclass
class Done:
    """Manifests that stages wrote, in order."""

    manifests: list[Path] = field(default_factory=list)


@contextlib.contextmanager
def small_flow(*, prefect: bool = False) -> Iterator[Done]:
    """Patch what takes long; `prefect` keeps the real flow and its server."""
    import flows.measure
    import flows.outcome
    import flows.stages
    import flows.validate
    import reports.study

    done = Done()
    write, measure, differences, analyse = (
        flows.stages.write_manifest,
        flows.measure.measure_cine,
        flows.outcome.segment_differences,
        flows.outcome.analyse,
    )

    def of_labels(image: NDArray[Any], labels: NDArray[Any], **options: Any) -> Any:
        # the record of the reconstruction says when it was made
        asked = repr({key: value for key, value in options.items() if key != "recon"})
        return once(("measure", image.tobytes(), labels.tobytes(), asked), lambda: measure(image, labels, **options))

    def of_segments(table: pd.DataFrame) -> Any:
        return once(("segments", table.to_csv()), lambda: differences(table))

    def of_table(table: pd.DataFrame, **options: Any) -> dict[str, Any]:
        results = once(("analyse", table.to_csv(), repr(options["plan"])), lambda: analyse(table, **options))
        return {**copy.deepcopy(results), "plan": dict(options["frozen"])}

    def noted(path: Path, **facts: Any) -> Path:
        written = write(path, **facts)
        done.manifests.append(path)
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows.stages, "segment", drawn_labels)
        patch.setattr(flows.stages, "write_manifest", noted)
        patch.setattr(flows.measure, "write_manifest", noted)
        patch.setattr(flows.measure, "measure_cine", of_labels)
        patch.setattr(flows.outcome, "segment_differences", of_segments)
        patch.setattr(flows.outcome, "analyse", of_table)
        patch.setattr(reports.study, "study_document", lambda *_: ({"sections": [], "header": {}}, {}))
        patch.setattr(reports.study, "render_html", lambda *_, **__: "<html></html>")
        patch.setattr(reports.study, "render_pdf", lambda *_, **__: b"%PDF")
        patch.setattr(reports.study, "checklist", lambda *_, **__: [])
        if not prefect:
            patch.setattr(flows.validate, "validate_scans", PlainFlow)
            patch.setattr(flows.validate, "server_of_run", contextlib.nullcontext)
        yield done


def once(question: tuple[Any, ...], answer: Callable[[], Any]) -> Any:
    """What takes long and depends on nothing else is computed once for all runs."""
    if question not in _ANSWERS:
        _ANSWERS[question] = answer()
    return _ANSWERS[question]


_ANSWERS: dict[tuple[Any, ...], Any] = {}


class PlainFlow:
    """What the flow does, without Prefect: one stage after the other."""

    @staticmethod
    def with_options(**_: Any) -> Any:
        return PlainFlow.run

    @staticmethod
    def run(study: str, n_scans: int, work: Any) -> tuple[list[Path], list[Any]]:
        from flows.measure import measure_scan
        from flows.resume import stop_reason, stopped
        from flows.stages import reconstruct_scan, segment_scan

        del study, n_scans
        measured = []
        for job in work.jobs:
            try:
                images = reconstruct_scan(job, work.config)
                labels = segment_scan(job, images, work.config)
                measured.append(measure_scan(job, images, labels, work.config))
            except OSError as problem:
                raise stopped(work.config.out, stop_reason(problem, work.config.out)) from problem
        return measured, []


def state(out: Path) -> dict[str, Any]:
    """All that a run leaves, but for times: files as bytes, manifests and results as they are read."""
    found: dict[str, Any] = {}
    for path in sorted(file for file in out.rglob("*") if file.is_file()):
        name = path.relative_to(out).as_posix()
        if name in ("run.toml", "log.jsonl"):
            found[name] = None  # full of times
        elif path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text(encoding="utf-8")))
        else:
            found[name] = path.read_bytes()
    return found


def timeless(content: Any) -> Any:
    """Results, a plan or a manifest without what the clock says."""
    if not isinstance(content, dict):
        return content
    kept = {
        key: value for key, value in content.items() if key not in ("timing", "resources", "frozen_utc", "made_utc")
    }
    for part, keys in TIMES.items():
        if isinstance(kept.get(part), dict):
            kept[part] = {key: value for key, value in kept[part].items() if key not in keys}
    if isinstance(kept.get("arms"), dict):
        kept["arms"] = {name: {k: v for k, v in arm.items() if k != "seconds"} for name, arm in kept["arms"].items()}
    return kept


def fresh(folder: Path) -> Path:
    """An empty place for a run."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
