"""A new volume has all of what the image has at its place, or nothing, also when the daemon is killed meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from rig import Cli, Engine, eventually

pytestmark = pytest.mark.root

_FILES = 5000


def kill_while_filling(engine: Engine, after: int) -> Cli:
    """Kills the daemon when so many of the image's files are in the volume `new`; it is there again."""
    docker = engine.cli()
    many = f"mkdir /data; cd /data; for n in $(seq {_FILES}); do > $n; done"
    docker("run", "--name", "box", "busybox", "sh", "-c", many)
    docker("commit", "box", "full")
    docker("create", "--name", "user", "-v", "new:/data", "full", "sh", "-c", "ls /data | wc -l")
    place = engine.data_root / "volumes" / "new" / "_data"
    starting = docker.start("start", "-a", "user", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: sum(1 for _ in place.iterdir()) >= after, every=0)
    engine.kill()
    starting.communicate()
    engine.start()
    return docker


@pytest.mark.parametrize("after", [1, _FILES // 2])
def test_a_volume_that_was_being_filled_is_filled_anew(start_engine: Callable[..., Engine], after: int) -> None:
    docker = kill_while_filling(start_engine(), after)
    assert docker("start", "-a", "user").out.strip() == str(_FILES)


def test_who_wants_nothing_copied_sees_no_part_of_it(start_engine: Callable[..., Engine]) -> None:
    docker = kill_while_filling(start_engine(), 1)
    seen = docker("run", "--rm", "-v", "new:/data:nocopy", "busybox", "sh", "-c", "ls /data | wc -l").line
    assert seen in ("0", str(_FILES))  # a quick machine was done when the daemon was killed
