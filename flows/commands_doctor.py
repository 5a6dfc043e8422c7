"""`cardioval doctor`: is this installation sound, and what is to be done where it is not?"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.terminal import console

app = typer.Typer()

STYLE = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@app.command()
def doctor(
    out: Annotated[Path, typer.Option(help="Folder in which results would be written.")] = Path(),
    deep: Annotated[
        bool, typer.Option("--deep", help="Also import nnU-Net, load the networks, start Prefect.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the installation and say what to do; exit status 3 where a run would fail."""
    from flows.doctor import examine

    diagnosis = examine(out, deep=deep)
    if as_json:
        typer.echo(json.dumps(diagnosis.content(), indent=1))
        raise typer.Exit(diagnosis.exit_status)
    screen = Console()
    if screen.is_terminal:
        table = Table("check", "", "found", "what to do")
        for row in diagnosis.findings:
            table.add_row(row.check, f"[{STYLE[row.status]}]{row.status}[/]", _plain(row.found), _plain(row.advice))
        screen.print(table)
    else:
        for row in diagnosis.findings:
            typer.echo(f"{row.status:<8} {row.check}: {row.found}" + (f" -> {row.advice}" if row.advice else ""))
    console.print(diagnosis.summary, highlight=False)
    raise typer.Exit(diagnosis.exit_status)


def _plain(text: str) -> str:
    """Brackets of a configuration's sections are no markup."""
    return text.replace("[", "\\[")
