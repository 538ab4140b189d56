"""The client against a server that says exactly what the test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tiffin import errors
from tiffin.client.endpoint import Endpoint
from tiffin.client.engine import Engine, encode_query, quote
from tiffin.client.frames import Splitter

Serve = Callable[..., Engine]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """serve(answer, …): each connection gets the next answer for each request it sends."""
    path = tmp_path / "s"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    seen: list[bytes] = []

    def start(*answers: bytes) -> Engine:
        left = list(answers)

        def loop() -> None:
            while left:
                connection, _ = server.accept()
                with connection:
                    while left:
                        request = b""
                        while b"\r\n\r\n" not in request:
                            data = connection.recv(65536)
                            if not data:
                                break
                            request += data
                        if not request:
                            break
                        seen.append(request)
                        answer = left.pop(0)
                        connection.sendall(answer)
                        if b"Connection: close" in answer:
                            break

        threading.Thread(target=loop, daemon=True).start()
        engine = Engine(Endpoint(f"unix://{path}"), "1.51")
        engine.seen = seen  # type: ignore[attr-defined]
        return engine

    yield start
    server.close()


def answer(status: str, body: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


def test_one_connection_serves_several_requests(serve: Serve) -> None:
    engine = serve(answer("200 OK", b'{"a":1}'), answer("204 No Content", b""), answer("200 OK", b"[]"))
    assert engine.get("/info") == {"a": 1}
    assert engine.post("/containers/x/start") is None
    assert engine.get("/containers/json", all=True) == []
    assert engine.seen[2].startswith(b"GET /v1.51/containers/json?all=1 HTTP/1.1\r\n")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", errors.Invalid),
        ("404 Not Found", errors.NotFound),
        ("409 Conflict", errors.Conflict),
        ("500 Internal Server Error", errors.Internal),
        ("501 Not Implemented", errors.Unsupported),
        ("304 Not Modified", errors.NotModified),
    ],
)
def test_refusals_become_errors_with_the_daemons_words(serve: Serve, status: str, kind: type[Exception]) -> None:
    body = b"" if status.startswith("304") else b'{"message":"No such container: x"}'
    engine = serve(answer(status, body))
    with pytest.raises(kind) as caught:
        engine.get("/containers/x/json")
    if body:
        assert str(caught.value) == "Error response from daemon: No such container: x"


def test_chunked_answers_are_put_together(serve: Serve) -> None:
    engine = serve(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4;x=y\r\n":1}\r\n0\r\n\r\n')
    assert engine.get("/info") == {"a": 1}


def test_documents_come_one_at_a_time_however_they_are_cut(serve: Serve) -> None:
    engine = serve(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'8\r\n{"a":1}\n\r\n3\r\n{"a\r\nb\r\n":2}{"a":3}\r\n0\r\n\r\n'
    )
    assert [document["a"] for document in engine.documents("GET", "/events")] == [1, 2, 3]


def test_a_body_that_is_cut_off_is_an_error(serve: Serve) -> None:
    engine = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nshort")
    with pytest.raises(OSError, match="in the middle of an answer"):
        engine.get("/info")


def test_a_hijacked_socket_keeps_what_came_with_the_head(serve: Serve) -> None:
    engine = serve(
        b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nUpgrade: tcp\r\n\r\nfirst"
    )
    hijacked = engine.hijack("/containers/x/attach", {"stream": True})
    assert hijacked.first == b"first"


def test_an_idle_connection_that_was_closed_is_replaced(serve: Serve) -> None:
    engine = serve(answer("200 OK", b"1", "Keep-Alive: x"), answer("200 OK", b"2"))
    assert engine.get("/a") == 1
    assert engine._idle is not None
    engine._idle.socket.shutdown(socket.SHUT_RDWR)
    assert engine.get("/b") == 2


def test_no_daemon_is_said_in_the_words_scripts_look_for() -> None:
    engine = Engine(Endpoint("unix:///nonexistent/x.sock"), "1.51")
    with pytest.raises(errors.Unavailable) as caught:
        engine.get("/info")
    assert str(caught.value) == (
        "Cannot connect to the tiffin daemon at unix:///nonexistent/x.sock. Is the tiffin daemon running?"
    )


def test_queries_carry_filters_as_json() -> None:
    assert encode_query({"a": True, "b": False, "c": None, "d": ["x", "y"]}) == "?a=1&d=x&d=y"
    assert encode_query({"filters": {"name": ["a b"]}}) == "?filters=%7B%22name%22%3A%5B%22a%20b%22%5D%7D"
    assert quote("a/b:ü", b"/") == "a/b%3A%C3%BC"


def test_frames_may_be_cut_anywhere() -> None:
    stream = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err"
    for size in range(1, len(stream) + 1):
        splitter = Splitter()
        found = {1: b"", 2: b""}
        for start in range(0, len(stream), size):
            for number, part in splitter.feed(stream[start : start + size]):
                found[number] += part
        assert found == {1: b"out", 2: b"err"}
