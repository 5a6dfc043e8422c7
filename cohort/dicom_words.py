"""What do the texts of a DICOM header say of a series? Answered in words of a list: the texts hold names now and then."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import Final

LONG_AXIS: Final = "long axis"
SHORT_AXIS: Final = "short axis"
SCOUT: Final = "scout"
#: what makes images with trigger times something else than a cine, in the order in which a reason is given
NO_CINE: Final = ("perfusion", "tagging", "late enhancement", "real time", "dynamic series")

PATTERNS: Final = {
    LONG_AXIS: re.compile(
        r"(?<![a-z])([234] ?-?ch|[234] ?chamber|lax|la[ _-]|hla|vla|lvot|rvot|ao[rv])|long.?ax|aort|axial|flow|venc"
    ),
    SHORT_AXIS: re.compile(r"(?<![a-z])(sax|sa(?![a-z])|sa_|kurz)|short.?ax|kurze"),
    SCOUT: re.compile(r"scout"),
    "perfusion": re.compile(r"perf(?!ect|orm)|first.?pass"),
    "tagging": re.compile(r"(?<![a-z])(cine)?tag(?![a-z])|tagg(ed|ing)|spamm"),
    "late enhancement": re.compile(r"(?<![a-z])lge(?![a-z])|psir|late.?(gad|enh)|delayed.?enh"),
    "real time": re.compile(r"real.?time"),
    "dynamic series": re.compile(r"dynamic|(?<![a-z])dyn(?![a-z])"),
    "sasha": re.compile(r"sasha"),
    "shmolli": re.compile(r"shmolli"),
    "sapphire": re.compile(r"sapphire"),
    "molli": re.compile(r"(?<!sh)molli"),
    "grase": re.compile(r"grase"),
}
SALT: Final = secrets.token_bytes(32)
DAY_S: Final = 86400.0


def known_words(texts: Iterable[str]) -> tuple[str, ...]:
    """The words of the list that descriptions, protocols and sequence names stand for; nothing else of the texts."""
    text = " ".join(texts).lower()
    return tuple(word for word, pattern in PATTERNS.items() if pattern.search(text))


def pseudonym(*identifiers: str) -> str:
    """The same for the same identifiers as long as this process runs; nobody can compute it, and it is stored nowhere."""
    return hashlib.blake2b("\0".join(identifiers).encode(), key=SALT, digest_size=16).hexdigest()


def seconds(text: str) -> float | None:
    """Seconds of a DICOM time or date and time, counted from a start that each process draws: only differences tell anything.

    None where there is no time. Differences across midnight are to be taken modulo a day.
    """
    match = re.fullmatch(r"(?:\d{8})?(\d{2})(\d{2})(\d{2}(?:\.\d*)?)([+-]\d{4})?", text.strip())
    if match is None:
        return None
    clock = 3600.0 * int(match[1]) + 60.0 * int(match[2]) + float(match[3])
    return (clock + int.from_bytes(SALT[:4], "big")) % DAY_S


def spread_s(times: Iterable[float]) -> float:
    """From the first to the last of times of one exam as `seconds` gives them, s."""
    ordered = sorted(times)
    if len(ordered) < 2:
        return 0.0
    gaps = [after - before for before, after in zip(ordered, [*ordered[1:], ordered[0] + DAY_S], strict=True)]
    return DAY_S - max(gaps)
