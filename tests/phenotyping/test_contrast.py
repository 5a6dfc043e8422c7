"""The image of a mapping series that is segmented."""

import numpy as np
import pytest

from cohort.records import MeasurementFailed
from phenotyping.contrast import segmentation_image

SERIES = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((4, 2, 3, 5), np.float32)


def test_spread_for_t1_mean_for_t2_of_the_frames_that_have_a_time() -> None:
    times = np.array([300.0, 3000.0, 100.0])
    spread = segmentation_image(SERIES, times, modality="T1 mapping")
    assert np.allclose(spread, np.std([0, 1, 2]))
    assert spread.shape == (1, 2, 3, 5)
    assert np.allclose(segmentation_image(-1j * SERIES, times, modality="T2 mapping"), 1)
    assert np.allclose(segmentation_image(-1j * SERIES, times, modality="T1 rho mapping"), 1)
    assert np.allclose(segmentation_image(SERIES, times[::-1], modality="T1 mapping post"), spread)


def test_other_series_are_refused() -> None:
    with pytest.raises(MeasurementFailed, match="no rule says which image of 'cine'"):
        segmentation_image(SERIES, np.ones(4), modality="cine")
    with pytest.raises(MeasurementFailed, match="5 times for 4 images"):
        segmentation_image(SERIES, np.ones(5), modality="T1 mapping")
