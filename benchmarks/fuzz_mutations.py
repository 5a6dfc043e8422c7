"""How is a valid file damaged so that a reader is tried where it hurts?

Every mutation takes the content and a seeded generator and gives new content; nothing here knows a format, except that
packed content (gzip, zip, zlib in MATLAB v5) can be unpacked, damaged inside and packed again, so that no checksum stops
the damage at the door.
"""

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]

MATLAB_HEADER_BYTES = 128
COMPRESSED = 15
#: what lengths, counts and offsets are overwritten with
NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    127,
    128,
    255,
    256,
    32767,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    10**9,
    2**40,
    2**62,
    2**63 - 1,
)
WORDS = (
    *(
        "nan",
        "inf",
        "-inf",
        "NaN",
        "1e999",
        "-1",
        "0",
        "-0.0",
        "1e-320",
        "",
        " ",
        "9" * 400,
        "9" * 6000,
        "0x10",
        "1_000",
        "１２",
    ),
    *(
        "../../../etc/passwd",
        "/etc/passwd",
        "C:\\x",
        "a\x00b",
        "\x1b[31m",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "true",
    ),
    *(
        "null",
        "[]",
        "{}",
        '"',
        "'",
        "\\",
        "\u202e",
        "\ud7ff",
        "é" * 50,
        "=cmd|' /C calc'!A0",
        "--help",
        "%s%n",
        "2026-01-01",
    ),
)
NESTING = 20_000
LONG_LINE = 300_000


def mutated(content: bytes, rng: np.random.Generator, *, text: bool, packed: str = "") -> bytes:
    """Damage content one to three times over.

    Parameters
    ----------
    content
        A whole valid file.
    rng
        Which damage, and where.
    text
        Whether it is a text: lines, numbers and encodings are then damaged more often than bits.
    packed
        ``gzip``, ``zip`` or ``mat5``: in half of the cases the damage is done inside the packing.
    """
    if packed and rng.random() < 0.5:
        return REPACK[packed](content, rng)
    for _ in range(int(rng.integers(1, 4))):
        kinds = TEXT if text and rng.random() < 0.8 else BYTES
        content = kinds[int(rng.integers(len(kinds)))](content, rng)
    return content


def _place(content: bytes, rng: np.random.Generator) -> int:
    """Somewhere; one time in two among the first kilobyte, where headers are."""
    end = len(content) if rng.random() < 0.5 else min(len(content), 1024)
    return int(rng.integers(max(end, 1)))


def _flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 9)) if damaged else 0):
        damaged[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _set_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 5)) if damaged else 0):
        damaged[_place(content, rng)] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0x20, 0x2F]))
    return bytes(damaged)


def _number(content: bytes, rng: np.random.Generator) -> bytes:
    """A length, count or offset that is not so: 2, 4 or 8 bytes of either order."""
    size = int(rng.choice([2, 4, 8]))
    value = NUMBERS[int(rng.integers(len(NUMBERS)))] % 2 ** (8 * size)
    start = _place(content, rng) // size * size if rng.random() < 0.5 else _place(content, rng)
    stored = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")
    return content[:start] + stored + content[start + size :]


def _truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)]


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    start = _place(content, rng)
    return content[:start] + content[start + int(rng.integers(1, 65)) :]


def _splice(content: bytes, rng: np.random.Generator) -> bytes:
    """A part of the file in another place, over what was there or before it."""
    source, target, size = _place(content, rng), _place(content, rng), int(rng.integers(1, 257))
    over = size if rng.random() < 0.5 else 0
    return content[:target] + content[source : source + size] + content[target + over :]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    start = _place(content, rng)
    return content[:start] + rng.bytes(int(rng.integers(1, 65))) + content[start:]


def _fill(content: bytes, rng: np.random.Generator) -> bytes:
    start, size = _place(content, rng), int(rng.integers(1, 513))
    return (
        content[:start]
        + bytes([int(rng.choice([0, 0xFF]))]) * min(size, len(content) - start)
        + content[start + size :]
    )


def _append(content: bytes, rng: np.random.Generator) -> bytes:
    return content + (
        content[: int(rng.integers(1, 4097))] if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 65)))
    )


def _word(content: bytes, rng: np.random.Generator) -> bytes:
    """One number or word of a text becomes another."""
    found = list(re.finditer(rb"[\w.+-]+", content))
    if not found:
        return content + WORDS[0].encode()
    one = found[int(rng.integers(len(found)))]
    return (
        content[: one.start()]
        + WORDS[int(rng.integers(len(WORDS)))].encode("utf-8", "surrogatepass")
        + content[one.end() :]
    )


def _value(content: bytes, rng: np.random.Generator) -> bytes:
    """What stands behind a ``=``, ``:`` or ``,`` becomes of another kind."""
    found = list(re.finditer(rb"(?<=[=:,])\s*[^=:,\n]*", content))
    if not found:
        return content
    one = found[int(rng.integers(len(found)))]
    others = [
        b" 1",
        b" -1",
        b" 1e400",
        b' "x"',
        b" true",
        b" []",
        b" [[]]",
        b" [1, 2]",
        b" {}",
        b" {a = 1}",
        b' {"a": 1}',
        b" null",
    ]
    others += [b" NaN", b" 2026-01-01", b" " + b"9" * 5000, b' "\\u0000"', b' "\\ud800"', b" [nan, inf]", b'""']
    return content[: one.start()] + others[int(rng.integers(len(others)))] + content[one.end() :]


def _lines(content: bytes, rng: np.random.Generator) -> bytes:
    """Lines out of order, twice or missing."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    i, j = (int(rng.integers(len(lines))) for _ in range(2))
    way = int(rng.integers(4))
    if way == 0:
        lines[i], lines[j] = lines[j], lines[i]
    elif way == 1:
        lines.insert(i, lines[j])
    elif way == 2:
        del lines[i]
    else:
        lines[i] = lines[i].rstrip(b"\r\n") + lines[j]
    return b"".join(lines)


def _long_line(content: bytes, rng: np.random.Generator) -> bytes:
    start = _place(content, rng)
    letter = (b"x", b"9", b",", b" ", b"a=1\n", b'"', b"\x00", b".")[int(rng.integers(8))]
    return content[:start] + letter * (LONG_LINE // len(letter)) + content[start:]


def _nested(content: bytes, rng: np.random.Generator) -> bytes:
    """Brackets in brackets, deeper than any parser that calls itself can go."""
    bracket = (b"[", b"{", b'{"a":', b"{a=", b"(", b"a.")[int(rng.integers(6))]
    start = _place(content, rng) if rng.random() < 0.5 else content.find(b"=") + 1 or content.find(b":") + 1
    return content[:start] + bracket * NESTING + content[start:]


def _encoding(content: bytes, rng: np.random.Generator) -> bytes:
    text = content.decode("utf-8", "replace")
    ways = ("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp500", "utf-7")
    if rng.random() < 0.3:
        start = _place(content, rng)
        return content[:start] + bytes(rng.choice([0xFF, 0xC0, 0xED, 0x80], size=3).astype(np.uint8)) + content[start:]
    return text.encode(ways[int(rng.integers(len(ways)))], "replace")


def _separator(content: bytes, rng: np.random.Generator) -> bytes:
    one, other = (b",;\t\n\r|\x0b\x1c"[i : i + 1] for i in rng.integers(8, size=2))
    return content.replace(one, other)


BYTES: tuple[Mutation, ...] = (
    _flip_bits,
    _set_bytes,
    _number,
    _number,
    _truncate,
    _cut,
    _splice,
    _insert,
    _fill,
    _append,
)
TEXT: tuple[Mutation, ...] = (
    _word,
    _word,
    _value,
    _value,
    _lines,
    _long_line,
    _nested,
    _encoding,
    _separator,
    _flip_bits,
    _truncate,
)


def _inside_gzip(content: bytes, rng: np.random.Generator) -> bytes:
    return gzip.compress(mutated(gzip.decompress(content), rng, text=False), 1, mtime=0)


def _inside_zip(content: bytes, rng: np.random.Generator) -> bytes:
    """One member damaged; its checksum is right again."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(made, "w") as taken:
        names = given.namelist()
        # the pickle that says what is where, more often than numbers
        chosen = (
            next((n for n in names if n.endswith(".pkl")), names[0])
            if rng.random() < 0.7
            else names[int(rng.integers(len(names)))]
        )
        for name in names:
            member = given.read(name)
            taken.writestr(name, mutated(member, rng, text=False) if name == chosen else member)
    return made.getvalue()


def _inside_mat5(content: bytes, rng: np.random.Generator) -> bytes:
    """The first compressed variable damaged and compressed again; a file without one is damaged as it is."""
    kind, length = np.frombuffer(content, "<u4", 2, MATLAB_HEADER_BYTES)
    begin = MATLAB_HEADER_BYTES + 8
    if kind != COMPRESSED:
        return mutated(content, rng, text=False)
    inside = mutated(zlib.decompress(content[begin : begin + int(length)]), rng, text=False)
    stored = zlib.compress(inside, 1)
    tag = np.array([COMPRESSED, len(stored)], "<u4").tobytes()
    return content[:MATLAB_HEADER_BYTES] + tag + stored + content[begin + int(length) :]


REPACK: dict[str, Mutation] = {"gzip": _inside_gzip, "zip": _inside_zip, "mat5": _inside_mat5}
