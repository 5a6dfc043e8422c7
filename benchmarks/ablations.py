"""What are the texts, and what are neighboring frames, worth? Networks of one small size, trained alike but for one thing.

python benchmarks/ablations.py texts --acdc ACDC/training --out DIR
python benchmarks/ablations.py frames --animal PIG_CINE/short_axis --out DIR
python benchmarks/ablations.py frames --animal PIG_CINE/short_axis --start-from SHIPPED.ckpt --steps 1000 --out DIR

``texts``: CardioMM, +UT, +MT, CardioSM and the signs of the published normalisation, on ACDC's training patients and on
phantoms without the vendor UIH (and so without 5 T), which is the new center of ``reconstruction_quality.py``.
``frames``: one, three and five frames of a cine at once, on phantoms and an animal; with ``--start-from`` in the shipped size,
all from the same trained network of single frames, which the one-frame network is trained further alike. Same steps, seed
and draws for all;
measure the results with ``reconstruction_quality.py --weights NAME=DIR/NAME/cardiomm.ckpt ...``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from cohort.dicom import read_cine
from cohort.synthetic.population import DISEASES, draw_patient
from cohort.synthetic.render import render_cine
from flows.train import PHANTOM_SCANNERS, acdc_images, phantom_images, training_and_monitor_patients
from recon.cardiomm.network import CardioMMSize
from recon.training import SMALL, TrainingOptions, train_cardiomm
from recon.training_data import Sampling, SimulatedData, TrainingImage

SEED = 17
LEFT_OUT_VENDOR = "UIH"
N_PHANTOMS, N_PHANTOM_SERIES = 24, 16
SIZE = replace(SMALL, n_cascades=2)
SAMPLING = Sampling(pixel_mm=(2.0, 2.8), largest_matrix=168, largest_radial=128, readout_window=(48, 80))
TEXTS = {
    "both": SIZE,
    "undersampling": replace(SIZE, texts="undersampling"),
    "metadata": replace(SIZE, texts="metadata"),
    "none": replace(SIZE, texts="none"),
    "signs": replace(SIZE, embedding_norm="sign"),
}
FRAMES = {f"frames{n}": replace(SIZE, n_adjacent=n, stacked="frames") for n in (1, 3, 5)}
MATRIX, FOV_MM, BEAT, SLICES = (136, 144), (320.0, 345.0), 12, 3


def main() -> None:
    """Train every network of one question that is not complete yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("texts", "frames"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--acdc", type=Path)
    parser.add_argument("--animal", type=Path, help="folder of DICOM files of one cine stack")
    parser.add_argument("--start-from", type=Path, help="trained network of single frames, of the shipped size")
    parser.add_argument("--learning-rate", type=float, default=TrainingOptions.learning_rate)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names to train; default all")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    images = text_images(given.acdc) if given.question == "texts" else series_images(given.animal)
    sizes: dict[str, CardioMMSize] = TEXTS if given.question == "texts" else FRAMES
    with Progress() as bars:
        for name in given.only or sizes:
            bar = bars.add_task(name, total=given.steps)
            size, sampling = sizes[name], SAMPLING
            if given.start_from:
                size, sampling = replace(size, n_cascades=SMALL.n_cascades), Sampling()
            options = TrainingOptions(
                steps=given.steps, learning_rate=given.learning_rate, seed=SEED, sampling=sampling, size=size
            )
            train_cardiomm(
                SimulatedData(images),
                monitor=None,
                options=options,
                folder=given.out / name,
                notes={"benchmark": f"ablations.py {given.question}", "name": name},
                start_from=given.start_from,
                progress=lambda at, bar=bar: bars.update(bar, completed=at.step, description=f"loss {at.loss:.3f}"),
            )


def text_images(acdc: Path | None) -> Sequence[TrainingImage]:
    """ACDC's training patients and phantoms of every vendor but one."""
    if acdc is None:
        raise SystemExit("texts needs --acdc FOLDER")
    patients, _ = training_and_monitor_patients()
    phantoms = phantom_images(N_PHANTOMS, seed=SEED)
    return [
        *acdc_images(acdc, patients, rng=np.random.default_rng(SEED)),
        *(image for image in phantoms if image.metadata["vendor"] != LEFT_OUT_VENDOR),
    ]


def series_images(animal: Path | None) -> Sequence[TrainingImage]:
    """Whole beats of phantoms, and of an animal if its folder is given."""
    images = []
    for number in range(N_PHANTOM_SERIES):
        rng = np.random.default_rng((SEED, number))
        field_t = (1.5, 3.0)[number % 2]
        vendor, scanner = PHANTOM_SCANNERS[field_t][number // 2 % len(PHANTOM_SCANNERS[field_t])]
        patient = draw_patient(DISEASES[number % len(DISEASES)], rng=rng, field_t=field_t)
        cine = render_cine(patient, n_frames=BEAT, n_slices=SLICES + 2, matrix=MATRIX, fov_mm=FOV_MM, rng=rng).images
        spacing = (FOV_MM[0] / cine.shape[-2], FOV_MM[1] / cine.shape[-1])
        scan = {"field_t": field_t, "vendor": vendor, "scanner": scanner, "modality": "cine", "view": "short-axis"}
        images += [
            TrainingImage(cine[:, z], spacing, scan, source=f"phantom{number:03d}") for z in range(1, SLICES + 1)
        ]
    if animal is not None:
        cine_stack = read_cine(animal)
        scan = {"field_t": 1.5, "vendor": "GE", "scanner": "Signa", "modality": "cine", "view": "short-axis"}
        images += [
            TrainingImage(cine_stack.images[:, z], cine_stack.spacing_mm[1:], scan, source="animal")
            for z in range(2, cine_stack.images.shape[1] - 2)
        ]
    return images


if __name__ == "__main__":
    main()
