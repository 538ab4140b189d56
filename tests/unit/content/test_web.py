"""Files from the web: what a server may answer, and that OSError is all that comes of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tiffin.content import web

Serve = Callable[[bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(b"HTTP/1.1 …") answers one request with these bytes: its URL."""
    threads = []

    def answer(listener: socket.socket, said: bytes) -> None:
        with closing(listener), listener.accept()[0] as client:
            client.recv(65536)
            client.sendall(said)

    def start(said: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        threads.append(threading.Thread(target=answer, args=(listener, said)))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/file"

    yield start
    for thread in threads:
        thread.join()


def test_a_file_is_read_with_its_headers(serve: Serve) -> None:
    with web.opened(serve(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\nhello')) as answer:
        assert (answer.headers["ETag"], answer.read(2), answer.read()) == ('"a"', b"he", b"llo")


@pytest.mark.parametrize("status", [304, 404, 599])
def test_another_status_is_a_refusal(serve: Serve, status: int) -> None:
    with pytest.raises(web.Refused) as refused, web.opened(serve(b"HTTP/1.1 %d X\r\n\r\n" % status)):
        pass
    assert refused.value.status == status


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 302 X\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:x/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_answer_that_is_none_is_an_oserror(serve: Serve, said: bytes) -> None:
    with pytest.raises(OSError), web.opened(serve(said)) as answer:
        while answer.read(4096):
            pass
        raise ConnectionError("a short body ends without a word: whoever reads it compares its length")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "http://h:x/", "http://\0/", "http:///", "x"])
def test_what_is_no_url_of_the_web_is_an_oserror(url: str) -> None:
    with pytest.raises(OSError), web.opened(url):
        pass
