"""Fixtures that several rooms share."""

from pathlib import Path

import numpy as np
import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Other work on the machine makes several threads slower than one; results must not depend on it either.
torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator; tests never use the global state."""
    return np.random.default_rng(20251221)


@pytest.fixture
def shared_data() -> Path:
    """The development data beside the checkout; not part of the project, so tests that use it may be absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(
            "needs the development data (ACDC, reference numbers) in ../shared/data, which is not part of the project"
        )
    return SHARED / "data"
