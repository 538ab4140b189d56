"""The table of commands and the modules agree."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tiffin.cli import help, registry
from tiffin.cli.main import load


@pytest.mark.parametrize("path", registry.COMMANDS)
def test_every_listed_command_is_there_and_has_help(path: str) -> None:
    command = load(path)
    assert command.path == path
    assert help.of_command(path, command).startswith(f"Usage:  tiffin {path}")


def test_version_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import tiffin.cli.main as m; m.print_version(); "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].split() == ["__future__", "tiffin", "tiffin.cli", "tiffin.cli.main"]


def test_run_imports_nothing_that_costs() -> None:
    needed = "tiffin.cli.run, tiffin.cli.session, tiffin.client.engine, tiffin.client.settings"
    code = f"import sys; sys.path[:0] = {sys.path!r}; import {needed}; print(*sys.modules)"
    # -S: what editable installs import is not ours
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    costly = "click rich msgspec h11 http.client asyncio typing dataclasses inspect subprocess email"
    assert not set(costly.split()) & set(done.stdout.split())
