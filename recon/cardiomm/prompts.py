"""Which two sentences describe a scan, and which numbers stand for a sentence?

The sentences follow the CardioMM release (arXiv 2512.21652). The embedded encoder turns them into vectors, weight-free
and deterministic; our weights were trained with it. Published checkpoints need CLIP, see ``recon.cardiomm.encoders``.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ENCODER_WIDTH = 512
N_BUCKETS = 4096
NGRAM_LENGTHS = (3, 4, 5)
PROJECTION_SEED = 512_21652

FAMILY_OF_PATTERN = {"Uniform": "uniform", "ktUniform": "uniform", "ktGaussian": "random", "ktRadial": "radial"}
"""The family that the undersampling text names and the calibration region follows, by mask pattern."""

METADATA_KEYS = ("lifespan", "field_t", "vendor", "scanner", "modality", "view")


class TextEncoder(Protocol):
    """Anything that turns sentences into vectors (n, width)."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """The sentence about who was scanned how.

    Parameters
    ----------
    metadata
        ``lifespan`` (default Adult), ``field_t`` in tesla, ``vendor``, ``scanner``, ``modality``, ``view``; what is
        missing or empty is
        called unknown. Disease is left out on purpose.
    """
    known = {key: str(metadata[key]) for key in METADATA_KEYS if metadata.get(key) not in (None, "")}
    field = f"{float(known['field_t'])}T" if "field_t" in known else "unknown"
    lifespan, view = known.get("lifespan", "Adult"), known.get("view", "unknown")
    vendor, scanner, modality = (known.get(key, "unknown") for key in ("vendor", "scanner", "modality"))
    # the release has no space after the first full stop
    return clean(
        f"{lifespan} cardiac MRI reconstruction.Vendor: {field}, {vendor}, {scanner}. Modality: {modality}, {view}. "
    )


def undersampling_text(pattern: str, acceleration: float) -> str:
    """The sentence about what was left out: nominal factor and mask family."""
    if pattern not in FAMILY_OF_PATTERN:
        raise ValueError(f"unknown mask pattern {pattern!r}; expected one of {', '.join(FAMILY_OF_PATTERN)}")
    return f"Undersampling: {acceleration:g}x {FAMILY_OF_PATTERN[pattern]}."


def clean(text: str) -> str:
    """Collapse white space."""
    return re.sub(r"\s+", " ", text).strip()


class HashedNgramEncoder:
    """Weight-free text encoder: hashed character n-grams and words, then a fixed random projection to 512 numbers.

    Each n-gram (3 to 5 characters) and each word adds one to a signed bucket of 4096 (BLAKE2b, so the same on every
    machine); the
    projection is Gaussian with a fixed seed. Unit length. The same text gives the same vector; texts that share words
    are near.
    """

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed sentences: (n, 512) float32 of unit length."""
        return np.stack([embed_by_hashing(text) for text in texts])


@lru_cache(maxsize=4096)
def embed_by_hashing(text: str) -> NDArray[np.float32]:
    """One sentence -> (512,) float32 of unit length (zeros for an empty one)."""
    counts = np.zeros(N_BUCKETS, dtype=np.float64)
    for token in tokens(text):
        digest = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")
        counts[digest % N_BUCKETS] += 1.0 if digest >> 63 else -1.0
    vector = counts @ projection()
    length = np.linalg.norm(vector)
    embedded: NDArray[np.float32] = (vector / length if length else vector).astype(np.float32)
    embedded.flags.writeable = False
    return embedded


def tokens(text: str) -> list[str]:
    """Words and padded character n-grams of the lower-cased text."""
    lowered = clean(text).lower()
    words = re.findall(r"[a-z0-9.]+", lowered)
    padded = f" {lowered} "
    grams = [padded[i : i + n] for n in NGRAM_LENGTHS for i in range(len(padded) - n + 1)] if lowered else []
    # words count threefold: "8x" and "24x" must be as far apart as the vocabulary allows
    return [f"w:{word}" for word in words for _ in range(3)] + grams


@lru_cache(maxsize=1)
def projection() -> NDArray[np.float64]:
    """The fixed random matrix (buckets, 512)."""
    generator = np.random.Generator(np.random.PCG64(PROJECTION_SEED))
    return generator.standard_normal((N_BUCKETS, ENCODER_WIDTH)) / np.sqrt(ENCODER_WIDTH)
