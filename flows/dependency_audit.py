"""Does any pinned dependency have a known vulnerability? `make audit`, by pip-audit against constraints.txt.

pip-audit also says "no known vulnerabilities" where the service knows none of the packages, as behind a mirror. So a version
that is known to be vulnerable is asked for first: unless it is found, nothing was audited, and that is said.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[1]
#: its hole (CVE-2020-28493) is in every database of advisories
PROBE: Final = "jinja2==2.11.2"
PROBE_S, AUDIT_S, CONNECT_S = 12, 600, 5
#: an audit that knew fewer of the packages than this is told as partial
MOST_KNOWN: Final = 0.9
Ask = Callable[[Path, float], Mapping[str, Any]]


class NotAudited(Exception):
    """Nobody could be asked; the reason in one line."""


@dataclass(frozen=True)
class Finding:
    """A vulnerability of a pinned version, by its identifiers."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.fixed_in)}" if self.fixed_in else "not mended in any release"
        return f"{self.package} {self.version}: {', '.join(self.names)}; {mended}"


def main() -> int:
    """Audit the constraints and print what was found; 1 where a vulnerability is not in audit.toml."""
    try:
        ignored = read_ignored(ROOT / "audit.toml")
        lines, status = audit(ROOT / "constraints.txt", ignored)
    except NotAudited as reason:
        lines, status = [f"not audited: {reason}"], 0
    print("\n".join(lines))
    return status


def audit(constraints: Path, ignored: Mapping[str, str], *, ask: Ask | None = None) -> tuple[list[str], int]:
    """Ask for all pinned versions.

    Parameters
    ----------
    constraints
        Lines of ``name==version``.
    ignored
        Identifiers of vulnerabilities that are known, and why they stay.
    ask
        Runs pip-audit on a file of requirements within so many seconds, and gives its JSON.

    Returns
    -------
    Lines for people, and the exit status: 1 for a vulnerability that is not ignored.

    Raises
    ------
    NotAudited
        No service answers, or it does not know a vulnerability that everybody knows.
    """
    ask = ask or run_pip_audit
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.txt"
        probe.write_text(f"{PROBE}\n", encoding="utf-8")
        if not findings(ask(probe, PROBE_S)):
            raise NotAudited(f"the service that answers knows no vulnerability of {PROBE}, so it knows none")
    answer = ask(constraints, AUDIT_S)
    packages = answer["dependencies"]
    known = [package for package in packages if "skip_reason" not in package]
    found = findings(answer)
    new = [one for one in found if not set(one.names) & set(ignored)]
    lines = [f"vulnerable: {one}" for one in new]
    lines += [f"known, and stays: {one} ({_reason(one, ignored)})" for one in found if one not in new]
    stale = set(ignored) - {name for one in found for name in one.names}
    lines += [f"audit.toml: {name} is not found any more; take it out" for name in sorted(stale)]
    if len(known) < MOST_KNOWN * len(packages):
        lines.append(
            f"not audited: {len(packages) - len(known)} of {len(packages)} packages, which the service does not know"
        )
    lines.append(f"audited: {len(known)} packages, {len(new)} with vulnerabilities to act on")
    return lines, 1 if new else 0


def findings(answer: Mapping[str, Any]) -> list[Finding]:
    """The vulnerabilities in pip-audit's JSON, by package."""
    return [
        Finding(
            package["name"],
            package.get("version", ""),
            tuple(dict.fromkeys([one["id"], *one.get("aliases", [])])),
            tuple(one.get("fix_versions", [])),
        )
        for package in answer["dependencies"]
        for one in package.get("vulns", [])
    ]


def run_pip_audit(requirements: Path, seconds: float) -> Mapping[str, Any]:
    """Its JSON; NotAudited where it does not come to an end or has nothing to say."""
    options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--timeout", str(CONNECT_S)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "pip_audit", *options, "-r", str(requirements), "-f", "json", "-o", str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as error:
            raise NotAudited(f"the advisory service did not answer within {seconds:g} s") from error
        try:
            answer: Mapping[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotAudited(_why(done)) from error
    if not isinstance(answer, dict) or not isinstance(answer.get("dependencies"), list):
        raise NotAudited("pip-audit answers in another form than expected")
    return answer


def read_ignored(path: Path) -> dict[str, str]:
    """Identifier to reason; ValueError for an entry without one of id, package and reason."""
    rows: Sequence[Any] = tomllib.loads(path.read_text(encoding="utf-8")).get("ignore", [])
    ignored = {}
    for row in rows:
        if not all(isinstance(row.get(key), str) and row[key].strip() for key in ("id", "package", "reason")):
            raise ValueError(f"{path}: expected id, package and reason of every entry, got {row}")
        ignored[row["id"]] = f"{row['package']}: {row['reason']}"
    return ignored


def _reason(one: Finding, ignored: Mapping[str, str]) -> str:
    return next(ignored[name] for name in one.names if name in ignored)


def _why(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what pip-audit said, for the usual reasons in words."""
    said = done.stderr.strip()
    if "No module named pip_audit" in said:
        return "pip-audit is not installed"
    if "ConnectionError" in said or "NameResolutionError" in said or "Timeout" in said:
        return "no advisory service can be reached from here"
    return (said.splitlines() or [f"pip-audit ended with status {done.returncode}"])[-1][:200]


if __name__ == "__main__":
    sys.exit(main())
