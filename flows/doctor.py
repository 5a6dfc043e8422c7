"""Will a run work on this machine? Checks of the installation, each with one line of advice where something is wrong."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from flows.doctor_findings import Check, Finding, Patient, Status, finding, problem
from flows.doctor_machine import MACHINE
from flows.doctor_schedule import SCHEDULE
from flows.doctor_software import SOFTWARE

__all__ = ["Diagnosis", "Finding", "Patient", "examine"]

CHECKS: tuple[Check, ...] = (*SOFTWARE, *MACHINE, *SCHEDULE)


@dataclass(frozen=True)
class Diagnosis:
    """What was found, in the order of the checks."""

    findings: tuple[Finding, ...]

    def count(self, status: Status) -> int:
        """How many findings have this status."""
        return sum(f.status == status for f in self.findings)

    @property
    def exit_status(self) -> int:
        """0, or 3 where there is a problem; warnings do not count."""
        return 3 if self.count("problem") else 0

    @property
    def summary(self) -> str:
        """The numbers in one line."""
        n_warnings, n_problems = self.count("warning"), self.count("problem")
        return (
            f"{self.count('ok')} ok, {n_warnings} warning{'' if n_warnings == 1 else 's'}, "
            f"{n_problems} problem{'' if n_problems == 1 else 's'}"
        )

    def content(self) -> dict[str, Any]:
        """Everything as plain types, for JSON."""
        counts = {status: self.count(status) for status in get_args(Status)}
        return {"counts": counts, "findings": [asdict(f) for f in self.findings]}


def examine(
    out: Path,
    *,
    deep: bool = False,
    checks: Sequence[Check] = CHECKS,
    progress: Callable[[str], None] = lambda name: None,
) -> Diagnosis:
    """Run the checks.

    Parameters
    ----------
    out
        Folder in which results would be written; need not exist, and is not made.
    deep
        Also what takes longer: importing nnU-Net, loading the networks, starting Prefect's server.
    checks
        Which ones.
    progress
        Called with the name of each check before it.

    Returns
    -------
    Diagnosis
        A check that itself breaks is a problem with its error; the others go on.
    """
    patient = Patient(out=out.expanduser().resolve(), deep=deep)
    found: list[Finding] = []
    for check in checks:
        if check.deep and not deep:
            continue
        progress(check.name)
        found += _examined(check, patient)
    return Diagnosis(tuple(found))


def _examined(check: Check, patient: Patient) -> Iterable[Finding]:
    try:
        return [finding(check, *answer) for answer in check.look(patient)]
    except Exception as error:  # whatever a broken installation leads to is a finding, not the end
        words = " ".join(str(error).split())
        told = problem(f"the check failed: {type(error).__name__}: {words}", "install again with `make env`")
        return [finding(check, *told)]
