"""Which pictures of a scan does a reader see? Cine loops and maps as sprites of plain gray values, the same cut and scale for all arms.

Everything that could tell arms apart besides the image itself is the same for all of a scan: slices, cut, gray scale, frame rate and coding of the
file. The scale and the cut come from the fully sampled image alone.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cohort.fingerprint import file_sha256
from cohort.images import read_image, read_labels
from cohort.records import CardioValError, MissingFile, UnreadableFile
from flows.caching import read_manifest
from reports.pictures import MAP_WINDOWS_MS

REFERENCE_ARM: Final = "fully_sampled"
KIND_OF: Final = {"cine": "cine", "T1 mapping": "T1 map", "T2 mapping": "T2 map", "T1 rho mapping": "T1rho map"}
MAP_COLORS: Final = {"T1 map": "magma", "T2 map": "viridis", "T1rho map": "viridis"}
#: white end of the color scale, ms; T1rho of myocardium at 1.5 T is about 50 ms, its map is shown as T2's is
MAP_WHITE_MS: Final = {"T1 map": MAP_WINDOWS_MS["T1"][0], "T2 map": MAP_WINDOWS_MS["T2"][0], "T1rho map": 100.0}
WHITE_PERCENTILE: Final = 99.5  # of the fully sampled image: the brightest vessels do not set the gray scale
CINE_MARGIN_MM: Final = 30.0  # kept around the heart: readers judge folding from beside it too
MAP_MARGIN_MM: Final = 12.0  # maps are fitted only near the heart
SECONDS_PER_BEAT: Final = 1.0  # a loop whose frame time is unknown takes so long


@dataclass(frozen=True, kw_only=True)
class Display:
    """How series are shown; the same for all of a kit.

    Attributes
    ----------
    n_slices
        Slices of a cine shown side by side, from base to apex; fewer where the heart has fewer.
    n_frames
        Frames of a loop at most, evenly chosen; 0 for all. The beat keeps its length.
    side_px
        Longer side of a panel in stored pixels at most, reduced by averaging; 0 for as acquired.
    jpeg_quality
        0 for lossless PNG; else 80 to 100: JPEG's own flaws then lie over all arms.
    """

    n_slices: int = 3
    n_frames: int = 0
    side_px: int = 0
    jpeg_quality: int = 0

    def __post_init__(self) -> None:
        if self.n_slices < 1 or self.n_frames < 0 or self.side_px < 0:
            raise CardioValError("slices are 1 or more, frames and side 0 (as they are) or more")
        if self.jpeg_quality and not 80 <= self.jpeg_quality <= 100:
            raise CardioValError(f"JPEG quality is 80 to 100, or 0 for lossless PNG, not {self.jpeg_quality}")


@dataclass(frozen=True)
class ScanFolder:
    """One scan of a run: its folder and what its reconstruction stage left."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def kind(self) -> str | None:
        """``cine``, ``T1 map``, ...; None for what no reader scores."""
        return KIND_OF.get(str(self.manifest["scan"]["modality"]))

    @property
    def arms(self) -> Mapping[str, Any]:
        """What was reconstructed, by the arm's name."""
        arms: Mapping[str, Any] = self.manifest["arms"]
        return arms

    @property
    def facts(self) -> dict[str, str]:
        """Center, patient and scan."""
        return {key: str(self.manifest["scan"][key]) for key in ("center", "patient", "scan")}

    @property
    def label(self) -> str:
        """Short name for messages to the study office."""
        return " ".join(self.facts.values())


@dataclass(frozen=True)
class Pictured:
    """What a scan gives: payloads (JSON) and source hashes by arm, and the reason where an arm has none."""

    payloads: dict[str, str]
    sources: dict[str, str]
    missing: dict[str, str]
    slices: list[int]


def find_scans(run_dir: Path) -> list[ScanFolder]:
    """Scans of a run, in the order of their folders.

    Raises
    ------
    MissingFile
        No run, or one that has reconstructed nothing yet.
    UnreadableFile
        A manifest that is not of this pipeline.
    """
    found = []
    for path in sorted((run_dir / "scans").rglob("reconstruction.json")):
        try:
            manifest = read_manifest(path)
            manifest["scan"]["modality"], manifest["arms"], manifest["geometry"]["spacing_mm"]
        except (ValueError, KeyError, TypeError) as problem:
            raise UnreadableFile(path, f"not a manifest of the reconstruction stage ({problem})") from problem
        found.append(ScanFolder(path.parent, manifest))
    if not found:
        raise MissingFile(run_dir / "scans", "no reconstructed scans; is this the folder of a run?")
    return found


def pictured(scan: ScanFolder, *, arms: list[str], display: Display) -> Pictured:
    """Pictures of the asked arms of a scan.

    Raises
    ------
    CardioValError
        The scan has no fully sampled image or map: nothing sets the scale, and nothing is compared with.
    """
    if scan.kind == "cine":
        return _cine(scan, arms=arms, display=display)
    return _maps(scan, arms=arms, display=display)


def color_scale(kind: str) -> dict[str, str] | None:
    """The color bar of a kind of map; None for gray images, whose values mean nothing."""
    if kind not in MAP_COLORS:
        return None
    ramp = _colored(np.tile(np.linspace(0, 1, 256), (4, 1)), kind)
    return {"src": _encoded(ramp, 0), "low": "0 ms", "high": f"{MAP_WHITE_MS[kind]:g} ms"}


def _cine(scan: ScanFolder, *, arms: list[str], display: Display) -> Pictured:
    reference, spacing, labels = _reference_cine(scan)
    slices = representative_slices(labels, n=display.n_slices)
    box = heart_cut(np.asarray(labels.any(axis=(0, 1))), pixel_mm=spacing[1:], margin_mm=CINE_MARGIN_MM)
    white = float(np.percentile(reference[:, slices][(..., *box)], WHITE_PERCENTILE)) or 1.0
    frames = chosen_frames(reference.shape[0], most=display.n_frames)
    stated = scan.manifest["geometry"].get("frame_time_s") or SECONDS_PER_BEAT / reference.shape[0]
    frame_s = float(stated) * reference.shape[0] / len(frames)
    payloads, sources, missing = {}, {}, _missing(scan, arms)
    for name in [a for a in arms if a not in missing]:
        path = scan.folder / scan.arms[name]["image"]
        try:
            image = reference if name == REFERENCE_ARM else _upright(read_image(path)[0])
        except CardioValError as problem:
            missing[name] = str(getattr(problem, "reason", problem))
            continue
        if image.shape != reference.shape:
            missing[name] = f"image of shape {image.shape}, the fully sampled one has {reference.shape}"
            continue
        panels = [image[frames, z][(..., *box)] / white for z in slices]
        payloads[name] = _payload(panels, pixel_mm=spacing[1:], frame_s=frame_s, display=display)
        sources[name] = file_sha256(path)
    return Pictured(payloads, sources, missing, slices)


def _reference_cine(scan: ScanFolder) -> tuple[NDArray[np.float32], tuple[float, float, float], NDArray[np.uint8]]:
    """The fully sampled cine and its labels, upright; background where it was not labeled."""
    entry = scan.arms.get(REFERENCE_ARM, {})
    if entry.get("status") != "ok":
        raise CardioValError(f"{scan.label}: no fully sampled image ({entry.get('reason', 'not reconstructed')})")
    image, spacing, _ = read_image(scan.folder / entry["image"])
    path = scan.folder / f"{REFERENCE_ARM}_labels.nii.gz"
    labels = read_labels(path)[0] if path.is_file() else np.zeros(image.shape, np.uint8)
    if labels.shape != image.shape:
        labels = np.zeros(image.shape, np.uint8)
    return _upright(image), (spacing[0], spacing[2], spacing[1]), _upright(labels)


def _maps(scan: ScanFolder, *, arms: list[str], display: Display) -> Pictured:
    """Maps as the measuring stage kept them, one slice a scan."""
    kept = _kept_maps(scan)
    missing = _missing(scan, arms)
    slices = {int(entry["slice"]) for entry in kept.values()}
    first = next(iter(kept.values()), None)
    if first is None:
        raise CardioValError(f"{scan.label}: the run kept no map of this scan")
    with np.load(scan.folder / first["path"], allow_pickle=False) as stored:
        reference, labels = stored["reference"].astype(np.float64), stored["labels_reference"]
        pixel_mm = tuple(float(s) for s in stored["spacing_mm"][-2:])
    box = heart_cut(labels > 0, pixel_mm=pixel_mm, margin_mm=MAP_MARGIN_MM)
    payloads, sources = {}, {}
    for name in [a for a in arms if a not in missing]:
        entry = first if name == REFERENCE_ARM else kept.get(name)
        if entry is None:
            missing[name] = "no map was kept of this arm"
            continue
        path = scan.folder / entry["path"]
        with np.load(path, allow_pickle=False) as stored:
            values = reference if name == REFERENCE_ARM else stored["image"].astype(np.float64)
        if values.shape != reference.shape:
            missing[name] = f"map of shape {values.shape}, the fully sampled one has {reference.shape}"
            continue
        shown = _colored(values[box] / MAP_WHITE_MS[str(scan.kind)], str(scan.kind))
        payloads[name] = _payload([shown[None]], pixel_mm=pixel_mm, frame_s=SECONDS_PER_BEAT, display=display)
        sources[name] = file_sha256(path)
    return Pictured(payloads, sources, missing, sorted(slices))


def _kept_maps(scan: ScanFolder) -> dict[str, dict[str, Any]]:
    """Entries of the measuring stage's gallery that are maps and lie inside the scan's folder, by arm."""
    path = scan.folder / "measurements.json"
    if not path.is_file():
        raise MissingFile(path, "the scan was not measured, so it has no maps")
    gallery = [e for e in read_manifest(path).get("gallery", []) if e["phase"] == "map"]
    root = scan.folder.resolve()
    inside = [e for e in gallery if (root / e["path"]).resolve().is_relative_to(root)]
    return {e["arm"]: e for e in inside if (root / e["path"]).is_file()}


def _missing(scan: ScanFolder, arms: list[str]) -> dict[str, str]:
    """Arms without an image, and why."""
    reasons = {}
    for name in arms:
        entry = scan.arms.get(name)
        if entry is None:
            reasons[name] = "not planned for this scan"
        elif entry["status"] != "ok":
            reasons[name] = str(entry["reason"])
        elif scan.kind == "cine" and not (scan.folder / entry["image"]).is_file():
            reasons[name] = "the run did not keep its image; run it again with keep_images = true"
    return reasons


def representative_slices(labels: NDArray[np.uint8], *, n: int) -> list[int]:
    """Indices of `n` slices spread over those with a left ventricle in any frame; over all where none was found.

    The middle of each of `n` equal parts, so that 3 slices of 9 are the second, the fifth and the eighth.
    """
    found = np.flatnonzero(np.isin(labels, (1, 2)).any(axis=(0, 2, 3)))
    among = found if len(found) else np.arange(labels.shape[1])
    places = (np.arange(n) + 0.5) / n * len(among)
    return [int(i) for i in dict.fromkeys(among[np.floor(places).astype(int)])]


def heart_cut(heart: NDArray[np.bool_], *, pixel_mm: tuple[float, ...], margin_mm: float) -> tuple[slice, slice]:
    """Rows and columns around the heart (y, x) with a margin; all of them where there is no heart."""
    box = []
    for axis in (0, 1):
        found = np.flatnonzero(heart.any(axis=1 - axis))
        margin = round(margin_mm / pixel_mm[axis])
        ends = (0, heart.shape[axis]) if not len(found) else (found[0] - margin, found[-1] + 1 + margin)
        box.append(slice(max(0, int(ends[0])), min(heart.shape[axis], int(ends[1]))))
    return box[0], box[1]


def chosen_frames(n: int, *, most: int) -> list[int]:
    """Evenly spaced frames of a loop of `n`, at most so many; 0 for all."""
    if not most or most >= n:
        return list(range(n))
    return [int(i) for i in np.floor(np.arange(most) * n / most)]


def _payload(panels: list[NDArray[Any]], *, pixel_mm: tuple[float, ...], frame_s: float, display: Display) -> str:
    """JSON of a series as the page plays it; panels are (frames, y, x) from 0 black to 1 white, or (1, y, x, 3) colors."""
    made = []
    for panel in panels:
        small = _reduced(panel, side_px=display.side_px)
        columns = int(np.ceil(np.sqrt(len(small))))
        # width over height of a pixel, after a reduction that may have rounded the sides differently
        aspect = (panel.shape[2] * pixel_mm[1] / small.shape[2]) / (panel.shape[1] * pixel_mm[0] / small.shape[1])
        made.append(
            {
                "src": _encoded(_tiled(small, columns), display.jpeg_quality if small.ndim == 3 else 0),
                "width": small.shape[2],
                "height": small.shape[1],
                "columns": columns,
                "aspect": aspect,
            }
        )
    return json.dumps({"panels": made, "frames": len(panels[0]), "frame_s": frame_s})


def _reduced(panel: NDArray[Any], *, side_px: int) -> NDArray[np.uint8]:
    """8-bit values, averaged down where a side is longer than asked for."""
    gray = panel if panel.dtype == np.uint8 else np.round(255 * np.clip(panel, 0, 1)).astype(np.uint8)
    longer = max(gray.shape[1:3])
    if not side_px or longer <= side_px:
        return gray
    size = tuple(max(1, round(side * side_px / longer)) for side in (gray.shape[2], gray.shape[1]))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in gray])


def _tiled(frames: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Frames in rows of so many."""
    n, height, width = frames.shape[:3]
    sheet = np.zeros((-(-n // columns) * height, columns * width, *frames.shape[3:]), np.uint8)
    for i, one in enumerate(frames):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = one
    return sheet


def _colored(values: NDArray[np.float64], kind: str) -> NDArray[np.uint8]:
    """A map in color, black where it has no value."""
    colors = matplotlib.colormaps[MAP_COLORS[kind]](np.nan_to_num(np.clip(values, 0, 1)), bytes=True)[..., :3]
    shown: NDArray[np.uint8] = np.where(np.isfinite(values)[..., None], colors, 0).astype(np.uint8)
    return shown


def _encoded(pixels: NDArray[np.uint8], jpeg_quality: int) -> str:
    """A data URI of nothing but pixels: no text, date or name goes with it."""
    stream, kind = BytesIO(), "jpeg" if jpeg_quality else "png"
    picture = Image.fromarray(pixels)
    if jpeg_quality:
        picture.save(stream, format="JPEG", quality=jpeg_quality)
    else:
        picture.save(stream, format="PNG", optimize=True)
    return f"data:image/{kind};base64,{b64encode(stream.getvalue()).decode('ascii')}"


def _upright(array: NDArray[Any]) -> NDArray[Any]:
    """Swap y and x, as `flows.stages.upright` does; here without what that file loads."""
    return np.ascontiguousarray(array.swapaxes(-1, -2))
