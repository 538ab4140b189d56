"""Crash points: by name and count, and listed and armed through a file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

PASSING = (
    "from tiffin.content import crash\nfor name in ('one', 'two', 'one'): crash.point(name); print(name, flush=True)"
)


def passing(at: str) -> tuple[int, list[str]]:
    """How a process ends that passes one, two, one, and what it survived."""
    environment = {**os.environ, "TIFFIN_CRASH_AT": at}
    done = subprocess.run([sys.executable, "-c", PASSING], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout.split()


def test_a_point_is_fatal_at_the_passage_that_is_named() -> None:
    assert passing("") == (0, ["one", "two", "one"])
    assert passing("two") == (-signal.SIGKILL, ["one"])
    assert passing("one:2") == (-signal.SIGKILL, ["one", "two"])
    assert passing("three") == (0, ["one", "two", "one"])


def test_a_file_lists_the_points_and_arms_one_of_them(tmp_path: Path) -> None:
    file, seen = tmp_path / "points", tmp_path / "points.seen"
    assert passing(f"@{file}") == (0, ["one", "two", "one"])
    assert not seen.exists()
    file.write_text("0")
    assert passing(f"@{file}") == (0, ["one", "two", "one"])
    assert seen.read_text().split() == ["one", "two", "one"]
    seen.unlink()
    file.write_text("2")
    assert passing(f"@{file}") == (-signal.SIGKILL, ["one"])
