"""The command line. Every group of commands has a file of its own; heavy imports stay inside them, so that help appears at once."""

import sys

import typer

from cohort.records import CardioValError, RunStopped
from flows import (
    commands_agreement,
    commands_doctor,
    commands_history,
    commands_patient,
    commands_plan,
    commands_readers,
    commands_reproduce,
    commands_run,
    commands_serve,
    commands_train,
)
from flows.terminal import BAD_CALL, STOPPED, console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Validate accelerated cardiac MRI: k-space to images, numbers, agreement statistics and a report. Research software.",
)
app.add_typer(commands_run.app)
app.add_typer(commands_serve.app)
app.add_typer(commands_plan.app)
app.add_typer(commands_agreement.app)
app.add_typer(commands_patient.app)
app.add_typer(commands_train.app, name="train")
app.add_typer(commands_readers.app, name="readers")
app.add_typer(commands_history.app, name="history")
app.add_typer(commands_doctor.app)
app.add_typer(commands_reproduce.app)


def main() -> None:
    """Run the command line; our own errors become one line and exit status 2, or 4 where a run can go on later."""
    from flows.installation import problems

    for line in problems():
        console.print(f"cardioval: installation: {line}", style="bold red", markup=False, highlight=False)
    try:
        app()
    except CardioValError as problem:
        console.print(f"cardioval: {problem}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(STOPPED if isinstance(problem, RunStopped) else BAD_CALL)
    except KeyboardInterrupt:
        console.print("cardioval: interrupted; go on with --resume", style="bold", markup=False)
        sys.exit(130)


if __name__ == "__main__":  # for torchrun -m flows.cli
    main()
