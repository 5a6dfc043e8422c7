"""Which arrays of numbers does a MATLAB v5 file hold?

An own reader, because a damaged file crashes the interpreter in SciPy's (1.17), and one bad file must not end the run
of a cohort: here every length is checked before it is believed, and nothing is allocated beyond what the file can hold.
Cells, structures, texts and objects are listed and never read.
Source: MAT-File Format, The MathWorks, chapter 1 (Level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohort.foreign import check_unpacked
from cohort.records import UnreadableFile

HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
NUMBER_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX_FLAG = 0x0800
FRONT_BYTES = 4096  # flags, dimensions and name of any array of ours lie in these


class Element(NamedTuple):
    """A piece of a file: its type, where its content begins and how long that is."""

    kind: int
    begin: int
    length: int


@dataclass(frozen=True)
class Variable:
    """A variable of a v5 file; the shape has the last MATLAB axis first, the dtype is None if it holds no numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    is_complex: bool
    element: Element
    order: str
    parts_begin: int


def list_variables(path: Path) -> dict[str, Variable]:
    """List the variables of a v5 file, reading no more than their beginnings.

    Raises
    ------
    UnreadableFile
        Truncated, or damaged where the structure shows it.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        order = "<" if stream.read(HEADER_BYTES)[-2:] == b"IM" else ">"
        variables = {}
        for element in _elements(stream, size, order, path):
            stream.seek(element.begin)
            front = stream.read(min(FRONT_BYTES, element.length))
            if element.kind == COMPRESSED:
                front = _unpacked(front, FRONT_BYTES, path)[8:]
            if element.kind in (MATRIX, COMPRESSED):
                variable = _variable(front, element, order, path)
                variables[variable.name] = variable
    return variables


def read_array(path: Path, variable: Variable) -> NDArray[Any]:
    """Read an array of numbers, last MATLAB axis first, complex if it is.

    Raises
    ------
    UnreadableFile
        No numbers, content that does not have the length its shape needs, or a shape that the file is too small for.
    """
    if variable.dtype is None:
        raise UnreadableFile(path, f"variable {variable.name!r} holds no numbers")
    count = math.prod(variable.shape)
    parts = 2 if variable.is_complex else 1
    n_bytes = count * parts * np.dtype(variable.dtype).itemsize
    check_unpacked(path, n_bytes, packed_bytes=variable.element.length)
    with path.open("rb") as stream:
        stream.seek(variable.element.begin)
        stored = stream.read(variable.element.length)
    content = memoryview(stored)
    if variable.element.kind == COMPRESSED:
        content = memoryview(_unpacked(stored, variable.parts_begin + 16 * count + 64, path))[8:]
    real, behind = _part(content, variable.parts_begin, variable, count, path)
    if not variable.is_complex:
        return real.astype(variable.dtype).reshape(variable.shape)
    array = np.empty(variable.shape, np.complex64 if variable.dtype == "f4" else np.complex128)
    array.real = real.reshape(variable.shape)
    array.imag = _part(content, behind, variable, count, path)[0].reshape(variable.shape)
    return array


def _elements(stream: BinaryIO, size: int, order: str, path: Path) -> Iterator[Element]:
    """Top-level elements; their lengths must end where the file ends."""
    position = HEADER_BYTES
    while position < size:
        stream.seek(position)
        tag = stream.read(8)
        kind, length = struct.unpack(order + "II", tag) if len(tag) == 8 else (0, size)
        position += 8
        if position + length > size:
            break
        yield Element(kind, position, length)
        position += length
    if position != size or size <= HEADER_BYTES:
        raise UnreadableFile(path, f"truncated MATLAB v5 file: {size} bytes end within an array; copy it again")


def _variable(front: bytes, element: Element, order: str, path: Path) -> Variable:
    """Flags, dimensions and name from the beginning of a matrix."""
    flags, position = _small(front, 0, order, path)
    dims, position = _small(front, position, order, path)
    name, position = _small(front, position, order, path)
    if len(flags) != 8 or len(dims) % 4:
        raise UnreadableFile(path, "damaged MATLAB v5 file: an array without flags or dimensions; copy it again")
    bits = struct.unpack(order + "I", flags[:4])[0]
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)[::-1]
    if min(shape, default=-1) < 0:
        raise UnreadableFile(path, f"damaged MATLAB v5 file: an array of shape {shape}; copy it again")
    return Variable(
        name=name.decode("latin-1"),
        shape=shape,
        dtype=CLASSES.get(bits & 0xFF),
        is_complex=bool(bits & COMPLEX_FLAG),
        element=element,
        order=order,
        parts_begin=position,
    )


def _tag(content: bytes | memoryview, position: int, order: str, path: Path) -> Element:
    """Read a tag within a matrix; lengths up to four bytes may be packed together with the content into eight bytes."""
    if position + 8 > len(content):
        raise UnreadableFile(path, "damaged MATLAB v5 file: an array ends too early; copy it again")
    kind, length = struct.unpack(order + "II", content[position : position + 8])
    if kind >> 16:
        return Element(kind & 0xFFFF, position + 4, min(kind >> 16, 4))
    return Element(kind, position + 8, length)


def _small(content: bytes, position: int, order: str, path: Path) -> tuple[bytes, int]:
    """Content of a small piece of a matrix, and where the next begins."""
    element = _tag(content, position, order, path)
    end = element.begin + element.length
    if end > len(content):
        raise UnreadableFile(path, "damaged MATLAB v5 file: an array ends too early; copy it again")
    return content[element.begin : end], position + 8 if element.begin == position + 4 else -(-end // 8) * 8


def _part(content: memoryview, position: int, variable: Variable, count: int, path: Path) -> tuple[NDArray[Any], int]:
    """Real or imaginary part as stored, and where the next begins."""
    element = _tag(content, position, variable.order, path)
    kind = NUMBER_TYPES.get(element.kind)
    end = element.begin + element.length
    if kind is None or element.length != count * np.dtype(kind).itemsize or end > len(content):
        raise UnreadableFile(path, f"damaged MATLAB v5 file: {variable.name!r} lacks values; copy it again")
    numbers = np.frombuffer(content, variable.order + kind, count, element.begin)
    return numbers, position + 8 if element.begin == position + 4 else -(-end // 8) * 8


def _unpacked(content: bytes, limit: int, path: Path) -> bytes:
    """Decompress up to `limit` bytes."""
    try:
        return zlib.decompressobj().decompress(content, limit)
    except zlib.error as error:
        raise UnreadableFile(path, f"damaged MATLAB v5 file ({error}); copy it again") from error
