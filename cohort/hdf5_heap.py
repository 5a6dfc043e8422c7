"""How are rows of any length read from an HDF5 file without the library's own way, which never comes back from some damage?

Such rows, and texts of any length, lie in heaps; a damaged one makes the library (1.14) run in a circle, which nothing can
interrupt. Here every length is checked before it is believed, and nothing is read twice for one that is small.
Source: HDF5 File Format Specification version 3.0, III.E (global heap) and IV.A.2.d, class 9 (variable-length).
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from cohort.records import UnreadableFile

#: a row where it is stored: number of values, address of its heap, number of the object in it
REFERENCE = np.dtype([("n", "<u4"), ("address", "<u8"), ("index", "<u4")])
SIGNATURE, HEAP_HEAD_BYTES, OBJECT_HEAD_BYTES = b"GCOL", 16, 16
KEPT_HEAPS = 64
DAMAGED = "damaged HDF5 file: {}; copy it again"


class Heaps:
    """The heaps of one open file.

    Parameters
    ----------
    stream
        The file, opened for reading bytes.
    path
        Its name, for errors.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path = stream, path
        self.size = stream.seek(0, 2)
        self.known: OrderedDict[int, dict[int, tuple[int, int]]] = OrderedDict()

    def content(self, reference: np.void, *, value_bytes: int) -> bytes:
        """The bytes of one row.

        Raises
        ------
        UnreadableFile
            There is no such heap or object, or it is not as long as the row says.
        """
        wanted = int(reference["n"]) * value_bytes
        if wanted == 0:
            return b""
        address = int(reference["address"])
        if address not in self.known:
            self.known[address] = self._objects(address)
            if len(self.known) > KEPT_HEAPS:
                self.known.popitem(last=False)
        begin, length = self.known[address].get(int(reference["index"]), (0, -1))
        if length < wanted:
            raise UnreadableFile(self.path, DAMAGED.format("a row is longer than what is stored of it"))
        self.stream.seek(begin)
        return self.stream.read(wanted)

    def _objects(self, address: int) -> dict[int, tuple[int, int]]:
        """Number of each object in a heap to where it begins and how long it is."""
        if address + HEAP_HEAD_BYTES > self.size:
            raise UnreadableFile(self.path, DAMAGED.format("a heap lies behind its end"))
        self.stream.seek(address)
        signature, version, heap_bytes = struct.unpack("<4sB3xQ", self.stream.read(HEAP_HEAD_BYTES))
        if signature != SIGNATURE or version != 1 or address + heap_bytes > self.size:
            raise UnreadableFile(self.path, DAMAGED.format("there is no whole heap where a row points to"))
        objects: dict[int, tuple[int, int]] = {}
        position, end = address + HEAP_HEAD_BYTES, address + heap_bytes
        while position + OBJECT_HEAD_BYTES <= end:
            self.stream.seek(position)
            index, _, length = struct.unpack("<HH4xQ", self.stream.read(OBJECT_HEAD_BYTES))
            begin = position + OBJECT_HEAD_BYTES
            if index == 0:  # the rest is free
                break
            if begin + length > end or index in objects:
                raise UnreadableFile(self.path, DAMAGED.format("objects of a heap overlap or leave it"))
            objects[index] = (begin, length)
            position = begin + -(-length // 8) * 8
        return objects


def references(dataset: h5py.Dataset, stream: BinaryIO, path: Path, *, member: str | None = None) -> NDArray[np.void]:
    """Where the rows of a one-dimensional dataset lie; of one member where it is a compound.

    Raises
    ------
    UnreadableFile
        Stored in a way that is not read here: packed, inside the header, behind a user block, or not by such references.
    """
    kind, plan = dataset.id.get_type(), dataset.id.get_create_plist()
    members = [kind.get_member_type(i) for i in range(kind.get_nmembers())] if member is not None else [kind]
    if member is not None and any(_is_text(inner) for inner in members):
        raise UnreadableFile(path, f"{dataset.name} holds texts beside its rows; not read")
    number = kind.get_member_index(member.encode()) if member is not None else 0
    offset = kind.get_member_offset(number) if member is not None else 0
    # the library tells sizes as in memory, where a text takes 8 bytes; of rows they are those on the disk
    size = REFERENCE.itemsize if _is_text(members[number]) else kind.get_size()
    is_row = isinstance(members[number], h5py.h5t.TypeVlenID) and members[number].get_size() == REFERENCE.itemsize
    sizes = dataset.file.id.get_create_plist().get_sizes()
    if not (is_row or _is_text(members[number])):
        raise UnreadableFile(path, f"{dataset.name} holds no rows of any length")
    if tuple(sizes) != (8, 8) or dataset.file.userblock_size or plan.get_nfilters():
        raise UnreadableFile(path, f"{dataset.name} is packed or laid out in a way that is not read; write it anew")
    found = np.zeros(dataset.shape[0], REFERENCE)
    for first, address in _places(dataset, path):
        stored = min(dataset.chunks[0] if dataset.chunks else len(found), len(found) - first)
        stream.seek(address)
        content = stream.read(stored * size)
        if len(content) < stored * size:
            raise UnreadableFile(path, DAMAGED.format(f"{dataset.name} goes on behind its end"))
        rows = np.frombuffer(content, np.uint8).reshape(stored, size)
        found[first : first + stored] = np.ascontiguousarray(rows[:, offset : offset + REFERENCE.itemsize]).view(
            REFERENCE
        )[:, 0]
    return found


def _is_text(kind: h5py.h5t.TypeID) -> bool:
    return isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()


def _places(dataset: h5py.Dataset, path: Path) -> list[tuple[int, int]]:
    """First row and address of every piece of a dataset."""
    if dataset.chunks is None:
        address = dataset.id.get_offset()
        if address is None:
            raise UnreadableFile(
                path, f"{dataset.name} is empty, or stored in the header, which is not read; write it anew"
            )
        return [(0, int(address))]
    places: list[tuple[int, int]] = []

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        places.append((int(chunk.chunk_offset[0]), int(chunk.byte_offset)))

    dataset.id.chunk_iter(note)
    return [(first, address) for first, address in places if 0 <= first < dataset.shape[0]]
