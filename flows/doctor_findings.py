"""What is a check, and what does it find?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "warning", "problem"]
Answer = tuple[Status, str, str]
"""Status, what was found, and what to do about it (empty where nothing is wrong)."""


@dataclass(frozen=True)
class Patient:
    """What is examined: the folder for results, and how thoroughly."""

    out: Path
    deep: bool = False


@dataclass(frozen=True)
class Check:
    """One question about the installation; `deep` ones take longer."""

    name: str
    look: Callable[[Patient], Iterable[Answer]]
    deep: bool = False


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    status: Status
    found: str
    advice: str


def finding(check: Check, status: Status, found: str, advice: str) -> Finding:
    """An answer under the name of its check."""
    return Finding(check.name, status, found, advice)


def ok(found: str) -> Answer:
    """Nothing to do."""
    return "ok", found, ""


def warning(found: str, advice: str) -> Answer:
    """A run works, but slower, or less than it could."""
    return "warning", found, advice


def problem(found: str, advice: str) -> Answer:
    """A run would fail."""
    return "problem", found, advice
