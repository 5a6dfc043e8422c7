"""Does the audit say what it found, and say that it found nothing out where it could not ask?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows import dependency_audit
from flows.dependency_audit import PROBE, ROOT, Finding, NotAudited, audit, main, read_ignored, run_pip_audit

HOLE = {"id": "PYSEC-1", "aliases": ["CVE-2026-1", "GHSA-1"], "fix_versions": ["2.0"]}
OLD = {"dependencies": [{"name": "jinja2", "version": "2.11.2", "vulns": [HOLE]}]}


def service(packages: list[dict[str, Any]], probe: Mapping[str, Any] = OLD) -> Any:
    """pip-audit that knows these packages."""

    def ask(requirements: Path, seconds: float) -> Mapping[str, Any]:
        assert seconds > 0
        return probe if requirements.read_text().strip() == PROBE else {"dependencies": packages}

    return ask


GOOD = [{"name": f"p{i}", "version": "1", "vulns": []} for i in range(20)]
BAD = {"name": "bad", "version": "1.5", "vulns": [HOLE]}


def test_no_vulnerability() -> None:
    assert audit(ROOT / "constraints.txt", {}, ask=service(GOOD)) == (
        ["audited: 20 packages, 0 with vulnerabilities to act on"],
        0,
    )


def test_a_vulnerability_fails_the_check() -> None:
    lines, status = audit(ROOT / "constraints.txt", {}, ask=service([*GOOD, BAD]))
    assert status == 1
    assert lines[0] == "vulnerable: bad 1.5: PYSEC-1, CVE-2026-1, GHSA-1; mended in 2.0"
    assert str(Finding("a", "1", ("X",), ())) == "a 1: X; not mended in any release"


def test_one_that_stays_is_told_with_its_reason() -> None:
    lines, status = audit(ROOT / "constraints.txt", {"CVE-2026-1": "bad: not called"}, ask=service([*GOOD, BAD]))
    assert status == 0
    assert lines[0].startswith("known, and stays: bad 1.5")
    assert "not called" in lines[0]


def test_an_entry_that_is_not_found_any_more_is_told() -> None:
    assert (
        "CVE-2020-1 is not found any more"
        in audit(ROOT / "constraints.txt", {"CVE-2020-1": "x"}, ask=service(GOOD))[0][0]
    )


def test_a_service_that_knows_nothing_is_not_taken_for_good_news() -> None:
    skipped = {"dependencies": [{"name": "jinja2", "skip_reason": "not found"}]}
    with pytest.raises(NotAudited, match="knows no vulnerability"):
        audit(ROOT / "constraints.txt", {}, ask=service(GOOD, skipped))
    half = [*GOOD, *({"name": f"q{i}", "skip_reason": "not found"} for i in range(20))]
    assert (
        "not audited: 20 of 40 packages, which the service does not know"
        in audit(ROOT / "constraints.txt", {}, ask=service(half))[0]
    )


def test_without_a_service_the_check_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*_: Any) -> Any:
        raise NotAudited("no advisory service can be reached from here")

    monkeypatch.setattr(dependency_audit, "run_pip_audit", ask)
    assert main() == 0
    assert capsys.readouterr().out == "not audited: no advisory service can be reached from here\n"


def test_pip_audit_that_does_not_end_is_ended(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{PROBE}\n")
    with pytest.raises(NotAudited, match="did not answer within"):
        run_pip_audit(tmp_path / "a.txt", 0.01)


def test_pip_audit_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotAudited):
        run_pip_audit(tmp_path / "absent.txt", 60)


def test_the_list_of_what_stays(tmp_path: Path) -> None:
    assert isinstance(read_ignored(ROOT / "audit.toml"), dict)
    path = tmp_path / "audit.toml"
    path.write_text('[[ignore]]\nid = "A"\npackage = "b"\nreason = "c"\n')
    assert read_ignored(path) == {"A": "b: c"}
    path.write_text('[[ignore]]\nid = "A"\npackage = "b"\n')
    with pytest.raises(ValueError, match="id, package and reason"):
        read_ignored(path)
