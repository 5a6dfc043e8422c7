"""Which files would a person make who wants to harm a reader? One case each, by hand: bombs, links that lead out, code.

Damage at random (`fuzz_mutations`) does not find these. Every case must be refused by an error of the project's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import fuzz_corpus as corpus
from benchmarks import fuzz_hostile_files as files
from benchmarks import fuzz_hostile_images as pictures
from cohort.catalogue import scan_tree
from cohort.dicom import read_cine


@dataclass(frozen=True)
class Hostile:
    """A case, and how it is read."""

    name: str
    write: Callable[[Path, Path], None]
    read: Callable[[Path], object]


HOSTILE: tuple[Hostile, ...] = (
    Hostile("HDF5 external link", files.external_link, files.read_kspace),
    Hostile("HDF5 soft link to itself", files.soft_link, files.read_kspace),
    Hostile("HDF5 external storage", files.external_storage, files.read_kspace),
    Hostile("HDF5 virtual dataset", files.virtual, files.read_kspace),
    Hostile("HDF5 virtual dataset from a pipe", files.virtual_pipe, files.read_kspace),
    Hostile("HDF5 gzip bomb", files.hdf5_bomb, files.read_kspace),
    Hostile("HDF5 gzip bomb, by slices", files.hdf5_bomb, files.read_slices),
    Hostile("HDF5 chunk larger than its content", files.hdf5_huge_chunk, files.read_kspace),
    Hostile("HDF5 empty mark on 8 GiB", files.hdf5_empty_mark, files.read_kspace),
    Hostile("HDF5 filter of a plug-in", files.hdf5_filter, files.read_kspace),
    Hostile("HDF5 file with a hole of 2 TiB", files.hdf5_sparse, files.read_kspace),
    Hostile("MRD linked to another file", files.mrd_linked, files.read_mrd_file),
    Hostile("MRD with damaged heaps", files.mrd_heap, files.read_mrd_file),
    Hostile("HDF5 complex of texts", files.hdf5_texts, files.read_kspace),
    Hostile("HDF5 empty mark is a text", files.hdf5_text_mark, files.read_kspace),
    Hostile("MRD header of entities", files.mrd_entities, files.read_mrd_file),
    Hostile("MRD of 65,536 frames and slices", files.mrd_frames, files.read_mrd_file),
    Hostile("MATLAB v5 bomb", files.mat5_bomb, files.read_kspace),
    Hostile("MATLAB v5 dimensions", files.mat5_dimensions, files.read_kspace),
    Hostile("k-space is a pipe", files.pipe(files.NAME), files.read_kspace),
    Hostile("header is a pipe", files.pipe("cine_sax_info.csv"), pictures.read_header_csv),
    Hostile("header of 2 GiB", files.huge_text("cine_sax_info.csv"), pictures.read_header_csv),
    Hostile("header linked out of the cohort", files.cohort_with(files.linked_header), files.bad_scan),
    Hostile("scan linked out of the cohort", files.cohort_with(files.linked_scan), files.bad_scan),
    Hostile("table linked out of the cohort", files.cohort_with(files.linked_table), scan_tree),
    Hostile("folder and file linked to themselves", files.cohort_with(files.link_to_itself), files.bad_scan),
    Hostile("list of files leads out of the cohort", files.cohort_with(files.way_out), scan_tree),
    Hostile("name that is too long", files.cohort_with(files.long_name), files.bad_scan),
    Hostile("name that is no text", files.cohort_with(files.odd_name), files.bad_scan),
    Hostile("mask linked out of the cohort", files.linked_mask, files.read_linked_mask),
    Hostile("NIfTI gzip bomb", pictures.nifti_bomb, pictures.read_image),
    Hostile("NIfTI with a bomb behind it", pictures.nifti_tail, pictures.read_image),
    Hostile("NIfTI that promises 16 GiB", pictures.nifti_promise, pictures.read_image),
    Hostile("sidecar of brackets", files.deep_json("image.json"), pictures.read_image),
    Hostile("sidecar of 2 GiB", pictures.huge_sidecar, pictures.read_image),
    Hostile("sidecar with half a character", pictures.surrogate_sidecar, pictures.read_image),
    Hostile("DICOM that promises 8 GiB", pictures.dicom_promise, read_cine),
    Hostile("DICOM deflate bomb", pictures.dicom_deflated, read_cine),
    Hostile("DICOM of a thousand million frames", pictures.dicom_frames, read_cine),
    Hostile("DICOM of nested sequences", pictures.dicom_nested, read_cine),
    Hostile("CardioMM weights that run code", pictures.weights_code("zip", "a.ckpt"), corpus.read_weights),
    Hostile("old CardioMM weights that run code", pictures.weights_code("old", "a.ckpt"), corpus.read_weights),
    Hostile("CardioMM weights, bare pickle", pictures.weights_code("pickle", "a.ckpt"), corpus.read_weights),
    Hostile("nnU-Net weights that run code", pictures.weights_code("zip", "a.pth"), corpus.read_weights),
    Hostile("old nnU-Net weights that run code", pictures.weights_code("old", "a.pth"), corpus.read_weights),
    Hostile("nnU-Net weights, bare pickle", pictures.weights_code("pickle", "a.pth"), corpus.read_weights),
    Hostile("weights with a zip bomb", pictures.weights_bomb, corpus.read_weights),
    Hostile("weights of a million phases", pictures.weights_size("num_cascades", 10**6), corpus.read_weights),
    Hostile("weights of 10^12 channels", pictures.weights_size("n_feat0", 10**12), corpus.read_weights),
    Hostile("parquet bomb", pictures.parquet_bomb, corpus.read_table),
    Hostile("table of 4 GiB", pictures.csv_bomb, corpus.read_table),
    Hostile("toml of brackets", pictures.deep("example.toml", "a = " + "[" * 100_000), corpus.read_toml),
    Hostile("toml of dots", pictures.deep("example.toml", "a" + ".a" * 200_000 + " = 1"), corpus.read_toml),
    Hostile("margins of brackets", pictures.deep("margins.toml", "a = " + "[" * 100_000), corpus.read_toml),
    Hostile("plan of brackets", pictures.deep("plan.json", "[" * 100_000), corpus.read_plan_file),
    Hostile("results of brackets", pictures.deep_results, corpus.read_run),
)
