"""Which files of a folder are taken for images?"""

from pathlib import Path

from flows.phenotype_inputs import find_images


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (elsewhere / "cine.nii.gz").write_bytes(b"of another study")
    (root / "cine.nii.gz").symlink_to(elsewhere / "cine.nii.gz")
    (root / "loop.nii").symlink_to(root / "loop.nii")
    (root / "folder").symlink_to(elsewhere)
    series, problems = find_images(root)
    assert series == []
    assert {problem.path.name: problem.reason for problem in problems} == dict.fromkeys(
        ("cine.nii.gz", "loop.nii"), "symbolic link out of the folder; not followed, put the file itself here"
    )
