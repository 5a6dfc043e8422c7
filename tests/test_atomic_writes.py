"""Does every write in the source go through cohort.atomic, so that half a file is never taken for a result?"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cohort", "recon", "phenotyping", "stats", "reports", "flows")
# attributes that write to a path or stream: always, or where they have a positional argument
WRITERS = {"write_text", "write_bytes", "to_parquet", "savefig", "savez", "savez_compressed", "save_as", "dcmwrite"}
WRITERS |= {"tofile", "to_filename", "WriteImage", "copyfile", "copy2", "copytree", "move", "rename", "symlink_to"}
WRITERS |= {"to_pickle", "to_hdf", "to_excel", "dump", "savetxt"}
WITH_ARGUMENT = {"to_csv", "save", "to_json", "to_html", "to_feather"}
OPENERS = {"open", "File", "ZipFile", "fdopen"}
# what need not be atomic, and why
ALLOWED = {
    ("cohort/atomic.py", "replacing"): "the rename that all others go through",
    ("cohort/matslices.py", "_unpacked"): "a scratch file in a temporary folder, gone with it",
    ("phenotyping/nnunet_dataset.py", "_write_volume"): "nnU-Net's training set, which is made anew whole",
    ("reports/render.py", "render_pdf"): "input of the typesetter in a temporary folder, gone with it",
    ("flows/dependency_audit.py", "audit"): "input of another program in a temporary folder, gone with it",
    ("flows/run_log.py", "_append"): "a log: whole lines are added, and no result is read from it",
    ("flows/prefect_server.py", "prefect_api"): "what a server says while it runs; nothing reads it as a result",
    ("flows/run_folders.py", "only_run"): "a lock: what counts is that it is held, not what is in it",
}


def unguarded(source: str) -> Iterator[tuple[str, int]]:
    """Function and line of every write that is not to the temporary file of `replacing` or to memory."""
    yield from _walk(ast.parse(source), function="", safe=frozenset())


def _walk(node: ast.AST, *, function: str, safe: frozenset[str]) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        function, safe = node.name, frozenset(_streams(node))
    if isinstance(node, ast.With):
        for item in node.items:
            # each item may use what those before it gave
            yield from _walk(item.context_expr, function=function, safe=safe)
            if isinstance(item.optional_vars, ast.Name) and _gives_safe(item.context_expr, safe):
                safe |= {item.optional_vars.id}
        for statement in node.body:
            yield from _walk(statement, function=function, safe=safe)
        return
    if isinstance(node, ast.Call) and _writes(node) and not _names(node) & safe:
        yield function, node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, function=function, safe=safe)


def _gives_safe(expression: ast.expr, safe: frozenset[str]) -> bool:
    """`replacing(...)`, or something opened of what is safe already."""
    return isinstance(expression, ast.Call) and bool(_names(expression) & (safe | {"replacing"}))


def _streams(function: ast.AST) -> Iterator[str]:
    """Names that hold io.BytesIO() or io.StringIO()."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            made = [ast.unparse(part.func) for part in ast.walk(node.value) if isinstance(part, ast.Call)]
            if any(name.endswith(("BytesIO", "StringIO")) for name in made):
                yield from (
                    name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)
                )


def _names(node: ast.Call) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    of = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if of in ("os", "shutil") and name in ("replace", "rename", "copy", "link", "write"):
        return True
    if of == "webbrowser":
        return False
    if of == "os" and name == "open":
        return any(word in ast.unparse(call) for word in ("O_CREAT", "O_WRONLY", "O_RDWR"))
    if name in OPENERS:
        modes = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
        return any(
            isinstance(m, str) and len(m) <= 3 and set(m) & set("wax+") and set(m) <= set("rwaxbt+") for m in modes
        )
    if isinstance(call.func, ast.Name):
        return False  # write_text and others of cohort.atomic
    if name == "replace":  # of a path: strings take two arguments, dates only named ones
        return len(call.args) == 1 and not call.keywords and of not in ("", "dataclasses")
    return name in WRITERS or (name in WITH_ARGUMENT and bool(call.args))


@cache
def found() -> dict[tuple[str, str], list[int]]:
    """Every unguarded write of the packages, by file and function."""
    lines: dict[tuple[str, str], list[int]] = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for function, line in unguarded(file.read_text(encoding="utf-8")):
                lines.setdefault((file.relative_to(ROOT).as_posix(), function), []).append(line)
    return lines


def test_every_write_is_atomic_or_has_a_reason() -> None:
    wrong = [f"{file}:{lines[0]} in {name}" for (file, name), lines in found().items() if (file, name) not in ALLOWED]
    assert not wrong, f"write through cohort.atomic.replacing, write_text or write_bytes: {'; '.join(wrong)}"


def test_no_reason_outlives_its_write() -> None:
    assert not set(ALLOWED) - set(found()), "an exception without a write; take it away"


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text('x')",
        "table.to_parquet(path)",
        "table.to_csv(path)",
        "open(path, 'w')",
        "path.open('r+b')",
        "path.open(mode='a')",
        "os.open(path, os.O_RDWR | os.O_CREAT)",
        "np.savez(path, a=1)",
        "torch.save(weights, path)",
        "h5py.File(path, 'w')",
        "os.replace(a, b)",
        "a.replace(b)",
        "shutil.copy(a, b)",
        "figure.savefig(path)",
        "json.dump(content, file)",
    ],
)
def test_the_check_sees_writes(line: str) -> None:
    assert list(unguarded(f"def f():\n    {line}\n")) == [("f", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "with replacing(path) as temporary:\n    table.to_parquet(temporary)",
        "with replacing(path) as temporary, temporary.open('wb') as file:\n    np.savez(file, a=1)",
        "stream = io.BytesIO()\nfigure.savefig(stream)",
        "write_text(path, table.to_csv(index=False))",
        "open(path)",
        "path.open('rb')",
        "name.replace('a', 'b')",
        "replace(options, out=path)",
    ],
)
def test_the_check_lets_pass_what_is_guarded(text: str) -> None:
    body = "\n".join(f"    {line}" for line in text.splitlines())
    assert list(unguarded(f"def f():\n{body}\n")) == []
