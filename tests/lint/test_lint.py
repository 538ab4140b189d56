"""Linters as tests: what style asks for and a program can check."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
# what a fork would carry into every monitor and stage
HEAVY = {"json", "typing", "dataclasses", "logging", "asyncio", "msgspec", "re", "threading", "tiffin.model"}


def python_files() -> Iterator[Path]:
    """Every Python file of the project: what git knows, and what is about to be added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:  # an exported tree
        names = [
            str(path.relative_to(ROOT)) for top in ("src", "tests", "bench") for path in (ROOT / top).rglob("*.py")
        ]
    return (ROOT / name for name in names if (ROOT / name).exists())


def check(*command: str) -> None:
    done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_ruff_finds_nothing() -> None:
    check("ruff", "check", "--output-format=concise", "src", "tests", "bench")


def test_the_code_is_formatted() -> None:
    check("ruff", "format", "--check", "src", "tests", "bench")


@pytest.mark.timeout(600)
def test_mypy_is_content_with_every_type() -> None:
    check("mypy")


@pytest.mark.timeout(300)
def test_the_layers_import_only_downwards() -> None:
    check("lint-imports")


def test_no_file_has_400_lines() -> None:
    sizes = {path.relative_to(ROOT): len(path.read_bytes().splitlines()) for path in python_files()}
    assert {path: size for path, size in sizes.items() if size >= 400} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in python_files() if FORBIDDEN_NAMES & {path.stem, path.parent.name}] == []


def test_every_module_says_what_it_is_for() -> None:
    missing = []
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        if path.stat().st_size and not ast.get_docstring(tree):
            missing.append(path.relative_to(ROOT))
    assert missing == []


def test_every_skip_and_xfail_gives_a_reason() -> None:
    bare = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if silent(node):
                bare.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    assert bare == []


def silent(node: ast.AST) -> bool:
    """A pytest.skip, mark.skip, mark.skipif or mark.xfail that gives no reason."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name, reasons = node.func.attr, [keyword.arg for keyword in node.keywords]
        if ast.unparse(node.func) == "pytest.skip":
            return not node.args and "reason" not in reasons
        if ast.unparse(node.func).startswith("pytest.mark.") and name in ("skip", "skipif", "xfail"):
            return "reason" not in reasons
    return False


def test_the_forkserver_imports_next_to_nothing() -> None:
    if not (ROOT / "src/tiffin/runtime/forkserver.py").exists():
        pytest.skip("there is no forkserver module in this tree")
    program = "before = set(sys.modules); import tiffin.runtime.forkserver; print(*set(sys.modules) - before)"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {program}"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & {name for module in loaded for name in (module, module.split(".")[0])} == set()
    assert [name for name in loaded if name.startswith(("tiffin.model", "tiffin.wire"))] == []


def test_pyproject_names_no_dependency_that_is_not_explained() -> None:
    explained = (ROOT / "docs/dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = [requirement.split(";")[0].split(">")[0].split("=")[0].split("[")[0].strip() for requirement in wanted]
    assert [name for name in names if f"| {name} " not in explained and f"`{name}`" not in explained] == []
