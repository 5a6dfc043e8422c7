"""`cardioval demo, validate, phenotype, catalogue, simulate, report`: from a cohort to numbers and pages."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cohort.records import ConfigProblem
from flows.terminal import SOME_FAILED, bars, console, counted

app = typer.Typer()

Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the output folder; only what is missing is computed.")
]


@app.command()
def demo(
    out: Out = Path("demo"),
    smoke: Annotated[bool, typer.Option("--smoke", help="Two patients and one acceleration, under a minute.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int, typer.Option(help="Scans in work at once; 0 for one a core.")] = 0,
) -> None:
    """Run the main job on an embedded synthetic cohort; a second run resumes."""
    from dataclasses import replace

    from flows.demo import demo_cohort, demo_config, n_demo_scans
    from flows.running import Running, worker_count

    running = Running(device=device, workers=workers)
    with bars() as advance:
        scans = counted(advance, "simulate", n_demo_scans(smoke=smoke))
        demo_cohort(out.resolve(), smoke=smoke, workers=worker_count(running, on_gpu=False), progress=scans)
    config = replace(demo_config(out.resolve(), smoke=smoke), running=running)
    run_validation(config, resume=True)


@app.command()
def validate(
    config: Annotated[Path, typer.Argument(help="Configuration, see docs/validate.md.")],
    resume: Resume = False,
    out: Annotated[Path | None, typer.Option(help="Another output folder than the configuration names.")] = None,
) -> None:
    """Validate the reconstructions of a cohort against its fully sampled images.

    Exit status 0 where all was measured, 3 where something failed, 2 for a bad call, 4 where the disk or Prefect's server
    stopped it and --resume goes on.
    """
    from dataclasses import replace

    from flows.config import load_config

    loaded = load_config(config)
    run_validation(replace(loaded, out=out.resolve()) if out else loaded, resume=resume)


@app.command()
def phenotype(
    folder: Annotated[
        Path, typer.Argument(help="Folder with DICOM or NIfTI images, in any layout; see docs/phenotype.md.")
    ],
    out: Out = Path("phenotypes"),
    modality: Annotated[str, typer.Option(help="auto, or cine, t1, t2, t2star to take all series for that.")] = "auto",
    model: Annotated[
        Path | None, typer.Option(help="An nnU-Net v2 result folder; default: the network that is shipped.")
    ] = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option(help="THEIRS=OURS for each label of the model, such as '1=RV cavity'; repeat the option."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for as many as there are cores.")] = 0,
    study: Annotated[str | None, typer.Option(help="Name of the study in the table; default: the folder's.")] = None,
    center: Annotated[str, typer.Option(help="Name of the center in the table.")] = "local",
    config: Annotated[
        Path | None, typer.Option(help="TOML file; its sections phenotypes and segmentation hold.")
    ] = None,
    slice_order: Annotated[str, typer.Option(help="By place: anatomy, base_first or apex_first.")] = "anatomy",
) -> None:
    """Label and measure images that are already reconstructed: short-axis cine and mapping series.

    Every series gets a folder with labels (NIfTI, and DICOM SEG for DICOM images), a picture, and its map; all of them one
    table. What cannot be measured is listed with the reason. A second run goes on where the first ended.
    """
    import torch

    from flows.config import read_table
    from flows.phenotype import phenotype as run
    from flows.phenotype_normals import printed
    from flows.phenotype_options import options_of
    from flows.terminal_tables import print_series

    if threads:
        torch.set_num_threads(threads)
    options = options_of(
        read_table(config) if config else {},
        base=(config or Path()).resolve().parent,
        origin=str(config),
        study=study or folder.resolve().name,
        center=center,
        model=model,
        label_map=label_map or [],
        device=device,
        slice_order=slice_order,
    )
    with bars() as advance:
        summary = run(folder, out, options=options, modality=modality, advance=advance)
    print_series(summary)
    for line in printed(summary.normals):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if len(summary.failures):
        console.print(f"{len(summary.failures)} entries in {out / 'failures.csv'}", style="bold yellow", soft_wrap=True)
    console.print(
        f"table: {out / 'measurements.parquet'}, measurements.csv; pictures beside the labels", soft_wrap=True
    )
    raise typer.Exit(summary.exit_status)


@app.command()
def catalogue(
    root: Annotated[Path, typer.Argument(help="Cohort folder in the CMRxRecon / MMCMR layout.")],
    csv: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
) -> None:
    """List the scans of a cohort, and what is wrong with those that cannot be used; exit status 3 where there are such."""
    from cohort.atomic import write_text
    from cohort.catalogue import scan_tree
    from flows.agreement_table import inert_texts
    from flows.config import catalogue_index
    from flows.running import n_cores
    from flows.terminal_tables import print_catalogue

    table = scan_tree(root, index=catalogue_index(root), processes=n_cores())
    if csv:
        write_text(csv, inert_texts(table).to_csv(index=False, lineterminator="\n"))
    print_catalogue(table, root=str(root))
    if (table["status"] != "ok").any():
        raise typer.Exit(SOME_FAILED)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder of the new cohort.")],
    from_acdc: Annotated[
        Path | None, typer.Option(help="ACDC folder with patientNNN folders; default: synthetic patients.")
    ] = None,
    patients: Annotated[
        str, typer.Option(help="For ACDC: all, training, validation, or names separated by commas.")
    ] = "validation",
    per_center: Annotated[int, typer.Option(help="Synthetic patients in each of the four centers.")] = 3,
    pixel_mm: Annotated[float, typer.Option(help="For ACDC: acquired pixel size in mm.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Fixes anatomy, coils, phase and noise.")] = 7,
) -> None:
    """Write a cohort of simulated k-space, marked as such: of synthetic patients, or of ACDC's magnitude images."""
    from cohort.synthetic.from_acdc import simulate_from_acdc
    from cohort.synthetic.study import DEMO_CENTERS, simulate_cohort
    from flows.running import one_blas_thread

    one_blas_thread()
    with bars() as advance:
        if from_acdc is None:
            n_scans = len(DEMO_CENTERS) * per_center * 3
            paths = simulate_cohort(
                out, patients_per_center=per_center, seed=seed, progress=counted(advance, "simulate", n_scans)
            )
        else:
            names = acdc_names(patients)
            progress = counted(advance, "simulate", len(names))
            paths = simulate_from_acdc(from_acdc, out, patients=names, pixel_mm=pixel_mm, seed=seed, progress=progress)
    console.print(f"{len(paths)} scans in {out}")


def acdc_names(patients: str) -> list[str]:
    """Folder names of the ACDC patients asked for."""
    from cohort.acdc import split

    known = split()
    if patients in known:
        return known[patients]
    everyone = sorted(name for names in known.values() for name in names)
    if patients == "all":
        return everyone
    names = [name.strip() for name in patients.split(",")]
    unknown = [name for name in names if name not in everyone]
    if unknown:
        raise ConfigProblem(
            f"ACDC has no patient {unknown[0]!r}; expected all, training, validation, or names such as patient001"
        )
    return names


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Write a run's report again from its results, without computing anything."""
    from cohort.records import MissingFile
    from reports.agreement_study import write_agreement_report
    from reports.study import write_study_report

    path = run_dir / "results.json"
    if not path.is_file():
        raise MissingFile(path, "no results; is this the folder of a finished run?")
    results = json.loads(path.read_text(encoding="utf-8"))
    write = write_agreement_report if results.get("kind") == "agreement" else write_study_report
    page, pdf = write(run_dir, results)
    console.print(f"{page}\n{pdf}", soft_wrap=True)


def run_validation(config: Any, *, resume: bool) -> None:
    """Run with progress bars, print the table and the report's path, and leave with the right status."""
    from flows.terminal_tables import print_verdicts
    from flows.validate import validate as run

    with bars() as view:
        summary = run(config, resume=resume, advance=view, on_failure=view.failed)
    print_verdicts(summary.results)
    console.print(f"report: {summary.folder / 'report' / 'index.html'}", soft_wrap=True)
    if summary.n_failed:
        console.print(
            f"{summary.n_failed} entries in {summary.folder / 'failures.csv'}", style="bold yellow", soft_wrap=True
        )
    raise typer.Exit(summary.exit_status)
