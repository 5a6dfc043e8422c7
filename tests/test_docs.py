"""The documentation holds: examples run, configurations load, command lines parse, links and pictures exist."""

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest
import typer

from cohort.phenotypes import VOCABULARY
from flows.cli import app
from flows.config import SECTIONS, ValidationConfig, load_config
from flows.margins import load_margins
from recon.inference import METHODS
from recon.sampling import PATTERNS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MAKE_TARGETS = ("demo", "test", "check", "audit", "env", "clean")


def blocks(*languages: str) -> list[object]:
    """Every fenced block of a language, as pytest parameters named by page and line."""
    found: list[object] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[2] in languages:
                code = "\n".join(line.removeprefix(match[1]) for line in match[3].split("\n"))
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(code, id=f"{page.name}:{line}"))
    return found


def command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The (sub)command that a line names, and the words that remain for it."""
    found: click.Command = typer.main.get_command(app)
    while hasattr(found, "commands"):
        assert words, f"{found.name}: no command given"
        assert words[0] in found.commands, f"no command {words[0]!r}; there are {', '.join(found.commands)}"
        found, words = found.commands[words[0]], words[1:]
    return found, words


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("text", blocks("toml"))
def test_toml_examples_load(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(text, encoding="utf-8")
    if "margins" in tomllib.loads(text):
        assert load_margins(path).by_phenotype
    else:
        assert load_config(path).arms()


def test_example_configuration_holds_every_option_at_its_default() -> None:
    path = ROOT / "flows" / "configs" / "example.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    config = load_config(path)
    assert config == ValidationConfig(name=config.name, cohort=config.cohort, out=config.out)
    assert set(table) == {"study", *SECTIONS}
    assert set(table["study"]) == {"name", "title", "cohort", "out"}
    for name, kind in SECTIONS.items():
        assert set(table[name]) == {field.name for field in fields(kind)}, f"[{name}]"
    assert path.read_text(encoding="utf-8") in (ROOT / "docs" / "validate.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", blocks("sh", "console"))
def test_command_lines_parse(text: str) -> None:
    for line in filter(None, text.splitlines()):
        program, *words = shlex.split(line, comments=True)
        if program == "make":
            assert words[0] in MAKE_TARGETS
            continue
        assert Path(program).name == "cardioval", f"unknown program in {line!r}"
        found, rest = command(words)
        found.make_context(found.name, list(rest))


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in MAKE_TARGETS)


def test_every_method_pattern_and_phenotype_is_described() -> None:
    reconstruct, measure = (
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("reconstruct", "measure")
    )
    assert not [name for name in (*METHODS, *PATTERNS) if f"`{name}`" not in reconstruct]
    assert not [name for name in VOCABULARY if f"`{name}`" not in measure]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if not target.startswith(("https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_named_in_code_marks_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    tops = ("cohort/", "recon/", "phenotyping/", "stats/", "reports/", "flows/", "tests/", "docs/")
    for name in re.findall(r"`([\w./-]+)`", text):
        if name.startswith(tops):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_have_alternative_text(page: Path) -> None:
    for alt in re.findall(r"!\[([^\]]*)\]\(", page.read_text(encoding="utf-8")):
        assert len(alt) > 20, f"{page.name}: a picture needs a description"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_belong_to_no_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    hosts = {
        host for host in re.findall(r"https?://([\w.-]+)", text) if host not in ("doi.org", "127.0.0.1", "10.0.0.2")
    }
    assert not hosts, f"{page.name} names {hosts}"
    wrong = re.search(
        r"(?<![\w.~])/(work|home|root|tmp|mnt|Users|opt)/|\bsession\b|pypi|--index-url", text, re.IGNORECASE
    )
    assert wrong is None, f"{page.name}: {wrong}"
