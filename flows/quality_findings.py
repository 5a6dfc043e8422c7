"""What did quality control say of each arm? Counts of every check, and who failed it, from the manifests."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from flows.caching import read_manifest

OUTCOMES: Final = ("pass", "warn", "fail")


def quality_findings(manifests: Iterable[Path]) -> dict[str, Any]:
    """Count the outcomes of every check for each arm.

    Parameters
    ----------
    manifests
        Of the measurement stage. An arm of a scan was judged if its facts have ``quality_control``: entries with check,
        status and reason. A check that has no entry passed.

    Returns
    -------
    dict
        ``arms``: scans judged and not judged (no labels, or no volumes) of each arm; ``checks``: pass, warn and fail of
        every check that has an entry anywhere, for each arm; ``failed``: scans that failed a check, with the reason.
    """
    judged: Counter[str] = Counter()
    planned: Counter[str] = Counter()
    counts: Counter[tuple[str, str, str]] = Counter()
    failed: list[dict[str, Any]] = []
    for path in manifests:
        reconstruction = read_manifest(path.with_name("reconstruction.json"))
        scan, facts = reconstruction["scan"], read_manifest(path).get("facts", {})
        if scan["modality"] != "cine":
            continue
        for arm in reconstruction["arms"]:
            planned[arm] += 1
            findings = facts.get(arm, {}).get("quality_control")
            if findings is None:
                continue
            judged[arm] += 1
            for finding in findings:
                counts[arm, finding["check"], finding["status"]] += 1
                if finding["status"] == "fail":
                    named = {key: scan[key] for key in ("center", "patient", "scan")}
                    failed.append({**named, "arm": arm, "check": finding["check"], "reason": finding["reason"]})
    checks = dict.fromkeys(check for _, check, _ in counts)
    return {
        "arms": [{"arm": arm, "judged": judged[arm], "not_judged": planned[arm] - judged[arm]} for arm in planned],
        "checks": [
            {"check": check, "arm": arm, **_outcomes(counts, arm, check, judged[arm])}
            for check in checks
            for arm in planned
        ],
        "failed": sorted(failed, key=lambda row: (row["center"], row["patient"], row["scan"])),
    }


def _outcomes(counts: Counter[tuple[str, str, str]], arm: str, check: str, judged: int) -> dict[str, int]:
    warned, failed = (counts[arm, check, outcome] for outcome in OUTCOMES[1:])
    return {"pass": judged - warned - failed, "warn": warned, "fail": failed}
