"""How are several kinds of training data mixed? Each draw comes from one of them, with a chance that is its weight."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cohort.records import ConfigProblem
from recon.training_data import Samples, Sampling, TrainingData, sha256_of


@dataclass(frozen=True)
class MixedData:
    """Simulated and measured data, say.

    Attributes
    ----------
    parts
        Each with a weight above 0; they are divided by their sum.
    """

    parts: Sequence[tuple[TrainingData, float]]

    def __post_init__(self) -> None:
        if not self.parts or any(not weight > 0 for _, weight in self.parts):
            raise ConfigProblem(
                f"expected data with weights above 0, got {[weight for _, weight in self.parts]}: leave out what shall "
                "not be drawn"
            )

    def __len__(self) -> int:
        return sum(len(data) for data, _ in self.parts)

    @property
    def patients(self) -> tuple[str, ...]:
        """Those of all parts."""
        return tuple(sorted({patient for data, _ in self.parts for patient in data.patients}))

    @property
    def fingerprint(self) -> str:
        """Of all parts and their weights."""
        return sha256_of(*(f"{data.fingerprint} {weight}" for data, weight in self.parts))

    @property
    def skipped(self) -> list[str]:
        """Those of all parts."""
        return [line for data, _ in self.parts for line in data.skipped]

    def of_patient(self, patient: str) -> TrainingData:
        """The patient in the part that has it."""
        return next(data.of_patient(patient) for data, _ in self.parts if patient in data.patients)

    def draw(
        self,
        n: int,
        *,
        n_adjacent: int,
        pattern: str,
        sampling: Sampling,
        rng: np.random.Generator,
        step: int = 0,
        rank: int = 0,
    ) -> Samples:
        """``n`` samples of one of the parts."""
        weights = np.array([weight for _, weight in self.parts])
        data, _ = self.parts[int(rng.choice(len(weights), p=weights / weights.sum()))]
        return data.draw(n, n_adjacent=n_adjacent, pattern=pattern, sampling=sampling, rng=rng, step=step, rank=rank)
