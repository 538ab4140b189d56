"""The daemon dies at each durable step of a pull; it ends in time when it is told to in the middle of one."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.served import serve
from rig import Engine, eventually
from rig.registries import Exchange, fake


def blobs(engine: Engine) -> set[str]:
    """What there is of blobs, whole or in part."""
    folders = [engine.data_root / "content" / name for name in ("blobs/sha256", "partial", "ingest")]
    return {path.name for folder in folders if folder.exists() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_pull_is_whole_or_repeated_wherever_the_daemon_dies(
    start_engine: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed, seen = tmp_path / "points", tmp_path / "points.seen"
    monkeypatch.setenv("TIFFIN_CRASH_AT", f"@{armed}")
    engine = start_engine(kind="tiffin", images=())
    docker = engine.cli("docker")
    with fake(engine) as registry:
        serve(registry, 2)
        name = f"{registry.address}/x:1"
        before = blobs(engine)
        armed.write_text("0")
        docker("pull", name)
        points = seen.read_text().split()
        assert {"partial-complete", "partial-renamed", "ledger-commit"} <= set(points)
        docker("rmi", name)
        armed.unlink()
        for number in range(1, len(points) + 1):
            seen.unlink(missing_ok=True)
            armed.write_text(str(number))
            docker("pull", name, check=False)
            armed.unlink()
            assert engine.daemon is not None
            engine.daemon.wait(30)
            engine.start()
            docker("pull", name)
            docker("rmi", name)
            assert blobs(engine) == before, f"left after {points[number - 1]}"


def test_a_daemon_that_is_told_to_end_does_not_wait_for_a_download(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(kind="tiffin", images=())
    docker = engine.cli("docker")
    over = threading.Event()
    with fake(engine) as registry:
        [digest] = serve(registry, 1)

        def stuck(exchange: Exchange) -> bool | None:
            if digest not in exchange.path:
                return False
            exchange.begin(200, Content_Length=str(len(registry.blobs[digest])))
            exchange.write(registry.blobs[digest][:1000])
            over.wait(120)
            return True

        registry.hooks.append(stuck)
        pulling = docker.start("pull", f"{registry.address}/x:1")
        eventually(lambda: len(registry.requests("GET", digest)) == 1, what="the layer is asked for")
        assert engine.stop() == 0
        assert not over.is_set()
        over.set()
        pulling.wait(30)
