"""How much does the mean error fall if the cases that a score calls worst are set aside?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, paired_vectors


@dataclass(frozen=True)
class RiskCoverage:
    """Mean error of the cases that are kept, from the best-scored one to all.

    Attributes
    ----------
    coverage : float array (n,)
        Share of the cases kept, 1 / n to 1.
    risk : float array (n,)
        Mean error of the kept ones, in order of the score.
    oracle : float array (n,)
        The same in order of the error itself: no score does better.
    random : float
        Mean error of all: what a score without information keeps, on average, at every coverage.
    area, oracle_area : float
        Mean of ``risk`` and of ``oracle`` over all coverages (AURC); less is better.
    gain : float
        ``(random - area) / (random - oracle_area)``: 1 for the oracle, 0 for no information, negative for worse than
        none; NaN if all errors are equal (or differ by less than can be divided).
    n : int
    """

    coverage: FloatArray
    risk: FloatArray
    oracle: FloatArray
    random: float
    area: float
    oracle_area: float
    gain: float
    n: int

    def at(self, coverage: float) -> float:
        """Mean error where at least this share of the cases is kept."""
        return float(self.risk[int(np.searchsorted(self.coverage, coverage - 1e-9))])


def risk_coverage(error: ArrayLike, score: ArrayLike) -> RiskCoverage:
    """Risk-coverage curve of a score that predicts errors.

    Parameters
    ----------
    error : array (n,)
        The true error of each case, larger is worse.
    score : array (n,)
        Its prediction, larger is worse, on any scale. Cases of one score are kept at their mean error, so that the
        order of the input does not matter.

    Returns
    -------
    RiskCoverage

    Raises
    ------
    ValueError
        Lengths that differ, fewer than 2 cases, values that are not finite.

    Notes
    -----
    El-Yaniv and Wiener 2010, JMLR 11:1605; area: Geifman, Uziel and El-Yaniv 2019, doi 10.48550/arXiv.1805.08206.
    """
    errors, scores = paired_vectors(error, score, names=("error", "score"), at_least=2)
    n = errors.size
    _, group = np.unique(scores, return_inverse=True)
    shared = (np.bincount(group, weights=errors) / np.bincount(group))[group]
    count = np.arange(1, n + 1)
    risk = np.cumsum(shared[np.argsort(scores, kind="stable")]) / count
    oracle = np.cumsum(np.sort(errors)) / count
    mean, area, best = float(errors.mean()), float(risk.mean()), float(oracle.mean())
    varies = mean > best  # not the spread: subnormal errors have one, and still no mean that differs
    return RiskCoverage(
        coverage=count / n,
        risk=risk,
        oracle=oracle,
        random=mean,
        area=area,
        oracle_area=best,
        gain=(mean - area) / (mean - best) if varies else float("nan"),
        n=n,
    )
