"""What may still be claimed when many things were tested?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, checked_fraction

EIGENVALUE_DIGITS = 8  # Li and Ji's count jumps at whole numbers, and rounding leaves 1.9999999999999996 of a 2


@dataclass(frozen=True)
class FixedSequence:
    """What a fixed sequence of tests allows to claim.

    Attributes
    ----------
    claimed : tuple of bool
        One a test, in the order tested: true up to the first failure, false from there on.
    last : int or None
        Place of the last claim; None where already the first test fails.
    first_failed : int or None
        Place of the first failure; None where all pass.
    """

    claimed: tuple[bool, ...]
    last: int | None
    first_failed: int | None


def holm(p: ArrayLike) -> FloatArray:
    """Adjusted p-values of Holm's step-down procedure, in the order given.

    Claiming those below alpha keeps the chance of any wrong claim below alpha, however the tests depend on one another.
    Source: Holm 1979, https://www.jstor.org/stable/4615733.

    Parameters
    ----------
    p : array (n,)
        From 0 to 1, n >= 1.

    Raises
    ------
    ValueError
        For a p-value that is missing or outside 0 to 1, or none at all.
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    return _restored(np.minimum(steps, 1.0), order)


def benjamini_hochberg(p: ArrayLike) -> FloatArray:
    """Adjusted p-values of Benjamini and Hochberg's step-up procedure, in the order given.

    Of those below q, a share of at most q is expected to be false, if the tests are independent or positively dependent.
    For screens, not for claims. Source: Benjamini and Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x.

    Parameters
    ----------
    p : array (n,)
        From 0 to 1, n >= 1.

    Raises
    ------
    ValueError
        As `holm`.
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    steps = values[order] * values.size / np.arange(1, values.size + 1)
    return _restored(np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0), order)


def fixed_sequence(passed: Sequence[bool | None]) -> FixedSequence:
    """Claim along an order fixed beforehand, each test at the full level, and stop before the first failure.

    What would pass after the first failure is not claimed; for that the order costs no alpha. A test that was not made
    (None) is a failure: nothing behind it can be claimed.
    Sources: Maurer et al. 1995; Westfall and Krishen 2001, doi 10.1016/S0378-3758(01)00077-5.

    Parameters
    ----------
    passed : sequence of bool or None
        In the order fixed beforehand, n >= 1.

    Raises
    ------
    ValueError
        For an empty sequence or entries that are neither true, false nor None.
    """
    if len(passed) == 0:
        raise ValueError("passed is empty; a sequence needs at least one test")
    if not all(entry is None or isinstance(entry, bool | np.bool_) for entry in passed):
        raise ValueError(f"passed: expected true, false or None for each test, got {list(passed)!r}")
    failures = [place for place, entry in enumerate(passed) if not entry]
    first = failures[0] if failures else None
    n_claimed = len(passed) if first is None else first
    claimed = tuple(place < n_claimed for place in range(len(passed)))
    return FixedSequence(claimed, n_claimed - 1 if n_claimed else None, first)


def fixed_sequence_adjusted(p: ArrayLike) -> FloatArray:
    """Adjusted p-values of a fixed sequence: the largest up to each place, so that a claim needs all before it.

    Raises
    ------
    ValueError
        As `holm`.
    """
    return np.maximum.accumulate(_checked(p))


def effective_tests(correlation: ArrayLike, *, method: Literal["li_ji", "nyholt"] = "li_ji") -> float:
    """How many independent tests are these correlated ones worth?

    Of the eigenvalues x of the correlation matrix of n measurements: Li and Ji count ``[x >= 1] + (x - floor(x))`` of
    each; Nyholt takes ``1 + (n - 1)(1 - var(x) / n)``, which is larger when some are strongly correlated. Descriptive:
    stroke volume, ejection fraction and output follow from two volumes and are no three pieces of evidence more.
    Sources: Li and Ji 2005, doi 10.1038/sj.hdy.6800717; Nyholt 2004, doi 10.1086/383251.

    Parameters
    ----------
    correlation : array (n, n)
        Symmetric, 1 on the diagonal, finite.
    method : {"li_ji", "nyholt"}

    Returns
    -------
    float
        From 1 to n.

    Raises
    ------
    ValueError
        For a matrix that is none of correlations, or an unknown method.
    """
    matrix = np.asarray(correlation, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"expected a square correlation matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("correlation holds values that are not finite; leave out measurements that do not vary")
    close = np.allclose(matrix, matrix.T, atol=1e-8) and np.allclose(np.diag(matrix), 1.0, atol=1e-8)
    if not close or np.abs(matrix).max() > 1 + 1e-8:
        raise ValueError("a correlation matrix is symmetric, with 1 on the diagonal and nothing beyond -1 and 1")
    n = matrix.shape[0]
    eigenvalues = np.abs(np.round(np.linalg.eigvalsh(matrix), EIGENVALUE_DIGITS))
    if method == "li_ji":
        return float(np.sum((eigenvalues >= 1) + (eigenvalues - np.floor(eigenvalues))))
    if method == "nyholt":
        return 1.0 if n == 1 else float(1 + (n - 1) * (1 - eigenvalues.var(ddof=1) / n))
    raise ValueError(f"method must be li_ji or nyholt, got {method!r}")


def bonferroni_level(alpha: float, n_tests: float) -> float:
    """Level of each of `n_tests` tests, which may be an effective number, for a level `alpha` of all: alpha / n.

    Raises
    ------
    ValueError
        For an alpha outside (0, 1) or fewer than one test.
    """
    if not n_tests >= 1:
        raise ValueError(f"n_tests must be at least 1, got {n_tests}")
    return checked_fraction(alpha, name="alpha") / n_tests


def _checked(p: ArrayLike) -> FloatArray:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"p: expected a vector of at least one p-value, got shape {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values lie from 0 to 1; leave out tests that were not made, and say so")
    return values


def _restored(sorted_values: FloatArray, order: np.ndarray) -> FloatArray:
    result = np.empty_like(sorted_values)
    result[order] = sorted_values
    return result
