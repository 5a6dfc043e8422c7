"""A small run, a kit of it, and readers who score by a rule: what tests of reader studies share."""

import csv
import json
import re
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cohort.images import write_image, write_labels
from flows.reader_scores import COLUMNS
from flows.readers import KEY_FILE, MANIFEST_FILE, KitOptions

ARMS = {
    "fully_sampled": ("fully_sampled", "none", 1.0),
    "sense_Uniform8": ("sense", "Uniform", 8.0),
    "cardiomm_ktRadial16": ("cardiomm", "ktRadial", 16.0),
}
CENTERS = ("Center001", "Harbor")
FRAMES, SLICES, Y, X = 4, 5, 24, 20
SPACING = (8.0, 3.0, 3.0)
DATA = re.compile(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)")


def write_cine(
    folder: Path, center: str, patient: str, rng: np.random.Generator, *, failed: tuple[str, ...] = ()
) -> None:
    """A beating disc; each arm is as bright as its part of the reference says."""
    y, x = np.mgrid[:Y, :X]
    radius = np.hypot(y - 12, x - 10)
    labels = np.zeros((FRAMES, SLICES, Y, X), np.uint8)
    labels[:, 1:4] = np.where(radius < 3, 1, np.where(radius < 5, 2, 0))
    image = (100 * (labels == 1) + 40 * (labels == 2) + rng.uniform(0, 10, labels.shape)).astype(np.float32)
    entries = {}
    for name, (method, pattern, acceleration) in ARMS.items():
        entry = {"method": method, "pattern": pattern, "acceleration": acceleration, "status": "ok", "reason": ""}
        if name in failed:
            entry |= {"status": "failed", "reason": "mask samples nothing"}
        else:
            entry["image"] = f"{name}.nii.gz"
            shown = image * (0.5 if method == "sense" else 1.0)
            write_image(folder / f"{name}.nii.gz", shown, spacing_mm=SPACING, sidecar={})
            write_labels(folder / f"{name}_labels.nii.gz", labels, spacing_mm=SPACING, sidecar={})
        entries[name] = entry
    write_scan(folder, center, patient, "cine", "cine_sax", entries)


def write_map(folder: Path, center: str, patient: str) -> None:
    """A ring of 1200 ms, as the measuring stage keeps it, without values far from it."""
    y, x = np.mgrid[:X, :Y]
    radius = np.hypot(y - 10, x - 12)
    labels = np.where(radius < 3, 1, np.where(radius < 5, 2, 0)).astype(np.uint8)
    values = np.where(radius < 9, np.where(labels == 2, 1200, 1800), np.nan).astype(np.float32)
    gallery = []
    (folder / "pictures").mkdir(parents=True)
    for name in list(ARMS)[1:]:
        path = f"pictures/{name}_map.npz"
        arrays = {"reference": values, "image": values + 50, "labels_reference": labels, "labels_image": labels}
        np.savez_compressed(folder / path, **arrays, spacing_mm=np.array(SPACING))
        gallery.append({"path": path, "phase": "map", "slice": 0, "arm": name})
    (folder / "measurements.json").write_text(json.dumps({"gallery": gallery}), encoding="utf-8")
    facts = ("method", "pattern", "acceleration")
    entries = {
        n: dict(zip(facts, f, strict=True)) | {"status": "ok", "reason": "", "image": ""} for n, f in ARMS.items()
    }
    write_scan(folder, center, patient, "T1 mapping", "T1map", entries)


def write_scan(folder: Path, center: str, patient: str, modality: str, scan: str, arms: dict[str, Any]) -> None:
    """The manifest of the reconstruction stage, as far as readers need it."""
    named = {"study": "secret", "center": center, "vendor": "Siemens", "field_t": 3.0, "patient": patient}
    manifest = {
        "scan": named | {"modality": modality, "scan": scan},
        "geometry": {"spacing_mm": SPACING, "frame_time_s": 0.03},
        "info": {"Simulated": "disc"} if center == "Harbor" else {},
        "arms": arms,
    }
    (folder / "reconstruction.json").write_text(json.dumps(manifest), encoding="utf-8")


def make_run(
    folder: Path, *, patients: int = 3, maps: bool = True, failed: dict[int, tuple[str, ...]] | None = None
) -> Path:
    """A run folder with one cine a patient in two centers, and maps of the first patient of each."""
    rng = np.random.default_rng(5)
    for i, center in enumerate(CENTERS):
        for k in range(patients):
            patient = f"Smith{k:03d}"
            place = folder / "scans" / center / patient
            (place / "cine").mkdir(parents=True)
            write_cine(place / "cine", center, patient, rng, failed=(failed or {}).get(i * patients + k, ()))
            if maps and k == 0:
                (place / "T1").mkdir()
                write_map(place / "T1", center, patient)
    return folder


def options(**changes: Any) -> KitOptions:
    given: dict[str, Any] = {"readers": ("R1", "R2"), "margin": 0.5, "seed": 11, "criteria": ("overall", "artifacts")}
    return KitOptions(**given | changes)


def key_of(kit: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((kit / KEY_FILE).read_text(encoding="utf-8"))
    return content


def page_of(kit: Path, reader: str = "R1") -> str:
    return (kit / "readers" / reader / "reading.html").read_text(encoding="utf-8")


def items_of(page: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', page)
    assert found
    items: list[dict[str, Any]] = json.loads(found[1])["items"]
    return items


def payload(page: str, item: dict[str, Any]) -> dict[str, Any]:
    found = re.search(rf'id="{item["data"]}">(.*?)</script>', page)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


def pixels(src: str) -> np.ndarray:
    found = DATA.fullmatch(src)
    assert found
    with Image.open(BytesIO(b64decode(found[1]))) as picture:
        return np.asarray(picture).astype(float)


Answer = Callable[[dict[str, Any], str], int | str]


def answer_file(kit: Path, reader: str, folder: Path, answer: Answer) -> Path:
    """What a reader's page would save, by a rule from the series' facts and the criterion to a score."""
    key, name = key_of(kit), json.loads((kit / MANIFEST_FILE).read_text(encoding="utf-8"))["kit"]
    series = {s["series"]: s for s in key["series"]}
    path = folder / f"{reader}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for position, one in enumerate(key["shown"][reader], start=1):
            for criterion in key["plan"]["criteria"]:
                writer.writerow(
                    [name, reader, position, one["code"], criterion, answer(series[one["series"]], criterion), 9]
                )
    return path


def loss(series: dict[str, Any], _: str) -> int:
    """Readers for whom nothing is lost by one method, and two points by the other."""
    return {"fully_sampled": 5, "sense": 3, "cardiomm": 5}[series["method"]]
