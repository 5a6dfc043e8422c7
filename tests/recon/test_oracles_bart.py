"""Oracle: bart (ecalib, pics) gives the same images from the same data, within 0.1 dB."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cohort.synthetic.acquisition import Receiver, acquire
from cohort.synthetic.population import draw_patient
from cohort.synthetic.render import fine_grid, render_cine
from recon.baselines import fully_sampled, sense
from recon.coils import espirit_maps
from recon.compressed_sensing import compressed_sensing
from recon.fourier import center_crop
from recon.metrics import official_scores
from recon.operators import SenseOperator
from recon.sampling import undersampling_mask

AGREEMENT_DB = 0.1
N_CALIBRATION = 16
CASES = pytest.mark.parametrize(("pattern", "acceleration"), [("Uniform", 3), ("ktGaussian", 4), ("ktRadial", 12)])

pytestmark = pytest.mark.skipif(
    shutil.which("bart") is None, reason="bart, an independent implementation, is not installed"
)


@pytest.fixture
def noisy(coil_phantom: Any, rng: np.random.Generator) -> NDArray[np.complex64]:
    """K-space of one slice (1 frame, 1, 6 coils, 64, 48) with noise."""
    kspace = coil_phantom.kspace[:1, :1]
    noise = rng.standard_normal((2, *kspace.shape))
    return (kspace + 0.01 * (noise[0] + 1j * noise[1])).astype(np.complex64)


def bart(folder: Path, command: str, **inputs: NDArray[Any]) -> NDArray[np.complex64]:
    """Run a command on arrays (coils, y, x) or (y, x), named in it; the result is of the same kind."""
    for name, array in inputs.items():
        write_cfl(folder / name, array)
    subprocess.run(
        ["bart", *command.split(), "result"],
        cwd=folder,
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return read_cfl(folder / "result")


def write_cfl(path: Path, array: NDArray[Any]) -> None:
    """Header of 16 sizes, readout first, and column-major complex64: the last of our axes is their first."""
    coils, ny, nx = array.reshape(-1, *array.shape[-2:]).shape
    sizes = [nx, ny, 1, coils] + [1] * 12
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n")
    array.astype("<c8").tofile(path.with_suffix(".cfl"))


def read_cfl(path: Path) -> NDArray[np.complex64]:
    lines = path.with_suffix(".hdr").read_text().splitlines()
    nx, ny, _, coils = (int(n) for n in lines[lines.index("# Dimensions") + 1].split()[:4])
    flat = np.fromfile(path.with_suffix(".cfl"), "<c8")[: nx * ny * coils]
    return flat.reshape(coils, ny, nx) if coils > 1 else flat.reshape(ny, nx)


def mask_of(pattern: str, acceleration: int) -> NDArray[np.bool_]:
    options: dict[str, Any] = {"nx": 48, "ny": 64, "n_frames": 1, "n_calibration": N_CALIBRATION, "seed": 3}
    return undersampling_mask(pattern, acceleration=acceleration, **options)


def psnr(kspace: NDArray[Any], image: NDArray[Any]) -> float:
    return official_scores(fully_sampled(kspace), np.abs(image).reshape(1, 1, 64, 48))["psnr"]


@CASES
def test_sense_with_the_same_maps(
    tmp_path: Path, coil_phantom: Any, noisy: NDArray[Any], pattern: str, acceleration: int
) -> None:
    mask, maps = mask_of(pattern, acceleration), coil_phantom.maps[:1]
    theirs = bart(tmp_path, "pics -l2 -r 0.01 -i 200 -w 1 measured maps", measured=noisy[0, 0] * mask[0], maps=maps[0])
    options: dict[str, Any] = {"regularization": 0.01, "prior": "flat", "max_iterations": 200, "tolerance": 1e-5}
    ours = sense(noisy, mask, maps=maps, **options)
    assert abs(psnr(noisy, ours) - psnr(noisy, theirs)) < AGREEMENT_DB
    np.testing.assert_allclose(ours[0, 0], theirs, atol=2e-3 * np.abs(theirs).max())


def heart_slice() -> NDArray[np.complex64]:
    """K-space (1, 1, 10, 102, 128) of a synthetic patient."""
    rng = np.random.default_rng(7)
    patient = draw_patient("normal", rng=rng, field_t=1.5)
    shape: dict[str, Any] = {"matrix": (102, 128), "fov_mm": (320.0, 400.0)}
    turned = {name: size[::-1] for name, size in shape.items()}
    cine = render_cine(patient, n_frames=1, n_slices=3, rng=rng, **turned)
    images = cine.images.swapaxes(-1, -2)[:, 1:2]
    spacing = fine_grid(shape["matrix"], shape["fov_mm"]).spacing_mm
    receiver = Receiver(n_coils=10, readout_oversampling=1)
    level = float(images.max()) / 3
    return acquire(images, fine_spacing_mm=spacing, receiver=receiver, signal_level=level, rng=rng, **shape)


def test_espirit_and_sense(tmp_path: Path) -> None:
    kspace = heart_slice()
    mask = undersampling_mask("Uniform", nx=128, ny=102, n_frames=1, acceleration=3, n_calibration=20)
    measured = kspace[0, 0] * mask[0]
    maps = bart(tmp_path, "ecalib -m 1 -c 0 -r 20 measured", measured=measured)
    theirs = bart(tmp_path, "pics -l2 -r 0.005 -i 100 -w 1 measured maps", measured=measured, maps=maps)
    # calibrated on a square, as ecalib does; our own default takes whole lines
    square = center_crop(torch.from_numpy(kspace), (20, 20))
    maps = espirit_maps(square, shape=(102, 128)).maps.numpy()
    ours = sense(kspace, mask, maps=maps, regularization=0.005, prior="flat")
    reference = fully_sampled(kspace)
    found, expected = (official_scores(reference, np.abs(i).reshape(reference.shape))["psnr"] for i in (ours, theirs))
    assert abs(found - expected) < AGREEMENT_DB


@pytest.mark.parametrize(("pattern", "acceleration"), [("Uniform", 2), ("ktRadial", 12)])
def test_l1_wavelet(tmp_path: Path, coil_phantom: Any, noisy: NDArray[Any], pattern: str, acceleration: int) -> None:
    mask, maps = mask_of(pattern, acceleration), coil_phantom.maps[:1]
    operator = SenseOperator(torch.from_numpy(maps), torch.from_numpy(mask))
    peak = float(operator.adjoint(torch.from_numpy(noisy)).abs().max())
    command = f"pics -R W:3:0:{0.0005 * peak} --wavelet dau2 -n -i 100 -w 1 measured maps"
    theirs = bart(tmp_path, command, measured=noisy[0, 0] * mask[0], maps=maps[0])
    # bart halves the image less often and continues it otherwise at the edges: the weight is small enough for that
    ours = compressed_sensing(
        noisy,
        mask,
        maps=maps,
        regularization=0.0005,
        penalty=0,
        shifted=False,
        wavelet="db2",
        max_iterations=100,
        tolerance=1e-6,
    )
    assert abs(psnr(noisy, ours) - psnr(noisy, theirs)) < AGREEMENT_DB
