"""`cardioval readers export, analyse`: a blinded reader study, from a run's images to scores and verdicts."""

from pathlib import Path
from typing import Annotated

import typer

from cohort.records import ConfigProblem
from flows.terminal import bars, console

app = typer.Typer(no_args_is_help=True, help="Reader studies: export blinded series, analyse the scores.")


@app.command()
def export(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Folder of the new kit.")],
    readers: Annotated[str, typer.Option(help="Names of the readers, separated by commas.")] = "R1,R2",
    scans: Annotated[int, typer.Option(help="So many scans, spread over centers and kinds; 0 for all.")] = 0,
    repeat: Annotated[float, typer.Option(help="Share of the series that each reader sees twice.")] = 0.2,
    margin: Annotated[float, typer.Option(help="Margin of non-inferiority in points; sealed in the key.")] = 0.5,
    methods: Annotated[str, typer.Option(help="Methods shown beside fully sampled; default: all.")] = "",
    kinds: Annotated[str, typer.Option(help="cine, map.")] = "cine,map",
    criteria: Annotated[
        str, typer.Option(help="What is scored; the first one carries the claim.")
    ] = "overall,artifacts,border,sharpness",
    seed: Annotated[
        int | None, typer.Option(help="Makes the same kit again; keep it secret. Default: drawn, and kept in the key.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title on the page.")] = "Reader study of image quality",
    slices: Annotated[int, typer.Option(help="Slices of a cine side by side.")] = 3,
    frames: Annotated[int, typer.Option(help="Frames of a cine at most; 0 for all.")] = 0,
    side: Annotated[int, typer.Option(help="Longer side in pixels at most; 0 for as acquired.")] = 0,
    jpeg: Annotated[int, typer.Option(help="JPEG quality 80 to 100 for cines; 0 for lossless PNG.")] = 0,
    max_mb: Annotated[float, typer.Option(help="Largest page in MB.")] = 60.0,
) -> None:
    """Write blinded series of a run: a page for each reader, and for the study office the key and a manifest."""
    from flows.reader_images import Display, find_scans
    from flows.readers import KitOptions, export_kit

    options = KitOptions(
        readers=listed(readers),
        scans=scans or None,
        repeat=repeat,
        margin=margin,
        methods=listed(methods),
        kinds=listed(kinds),
        criteria=listed(criteria),
        seed=seed,
        title=title,
        display=Display(n_slices=slices, n_frames=frames, side_px=side, jpeg_quality=jpeg),
        max_mb=max_mb,
    )
    with bars() as advance:
        done, total = 0, scans or len(find_scans(run_dir))

        def progress(scan: str) -> None:
            nonlocal done
            done += 1
            advance("series", done, total, scan)

        kit = export_kit(run_dir, out, options=options, progress=progress)
    console.print(f"{kit.n_series} series of {kit.n_scans} scans, {kit.n_shown} for each reader with the repeated ones")
    for path, size in kit.pages.values():
        console.print(f"{path} ({size / 1e6:.1f} MB)", soft_wrap=True, highlight=False)
    for scan, reason in kit.skipped.items():
        console.print(f"not shown: {scan}: {reason}", style="yellow", soft_wrap=True, markup=False)
    if kit.missing:
        console.print(f"{len(kit.missing)} images are missing, see key.json", style="yellow")
    console.print(
        f"Give each reader the folder {kit.folder / 'readers'}/NAME only; key.json stays with the study office.",
        soft_wrap=True,
    )


@app.command()
def analyse(
    kit: Annotated[Path, typer.Argument(help="Folder of the kit, with its key.")],
    scores: Annotated[list[Path], typer.Argument(help="Files that readers saved, one of each reader.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    margin: Annotated[
        float | None, typer.Option(help="Another margin than was sealed; verdicts are then exploratory.")
    ] = None,
) -> None:
    """Unblind the scores: by arm against fully sampled, agreement of readers, non-inferiority; as page, table and JSON."""
    from flows.reader_results import analyse_kit

    if margin is not None and not 0 < margin < 4:
        raise ConfigProblem(f"the margin is in points of a scale from 1 to 5, above 0 and below 4; got {margin}")
    results, page = analyse_kit(kit, scores, out, margin=margin)
    for note in results["notes"]:
        console.print(note, style="yellow", markup=False, soft_wrap=True)
    for row in results["scores"]:
        if row["criterion"] == results["plan"]["primary"] and "verdict" in row:
            console.print(
                f"{row['kind']}, {row['arm']}: {row['verdict']} ({row['reason']})", soft_wrap=True, markup=False
            )
    console.print(f"report: {page}", soft_wrap=True)


def listed(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
