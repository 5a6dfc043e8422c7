"""Which images, weights and tables would a person make who wants to harm a reader? One case each, by hand; see `fuzz_hostile`."""

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fuzz_corpus as corpus
from benchmarks import fuzz_images as pictures
from benchmarks.fuzz_hostile_files import BLOCK_BYTES, GIB, NAME, huge_text, zeros
from cohort import cmrxrecon, images

# --- images ----------------------------------------------------------------------------------------------------------


def _nifti_header(shape: tuple[int, int, int, int]) -> bytes:
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return bytes(header.binaryblock) + bytes(4)


def nifti_bomb(folder: Path, _: Path) -> None:
    """3 GiB of zeros in 3 MiB of gzip."""
    _gzip(folder / "image.nii.gz", _nifti_header((1024, 1024, 256, 3)))


def _gzip(path: Path, head: bytes) -> None:
    """A head, and 3 GiB of zeros behind it: parts of gzip may follow one another."""
    zeros = gzip.compress(bytes(BLOCK_BYTES), 9)
    path.write_bytes(gzip.compress(head) + zeros * (3 * GIB // BLOCK_BYTES))


def nifti_tail(folder: Path, _: Path) -> None:
    """A small image, and 3 GiB of zeros behind it in the same gzip."""
    _gzip(folder / "image.nii.gz", _nifti_header((4, 4, 3, 2)) + bytes(4 * 96))


def nifti_promise(folder: Path, _: Path) -> None:
    """A header that promises 16 GiB, and nothing behind it."""
    (folder / "image.nii").write_bytes(_nifti_header((2048, 2048, 256, 4)) + bytes(100))


def huge_sidecar(folder: Path, outside: Path) -> None:
    """A sidecar of 2 GiB beside a good image."""
    pictures.write_nifti(folder, 0)
    huge_text("image.json")(folder, outside)


def surrogate_sidecar(folder: Path, _: Path) -> None:
    """A text that no file in UTF-8 can hold."""
    pictures.write_nifti(folder, 0)
    (folder / "image.json").write_text('{"name": "\\ud800"}', "utf-8")


def read_image(folder: Path) -> object:
    """The image of the case."""
    return images.read_image(pictures.image_in(folder))


# --- DICOM -----------------------------------------------------------------------------------------------------------


def _slice(**given: Any) -> Any:
    file = pictures.dicom_base("1.2.3.7", syntax="1.2.840.10008.1.2.1")
    file.ImagePositionPatient, file.ImageOrientationPatient, file.PixelSpacing = [0, 0, 0], pictures.ORIENTATION, [1, 1]
    file.SliceThickness, file.TriggerTime = 8, 0
    for name, value in given.items():
        setattr(file, name, value)
    return file


def dicom_promise(folder: Path, _: Path) -> None:
    """Run-length pixels of 64 bytes that say they are 65535 x 65535."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import RLELossless

    file = _slice(Rows=65535, Columns=65535)
    file.file_meta.TransferSyntaxUID = RLELossless
    file.PixelData = encapsulate([struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\x81\x00" * 2])
    file["PixelData"].VR, file["PixelData"].is_undefined_length = "OB", True
    pictures.save_dicom(folder / "0.dcm", file)


def dicom_deflated(folder: Path, _: Path) -> None:
    """A deflated file whose header unpacks to 2 GiB."""
    pictures.write_dicom(folder, 2)
    for path in sorted(folder.glob("*.dcm"))[1:]:
        path.unlink()
    content = (folder / "0.dcm").read_bytes()
    begin = 132 + 12 + struct.unpack("<I", content[140:144])[0]
    inside = zlib.decompress(content[begin:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stored = packer.compress(inside + b"\xfe\x7f\x10\x00OB\0\0\x00\x00\x00\x7f")
    stored += packer.flush(zlib.Z_FULL_FLUSH) + zeros(packer, 2 * GIB) + packer.flush()
    (folder / "0.dcm").write_bytes(content[:begin] + stored)


def dicom_frames(folder: Path, _: Path) -> None:
    """An enhanced file that says it has a thousand million frames."""
    pictures.write_enhanced(folder, 0)
    path = folder / "enhanced.dcm"
    path.write_bytes(path.read_bytes().replace(b"(\x00\x08\x00IS\x02\x006 ", b"(\x00\x08\x00IS\x0a\x001000000000"))


def dicom_nested(folder: Path, _: Path) -> None:
    """Sequences in sequences."""
    pictures.save_dicom(folder / "0.dcm", _slice())
    inside = b""
    for _depth in range(5000):
        inside = struct.pack("<HHI", 0xFFFE, 0xE000, len(inside)) + inside
        inside = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, len(inside)) + inside
    path = folder / "0.dcm"
    path.write_bytes(path.read_bytes() + inside)


# --- weights ---------------------------------------------------------------------------------------------------------


class Payload:
    """Makes a file where it is run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def weights_code(kind: str, name: str) -> Callable[[Path, Path], None]:
    """Code in torch's zip file, in its old format, or in a bare pickle."""

    def write(folder: Path, outside: Path) -> None:
        import torch

        content = {
            "state_dict": {"a": torch.zeros(2)},
            "network_weights": {},
            "hyper_parameters": Payload(outside / "ran"),
        }
        if kind == "pickle":
            (folder / name).write_bytes(pickle.dumps(content["hyper_parameters"]))
        else:
            torch.save(content, folder / name, _use_new_zipfile_serialization=kind == "zip")

    return write


def weights_bomb(folder: Path, _: Path) -> None:
    """A tensor of zeros, deflated within the zip file."""
    corpus.write_weights(folder, 0)
    path = folder / "cardiomm.ckpt"
    given = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as taken:
        name = max(given.namelist(), key=lambda n: given.getinfo(n).file_size * n.rpartition("/")[2].isdigit())
        for other in given.namelist():
            if other != name:
                taken.writestr(other, given.read(other))
        with taken.open(name, "w", force_zip64=True) as stream:
            for _part in range(256):
                stream.write(bytes(2**20))


def weights_size(name: str, value: Any) -> Callable[[Path, Path], None]:
    """A network that says it has a million phases, or layers of a million channels."""

    def write(folder: Path, _: Path) -> None:
        import torch

        corpus.write_weights(folder, 0)
        content = torch.load(folder / "cardiomm.ckpt", weights_only=True)
        content["hyper_parameters"][name] = value
        torch.save(content, folder / "cardiomm.ckpt")

    return write


# --- tables ----------------------------------------------------------------------------------------------------------


def parquet_bomb(folder: Path, _: Path) -> None:
    """60 million rows of one word, some kilobytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        name: pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**6, np.int8)), pa.array(["1"]))
        for name in ("subject", "method", "value")
    }
    part = pa.table(columns)
    with pq.ParquetWriter(folder / "table.parquet", part.schema, compression="zstd") as writer:
        for _n in range(60):
            writer.write_table(part)


def csv_bomb(folder: Path, _: Path) -> None:
    """A table of 4 GiB, all of it a hole."""
    with (folder / "table.csv").open("wb") as stream:
        stream.write(b"subject,method,value\n")
        stream.truncate(4 * GIB)


def deep(name: str, content: str) -> Callable[[Path, Path], None]:
    """A text as given."""

    def write(folder: Path, _: Path) -> None:
        (folder / name).write_text(content, "utf-8")

    return write


def deep_results(folder: Path, _: Path) -> None:
    """A run whose results are brackets in brackets."""
    corpus.write_run(folder, 0)
    (folder / "results.json").write_text(json.dumps({"schema": 2})[:-1] + ', "x": ' + "[" * 100_000, "utf-8")


def read_header_csv(folder: Path) -> object:
    """The header of the k-space file."""
    return cmrxrecon.read_info(folder / NAME)
