"""Hijacked streams as docker-py uses them: raw sockets, WebSockets, headers that come alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import docker
import pytest

from rig import Engine, eventually
from rig.peers import tiffins_own


@pytest.fixture
def client(engine: Engine, tidy: None) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(base_url=engine.host)
    yield made
    made.close()


def test_a_websocket_carries_a_containers_stdio(engine: Engine, client: docker.DockerClient) -> None:
    websocket = pytest.importorskip("websocket", reason="websocket-client is not installed")
    container = client.containers.create("busybox", ["cat"], stdin_open=True)
    container.start()
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(engine.socket))
    path = f"/containers/{container.id}/attach/ws?stdin=1&stdout=1&stream=1"
    ws = websocket.create_connection(f"ws://localhost{path}", socket=sock, timeout=60, suppress_origin=True)
    ws.send_binary(b"over a websocket\n")
    got = b""
    while not got.endswith(b"websocket\n"):
        piece = ws.recv()
        got += piece if isinstance(piece, bytes) else piece.encode()
    assert got == b"over a websocket\n"
    ws.close()
    container.remove(force=True)


def test_logs_replayed_on_attach_are_not_lost_behind_the_header(engine: Engine, client: docker.DockerClient) -> None:
    tiffins_own(engine, "dockerd may send them along with the header, where docker-py drops them")
    container = client.containers.run("busybox", ["sh", "-c", "echo early; sleep 1000"], detach=True)
    eventually(lambda: container.logs() == b"early\n")
    for _ in range(20):
        stream = container.attach_socket(params={"stdout": 1, "logs": 1, "stream": 1})
        raw: socket.socket = getattr(stream, "_sock", stream)
        raw.settimeout(60)
        assert raw.recv(14, socket.MSG_WAITALL) == b"\x01\0\0\0\0\0\0\x06early\n"
        stream.close()
    container.remove(force=True)


def test_output_comes_whole_after_stdin_was_closed(client: docker.DockerClient) -> None:
    script = "cat > /dev/null; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"
    container = client.containers.create("busybox", ["sh", "-c", script], stdin_open=True)
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    raw: socket.socket = getattr(stream, "_sock", stream)
    raw.settimeout(60)
    container.start()
    raw.sendall(b"input\n")
    raw.shutdown(socket.SHUT_WR)
    data = b""
    while piece := raw.recv(65536):
        data += piece
    output = b""
    while data:
        size = int.from_bytes(data[4:8], "big")
        output += data[8 : 8 + size]
        data = data[8 + size :]
    assert output == b"".join(b"line %d\n" % number for number in range(20000))
    assert container.wait()["StatusCode"] == 0
    stream.close()


def test_exec_output_and_status_through_a_raw_socket(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True)
    result = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
    assert result.exit_code == 5
    assert result.output == (b"out\n", b"err\n")
    container.remove(force=True)
