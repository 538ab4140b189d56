"""Layers of one image: several come and go at once, and are unpacked while others still come."""

import threading
from collections.abc import Callable, Iterator

import pytest

from faults.served import serve
from rig import Cli, Engine, eventually
from rig.registries import Exchange, Fake, digest_of, fake, made_image

SIZE = 3_000_000


@pytest.fixture
def registry(engine: Engine) -> Iterator[Fake]:
    with fake(engine) as made:
        yield made


class Gate:
    """Holds blobs back when two thirds of them are sent, until it is opened."""

    def __init__(self, registry: Fake, digests: list[str]) -> None:
        self.waiting: set[str] = set()
        self._open = threading.Event()
        self._registry = registry
        self._digests = digests
        registry.hooks.append(self._hook)

    def _hook(self, exchange: Exchange) -> bool | None:
        digest = exchange.path.rpartition("/")[2]
        if digest not in self._digests or exchange.method != "GET":
            return False
        data = self._registry.blobs[digest]
        exchange.begin(200, Content_Length=str(len(data)))
        exchange.write(data[: SIZE * 2 // 3])
        self.waiting.add(digest)
        self._open.wait(120)
        exchange.write(data[SIZE * 2 // 3 :])
        return True

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(registry: Fake) -> Iterator[Callable[[list[str]], Gate]]:
    made: list[Gate] = []

    def make(digests: list[str]) -> Gate:
        made.append(Gate(registry, digests))
        return made[-1]

    yield make
    for one in made:
        one.open()


def test_a_terminal_shows_a_bar_for_each_layer(cli: Cli, registry: Fake, gate: Callable[[list[str]], Gate]) -> None:
    layers = serve(registry, 2, size=SIZE)
    held = gate(layers)
    name = f"{registry.address}/bars:1"
    with cli.terminal("pull", name, columns=160) as terminal:
        terminal.expect("1: Pulling from bars")
        eventually(lambda: held.waiting == set(layers), what="both are under way")
        for _ in layers:
            terminal.expect(r"[0-9a-f]{12}: Downloading +\[=*> +\] +[\d.]+[kM]B/3\.\d+MB")
        held.open()
        terminal.expect("Status: Downloaded newer image for ")
        assert terminal.wait() == 0
    assert all(f"{layer[7:19]}: Pull complete" in terminal.seen for layer in layers)
    cli("rmi", name)


def test_layers_come_at_once_and_are_unpacked_while_others_still_come(
    engine: Engine, docker: Cli, registry: Fake, gate: Callable[[list[str]], Gate]
) -> None:
    if engine.kind != "tiffin":
        pytest.skip("dockerd unpacks one after another, from the first on")
    layers = serve(registry, 3, size=SIZE)
    held = gate(layers[:2])
    name = f"{registry.address}/together:1"
    pulling = docker.start("pull", name)
    assert pulling.stdout is not None
    told = iter(pulling.stdout.readline, b"")
    assert any(line.startswith(f"{layers[2][7:19]}: Pull complete".encode()) for line in told)
    eventually(lambda: held.waiting == set(layers[:2]), what="the others are under way")
    staged = (engine.data_root / "snapshots/erofs/staging").glob
    eventually(
        lambda: sum(tar.stat().st_size > SIZE // 3 for tar in staged("*/tar")) == 2, what="what came is unpacked"
    )
    # nobody waits for it
    assert docker("run", "--rm", "--network", "none", "busybox", "echo", "meanwhile").line == "meanwhile"
    held.open()
    assert pulling.wait(60) == 0
    docker("rmi", name)


def test_layers_go_at_once(engine: Engine, docker: Cli, registry: Fake) -> None:
    if engine.kind != "tiffin":
        pytest.skip("dockerd sends blobs in other ways, which this registry does not take")
    meeting = threading.Barrier(2, timeout=60)
    name = f"{registry.address}/x:1"
    made_image(engine, docker, name, layers=2, size=SIZE)

    def take(exchange: Exchange) -> bool | None:
        if exchange.method == "POST":
            exchange.answer(202, Location="/v2/x/blobs/uploads/1?state=s")
        elif exchange.method == "PUT":
            body = exchange.handler.rfile.read(int(exchange.headers["Content-Length"]))
            if len(body) > SIZE // 2:
                meeting.wait()
            exchange.answer(201, Docker_Content_Digest=digest_of(body))
        else:
            return False
        return True

    registry.hooks.append(take)
    docker("push", name, timeout=120)
    assert not meeting.broken
    docker("rmi", name)
