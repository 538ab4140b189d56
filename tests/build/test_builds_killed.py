"""The daemon dies in the middle of builds: what was finished is kept, what was not leaves nothing."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from build import building
from rig import Engine, eventually
from rig.machine import CGROUPS

pytestmark = [pytest.mark.root, pytest.mark.slow]

STEPS = 4
# what follows the first step's own: all of them end within a second or so
PAIR = "RUN sleep 0.1; head -c 200000 /dev/urandom > /made{0}\nCOPY file /copied{0}\n"
DOCKERFILE = "FROM busybox\n" + "".join(PAIR.format(number) for number in range(STEPS))


def findings(engine: Engine) -> list[str]:
    """What `system check` finds wrong."""
    out = engine.run("curl", "-sS", "--unix-socket", str(engine.socket), "-X", "POST", "http://engine/system/check")
    return [f"{one['Kind']} {one['Subject']}: {one['Problem']}" for one in json.loads(out)["Findings"]]


def leftovers(engine: Engine) -> list[str]:
    """Directories and control groups of RUNs, scratch space."""
    roots = (engine.exec_root / "containers", engine.exec_root / "build", engine.data_root / "build" / "scratch")
    found = [str(path) for root in roots if root.exists() for path in root.iterdir()]
    parent = engine.machine.cgroup_parent.lstrip("/")
    return found + [str(path) for path in CGROUPS.glob(f"*/{parent}/*") if len(path.name) == 64]


def start_build(engine: Engine, directory: Path) -> subprocess.Popen[bytes]:
    """A build in the background."""
    command = engine.cli("docker").argv("build", "-t", "killed", str(directory))
    environment = {**engine.cli("docker")._env({"DOCKER_BUILDKIT": "0"})}
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def told(engine: Engine, directory: Path) -> int:
    """How many steps a further build found in the cache."""
    built = building.build(engine, directory, image="killed", timeout=300)
    assert built.rc == 0, built.out
    return built.out.count("Using cache")


@pytest.mark.timeout(1800)
def test_fifty_kills_in_the_middle_of_builds(start_engine: Callable[..., Engine], tmp_path: Path) -> None:
    engine = start_engine(kind="tiffin")
    source = random.Random(50)
    for number in range(50):
        directory = building.write(tmp_path / f"{number}", DOCKERFILE, {"file": f"of {number}"})
        build = start_build(engine, directory)
        finished = 0
        assert build.stdout is not None
        # a line ` ---> id` ends a step; the first is the base's
        wanted = source.randrange(1, 2 * STEPS)
        for line in build.stdout:
            finished += line.startswith(b" ---> ") and b"Running" not in line and b"Using" not in line
            if finished > wanted:
                break
        time.sleep(source.random() / 5)
        engine.kill()
        build.stdout.close()
        build.wait(60)
        engine.start()
        assert findings(engine) == []
        assert leftovers(engine) == []
        assert told(engine, directory) >= wanted
        with_rubbish = engine.data_root / "content" / "ingest"
        assert list(with_rubbish.iterdir()) == []


@pytest.mark.timeout(1800)
def test_a_build_is_whole_or_repeated_wherever_the_daemon_dies(
    start_engine: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed, seen = tmp_path / "points", tmp_path / "points.seen"
    monkeypatch.setenv("TIFFIN_CRASH_AT", f"@{armed}")
    engine = start_engine(kind="tiffin")
    docker = engine.cli("docker")
    files = {"file": "content"}
    directory = building.write(tmp_path / "first", "FROM busybox\nRUN echo 0 > /x\nCOPY file /y", files)
    armed.write_text("0")
    seen.unlink(missing_ok=True)
    assert building.build(engine, directory, image="killed").rc == 0
    points = seen.read_text().split()
    assert {"build-blob-written", "build-layer-applied", "ledger-commit"} <= set(points)
    armed.unlink()
    for number in range(1, len(points) + 1):
        directory = building.write(
            tmp_path / f"{number}", f"FROM busybox\nRUN echo {number} > /x\nCOPY file /y", {"file": f"c{number}"}
        )
        seen.unlink(missing_ok=True)
        armed.write_text(str(number))
        building.build(engine, directory, image="killed")
        armed.unlink()
        assert engine.daemon is not None
        if engine.daemon.poll() is None:
            continue  # this build passed fewer points
        engine.start()
        assert findings(engine) == [], points[number - 1]
        assert leftovers(engine) == [], points[number - 1]
        assert building.build(engine, directory, image="killed").rc == 0
        assert docker("run", "--rm", "killed", "cat", "/x", "/y").out == f"{number}\nc{number}"


def test_a_run_ends_with_a_daemon_that_comes_back(start_engine: Callable[..., Engine], tmp_path: Path) -> None:
    engine = start_engine(kind="tiffin")
    directory = building.write(tmp_path, "FROM busybox\nRUN echo begun; sleep 7654", {})
    build = start_build(engine, directory)
    assert build.stdout is not None
    next(line for line in build.stdout if line == b"begun\n")
    engine.kill()
    build.stdout.close()
    build.wait(60)
    assert any(b"7654" in command for command in _commands())
    engine.start()
    eventually(lambda: not any(b"7654" in command for command in _commands()), within=60)
    assert leftovers(engine) == []


def _commands() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return [one for one in found if one.startswith(b"sleep")]
