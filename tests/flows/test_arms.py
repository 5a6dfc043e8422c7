"""Does the reconstruction stage give what the methods give on the whole scan, with any mask and any acquired region?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from numpy.typing import NDArray

from cohort import matslices
from cohort.cmrxrecon import read_info, read_kspace, write_kspace, write_mask
from cohort.images import read_image
from cohort.records import ConfigProblem, MeasurementFailed, NotFinite, UnreadableFile
from flows import stages
from flows.arms import mask_hashes
from flows.caching import read_manifest
from flows.config import Reconstruction, Running, Undersampling, ValidationConfig
from flows.stages import ScanJob, reconstruct_scan, reconstruction_key
from recon.baselines import fully_sampled
from recon.cardiomm.checkpoint import save_cardiomm
from recon.cardiomm.network import CardioMM, CardioMMSize
from recon.fourier import center_crop, fft2c, ifft2c, remove_readout_oversampling
from recon.inference import reconstruct
from recon.sampling import effective_acceleration, undersampling_mask

FRAMES, SLICES, COILS, NY, NX = 2, 3, 4, 40, 32
INFO = {"FOVx(mm)": 320.0, "FOVy(mm)": 300.0, "ReadOutOversample": 2, "SlicePitch(mm)": 10.0, "TR(ms)": 400.0}
PATTERNS = (("Uniform", 4.0), ("ktGaussian", 4.0), ("ktRadial", 4.0))
METHODS = ("zero_filled", "sense", "cardiomm")
TINY = CardioMMSize(2, 4, (4, 4, 4), (4, 4, 4), (4, 4, 4), 4, (4, 4, 4), (4, 4, 4), (2, 2, 2), 8)


def scan(ny: int = NY, nx: int = 2 * NX) -> NDArray[np.complex64]:
    """k-space of ellipses in smooth coils, the readout oversampled twice, with some noise."""
    rng = np.random.default_rng(6)
    y, x = np.linspace(-1, 1, ny)[:, None], np.linspace(-2, 2, nx)
    angles = 2 * np.pi * np.arange(COILS)[:, None, None] / COILS
    maps = np.exp(-0.5 * ((x - np.cos(angles)) ** 2 + (y - np.sin(angles)) ** 2) + 1j * angles)
    image = np.zeros((FRAMES, SLICES, 1, ny, nx))
    for frame in range(FRAMES):
        for z in range(SLICES):
            image[frame, z] = (x**2 / 0.5 + y**2 / 0.6 < 1) + (x**2 + (y - 0.1) ** 2 < 0.1 + 0.03 * frame + 0.02 * z)
    kspace = fft2c(image * maps)
    noise = rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape)
    return (kspace + 0.01 * noise).astype(np.complex64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_weights(tmp_path_factory.mktemp("weights") / "tiny.ckpt", TINY)


def saved_weights(path: Path, size: CardioMMSize) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        save_cardiomm(path, CardioMM(size), notes={})
    return path


def job_of(tmp_path: Path, kspace: NDArray[np.complex64], **change: Any) -> ScanJob:
    path = tmp_path / "Cine/TestSet/FullSample/Center001/Siemens_15T_Aera/P001/cine_sax.mat"
    write_kspace(path, kspace, info=INFO)
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    facts: dict[str, Any] = {
        "study": "s",
        "center": "Center001",
        "vendor": "Siemens",
        "field_t": 1.5,
        "scanner": "Siemens_15T_Aera",
        "disease": "",
        "patient": "P001",
        "modality": "cine",
        "view": "short-axis",
        "stem": "cine_sax",
    }
    return ScanJob(**(facts | change), path=path, folder=folder)


def config_of(
    tmp_path: Path, weights: Path, *, patterns: Any = PATTERNS, methods: tuple[str, ...] = METHODS, **under: Any
) -> ValidationConfig:
    return ValidationConfig(
        name="s",
        cohort=tmp_path,
        out=tmp_path,
        undersampling=Undersampling(patterns=patterns, **({"n_calibration": 10} | under)),
        reconstruction=Reconstruction(methods=methods, weights=str(weights)),
        running=Running(device="cpu"),
    )


def image_of(job: ScanJob, arm: str) -> NDArray[np.float32]:
    return read_image(job.folder / f"{arm}.nii.gz")[0]


def by_hand(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], method: str, pattern: str, job: ScanJob, weights: Path
) -> NDArray[np.float32]:
    """The whole scan at once, as it was done before it was streamed."""
    metadata = {k: getattr(job, k) for k in ("field_t", "vendor", "scanner", "modality", "view")}
    metadata |= {"pattern": pattern, "acceleration": 4.0, "n_calibration": 10}
    options: dict[str, Any] = {"device": "cpu", "weights": weights, "shared_maps": job.modality == "cine"}
    return np.abs(reconstruct(kspace, mask, method=method, metadata=metadata, **options)).astype(np.float32)  # type: ignore[arg-type]


# ---- full, centered k-space


@pytest.mark.parametrize("whole_bytes", [0, 2**28])
def test_streaming_changes_no_bit(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr(matslices, "WHOLE_BYTES", whole_bytes)
    job, config = job_of(tmp_path, scan()), config_of(tmp_path, weights)
    manifest = read_manifest(reconstruct_scan(job, config))
    kspace = remove_readout_oversampling(read_kspace(job.path), 2)
    np.testing.assert_array_equal(image_of(job, "fully_sampled"), fully_sampled(kspace))
    assert manifest["acquired"]["note"] == ""
    assert manifest["shape"] == [FRAMES, SLICES, COILS, NY, NX]
    for pattern, factor in PATTERNS:
        for method in METHODS:
            entry = manifest["arms"][f"{method}_{pattern}4"]
            assert entry["status"] == "ok", entry
            mask = undersampling_mask(
                pattern, nx=NX, ny=NY, n_frames=FRAMES, acceleration=factor, n_calibration=10, seed=entry["mask_seed"]
            )
            assert entry["effective_acceleration"] == effective_acceleration(mask)
            expected = by_hand(kspace, mask, method, pattern, job, weights)
            np.testing.assert_array_equal(image_of(job, f"{method}_{pattern}4"), expected)


def test_a_network_of_neighboring_slices_sees_them_in_the_stream(tmp_path: Path) -> None:
    weights = saved_weights(tmp_path / "stacked.ckpt", replace(TINY, n_adjacent=3))
    job = job_of(tmp_path, scan())
    reconstruct_scan(job, config_of(tmp_path, weights, patterns=PATTERNS[:1], methods=("cardiomm",)))
    kspace = remove_readout_oversampling(read_kspace(job.path), 2)
    mask = undersampling_mask("Uniform", nx=NX, ny=NY, n_frames=FRAMES, acceleration=4, n_calibration=10)
    expected = by_hand(kspace, mask, "cardiomm", "Uniform", job, weights)
    np.testing.assert_allclose(image_of(job, "cardiomm_Uniform4"), expected, rtol=1e-4, atol=1e-5 * expected.max())
    alone = by_hand(kspace[:, 1:2], mask, "cardiomm", "Uniform", job, weights)
    assert np.abs(alone[:, 0] - expected[:, 1]).max() > 1e-3 * expected.max()  # the neighbors do matter


def test_every_arm_that_predicts_kspace_is_scored(tmp_path: Path, weights: Path) -> None:
    job, config = job_of(tmp_path, scan()), config_of(tmp_path, weights, patterns=PATTERNS[:2])
    arms = read_manifest(reconstruct_scan(job, config))["arms"]
    status = {name: arm["reliability"]["status"] for name, arm in arms.items()}
    assert {status[name] for name in arms if "fully" in name or "zero" in name} == {"not_scored"}
    assert {status[name] for name in arms if "sense" in name} == {"ok"}
    # the score was fitted to the shipped weights, and these are others
    assert {status[name] for name in arms if "cardiomm" in name} == {"failed"}
    assert "fitted to CardioMM weights" in arms["cardiomm_Uniform4"]["reliability"]["reason"]
    assert all(
        np.isfinite(arms[name]["reliability"]["expected_nmse"]) for name, found in status.items() if found == "ok"
    )
    with_shipped = replace(config, reconstruction=Reconstruction(methods=("cardiomm",)))
    shipped = read_manifest(reconstruct_scan(job, with_shipped))["arms"]["cardiomm_Uniform4"]["reliability"]
    assert shipped["status"] == "ok"
    off = replace(config, reconstruction=replace(config.reconstruction, reliability=False))
    assert reconstruction_key(job, off) != reconstruction_key(job, config)
    arms = read_manifest(reconstruct_scan(job, off))["arms"]
    assert {arm["reliability"]["status"] for arm in arms.values()} == {"not_scored"}


def test_words_that_the_texts_do_not_know_are_noted(tmp_path: Path, weights: Path) -> None:
    job = job_of(tmp_path, scan(), vendor="Acme")
    arms = read_manifest(reconstruct_scan(job, config_of(tmp_path, weights, patterns=PATTERNS[:1])))["arms"]
    assert arms["cardiomm_Uniform4"]["status"] == "ok"
    assert "vendor 'Acme'" in arms["cardiomm_Uniform4"]["notes"][0]
    assert arms["sense_Uniform4"]["notes"] == []
    assert read_image(job.folder / "cardiomm_Uniform4.nii.gz")[2]["notes"] == arms["cardiomm_Uniform4"]["notes"]


# ---- masks from files


def put_mask(job: ScanJob, mask: NDArray[np.bool_], pattern: str) -> Path:
    path = Path(str(job.path.parent).replace("FullSample", "Mask_TaskAll")) / f"cine_sax_mask_{pattern}4.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(path, mask)
    return path


def test_masks_of_files_are_used(tmp_path: Path, weights: Path) -> None:
    """Whole lines on the readout as stored or not; points of a radial mask on the readout as stored."""
    job, config = job_of(tmp_path, scan()), config_of(tmp_path, weights, masks="files")
    masks = {
        pattern: undersampling_mask(pattern, nx=2 * NX, ny=NY, n_frames=n, acceleration=4, n_calibration=8, seed=77)
        for pattern, n in (("Uniform", 1), ("ktGaussian", FRAMES), ("ktRadial", FRAMES))
    }
    for pattern, mask in masks.items():
        put_mask(job, mask, pattern)
    manifest = read_manifest(reconstruct_scan(job, config))
    raw = read_kspace(job.path)
    kspace = remove_readout_oversampling(raw, 2)
    for pattern, mask in masks.items():
        entry = manifest["arms"][f"zero_filled_{pattern}4"]
        assert entry["mask_file"] == f"cine_sax_mask_{pattern}4.mat"
        assert entry["mask_seed"] is None
        assert entry["effective_acceleration"] == pytest.approx(effective_acceleration(mask), rel=1e-12)
        whole = np.where(mask[:, None, None], raw, 0)
        of_whole = np.linalg.norm(center_crop(ifft2c(whole), (NX,)), axis=2)
        image = image_of(job, f"zero_filled_{pattern}4")
        np.testing.assert_allclose(image, of_whole, atol=1e-5 * of_whole.max())
        assert all(manifest["arms"][f"{method}_{pattern}4"]["status"] == "ok" for method in METHODS)
    lines = np.repeat(masks["ktGaussian"][..., :1], NX, axis=2)
    np.testing.assert_array_equal(
        image_of(job, "sense_ktGaussian4"), by_hand(kspace, lines, "sense", "ktGaussian", job, weights)
    )


def test_a_radial_mask_of_the_readout_without_oversampling(tmp_path: Path, weights: Path) -> None:
    job = job_of(tmp_path, scan())
    config = config_of(tmp_path, weights, masks="files", patterns=PATTERNS[2:], methods=("zero_filled", "sense"))
    mask = undersampling_mask("ktRadial", nx=NX, ny=NY, n_frames=FRAMES, acceleration=4, n_calibration=10)
    put_mask(job, mask, "ktRadial")
    reconstruct_scan(job, config)
    kspace = remove_readout_oversampling(read_kspace(job.path), 2)
    expected = by_hand(kspace, mask, "sense", "ktRadial", job, weights)
    np.testing.assert_array_equal(image_of(job, "sense_ktRadial4"), expected)


def test_the_key_follows_the_mask_files(tmp_path: Path, weights: Path) -> None:
    job = job_of(tmp_path, scan())
    generated = config_of(tmp_path, weights, patterns=PATTERNS[:1], methods=("zero_filled",))
    from_files = replace(generated, undersampling=replace(generated.undersampling, masks="files"))
    assert mask_hashes(job, generated) == {}
    keys = [reconstruction_key(job, generated), reconstruction_key(job, from_files)]
    assert "no mask of Uniform 4x" in mask_hashes(job, from_files)["Uniform4"]
    mask = undersampling_mask("Uniform", nx=2 * NX, ny=NY, n_frames=1, acceleration=4, n_calibration=10)
    put_mask(job, mask, "Uniform")
    keys.append(reconstruction_key(job, from_files))
    put_mask(job, mask | True, "Uniform")
    keys.append(reconstruction_key(job, from_files))
    assert len(set(keys)) == 4


def test_a_missing_or_foreign_mask_fails_its_arm_alone(tmp_path: Path, weights: Path) -> None:
    job = job_of(tmp_path, scan())
    config = config_of(tmp_path, weights, masks="files", methods=("zero_filled",))
    put_mask(job, np.ones((1, NY, 2 * NX), bool), "Uniform")
    put_mask(job, np.ones((1, NY + 2, 2 * NX), bool), "ktGaussian")
    arms = read_manifest(reconstruct_scan(job, config))["arms"]
    assert arms["zero_filled_Uniform4"]["status"] == "ok"
    assert arms["zero_filled_Uniform4"]["effective_acceleration"] == 1
    assert "take the mask of this scan" in arms["zero_filled_ktGaussian4"]["reason"]
    assert "expected cine_sax_mask_ktRadial4.mat" in arms["zero_filled_ktRadial4"]["reason"]
    assert arms["zero_filled_ktRadial4"]["effective_acceleration"] is None


def test_options_of_masks_are_checked(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ConfigProblem, match="masks: expected generated or files, got 'drawn'"):
        config_of(tmp_path, weights, masks="drawn")
    with pytest.raises(ConfigProblem, match="masks_folder is only read with"):
        config_of(tmp_path, weights, masks_folder="x")


# ---- partial Fourier and a center that is off


@pytest.mark.parametrize("zeros", [False, True], ids=["cut", "zero-filled"])
@pytest.mark.parametrize("side", ["first", "last"])
def test_partial_fourier(tmp_path: Path, weights: Path, zeros: bool, side: str) -> None:
    """Lines that are missing, whether the file holds zeros for them or ends early, give the same images."""
    cut = 8
    lacking = slice(0, cut) if side == "first" else slice(NY - cut, NY)
    full = scan()
    zeroed = full.copy()
    zeroed[..., lacking, :] = 0
    stored = zeroed if zeros else np.delete(full, np.arange(NY)[lacking], axis=-2)
    job, config = job_of(tmp_path, stored), config_of(tmp_path, weights)
    manifest = read_manifest(reconstruct_scan(job, config))
    # the last lines may be cut without need for all of them to keep the center in the middle
    assert manifest["acquired"]["padded_matrix"][0] == NY
    assert manifest["acquired"]["note"]
    assert manifest["shape"][3:] == [NY, NX]
    assert manifest["geometry"]["spacing_mm"] == [10.0, 300.0 / NY, 320.0 / NX]
    kspace = remove_readout_oversampling(zeroed, 2)
    np.testing.assert_array_equal(image_of(job, "fully_sampled"), fully_sampled(kspace))
    for pattern, factor in PATTERNS:
        entry = manifest["arms"][f"zero_filled_{pattern}4"]
        mask = undersampling_mask(
            pattern, nx=NX, ny=NY, n_frames=FRAMES, acceleration=factor, n_calibration=10, seed=entry["mask_seed"]
        )
        mask[:, lacking] = False
        for method in METHODS:
            expected = by_hand(kspace, mask, method, pattern, job, weights)
            np.testing.assert_array_equal(image_of(job, f"{method}_{pattern}4"), expected)
        assert entry["effective_acceleration"] == FRAMES * (NY - cut) * NX / mask.sum()
        sidecar = read_image(job.folder / f"zero_filled_{pattern}4.nii.gz")[2]
        assert sidecar["acquired"] == manifest["acquired"]


def test_an_asymmetric_echo(tmp_path: Path, weights: Path) -> None:
    cut = 16
    stored = scan()[..., cut:]
    job = job_of(tmp_path, stored)
    manifest = read_manifest(reconstruct_scan(job, config_of(tmp_path, weights)))
    assert manifest["acquired"]["padded_matrix"] == [NY, 2 * NX]
    assert "kx" in manifest["acquired"]["note"]
    assert manifest["geometry"]["spacing_mm"][2] == 320.0 / NX
    zeroed = scan()
    zeroed[..., :cut] = 0
    np.testing.assert_array_equal(image_of(job, "fully_sampled"), fully_sampled(remove_readout_oversampling(zeroed, 2)))
    assert all(arm["status"] == "ok" for arm in manifest["arms"].values())


def test_lines_that_were_never_acquired_are_not_pinned_to_zero(tmp_path: Path, weights: Path) -> None:
    """SENSE fills them in from the coils: nearer to the truth than if it took the file's zeros for data."""
    full = scan()
    zeroed = full.copy()
    zeroed[..., :8, :] = 0
    job = job_of(tmp_path, zeroed)
    config = config_of(tmp_path, weights, patterns=(("Uniform", 2.0),), methods=("zero_filled", "sense"))
    entry = read_manifest(reconstruct_scan(job, config))["arms"]["sense_Uniform2"]
    truth = fully_sampled(remove_readout_oversampling(full, 2))
    kspace = remove_readout_oversampling(zeroed, 2)
    options: dict[str, Any] = {"nx": NX, "ny": NY, "n_frames": FRAMES, "acceleration": 2, "n_calibration": 10}
    pinned = by_hand(kspace, undersampling_mask("Uniform", **options), "sense", "Uniform", job, weights)
    error = np.linalg.norm(image_of(job, "sense_Uniform2") - truth)
    assert error < 0.9 * np.linalg.norm(pinned - truth)
    assert error < np.linalg.norm(image_of(job, "zero_filled_Uniform2") - truth)
    assert 1.3 < entry["effective_acceleration"] < 2


# ---- bad files


def test_an_undersampled_file_is_no_reference(tmp_path: Path, weights: Path) -> None:
    kspace = scan()
    kspace[:, :, :, 5::4] = 0
    with pytest.raises(MeasurementFailed, match="expected a fully sampled scan, got one that lacks"):
        reconstruct_scan(job_of(tmp_path, kspace), config_of(tmp_path, weights))


def test_an_empty_frame_is_told(tmp_path: Path, weights: Path) -> None:
    kspace = scan()
    kspace[1, 2] = 0
    with pytest.raises(MeasurementFailed, match="all-zero k-space in frame 1, slice 2"):
        reconstruct_scan(job_of(tmp_path, kspace), config_of(tmp_path, weights))


def test_nan_and_nothing_but_zeros(tmp_path: Path, weights: Path) -> None:
    job, config = job_of(tmp_path, scan()), config_of(tmp_path, weights)
    for value, kind, message in ((np.nan, NotFinite, "slices 2"), (0, UnreadableFile, "nothing but zeros")):
        with h5py.File(job.path, "r+") as file:
            place = np.s_[1, 2, 0, 0, 0] if value else np.s_[:]
            file["kspace"][place] = np.array((value, value), file["kspace"].dtype)
        with pytest.raises(kind, match=message):
            reconstruct_scan(job, config)


def test_a_slice_that_a_method_cannot_do_fails_its_arm(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = stages.reconstruct_arm, []

    def fails_once(kspace: Any, arm: Any, *args: Any, **options: Any) -> Any:
        calls.append(arm.method)
        if arm.method == "sense" and calls.count("sense") == 2:
            raise MeasurementFailed("no coils")
        return original(kspace, arm, *args, **options)

    monkeypatch.setattr(stages, "reconstruct_arm", fails_once)
    job = job_of(tmp_path, scan())
    arms = read_manifest(reconstruct_scan(job, config_of(tmp_path, weights, patterns=PATTERNS[:1])))["arms"]
    assert arms["sense_Uniform4"]["reason"] == "slice 1: no coils"
    assert calls.count("sense") == 2
    assert calls.count("cardiomm") == SLICES
    assert not (job.folder / "sense_Uniform4.nii.gz").exists()


def test_a_v5_file_gives_the_same(tmp_path: Path, weights: Path) -> None:
    job = job_of(tmp_path, scan())
    config = config_of(tmp_path, weights, patterns=PATTERNS[:1], methods=("sense",))
    reconstruct_scan(job, config)
    first = image_of(job, "sense_Uniform4")
    scipy.io.savemat(job.path, {"kspace": scan().transpose(4, 3, 2, 1, 0)})
    assert read_info(job.path)["ReadOutOversample"] == 2
    reconstruct_scan(job, config)
    np.testing.assert_array_equal(image_of(job, "sense_Uniform4"), first)
