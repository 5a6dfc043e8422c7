"""`cardioval agree, export, pool, compare`: agreement without images, over centers, and between two runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import console

app = typer.Typer()

Column = "Name of the column; default: the one whose name says so."


@app.command()
def agree(
    table: Annotated[
        Path, typer.Argument(help="CSV, TSV or Parquet: a row a reading, or a column a method; see docs/agree.md.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("agreement"),
    reference: Annotated[str, typer.Option(help="The method others are compared with; default: the first.")] = "",
    test: Annotated[
        list[str] | None, typer.Option(help="A method to compare; repeat the option. Default: all others.")
    ] = None,
    margins: Annotated[
        Path | None, typer.Option(help="TOML of the margins; without it the study describes and shows nothing.")
    ] = None,
    truth: Annotated[
        str, typer.Option(help="constant or varying: does what is measured stay the same between replicates?")
    ] = "",
    subject: Annotated[str, typer.Option(help=Column)] = "",
    method: Annotated[str, typer.Option(help=Column)] = "",
    value: Annotated[str, typer.Option(help=Column)] = "",
    center: Annotated[str, typer.Option(help=Column)] = "",
    replicate: Annotated[str, typer.Option(help=Column)] = "",
    measurement: Annotated[str, typer.Option(help=Column)] = "",
    condition: Annotated[str, typer.Option(help=Column)] = "",
    unit_column: Annotated[str, typer.Option(help=Column)] = "",
    unit: Annotated[str, typer.Option(help="Unit of all values, where no column says it.")] = "",
    replicate_rows: Annotated[
        bool, typer.Option("--replicate-rows", help="Several rows of a subject and method are replicates.")
    ] = False,
    error_ratio: Annotated[
        float | None,
        typer.Option(
            help="For Deming: variance of the test's errors over the reference's. Default: replicates, else 1."
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of all intervals.")] = 0.95,
    alpha: Annotated[float, typer.Option(help="Of each one-sided test.")] = 0.05,
    minimum: Annotated[int, typer.Option(help="Fewest subjects for a verdict.")] = 6,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "",
) -> None:
    """Compare methods or readers by a table of their values: verdicts, plots and a report, without any image."""
    from flows.agree import agree as run
    from flows.agree_plan import AgreementOptions
    from flows.agree_table import TableOptions

    options = AgreementOptions(
        table=TableOptions(
            subject=subject,
            method=method,
            value=value,
            center=center,
            replicate=replicate,
            measurement=measurement,
            condition=condition,
            unit=unit_column,
            replicate_rows=replicate_rows,
            unit_of_all=unit,
        ),
        reference=reference,
        tests=tuple(test or ()),
        margins=margins,
        truth=truth,  # type: ignore[arg-type]
        error_ratio=error_ratio,
        confidence=confidence,
        alpha=alpha,
        minimum=minimum,
        title=title,
    )
    results = run(table, out, options)
    said(results["study"])
    console.print(f"report: {out / 'report' / 'index.html'}", soft_wrap=True)


def said(study: Any) -> None:
    """Sentences of a study on the terminal, and what to read with them."""
    from rich.console import Console

    for sentence in study["verdict_sentences"]:
        Console().print(f"- {sentence}", markup=False, highlight=False, soft_wrap=True)
    for note in study["notes"]:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


@app.command()
def export(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run, of validate or agree.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    minimum: Annotated[int, typer.Option(help="Fewest patients of a cell; smaller ones are withheld.")] = 10,
) -> None:
    """Write what other centers may see of a run: numbers, means and variances, counts and hashes; no patient."""
    from flows.export import write_export

    content = write_export(run_dir, out, minimum=minimum)
    withheld = sum(bool(cell["suppressed"]) for cell in content["cells"])
    console.print(
        f"{out}: {len(content['cells']) - withheld} results of {', '.join(content['centers'])}; {withheld} withheld",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


@app.command()
def pool(
    exports: Annotated[list[Path], typer.Argument(help="Files of `cardioval export`, of two centers or more.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("pooled"),
    title: Annotated[str, typer.Option(help="Title of the page.")] = "",
) -> None:
    """Pool the exports of several centers into one verdict; other plans or weights, or a center twice, are refused."""
    from flows.pool import pool as run

    results = run(exports, out, title=title)
    said(results["study"])
    console.print(f"report: {out / 'report' / 'index.html'}", soft_wrap=True)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="Folder of the earlier run.")],
    after: Annotated[Path, typer.Argument(help="Folder of the later run of the same cohort.")],
    out: Annotated[
        Path | None, typer.Option(help="Also write a page, a PDF and comparison.json to this folder.")
    ] = None,
) -> None:
    """Show what changed between two runs of one cohort. Exit status 3 if a verdict got worse, 0 otherwise."""
    from flows.compare import WORSE, compare_runs
    from flows.terminal_comparison import print_comparison

    comparison = compare_runs(before, after, out)
    print_comparison(comparison)
    if out:
        console.print(f"report: {out / 'report' / 'index.html'}", soft_wrap=True)
    if comparison["worsened"]:
        raise typer.Exit(WORSE)
