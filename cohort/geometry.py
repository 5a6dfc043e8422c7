"""How large is a voxel, where the header of a scan leaves it open?

A CMRxRecon header states fields of view and slice thickness, but no voxel size and no slice pitch. Two things must be
known of the scanner. First, whether FOVx is the field of view of the image or of the oversampled readout: an error is a
factor of two. Second, the gap between slices: taken for zero, all volumes and masses come out a third too small where
the gap is half the thickness. What is not stated is looked up in a table of rules (`cohort.geometry_rules`) or assumed,
and the result says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cohort.geometry_rules import (
    SHIPPED_RULES,
    Convention,
    GeometryRule,
    ScanKind,
    known_fov_x,
    known_slice_pitch_mm,
    vendor_and_model,
)
from cohort.headers import InfoValue
from cohort.records import Confidence, ConfigProblem, Geometry, MeasurementFailed

PLAUSIBLE_PIXEL_MM = (0.5, 4.0)
PLAUSIBLE_ASPECT = 2.5
PLAUSIBLE_CYCLE_S = (0.3, 2.5)  # 200 to 24 beats a minute
UIH_TIME_FACTOR = 10  # headers of UIH state a tenth of the frame duration


def scan_geometry(
    info: Mapping[str, InfoValue],
    *,
    shape: tuple[int, ...],
    scanner: str,
    vendor: str = "",
    center: str = "",
    modality: str = "",
    readout_removed: bool = True,
    rules: Sequence[GeometryRule] = SHIPPED_RULES,
) -> Geometry:
    """Find the voxel size and the frame duration of a scan, and how far they can be trusted.

    In plane: pixel_x = field of view over the readout samples of `shape` / nx, pixel_y = FOVy / ny, on the grid as
    acquired. Through plane, the first of: `SlicePitch` stated; `SliceThickness` + `SliceGap` stated; the rules; the
    thickness alone, which is "assumed". A frame lasts TR; where that makes no possible heart cycle, ten
    times TR for UIH, or the length of a beat at the stated heart rate divided by the number of frames.

    Parameters
    ----------
    info
        As from `cohort.cmrxrecon.read_info`; keys without units, lengths in mm, times in ms. `FOVxSpans` ("nominal" or
        "oversampled") overrules the rules; simulated files mean the field of view of the image unless they say so.
    shape
        Shape of what the spacing is for: frames and slices first, (ky, kx) or (y, x) last.
    scanner
        Model or folder: "Vida" or "Siemens_30T_Vida".
    vendor
        Vendor, where `scanner` is only a model; UIH and Philips follow rules of their own.
    center, modality
        Where a rule asks for them.
    readout_removed
        Whether the readout oversampling was removed before `shape` was taken; False for `shape` as stored in the file.
    rules
        What is known of scanners, first match first; a study's own stand before the project's.

    Returns
    -------
    Geometry
        spacing_mm (slice pitch, y, x), frame_time_s or None, confidence, and what was assumed in words.

    Raises
    ------
    MeasurementFailed
        FOVx, FOVy, or all of pitch and thickness missing and in no table.
    ConfigProblem
        `shape` still has the oversampling that `readout_removed` says was removed.
    """
    notes: list[str] = []
    scanner = f"{vendor}_{scanner}" if vendor and "_" not in scanner else scanner
    kind = ScanKind(scanner=scanner, vendor=vendor, center=center, modality=modality)
    x_mm, trust_x = _pixel_x_mm(info, shape[-1], _convention(info, kind, rules, notes), readout_removed, notes)
    y_mm = _number(info, "FOVy") / shape[-2]
    pitch_mm, trust_z = _slice_pitch_mm(info, shape[1], kind, rules, notes)
    trust = max((trust_x, trust_z), key=["stated", "table", "assumed"].index)
    low, high = PLAUSIBLE_PIXEL_MM
    if not (low <= min(x_mm, y_mm) and max(x_mm, y_mm) <= high and max(x_mm / y_mm, y_mm / x_mm) <= PLAUSIBLE_ASPECT):
        notes.append(f"pixel of {y_mm:.2f} x {x_mm:.2f} mm (y, x) is implausible")
        trust = "assumed"
    return Geometry(
        spacing_mm=(pitch_mm, y_mm, x_mm),
        frame_time_s=_frame_time_s(info, shape[0], scanner, notes),
        confidence=trust,
        note="; ".join(notes),
        slice_thickness_mm=_optional(info, "SliceThickness"),
    )


def fov_x_convention(scanner: str) -> Convention | None:
    """Tell whether headers of a scanner state FOVx of the image ("nominal") or of all readout samples ("oversampled").

    None where the project's rules know neither model nor vendor.
    """
    return known_fov_x(SHIPPED_RULES, ScanKind(scanner=scanner))


def _pixel_x_mm(
    info: Mapping[str, InfoValue],
    nx: int,
    fov_x: tuple[Convention, Confidence],
    readout_removed: bool,
    notes: list[str],
) -> tuple[float, Confidence]:
    fov_mm, (convention, trust) = _number(info, "FOVx"), fov_x
    factor = _optional(info, "ReadOutOversample")
    if factor is None and (convention == "oversampled") == readout_removed:
        factor, trust = 2.0, "assumed"
        notes.append("readout oversampling not stated: assumed 2")
    matrix_x = _optional(info, "ReconMatrix_X")
    if readout_removed and factor and factor > 1 and matrix_x and nx >= 0.95 * factor * matrix_x:
        raise ConfigProblem(
            f"{nx} readout samples for a matrix of {matrix_x:g} still have the oversampling of {factor:g}: "
            "remove it first, or call with readout_removed=False"
        )
    if convention == "oversampled" and readout_removed:
        return fov_mm / (factor or 1.0) / nx, trust
    if convention == "nominal" and not readout_removed:
        return fov_mm * (factor or 1.0) / nx, trust
    return fov_mm / nx, trust


def _convention(
    info: Mapping[str, InfoValue], kind: ScanKind, rules: Sequence[GeometryRule], notes: list[str]
) -> tuple[Convention, Confidence]:
    """What FOVx means: stated, from the rules, for our own simulated files nominal, else assumed nominal."""
    stated = info.get("FOVxSpans")
    if stated == "oversampled":
        return "oversampled", "stated"
    if stated not in (None, "nominal"):
        raise MeasurementFailed(f"FOVxSpans is 'nominal' or 'oversampled', the header states {stated!r}")
    if stated == "nominal" or "Simulated" in info:
        return "nominal", "stated"
    known = known_fov_x(rules, kind)
    if known:
        return known, "table"
    notes.append(f"meaning of FOVx unknown for {kind.scanner!r}: assumed the field of view of the image")
    return "nominal", "assumed"


def _slice_pitch_mm(
    info: Mapping[str, InfoValue], n_slices: int, kind: ScanKind, rules: Sequence[GeometryRule], notes: list[str]
) -> tuple[float, Confidence]:
    thickness, gap = _optional(info, "SliceThickness"), _optional(info, "SliceGap", zero_allowed=True)
    pitch = _optional(info, "SlicePitch")
    if pitch is not None:
        return pitch, "stated"
    if thickness is not None and gap is not None:
        return thickness + gap, "stated"
    looked_up = known_slice_pitch_mm(rules, kind, slice_thickness_mm=thickness)
    if looked_up is not None and n_slices > 1:
        stated = "no thickness" if thickness is None else f"thickness {thickness:g} mm"
        notes.append(f"slice pitch {looked_up:g} mm from the table of scanners ({kind.scanner}, {stated})")
        return looked_up, "table"
    if thickness is None:
        raise MeasurementFailed(
            "slice pitch unknown: the header states neither SlicePitch nor SliceThickness; add a row SlicePitch(mm), or a geometry rule"
        )
    if n_slices > 1:
        notes.append(
            f"slice gap unknown: pitch assumed to be the thickness, {thickness:g} mm; volumes may be too small"
        )
        return thickness, "assumed"
    return thickness, "stated"


def _frame_time_s(info: Mapping[str, InfoValue], n_frames: int, scanner: str, notes: list[str]) -> float | None:
    """Duration of a frame, if with it the frames cover a possible heart cycle."""
    repetition, beats = _optional(info, "TR"), _optional(info, "HeartRate")
    if n_frames < 2:
        return None
    candidates = [] if repetition is None else [(repetition / 1000, "")]
    if repetition is not None and vendor_and_model(scanner)[0] == "uih" and "Simulated" not in info:
        candidates.append((UIH_TIME_FACTOR * repetition / 1000, f"frame time {UIH_TIME_FACTOR} x TR, as for UIH"))
    if beats is not None:
        candidates.append((60 / beats / n_frames, "frame time from the heart rate"))
    low, high = PLAUSIBLE_CYCLE_S
    for seconds, note in candidates:
        if low <= n_frames * seconds <= high:
            if note:
                notes.append(note)
            return seconds
    if repetition is not None:  # a series of mapping states none, and needs none
        notes.append(f"frame time unknown: TR {repetition:g} ms with {n_frames} frames is no heart cycle")
    return None


def _optional(info: Mapping[str, InfoValue], key: str, *, zero_allowed: bool = False) -> float | None:
    value = info.get(key)
    if isinstance(value, str) or value is None:
        return None
    return float(value) if value > 0 or (zero_allowed and value == 0) else None


def _number(info: Mapping[str, InfoValue], key: str) -> float:
    value = _optional(info, key)
    if value is None:
        raise MeasurementFailed(f"pixel size unknown: the header states no {key} (it says {info.get(key)!r})")
    return value
