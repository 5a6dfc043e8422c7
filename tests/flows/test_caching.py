"""A stage's result is believed only with its key and all its files unchanged."""

from pathlib import Path

from cohort.fingerprint import file_sha256
from flows.caching import is_complete, read_manifest, stage_key, write_manifest


def test_key_depends_on_everything() -> None:
    base = stage_key("reconstruct", 1, weights="a", options={"x": 1})
    assert base == stage_key("reconstruct", 1, options={"x": 1}, weights="a")
    others = [
        stage_key("segment", 1, weights="a", options={"x": 1}),
        stage_key("reconstruct", 2, weights="a", options={"x": 1}),
        stage_key("reconstruct", 1, weights="b", options={"x": 1}),
        stage_key("reconstruct", 1, weights="a", options={"x": 2}),
    ]
    assert len({base, *others}) == 5


def test_complete_only_while_nothing_changes(tmp_path: Path) -> None:
    data, manifest = tmp_path / "a.bin", tmp_path / "stage.json"
    data.write_bytes(b"result")
    assert not is_complete(manifest, key="k")
    write_manifest(manifest, key="k", files=[data], content={"n": 3})
    assert is_complete(manifest, key="k")
    assert read_manifest(manifest)["n"] == 3
    assert not is_complete(manifest, key="other")
    data.write_bytes(b"changed!")
    assert not is_complete(manifest, key="k")
    data.unlink()
    assert not is_complete(manifest, key="k")


def test_half_written_manifest_is_no_result(tmp_path: Path) -> None:
    manifest = tmp_path / "stage.json"
    for text in ("", "{", '{"key": "k"}', "[1]", '{"key": "k", "files": [1]}'):
        manifest.write_text(text)
        assert not is_complete(manifest, key="k")


def test_hash_follows_content(tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"x")
    other.write_bytes(b"x")
    assert file_sha256(one) == file_sha256(other)
