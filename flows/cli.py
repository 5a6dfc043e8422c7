"""The command line. Every group of commands has a file of its own; heavy imports stay inside them, so that help appears at once."""

import sys
from typing import NoReturn

import typer

from cohort.records import CardioValError, RunStopped
from flows import (
    commands_agreement,
    commands_doctor,
    commands_ecv,
    commands_history,
    commands_patient,
    commands_plan,
    commands_readers,
    commands_reproduce,
    commands_run,
    commands_serve,
    commands_train,
)
from flows.terminal import BAD_CALL, INTERRUPTED, STOPPED, console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # values of variables may be of patients or secrets
    pretty_exceptions_show_locals=False,
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
app.add_typer(commands_ecv.app)


def main() -> None:
    """Run the command line; our own errors become one line and exit status 2, or 4 where a run can go on later."""
    from flows.installation import problems

    for line in problems():
        console.print(f"cardioval: installation: {line}", style="bold red", markup=False, highlight=False)
    try:
        app()
    except CardioValError as problem:
        _ended(str(problem), STOPPED if isinstance(problem, RunStopped) else BAD_CALL)
    except OSError as problem:
        # a file that cannot be read or written; without a name it is none of the user's
        if problem.filename is None:
            raise
        reason = problem.strerror or type(problem).__name__
        _ended(f"{problem.filename}: {reason}; look at the path, its rights, and the room on the disk", BAD_CALL)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _ended(
                "interrupted; what is complete stays, and the same command goes on, a run with --resume", INTERRUPTED
            )
        raise


def _ended(line: str, status: int) -> NoReturn:
    """Say in one line why, and leave."""
    console.print(f"cardioval: {line}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)


if __name__ == "__main__":  # for torchrun -m flows.cli
    main()
