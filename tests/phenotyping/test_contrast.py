"""The image of a mapping series that is segmented."""

import numpy as np
import pytest

from cohort.records import MeasurementFailed
from phenotyping.contrast import segmentation_image

SERIES = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((4, 2, 3, 5), np.float32)


def test_longest_inversion_and_shortest_preparation_whatever_the_order() -> None:
    times = np.array([300.0, 3000.0, 100.0])
    assert (segmentation_image(SERIES, times, modality="T1 mapping") == 1).all()
    assert (segmentation_image(-1j * SERIES, times, modality="T2 mapping") == 2).all()
    assert segmentation_image(SERIES, times, modality="T1 mapping post").shape == (1, 2, 3, 5)


def test_other_series_are_refused() -> None:
    with pytest.raises(MeasurementFailed, match="no rule says which image of 'cine'"):
        segmentation_image(SERIES, np.ones(4), modality="cine")
    with pytest.raises(MeasurementFailed, match="5 times for 4 images"):
        segmentation_image(SERIES, np.ones(5), modality="T1 mapping")
