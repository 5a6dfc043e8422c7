"""What is each tissue made of: proton density, T1 and T2 at each field strength?

The order of `TISSUE_NAMES` is the order of the tissue axis of every fraction image in this room.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

TISSUE_NAMES = (
    "blood",
    "myocardium",
    "focal_myocardium",
    "fat",
    "muscle",
    "liver",
    "spleen",
    "lung",
    "bone",
    "fluid",
    "bowel",
)
TISSUE_INDEX = {name: index for index, name in enumerate(TISSUE_NAMES)}
FIELDS_T = (0.55, 1.5, 3.0, 5.0)


@dataclass(frozen=True)
class Tissue:
    """Relaxation of one tissue.

    Attributes
    ----------
    name
        One of `TISSUE_NAMES`.
    density
        Proton density, blood = 1.
    t1_ms, t2_ms
        Relaxation times at the field of the patient.
    """

    name: str
    density: float
    t1_ms: float
    t2_ms: float


# Proton densities relative to blood, typical textbook values; lung holds about 0.2 of water (project specification,
# phantom).
_DENSITY = {
    "blood": 1.0,
    "myocardium": 0.88,
    "focal_myocardium": 0.9,
    "fat": 0.5,
    "muscle": 0.85,
    "liver": 0.85,
    "spleen": 0.9,
    "lung": 0.2,
    "bone": 0.45,
    "fluid": 1.05,
    "bowel": 0.8,
}

# T1 / T2 in ms at 0.55, 1.5, 3 and 5 T.
# Blood, myocardium, fat, muscle, liver: the table of the project's phantom specification (typical literature values:
# native myocardium at 0.55 T Campbell-Washburn et al. 2019, doi 10.1148/radiol.2019190452; at 1.5 T and 3 T von
# Knobelsdorff-Brenkenhoff et al. 2013, doi 10.1186/1532-429X-15-53; body tissues Stanisz et al. 2005, doi
# 10.1002/mrm.20605, and de Bazelaire et al. 2004, doi 10.1148/radiol.2303021331). Lung 1200/40 at 1.5 T from the
# specification; its values at the other fields, and spleen, bone (marrow: fatty), fluid and bowel wall are plausible
# choices of ours that only shape the background.
_RELAXATION: dict[str, tuple[tuple[float, float], ...]] = {
    "blood": ((1150, 260), (1550, 250), (1900, 180), (2130, 110)),
    "myocardium": ((700, 58), (1000, 50), (1200, 45), (1450, 38)),
    "fat": ((190, 93), (290, 85), (370, 75), (420, 60)),
    "muscle": ((600, 50), (1000, 45), (1400, 40), (1500, 32)),
    "liver": ((340, 66), (580, 46), (800, 34), (950, 28)),
    "spleen": ((750, 95), (1050, 80), (1330, 62), (1500, 50)),
    "lung": ((950, 45), (1200, 40), (1300, 35), (1400, 30)),
    "bone": ((250, 70), (400, 55), (500, 50), (560, 42)),
    "fluid": ((2200, 900), (2600, 700), (3000, 500), (3200, 350)),
    "bowel": ((620, 70), (900, 65), (1150, 55), (1300, 45)),
}

FOCAL_T1_FACTOR = 1.25
"""Scar or oedema against healthy myocardium; chronic infarct 1621 against 1225 ms at 3 T: PMC7363195."""
FOCAL_T2_FACTOR = 1.2


def tissues_at(field_t: float) -> tuple[Tissue, ...]:
    """Tissues at one of the four fields of the table; nothing is interpolated.

    Parameters
    ----------
    field_t
        0.55, 1.5, 3 or 5 tesla.

    Raises
    ------
    ValueError
        For any other field.
    """
    if field_t not in FIELDS_T:
        raise ValueError(
            f"no tissue table for {field_t} T: the phantom knows {', '.join(map(str, FIELDS_T))} T "
            "and interpolates nothing"
        )
    column = FIELDS_T.index(field_t)
    table = {name: values[column] for name, values in _RELAXATION.items()}
    t1, t2 = table["myocardium"]
    table["focal_myocardium"] = (t1 * FOCAL_T1_FACTOR, t2 * FOCAL_T2_FACTOR)
    return tuple(Tissue(name, _DENSITY[name], *table[name]) for name in TISSUE_NAMES)


def with_variation(
    tissues: Sequence[Tissue], *, rng: np.random.Generator, relative_sd: float, myocardium_t1_factor: float = 1.0
) -> tuple[Tissue, ...]:
    """One patient's tissues: every T1 and T2 scaled by its own log-normal factor, healthy and focal myocardium by the
    same.

    Parameters
    ----------
    tissues
        Table values.
    rng
        Draws the factors.
    relative_sd
        Standard deviation of the logarithm of the factors.
    myocardium_t1_factor
        Diffuse change of the myocardium by disease.
    """
    factors = np.exp(rng.normal(0, relative_sd, size=(len(tissues), 2)))
    factors[TISSUE_INDEX["myocardium"], 0] *= myocardium_t1_factor
    factors[TISSUE_INDEX["focal_myocardium"]] = factors[TISSUE_INDEX["myocardium"]]
    return tuple(
        replace(tissue, t1_ms=float(tissue.t1_ms * f1), t2_ms=float(tissue.t2_ms * f2))
        for tissue, (f1, f2) in zip(tissues, factors, strict=True)
    )


def table_of(tissues: Sequence[Tissue]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Density, T1 in ms and T2 in ms as arrays in the order of the tissues."""
    return (
        np.array([t.density for t in tissues]),
        np.array([t.t1_ms for t in tissues]),
        np.array([t.t2_ms for t in tissues]),
    )
