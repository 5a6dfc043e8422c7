"""Which series are under a folder of DICOM files, and what is each: a short-axis cine, a mapping series, something else?

Files are told apart by their series and by magnitude or phase, never by their names. Stacks that a scanner stored as
one series a slice are put together again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from cohort.dicom_headers import Frame, read_frames
from cohort.dicom_words import LONG_AXIS, NO_CINE, SCOUT, SHORT_AXIS, spread_s
from cohort.records import FileProblem, UnreadableFile

Kind = Literal["cine", "T1 mapping", "T2 mapping", "T2* mapping", "other"]

PARALLEL: Final = 1 - 1e-4
POSITION_TOLERANCE_MM: Final = 0.05
MIN_STACK: Final = 3
MIN_POSITIONS: Final = 3  # two of them have an order by chance
#: T1 mapping series have 3 to about 15 inversion times; scouts that look for the myocardium's null point have more
MAX_INVERSION_TIMES: Final = 20
#: at 24 beats a minute; trigger times of a cine are within a beat
LONGEST_BEAT_MS: Final = 2500.0
#: images of one slice of a cine are taken together, and scanners give them one time of acquisition or times of one beat
LONGEST_CINE_S: Final = 2 * LONGEST_BEAT_MS / 1000
PREAMBLE_BYTES: Final = 128


@dataclass(frozen=True)
class DicomSeries:
    """Images that belong together.

    `phase` are those of the same places and times that hold the phase, if there are any; `reason` says why a series is
    `other`; `merged` is how many series of the scanner it was put together from.
    """

    kind: Kind
    frames: tuple[Frame, ...]
    phase: tuple[Frame, ...] = ()
    reason: str = ""
    merged: int = 1

    @property
    def number(self) -> int:
        """The scanner's number of the series, the lowest of those put together."""
        return min(frame.facts.series_number for frame in self.frames)

    @property
    def first_file(self) -> Path:
        """The file that stands for the series in messages."""
        return min(frame.path for frame in self.frames)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, sorted."""
        return tuple(sorted({frame.path for frame in (*self.frames, *self.phase)}))


def find_series(paths: Iterable[Path]) -> tuple[list[DicomSeries], list[FileProblem]]:
    """Read headers, and say what each series is.

    Parameters
    ----------
    paths
        Files; those that are no DICOM files are passed over.

    Returns
    -------
    Series by number and place, and the files that claim to be DICOM images but cannot be read.
    """
    frames: list[Frame] = []
    problems: list[FileProblem] = []
    for path in sorted(paths):
        if not looks_like_dicom(path):
            continue
        try:
            frames += read_frames(path)
        except FileProblem as problem:
            problems.append(problem)
    return sort_into_series(frames), problems


def looks_like_dicom(path: Path) -> bool:
    """Whether the file has DICOM's mark, or at least its name; a directory of files (DICOMDIR) is no image."""
    if path.name.upper() == "DICOMDIR" or path.name.startswith("."):
        return False
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(PREAMBLE_BYTES + 4)[PREAMBLE_BYTES:] == b"DICM"
    except OSError:
        return False


def sort_into_series(frames: Sequence[Frame]) -> list[DicomSeries]:
    """Group frames, whatever order they come in, and classify each group."""
    groups: dict[tuple[str, str, str], list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=lambda f: (f.path, f.index or 0)):
        groups[frame.facts.study_uid, frame.facts.series_uid, frame.component].append(frame)
    found = [
        DicomSeries(kind, tuple(members), reason=reason)
        for (_, _, component), members in groups.items()
        for kind, reason in [classify(members) if component == "magnitude" else ("other", NOT_MAGNITUDE[component])]
    ]
    found = _merged(_with_phase(found))
    found = [_short_axis_only(series) for series in found]
    return sorted(found, key=lambda series: (series.frames[0].facts.study_uid, series.number, series.first_file))


NOT_MAGNITUDE = {
    "phase": "phase images, or a map marked so, without magnitude images of the same places and times",
    "other": "neither magnitude nor phase images (a map, a color picture, a localizer or another modality)",
}


def classify(frames: Sequence[Frame]) -> tuple[Kind, str]:
    """What magnitude images of one series are, by the times that differ within a slice."""
    slices = by_position(frames)
    inversions, preparations, echoes, triggers = (
        min(len({round(t, 1) for f in part if (t := getattr(f, name)) is not None}) for part in slices)
        for name in ("inversion_ms", "preparation_ms", "echo_ms", "trigger_ms")
    )
    facts = frames[0].facts
    if inversions >= 3:
        if inversions > MAX_INVERSION_TIMES or SCOUT in facts.words:
            return "other", f"{inversions} inversion times: looks like a scout for the inversion time"
        return "T1 mapping", ""
    if preparations >= 2:
        return "T2 mapping", ""
    if echoes >= 3:
        return ("T2* mapping", "") if facts.gradient_echo else ("T2 mapping", "")
    if triggers >= 2:
        reason = why_no_cine(slices)
        return ("other", reason) if reason else ("cine", "")
    if min(len(part) for part in slices) >= 2 and all(f.trigger_ms is None for f in frames):
        return "other", "several images a slice, but neither trigger nor inversion nor echo nor preparation times"
    return "other", "one time a slice: neither a cine nor a mapping series"


def why_no_cine(slices: Sequence[Sequence[Frame]]) -> str:
    """What shows that images with trigger times are of many beats or of another kind, empty where nothing does.

    Perfusion, dynamic and real-time series have trigger times too, and a volume curve over them means nothing. Each sign has
    to be there in every slice, so that a slice that was taken twice is not one.
    """
    known = [word for word in NO_CINE if word in slices[0][0].facts.words]
    if known:
        return f"{known[0]} by its description: not a cine"
    triggers = [[f.trigger_ms for f in part if f.trigger_ms is not None] for part in slices]
    longest_ms = min(max(times) - min(times) for times in triggers)
    if longest_ms > LONGEST_BEAT_MS:
        return (
            f"trigger times over {longest_ms / 1000:.1f} s, more than a beat: a dynamic or real-time series, not a cine"
        )
    taken_s = min(spread_s(f.acquired_s for f in part if f.acquired_s is not None) for part in slices)
    if taken_s > LONGEST_CINE_S:
        return f"images of a slice were taken over {taken_s:.0f} s, one after the other: a dynamic series, not a cine"
    if all(_against_time(part) for part in slices):
        return "temporal positions that do not rise with the trigger time: a dynamic series, not a cine"
    return ""


def _against_time(part: Sequence[Frame]) -> bool:
    """Whether three or more temporal positions of a slice have another order than its trigger times (scanners may number
    the phases of a cine by them)."""
    known = [
        (f.temporal_position, f.trigger_ms)
        for f in part
        if f.temporal_position is not None and f.trigger_ms is not None
    ]
    times = [time for _, time in sorted(known)]
    return len({position for position, _ in known}) >= MIN_POSITIONS and times != sorted(times)


def by_position(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames of each slice, by rising position along the normal of the plane that most of them share."""
    normal = common_normal(frames)
    place = np.array([float(np.dot(frame.position, normal)) for frame in frames])
    order = np.argsort(place, kind="stable")
    cuts = np.flatnonzero(np.diff(place[order]) > POSITION_TOLERANCE_MM) + 1
    return [[frames[i] for i in part] for part in np.split(order, cuts)]


def common_normal(frames: Sequence[Frame]) -> np.ndarray:
    """Normal of the plane that most frames share."""
    return majority(frames).normal


def majority(frames: Sequence[Frame]) -> Frame:
    """A frame of the orientation that most have; the same one whatever their order."""
    counts: dict[tuple[float, ...], int] = defaultdict(int)
    for frame in frames:
        counts[tuple(np.round(frame.orientation, 3))] += 1
    most = max(sorted(counts), key=lambda orientation: counts[orientation])
    return min((f for f in frames if tuple(np.round(f.orientation, 3)) == most), key=lambda f: (f.path, f.index or 0))


def check_parallel(frames: Sequence[Frame]) -> None:
    """Raise UnreadableFile for the first file whose plane is not parallel to, or not as large as, the others'."""
    reference = majority(frames)
    for frame in sorted(frames, key=lambda f: (f.path, f.index or 0)):
        if float(frame.normal @ reference.normal) < PARALLEL:
            raise UnreadableFile(frame.path, "its plane is not parallel to the others'; give each stack its own folder")
    sizes = [(frame.rows, frame.columns) for frame in frames]
    usual = max(sorted(set(sizes)), key=sizes.count)
    for frame, size in zip(frames, sizes, strict=True):
        if size != usual:
            raise UnreadableFile(frame.path, f"is {size[0]} x {size[1]}, others {usual[0]} x {usual[1]}")
    for frame in frames:
        if not np.allclose(frame.pixel_mm, reference.pixel_mm, rtol=1e-3):
            mm = [f"{y:g} x {x:g}" for y, x in (frame.pixel_mm, reference.pixel_mm)]
            raise UnreadableFile(frame.path, f"has pixels of {mm[0]} mm, others {mm[1]} mm")


def _with_phase(found: list[DicomSeries]) -> list[DicomSeries]:
    """Attach phase images to the magnitude images of the same study, places and times."""
    phases = {_content(series): series for series in found if series.frames[0].component == "phase"}
    paired = [
        replace(series, phase=phases[_content(series)].frames)
        if series.kind == "T1 mapping" and _content(series) in phases
        else series
        for series in found
    ]
    used = {id(phases[_content(series)]) for series in paired if series.phase}
    return [series for series in paired if id(series) not in used]


def _content(series: DicomSeries) -> tuple[object, ...]:
    places = sorted((*(round(v, 1) for v in frame.position), frame.inversion_ms or -1.0) for frame in series.frames)
    return (series.frames[0].facts.study_uid, series.frames[0].facts.frame_of_reference, *places)


def _merged(found: list[DicomSeries]) -> list[DicomSeries]:
    """Put one-slice series of one stack together: same study, orientation, size, pixels and number of frames."""
    stacks: dict[tuple[object, ...], list[DicomSeries]] = defaultdict(list)
    rest: list[DicomSeries] = []
    for series in found:
        frame = series.frames[0]
        if series.kind == "other" or len(by_position(series.frames)) > 1:
            rest.append(series)
            continue
        shape = (frame.rows, frame.columns, *np.round(frame.pixel_mm, 3), *np.round(frame.orientation, 2))
        same = (frame.facts.study_uid, frame.facts.frame_of_reference, series.kind, len(series.frames), *shape)
        stacks[same].append(series)
    for parts in stacks.values():
        whole = tuple(frame for part in parts for frame in part.frames)
        if len(parts) >= MIN_STACK and len(by_position(whole)) == len(parts):
            phase = tuple(frame for part in parts for frame in part.phase)
            rest.append(replace(parts[0], frames=whole, phase=phase, merged=len(parts)))
        else:
            rest += parts
    return rest


def _short_axis_only(series: DicomSeries) -> DicomSeries:
    """A cine is measured where it is a stack of slices across the heart; by its name, and where that says nothing, by
    the number of its slices."""
    if series.kind != "cine":
        return series
    words, n_slices = series.frames[0].facts.words, len(by_position(series.frames))
    short = SHORT_AXIS in words
    if LONG_AXIS in words and not short:
        return replace(series, kind="other", reason="a cine, but not of the short axis by its description")
    if n_slices < MIN_STACK and not short:
        reason = (
            f"a cine of {n_slices} slice{'s' * (n_slices > 1)}: long-axis or incomplete; a short-axis stack is measured"
        )
        return replace(series, kind="other", reason=reason)
    return series
