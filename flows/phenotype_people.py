"""Which series are of one person, and by which name of a folder does the table call him or her?

Numbers of patients in headers are no help alone: software that takes names away may leave the same number everywhere.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from pathlib import Path

from cohort.dicom_series import DicomSeries


def names_of_people(root: Path, found: Sequence[DicomSeries], *, others: Collection[str] = ()) -> list[str]:
    """The name of each series' patient.

    Series are of one person where the header's number of the patient is the same and they share a study or the first
    folder below the root. The name is that folder, where it holds all files of the person, or else the root's own; a number
    is added where several people would have one name.

    Parameters
    ----------
    root
        Folder of all files.
    found
        Series with their files.
    others
        Names in use, which no number may make.
    """
    groups = _people(root, found)
    firsts = [min(found[i].first_file for i in members) for members in groups]
    groups = [members for _, members in sorted(zip(firsts, groups, strict=True), key=lambda entry: entry[0])]
    wanted = [_folder_name(root, [path for i in members for path in found[i].files]) for members in groups]
    names = [""] * len(found)
    for members, name in zip(groups, apart(wanted, others=others), strict=True):
        for i in members:
            names[i] = name
    return names


def apart(names: Sequence[str], *, others: Collection[str] = ()) -> list[str]:
    """The same names, a number behind those that came before; what a number makes is nobody's name, nor one of `others`."""
    used, given = set(names) | set(others), set[str]()
    told = []
    for name in names:
        free = name
        if name in given:
            free = next(new for number in count(2) if (new := f"{name}-{number}") not in used)
        used.add(free)
        given.add(name)
        told.append(free)
    return told


def _people(root: Path, found: Sequence[DicomSeries]) -> list[list[int]]:
    """Numbers of the series of each person."""
    signs: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, series in enumerate(found):
        facts = series.frames[0].facts
        signs[facts.subject, "study", facts.study_uid].append(i)
        for folder in _first_folders(root, series.files):
            signs[facts.subject, "folder", folder].append(i)
    person = list(range(len(found)))
    for members in signs.values():
        merged = {person[i] for i in members}
        person = [min(merged) if number in merged else number for number in person]
    groups: dict[int, list[int]] = defaultdict(list)
    for i, number in enumerate(person):
        groups[number].append(i)
    return list(groups.values())


def _folder_name(root: Path, paths: Sequence[Path]) -> str:
    folders = _first_folders(root, paths)
    return folders.pop() or root.resolve().name if len(folders) == 1 else root.resolve().name


def _first_folders(root: Path, paths: Iterable[Path]) -> set[str]:
    """Folders right below the root that hold the files, empty for those in the root itself."""
    parts = [path.relative_to(root).parts for path in paths]
    return {part[0] if len(part) > 1 else "" for part in parts}
