"""Who is scanned? Random patients whose bodies and hearts are distributed as in the published cohorts."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from cohort.synthetic.body import Body, draw_body
from cohort.synthetic.cardiac_cycle import CycleTiming
from cohort.synthetic.phantom import MUSCLE_DENSITY_G_PER_ML, Heart, RightVentricle, truncated_spheroid_ml
from cohort.synthetic.tissues import Tissue, tissues_at, with_variation

DISEASES = ("normal", "dilated", "hypertrophic", "infarct", "rv_overload")


@dataclass(frozen=True)
class Pose:
    """How the heart lies in the stack of slices.

    Attributes
    ----------
    center_mm
        (x, y) of the middle of the long axis in the image, from the center of the field of view; x to the right, y
        downwards.
    septum_rad
        Direction from the left to the right ventricle in the image, from x towards y: about 150 degrees, left and a
        little down.
    tilt_rad, tilt_direction_rad
        Angle between the long axis and the stack's normal, and the image direction into which the base leans.
    slice_shift
        Displacement of the stack towards the base, in slice pitches, -1..1: real stacks may miss the base or the apex
        by up to one.
    """

    center_mm: tuple[float, float]
    septum_rad: float
    tilt_rad: float
    tilt_direction_rad: float
    slice_shift: float


@dataclass(frozen=True)
class SyntheticPatient:
    """Everything that makes one patient; the truth follows from it."""

    disease: str
    sex: str
    height_cm: float
    weight_kg: float
    heart_rate_bpm: float
    field_t: float
    heart: Heart
    pose: Pose
    body: Body
    tissues: tuple[Tissue, ...]

    @property
    def rr_ms(self) -> float:
        """Time between beats."""
        return 60000.0 / self.heart_rate_bpm

    @property
    def bsa_m2(self) -> float:
        """Body surface area, Mosteller 1987, doi 10.1056/NEJM198710223171717."""
        return math.sqrt(self.height_cm * self.weight_kg / 3600)


@dataclass(frozen=True)
class Cohort:
    """Mean and standard deviation of one disease (and sex, where it matters).

    ``septal_excess``: thickness of the septum over that of the free wall. ``sphericity``: width against that of a
    normal heart of the same volume. ``rv_edv_ml`` None: the right volume that gives the left stroke volume at the
    drawn right ejection fraction.
    """

    edv_ml: tuple[float, float]
    ef: tuple[float, float]
    mass_g: tuple[float, float]
    rv_ef: tuple[float, float]
    heart_rate_bpm: tuple[float, float]
    septal_excess: tuple[float, float]
    sphericity: tuple[float, float]
    shortening_mm: tuple[float, float]
    myocardium_t1_factor: float = 1.0


# Body size: UK Biobank imaging participants, Petersen et al. 2017 (doi 10.1186/s12968-017-0327-9).
_HEIGHT_CM = {"male": (176.0, 6.6), "female": (163.0, 6.2)}
_BMI = {"male": (26.2, 2.9), "female": (25.0, 3.3)}

# Normal: Petersen et al. 2017 (LVEDV 166 +- 32 and 124 +- 21 mL, LVEF 58 +- 5 and 61 +- 5 %, LV mass 103 +- 21 and
# 70 +- 13 g, RVEF 54 +- 6 and 58 +- 6 %). Base motion 10-16 mm: project specification. The mean wall thickness that
# follows from volume and mass agrees with 6.3 and 5.3 mm of Kawel et al. 2012 (doi 10.1161/CIRCIMAGING.112.973560).
_NORMAL = {
    "male": Cohort(
        edv_ml=(163, 26), ef=(0.58, 0.045), mass_g=(105, 17), rv_ef=(0.55, 0.045), heart_rate_bpm=(63, 9),
        septal_excess=(1.12, 0.06), sphericity=(1.0, 0.03), shortening_mm=(13.5, 1.4),
    ),
    "female": Cohort(
        edv_ml=(124, 18), ef=(0.61, 0.045), mass_g=(74, 11), rv_ef=(0.58, 0.045), heart_rate_bpm=(67, 9),
        septal_excess=(1.12, 0.06), sphericity=(1.0, 0.03), shortening_mm=(13.0, 1.3),
    ),
}  # fmt: skip

# The diseases follow the groups of ACDC (Bernard et al. 2018, doi 10.1109/TMI.2018.2837502): dilated = EF below 40 %
# and LVEDV above 100 mL/m2; hypertrophic = normal EF and a segment above 15 mm; infarct = EF below 40 % with local wall
# motion disorder (here up to 48 %); abnormal right ventricle = RVEDV above 110 mL/m2 or RVEF below 40 %.
# What the expert labels of its 100 training patients give, by our count (LVEDV mL, EF %, mass g, RVEDV mL, RVEF %):
# dilated 285 +- 47, 18 +- 7, 170 +- 31, 178 +- 66, 32 +- 17; hypertrophic 129 +- 34, 67 +- 9, 177 +- 54, 118 +- 33,
# 60 +- 11; infarct 172 +- 42, 31 +- 8, 123 +- 18, 119 +- 35, 56 +- 10; right ventricle 107 +- 37, 55 +- 6, 77 +- 25,
# 196 +- 48, 31 +- 15. The dilated hearts here are milder. Septum against free wall, width against length and base
# motion are our choices within what is typical; hypertrophic mass: Olivotto et al. 2008,
# doi 10.1016/j.jacc.2008.04.047.
_DISEASED = {
    "dilated": Cohort(
        edv_ml=(265, 45), ef=(0.26, 0.06), mass_g=(155, 26), rv_ef=(0.40, 0.07), heart_rate_bpm=(76, 12),
        septal_excess=(1.0, 0.06), sphericity=(1.10, 0.04), shortening_mm=(6.5, 1.2), myocardium_t1_factor=1.05,
    ),
    "hypertrophic": Cohort(
        edv_ml=(138, 22), ef=(0.66, 0.05), mass_g=(180, 30), rv_ef=(0.62, 0.05), heart_rate_bpm=(66, 10),
        septal_excess=(1.9, 0.2), sphericity=(0.97, 0.03), shortening_mm=(10.5, 1.3), myocardium_t1_factor=1.05,
    ),
    "infarct": Cohort(
        edv_ml=(190, 36), ef=(0.36, 0.06), mass_g=(118, 20), rv_ef=(0.54, 0.06), heart_rate_bpm=(70, 11),
        septal_excess=(1.1, 0.06), sphericity=(1.04, 0.03), shortening_mm=(8.5, 1.3),
    ),
    "rv_overload": Cohort(
        edv_ml=(122, 22), ef=(0.56, 0.05), mass_g=(84, 15), rv_ef=(0.36, 0.06), heart_rate_bpm=(78, 11),
        septal_excess=(1.2, 0.06), sphericity=(0.96, 0.03), shortening_mm=(10.5, 1.3),
    ),
}  # fmt: skip

_TERRITORIES = {
    # coronary territories of the AHA model, Cerqueira et al. 2002, doi 10.1161/hc0402.102975
    "anterior": (1, 2, 7, 8, 13, 14),
    "apical": (7, 8, 13, 14, 15, 16),
    "inferior": (3, 4, 9, 10, 15),
    "lateral": (5, 6, 11, 12, 16),
}
HYPERTROPHIC_WALL_MM = 15.0
"""A wall this thick defines hypertrophic cardiomyopathy in adults: Elliott et al. 2014, doi
10.1093/eurheartj/ehu284."""
OVERLOADED_RV_EF = 0.395
"""Below 40 %: one of ACDC's two criteria of an abnormal right ventricle."""
SMALLEST_RV_EDV_ML = 85.0
"""Lower end of what is seen in adults: women 130 +- 24 mL, Petersen et al. 2017."""
TISSUE_SD = 0.03
"""Spread of relaxation times between patients: myocardial T1 at one scanner has an SD of 2-3 %, doi
10.1186/s12968-014-0069-x."""


def draw_patient(disease: str, *, rng: np.random.Generator, field_t: float) -> SyntheticPatient:
    """Draw one patient.

    Parameters
    ----------
    disease
        One of `DISEASES`.
    rng
        The only source of randomness: the same state gives the same patient.
    field_t
        0.55, 1.5, 3 or 5 T.

    Raises
    ------
    ValueError
        For an unknown disease or field.
    """
    if disease not in DISEASES:
        raise ValueError(f"no disease {disease!r}: expected one of {', '.join(DISEASES)}")
    table = tissues_at(field_t)
    sex = "male" if rng.random() < 0.55 else "female"
    height = _normal(rng, _HEIGHT_CM[sex], n_sd=2.2)
    weight = _normal(rng, _BMI[sex], n_sd=2.2) * (height / 100) ** 2
    cohort = _NORMAL[sex] if disease == "normal" else _scaled_to(sex, _DISEASED[disease])
    average = math.sqrt(_HEIGHT_CM[sex][0] ** 3 / 1e4 * _BMI[sex][0] / 3600)
    size = (math.sqrt(height * weight / 3600) / average - 1) / 0.1
    heart = _draw_heart(disease, cohort, size=float(np.clip(size, -2, 2)), rng=rng)
    pose = _draw_pose(rng)
    left, down = _reach_mm(heart, pose)
    return SyntheticPatient(
        disease=disease,
        sex=sex,
        height_cm=height,
        weight_kg=weight,
        heart_rate_bpm=float(np.clip(_normal(rng, cohort.heart_rate_bpm, n_sd=2.2), 45, 110)),
        field_t=field_t,
        heart=heart,
        pose=pose,
        body=draw_body(weight_kg=weight, height_cm=height, heart_left_mm=left, heart_down_mm=down, rng=rng),
        tissues=with_variation(table, rng=rng, relative_sd=TISSUE_SD, myocardium_t1_factor=cohort.myocardium_t1_factor),
    )


def _draw_heart(disease: str, cohort: Cohort, *, size: float, rng: np.random.Generator) -> Heart:
    """Volume and mass follow body size (correlation about 0.5) and each other (about 0.6), as in people."""
    z_edv = float(np.clip(0.5 * size + 0.87 * rng.standard_normal(), -2, 2))
    z_mass = float(np.clip(0.6 * z_edv + 0.8 * rng.standard_normal(), -2, 2))
    edv = cohort.edv_ml[0] + cohort.edv_ml[1] * z_edv
    mass = cohort.mass_g[0] + cohort.mass_g[1] * z_mass
    ef = _normal(rng, cohort.ef, n_sd=2.0)
    base_ratio = float(rng.uniform(0.30, 0.42))
    # long axis of a normal cavity of 150 mL about 90 mm at end-diastole; wider hearts are shorter
    length = 90.0 * (edv / 150.0) ** (1 / 3) / _normal(rng, cohort.sphericity, n_sd=2.0) ** 2
    c_mm = length / (1 + base_ratio)
    harmonics = _draw_harmonics(disease, rng)
    shape = 1 + sum(amplitude**2 for _, amplitude, _ in harmonics) / 2
    a_mm = math.sqrt(edv / (truncated_spheroid_ml(1.0, c_mm, base_mm=base_ratio * c_mm) * shape))
    pattern, motility, focal = _draw_regions(disease, cohort, rng)
    timing = _draw_timing(rng)
    heart = Heart(
        a_mm=a_mm,
        c_mm=c_mm,
        base_ratio=base_ratio,
        harmonics=harmonics,
        wall_mm=tuple(8 * value for value in pattern),
        apex_mm=5.0,
        ef=ef,
        shortening_mm=min(_normal(rng, cohort.shortening_mm, n_sd=2.0), 0.7 * ef * length),
        motility=motility,
        focal=focal,
        timing=timing,
        trabeculae=tuple(
            (int(rng.integers(5, 19)), float(rng.uniform(-9, 9)), float(rng.uniform(0, 2 * math.pi))) for _ in range(6)
        ),
        trabecular_depth=(float(rng.uniform(0.10, 0.25)), float(rng.uniform(0.2, 0.45))),
        right=_draw_right(disease, cohort, stroke_ml=ef * edv, timing=timing, rng=rng),
    )
    heart = _with_mass(heart, mass_g=mass)
    while disease == "hypertrophic" and max(heart.wall_mm) < HYPERTROPHIC_WALL_MM:
        mass *= 1.05
        heart = _with_mass(heart, mass_g=mass)
    return heart


def _with_mass(heart: Heart, *, mass_g: float) -> Heart:
    """Scale the wall until the muscle has the wanted mass."""

    def scaled(factor: float) -> Heart:
        return replace(heart, wall_mm=tuple(factor * w for w in heart.wall_mm), apex_mm=max(3.5, 0.75 * factor * 8.0))

    def excess(factor: float) -> float:
        return scaled(factor).muscle_volume_ml * MUSCLE_DENSITY_G_PER_ML - mass_g

    return scaled(float(brentq(excess, 0.2, 4.0, xtol=1e-6)))


def _draw_harmonics(disease: str, rng: np.random.Generator) -> tuple[tuple[int, float, float], ...]:
    """Small ovality; in right ventricular overload the septum is flattened towards a D."""
    if disease == "rv_overload":
        return ((2, float(rng.uniform(0.05, 0.11)), math.pi), (3, float(rng.uniform(0.015, 0.035)), math.pi))
    return (
        (2, float(rng.uniform(0.0, 0.045)), float(rng.uniform(0, 2 * math.pi))),
        (3, float(rng.uniform(0.0, 0.02)), float(rng.uniform(0, 2 * math.pi))),
    )


def _draw_regions(
    disease: str, cohort: Cohort, rng: np.random.Generator
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[bool, ...]]:
    """Relative thickness, motility and focal change of segments 1..16."""
    septal = _normal(rng, cohort.septal_excess, n_sd=2.0)
    pattern = np.array([1.0, septal, septal, 1.0, 1.0, 1.0] * 2 + [0.9, 0.9 * (1 + septal) / 2, 0.9, 0.9])
    if disease == "hypertrophic":
        # asymmetric: the anteroseptal base most, the neighbors less
        pattern[[0, 6]] *= rng.uniform(1.1, 1.4)
        pattern[[2, 8]] *= rng.uniform(0.75, 1.0)
    pattern *= np.exp(rng.normal(0, 0.05, size=16))
    motility = np.array([1.0, 0.9, 0.9, 1.0, 1.05, 1.05] * 2 + [1.1] * 4) * np.exp(rng.normal(0, 0.05, size=16))
    focal = np.zeros(16, dtype=bool)
    if disease == "infarct":
        territory = _TERRITORIES[str(rng.choice(sorted(_TERRITORIES)))]
        index = np.array(territory) - 1
        pattern[index] *= rng.uniform(0.55, 0.72)
        motility[index] = rng.uniform(-0.12, 0.12)
        focal[index] = True
    return tuple(map(float, pattern)), tuple(map(float, motility)), tuple(map(bool, focal))


def _draw_timing(rng: np.random.Generator) -> CycleTiming:
    return CycleTiming(
        ejection_end=float(rng.uniform(0.335, 0.365)),
        relaxation_end=float(rng.uniform(0.41, 0.44)),
        rapid_filling_end=float(rng.uniform(0.60, 0.66)),
        diastasis_end=float(rng.uniform(0.80, 0.87)),
        rapid_filling_share=float(rng.uniform(0.62, 0.76)),
        diastasis_share=float(rng.uniform(0.03, 0.07)),
    )


def _draw_right(
    disease: str, cohort: Cohort, *, stroke_ml: float, timing: CycleTiming, rng: np.random.Generator
) -> RightVentricle:
    """Without leak or shunt both ventricles eject the same; a difference of at most 4 mL stands for the bronchial
    circulation."""
    ef = _normal(rng, cohort.rv_ef, n_sd=1.8)
    stroke = stroke_ml + float(np.clip(rng.normal(0, 1.5), -4, 4))
    overload = disease == "rv_overload"
    if overload:
        ef = min(ef, OVERLOADED_RV_EF)
    # a weak left heart does not leave a tiny right one behind
    ef = min(ef, stroke / SMALLEST_RV_EDV_ML)
    return RightVentricle(
        edv_ml=stroke / ef,
        ef=ef,
        timing=replace(timing, contraction_end=0.02, rapid_filling_share=timing.rapid_filling_share * 0.95),
        half_angle_rad=(math.radians(rng.uniform(36, 46)), math.radians(rng.uniform(64, 72) + (8 if overload else 0))),
        center_rad=math.radians(rng.uniform(-10, 2)),
        roundness=float(rng.uniform(0.6, 0.85)),
        skew=float(rng.uniform(-0.45, -0.05)),
        start_u=float(rng.uniform(0.08, 0.16)),
        taper=float(rng.uniform(0.45, 0.65)),
        wall_mm=float(rng.uniform(4.5, 6.0) if overload else rng.uniform(2.6, 3.4)),
    )


def _draw_pose(rng: np.random.Generator) -> Pose:
    # direction of the right ventricle in ACDC short-axis images: median 140, 90 % within 121..171 degrees
    return Pose(
        center_mm=(float(rng.normal(-6, 8)), float(rng.normal(-4, 10))),
        septum_rad=math.radians(float(np.clip(rng.normal(143, 13), 115, 172))),
        tilt_rad=math.radians(float(rng.uniform(0, 5))),
        tilt_direction_rad=float(rng.uniform(0, 2 * math.pi)),
        slice_shift=float(rng.uniform(-0.5, 0.5)),
    )


def _reach_mm(heart: Heart, pose: Pose) -> tuple[float, float]:
    """How far the middle and apical heart reaches to the left and downwards in the image from its center."""
    theta = np.linspace(0, 2 * np.pi, 73)[:, None]
    radius = np.sqrt(heart.surfaces(theta, np.linspace(0, 0.7, 8)[None, :], 0.0).right_wall)
    angle = theta + pose.septum_rad
    return float((-radius * np.cos(angle)).max()), float((radius * np.sin(angle)).max())


def _scaled_to(sex: str, cohort: Cohort) -> Cohort:
    """Women's hearts are smaller in disease as well; the pooled tables are of mostly male patients."""
    factor = 1.05 if sex == "male" else 0.85
    return replace(
        cohort,
        edv_ml=(cohort.edv_ml[0] * factor, cohort.edv_ml[1] * factor),
        mass_g=(cohort.mass_g[0] * factor, cohort.mass_g[1] * factor),
    )


def _normal(rng: np.random.Generator, mean_sd: tuple[float, float], *, n_sd: float) -> float:
    """Normal, cut at ``n_sd`` standard deviations."""
    return mean_sd[0] + mean_sd[1] * float(np.clip(rng.standard_normal(), -n_sd, n_sd))
