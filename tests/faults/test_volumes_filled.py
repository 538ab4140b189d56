"""A new volume has all of what the image has at its place, or nothing, also when the daemon is killed meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from rig import Engine, eventually

pytestmark = pytest.mark.root

_FILES = 5000


@pytest.mark.parametrize("after", [1, _FILES // 2])
def test_a_volume_that_was_being_filled_is_filled_anew(start_engine: Callable[..., Engine], after: int) -> None:
    engine = start_engine(images=("busybox",))
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
    assert docker("start", "-a", "user").out.strip() == str(_FILES)
