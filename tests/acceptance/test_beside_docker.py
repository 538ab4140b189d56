"""Tiffin on a machine that has a Docker: neither changes what the other has, and who drops what is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from rig import Cli, Engine, eventually
from rig.netns import Namespace

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dockerd") is None, reason="no dockerd is installed"),
]

HERE, NEIGHBOUR = "198.51.100.1", "198.51.100.9"
SERVE = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www"


class Beside(Engine):
    """A tiffin on the machine of another engine."""

    def __init__(self, other: Engine) -> None:
        super().__init__("tiffin", start=False)
        self.machine.close()
        self.machine = other.machine
        self.root = other.root / "beside"
        self.socket, self.log = self.root / "engine.sock", self.root / "daemon.log"
        (self.root / "home").mkdir(parents=True)
        self.start()

    def close(self) -> None:
        self.clear()
        self.stop()


@pytest.fixture
def docker() -> Iterator[Engine]:
    engine = Engine("dockerd")
    yield engine
    engine.close()


@pytest.fixture
def tiffin(docker: Engine) -> Iterator[Engine]:
    engine = Beside(docker)
    yield engine
    engine.close()


@pytest.fixture
def neighbour(docker: Engine) -> Iterator[Namespace]:
    """Another host, on a cable."""
    made = Namespace()
    docker.run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", made.path)
    docker.run("ip", "addr", "add", f"{HERE}/24", "dev", "wire")
    docker.run("ip", "link", "set", "wire", "up")
    made.run("ip", "addr", "add", f"{NEIGHBOUR}/24", "dev", "wire")
    made.run("ip", "link", "set", "wire", "up")
    yield made
    made.close()


def serve(engine: Engine, port: int) -> Cli:
    cli = engine.cli("docker")
    engine.load("busybox")
    cli("run", "-d", "--init", "--name", "web", "-p", f"{port}:80", "busybox", "sh", "-c", SERVE)
    return cli


def page(where: Namespace, port: int, patience: int = 10) -> str:
    return where.run("curl", "-s", "-m", str(patience), f"http://{HERE}:{port}/", check=False)


def rules(engine: Engine) -> str:
    """Docker's own, without counters."""
    return "".join(engine.run("nft", "--stateless", "list", "table", "ip", name) for name in ("filter", "nat"))


def test_both_serve_and_leave_each_others_rules_alone(docker: Engine, tiffin: Engine, neighbour: Namespace) -> None:
    theirs = serve(docker, 7001)
    eventually(lambda: page(neighbour, 7001) == "hello\n")
    before = rules(docker)
    ours = serve(tiffin, 7002)
    eventually(lambda: docker.run("curl", "-s", "-m", "10", "http://127.0.0.1:7002/", check=False) == "hello\n")

    # Docker's FORWARD drops what it does not know, and that is said with what helps
    assert page(neighbour, 7002, patience=2) == ""
    warnings = json.loads(ours("info", "-f", "{{json .Warnings}}").out)
    (warning,) = (one for one in warnings if "ip filter" in one)
    assert "`iptables -I DOCKER-USER -i tiffin0 -j ACCEPT` and `iptables -I DOCKER-USER -o tiffin0 -j" in warning
    assert rules(docker) == before
    for way in ("-i", "-o"):
        docker.run("iptables", "-I", "DOCKER-USER", way, "tiffin0", "-j", "ACCEPT")
    eventually(lambda: page(neighbour, 7002) == "hello\n")
    assert "ip filter" not in ours("info", "-f", "{{json .Warnings}}").out
    with neighbour.listen(8000) as outside:
        asking = ours.start("run", "--rm", "busybox", "nc", NEIGHBOUR, "8000")
        connection, seen = outside.accept()
        assert seen[0] == HERE
        connection.sendall(b"heard\n")
        connection.close()
        assert asking.communicate(timeout=60)[0] == b"heard\n"

    before = rules(docker)
    tiffin.restart()
    eventually(lambda: page(neighbour, 7002) == "hello\n")
    ours("rm", "-f", "web")
    assert rules(docker) == before
    assert page(neighbour, 7001) == "hello\n"
    theirs("rm", "-f", "web")
    assert "table inet tiffin" in docker.run("nft", "list", "tables")
