"""The daemon dies while images come and go."""

import os
from collections.abc import Callable

from rig import Engine, archives, eventually


def test_a_daemon_killed_while_it_loads_has_whole_images_afterwards(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(kind="tiffin")  # dockerd's own containerd outlives it and holds its root
    docker = engine.cli("docker")
    before = docker("images", "--no-trunc", "-q").out
    data = archives.busybox().read_bytes()
    loading = docker.start("load")
    assert loading.stdin is not None
    loading.stdin.write(data[: len(data) // 2])
    loading.stdin.flush()
    ingest = engine.data_root / "content/ingest"
    eventually(lambda: not ingest.exists() or any(ingest.iterdir()), what="the load has begun")
    engine.kill()
    loading.stdin.close()
    assert loading.wait(60) != 0
    engine.start()
    assert docker("images", "--no-trunc", "-q").out == before
    assert not ingest.exists() or os.listdir(ingest) == []
    assert docker("run", "--rm", "busybox", "echo", "hi").out == "hi\n"
    engine.loaded.clear()
    engine.load("busybox")


def test_images_and_their_layers_survive_a_killed_daemon(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(kind="tiffin")  # dockerd's own containerd outlives it and holds its root
    docker = engine.cli("docker")
    docker("run", "--name", "made", "busybox", "sh", "-c", "echo kept > /file")
    image = docker("commit", "made", "made:1").line
    engine.kill()
    engine.start()
    assert docker("images", "-q", "--no-trunc", "made").line == image
    assert docker("run", "--rm", "made:1", "cat", "/file").out == "kept\n"
    assert docker("start", "-a", "made").rc == 0
    docker("rm", "made")
    docker("rmi", "made:1")
    assert docker("run", "--rm", "busybox", "echo", "hi").out == "hi\n"
