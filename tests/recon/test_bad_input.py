"""Does every method, given what it cannot use, say so in one clear error, and never make a picture of it?"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohort.records import CardioValError
from recon.cardiomm.checkpoint import save_cardiomm
from recon.cardiomm.network import CardioMM, CardioMMSize
from recon.inference import METHODS, reconstruct
from recon.sampling import PATTERNS, undersampling_mask

SCAN = {"field_t": 1.5, "vendor": "Siemens", "scanner": "Aera", "modality": "cine", "view": "short-axis"}
Kspace = NDArray[np.complex64]
Mask = NDArray[np.bool_]
TINY = CardioMMSize(2, 4, (4, 4, 4), (4, 4, 4), (4, 4, 4), 4, (4, 4, 4), (4, 4, 4), (2, 2, 2), 8)
EACH_METHOD = pytest.mark.parametrize("method", METHODS)


def object_in_coils(shape: tuple[int, int, int, int, int], *, seed: int = 3) -> Kspace:
    """k-space whose energy falls away from the center, as that of every body does."""
    rng = np.random.default_rng(seed)
    ny, nx = shape[-2:]
    distance = np.hypot(np.arange(ny)[:, None] - ny // 2, np.arange(nx) - nx // 2)
    values = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (values / (1 + distance) ** 2).astype(np.complex64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CardioMM of random weights, written once."""
    path = tmp_path_factory.mktemp("weights") / "tiny.ckpt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        save_cardiomm(path, CardioMM(TINY), notes={})
    return path


@pytest.fixture
def kspace() -> Kspace:
    return object_in_coils((3, 2, 4, 24, 20))


@pytest.fixture
def mask() -> Mask:
    return undersampling_mask("Uniform", nx=20, ny=24, n_frames=3, acceleration=4, n_calibration=8)


def by(method: str, kspace: Any, mask: Any, weights: Path, **change: Any) -> NDArray[Any]:
    metadata = SCAN | {"pattern": "Uniform", "acceleration": 4, "n_calibration": 8} | change
    return reconstruct(kspace, mask, method=method, metadata=metadata, device="cpu", weights=weights)  # type: ignore[arg-type]


def image_or_error(method: str, kspace: Kspace, mask: Mask, weights: Path, **change: Any) -> NDArray[Any] | None:
    """A finite image of the right shape, or None after an error of ours that says what was expected."""
    try:
        image = by(method, kspace, mask, weights, **change)
    except (CardioValError, ValueError) as error:
        if not re.search(r"expected|use |needs?|give ", str(error)):
            pytest.fail(f"says not what was expected or what to do: {error}")
        return None
    assert image.shape == (*kspace.shape[:2], *kspace.shape[-2:])
    assert np.isfinite(image).all()
    assert image.any(), "an image of nothing"
    return image


# ---- values


@EACH_METHOD
@pytest.mark.parametrize("bad", [np.nan, -np.inf, 1j * np.nan])
def test_a_sampled_point_that_is_no_number(
    kspace: Kspace, mask: Mask, weights: Path, method: str, bad: complex
) -> None:
    kspace[1, 1, 2, 12, 5] = bad
    with pytest.raises(ValueError, match=r"NaN or infinite values at sampled points of frame 1, slice 1"):
        by(method, kspace, mask, weights)


@EACH_METHOD
def test_nothing_but_zeros(kspace: Kspace, mask: Mask, weights: Path, method: str) -> None:
    with pytest.raises(ValueError, match="zero everywhere"):
        by(method, np.zeros_like(kspace), mask, weights)


@EACH_METHOD
@pytest.mark.parametrize("where", [np.s_[1, 0], np.s_[2], np.s_[:, 1]])
def test_an_empty_frame_or_slice(kspace: Kspace, mask: Mask, weights: Path, method: str, where: Any) -> None:
    kspace[where] = 0
    with pytest.raises(ValueError, match=r"frame \d, slice \d is zero wherever the mask samples"):
        by(method, kspace, mask, weights)


@EACH_METHOD
def test_signal_only_where_nothing_is_sampled(kspace: Kspace, mask: Mask, weights: Path, method: str) -> None:
    with pytest.raises(ValueError, match="zero everywhere that the mask samples"):
        by(method, np.where(mask[:, None, None], 0, kspace).astype(np.complex64), mask, weights)


@EACH_METHOD
@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18])
def test_a_scale_that_single_precision_cannot_square(
    kspace: Kspace, mask: Mask, weights: Path, method: str, scale: float
) -> None:
    with pytest.raises(ValueError, match="multiply all of it by one factor"):
        by(method, kspace * np.float32(scale), mask, weights)


@EACH_METHOD
def test_double_precision_beyond_single_is_infinite(kspace: Kspace, mask: Mask, weights: Path, method: str) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        by(method, kspace.astype(np.complex128) * 1e60, mask, weights)


@EACH_METHOD
def test_a_coil_that_hears_nothing_is_no_error(kspace: Kspace, mask: Mask, weights: Path, method: str) -> None:
    kspace[:, :, 1] = 0
    assert image_or_error(method, kspace, mask, weights) is not None


# ---- masks


@EACH_METHOD
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64])
def test_a_mask_of_numbers_is_refused(kspace: Kspace, mask: Mask, weights: Path, method: str, kind: type) -> None:
    with pytest.raises(ValueError, match=r"expected a bool mask, got \w+; convert"):
        by(method, kspace, mask.astype(kind), weights)


@EACH_METHOD
@pytest.mark.parametrize("shape", [(3, 20, 24), (2, 24, 20), (24, 20), (3, 1, 24, 20), (3, 24, 1), (0, 24, 20)])
def test_a_mask_of_another_shape(kspace: Kspace, weights: Path, method: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="make it for this matrix"):
        by(method, kspace, np.ones(shape, bool), weights)


@EACH_METHOD
def test_a_mask_that_samples_nothing(kspace: Kspace, mask: Mask, weights: Path, method: str) -> None:
    with pytest.raises(ValueError, match="zero everywhere that the mask samples"):
        by(method, kspace, np.zeros_like(mask), weights)
    mask[1] = False
    with pytest.raises(ValueError, match="frame 1, slice 0 is zero wherever the mask samples"):
        by(method, kspace, mask, weights)


@EACH_METHOD
@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_calibration_lines(kspace: Kspace, weights: Path, method: str, pattern: str) -> None:
    mask = undersampling_mask(pattern, nx=20, ny=24, n_frames=3, acceleration=4, n_calibration=0, seed=1)
    image = image_or_error(method, kspace, mask, weights, pattern=pattern, n_calibration=0)
    if method == "cardiomm" or (method in ("sense", "grappa") and pattern != "ktRadial"):
        assert image is None  # spokes cross in a fully sampled center, lines do not


def test_calibration_that_the_mask_lacks_or_that_is_silent(kspace: Kspace, mask: Mask, weights: Path) -> None:
    with pytest.raises(
        ValueError, match="leaves some of them out in frame 0; give the n_calibration that the mask has"
    ):
        by("cardiomm", kspace, mask, weights, n_calibration=16)
    kspace[2, 1, :, 8:16] = 0
    with pytest.raises(ValueError, match="only zeros in frame 2, slice 1"):
        by("cardiomm", kspace, mask, weights)


# ---- k-space of other kinds and sizes


@EACH_METHOD
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k.real, "expected complex k-space, got float32"),
        (lambda k: k[0], r"expected k-space \(frames, slices, coils, ky, kx\)"),
        (lambda k: k[:0], "none empty"),
        (lambda k: k[:, :, :0], "none empty"),
    ],
)
def test_k_space_of_another_kind(
    kspace: Kspace, mask: Mask, weights: Path, method: str, change: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        by(method, change(kspace), mask, weights)


@EACH_METHOD
def test_one_coil(mask: Mask, weights: Path, method: str) -> None:
    assert image_or_error(method, object_in_coils((3, 2, 1, 24, 20)), mask, weights) is not None


@EACH_METHOD
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (5, 3), (17, 31), (600, 7), (7, 599), (131, 97)])
@pytest.mark.parametrize("full", [False, True])
def test_sizes(weights: Path, method: str, size: tuple[int, int], full: bool) -> None:
    ny, nx = size
    n_calibration = min(ny, 8)
    mask = undersampling_mask("Uniform", nx=nx, ny=ny, n_frames=1, acceleration=3, n_calibration=n_calibration)
    image = image_or_error(
        method, object_in_coils((1, 1, 3, ny, nx)), mask | full, weights, n_calibration=n_calibration
    )
    if image is None:
        assert method not in ("zero_filled", "cardiomm")  # the others calibrate on 6 x 6 points at least
        assert min(size) < 8 or method == "low_rank_sparse"  # which needs frames


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_anything_gives_a_finite_image_or_a_clear_error(weights: Path, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(METHODS))
    shape = tuple(data.draw(st.integers(1, top)) for top in (3, 2, 4, 30, 30))
    frames, _, _, ny, nx = shape
    kspace = object_in_coils(shape, seed=data.draw(st.integers(0, 99)))  # type: ignore[arg-type]
    kspace *= np.float32(10.0 ** data.draw(st.integers(-14, 14)))
    for _ in range(data.draw(st.integers(0, 2))):
        place = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
        kspace[place[: data.draw(st.integers(1, 5))]] = data.draw(st.sampled_from([0, np.nan, np.inf, 1e30]))
    pattern = data.draw(st.sampled_from(PATTERNS))
    n_calibration = data.draw(st.integers(0, min(ny, nx)))
    mask = undersampling_mask(
        pattern, nx=nx, ny=ny, n_frames=frames, acceleration=4, n_calibration=n_calibration, seed=1
    )
    told = data.draw(st.sampled_from([n_calibration, 0, 8, 31]))
    image_or_error(method, kspace, mask, weights, pattern=pattern, n_calibration=told)


# ---- texts


@pytest.mark.parametrize(
    "change", [{"vendor": "Acme"}, {"modality": "unheard-of"}, {"view": "?"}, {"field_t": 7.0}, {"scanner": ""}]
)
def test_an_unknown_word_in_the_text_gives_an_image(
    kspace: Kspace, mask: Mask, weights: Path, change: dict[str, Any]
) -> None:
    assert image_or_error("cardiomm", kspace, mask, weights, **change) is not None


@pytest.mark.parametrize("change", [{"field_t": "strong"}, {"acceleration": "much"}, {"n_calibration": "some"}])
def test_words_for_numbers_are_refused(kspace: Kspace, mask: Mask, weights: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"could not convert|invalid literal"):
        by("cardiomm", kspace, mask, weights, **change)
