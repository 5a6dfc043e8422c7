"""Wavelets: orthogonal for any size that fits, with the published filters and vanishing moments."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.wavelets import WaveletTransform, daubechies_filter, most_levels, padded_shape, soft_threshold


@settings(max_examples=20, deadline=None)
@given(ny=st.integers(1, 45), nx=st.integers(1, 45), levels=st.integers(0, 4), seed=st.integers(0, 99))
def test_transform_is_orthogonal(ny: int, nx: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = padded_shape((ny, nx), levels)
    assert all(0 <= after - before < 2**levels for before, after in zip((ny, nx), shape, strict=True))
    for wavelet in ("db2", "db4"):
        transform = WaveletTransform(shape, wavelet, levels)
        parts = rng.standard_normal((4, 2, *shape))
        a, b = (torch.from_numpy(parts[i] + 1j * parts[i + 2]) for i in (0, 1))
        torch.testing.assert_close(transform.inverse(transform.forward(a)), a)
        torch.testing.assert_close(transform.forward(transform.inverse(a)), a)
        left, right = (
            torch.vdot(transform.forward(a).flatten(), b.flatten()),
            torch.vdot(a.flatten(), transform.inverse(b).flatten()),
        )
        torch.testing.assert_close(left, right)


def test_filters_are_the_published_ones() -> None:
    root = np.sqrt(3)
    closed_form = np.array([1 + root, 3 + root, 3 - root, 1 - root]) / (4 * np.sqrt(2))
    np.testing.assert_allclose(daubechies_filter(2), closed_form, atol=1e-12)
    # Daubechies 1988, table 1, N = 4
    published = [0.230377813309, 0.714846570553, 0.630880767930, -0.027983769417]
    published += [-0.187034811719, 0.030841381836, 0.032883011667, -0.010597401785]
    np.testing.assert_allclose(daubechies_filter(4), published, atol=1e-11)


def test_details_of_polynomials_vanish() -> None:
    y, x = torch.meshgrid(torch.arange(64.0) / 64, torch.arange(64.0) / 64, indexing="ij")
    details = WaveletTransform((64, 64), "db4", 1).forward((x**3 + y).to(torch.float64))
    inner = details[36:60, 8:28].abs()  # away from where the period makes a step
    assert float(inner.max()) < 1e-6


def test_real_images_stay_real_and_energy_is_kept(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.standard_normal((3, 32, 48)))
    coefficients = WaveletTransform((32, 48), "db4", 2).forward(image)
    assert not coefficients.is_complex()
    torch.testing.assert_close(coefficients.square().sum(), image.square().sum())


def test_levels_and_thresholds() -> None:
    assert most_levels((204, 256), "db4") == 4
    assert most_levels((5, 300), "db4") == 0
    values = torch.tensor([3 + 4j, 0.1j, 0])
    torch.testing.assert_close(soft_threshold(values, 1.0), torch.tensor([2.4 + 3.2j, 0, 0]))
    with pytest.raises(ValueError, match="multiples of 8 for 3 levels"):
        WaveletTransform((12, 16), "db2", 3)
