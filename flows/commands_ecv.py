"""`cardioval ecv`: the extracellular volume from two T1 series that `cardioval phenotype` measured."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import console

app = typer.Typer()


@app.command()
def ecv(
    folder: Annotated[Path, typer.Argument(help="Folder that `cardioval phenotype` wrote.")],
    native: Annotated[str, typer.Argument(help="Series before contrast agent, as series.csv names it.")],
    post: Annotated[str, typer.Argument(help="Series after contrast agent.")],
    hematocrit: Annotated[float | None, typer.Option(help="Measured, as a fraction such as 0.42.")] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic-hematocrit", help="Estimate it from native blood; MOLLI at 1.5 T only.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file; default: ecv.json in the folder of POST.")] = None,
) -> None:
    """Measure the extracellular volume of wall, septum and AHA segments; see docs/mapping.md."""
    from flows.ecv import measure_ecv, write_ecv

    found = measure_ecv(folder, native, post, hematocrit=hematocrit, synthetic=synthetic)
    path = out or folder / post / "ecv.json"
    write_ecv(path, found)
    kind = f"synthetic, {found.protocol}" if found.synthetic else found.protocol
    lines = [
        f"hematocrit {found.hematocrit:.2f} ({kind}); blood {found.native_blood_ms:.0f} ms before, {found.post_blood_ms:.0f} ms after",
        *(
            f"{value.region}: ECV {100 * value.ecv:.1f} % (T1 {value.native_ms:.0f} ms before, {value.post_ms:.0f} ms after)"
            for value in found.regions
        ),
        *(f"healthy people: {text}" for text in found.normal),
        *(f"doubt: {text}" for text in found.doubts),
        f"record: {path}",
    ]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
