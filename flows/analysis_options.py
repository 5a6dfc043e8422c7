"""What of the statistics is chosen by the user, and which choices make sense?"""

from dataclasses import dataclass
from typing import Literal, get_args

from cohort.phenotypes import VOCABULARY
from cohort.records import ConfigProblem

CenterRule = Literal["interval", "mean", "described"]


@dataclass(frozen=True)
class Statistics:
    """What is fixed before data are seen; ``flows.analysis_plan`` makes the plan of it.

    Attributes
    ----------
    confidence
        Of all intervals but that of the equivalence test.
    alpha
        Of each one-sided test.
    margins
        Margins file; empty for the proposed margins.
    primary
        Phenotypes that carry the claim; empty for all that have margins.
    minimum_patients
        Fewer pairs get the verdict "too few".
    minimum_in_center
        A center with fewer pairs is shown but not judged.
    minimum_centers
        From so many centers on the bias must also be shown with centers as the unit.
    center_rule
        What a center can do to the claim: ``interval``, ``mean`` or ``described``, see ``flows.center_consistency``.
    ef_cut_offs, ef_near
        Bounds of the classes of ejection fraction (%), and how close to one a patient is near it (points).
    diagnosis
        File of the diagnoses whose detection is compared; empty for the project's.
    n_resamples, seed
        Of bootstrap intervals.
    plan
        A plan.json made beforehand, which this run must follow; empty for none.
    """

    confidence: float = 0.95
    alpha: float = 0.05
    margins: str = ""
    primary: tuple[str, ...] = ()
    minimum_patients: int = 6
    minimum_in_center: int = 3
    minimum_centers: int = 5
    center_rule: CenterRule = "interval"
    ef_cut_offs: tuple[float, ...] = (35.0, 40.0, 50.0)
    ef_near: float = 3.0
    diagnosis: str = ""
    n_resamples: int = 10_000
    seed: int = 20251221
    plan: str = ""

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1 or not 0 < self.alpha < 0.5:
            raise ConfigProblem("statistics: confidence must lie between 0.5 and 1, alpha between 0 and 0.5")
        if self.center_rule not in get_args(CenterRule):
            raise ConfigProblem(
                f"statistics.center_rule: expected {', '.join(get_args(CenterRule))}, got {self.center_rule!r}"
            )
        for name, least in (
            ("minimum_patients", 3),
            ("minimum_in_center", 2),
            ("minimum_centers", 3),
            ("n_resamples", 100),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigProblem(f"statistics.{name} must be at least {least}, got {getattr(self, name)}")
        cuts = self.ef_cut_offs
        sensible = cuts and all(isinstance(cut, int | float) and 0 < cut < 100 for cut in cuts)
        if not sensible or list(cuts) != sorted(set(cuts)):
            raise ConfigProblem(f"statistics.ef_cut_offs: expected rising numbers between 0 and 100, got {list(cuts)}")
        object.__setattr__(self, "ef_cut_offs", tuple(float(cut) for cut in cuts))
        if not self.ef_near > 0:
            raise ConfigProblem(f"statistics.ef_near must be above 0, got {self.ef_near:g}")
        unknown = [name for name in self.primary if name not in VOCABULARY]
        if unknown:
            raise ConfigProblem(f"statistics.primary: no phenotype is called {', '.join(map(str, unknown))}")
