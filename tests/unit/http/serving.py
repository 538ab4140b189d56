"""A server in the test's own thread of control, and a raw client for it."""

import asyncio
import contextlib
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tiffin.http import connection, response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import Router, route
from tiffin.http.server import Server


class Probe:
    """What the handlers below have seen."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.closed = threading.Event()
        self.finished = threading.Event()
        self.release = threading.Event()
        self.produced = 0
        self.hijacked: list[Any] = []


@route("GET", "/_ping")
@route("HEAD", "/_ping")
async def ping(request: Request) -> Response:
    return response.raw(b"" if request.method == "HEAD" else b"OK")


@route("POST", "/echo")
async def echo(request: Request) -> Response:
    return response.raw(await request.body(limit=64 << 20), "application/octet-stream")


@route("POST", "/ignore")
async def ignore(request: Request) -> Response:
    return response.json({"ignored": True})


@route("GET", "/names/{name:.*}/json")
async def names(request: Request) -> Response:
    return response.json({"name": request["name"], "version": list(request.version)})


@route("GET", "/wait")
async def wait_for_ever(request: Request) -> Response:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        request.services.probe.cancelled.set()
        raise
    return response.empty()


async def released(request: Request) -> None:
    while not request.services.probe.release.is_set():  # noqa: ASYNC110 (set by another thread)
        await asyncio.sleep(0.005)


@route("POST", "/finish")
async def finish(request: Request) -> Response:
    await released(request)
    request.services.probe.finished.set()
    return response.empty()


@route("GET", "/flood")
async def flood(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                request.services.probe.produced += 65536
                yield bytes(65536)
        finally:
            request.services.probe.closed.set()

    return response.stream(pieces(), "application/octet-stream")


@route("GET", "/silence")
async def silence(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            request.services.probe.closed.set()

    return response.stream(pieces(), "application/json")


@route("GET", "/slowly")
async def slowly(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            await asyncio.sleep(0.01)
            yield b"%d\n" % number

    return response.stream(pieces(), "text/plain")


@route("GET", "/breaks")
async def breaks(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError("half way")

    return response.stream(pieces(), "text/plain")


@route("POST", "/hijack")
async def hijack(request: Request) -> None:
    stream = await request.hijack()
    # the probe keeps it: whoever hijacks owns the socket
    request.services.probe.hijacked.append(stream)
    if request.query.flag("wait"):
        await released(request)
    with contextlib.suppress(OSError):
        stream.socket.send(b"payload:" + stream.leftover)


@route("GET", "/ws")
async def ws(request: Request) -> None:
    stream = await request.websocket()
    request.services.probe.hijacked.append(stream)


@contextlib.contextmanager
def serving(*modules: Any, services: Any = None, limit: int | None = None) -> Iterator[tuple[Path, Server, Probe]]:
    """A server on a unix socket, in a thread with a loop of its own."""
    probe = Probe()
    ready = threading.Event()
    state: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s.sock"

        async def run() -> None:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(path))
            holder = services or SimpleNamespace(probe=probe)
            server = Server(Router(modules or [sys.modules[__name__]]), holder, "28.0.0")
            if limit is not None:
                server.limit = limit
            state.update(server=server, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            await server.listen(sock)
            ready.set()
            await state["stop"].wait()
            await server.close(patience=1)

        thread = threading.Thread(target=lambda: asyncio.run(run()))
        # who still sends when the answer is there may be slow here
        linger, connection.LINGER_SECONDS = connection.LINGER_SECONDS, 60.0
        thread.start()
        assert ready.wait(60)
        try:
            yield path, state["server"], probe
        finally:
            probe.release.set()
            state["loop"].call_soon_threadsafe(state["stop"].set)
            thread.join(60)
            for stream in probe.hijacked:
                stream.close()
            connection.LINGER_SECONDS = linger
            assert not thread.is_alive()


class Client:
    """A socket, and as much HTTP as the tests need."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))  # waits while the backlog is full, which a socket with a time-out would not
        self.socket.settimeout(60)
        self.buffer = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError(self.buffer)
            self.buffer += piece
        head, _, self.buffer = self.buffer.partition(end)
        return head + end

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError(self.buffer)
            self.buffer += piece
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def rest(self) -> bytes:
        while piece := self.socket.recv(65536):
            self.buffer += piece
        data, self.buffer = self.buffer, b""
        return data

    def answer(self, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = b""
        if headers.get("Transfer-Encoding", headers.get("transfer-encoding")) == "chunked":
            while size := int(self.until(b"\r\n"), 16):
                body += self.exactly(size)
                self.exactly(2)
            self.exactly(2)
        elif not head:
            body = self.exactly(int(headers.get("Content-Length", "0")))
        return int(lines[0].split()[1]), headers, body

    def get(
        self, path: str, method: str = "GET", extra: str = "", body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}{length}\r\n".encode() + body)
        return self.answer(method == "HEAD")


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether the condition comes to hold."""
    waiter = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return True
        waiter.wait(0.01)
    return condition()
