"""`cardioval reproduce`: does a run give the same numbers again?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.terminal import bars, console

app = typer.Typer()

LOG_WIDTH = 110
HELD_TO = {
    "identical": "Bit for bit",
    "other_cpu": "Within the tolerance for another processor",
    "gpu": "Within the tolerance for a graphics card",
}


@app.command()
def reproduce(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option(help="New folder for the repetition; default: the run's with -reproduced.")
    ] = None,
    scans: Annotated[int | None, typer.Option(help="Repeat only so many scans, spread over the cohort.")] = None,
    cohort: Annotated[Path | None, typer.Option(help="Where the cohort lies now, if it was moved.")] = None,
) -> None:
    """Repeat a run from its folder and compare every measurement; see docs/reproduce.md.

    Exit status 0 where it was reproduced, 3 where numbers differ, 2 where inputs or weights are not those of the run.
    """
    from flows.reproduce import reproduce as repeat

    folder = out or run_dir.resolve().with_name(f"{run_dir.resolve().name}-reproduced")
    with bars() as view:
        made = repeat(run_dir, out=folder, n_scans=scans, cohort=cohort, advance=view)
    print_reproduction(made.content)
    console.print(f"record: {made.folder / 'reproduce.json'}", soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(made.exit_status)


def print_reproduction(content: Mapping[str, Any]) -> None:
    """The table by phenotype, what the numbers are held to, and the verdict."""
    from reports.tables import symbol

    table = Table("", "unit", "rows", "identical", "within", "different", "largest", "allowed")
    for line in content["phenotypes"]:
        table.add_row(
            symbol(line["phenotype"]),
            line["unit"],
            *(str(line[key]) for key in ("n", "identical", "within", "different")),
            "" if line["largest"] is None else f"{line['largest']:.3g}",
            "none" if line["tolerance"] is None else f"{line['tolerance']:g}",
        )
    screen = Console()
    (screen if screen.is_terminal else Console(width=LOG_WIDTH)).print(table)
    for notice in content["differs"]:
        say(f"differs: {notice['what']} was {notice['was']}, is {notice['now']}")
    say(f"{HELD_TO[content['basis']]}: {content['basis_why']}.")
    if content["altered_rows"]:
        say(
            f"{content['altered_rows']} rows of the run's table are not what its own scans say: the table was changed after "
            "the run."
        )
    for row in [r for r in content["worst"] if r["outcome"] == "different"][:5]:
        arm = f"{row['method']} {row['pattern']} {row['acceleration']:g}"
        say(
            f"different: {row['center']} {row['patient']} {row['scan']}, {arm}, {row['phenotype']}: {row['was']} and now "
            f"{row['is']} ({row['why']})"
        )
    verdicts = content.get("verdicts")
    if verdicts:
        say(verdicts["note"] or f"{len(verdicts['changed'])} of {verdicts['compared']} verdicts changed.")
    counts = content["counts"]
    told = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    scans = content["scans"]
    start = "Reproduced" if content["reproduced"] else "NOT reproduced"
    say(f"{start}: {scans['repeated']} of {scans['of']} scans; {told}.")


def say(line: str) -> None:
    """A line as it is."""
    Console().print(line, soft_wrap=True, markup=False, highlight=False)
