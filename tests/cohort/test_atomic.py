"""Is a file there whole or not at all?"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cohort import atomic
from cohort.atomic import remove, remove_unfinished, replacing, write_bytes, write_text


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/a.txt"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".part"
        temporary.write_text("whole", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_broken_block_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def break_off() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(error):
        break_off()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_users_permissions_are_kept(tmp_path: Path) -> None:
    """A plain file's permissions, not those of a private temporary one."""
    (tmp_path / "plain").touch()
    write_text(tmp_path / "ours", "text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_line_ends_are_not_translated(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "ä\r\nb\n")
    assert (tmp_path / "a").read_bytes() == "ä\r\nb\n".encode()


def test_a_secret_is_never_readable_by_others_not_even_while_it_is_written(tmp_path: Path) -> None:
    with replacing(tmp_path / "key", mode=0o600) as temporary:
        assert temporary.stat().st_mode & 0o077 == 0
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_the_disk_knows_a_file_before_its_name_and_a_folder_before_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of flushes and the rename: what a power loss can leave."""
    done: list[str] = []
    flush, rename = os.fsync, Path.replace

    def noted_flush(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        flush(descriptor)

    def noted_rename(self: Path, target: Path) -> Path:
        done.append(f"renamed to {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_flush)
    monkeypatch.setattr(Path, "replace", noted_rename)
    write_bytes(tmp_path / "run" / "scan" / "a", b"1")
    assert done[:2] == [tmp_path.name, "run"]
    assert done[2].endswith("-a.part")
    assert done[3:] == ["renamed to a", "scan"]


def test_the_first_error_is_told_where_the_disk_refuses_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(error: int) -> Callable[..., None]:
        def refused(*_: object, **__: object) -> None:
            raise OSError(error, os.strerror(error))

        return refused

    monkeypatch.setattr(os, "fsync", refuse(errno.ENOSPC))
    monkeypatch.setattr(Path, "unlink", refuse(errno.EROFS))
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a", "x")


def test_disks_that_cannot_flush_a_folder_are_used_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def files_only(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 (a descriptor)
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", files_only)
    write_text(tmp_path / "new" / "a", "x")
    assert (tmp_path / "new" / "a").read_text() == "x"


def test_what_killed_writers_left_is_found_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "scans" / "a.json", "{}")
    for left in (".writing-0011aabb-a.json.part", "scans/.writing-0011aabb-b.nii.gz.part"):
        (tmp_path / left).write_bytes(b"half")
    (tmp_path / "scans" / "theirs.part").write_bytes(b"of another program")
    assert remove_unfinished(tmp_path) == 2
    assert sorted(path.name for path in (tmp_path / "scans").iterdir()) == ["a.json", "theirs.part"]
    assert remove_unfinished(tmp_path / "not there") == 0


def test_a_file_that_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    remove(tmp_path / "a")
    remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
