"""Clients that misbehave, against a whole daemon: it answers or cuts them off, and holds on to nothing of theirs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rig import Cli, Engine, eventually
from rig.peers import tiffins_own

UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


@pytest.fixture
def name(docker: Cli) -> str:
    docker("run", "-d", "-i", "--name", "target", "busybox", "cat")
    return "target"


def send(engine: Engine, data: bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(engine.socket))
    sock.settimeout(60)
    sock.sendall(data)
    return sock


def answer(engine: Engine, method: str, path: str, headers: str = "", body: bytes = b"") -> tuple[int, bytes]:
    """Status and everything after the head, of a request whose connection ends with it."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    with send(engine, head.encode() + b"\r\n" + body) as sock:
        whole = b""
        while piece := sock.recv(65536):
            whole += piece
    first, _, rest = whole.partition(b"\r\n\r\n")
    return int(first.split()[1]), rest


def descriptors(engine: Engine) -> int:
    assert engine.daemon is not None
    return len(os.listdir(f"/proc/{engine.daemon.pid}/fd"))


def resident(engine: Engine) -> int:
    """Bytes of the daemon's memory, 0 for one that was not started here."""
    if engine.daemon is None:
        return 0
    return int(Path(f"/proc/{engine.daemon.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


JSON = "Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/containers/create", JSON, b"{", 400),
        ("POST", "/containers/create", JSON, b'{"Image": 7}', 400),
        ("POST", "/containers/create", JSON, b"[" * 100_000, 400),
        ("POST", "/containers/create", JSON, b'{"Image":"' + b"a" * (5 << 20) + b'"}', 400),
        ("POST", "/containers/create", "Content-Type: text/plain\r\n", b'{"Image":"busybox"}', 400),
        ("POST", "/containers/create", "", b"", 400),
        ("GET", "/containers/json?filters=%7B", "", b"", 400),
        ("GET", '/containers/json?filters={"nonsense":["x"]}', "", b"", 400),
        ("GET", "/containers/json?limit=many", "", b"", 400),
        ("GET", "/images/%00/json", "", b"", 400),
        ("GET", "/containers/../../etc/passwd", "", b"", 404),
        ("GET", "/v0.1/version", "", b"", 400),
        ("GET", "/v99.0/version", "", b"", 400),
        ("BREW", "/version", "", b"", 404),
        ("POST", "/containers/nothing/attach?stream=1&stdout=1", UPGRADE, b"", 404),
    ],
)
def test_malformed_requests_get_a_status(
    engine: Engine, method: str, path: str, headers: str, body: bytes, status: int
) -> None:
    tiffins_own(engine, "dockerd's statuses for these differ between versions")
    got, text = answer(engine, method, path, headers, body)
    assert (got, text[:11]) == (status, b'{"message":')


def test_dropped_attachments_leave_no_descriptor(engine: Engine, name: str) -> None:
    tiffins_own(engine, "dockerd notices that a client of an attachment is gone when it has output for it")
    request = (
        f"POST /containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n"
    ).encode()

    def drop(count: int) -> None:
        for number in range(count):
            with send(engine, request) as sock:
                if number % 2:
                    sock.recv(1)

    drop(20)
    before = descriptors(engine)
    drop(1000)
    eventually(lambda: descriptors(engine) <= before + 3, within=60)
    # and the container is still attachable, its monitor alive
    assert engine.cli()("exec", name, "echo", "fine").out == "fine\n"


def test_dropped_execs_leave_no_descriptor(engine: Engine, docker: Cli, name: str) -> None:
    tiffins_own(engine, "dockerd 20.10 keeps the descriptors of attachments that were dropped before")
    before = descriptors(engine)
    for _ in range(20):
        _, text = answer(
            engine, "POST", f"/containers/{name}/exec", JSON, b'{"Cmd":["sleep","0.2"],"AttachStdout":true}'
        )
        exec_id = text.split(b'"')[3].decode()
        body = b'{"Detach":false,"Tty":false}'
        head = f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: x\r\n{JSON}{UPGRADE}Content-Length: {len(body)}\r\n\r\n"
        send(engine, head.encode() + body).close()
    eventually(lambda: descriptors(engine) <= before + 3, within=60)
    assert docker("exec", name, "echo", "fine").out == "fine\n"


@pytest.mark.timeout(400)
def test_a_log_reader_that_stops_reading_holds_up_nobody(engine: Engine, docker: Cli) -> None:
    before = resident(engine)
    docker("run", "-d", "--name", "loud", "busybox", "sh", "-c", "yes | head -n 2000000; echo done; sleep 1000")
    stalled = send(engine, b"GET /containers/loud/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    stalled.recv(10)
    eventually(lambda: docker("logs", "--tail", "1", "loud").out == "done\n", within=300)
    assert docker("inspect", "-f", "{{.State.Running}}", "loud").out == "true\n"
    if engine.kind == "tiffin":
        assert resident(engine) - before < 100 << 20
    stalled.close()
