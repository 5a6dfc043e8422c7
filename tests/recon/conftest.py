"""A small object seen by several coils, for the tests of this room."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recon.cardiomm.network import CardioMM, CardioMMSize
from recon.fourier import fft2c
from recon.training import TrainingOptions
from recon.training_data import Sampling, SimulatedData, TrainingImage


@dataclass(frozen=True)
class CoilPhantom:
    """Noise-free truth: images (frames, slices, y, x), maps (slices, coils, y, x) of unit norm, k-space."""

    image: NDArray[np.complex64]
    maps: NDArray[np.complex64]
    kspace: NDArray[np.complex64]


def make_coil_phantom(
    *, n_frames: int = 2, n_slices: int = 1, n_coils: int = 6, ny: int = 64, nx: int = 48
) -> CoilPhantom:
    """Ellipses that change from frame to frame, under smooth complex coils around the field of view."""
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    image = np.zeros((n_frames, n_slices, ny, nx))
    for frame in range(n_frames):
        for index in range(n_slices):
            radius = 0.25 + 0.05 * frame + 0.03 * index
            image[frame, index] = 0.5 * (x**2 / 0.7 + y**2 / 0.5 < 1) + ((x - 0.1) ** 2 + y**2 < radius**2)
            image[frame, index] += 0.3 * (((x + 0.4) / 0.2) ** 2 + ((y - 0.2) / 0.3) ** 2 < 1)
    object_phase = np.exp(1j * (0.5 * x + 0.3 * y**2))
    angles = 2 * np.pi * (np.arange(n_coils)[:, None, None] + 0.3 * np.arange(n_slices)[:, None, None, None]) / n_coils
    distance = (x - 1.2 * np.cos(angles)) ** 2 + (y - 1.2 * np.sin(angles)) ** 2
    maps = np.exp(-0.6 * distance + 1j * (angles + 0.5 * x * np.sin(angles) + 0.4 * y * np.cos(angles)))
    maps /= np.linalg.norm(maps, axis=1, keepdims=True)
    truth = (image * object_phase).astype(np.complex64)
    sensitivities = maps.astype(np.complex64)
    return CoilPhantom(truth, sensitivities, fft2c(truth[:, :, None] * sensitivities[None]))


@pytest.fixture(scope="session")
def coil_phantom() -> CoilPhantom:
    """Two frames, two slices, six coils, 64 x 48."""
    return make_coil_phantom(n_slices=2)


TINY = CardioMMSize(
    n_cascades=2,
    n_features=4,
    level_widths=(6, 8, 8),
    prompt_widths=(4, 4, 4),
    prompt_sizes=(8, 4, 4),
    sensitivity_features=4,
    sensitivity_level_widths=(4, 4, 8),
    sensitivity_prompt_widths=(4, 4, 4),
    n_prompts=(2, 3, 2),
    embedding_width=8,
    encoder_width=512,
)


@pytest.fixture
def tiny_cardiomm() -> CardioMM:
    """A CardioMM of some thousand random weights, both texts in effect; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = CardioMM(TINY)
        for name, weight in network.named_parameters():
            if name.endswith((".gamma", ".beta")):  # zero at first, which hides the metadata
                torch.nn.init.normal_(weight, std=0.5)
    return network.eval().requires_grad_(False)


METADATA = {"field_t": 1.5, "vendor": "Siemens", "scanner": "Aera", "modality": "cine", "view": "short-axis"}


@pytest.fixture
def images() -> SimulatedData:
    """A real and a complex object of 60 x 50 pixels, and a series of three frames."""
    y, x = np.ogrid[-1:1:60j, -1:1:50j]
    real = 1.0 * (x**2 / 0.7 + y**2 / 0.5 < 1) + 2.0 * ((x - 0.2) ** 2 + y**2 < 0.1)
    signed = (real - 1.2).astype(np.complex64)
    beating = np.stack([real, real + 0.5 * (x > 0), real + (x > 0)])
    return SimulatedData(
        [
            TrainingImage(real, (2.0, 2.0), METADATA, "a"),
            TrainingImage(signed, (2.0, 2.0), METADATA | {"modality": "T1 mapping"}, "b"),
            TrainingImage(beating, (2.0, 2.0), METADATA, "c"),
        ]
    )


@pytest.fixture
def watched(images: SimulatedData) -> SimulatedData:
    """Two patients of two images and one, none of them in ``images``."""
    one, signed, beating = images.images
    pairs = ((one, "d"), (beating, "d"), (signed, "e"))
    return SimulatedData([replace(image, source=source) for image, source in pairs])


@pytest.fixture
def options(tiny_cardiomm: CardioMM) -> TrainingOptions:
    return TrainingOptions(
        steps=6,
        batch_size=2,
        warmup_steps=2,
        sampling=Sampling(
            n_calibrations=(8,),
            accelerations=(4,),
            pixel_mm=(3.0, 4.0),
            readout_window=(16, 24),
            coil_counts=(2, 3),
        ),
        precision="fp32",
        checkpoint_every=2,
        size=replace(tiny_cardiomm.size, n_cascades=1),
    )
