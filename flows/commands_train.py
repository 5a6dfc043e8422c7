"""`cardioval train`: which networks can be trained, and how?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import bars, console
from phenotyping.nnunet_plan import SHIPPED_STEPS

app = typer.Typer(no_args_is_help=True, help="Train the networks that are shipped, or your own.")


@app.command("cardiomm")
def train_cardiomm(
    out: Annotated[
        Path, typer.Option(help="Folder for weights, log, curves and state; an interrupted training goes on.")
    ],
    acdc: Annotated[
        Path | None, typer.Option(help="ACDC training folder; leave out to train on phantoms only.")
    ] = None,
    phantoms: Annotated[int, typer.Option(help="Synthetic patients.")] = 24,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 10_000,
    max_minutes: Annotated[float, typer.Option(help="The schedule ends at this time at the latest.")] = float("inf"),
    seed: Annotated[int, typer.Option(help="Fixes data, masks and initial weights.")] = 2025,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.")] = 0,
    start_from: Annotated[
        Path | None, typer.Option(help="Checkpoint of the same size whose weights are trained further.")
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate of the schedule.")] = 6e-4,
    batch_size: Annotated[int, typer.Option(help="Samples a step, in each process.")] = 1,
    size: Annotated[str, typer.Option(help="small (shipped, 3.2 M weights) or released (68.4 M).")] = "small",
    cascades: Annotated[int, typer.Option(help="Another number of cascades than the size has; 0 for its own.")] = 0,
    texts: Annotated[
        str, typer.Option(help="both (CardioMM), undersampling (CardioSM+UT), metadata (CardioSM+MT), none (CardioSM).")
    ] = "both",
    adjacent: Annotated[int, typer.Option(help="Neighboring frames reconstructed together: 1, 3 or 5.")] = 1,
    precision: Annotated[str, typer.Option(help="bf16, fp16 (with a scaled loss) or fp32.")] = "bf16",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory for a third more time.")
    ] = False,
    whole_readout: Annotated[
        bool, typer.Option("--whole-readout", help="Learn from whole images instead of readout windows.")
    ] = False,
    patience: Annotated[
        int, typer.Option(help="End after so many checks without a lower monitor loss; 0 for never.")
    ] = 0,
    check_every: Annotated[
        int, typer.Option(help="Steps between checks of the monitor, each of which is saved.")
    ] = 250,
    clip_folder: Annotated[
        Path | None, typer.Option(help="Local CLIP model for the texts; default: the embedded encoder.")
    ] = None,
    cohort: Annotated[
        Path | None, typer.Option(help="Cohort of measured, fully sampled scans, of any size; read piece by piece.")
    ] = None,
    monitor_share: Annotated[float, typer.Option(help="Share of the cohort's patients that are watched only.")] = 0.1,
    cohort_share: Annotated[
        float, typer.Option(help="Share of the draws from the cohort, beside ACDC and phantoms.")
    ] = 0.5,
    memory_gib: Annotated[float, typer.Option(help="Memory for the cohort's slices, in each process.")] = 2.0,
) -> None:
    """Train the reconstruction network with all masks and accelerations mixed, on simulated and measured k-space.

    On several GPUs: torchrun --nproc-per-node 2 -m flows.cli train cardiomm --device cuda ...
    """
    from flows.cohort_training import CohortData
    from flows.train import text_encoder, train_reconstruction, training_options
    from recon.training_team import tells

    measured = CohortData(cohort, monitor_share, cohort_share, memory_gib) if cohort else None
    encoder = text_encoder(clip_folder)
    options = training_options(
        size=size,
        cascades=cascades,
        texts=texts,
        adjacent=adjacent,
        encoder=encoder,
        whole_readout=whole_readout,
        steps=steps,
        max_minutes=max_minutes,
        seed=seed,
        learning_rate=learning_rate,
        batch_size=batch_size,
        precision=precision,
        gradient_checkpointing=gradient_checkpointing,
        patience=patience,
        checkpoint_every=check_every,
    )
    with training_progress() as progress:
        path = train_reconstruction(
            acdc=acdc,
            n_phantoms=phantoms,
            out=out,
            options=options,
            device=device,
            threads=threads or None,
            start_from=start_from,
            encoder=encoder,
            cohort=measured,
            progress=progress,
        )
    if tells():
        console.print(f"weights: {path}", soft_wrap=True)


@contextmanager
def training_progress() -> Iterator[Callable[[Any], None]]:
    """A bar with loss, monitor PSNR and minutes left; without a terminal a line every check."""

    def told(where: Any) -> str:
        psnr = "" if where.monitor_psnr is None else f", monitor {where.monitor_psnr:.2f} dB"
        return f"loss {where.loss:.4f}{psnr}, {where.minutes_left:.0f} min left"

    if console.is_terminal:
        with bars() as advance:
            yield lambda where: advance("train", where.step, where.steps, told(where))
        return

    def line(where: Any) -> None:
        if where.checked:
            text = f"step {where.step} of {where.steps}, {where.minutes:.1f} min: {told(where)}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    yield line


@app.command("nnunet")
def train_nnunet(
    out: Annotated[
        Path, typer.Option(help="Working folder; an interrupted training goes on. The model is in out/model.")
    ],
    acdc: Annotated[
        Path | None, typer.Option(help="ACDC training folder; leave out to train on phantoms only.")
    ] = None,
    phantoms: Annotated[int, typer.Option(help="Synthetic patients.")] = 20,
    steps: Annotated[
        int, typer.Option(help="Training steps of each network; default: as many as the shipped weights took.")
    ] = SHIPPED_STEPS,
    seed: Annotated[int, typer.Option(help="Fixes phantoms, folds, initial weights and augmentation.")] = 1,
    folds: Annotated[
        str, typer.Option(help="Cross-validation by patient: all, or the folds to train now, as 0,1; default: none.")
    ] = "",
    plan: Annotated[str, typer.Option(help="small, for a CPU, or standard, nnU-Net's own.")] = "small",
    start_from: Annotated[
        Path | None, typer.Option(help="Result folder whose weights to begin with; left out: drawn anew.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Train the segmentation network: nnU-Net v2, its own 2-D plan or a small one, once or in five folds."""
    from phenotyping.nnunet_training import train_nnunet as train

    with bars() as advance:
        path = train(
            acdc=acdc,
            phantoms=phantoms,
            out=out,
            steps=steps,
            seed=seed,
            threads=threads,
            folds=folds,
            plan=plan,
            start_from=start_from,
            device=device,
            progress=lambda stage, done, total: advance(stage, done, total, ""),
        )
    console.print(f"model: {path}", soft_wrap=True)
