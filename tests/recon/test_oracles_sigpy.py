"""Oracle: sigpy (SENSE, ESPIRiT, L1-wavelet) and pygrappa give the same images from the same data, within 0.1 dB."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recon.baselines import fully_sampled, sense
from recon.coils import espirit_maps
from recon.compressed_sensing import compressed_sensing
from recon.fourier import center_crop, ifft2c
from recon.grappa import grappa
from recon.metrics import official_scores
from recon.operators import SenseOperator
from recon.sampling import undersampling_mask

AGREEMENT_DB = 0.1
N_CALIBRATION = 16

pytestmark = pytest.mark.filterwarnings("ignore")  # of the other software, at import too


@pytest.fixture
def noisy(coil_phantom: Any, rng: np.random.Generator) -> NDArray[np.complex64]:
    """K-space of one slice (2 frames, 1, 6 coils, 64, 48) with noise."""
    kspace = coil_phantom.kspace[:, :1]
    noise = rng.standard_normal((2, *kspace.shape))
    return (kspace + 0.01 * (noise[0] + 1j * noise[1])).astype(np.complex64)


def mask_of(kspace: NDArray[Any], pattern: str, acceleration: int) -> NDArray[np.bool_]:
    n_frames, _, _, ny, nx = kspace.shape
    options: dict[str, Any] = {"nx": nx, "ny": ny, "n_frames": n_frames, "n_calibration": N_CALIBRATION, "seed": 3}
    return undersampling_mask(pattern, acceleration=acceleration, **options)


def psnr(kspace: NDArray[Any], image: NDArray[Any]) -> float:
    return official_scores(fully_sampled(kspace), np.abs(image))["psnr"]


def stacked(images: list[NDArray[Any]]) -> NDArray[Any]:
    return np.stack(images)[:, None]


@pytest.fixture
def mri() -> Any:
    pytest.importorskip("sigpy", reason="sigpy, an independent implementation, is not installed")
    return pytest.importorskip("sigpy.mri.app")


@pytest.mark.parametrize(("pattern", "acceleration"), [("Uniform", 3), ("ktGaussian", 4), ("ktRadial", 12)])
def test_sense_with_the_same_maps(
    mri: Any, coil_phantom: Any, noisy: NDArray[Any], pattern: str, acceleration: int
) -> None:
    mask, maps = mask_of(noisy, pattern, acceleration), coil_phantom.maps[:1]
    options: dict[str, Any] = {"max_iterations": 200, "tolerance": 1e-5}
    ours = sense(noisy, mask, maps=maps, regularization=0.01, prior="flat", **options)
    theirs = stacked(
        [
            mri.SenseRecon(noisy[t, 0] * mask[t], maps[0], lamda=0.01, max_iter=200, show_pbar=False).run()
            for t in range(2)
        ]
    )
    assert abs(psnr(noisy, ours) - psnr(noisy, theirs)) < AGREEMENT_DB
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("pattern", ["Uniform", "ktRadial"])
def test_espirit_and_sense(mri: Any, noisy: NDArray[Any], pattern: str) -> None:
    mask = mask_of(noisy, pattern, 3 if pattern == "Uniform" else 12)
    images = []
    for t in range(2):
        measured = noisy[t, 0] * mask[t]
        maps = mri.EspiritCalib(
            measured, calib_width=N_CALIBRATION, thresh=0.05, crop=0, max_iter=100, show_pbar=False
        ).run()
        images.append(mri.SenseRecon(measured, maps, lamda=0.005, max_iter=100, show_pbar=False).run())
    theirs = psnr(noisy, stacked(images))
    options: dict[str, Any] = {"regularization": 0.005, "prior": "flat", "max_iterations": 100, "tolerance": 1e-4}
    # calibrated on the same square, frame by frame; our own calibration also takes whole lines and all frames
    square = center_crop(torch.from_numpy(noisy), (N_CALIBRATION, N_CALIBRATION))
    alike = stacked(
        [
            sense(
                noisy[t : t + 1],
                mask[t : t + 1],
                maps=espirit_maps(square[t : t + 1], shape=(64, 48)).maps.numpy(),
                **options,
            )[0, 0]
            for t in range(2)
        ]
    )
    assert abs(psnr(noisy, alike) - theirs) < AGREEMENT_DB


@pytest.mark.parametrize(("pattern", "acceleration"), [("Uniform", 3), ("ktGaussian", 4), ("ktRadial", 12)])
def test_l1_wavelet(mri: Any, coil_phantom: Any, noisy: NDArray[Any], pattern: str, acceleration: int) -> None:
    mask, maps = mask_of(noisy, pattern, acceleration), coil_phantom.maps[:1]
    ours = compressed_sensing(
        noisy, mask, maps=maps, regularization=0.005, penalty=0, shifted=False, max_iterations=300, tolerance=1e-6
    )
    images = []
    for t in range(2):
        operator = SenseOperator(torch.from_numpy(maps), torch.from_numpy(mask[t : t + 1]))
        peak = float(operator.adjoint(torch.from_numpy(noisy[t : t + 1])).abs().max())
        options = {"lamda": 0.005 * peak, "wave_name": "db4", "max_iter": 300, "show_pbar": False}
        images.append(mri.L1WaveletRecon(noisy[t, 0] * mask[t], maps[0], **options).run())
    assert abs(psnr(noisy, ours) - psnr(noisy, stacked(images))) < AGREEMENT_DB


@pytest.mark.parametrize("pattern", ["Uniform", "ktUniform"])
def test_grappa(noisy: NDArray[Any], pattern: str) -> None:
    pygrappa = pytest.importorskip("pygrappa", reason="pygrappa, an independent implementation, is not installed")
    mask = mask_of(noisy, pattern, 2)
    # calibrated on all of a k-space that falls to zero, because pygrappa also takes kernels that reach beyond its edges
    fall = np.outer(np.hanning(64), np.hanning(48))
    noisy = (noisy * fall).astype(np.complex64)
    ours = np.concatenate(
        [grappa(k, m, calibration=k, regularization=1e-6) for k, m in zip(noisy[:, None], mask[:, None], strict=True)]
    )
    images = []
    for t in range(2):
        first = t if pattern == "ktUniform" else 0
        lattice = np.arange(64) % 2 == first
        # its kernels would change where calibration lines lie between the regular ones
        regular = np.ascontiguousarray(noisy[t, 0] * lattice[:, None])
        options = {"kernel_size": (7, 5), "coil_axis": 0, "lamda": 1e-7}
        filled = pygrappa.mdgrappa(regular, np.ascontiguousarray(noisy[t, 0]), **options)
        images.append(np.linalg.norm(ifft2c(np.where(mask[t], noisy[t, 0], filled)), axis=0))
    assert abs(psnr(noisy, ours) - psnr(noisy, stacked(images))) < AGREEMENT_DB
