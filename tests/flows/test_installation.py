"""Known clashes are named in one line, with what to do."""

import pytest

from flows import installation


def test_this_environment_is_clean() -> None:
    assert installation.problems() == []


def test_each_clash_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "backport_distribution", lambda: True)
    monkeypatch.setattr(installation, "installed", lambda package: "0.165.1")
    lines = installation.problems()
    assert len(lines) == 2
    assert "pip uninstall argparse" in lines[0]
    assert "fastapi 0.165.1 is too new" in lines[1]
    assert all("\n" not in line for line in lines)
