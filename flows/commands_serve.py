"""`cardioval serve`: a validation every night."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import console

app = typer.Typer()


@app.command()
def serve(
    config: Annotated[Path, typer.Argument(help="Configuration, see docs/validate.md.")],
    cron: Annotated[str, typer.Option(help="When: minute hour day month weekday; never for runs by hand only.")] = (
        "0 2 * * *"
    ),
    timezone: Annotated[str, typer.Option(help="Of the schedule, such as Europe/Berlin.")] = "UTC",
    name: Annotated[str, typer.Option(help="Of the deployment; default: the study's.")] = "",
    host: Annotated[str, typer.Option(help="Where Prefect's page listens; only this machine reaches the default.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Of Prefect's page.")] = 4200,
    run_now: Annotated[bool, typer.Option("--run-now", help="Begin a run at once, too.")] = False,
    notify: Annotated[
        str,
        typer.Option(
            help="TYPE/NAME of the Prefect notification block that is told of worse verdicts and broken runs."
        ),
    ] = "",
    report_url: Annotated[
        str, typer.Option(help="Address at which the study's output folder is served, for links to reports.")
    ] = "",
) -> None:
    """Validate on a schedule, until stopped: every run in a dated folder, its verdicts on Prefect's page.

    Uses the Prefect server that PREFECT_API_URL names, else starts one. See docs/schedule.md.
    """
    import os

    # runs tell their progress on Prefect's page; set before Prefect is imported, and only where the user has not
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    from flows.serve import ServeOptions, serve

    def say(line: str) -> None:
        console.print(f"cardioval: {line}", markup=False, highlight=False, soft_wrap=True)

    options = ServeOptions(
        cron=cron,
        timezone=timezone,
        name=name,
        host=host,
        port=port,
        run_now=run_now,
        notify=notify,
        report_url=report_url,
    )
    serve(config, options, say=say)
