"""Image scores against their definitions, and SSIM against scikit-image."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from recon.metrics import frame_scores, heart_box, heart_scores, official_scores, ssim_map


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    reference = rng.random((2, 3, 24, 30)) + 0.1
    return reference, reference + 0.1 * rng.standard_normal(reference.shape)


def test_equal_the_definition_and_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    expected: dict[str, list[float]] = {"psnr": [], "ssim": [], "nmse": []}
    for g_raw, p_raw in zip(*(image.reshape(-1, 24, 30) for image in pair), strict=True):
        g, p = (np.abs(v) / np.percentile(np.abs(v), 99.5) for v in (g_raw, p_raw))
        expected["psnr"].append(10 * np.log10(g.max() ** 2 / np.mean((g - p) ** 2)))
        expected["ssim"].append(float(structural_similarity(g, p, data_range=g.max())))
        expected["nmse"].append(np.sum((g - p) ** 2) / np.sum(g**2))
    assert official_scores(*pair) == pytest.approx({name: np.mean(values) for name, values in expected.items()})
    assert frame_scores(*pair)["ssim"].shape == (2, 3)
    np.testing.assert_allclose(frame_scores(*pair)["ssim"].ravel(), expected["ssim"])


def test_ssim_map_is_scikit_images(pair: tuple[np.ndarray, np.ndarray]) -> None:
    g, p = pair[0][0, 0], pair[1][0, 0]
    _, expected = structural_similarity(g, p, data_range=1.3, full=True)
    np.testing.assert_allclose(ssim_map(g, p, data_range=1.3), expected, atol=1e-12)


def test_scale_and_phase_do_not_matter(pair: tuple[np.ndarray, np.ndarray]) -> None:
    turned = 3.7 * pair[1] * np.exp(0.8j)
    assert official_scores(pair[0] * 0.2, turned) == pytest.approx(official_scores(*pair))


def test_equal_images_are_perfect(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert official_scores(pair[0], pair[0]) == {"psnr": np.inf, "ssim": pytest.approx(1), "nmse": 0}


def test_an_image_of_zeros_is_scored(pair: tuple[np.ndarray, np.ndarray]) -> None:
    scores = official_scores(pair[0], np.zeros_like(pair[0]))
    assert scores["nmse"] == pytest.approx(1)
    assert np.isfinite(scores["psnr"])


def test_heart_scores_look_only_inside(pair: tuple[np.ndarray, np.ndarray]) -> None:
    region = np.zeros((24, 30), np.uint8)
    region[8:16, 10:20] = 2
    reference = pair[0].copy()
    reference[..., :3, :3] = 0.5
    image = reference.copy()
    image[..., :3, :3] = 0.2
    assert heart_scores(reference, image, region=region) == {"psnr": np.inf, "ssim": pytest.approx(1), "nmse": 0}
    whole = heart_scores(*pair, region=np.ones((24, 30), np.bool_))
    assert whole["psnr"] == pytest.approx(official_scores(*pair)["psnr"])
    assert whole["nmse"] == pytest.approx(official_scores(*pair)["nmse"])


def test_heart_scores_leave_out_frames_without_heart(pair: tuple[np.ndarray, np.ndarray]) -> None:
    region = np.zeros(pair[0].shape, np.bool_)
    region[:, 1, 8:16, 10:20] = True
    apart = heart_scores(pair[0][:, 1:2], pair[1][:, 1:2], region=region[:, 1:2])
    assert heart_scores(*pair, region=region) == pytest.approx(apart)
    with pytest.raises(ValueError, match="was the heart segmented"):
        heart_scores(*pair, region=np.zeros_like(region))


def test_heart_box_spans_all_frames_and_stays_inside() -> None:
    labels = np.zeros((2, 1, 10, 12), np.uint8)
    labels[0, 0, 1, 5] = 1
    labels[1, 0, 4, 7] = 3
    box = heart_box(labels, margin_px=2)
    assert box[:7, 3:10].all()
    assert box.sum() == 7 * 7
    assert not heart_box(np.zeros((1, 4, 4), np.uint8), margin_px=1).any()


def test_what_cannot_be_scored_is_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    reference, image = pair
    with pytest.raises(ValueError, match="of one shape"):
        official_scores(reference, image[:1])
    with pytest.raises(ValueError, match="at least 7 x 7"):
        official_scores(reference[..., :6], image[..., :6])
    broken, empty = image.copy(), reference.copy()
    broken[0, 0, 0, 0] = np.nan
    empty[1, 2] = 0
    with pytest.raises(ValueError, match="got NaN or infinity"):
        official_scores(reference, broken)
    with pytest.raises(ValueError, match="only zeros in frame 5 of 6"):
        official_scores(empty, image)
