"""How large is the extracellular volume of the myocardium, from T1 before and after contrast agent?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cohort.records import MeasurementFailed

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SyntheticHematocrit:
    """hematocrit = slope / (T1 of blood in ms) + intercept, of one protocol; never measured, always an estimate."""

    protocol: str
    slope_ms: float
    intercept: float
    source: str

    def estimate(self, blood_t1_ms: float) -> float:
        """Hematocrit (0 to 1) for the native T1 of blood.

        Raises
        ------
        MeasurementFailed
            Where T1 is not above 0, or what comes out is no hematocrit.
        """
        value = self.slope_ms / blood_t1_ms + self.intercept if blood_t1_ms > 0 else float("nan")
        if not 0.1 < value < 0.7:
            raise MeasurementFailed(
                f"a blood T1 of {blood_t1_ms:g} ms gives a hematocrit of {value:.2f} by {self.protocol}: "
                "give the hematocrit, or the regression of this scanner and sequence"
            )
        return value


#: 1.5 T, MOLLI; other fields, vendors and sequences need their own regression
TREIBEL_MOLLI_1_5T: Final = SyntheticHematocrit(
    "MOLLI, 1.5 T, Siemens (Treibel 2016)", 866.0, -0.1232, "doi 10.1016/j.jcmg.2015.11.008"
)


@dataclass(frozen=True)
class ExtracellularVolume:
    """`ecv` (fraction) and partition coefficient `lambda_` as given maps or numbers; NaN where T1 gives none.

    `synthetic` tells that the hematocrit was estimated from the blood's T1, by the regression named in `protocol`.
    """

    ecv: Array
    lambda_: Array
    hematocrit: float
    synthetic: bool
    protocol: str


def extracellular_volume(
    *,
    native_ms: ArrayLike,
    post_ms: ArrayLike,
    native_blood_ms: float,
    post_blood_ms: float,
    hematocrit: float | None = None,
    synthetic: SyntheticHematocrit | None = None,
) -> ExtracellularVolume:
    """ECV = (1 - hematocrit) (1/T1 post - 1/T1 native of myocardium) / (the same of blood).

    Parameters
    ----------
    native_ms, post_ms
        T1 of the myocardium before and after contrast agent, ms: numbers, or maps of one shape that lie on each other.
    native_blood_ms, post_blood_ms
        Median T1 of the blood pool, ms (`phenotyping.regions.blood_pool`).
    hematocrit
        Measured, 0 to 1, of the same day.
    synthetic
        A regression to use instead; exactly one of both is given.

    Returns
    -------
    Fractions; NaN where a T1 is not a number above 0. Values outside 0 to 1 stay, because they show that T1 or the
    registration is wrong.

    Raises
    ------
    MeasurementFailed
        Without exactly one hematocrit, one outside 0 to 1, or blood whose T1 did not fall.

    Notes
    -----
    Arheden et al. 1999, doi 10.1148/radiology.211.3.r99jn41698; synthetic: Treibel et al. 2016, doi
    10.1016/j.jcmg.2015.11.008.
    """
    if (hematocrit is None) == (synthetic is None):
        raise MeasurementFailed("give either a measured hematocrit or a regression for a synthetic one")
    if not 0 < post_blood_ms < native_blood_ms:
        raise MeasurementFailed(
            f"blood must have a shorter T1 after contrast agent, got {native_blood_ms:g} ms before and "
            f"{post_blood_ms:g} ms after"
        )
    value = synthetic.estimate(native_blood_ms) if synthetic is not None else hematocrit
    if value is None or not 0 < value < 1:
        raise MeasurementFailed(f"a hematocrit is a fraction between 0 and 1, got {value}")
    native, post = np.asarray(native_ms, dtype=np.float64), np.asarray(post_ms, dtype=np.float64)
    if native.shape != post.shape:
        raise MeasurementFailed(f"T1 maps must be of one shape, got {native.shape} and {post.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where((native > 0) & (post > 0), 1 / post - 1 / native, np.nan)
    ratio = change / (1 / post_blood_ms - 1 / native_blood_ms)
    return ExtracellularVolume(
        ecv=(1 - value) * ratio,
        lambda_=ratio,
        hematocrit=float(value),
        synthetic=synthetic is not None,
        protocol=synthetic.protocol if synthetic is not None else "measured",
    )
