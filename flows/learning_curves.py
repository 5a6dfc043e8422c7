"""How did a training go? Learning curves as a picture, drawn from its log alone.

    python -m flows.learning_curves FOLDER [FOLDER ...]

draws them again. Nothing is computed: each point is a line of ``log.jsonl``.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cohort.atomic import replacing
from cohort.records import MissingFile, UnreadableFile
from reports.figures import PALETTE, STYLE

LOG, PICTURE = "log.jsonl", "learning_curves.png"
SIZE_INCHES, DOTS_PER_INCH = (7.2, 2.4), 150


def draw_learning_curves(folder: Path) -> Path:
    """Draw loss, PSNR of the watched patients and learning rate against the step.

    Parameters
    ----------
    folder
        Of a training; its ``log.jsonl`` is read and ``learning_curves.png`` written beside it.

    Returns
    -------
    Path
        The picture.

    Raises
    ------
    MissingFile, UnreadableFile
        No log, an empty one, or a line that is no entry of a check.
    """
    entries = read_log(folder / LOG)
    with matplotlib.rc_context({**STYLE, "savefig.transparent": False}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        loss, psnr, rate = figure.subplots(1, 3)
        curve(loss, entries, "loss", "training, running mean", PALETTE[0])
        if curve(loss, entries, "monitor_loss", "monitor, mean of patients", PALETTE[1]):
            lowest = min((e for e in entries if e["monitor_loss"] is not None), key=lambda e: e["monitor_loss"])
            loss.plot(lowest["step"], lowest["monitor_loss"], "o", color=PALETTE[1], markersize=3.5)
        if not curve(psnr, entries, "monitor_psnr", "monitor", PALETTE[1]):
            psnr.text(0.5, 0.5, "no monitor patients", ha="center", va="center", transform=psnr.transAxes)
        curve(rate, entries, "learning_rate", "learning rate", PALETTE[2])
        loss.legend()
        labels = ("loss (no unit)", "PSNR of monitor patients (dB)", "learning rate (a step)")
        for axes, label in zip((loss, psnr, rate), labels, strict=True):
            axes.set(xlabel="training step", title=label)
        with replacing(folder / PICTURE) as temporary:
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)
    return folder / PICTURE


def curve(axes: Axes, entries: Sequence[Mapping[str, Any]], key: str, label: str, color: str) -> bool:
    """Draw one number over the steps; False where no check has it."""
    points = [(entry["step"], entry[key]) for entry in entries if entry[key] is not None]
    if points:
        axes.plot(*zip(*points, strict=True), ".-", color=color, label=label, linewidth=0.9, markersize=2.5)
    return bool(points)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Entries of all checks."""
    if not path.is_file():
        raise MissingFile(path, "no log; is this the folder of a training?")
    needed = {"step", "loss", "monitor_loss", "monitor_psnr", "learning_rate"}
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lacking = [name for entry in entries for name in sorted(needed - set(entry))]
    except (ValueError, TypeError) as error:
        raise UnreadableFile(path, f"expected a JSON record a line ({error})") from error
    if lacking or not entries:
        raise UnreadableFile(path, f"expected checks with {', '.join(sorted(needed))}, got {lacking[:1] or 'none'}")
    return entries


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(draw_learning_curves(Path(name)))
