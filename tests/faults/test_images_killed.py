"""The daemon is killed at any moment of what images go through; a disk fills up in the middle of a pull."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.counting import cycles
from faults.served import serve
from rig import Cli, Engine, eventually
from rig.engine import running
from rig.registries import Fake, fake, made_image

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Operation:
    """prepare leads up to what is broken off; done: whether repeating it had its effect; undo puts things back."""

    prepare: Callable[[Cli], object]
    act: tuple[str, ...]
    done: Callable[[Cli], bool]
    undo: Callable[[Cli], object]


def exists(docker: Cli, name: str) -> bool:
    return docker("image", "inspect", name, check=False).rc == 0


def operations(registry: str, archive: Path) -> dict[str, Operation]:
    pulled, loaded, committed = f"{registry}/x:1", "one:1", "committed:1"
    prune = ("image", "prune", "-f")

    def remove(*names: str) -> Callable[[Cli], object]:
        return lambda docker: [docker("rmi", "-f", name, check=False) for name in names]

    def load(docker: Cli) -> object:
        return docker("load", "-i", str(archive))

    def change(docker: Cli) -> object:
        return docker("run", "--name", "changed", "busybox", "sh", "-c", "head -c 3000000 /dev/urandom > /file")

    def away(docker: Cli) -> None:
        docker("rm", "-f", "changed", check=False)
        docker("rmi", "-f", committed, check=False)
        docker(*prune)  # the first, where there were two

    def nameless(docker: Cli) -> None:
        load(docker)
        docker("tag", "busybox", "kept:1")
        docker("tag", "kept:1", loaded)  # the loaded image has no name any more

    return {
        "pull": Operation(lambda _: None, ("pull", pulled), lambda docker: exists(docker, pulled), remove(pulled)),
        "load": Operation(
            lambda _: None, ("load", "-i", str(archive)), lambda docker: exists(docker, loaded), remove(loaded)
        ),
        "commit": Operation(change, ("commit", "changed", committed), lambda docker: exists(docker, committed), away),
        "rmi": Operation(load, ("rmi", loaded), lambda docker: not exists(docker, loaded), remove(loaded)),
        "prune": Operation(
            nameless,
            prune,
            lambda docker: not docker("images", "-q", "--filter", "dangling=true").out,
            remove(loaded, "kept:1"),
        ),
    }


@pytest.fixture
def engine() -> Iterator[Engine]:
    with running() as engine:
        yield engine


@pytest.fixture
def registry(engine: Engine) -> Iterator[Fake]:
    with fake(engine) as made:
        serve(made, 3, size=2_000_000)
        yield made


def kept(engine: Engine) -> Counter[str]:
    """Blobs, whole and in part, and layers."""
    places = ("content/blobs/sha256", "content/ingest", "content/partial", "content/quarantine")
    layers = [f"snapshots/erofs/{name}" for name in ("layers", "active", "staging")]
    folders = [engine.data_root / name for name in (*places, *layers)]
    return Counter(f"{folder.name}/{name}" for folder in folders if folder.exists() for name in os.listdir(folder))


def check(engine: Engine) -> None:
    """AssertionError with what `system check` finds."""
    done = engine.cli("tiffin")("system", "check", "--format", "json", check=False, timeout=300)
    assert done.rc == 0, json.dumps(json.loads(done.out)["Findings"], indent=1)


@pytest.mark.parametrize("count", cycles(5, 100))
@pytest.mark.timeout(3000)
def test_a_daemon_killed_at_any_moment_has_sound_images(
    engine: Engine, registry: Fake, tmp_path: Path, count: int
) -> None:
    """TIFFIN_TEST_SEED chooses other moments."""
    docker = engine.cli()
    made_image(engine, docker, "one:1", layers=3, size=2_000_000)
    docker("save", "-o", str(tmp_path / "one.tar"), "one:1")
    docker("rmi", "one:1")
    chosen = operations(registry.address, tmp_path / "one.tar")
    seed = int(os.environ.get("TIFFIN_TEST_SEED", "1"))
    source = random.Random(seed)
    before = kept(engine)
    lasts = {name: passage(docker, operation) for name, operation in chosen.items()}
    assert kept(engine) == before
    names = [list(chosen)[number % len(chosen)] for number in range(count)]
    for number, name in enumerate(names):
        where = f"seed {seed}, {number}: {name}"
        operation = chosen[name]
        operation.prepare(docker)
        moment = source.random() * lasts[name]
        working = docker.start(*operation.act)
        time.sleep(moment)
        engine.kill()
        working.communicate(timeout=60)
        engine.start()
        try:
            check(engine)
            repeated = docker(*operation.act, check=False)
            # it was done before the daemon died
            assert repeated.rc == 0 or name == "rmi", repeated
            assert operation.done(docker)
            operation.undo(docker)
            eventually(lambda: kept(engine) == before, what=f"nothing is left: {kept(engine) - before}")
        except AssertionError as problem:
            raise AssertionError(f"{where}, after {moment:.3f} s: {problem}") from problem
    check(engine)


def passage(docker: Cli, operation: Operation) -> float:
    """How long it takes, in seconds."""
    operation.prepare(docker)
    begin = time.monotonic()
    docker(*operation.act)
    elapsed = time.monotonic() - begin
    operation.undo(docker)
    return elapsed


@pytest.fixture(params=["ext4", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("tmpfs", "overlay", "copy"))])
def small(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine whose data root is a file system of its own, of 160 MiB: with each driver, tmpfs takes no erofs."""
    driver = ["--storage-driver", request.param] if request.param in ("overlay", "copy") else []
    made = Engine("tiffin", options=driver, start=False)
    made.data_root.mkdir()
    inside = ["nsenter", f"--mount=/proc/{made.machine.pid}/ns/mnt", "--"]
    if request.param == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", made.data_root]
    else:
        with (made.root / "disk").open("wb") as file:
            file.truncate(160 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", made.root / "disk"], check=True)
        command = ["mount", "-o", "loop", made.root / "disk", made.data_root]
    subprocess.run([*inside, *command], check=True)
    try:
        made.start()
        yield made
    finally:
        made.close()


def used(engine: Engine) -> int:
    """Bytes of the data root that are not free."""
    status = os.statvfs(f"/proc/{engine.machine.pid}/root{engine.data_root}")
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize(
    ("pack", "size"), [(bytes, 30_000_000), pytest.param(gzip.compress, 15_000_000, marks=pytest.mark.slow)]
)
def test_a_disk_that_fills_up_during_a_pull_is_told_and_all_space_is_given_back(
    small: Engine, pack: Callable[[bytes], bytes], size: int
) -> None:
    docker = small.cli()
    with fake(small) as registry:
        serve(registry, 1, tag="first", size=100_000, pack=pack)
        docker("pull", f"{registry.address}/x:first")
        docker("rmi", f"{registry.address}/x:first")
        before = used(small)
        serve(registry, 4, size=size, pack=pack)
        pulled = docker("pull", f"{registry.address}/x:1", check=False, timeout=300)
        assert pulled.rc == 1
        assert "no space left on device" in pulled.err
        # the file system's own directories may have grown
        eventually(lambda: used(small) <= before + (1 << 20), what=f"space is given back: {used(small)}, {before}")
        check(small)
        docker("pull", f"{registry.address}/x:first")
        docker("rmi", f"{registry.address}/x:first")


def test_somebody_else_who_fills_the_disk_during_a_pull_changes_nothing(small: Engine) -> None:
    docker = small.cli()
    place = Path(f"/proc/{small.machine.pid}/root{small.data_root}")
    with fake(small) as registry:
        serve(registry, 2, size=8_000_000)
        before = used(small)
        halfway, filled = threading.Event(), threading.Event()
        writer = registry_filler(registry, place / "filler", halfway, filled)
        writer.start()
        pulled = docker("pull", f"{registry.address}/x:1", check=False, timeout=300)
        halfway.set()
        writer.join()
        assert pulled.rc == 1 and "no space left on device" in pulled.err, pulled
        (place / "filler").unlink()
        eventually(lambda: used(small) <= before + (1 << 20), what="space is given back")
        check(small)
        docker("pull", f"{registry.address}/x:1")


def registry_filler(registry: Fake, path: Path, halfway: threading.Event, filled: threading.Event) -> threading.Thread:
    """Fills the disk as soon as the first layer is asked for, which is then answered."""

    def fill() -> None:
        halfway.wait(60)
        with path.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * (1 << 20))
            except OSError:
                pass
        filled.set()

    def hook(exchange: object) -> bool:
        if "/blobs/" in exchange.path and len(registry.requests("GET", "/blobs/")) >= 2:  # type: ignore[attr-defined]
            halfway.set()
            filled.wait(60)
        return False

    registry.hooks.append(hook)
    return threading.Thread(target=fill)
