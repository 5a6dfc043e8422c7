"""A disk whose power goes at a given step, and forgets what it was not made to keep.

Steps are what changes a disk: making and renaming files, making folders, taking away, and flushing. When the power goes,
that step and all after it do nothing. Then what no flush made sure of is undone: content is cut in half, and names, which
a disk may or may not have kept, are kept or lost as asked.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

Names = Literal["kept", "lost", "mixed"]


class PowerLoss(BaseException):
    """Nothing catches it: the machine is off."""


class Disk:
    """Counts steps on the files below a folder.

    Parameters
    ----------
    folder
        What is watched.
    lasts
        Steps that are done; None for all.
    fails_with
        An error for the steps after these instead of the power going, such as a full disk.
    """

    def __init__(self, folder: Path, *, lasts: int | None, fails_with: Callable[[], OSError] | None = None) -> None:
        self.folder, self.lasts, self.fails_with = folder, lasts, fails_with
        self.steps: list[str] = []
        # what lies there already is on the disk
        self.flushed = {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
        self.undo: list[tuple[Path, Callable[[], None]]] = []

    def step(self, what: str, path: Path) -> None:
        """Count one step, if the power is still there."""
        if self.lasts is not None and len(self.steps) >= self.lasts:
            raise self.fails_with() if self.fails_with else PowerLoss
        self.steps.append(f"{what} {path.name}")

    def watches(self, path: Any) -> bool:
        """Whether a path lies in the folder, or is the folder or above it."""
        return Path(path).is_relative_to(self.folder) or self.folder.is_relative_to(Path(path))

    def forget(self, names: Names) -> None:
        """What a disk does to what it was not made to keep; of names it loses all, none, or those of every other file."""
        files = [one for one in self.undo if not one[0].is_dir()]
        lost = {"kept": [], "lost": self.undo, "mixed": files[::2]}[names]
        for _, undo in reversed(lost):
            undo()
        for path in [file for file in self.folder.rglob("*") if file.is_file()]:
            if path.stat().st_ino not in self.flushed:
                os.truncate(path, path.stat().st_size // 2)


@contextmanager
def disk(folder: Path, *, lasts: int | None, fails_with: Callable[[], OSError] | None = None) -> Iterator[Disk]:
    """Watch a folder in this block."""
    made = Disk(folder, lasts=lasts, fails_with=fails_with)
    really_open, really_flush = os.open, os.fsync
    really_rename, really_remove, really_mkdir = Path.replace, Path.unlink, Path.mkdir

    def open_file(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and made.watches(path):
            made.step("make", Path(path))
        return really_open(path, flags, *rest, **options)

    def flush(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not made.watches(path):
            really_flush(descriptor)
            return
        made.step("flush", path)
        made.flushed.add(os.fstat(descriptor).st_ino)
        made.undo = [one for one in made.undo if one[0].parent != path]

    def rename(self: Path, target: Any) -> Path:
        if not made.watches(target):
            return really_rename(self, target)
        target = Path(target)
        made.step("rename", target)
        before = target.read_bytes() if target.exists() else None
        made.undo.append((target, lambda: put_back(target, before)))
        return really_rename(self, target)

    def remove(self: Path, missing_ok: bool = False) -> None:
        if made.watches(self) and self.exists():
            made.step("remove", self)
            before = self.read_bytes()
            made.undo.append((self, lambda: put_back(self, before)))
        really_remove(self, missing_ok=missing_ok)

    def make_folder(self: Path, *rest: Any, **options: Any) -> None:
        if made.watches(self) and not self.exists():
            made.step("folder", self)
            made.undo.append((self, lambda: shutil.rmtree(self, ignore_errors=True)))
        really_mkdir(self, *rest, **options)

    def put_back(path: Path, content: bytes | None) -> None:
        if content is None:
            really_remove(path, missing_ok=True)
        elif path.parent.is_dir():
            path.write_bytes(content)
            made.flushed.add(path.stat().st_ino)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", open_file)
        patch.setattr(os, "fsync", flush)
        patch.setattr(Path, "replace", rename)
        patch.setattr(Path, "unlink", remove)
        patch.setattr(Path, "mkdir", make_folder)
        yield made
