"""The import arrows between the packages hold, and every package imported is the one in this tree."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "cohort": set(),
    "recon": {"cohort"},
    "phenotyping": {"cohort", "recon.signal_models"},
    "stats": set(),
    "reports": {"cohort", "stats"},
    "flows": {"cohort", "recon", "phenotyping", "stats", "reports"},
}


def imported_modules(file: Path) -> set[str]:
    """Absolute names of everything a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; the project uses absolute ones"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_follow_the_arrows(package: str) -> None:
    for file in sorted((ROOT / package).rglob("*.py")):
        for name in imported_modules(file):
            top = name.split(".")[0]
            if top not in ALLOWED or top == package:
                continue
            allowed = any(name == a or name.startswith(a + ".") for a in ALLOWED[package])
            assert allowed, f"{file.relative_to(ROOT)} imports {name}, which {package} may not"


def test_light_rooms_stay_light() -> None:
    for file in (ROOT / "cohort").rglob("*.py"):
        assert not any(n.split(".")[0] == "torch" for n in imported_modules(file)), f"{file} imports torch"
    for file in ROOT.rglob("*.py"):
        if ".venv" in file.parts or file.relative_to(ROOT).as_posix() == "phenotyping/nnunet.py":
            continue
        heavy = {n for n in imported_modules(file) if n.split(".")[0] == "nnunetv2"}
        assert not heavy, f"{file} imports nnunetv2; only phenotyping/nnunet.py may"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_each_package_is_the_one_in_this_tree(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve().parent == ROOT / package


def test_no_flow_shadows_a_package() -> None:
    names = {file.stem for file in (ROOT / "flows").glob("*.py")}
    assert not names & set(ALLOWED), "a file in flows/ with a package's name shadows it in Prefect file entrypoints"
