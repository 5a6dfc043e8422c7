"""Which k-space, headers, names and links would a person make who wants to harm a reader? By hand; see `fuzz_hostile`."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks import fuzz_corpus as corpus
from benchmarks import fuzz_images as pictures
from cohort import cmrxrecon, matfile, mrd
from cohort.catalogue import scan_tree

BANNER = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
SECRET = 4711.0
NAME = "cine_sax.mat"
GIB = 2**30
BLOCK_BYTES = 2**24


class Marked(AssertionError):
    """A reader gave what lies outside of the cohort, or ran code."""


# --- HDF5 ------------------------------------------------------------------------------------------------------------


def _hdf5(path: Path, fill: Callable[[h5py.File], object]) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        fill(file)
    with path.open("r+b") as stream:
        stream.write(BANNER)


def _secret(outside: Path) -> Path:
    """A k-space file beside the cohort that nobody may open."""
    path = outside / "secret.mat"
    data = np.full(corpus.KSPACE_SHAPE, SECRET, np.complex64).view(matfile.COMPLEX)
    _hdf5(path, lambda file: file.create_dataset("kspace", data=data))
    return path


def external_link(folder: Path, outside: Path) -> None:
    """The variable is in another file."""
    target = _secret(outside)
    _hdf5(folder / NAME, lambda file: file.__setitem__("kspace", h5py.ExternalLink(str(target), "/kspace")))


def soft_link(folder: Path, _: Path) -> None:
    """The variable is another name of itself."""
    _hdf5(folder / NAME, lambda file: file.__setitem__("kspace", h5py.SoftLink("/kspace")))


def external_storage(folder: Path, outside: Path) -> None:
    """The variable's bytes are in another file."""
    raw = outside / "secret.raw"
    raw.write_bytes(np.full(corpus.KSPACE_SHAPE, SECRET, np.complex64).tobytes())
    _hdf5(
        folder / NAME,
        lambda file: file.create_dataset(
            "kspace", corpus.KSPACE_SHAPE, matfile.COMPLEX, external=[(str(raw), 0, h5py.h5f.UNLIMITED)]
        ),
    )


def virtual(folder: Path, outside: Path) -> None:
    """The variable is put together from another file."""
    layout = h5py.VirtualLayout(shape=corpus.KSPACE_SHAPE, dtype=matfile.COMPLEX)
    layout[...] = h5py.VirtualSource(str(_secret(outside)), "kspace", shape=corpus.KSPACE_SHAPE, dtype=matfile.COMPLEX)
    _hdf5(folder / NAME, lambda file: file.create_virtual_dataset("kspace", layout))


def virtual_pipe(folder: Path, outside: Path) -> None:
    """As `virtual`, without end, from a pipe: whoever opens that waits for ever."""
    os.mkfifo(outside / "pipe.mat")
    source = h5py.VirtualSource(
        str(outside / "pipe.mat"),
        "kspace",
        shape=corpus.KSPACE_SHAPE,
        maxshape=(None, *corpus.KSPACE_SHAPE[1:]),
        dtype=matfile.COMPLEX,
    )
    layout = h5py.VirtualLayout(
        shape=corpus.KSPACE_SHAPE, maxshape=(None, *corpus.KSPACE_SHAPE[1:]), dtype=matfile.COMPLEX
    )
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    _hdf5(folder / NAME, lambda file: file.create_virtual_dataset("kspace", layout))


def hdf5_bomb(folder: Path, _: Path) -> None:
    """4 GiB of zeros, gzip in chunks, some megabytes on the disk."""
    shape, chunks = (64, 1, 1, 2048, 4096), (1, 1, 1, 2048, 4096)
    packed = zlib.compress(bytes(8 * 2048 * 4096), 9)

    def fill(file: h5py.File) -> None:
        made = file.create_dataset("kspace", shape, matfile.COMPLEX, chunks=chunks, compression="gzip")
        for frame in range(shape[0]):
            made.id.write_direct_chunk((frame, 0, 0, 0, 0), packed)

    _hdf5(folder / NAME, fill)


def hdf5_huge_chunk(folder: Path, _: Path) -> None:
    """One chunk that says of itself that it is 2 GiB, and holds little."""

    def fill(file: h5py.File) -> None:
        shape = (1, 1, 1, 2**14, 2**14)
        made = file.create_dataset("kspace", shape, matfile.COMPLEX, chunks=shape, compression="gzip")
        made.id.write_direct_chunk((0, 0, 0, 0, 0), zlib.compress(bytes(100)))

    _hdf5(folder / NAME, fill)


def hdf5_empty_mark(folder: Path, _: Path) -> None:
    """Marked as an empty variable whose dimensions, 8 GiB of them, are to be read."""

    def fill(file: h5py.File) -> None:
        made = file.create_dataset("kspace", (2**30,), "u8", chunks=(2**20,), compression="gzip")
        made.attrs["MATLAB_empty"] = np.uint8(1)

    _hdf5(folder / NAME, fill)


def hdf5_filter(folder: Path, _: Path) -> None:
    """Unpacked only by a plug-in that the library would look for on the disk."""

    def fill(file: h5py.File) -> None:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk(corpus.KSPACE_SHAPE)
        plan.set_filter(32123, h5py.h5z.FLAG_OPTIONAL, (1,))
        space, kind = h5py.h5s.create_simple(corpus.KSPACE_SHAPE), h5py.h5t.py_create(matfile.COMPLEX)
        made = h5py.h5d.create(file.id, b"kspace", kind, space, dcpl=plan)
        made.write_direct_chunk((0, 0, 0, 0, 0), corpus.numbers(*corpus.KSPACE_SHAPE).tobytes())

    _hdf5(folder / NAME, fill)


def hdf5_sparse(folder: Path, _: Path) -> None:
    """2 TiB of zeros that take no room: a file with a hole."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)

    def fill(file: h5py.File) -> None:
        space, kind = h5py.h5s.create_simple((2**13, 2, 16, 2**10, 2**10)), h5py.h5t.py_create(matfile.COMPLEX)
        h5py.h5d.create(file.id, b"kspace", kind, space, dcpl=plan)

    _hdf5(folder / NAME, fill)


def read_kspace(folder: Path) -> None:
    """Header and numbers; those of the secret must not come."""
    path = folder / NAME
    cmrxrecon.read_header(path)
    if (cmrxrecon.read_kspace(path) == SECRET).any():
        raise Marked("k-space came from a file outside of the cohort")


def read_slices(folder: Path) -> None:
    """The same slice by slice."""
    corpus.read_slices(folder / NAME)


def mrd_linked(folder: Path, outside: Path) -> None:
    """An MRD file whose acquisitions are in another file."""
    corpus.write_mrd(outside, 0)
    with h5py.File(folder / "cine.h5", "w") as file:
        file["dataset/xml"] = [b"<a/>"]
        file["dataset/data"] = h5py.ExternalLink(str(outside / "cine.h5"), "/dataset/data")


def _damaged_heap(path: Path) -> None:
    """The second object of each heap is of no length: the library goes round in it for ever."""
    content = bytearray(path.read_bytes())
    place = content.find(b"GCOL")
    while place >= 0:
        length = struct.unpack_from("<Q", content, place + 24)[0]
        second = place + 32 + -(-length // 8) * 8
        content[second : second + 16] = bytes(16)
        content[place + 24 : place + 32] = struct.pack("<Q", 2**64 - 16)
        place = content.find(b"GCOL", place + 4)
    path.write_bytes(content)


def mrd_heap(folder: Path, _: Path) -> None:
    """An MRD file with damaged heaps."""
    corpus.write_mrd(folder, 0)
    _damaged_heap(folder / "cine.h5")


def hdf5_texts(folder: Path, _: Path) -> None:
    """Real and imaginary part are texts in a damaged heap."""
    kind = np.dtype([("real", h5py.string_dtype()), ("imag", h5py.string_dtype())])
    texts = np.zeros(corpus.KSPACE_SHAPE, kind)
    texts["real"], texts["imag"] = "a text", "another"
    _hdf5(folder / NAME, lambda file: file.create_dataset("kspace", data=texts))
    _damaged_heap(folder / NAME)


def hdf5_text_mark(folder: Path, _: Path) -> None:
    """The mark of an empty variable is a text in a damaged heap."""

    def fill(file: h5py.File) -> None:
        made = file.create_dataset("kspace", data=np.array([3, 4, 5, 6, 7], "u8"))
        made.attrs.create("MATLAB_empty", ["text of any length"] * 3, dtype=h5py.string_dtype())

    _hdf5(folder / NAME, fill)
    _damaged_heap(folder / NAME)


def mrd_entities(folder: Path, _: Path) -> None:
    """An XML header of entities that would unpack to gigabytes."""
    names = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x" * 100}">' for i in range(9))
    header = f'<?xml version="1.0"?><!DOCTYPE ismrmrdHeader [{names}]><ismrmrdHeader>&e8;</ismrmrdHeader>'
    corpus.save_mrd(
        folder / "cine.h5", corpus.mrd_rows(corpus.numbers(1, 1, 1, 4, 6), np.random.default_rng(1)), header
    )


def mrd_frames(folder: Path, _: Path) -> None:
    """Counters that promise 65,536 frames of 65,536 slices."""
    rows = corpus.mrd_rows(corpus.numbers(1, 1, 1, 4, 6), np.random.default_rng(1))
    rows["head"]["idx"]["phase"][1:], rows["head"]["idx"]["slice"][1:] = [0, 1, 60000, 65535], [65535, 3, 2, 1]
    corpus.save_mrd(folder / "cine.h5", rows, corpus.mrd_header(6, 4))


def read_mrd_file(folder: Path) -> None:
    """Header, then k-space."""
    mrd.read_mrd_info(folder / "cine.h5")
    mrd.read_mrd(folder / "cine.h5")


# --- MATLAB v5 -------------------------------------------------------------------------------------------------------


def _matrix(shape: tuple[int, ...], kind: int, data: bytes, *, declared: int | None = None) -> bytes:
    flags = struct.pack("<IIII", 6, 8, 0x0800 | kind, 0)
    dims = struct.pack("<II", 5, 4 * len(shape)) + struct.pack(f"<{len(shape)}i", *shape)
    dims += bytes(-len(dims) % 8)
    name = struct.pack("<II", 1, 6) + b"kspace\0\0"
    part = struct.pack("<II", 9, len(data) if declared is None else declared) + data
    content = flags + dims + name + part + part
    return struct.pack("<II", 14, len(content)) + content


def _mat5(path: Path, element: bytes) -> None:
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + element)


def zeros(packer: Any, n_bytes: int) -> bytes:
    """Packed zeros: one block, which any number of times over is that many more."""
    packer.compress(bytes(BLOCK_BYTES))
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(BLOCK_BYTES)) + packer.flush(zlib.Z_FULL_FLUSH)
    return bytes(block) * (n_bytes // BLOCK_BYTES)


def mat5_bomb(folder: Path, _: Path) -> None:
    """1.5 GiB of zeros in 1.5 MiB."""
    packer = zlib.compressobj(9)
    n = 96 * 2**20
    head = _matrix((n // 64, 64), 6, b"", declared=8 * n)[:-8]
    stored = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH) + zeros(packer, 2 * 8 * n)
    _mat5(folder / NAME, struct.pack("<II", 15, len(stored)) + stored)


def mat5_dimensions(folder: Path, _: Path) -> None:
    """Two thousand million rows of nothing much."""
    _mat5(folder / NAME, _matrix((2**31 - 1, 2**31 - 1), 6, bytes(16), declared=2**31))


# --- texts, names, links ---------------------------------------------------------------------------------------------


def huge_text(name: str) -> Callable[[Path, Path], None]:
    """A text of 2 GiB, all of it a hole."""

    def write(folder: Path, _: Path) -> None:
        (folder / NAME).write_bytes(b"")
        with (folder / name).open("wb") as stream:
            stream.write(b"Parameter,Value\n")
            stream.truncate(2 * GIB)

    return write


def deep_json(name: str) -> Callable[[Path, Path], None]:
    """Brackets in brackets."""

    def write(folder: Path, _: Path) -> None:
        pictures.write_nifti(folder, 0)
        (folder / name).write_text("[" * 100_000, "utf-8")

    return write


def pipe(name: str) -> Callable[[Path, Path], None]:
    """A pipe in the place of a file: whoever opens it waits."""

    def write(folder: Path, _: Path) -> None:
        os.mkfifo(folder / name)

    return write


def cohort_with(change: Callable[[Path, Path], object]) -> Callable[[Path, Path], None]:
    """A cohort of two scans, then changed: (folder of the first patient, outside)."""

    def write(folder: Path, outside: Path) -> None:
        corpus.write_cohort(folder, 0)
        change(next(folder.rglob("P001")), outside)

    return write


def linked_header(patient: Path, outside: Path) -> None:
    """The header is a link to a file outside."""
    (outside / "secret.csv").write_text("Parameter,Value\nPatientName,Doe\n", "utf-8")
    header = patient / "cine_sax_info.csv"
    header.unlink()
    header.symlink_to(outside / "secret.csv")


def linked_scan(patient: Path, outside: Path) -> None:
    """The k-space is a link to a file outside."""
    (patient / NAME).unlink()
    (patient / NAME).symlink_to(_secret(outside))


def linked_table(patient: Path, outside: Path) -> None:
    """The table of diseases is a link to a file outside."""
    (outside / "secret.csv").write_text("center,patient,disease\nCenter001,P001,secret\n", "utf-8")
    table = next(p for p in patient.parents if (p / "diseases.csv").exists()) / "diseases.csv"
    table.unlink()
    table.symlink_to(outside / "secret.csv")


def link_to_itself(patient: Path, _: Path) -> None:
    """A folder that holds itself, and a file that is a link to itself."""
    (patient / "again").symlink_to(patient.parent, target_is_directory=True)
    (patient / "cine_lax.mat").symlink_to(patient / "cine_lax.mat")


def way_out(patient: Path, _: Path) -> None:
    """The list of files names one above the cohort."""
    top = next(p for p in patient.parents if (p / "cohort.csv").exists())
    (top / "cohort.csv").write_text("path,sha256\n../outside/secret.mat,\n", "utf-8")


def long_name(patient: Path, _: Path) -> None:
    """A name so long that its header's would be too long."""
    (patient / NAME).rename(patient / ("cine_sax_" + "x" * 240 + ".mat"))


def odd_name(patient: Path, _: Path) -> None:
    """A name that is no text in any encoding, with what would clear a terminal."""
    (patient / NAME).rename(Path(os.fsdecode(os.fsencode(patient) + b"/cine_\xff\x1b[2J\nok.mat")))


def bad_scan(folder: Path) -> None:
    """The cohort can be listed, and the hostile scan is a bad one, told in words that can be written and shown."""
    from cohort.records import UnreadableFile

    table = scan_tree(folder)
    words = " ".join(str(v) for v in table[["file", "path", "reason", "disease"]].to_numpy().ravel())
    words.encode("utf-8")
    if not words.isprintable() or "secret" in words.replace("secret.csv", ""):
        raise Marked("a name or a content of outside came through")
    bad = table[table["status"] != "ok"]
    if bad.empty:
        raise Marked("the scan is taken for a good one")
    raise UnreadableFile(bad["path"].iloc[0], bad["reason"].iloc[0])


def linked_mask(folder: Path, outside: Path) -> None:
    """The mask of a scan is a link to a file outside."""
    corpus.write_cohort(folder, 0)
    scan = next(folder.rglob("P001/" + NAME))
    corpus.write_masks(outside, 0)
    mask = Path(str(scan.parent).replace("FullSample", "Mask_TaskAll")) / "cine_sax_mask_Uniform8.mat"
    mask.parent.mkdir(parents=True)
    mask.symlink_to(outside / "mask.mat")


def read_linked_mask(folder: Path) -> None:
    """As a run with released masks does."""
    scan = next(folder.rglob("FullSample/**/P001/" + NAME))
    cmrxrecon.read_mask(cmrxrecon.find_mask(scan, pattern="Uniform", acceleration=8))
