"""Is there a secret in a text that others will read, and how is it taken out?

Secrets come from the environment or from Prefect's blocks. A configuration that holds one is refused, because it is copied
into run.toml; the command line and messages of other programs may hold one all the same, and lose it here.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cohort.records import ConfigProblem

HIDDEN: Final = "***"
WORDS: Final = (
    r"password|passwd|passphrase|pwd|pgpassword|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?"
)
#: user:password@ of a URL; the password may hold @, so the last one before the path counts
IN_URL = re.compile(r"(?P<before>\b[A-Za-z][\w+.-]{0,30}://[^\s/:@\"']*:)[^\s/\"']+(?=@)")
#: name=value, name: value, "name": "value", --name value; the name may have a beginning (PREFECT_API_KEY)
NAMED = re.compile(
    rf"(?i)(?P<before>(?<![A-Za-z])[\w.-]{{0,40}}?(?:{WORDS})[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s\"',;&]+)"
)
OPTION = re.compile(rf"(?i)(?P<before>--[\w-]{{0,40}}?(?:{WORDS})\s+)(?:\"[^\"]*\"|'[^']*'|[^\s\"'-][^\s\"']*)")
BEARER = re.compile(r"(?i)(?P<before>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}")
#: keys that say by their beginning what they are: Prefect, GitHub, Hugging Face, Slack, AWS
KNOWN = re.compile(r"\b(?:pn[ub]_\w{16,}|gh[pousr]_\w{20,}|hf_\w{20,}|xox[abpr]-[\w-]{10,}|AKIA[A-Z0-9]{12,})")
SECRET_NAME = re.compile(rf"(?i)(?:{WORDS})")
#: shorter values of the environment would be found in other words
SHORTEST: Final = 6


def redacted(text: str, *, environment: Mapping[str, str] | None = None) -> str:
    """A text without passwords, tokens and keys; the rest stays as it is.

    Parameters
    ----------
    text
        A command line, a message, a URL.
    environment
        Values of its variables whose names say that they are secret are taken out wherever they stand; None for the
        process's own.

    >>> redacted("postgresql://anna:pa@ss@db:5432/history")
    'postgresql://anna:***@db:5432/history'
    >>> redacted("cardioval history --token abcdef --database runs.sqlite")
    'cardioval history --token *** --database runs.sqlite'
    """
    for value in sorted(_secret_values(os.environ if environment is None else environment), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    for pattern in (IN_URL, OPTION, NAMED, BEARER):
        text = pattern.sub(rf"\g<before>{HIDDEN}", text)
    return KNOWN.sub(HIDDEN, text)


def refuse_secrets(table: Mapping[str, Any], *, where: str) -> None:
    """Refuse a configuration that holds a password, since it will be copied and read; the value is not repeated.

    Parameters
    ----------
    table
        Parsed TOML.
    where
        Its name, for the message.

    Raises
    ------
    ConfigProblem
        A key that names a secret, or a text that would lose something by `redacted`.
    """
    for key, value in _texts(table, ()):
        if SECRET_NAME.search(key[-1]) or redacted(value, environment={}) != value:
            raise ConfigProblem(
                f"{where}: {'.'.join(key)} looks like a secret, and this file is copied into the run's folder: put it into an "
                "environment variable or a block of Prefect, and take it out here"
            )


def _texts(value: Any, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text of a table with its key."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, (*key, str(name)))
    elif isinstance(value, str):
        yield (key or ("",)), value
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner, key)


def _secret_values(environment: Mapping[str, str]) -> set[str]:
    """Values that must be found nowhere: those of variables named so, and passwords within URLs."""
    named = {value for name, value in environment.items() if SECRET_NAME.search(name)}
    # a URL in the environment may hold a password, which a driver's message may quote alone
    inside = {m[0][len(m["before"]) :] for value in environment.values() for m in IN_URL.finditer(value)}
    return {value for value in named | inside if len(value) >= SHORTEST and not value.isspace()}
