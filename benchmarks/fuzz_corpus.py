"""Which valid files does a fuzz run start from, and which reader is each given to?

A target writes a small valid case into a folder, names the files that may be damaged, and reads the case as the project does.
"""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.io

import cohort.acdc
from benchmarks.fuzz_images import (
    image_in,
    labels_of,
    read_every_series,
    write_acdc,
    write_dicom,
    write_enhanced,
    write_nifti,
    write_segmentation,
)
from cohort import cmrxrecon, images, matfile
from cohort.catalogue import scan_tree
from cohort.dicom import read_cine
from cohort.mrd import read_mrd, read_mrd_info

ROOT = Path(__file__).resolve().parents[1]
KSPACE_SHAPE = (2, 2, 2, 8, 12)
INFO = {
    "FOVx(mm)": 360.0,
    "FOVy(mm)": 340.0,
    "SliceThickness(mm)": 8.0,
    "FieldStrength(T)": 1.5,
    "HeartRate(bpm)": 61.5,
}
TOML_FILES = ("example.toml", "margins.toml", "diagnosis.toml")


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes
    ----------
    name
        In the table of the benchmark.
    write
        Puts a valid case into an empty folder; the number chooses among `variants`.
    read
        What the project does with the folder. A bare call per entry: each is tried by itself.
    victims
        Patterns of the files to damage, relative to the folder.
    packed
        Whether damage may be done inside the packing, see `fuzz_mutations.mutated`.
    """

    name: str
    write: Callable[[Path, int], None]
    read: tuple[Callable[[Path], object], ...]
    victims: tuple[str, ...]
    text: bool = False
    variants: int = 1
    packed: str = ""


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Complex noise."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


# --- k-space, masks, headers -----------------------------------------------------------------------------------------


def write_kspace_73(folder: Path, variant: int) -> None:
    """Ours; packed by gzip, shuffle and checksum in chunks; the newest layout of HDF5; and 2-D single-coil names."""
    path, data = folder / "cine_sax.mat", numbers(*KSPACE_SHAPE)
    if variant < 2:
        cmrxrecon.write_kspace(path, data, info=INFO, gzip_level=4 * variant)
        return
    cmrxrecon.write_info(path, INFO)
    names = ("kspace_full", "kspace_single_full")
    with h5py.File(path, "w", userblock_size=512, libver=("latest", "latest") if variant == 2 else None) as file:
        stored = (data if variant == 2 else data[:, :, 0]).view(matfile.COMPLEX)
        chunks = (1, 2, *stored.shape[2:])
        made = file.create_dataset(
            names[variant - 2], data=stored, chunks=chunks, compression="gzip", shuffle=True, fletcher32=True
        )
        made.attrs["MATLAB_class"] = np.bytes_("single")
        file.create_group("#refs#")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_kspace_5(folder: Path, variant: int) -> None:
    """As scipy writes them: plain, packed, with other variables before."""
    data = numbers(*KSPACE_SHAPE).transpose()
    others: dict[str, Any] = {"note": "a text", "cell": np.array([1, "b"], dtype=object)} if variant == 2 else {}
    content = others | {"kspace": data.astype(np.complex128) if variant == 1 else data}
    scipy.io.savemat(folder / "cine_sax.mat", content, do_compression=variant > 0)
    cmrxrecon.write_info(folder / "cine_sax.mat", INFO)


def read_slices(path: Path) -> None:
    """Every slice of a k-space file."""
    with cmrxrecon.open_kspace(path) as file:
        for index in range(file.shape[1]):
            file.read_slice(index)


KSPACE_READERS = (
    lambda folder: cmrxrecon.read_header(folder / "cine_sax.mat"),
    lambda folder: cmrxrecon.read_kspace(folder / "cine_sax.mat"),
    lambda folder: read_slices(folder / "cine_sax.mat"),
)


def write_masks(folder: Path, variant: int) -> None:
    """Logical v7.3, double v5 packed and plain."""
    mask = np.zeros((3, 8, 12), bool)
    mask[:, ::2] = True
    path = folder / "mask.mat"
    if variant == 0:
        cmrxrecon.write_mask(path, mask)
    else:
        scipy.io.savemat(path, {"mask08": mask.transpose().astype(float)}, do_compression=variant == 1)


def write_header(folder: Path, variant: int) -> None:
    """A header, with or without units; the k-space is not read."""
    head = INFO | {"TI(ms)": "100 180 260", "Vendor": "Siemens"}
    cmrxrecon.write_info(
        folder / "T1map.mat", head if variant == 0 else {k.partition("(")[0]: v for k, v in head.items()}
    )


def write_times(folder: Path, variant: int) -> None:
    """Times of a series of three frames and two slices: a table, or the header's row."""
    path = folder / ("T1map.mat", "T2map.mat", "T1map.mat")[variant]
    cmrxrecon.write_kspace(
        path, numbers(3, 2, 1, 4, 6), info=INFO | ({"TI(ms)": [100, 180, 260]} if variant == 2 else {})
    )
    if variant < 2:
        cmrxrecon.write_times_ms(path, np.array([[100.0, 101.0], [180.0, 181.0], [260.0, 261.0]]))


def write_cohort(folder: Path, _: int) -> None:
    """Two scans with the tables of the cohort."""
    top = folder / "Cine" / "TestSet" / "FullSample"
    rows = []
    for patient in ("P001", "P002"):
        path = top / "Center001" / "Siemens_30T_Vida" / patient / "cine_sax.mat"
        cmrxrecon.write_kspace(path, numbers(1, 1, 1, 4, 6), info=INFO)
        rows.append(path.relative_to(folder).as_posix())
    (folder / "diseases.csv").write_text(
        "center,patient,disease\nCenter001,P001,HCM\nCenter001,P002,healthy\n", "utf-8"
    )
    (folder / "cohort.csv").write_text("path,sha256\n" + "".join(f"{row},\n" for row in rows), "utf-8")


COUNTERS = (
    "kspace_encode_step_1",
    "kspace_encode_step_2",
    "average",
    "slice",
    "contrast",
    "phase",
    "repetition",
    "set",
    "segment",
)
#: an acquisition's head in the order of the standard: names of one type, and how many of each
HEAD_FIELDS: tuple[tuple[str, str, int], ...] = (
    ("<u2", "version", 1), ("<u8", "flags", 1), ("<u4", "measurement_uid scan_counter acquisition_time_stamp", 1),
    ("<u4", "physiology_time_stamp", 3), ("<u2", "number_of_samples available_channels active_channels", 1), ("<u8", "channel_mask", 16),
    ("<u2", "discard_pre discard_post center_sample encoding_space_ref trajectory_dimensions", 1), ("<f4", "sample_time_us", 1),
    ("<f4", "position read_dir phase_dir slice_dir patient_table_position", 3),
)  # fmt: skip
ACQUISITION = np.dtype(
    [
        *((name, kind, (n,) if n > 1 else ()) for kind, names, n in HEAD_FIELDS for name in names.split()),
        ("idx", [*((name, "<u2") for name in COUNTERS), ("user", "<u2", (8,))]),
        ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
    ]
)
MRD_ROW = np.dtype(
    [("head", ACQUISITION), ("traj", h5py.vlen_dtype(np.float32)), ("data", h5py.vlen_dtype(np.float32))]
)


def mrd_header(x: int, y: int, *, z: int = 1, trajectory: str = "cartesian") -> str:
    """The XML of a scan with twofold readout oversampling."""
    matrix = "<matrixSize><x>{}</x><y>{}</y><z>{}</z></matrixSize>"
    field = "<fieldOfView_mm><x>{}</x><y>300</y><z>8</z></fieldOfView_mm>"
    step = f"<kspace_encoding_step_1><minimum>0</minimum><maximum>{y - 1}</maximum><center>{y // 2}</center></kspace_encoding_step_1>"
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>'
        "<H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        f"<encodedSpace>{matrix.format(x, y, z)}{field.format(600)}</encodedSpace>"
        f"<reconSpace>{matrix.format(x // 2, y, z)}{field.format(300)}</reconSpace>"
        f"<encodingLimits>{step}</encodingLimits><trajectory>{trajectory}</trajectory></encoding></ismrmrdHeader>"
    )


def mrd_rows(kspace: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A readout of noise, then every line in an order drawn at random."""
    frames, slices, coils, n_ky, n_kx = kspace.shape
    order = [(t, z, y) for t in range(frames) for z in range(slices) for y in range(n_ky)]
    rows = np.zeros(len(order) + 1, MRD_ROW)
    head = rows["head"]
    head["version"], head["number_of_samples"], head["active_channels"], head["center_sample"] = (
        1,
        n_kx,
        coils,
        n_kx // 2,
    )
    head["flags"][0] = 1 << 18
    rows["data"][0], rows["traj"][0] = np.ones(2 * coils * n_kx, np.float32), np.zeros(0, np.float32)
    for row, place in enumerate(rng.permutation(len(order)), start=1):
        t, z, y = order[place]
        head["idx"]["phase"][row], head["idx"]["slice"][row], head["idx"]["kspace_encode_step_1"][row] = t, z, y
        rows["data"][row] = np.ascontiguousarray(kspace[t, z, :, y]).view(np.float32).reshape(-1)
        rows["traj"][row] = np.zeros(0, np.float32)
    return rows


def save_mrd(path: Path, rows: np.ndarray, header: str) -> None:
    """As the ISMRMRD library lays it out."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("dataset/data", (len(rows),), MRD_ROW, maxshape=(None,), chunks=(1,))
        made[:] = rows
        file["dataset"].create_dataset("xml", data=[header.encode()], dtype=h5py.special_dtype(vlen=bytes))


def write_mrd(folder: Path, _: int) -> None:
    """A cine of two frames and two slices."""
    kspace = numbers(*KSPACE_SHAPE)
    save_mrd(
        folder / "cine.h5", mrd_rows(kspace, np.random.default_rng(4)), mrd_header(kspace.shape[4], kspace.shape[3])
    )


# --- texts, tables, plans --------------------------------------------------------------------------------------------


def write_toml(folder: Path, variant: int) -> None:
    """The shipped configuration, margins and rules of diagnosis, options uncommented."""
    name = TOML_FILES[variant]
    text = (ROOT / "flows" / "configs" / name).read_text(encoding="utf-8")
    if variant == 0:
        rule = '{ vendor = "Siemens", slice_thickness_mm = 8.0, slice_pitch_mm = 12.0 }'
        text = text.replace("rule = []", f"rule = [{rule}]")
    (folder / name).write_text(text, encoding="utf-8")


def read_toml(folder: Path) -> object:
    """By the reader that the file is for."""
    from flows.config import load_config
    from flows.diagnosis_rules import load_diagnosis
    from flows.margins import load_margins

    readers: dict[str, Callable[[Path], object]] = {
        "example.toml": load_config,
        "margins.toml": load_margins,
        "diagnosis.toml": load_diagnosis,
    }
    path = next(folder.glob("*.toml"))
    return readers[path.name](path)


def readings(n: int = 12) -> pd.DataFrame:
    """Two methods on `n` subjects."""
    rng = np.random.default_rng(3)
    truth = rng.normal(60, 8, n)
    rows = [
        {"subject": f"S{i:02d}", "method": m, "value": round(float(v + d), 2), "center": "A"}
        for m, d in (("old", 0.0), ("new", 0.5))
        for i, v in enumerate(truth)
    ]
    return pd.DataFrame(rows)


def write_table(folder: Path, variant: int) -> None:
    """Parquet, or CSV with commas or semicolons."""
    if variant == 0:
        readings().to_parquet(folder / "table.parquet")
    else:
        readings().to_csv(folder / "table.csv", index=False, sep=",;"[variant - 1])


def read_table(folder: Path) -> object:
    """As `cardioval agree` does."""
    from flows.agree_table import TableOptions, read_readings

    return read_readings(next(folder.glob("table.*")), TableOptions())


def write_run(folder: Path, _: int) -> None:
    """What later commands read of a finished run."""
    from flows.caching import write_manifest

    table = pd.DataFrame(
        {
            "study": "s",
            "center": "A",
            "vendor": "V",
            "field_t": 1.5,
            "patient": ["P1", "P2"],
            "scan": "cine_sax",
            "modality": "cine",
            "method": "fully_sampled",
        }
        | {
            "pattern": "none",
            "acceleration": 1.0,
            "effective_acceleration": 1.0,
            "phenotype": "lv_ef_percent",
            "unit": "%",
            "value": [60.0, 55.0],
            "status": "ok",
            "reason": "",
        }
    )
    table.to_parquet(folder / "measurements.parquet")
    (folder / "results.json").write_text(json.dumps({"schema": 2, "study": {"name": "s"}, "failures": []}), "utf-8")
    scan = folder / "scans" / "a"
    scan.mkdir(parents=True)
    (scan / "image.bin").write_bytes(b"1234")
    write_manifest(
        scan / "reconstruction.json",
        key="k",
        files=[scan / "image.bin"],
        content={"scan": {"center": "A", "patient": "P1"}},
    )


def write_plan(folder: Path, _: int) -> None:
    """A frozen plan."""
    from flows.analysis_plan import plan_hash

    facts: dict[str, Any] = {
        "schema": 2,
        "margins": {"lv_ef_percent": {"bias": 2.0}},
        "ladder": [["Uniform", 8.0]],
        "primary": ["lv_ef_percent"],
    }
    (folder / "plan.json").write_text(json.dumps(facts | {"sha256": plan_hash(facts)}), "utf-8")


def read_run(folder: Path) -> None:
    """The run's tables, and a stage's manifest, which is believed or not and never raises."""
    from flows.caching import is_complete
    from flows.patient_report import open_run

    is_complete(folder / "scans" / "a" / "reconstruction.json", key="k")
    open_run(folder)


def read_plan_file(folder: Path) -> object:
    """The plan against its hash."""
    from flows.analysis_plan import read_plan

    return read_plan(folder / "plan.json")


# --- weights ---------------------------------------------------------------------------------------------------------


def write_weights(folder: Path, variant: int) -> None:
    """A small CardioMM in the published layout, or a checkpoint as nnU-Net writes it."""
    import torch

    from recon.cardiomm.checkpoint import save_cardiomm
    from recon.cardiomm.network import CardioMM, CardioMMSize

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if variant == 0:
            size = CardioMMSize(1, 4, (4, 4, 4), (4, 4, 4), (4, 4, 4), 4, (4, 4, 4), (4, 4, 4), (2, 2, 2), 8)
            save_cardiomm(folder / "cardiomm.ckpt", CardioMM(size), notes={"steps": 1})
            return
        content = {"network_weights": {"a": torch.rand(3, 4)}, "trainer_name": "nnUNetTrainer", "current_epoch": 3}
        content |= {
            "init_args": {"configuration": "2d"},
            "_best_ema": np.float32(0.5),
            "logging": {"lr": [0.1, np.float64(0.2)]},
        }
        torch.save(content, folder / "checkpoint_final.pth")


def read_weights(folder: Path) -> object:
    """By the loader of the network."""
    from phenotyping.nnunet import load_checkpoint_safely
    from recon.cardiomm.checkpoint import load_cardiomm

    path = next(path for path in sorted(folder.iterdir()) if path.suffix in (".ckpt", ".pth"))
    return load_cardiomm(path) if path.suffix == ".ckpt" else load_checkpoint_safely(path)


def is_torch_file(path: Path) -> bool:
    """Whether torch wrote it as a zip file."""
    return zipfile.is_zipfile(path)


TARGETS: tuple[Target, ...] = (
    Target("k-space v7.3", write_kspace_73, KSPACE_READERS, ("cine_sax.mat",), variants=4),
    Target("k-space v5", write_kspace_5, KSPACE_READERS, ("cine_sax.mat",), variants=3, packed="mat5"),
    Target(
        "k-space MRD",
        write_mrd,
        (lambda folder: read_mrd(folder / "cine.h5"), lambda folder: read_mrd_info(folder / "cine.h5")),
        ("cine.h5",),
    ),
    Target(
        "masks",
        write_masks,
        (
            lambda folder: cmrxrecon.read_mask(folder / "mask.mat"),
            lambda folder: cmrxrecon.read_mask(folder / "mask.mat", shape=(3, 2, 4, 8, 12)),
        ),
        ("mask.mat",),
        variants=3,
        packed="",
    ),
    Target(
        "header csv",
        write_header,
        (lambda folder: cmrxrecon.read_info(folder / "T1map.mat"),),
        ("*_info.csv",),
        text=True,
        variants=2,
    ),
    Target(
        "times csv",
        write_times,
        (lambda folder: cmrxrecon.read_times_ms(next(folder.glob("*.mat"))),),
        ("T1map.csv", "T2map.csv", "*_info.csv"),
        text=True,
        variants=3,
    ),
    Target(
        "cohort tables",
        write_cohort,
        (scan_tree, lambda folder: scan_tree(folder, verify_sha256=True)),
        ("*.csv",),
        text=True,
    ),
    Target(
        "NIfTI",
        write_nifti,
        (
            lambda folder: images.read_image(image_in(folder)),
            lambda folder: images.read_placed(image_in(folder), allow_nan=True),
            lambda folder: labels_of(image_in(folder)),
        ),
        ("image.nii*",),
        variants=4,
        packed="gzip",
    ),
    Target(
        "NIfTI sidecar",
        write_nifti,
        (lambda folder: images.read_image(image_in(folder)),),
        ("image.json",),
        text=True,
        variants=2,
    ),
    Target(
        "ACDC folder",
        write_acdc,
        (lambda folder: cohort.acdc.read_patient(folder / "patient001"),),
        ("patient001/*_frame*",),
        packed="gzip",
    ),
    Target(
        "ACDC Info.cfg",
        write_acdc,
        (lambda folder: cohort.acdc.read_patient(folder / "patient001"),),
        ("patient001/Info.cfg",),
        text=True,
    ),
    Target("DICOM series", write_dicom, (read_cine, read_every_series), ("*.dcm",), variants=4),
    Target("DICOM enhanced", write_enhanced, (read_cine, read_every_series), ("*.dcm",)),
    Target("DICOM segmentation", write_segmentation, (read_every_series,), ("*.dcm",)),
    Target("configuration toml", write_toml, (read_toml,), ("*.toml",), text=True, variants=3),
    Target("tables to compare", write_table, (read_table,), ("table.*",), variants=3, text=True),
    Target(
        "a run's files", write_run, (read_run,), ("measurements.parquet", "results.json", "scans/a/reconstruction.json")
    ),
    Target("plan.json", write_plan, (read_plan_file,), ("plan.json",), text=True),
    Target("weights", write_weights, (read_weights,), ("*.ckpt", "*.pth"), variants=2, packed="zip"),
)
