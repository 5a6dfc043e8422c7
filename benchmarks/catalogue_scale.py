"""How long does the catalogue of a cohort as large as MMCMR-427K take, and how much memory? Writes catalogue_scale.json and .md.

    python benchmarks/catalogue_scale.py [--files 427465] [--out FILE.json] [--keep DIR]

A tree of the layout of MMCMR-427K is made: 13 centers, 11 modalities, a header beside every k-space file, some files
damaged. Its files are hard links to a few, so that they take no room; the time to reach half a million files on a disk that
turns or on a network is therefore not in the numbers, and everything is in the system's memory. Each step runs in a process of its
own: seconds by the clock, of all cores, and the largest memory of it and its children together, looked at ten times a second. The first scan opens every header; later ones open what is new or
changed since. Nothing is left behind but the results.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.run_facts import run_facts  # noqa: E402
from cohort.cmrxrecon import write_kspace  # noqa: E402

SCANNERS = [
    "Siemens_30T_Vida", "Siemens_15T_Aera", "Siemens_30T_Prisma", "Siemens_30T_CIMA.X", "Siemens_15T_Sola", "UIH_30T_umr780", "UIH_15T_umr670",
    "UIH_30T_umr880", "Philips_30T_IngeniaCX", "GE_15T_voyager", "Siemens_15T_Avanto", "Siemens_055T_Freemax", "UIH_50T_Jupiter",
]  # fmt: skip
STEMS = {
    "Cine": ("cine_sax", "cine_lax_2ch", "cine_lax_3ch", "cine_lax_4ch", "cine_lvot"),
    "Mapping": ("T1map", "T2map", "T2smap", "T1mappost"),
    "Aorta": ("aorta_sag", "aorta_tra"),
    "Tagging": ("tagging",),
    "Flow2d": ("flow2d", "flow2d_inplane"),
    "BlackBlood": ("blackblood",),
    "LGE": ("lge_sax", "lge_lax_2ch", "lge_lax_4ch"),
    "Perfusion": ("perfusion",),
    "T1rho": ("T1rho",),
    "T1w": ("T1w",),
    "T2w": ("T2w", "T2w_lax_4ch"),
}
LINKS = 50_000  # a file system allows 65,000 names for a file
DAMAGED = 100
WANTED = {"seconds": 60.0, "peak_mib": 2048.0}
STEPS = {
    "walk": """
from cohort.catalogue_files import find_candidates
said = {"files": len(find_candidates(root.resolve()))}
""",
    "first scan, writes the index": """
table = scan_tree(root, index=index, processes=len(os.sched_getaffinity(0)))
said = {"scans": len(table), "bad": int((table["status"] != "ok").sum()), "index_mb": index.stat().st_size / 1e6}
""",
    "scan, validate and query": """
table = scan_tree(root, index=index, processes=len(os.sched_getaffinity(0)))
scanned = time.perf_counter()
bad = table[table["status"] != "ok"]
reasons = sorted({reason.rpartition("_info.csv: ")[2].split(":")[0].split(" (")[0] for reason in bad["reason"]})
chosen = [len(select(table, center="Center003")), len(select(table, vendor="UIH", field_t=3.0, modality="cine", view="short-axis", status="ok")),
          len(select(table, disease="hypertrophic", modality=["T1 mapping", "T2 mapping"]))]
parts = split_by_patient(table, fractions={"train": 0.8, "held": 0.2}, seed=1)
said = {"scans": len(table), "bad": len(bad), "reasons": reasons, "chosen": chosen, "parts": [len(p) for p in parts.values()],
        "sha256": catalogue_hash(table)[:16], "of_which_scan_s": scanned - begun}
""",
}
PROGRAM = """
import json, os, resource, sys, threading, time
from contextlib import suppress
from pathlib import Path
import psutil
from cohort.catalogue import catalogue_hash, scan_tree, select, split_by_patient

def watch(peak):
    me = psutil.Process()
    while True:
        with suppress(psutil.Error):
            peak[0] = max(peak[0], sum(p.memory_info().rss for p in (me, *me.children(recursive=True))))
        time.sleep(0.1)

if __name__ == "__main__":
    root, index = Path(sys.argv[1]), Path(sys.argv[2])
    peak = [0]
    threading.Thread(target=watch, args=(peak,), daemon=True).start()
    begun = time.perf_counter()
    {step}
    seconds = time.perf_counter() - begun
    time.sleep(0.2)
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({{"seconds": seconds, "core_seconds": sum(u.ru_utime + u.ru_stime for u in use),
        "peak_mib": peak[0] / 2**20, **said}}))
"""


def make_tree(root: Path, *, n_files: int) -> None:
    """Folders as of MMCMR-427K, filled patient by patient until there are enough scans."""
    sources = root / "sources"
    sources.mkdir(parents=True)
    made: dict[tuple[str, int], tuple[Path, Path]] = {}
    per_patient = sum(len(stems) for stems in STEMS.values())
    diseases = ["center,patient,disease"]
    done = 0
    for number, (patient, center) in enumerate(product(range(1, 10**6), range(13))):
        if done >= n_files:
            break
        disease = ("normal", "hypertrophic", "dilated", "infarct")[number % 4]
        diseases.append(f"Center{center + 1:03d},P{patient:03d},{disease}")
        for modality, stems in STEMS.items():
            place = (
                f"MultiCoil/{modality}/{('TrainingSet', 'TestSet')[number % 5 == 0]}/FullSample/Center{center + 1:03d}"
            )
            folder = root / place / SCANNERS[center] / f"P{patient:03d}"
            folder.mkdir(parents=True)
            for stem in stems[: n_files - done]:
                key = (modality, number * per_patient // LINKS)
                if key not in made:
                    made[key] = source(sources, *key)
                os.link(made[key][0], folder / f"{stem}.mat")
                os.link(made[key][1], folder / f"{stem}_info.csv")
                if done and done % (n_files // DAMAGED) == 0:
                    damage(folder / f"{stem}.mat", kind=done // (n_files // DAMAGED) % 3)
                done += 1
    (root / "diseases.csv").write_text("\n".join(diseases) + "\n", encoding="utf-8")


def source(folder: Path, modality: str, number: int) -> tuple[Path, Path]:
    """A small k-space file and its header, with what headers of the release hold."""
    path = folder / f"{modality}{number}.mat"
    shape = (12 if modality == "Cine" else 3, 1, 2, 4, 8)
    info = {"FieldStrength(T)": 3.0, "FOVx(mm)": 360.0, "FOVy(mm)": 300.0, "ReconMatrix_X": 4, "ReconMatrix_Y": 4, "SliceNum": 1,
            "SliceThickness(mm)": 8.0, "CoilNumber": 2, "TemporalPhase": shape[0], "ReadOutOversample": 2, "TR(ms)": 40.0, "TE(ms)": 1.4}  # fmt: skip
    write_kspace(path, np.ones(shape, np.complex64), info=info)
    return path, path.with_name(f"{path.stem}_info.csv")


def damage(path: Path, *, kind: int) -> None:
    """Truncated, no MATLAB file, or without a header."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes((content[:-100], b"nothing", content)[kind])
    if kind == 2:
        path.with_name(f"{path.stem}_info.csv").unlink()


def run_step(name: str, root: Path, index: Path) -> dict[str, Any]:
    """A step in a process of its own."""
    program = root / "step.py"
    program.write_text(PROGRAM.format(step=STEPS[name].strip().replace("\n", "\n    ")), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, str(program), str(root / "cohort"), str(index)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(name, found, flush=True)
    return {"load": os.getloadavg()[0], **found}


def as_page(result: dict[str, Any]) -> str:
    """The results as a page."""
    rows = [
        f"| {name} | {step['seconds']:.1f} | {step['core_seconds']:.1f} | {step['peak_mib']:.0f} | {step['load']:.1f} |"
        for name, step in result["steps"].items()
    ]
    whole = result["steps"]["scan, validate and query"]
    return f"""# Catalogue of {result["files"]:,} k-space files

Simulated: small files, hard links to a few, in the layout of MMCMR-427K, {whole["bad"]} of them damaged; all in the memory of the system.

| step | s by the clock | s of all cores | largest memory (MiB) | load average after it |
|---|---|---|---|---|
{chr(10).join(rows)}

Wanted for scanning, validating and querying: below {WANTED["seconds"]:.0f} s and {WANTED["peak_mib"]:.0f} MiB. The first scan of a cohort opens
every header; its index ({result["steps"]["first scan, writes the index"]["index_mb"]:.0f} MB) then spares that for all files whose size and times have not changed, and bad files are opened each
time. The last step reads the tree anew, matches it with the index, lists the bad scans with their reasons, selects three times, divides the
patients, and hashes the table. Memory is that of the process and all its children at the worst of ten moments a second.

{result["machine"]["cores"]} cores. What of the load is above the number of the step's own processes is other work, which seconds by the clock grow with.

Call: `{result["command"]}`
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=427_465)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "catalogue_scale.json")
    parser.add_argument("--keep", type=Path, help="folder for the tree, which then stays")
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="catalogue-scale-"))
    try:
        start = time.perf_counter()
        if not (folder / "cohort").exists():
            make_tree(folder / "cohort", n_files=asked.files)
            time.sleep(3)  # files count as at rest after two seconds
        result = {
            **run_facts("benchmarks/catalogue_scale.py"),
            "files": asked.files,
            "wanted": WANTED,
            "made_s": time.perf_counter() - start,
        }
        result["steps"] = {name: run_step(name, folder, folder / "index") for name in STEPS}
    finally:
        if not asked.keep:
            shutil.rmtree(folder)
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    asked.out.with_suffix(".md").write_text(as_page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
