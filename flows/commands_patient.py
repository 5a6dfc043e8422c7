"""`cardioval patient`: the report of single patients of a finished run."""

from pathlib import Path
from typing import Annotated

import typer

from cohort.records import ConfigProblem
from flows.terminal import bars, console

app = typer.Typer()


@app.command()
def patient(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    patients: Annotated[
        list[str] | None, typer.Argument(metavar="CENTER/PATIENT...", help="Whose reports; see --all.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Of every patient of the run.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default: report/patients in the run.")] = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also as DICOM: Encapsulated PDF and structured report (TID 1500).")
    ] = False,
) -> None:
    """Write the report of single patients: page, PDF, and the numbers as JSON.

    Values of every reconstruction beside the fully sampled ones, published ranges, curves, pictures, quality and failures.
    """
    if everyone == bool(patients):
        raise ConfigProblem("name patients as CENTER/PATIENT, such as Center001/P003, or give --all; not both")
    from flows.patient_report import write_patient_reports

    with bars() as advance:
        made = write_patient_reports(run_dir, None if everyone else patients, dicom, advance, out=out)
    for report in made:
        console.print(f"{report.files.page}", soft_wrap=True, markup=False, highlight=False)
    if dicom:
        written = sum(len(report.dicom) for report in made)
        console.print(f"{written} DICOM objects beside them", soft_wrap=True, markup=False, highlight=False)
