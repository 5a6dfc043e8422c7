"""`cardioval history`: runs that were recorded, their biases over time, drift, and the database behind it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cohort.records import ConfigProblem
from flows.terminal import SOME_FAILED, console

app = typer.Typer(no_args_is_help=True, help="Runs over time: list, show, plot, drift; and the database behind it.")

Database = Annotated[
    str,
    typer.Option(
        help="File, or URL without password; default: CARDIOVAL_HISTORY_URL, else cardioval-history.sqlite here."
    ),
]
Study = Annotated[str, typer.Option(help="Name of the study; needed where there are several.")]
Baseline = Annotated[int, typer.Option(help="How many runs, the first ones, the control limits rest on.")]
ChartKind = Annotated[str, typer.Option("--chart", help="individuals, or ewma: the weighted moving average.")]
Sigma = Annotated[float, typer.Option(help="Distance of the limits in standard deviations.")]
Weight = Annotated[float, typer.Option(help="Of the newest run in the moving average.")]
Phenotype = Annotated[
    str, typer.Option(help="One measurement, such as lv_ef_percent; default: those that carry the claim.")
]


@app.command("list")
def list_runs(database: Database = "", study: Annotated[str, typer.Option(help="Only this study.")] = "") -> None:
    """List the runs that were recorded, oldest first."""
    from flows.history_charts import runs_table

    history = opened(database)
    if study:
        one_study(history, study)
    _wide().print(runs_table(history, study=study))


@app.command()
def show(
    run: Annotated[
        str, typer.Argument(help="The first signs of its identity, see `history list`; or latest.")
    ] = "latest",
    database: Database = "",
    every: Annotated[
        bool, typer.Option("--all", help="Every comparison, not only those that carry the claim.")
    ] = False,
) -> None:
    """Show one run: verdicts, biases and limits, failures, and what it rests on."""
    from flows.history_charts import run_tables

    history = opened(database)
    for table in run_tables(history, history.run(run), every=every):
        _wide().print(table)


@app.command()
def plot(
    phenotype: Phenotype = "",
    arm: Annotated[str, typer.Option(help="One arm, such as cardiomm_Uniform8; default: all.")] = "",
    out: Annotated[Path, typer.Option(help="File that ends in .html, .svg, .png or .pdf.")] = Path("history.html"),
    database: Database = "",
    study: Study = "",
    baseline: Baseline = 20,
    chart: ChartKind = "individuals",
    sigma: Sigma = 3.0,
    weight: Weight = 0.2,
    last: Annotated[int, typer.Option(help="Draw only so many runs, the newest; limits and flags are of all.")] = 0,
) -> None:
    """Plot the bias over runs with its control limits, as a picture or as a page with what drifted."""
    from flows.history_charts import page_data, panel_of
    from flows.history_drift import ChartOptions, drift
    from reports.history import SUFFIXES, write_history

    if out.suffix not in SUFFIXES:
        raise ConfigProblem(f"--out: expected a name that ends in {', '.join(SUFFIXES)}, got {out}")
    history = opened(database)
    name = one_study(history, study)
    options = ChartOptions(kind=chart, baseline=baseline, n_sigma=sigma, weight=weight)  # type: ignore[arg-type]
    findings, series = drift(history, study=name, options=options, phenotype=phenotype)
    chosen = [one for one in series if one.rows and (not arm or one.arm == arm)]
    if not chosen:
        rows = history.comparisons(study=name, against="fully_sampled")
        known, arms = (", ".join(sorted({row[key] for row in rows})) or "none" for key in ("phenotype", "arm"))
        raise ConfigProblem(
            f"study {name}: no bias of {phenotype or 'a measurement with margins'}{f' with {arm}' if arm else ''} was "
            f"recorded; recorded are {known} with the arms {arms}"
        )
    kept = {(one.phenotype, one.arm) for one in chosen}
    findings = [finding for finding in findings if (finding.phenotype, finding.arm) in kept]
    write_history(out, page_data(history, name, findings, chosen), [panel_of(one, last=last) for one in chosen])
    console.print(f"{len(chosen)} series: {out}", soft_wrap=True, markup=False, highlight=False)


@app.command()
def drift(
    database: Database = "",
    study: Annotated[str, typer.Option(help="Only this study.")] = "",
    phenotype: Phenotype = "",
    newest: Annotated[
        bool, typer.Option("--newest", help="Only flags in the newest run of each study, for use after each run.")
    ] = False,
    baseline: Baseline = 20,
    chart: ChartKind = "individuals",
    sigma: Sigma = 3.0,
    weight: Weight = 0.2,
) -> None:
    """Flag drift: a bias beyond its control limits or with a pattern, a verdict that worsened; then leave with status 3."""
    from flows.history_charts import findings_table
    from flows.history_drift import ChartOptions, judged
    from flows.history_drift import drift as find

    history = opened(database)
    options = ChartOptions(kind=chart, baseline=baseline, n_sigma=sigma, weight=weight)  # type: ignore[arg-type]
    findings, series = find(history, study=study, options=options, phenotype=phenotype)
    if newest:
        last = {run["study"]: run["run_id"] for run in history.runs(study=study)}
        findings = [finding for finding in findings if finding.run_id == last.get(finding.study)]
    if not series:
        raise ConfigProblem(f"no run of {study or 'any study'} with {phenotype or 'judged measurements'} was recorded")
    console.print(f"{judged(series)}.", soft_wrap=True, highlight=False)
    if findings:
        _wide().print(findings_table(findings))
        raise typer.Exit(SOME_FAILED)
    console.print("No drift was flagged.")


@app.command()
def sync(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, or folders of them; default: here.")
    ] = None,
    database: Database = "",
) -> None:
    """Send records of runs that were made while the database was away."""
    from flows.history import sync as send
    from flows.history import waiting
    from flows.history_store import History

    files = waiting(folders or [Path()])
    sent, problems = send(files, history=History(checked(database), create=True) if database else None)
    for problem in problems:
        console.print(problem, style="bold red", soft_wrap=True, markup=False, highlight=False)
    console.print(f"{sent} of {len(files)} records sent", highlight=False)
    if problems:
        raise typer.Exit(SOME_FAILED)


@app.command()
def record(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")], database: Database = ""
) -> None:
    """Record runs of earlier days from their folders; a run that is recorded already is replaced."""
    from flows.history import record_folder

    history = opened(database, create=True)
    for folder in folders:
        kept = record_folder(folder, history)
        words = "recorded" if kept else "a later result of this run is recorded already"
        console.print(f"{folder}: {words} in {history.name}", soft_wrap=True, markup=False, highlight=False)


@app.command()
def upgrade(database: Database = "") -> None:
    """Make the tables, or bring them to the form that this version needs."""
    history = opened(database, create=True)
    found, reached = history.upgrade()
    words = f"tables of revision {reached}"
    before = "made" if found is None else "already there" if found == reached else f"brought from revision {found}"
    console.print(f"{history.name}: {words}, {before}", soft_wrap=True, markup=False, highlight=False)


def opened(database: str, *, create: bool = False) -> Any:
    """The history asked for, of the environment, or of the folder that the command runs in."""
    from flows.config import history_target
    from flows.history_store import History
    from flows.history_url import FILE_NAME

    target = checked(database) or history_target()
    if not target:
        target = FILE_NAME
        near = sorted(Path().glob(f"*/{FILE_NAME}"))
        if not create and not Path(FILE_NAME).is_file() and near:
            raise ConfigProblem(f"no {FILE_NAME} here; give --database, for instance {near[0]}")
    return History(target, create=create)


def checked(database: str) -> str:
    """A database given on the command line, which everybody on the machine can read."""
    from flows.history_url import refuse_password

    if database:
        refuse_password(database, where="--database")
    return database


def one_study(history: Any, study: str) -> str:
    """The study asked for, or the only one."""
    known = history.studies()
    if study and study not in known:
        raise ConfigProblem(f"no study {study!r} in {history.name}; there are {', '.join(known) or 'none'}")
    if not study and len(known) != 1:
        raise ConfigProblem(f"give --study: {history.name} has {', '.join(known) or 'no runs'}")
    return study or str(known[0])


def _wide() -> Console:
    """Tables whole where they go to a file or a pipe."""
    import sys

    return Console() if sys.stdout.isatty() else Console(width=200)
