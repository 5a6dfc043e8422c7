"""Which of the early samples of a recovery were negative before the magnitude was taken?"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

import numpy as np

from phenotyping import projection
from phenotyping.projection import Problem, Projection

#: ``near``: around the smallest sample; ``all``: every number of negative samples; ``none``: samples carry their sign
Candidates = Literal["near", "all", "none"]


def fit_magnitudes(
    y: Any, shared: Problem, *, candidates: Candidates, good: Callable[[Projection], Any]
) -> tuple[Projection, Any, Any]:
    """Fit a recovery to magnitudes with the first p samples taken as negative; the p of the smallest residual is kept.

    Residuals are compared after refinement. (Barral et al., doi 10.1002/mrm.22497, compare two candidates; noise moves
    the smallest sample further.) A candidate whose residual cannot fall below that of another, wherever its decay
    time lies (`projection.GridStart.floor`), is not refined: the result is that of refining all.

    Parameters
    ----------
    y
        `(n_times, pixels)` in order of time, scaled to magnitudes near 1.
    shared
        Times, curve, bounds.
    candidates
        Which p are tried.
    good
        Tells which fits are recoveries; a recovery is preferred to a better fit that is none.

    Returns
    -------
    The fits, the number of samples taken as negative, and the squared deviation of the signed samples from their mean.
    """
    xp, n = shared.xp, len(y)
    if candidates == "none":
        found = projection.fit(y, shared, sign=0)
        return found, xp.zeros_like(xp.argmax(y, axis=0)), _deviation(y)
    pixels = y.shape[1]
    columns = xp.arange(pixels) if xp is np else xp.arange(pixels, device=y.device)
    smallest = xp.argmin(abs(y), axis=0)
    choices = [0 * smallest + p for p in range(n + 1)]
    if candidates == "near":
        choices = [xp.clip(smallest + offset, 0, n) for offset in range(-1, 3)]
    magnitude = abs(y)
    wanted = -1 if shared.curve.constant else 1
    starts = [projection.start(_signed(magnitude, p, xp), shared, sign=wanted) for p in choices]
    floor = xp.stack([one.floor for one in starts])
    ceiling = xp.stack([one.rss for one in starts])
    ceiling = ceiling.min(0) if xp is np else ceiling.amin(0)
    cost, best, chosen = xp.full_like(y[0], np.inf), None, 0 * smallest
    done = floor < -1
    # first those that may be best, then, for pixels whose best is no recovery, those that may still be better
    for limit in (ceiling, None):
        for number, (p, begin) in enumerate(zip(choices, starts, strict=True)):
            open_ = ~done[number] & (floor[number] <= (cost if limit is None else limit))
            if not bool(open_.any()):
                continue
            rows = columns[open_]
            part = projection.GridStart(*(getattr(begin, field.name)[rows] for field in fields(begin)))
            samples = _signed(magnitude[:, rows], p[rows], xp)
            found = projection.refine(samples, shared, part)
            value = xp.where(good(found), found.rss, 1e6 + found.rss)
            best = _blank(found, pixels, xp) if best is None else best
            better = value < cost[rows]
            for field in fields(best):
                getattr(best, field.name)[rows[better]] = getattr(found, field.name)[better]
            cost[rows[better]] = value[better]
            chosen[rows[better]] = p[rows[better]]
            done[number, rows] = True
    if best is None:  # no pixel at all
        best = projection.fit(y, shared, sign=wanted)
    return best, chosen, _deviation(_signed(magnitude, chosen, xp))


def _signed(magnitude: Any, p: Any, xp: Any) -> Any:
    """The first p samples negative."""
    number = xp.arange(len(magnitude)) if xp is np else xp.arange(len(magnitude), device=magnitude.device)
    return xp.where(number[:, None] < p, -magnitude, magnitude)


def _blank(like: Projection, pixels: int, xp: Any) -> Projection:
    def empty(values: Any) -> Any:
        return (
            np.zeros(pixels, values.dtype) if xp is np else xp.zeros(pixels, dtype=values.dtype, device=values.device)
        )

    return Projection(*(empty(getattr(like, field.name)) for field in fields(like)))


def _deviation(y: Any) -> Any:
    return ((y - y.sum(0) / len(y)) ** 2).sum(0)
