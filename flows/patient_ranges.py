"""Which published ranges of healthy people may stand beside a patient's values?"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cohort.normal_function import normal_function
from flows.descriptions import FULLY_SAMPLED
from flows.tissue_values import SEQUENCES, normals_of

#: groups of the vocabulary that describe images, not patients
OF_IMAGES: Final = ("image quality", "overlap")


def ranges_of(scans: Iterable[Mapping[str, Any]], *, sex: str) -> list[dict[str, Any]]:
    """Published ranges of healthy people for the fully sampled values, or why there are none."""
    found = []
    for scan in scans:
        for row in scan["values"]:
            if row["group"] in OF_IMAGES or not row["group"] or FULLY_SAMPLED not in row["cells"]:
                continue
            entry = {key: row[key] for key in ("phenotype", "unit")}
            entry |= {"scan": scan["scan"], "value": row["cells"][FULLY_SAMPLED]["value"]}
            found.append(entry | published(row["phenotype"], row["group"], scan["field_t"], sex=sex))
    return found


def published(phenotype: str, group: str, field_t: float | None, *, sex: str) -> dict[str, Any]:
    """Rows of the tables of normal values; each study for itself, never a pooled one."""
    if group == "tissue":
        tissue = normals_of(phenotype, field_t=field_t, sequence=SEQUENCES.get(phenotype))
        rows = [
            {"mean": n.mean, "sd": n.sd, "low": n.low, "high": n.high, "source": n.source}
            | {
                "who": ", ".join(
                    filter(None, (f"{n.sequence} {n.scheme}".strip(), n.vendor, f"{n.field_t:g} T, n = {n.n}"))
                )
            }
            for n in tissue.values
        ]
        return {"reason": tissue.reason, "rows": rows}
    wanted = {"male": "men", "female": "women"}.get(sex)
    function = [n for n in normal_function(phenotype) if wanted in (None, n.sex)]
    rows = [
        {"mean": n.mean, "sd": n.sd, "low": n.low, "high": n.high, "source": n.source, "who": f"{n.sex}; {n.who}"}
        for n in function
    ]
    unknown = "age is" if wanted else "sex and age are"
    reason = f"the patient's {unknown} not recorded" if rows else "no verified normal values in the table"
    return {"reason": reason, "rows": rows}
