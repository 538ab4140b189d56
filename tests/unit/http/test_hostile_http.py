"""Input that no docker client sends: it gets an answer or is cut off, and costs nothing that lasts."""

import contextlib
import os
import socket

import pytest

from unit.http.serving import Client, eventually, serving


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v9999999999999999999.1/_ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v1.2.3/_ping HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /v/_ping HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET http://elsewhere/_ping HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"PUT /_ping HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /names/a/json?" + b"&".join([b"a=b"] * 5000) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_malformed_requests_are_refused(request_: bytes, status: int) -> None:
    with serving() as (path, server, _):
        with Client(path) as client:
            client.send(request_)
            client.socket.shutdown(socket.SHUT_WR)
            assert _status(client.rest()) == status
        assert eventually(lambda: not server.connections and not server.tasks)


def test_a_smuggled_second_request_is_never_served() -> None:
    with serving() as (path, _, _), Client(path) as client:
        client.send(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        client.socket.shutdown(socket.SHUT_WR)
        answer = client.rest()
        assert answer.count(b"HTTP/1.1 ") == 1
        assert _status(answer) == 400


def test_headers_without_end_are_cut_off() -> None:
    with serving() as (path, server, _):
        with Client(path) as client:
            client.send(b"GET /_ping HTTP/1.1\r\nHost: x\r\n")
            with pytest.raises(OSError):
                for _ in range(2000):
                    client.send(b"X-Filler: " + b"y" * 1000 + b"\r\n")
                client.socket.shutdown(socket.SHUT_WR)
                raise ConnectionResetError
        assert eventually(lambda: not server.connections)


def test_a_body_that_breaks_off_frees_its_handler() -> None:
    with serving() as (path, server, _):
        with Client(path) as client:
            client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nshort")
        assert eventually(lambda: not server.tasks and not server.connections)
        with Client(path) as client:
            client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nshort")
            client.socket.shutdown(socket.SHUT_WR)
            assert _status(client.rest()) == 400


def test_endless_early_data_is_not_buffered() -> None:
    with serving() as (path, server, _), Client(path) as client:
        client.send(b"GET /silence HTTP/1.1\r\nHost: x\r\n\r\n")
        client.until(b"\r\n\r\n")
        client.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            for _ in range(64):
                client.send(bytes(1 << 20))
        connection = next(iter(server.connections))
        assert len(connection.http.behind) < 1 << 20


def test_connections_beyond_the_limit_are_turned_away_and_the_rest_go_on() -> None:
    with serving(limit=3) as (path, server, _):
        clients = [Client(path) for _ in range(3)]
        assert all(client.get("/_ping")[0] == 200 for client in clients)
        with Client(path) as late:
            assert _status(late.rest()) == 503
        assert clients[0].get("/_ping")[0] == 200
        for client in clients:
            client.socket.close()
        assert eventually(lambda: not server.connections)
        with Client(path) as client:
            assert client.get("/_ping")[0] == 200


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _memory() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


_DROPPED = [
    b"GET /silence HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx",
    b"GET /_pi",
    b"",
]


def test_ten_thousand_dropped_connections_leave_nothing_behind() -> None:
    with serving(limit=64) as (path, server, _):

        def drop(count: int) -> None:
            for number in range(count):
                # the server may be behind and have refused this one
                with Client(path) as client, contextlib.suppress(OSError):
                    client.send(_DROPPED[number % len(_DROPPED)])
            assert eventually(lambda: not server.connections and not server.tasks)

        drop(2000)
        descriptors, memory = _descriptors(), _memory()
        drop(10_000)
        assert _descriptors() <= descriptors + 2
        assert _memory() < memory + (64 << 20)  # 10,000 leaks would be more; how many are open at once is the load


def test_dropped_hijacks_are_seen_by_their_holder() -> None:
    with serving() as (path, server, probe):
        for _ in range(50):
            with Client(path) as client:
                client.send(b"POST /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        assert eventually(lambda: not server.connections and not server.tasks)
        for stream in probe.hijacked:
            stream.socket.settimeout(60)
            with contextlib.suppress(ConnectionResetError):  # the client left bytes unread
                assert stream.socket.recv(10) == b""
