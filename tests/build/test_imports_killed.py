"""The daemon dies while layers of an imported cache come: what has come is whole, and nothing is left over."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from build import building
from build.test_builds_killed import findings, leftovers
from rig import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1800)]

DOCKERFILE = "FROM busybox\nRUN echo one > /x\nCOPY file /y\nRUN cat /x /y > /z\n"


def test_an_import_is_whole_or_repeated_wherever_the_daemon_dies(
    start_engine: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed, seen, place = tmp_path / "points", tmp_path / "points.seen", tmp_path / "cache"
    monkeypatch.setenv("TIFFIN_CRASH_AT", f"@{armed}")
    engine = start_engine(kind="tiffin")
    tiffin = engine.cli("tiffin")
    directory = building.write(tmp_path / "source", DOCKERFILE, {"file": "content"})

    def build(*options: str) -> str:
        words = ("build", "--progress", "plain", *options, str(directory))
        done = subprocess.run(
            tiffin.argv(*words),
            env=tiffin._env({}),
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout + done.stderr

    taken = ("-t", "taken", "--cache-from", f"type=local,src={place}")
    assert "exporting cache" in build("--cache-to", f"type=local,dest={place},mode=max")
    tiffin("builder", "prune", "-af")
    armed.write_text("0")
    seen.unlink(missing_ok=True)
    assert build(*taken).count("CACHED") == 4
    points = seen.read_text().split()
    assert {"blob-renamed", "ledger-commit"} <= set(points)
    for number in range(1, len(points) + 1):
        armed.unlink(missing_ok=True)
        tiffin("rmi", "-f", "taken", check=False)
        tiffin("builder", "prune", "-af")
        seen.unlink(missing_ok=True)
        armed.write_text(str(number))
        build(*taken)
        armed.unlink()
        assert engine.daemon is not None
        if engine.daemon.poll() is None:
            continue
        engine.start()
        assert findings(engine) == [], points[number - 1]
        assert leftovers(engine) == [], points[number - 1]
        assert build(*taken).count("CACHED") == 4, points[number - 1]
        assert tiffin("run", "--rm", "taken", "cat", "/z").out == "one\ncontent"
