"""Are the two sentences those of the release, and does the embedded encoder give the numbers our weights know?"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.cardiomm.prompts import (
    FAMILY_OF_PATTERN,
    HashedNgramEncoder,
    metadata_text,
    undersampling_text,
)
from recon.sampling import PATTERNS

VIDA = {"field_t": 3.0, "vendor": "Siemens", "scanner": "Vida", "modality": "cine", "view": "short-axis"}
ROOT = Path(__file__).resolve().parents[2]


def nearness(first: str, second: str) -> float:
    """Cosine of the angle between two embedded sentences."""
    a, b = HashedNgramEncoder()([first, second])
    return float(a @ b)


# --- sentences


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Adult cardiac MRI reconstruction.Vendor: 3.0T, Siemens, Vida. Modality: cine, short-axis."),
        (
            {"field_t": 0.55, "scanner": "Freemax", "modality": "T1 mapping", "view": "long-axis"},
            "Adult cardiac MRI reconstruction.Vendor: 0.55T, Siemens, Freemax. Modality: T1 mapping, long-axis.",
        ),
        (
            {"lifespan": "Fetal", "field_t": "5", "vendor": "UIH", "scanner": "umr890", "view": None},
            "Fetal cardiac MRI reconstruction.Vendor: 5.0T, UIH, umr890. Modality: cine, unknown.",
        ),
        (
            {"vendor": " GE \n Healthcare", "scanner": "", "field_t": None},
            "Adult cardiac MRI reconstruction.Vendor: unknown, GE Healthcare, unknown. Modality: cine, short-axis.",
        ),
    ],
)
def test_metadata_sentence(changes: dict[str, Any], expected: str) -> None:
    assert metadata_text(VIDA | changes) == expected


def test_disease_never_enters_the_sentence() -> None:
    assert metadata_text(VIDA | {"disease": "dilated", "patient": "P001"}) == metadata_text(VIDA)


@pytest.mark.parametrize(
    ("pattern", "acceleration", "expected"),
    [
        ("Uniform", 8, "Undersampling: 8x uniform."),
        ("ktUniform", 4.0, "Undersampling: 4x uniform."),
        ("ktGaussian", 16.0, "Undersampling: 16x random."),
        ("ktRadial", 24, "Undersampling: 24x radial."),
        ("ktRadial", 7.5, "Undersampling: 7.5x radial."),
    ],
)
def test_undersampling_sentence(pattern: str, acceleration: float, expected: str) -> None:
    assert undersampling_text(pattern, acceleration) == expected


def test_every_mask_has_a_family_and_no_other_has() -> None:
    assert set(FAMILY_OF_PATTERN) == set(PATTERNS)
    with pytest.raises(ValueError, match="unknown mask pattern 'spiral'; expected one of Uniform"):
        undersampling_text("spiral", 4)


# --- embedded encoder


def test_numbers_are_those_the_shipped_weights_were_trained_with() -> None:
    """If this fails (a NumPy with another random stream, say), the shipped weights are steered at random."""
    metadata, undersampling = HashedNgramEncoder()([metadata_text(VIDA), undersampling_text("ktGaussian", 16)])
    # from the encoder at the time of the training (NumPy 2)
    np.testing.assert_allclose(metadata[[0, 1, 2, 511]], [-0.0077127, -0.0255016, -0.0024710, -0.1040282], atol=1e-6)
    np.testing.assert_allclose(undersampling[[0, 1, 2, 511]], [0.0190260, 0.0861079, -0.0073063, -0.0731844], atol=1e-6)


def test_same_numbers_in_another_process() -> None:
    text = metadata_text(VIDA)
    code = (
        "import json, sys; from recon.cardiomm.prompts import HashedNgramEncoder as E;"
        "print(json.dumps(E()([sys.argv[1]])[0].tolist()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, text],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)},
    )
    np.testing.assert_allclose(json.loads(answer.stdout), HashedNgramEncoder()([text])[0], atol=1e-7)


def test_unit_length_shape_and_type() -> None:
    vectors = HashedNgramEncoder()([metadata_text(VIDA), undersampling_text("Uniform", 8), "x", "心臓 café"])
    assert vectors.shape == (4, 512)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert not HashedNgramEncoder()(["", "  \n"]).any()


def test_case_and_white_space_do_not_matter() -> None:
    assert nearness("Siemens  VIDA\n", "siemens vida") == pytest.approx(1)


def test_texts_that_share_words_are_near() -> None:
    base = metadata_text(VIDA)
    same_vendor = metadata_text(VIDA | {"scanner": "Prisma"})
    stranger = metadata_text(VIDA | {"field_t": 5.0, "vendor": "UIH", "scanner": "umr890", "modality": "T2 mapping"})
    assert (
        0.99 > nearness(base, same_vendor) > nearness(base, stranger) > nearness(base, undersampling_text("Uniform", 8))
    )
    factor, family = undersampling_text("Uniform", 8), undersampling_text("ktRadial", 8)
    assert nearness(factor, undersampling_text("Uniform", 10)) > nearness(factor, family)
    assert abs(nearness("completely different words", "quick brown fox")) < 0.2


def test_every_arm_has_a_vector_of_its_own() -> None:
    texts = sorted({undersampling_text(p, r) for p in PATTERNS for r in (4, 6, 8, 10, 12, 16, 20, 24)})
    vectors = HashedNgramEncoder()(texts)
    closeness = vectors @ vectors.T - np.eye(len(texts))
    assert closeness.max() < 0.99


def test_answers_cannot_be_changed_by_the_caller_and_randomness_is_its_own() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    first = HashedNgramEncoder()(["a text of its own"])
    first[:] = 0
    assert HashedNgramEncoder()(["a text of its own"]).any()
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002
