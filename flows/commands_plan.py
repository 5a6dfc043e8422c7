"""`cardioval plan`: the plan of a validation, before there is anything to analyse."""

from pathlib import Path
from typing import Annotated

import typer

from cohort.records import ConfigProblem
from flows.terminal import console

app = typer.Typer()


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="Configuration, see docs/validate.md.")],
    out: Annotated[Path, typer.Option(help="Folder for plan.json.")] = Path("plan"),
) -> None:
    """Write down what an analysis will do, with the time and a hash, to register it before data are seen.

    A run whose configuration names the file by statistics.plan must follow it. A folder that holds another plan is
    refused.
    """
    from flows.analysis_plan import PLAN_FILE, freeze, plan_of
    from flows.config import load_config

    if out.exists() and not out.is_dir():
        raise ConfigProblem(f"{out} is a file; --out names a folder, {PLAN_FILE} is written into it")
    frozen = freeze(plan_of(load_config(config)), out)
    console.print(f"{out / PLAN_FILE}, frozen {frozen['frozen_utc']}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"SHA-256 {frozen['sha256']}", soft_wrap=True, markup=False, highlight=False)
