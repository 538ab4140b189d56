"""What a registry may answer to one request, and that nothing but our own errors comes of it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tiffin.errors import TiffinError
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import NOBODY
from tiffin.registry.hosts import Endpoint
from tiffin.registry.session import Call, Retries, Session
from tiffin.registry.transport import Transport

_ERROR = b"HTTP/1.1 500 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

Serve = Callable[[bytes], Session]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(b"HTTP/1.1 …") is a session with a registry that answers one request so, then by 500 and what was asked."""
    listeners, threads = [], []

    def answer(listener: socket.socket, said: bytes) -> None:
        with suppress(OSError):  # until it is shut down
            while True:
                with listener.accept()[0] as client:
                    target = client.recv(65536).split(b" ")[1]
                    client.sendall(said or _ERROR % target)
                said = b""

    def start(said: bytes) -> Session:
        listeners.append(listener := socket.create_server(("127.0.0.1", 0)))
        threads.append(threading.Thread(target=answer, args=(listener, said)))
        threads[-1].start()
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
        endpoint = Endpoint(f"http://{authority}", authority, verify=False)
        return Session(endpoint, NOBODY, Transport(), Cancellation(), Retries(attempts=1))

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    "target",
    [
        b"http://[",
        b"http://h:x/",
        b"http://h:99999999/",
        b"http://\xc3\xa9/",
        b"http://a..b/",
        b"http://" + b"a" * 64 + b"/",
        b"/\xff",
        b"/a b",
        b"ftp://h/",
        b"//",
        b"",
    ],
)
def test_a_redirect_to_nowhere_is_told(serve: Serve, target: bytes) -> None:
    session = serve(b"HTTP/1.1 307 X\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n")
    with pytest.raises(TiffinError):
        session.call(Call("GET", f"{session.endpoint.url}/v2/", ()))


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (b"/\xff", "/%FF"),
        (b"/a b", "/a%20b"),
        (b"/%2f?a=%20&b=\xc3\xa9#c", "/%2f?a=%20&b=%C3%A9"),
        (b"x", "/v2/x"),
        (b"", "/v2/"),
    ],
)
def test_a_redirect_is_followed_as_it_was_written(serve: Serve, target: bytes, asked: str) -> None:
    session = serve(b"HTTP/1.1 307 X\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n")
    with pytest.raises(TiffinError, match=f"unexpected HTTP status: 500 {re.escape(asked)}$"):
        session.call(Call("GET", f"{session.endpoint.url}/v2/", ()))


@pytest.mark.parametrize(
    "wait", [b"Mon, 01 Jan 0001 00:00:00 +2359", b"nan", b"-1", b"9" * 5000, b"Mon, 99 Foo", b"\xff"]
)
def test_a_pause_that_can_not_be_read_is_none(serve: Serve, wait: bytes) -> None:
    session = serve(b"HTTP/1.1 429 X\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: " + wait + b"\r\n\r\n")
    with pytest.raises(TiffinError):
        session.call(Call("GET", f"{session.endpoint.url}/v2/", ()))
