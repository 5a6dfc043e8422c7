"""What does a scheduled validation do? The thin flow that Prefect serves: one run in a folder of its own, told of on its
page.

Prefect makes the form of its page from the types here, and refuses what does not fit before a run begins.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cohort.records import CardioValError
from flows.config import ValidationConfig, load_config, prepare_environment
from flows.run_folders import RunFolder, ended, last_ended, next_folder, only_run
from recon.inference import Method, pick_device
from recon.sampling import Pattern

prepare_environment()
from prefect import flow
from prefect.concurrency.sync import concurrency
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed, State

from flows.notifications import FLOW, announce, publish, worse_verdicts
from flows.run_log import OnFailure
from flows.run_server import hushed, one_line
from flows.terminal import failure_line
from flows.validate import Advance, RunSummary, validate

GPU_LIMIT = "cardioval-gpu"
TENTHS = 10


class Mask(BaseModel):
    """One mask of the accelerated arms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: Pattern = Field(description="How the mask is drawn.")
    acceleration: float = Field(gt=1, description="Nominal acceleration.")


class Part(BaseModel):
    """A part of the study, or other arms. Empty lists leave what the configuration says; anything else is a study with
    a name of its own, so that it is only compared with runs of the same part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    centers: list[str] = Field(default=[], description="Only these centers.")
    methods: list[Method] = Field(default=[], description="Only these methods of reconstruction.")
    masks: list[Mask] = Field(default=[], description="These masks instead of the configuration's.")


class How(BaseModel):
    """How it is computed and shown. Nothing here changes a number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_images: Literal["as configured", "yes", "no"] = Field(
        default="as configured", description="Keep the images and labels of all arms once they are measured."
    )
    device: Literal["as configured", "auto", "cpu", "cuda"] = Field(
        default="as configured", description="What computes."
    )
    fresh: bool = Field(default=False, description="Begin anew, even where the last run did not end.")
    gpu_limit: str = Field(
        default=GPU_LIMIT,
        min_length=1,
        description="Global concurrency limit that a run on a GPU waits for; runs on one GPU share one.",
    )
    report_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="Address at which the study's folder of runs is served; empty links to the file.",
    )


@flow(name=FLOW, persist_result=False, log_prints=False)
def nightly(
    config: Annotated[str, Field(min_length=1)],
    part: Part = Part(),  # noqa: B008 - frozen
    how: How = How(),  # noqa: B008 - frozen
) -> State[Any]:
    """Validate the reconstructions of a cohort against its fully sampled images.

    Every run has a dated folder in the study's output folder; one that was interrupted is gone on with.

    Args:
        config: Path of the configuration on the machine that computes.
        part: A part of the study, or other arms.
        how: How it is computed and shown.
    """
    # Prefect takes the texts of its form from "Args:", which is why this is not numpy's style
    logger = get_run_logger()
    try:
        summary, folder, worse = scheduled_run(Path(config), part=part, how=how, say=logger.info, warn=logger.warning)
    except Exception as problem:
        # ours say in a line what is wrong and what to do. Raised, Prefect would write them to its storage as a pickle
        if not isinstance(problem, CardioValError):
            logger.exception("not an error that was foreseen")
        hushed()
        return Failed(message=str(problem) if isinstance(problem, CardioValError) else one_line(problem))
    words = [f"{summary.results['cohort']['n_patients']} patients in {folder.path}"]
    words += [many(summary.n_failed, "failure")] if summary.n_failed else []
    words += [f"{many(len(worse), 'verdict')} worse than in the run before"] if worse else []
    return Completed(message=", ".join(words))


def scheduled_run(
    path: Path,
    *,
    part: Part,
    how: How,
    say: Any = lambda line: None,
    warn: Any = lambda line: None,
    now: Any = lambda: datetime.now(UTC),
) -> tuple[RunSummary, RunFolder, list[str]]:
    """Run the study in its next folder, tell of it, and note that it ended.

    Parameters
    ----------
    path
        Of the configuration.
    part, how
        What the form asks for.
    say, warn
        Told lines.
    now
        The time, for tests.

    Returns
    -------
    tuple
        The run, its folder, and in one line each the verdicts that are worse than in the run before.

    Raises
    ------
    ConfigProblem
        The configuration cannot be used, or another run of the study is going on.
    """
    study = requested(load_config(path), part=part, how=how)
    with only_run(study.out, study=study.name):
        folder = next_folder(study, now=now(), fresh=how.fresh)
        say(f"{'goes on' if folder.attempts > 1 else 'begins'} in {folder.path} (attempt {folder.attempts})")
        before = last_ended(folder)
        with gpu_turn(study, limit=how.gpu_limit):
            summary = validate(
                replace(study, out=folder.path), resume=True, advance=in_tenths(say), on_failure=first_few(warn)
            )
        worse = worse_verdicts(summary, before=before.path if before else None, warn=warn)
        for line in worse:
            warn(line)
        publish(summary, worse, before=before.path if before else None, report_url=how.report_url, warn=warn)
        announce(summary, worse, report_url=how.report_url, warn=warn)
        # last: who is interrupted before goes on here, and tells twice rather than never
        return summary, ended(folder, now=now()), worse


def requested(config: ValidationConfig, *, part: Part, how: How) -> ValidationConfig:
    """The configuration with what the form asks for."""
    select, masks, methods = config.select, config.undersampling, config.reconstruction
    if part.centers:
        select = replace(select, center=tuple(part.centers))
    if part.methods:
        methods = replace(methods, methods=tuple(part.methods))
    if part.masks:
        masks = replace(masks, patterns=tuple((mask.pattern, mask.acceleration) for mask in part.masks))
    running = config.running
    if how.keep_images != "as configured":
        running = replace(running, keep_images=how.keep_images == "yes")
    if how.device != "as configured":
        running = replace(running, device=how.device)
    asked = replace(config, select=select, undersampling=masks, reconstruction=methods, running=running)
    if asked.science() == config.science():
        return asked
    return replace(asked, name=f"{config.name} ({described(part)})")


def described(part: Part) -> str:
    """The part in words, always the same for the same part."""
    masks = [f"{mask.pattern} {mask.acceleration:g}" for mask in part.masks]
    return "; ".join(", ".join(words) for words in (part.centers, part.methods, masks) if words)


@contextmanager
def gpu_turn(config: ValidationConfig, *, limit: str) -> Iterator[None]:
    """Wait for the GPU where the run computes on one; runs on the CPU wait for nobody."""
    if pick_device(config.running.device).type == "cpu":
        yield
    else:
        # a lease that could not be renewed, while the server restarts, shall not end hours of work
        with concurrency(limit, occupy=1, raise_on_lease_renewal_failure=False):
            yield


def in_tenths(say: Any) -> Advance:
    """Progress as lines of a log: a line for each tenth of a stage."""
    told: dict[str, int] = {}

    def advance(stage: str, done: int, total: int, scan: str) -> None:
        del scan
        tenth = done * TENTHS // max(total, 1)
        if tenth > told.get(stage, 0):
            told[stage] = tenth
            say(f"{stage}: {done} of {total} scans")

    return advance


def first_few(warn: Any) -> OnFailure:
    """Failed scans as lines of a log, named while they are few."""
    counts: dict[str, int] = {}

    def failed(stage: str, scan: str, reason: str) -> None:
        count = counts[stage] = counts.get(stage, 0) + 1
        if line := failure_line(stage, scan, reason, count):
            warn(line)

    return failed


def many(n: int, what: str) -> str:
    """A number of things."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
