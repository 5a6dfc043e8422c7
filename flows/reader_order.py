"""In which order does each reader see the series, which come twice, and by which codes are they known?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

#: no 0, 1, I, O: codes may be read out on the telephone
CODE_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
CODE_LENGTH: Final = 8
TRIES_PER_SERIES: Final = 60


@dataclass(frozen=True)
class Shown:
    """One showing of a series: the series, whether it is the second time, and the code that this reader knows it by."""

    series: str
    repeat: bool
    code: str


def reading_order(
    series: Sequence[tuple[str, str]], *, repeated: Sequence[str], rng: np.random.Generator, codes: set[str]
) -> list[Shown]:
    """A random order in which no scan follows itself and second showings come late after the first, as far as that can be.

    Parameters
    ----------
    series
        (series, scan) pairs.
    repeated
        Series that come twice.
    codes
        Codes in use; those given here are added.
    """
    scan_of = dict(series)
    first = [(name, False) for name, _ in series]
    showings = [*first, *((name, True) for name in repeated)]
    order = [showings[i] for i in rng.permutation(len(showings))]
    order = _apart([name for name, _ in order], scan_of, rng=rng)
    seen: set[str] = set()
    made = []
    for name in order:
        made.append(Shown(name, name in seen, _new_code(rng, codes)))
        seen.add(name)
    return made


def drawn_repeats(series: Sequence[tuple[str, str]], *, share: float, rng: np.random.Generator) -> list[str]:
    """Series that come twice: so large a share, spread as evenly as can be over the arms.

    Parameters
    ----------
    series
        (series, arm) pairs.
    """
    wanted = round(share * len(series))
    by_arm: dict[str, list[str]] = {}
    for i in rng.permutation(len(series)):
        by_arm.setdefault(series[i][1], []).append(series[i][0])
    return round_robin(list(by_arm.values()))[:wanted]


def round_robin(groups: Sequence[Sequence[str]]) -> list[str]:
    """One of each group, then the next of each, until all are taken."""
    longest = max((len(group) for group in groups), default=0)
    return [group[i] for i in range(longest) for group in groups if i < len(group)]


def _apart(order: list[str], scan_of: dict[str, str], *, rng: np.random.Generator) -> list[str]:
    """Swap what stands badly with a random place as long as that does not make it worse."""
    n, gap = len(order), max(1, len(order) // 4)
    best = _badness(order, scan_of, gap)
    for _ in range(TRIES_PER_SERIES * n):
        if not best:
            break
        bad = [i for i in range(n) if _bad_at(order, i, scan_of, gap)]
        i, j = int(rng.choice(bad)), int(rng.integers(n))
        order[i], order[j] = order[j], order[i]
        now = _badness(order, scan_of, gap)
        if now <= best:
            best = now
        else:
            order[i], order[j] = order[j], order[i]
    return order


def _badness(order: list[str], scan_of: dict[str, str], gap: int) -> int:
    return sum(_bad_at(order, i, scan_of, gap) for i in range(len(order)))


def _bad_at(order: list[str], i: int, scan_of: dict[str, str], gap: int) -> bool:
    """Whether the scan has just been shown, or this very series not long ago."""
    follows = i > 0 and scan_of[order[i]] == scan_of[order[i - 1]]
    return follows or order[i] in order[max(0, i - gap) : i]


def _new_code(rng: np.random.Generator, codes: set[str]) -> str:
    while True:
        code = "".join(CODE_LETTERS[i] for i in rng.integers(len(CODE_LETTERS), size=CODE_LENGTH))
        if code not in codes:
            codes.add(code)
            return code
