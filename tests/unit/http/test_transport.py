"""HTTP on the wire, as docker's clients speak it and as others might."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from unit.http.serving import Client, eventually, serving


def test_every_answer_carries_what_clients_negotiate_with() -> None:
    with serving() as (path, _, _), Client(path) as client:
        status, headers, body = client.get("/_ping")
        assert (status, body) == (200, b"OK")
        assert headers["Api-Version"] == "1.51"
        assert headers["Ostype"] == "linux"
        assert headers["Server"].startswith("Docker/28")
        assert headers["Docker-Experimental"] == "false"


def test_head_has_content_length_zero_and_no_body() -> None:
    with serving() as (path, _, _), Client(path) as client:
        status, headers, _ = client.get("/_ping", "HEAD")
        assert (status, headers["Content-Length"]) == (200, "0")
        assert client.get("/_ping")[2] == b"OK"


def test_errors_have_exactly_the_content_type_that_the_cli_compares_with() -> None:
    with serving() as (path, _, _), Client(path) as client:
        status, headers, body = client.get("/nowhere")
        assert (status, headers["Content-Type"], body) == (404, "application/json", b'{"message":"page not found"}\n')


@pytest.mark.parametrize("path_", ["/_ping", "/v1.24/_ping", "/v1.51/_ping"])
def test_paths_work_with_and_without_a_version(path_: str) -> None:
    with serving() as (path, _, _), Client(path) as client:
        assert client.get(path_)[0] == 200


def test_versions_out_of_range_are_refused_in_dockers_words() -> None:
    with serving() as (path, _, _), Client(path) as client:
        assert b"client version 1.23 is too old. Minimum supported API version is 1.24" in client.get("/v1.23/_ping")[2]
        status, _, body = client.get("/v1.52/_ping")
        assert status == 400
        assert b"client version 1.52 is too new. Maximum supported API version is 1.51" in body


def test_names_in_paths_may_contain_slashes_colons_and_escapes() -> None:
    with serving() as (path, _, _), Client(path) as client:
        body = client.get("/v1.44/names/localhost:5000/a%2Fb:1/json")[2]
        assert body == b'{"name":"localhost:5000/a/b:1","version":[1,44]}\n'


def test_pipelined_requests_are_answered_in_order() -> None:
    with serving() as (path, _, _), Client(path) as client:
        for name in ("slowly", "_ping", "names/a/json"):
            client.send(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.answer()[2] == b"0\n1\n2\n3\n4\n"
        assert client.answer()[2] == b"OK"
        assert client.answer()[2].startswith(b'{"name":"a"')


def test_output_continues_after_the_client_shut_down_its_write_side() -> None:
    with serving() as (path, _, _), Client(path) as client:
        client.send(b"GET /slowly HTTP/1.1\r\nHost: x\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer()[2] == b"0\n1\n2\n3\n4\n"
        assert client.rest() == b""


def test_an_empty_host_is_accepted_as_buildx_sends_it() -> None:
    with serving() as (path, _, _), Client(path) as client:
        client.send(b"GET /_ping HTTP/1.1\r\nHost: \r\n\r\n")
        assert client.answer()[0] == 200


def test_a_client_that_expects_100_gets_it() -> None:
    with serving() as (path, _, _), Client(path) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        client.send(b"hi")
        assert client.answer()[2] == b"hi"


def test_a_large_body_travels_both_ways() -> None:
    with serving() as (path, _, _), Client(path) as client:
        data = os.urandom(3 << 20)
        sender = threading.Thread(
            target=client.send, args=(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728\r\n\r\n" + data,)
        )
        sender.start()
        assert client.answer()[2] == data
        sender.join()


def test_an_ignored_body_does_not_spoil_the_answer() -> None:
    with serving() as (path, _, _), Client(path) as client:
        client.send(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + bytes(300_000))
        status, headers, body = client.answer()
        assert (status, body) == (200, b'{"ignored":true}\n')
        assert headers.get("Connection") == "close"


def test_a_small_ignored_body_leaves_the_connection_usable() -> None:
    with serving() as (path, _, _), Client(path) as client:
        assert client.get("/ignore", "POST", body=b"x" * 1000)[0] == 200
        assert client.get("/_ping")[2] == b"OK"


def test_a_stream_that_fails_half_way_is_broken_off() -> None:
    with serving() as (path, _, _), Client(path) as client, pytest.raises(EOFError):
        client.send(b"GET /breaks HTTP/1.1\r\nHost: x\r\n\r\n")
        client.answer()


def test_a_client_that_goes_away_cancels_a_handler_that_only_reads() -> None:
    with serving() as (path, _, probe):
        with Client(path) as client:
            client.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            client.socket.shutdown(socket.SHUT_WR)
        assert probe.cancelled.wait(60)


def test_a_client_that_goes_away_does_not_cut_a_change_in_half() -> None:
    with serving() as (path, server, probe):
        with Client(path) as client:
            client.send(b"POST /finish HTTP/1.1\r\nHost: x\r\n\r\n")
            assert eventually(lambda: len(server.tasks) == 1)
        assert eventually(lambda: not server.connections)
        probe.release.set()
        assert probe.finished.wait(60)


def test_a_silent_stream_ends_when_its_client_goes_away() -> None:
    with serving() as (path, _, probe):
        with Client(path) as client:
            client.send(b"GET /silence HTTP/1.1\r\nHost: x\r\n\r\n")
            client.until(b"\r\n\r\n")
            client.socket.shutdown(socket.SHUT_WR)
        assert probe.closed.wait(60)


def test_a_slow_reader_slows_the_producer_down() -> None:
    with serving() as (path, _, probe):
        with Client(path) as client:
            client.send(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
            client.exactly(1000)
            before = -1
            while before != probe.produced:
                before = probe.produced
                time.sleep(0.1)
            assert probe.produced < 2 << 20
        assert probe.closed.wait(60)


def test_a_hijacked_header_arrives_alone_and_the_socket_is_the_clients_own() -> None:
    with serving() as (path, _, probe), Client(path) as client:
        client.send(b"POST /hijack?wait=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly")
        first = client.socket.recv(65536)
        assert first == (
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        probe.release.set()
        assert client.exactly(13) == b"payload:early"
        # half-close of a hijacked connection reaches its holder, and the other direction stays
        client.send(b"more")
        client.socket.shutdown(socket.SHUT_WR)
        held = probe.hijacked[0].socket
        held.settimeout(60)
        assert held.recv(100) == b"more"
        assert held.recv(100) == b""
        held.sendall(b"bye")
        held.close()
        assert client.rest() == b"bye"


def test_a_hijack_without_upgrade_is_a_raw_200() -> None:
    with serving() as (path, _, _), Client(path) as client:
        client.send(b"POST /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
        head = client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream")
        assert b"Transfer-Encoding" not in head
        assert client.exactly(8) == b"payload:"


def test_an_upgrade_on_an_ordinary_route_is_ignored() -> None:
    with serving() as (path, _, _), Client(path) as client:
        client.send(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        assert client.answer()[2] == b"OK"
        assert client.get("/_ping")[2] == b"OK"


def test_shutdown_ends_streams_and_idle_connections(tmp_path: Path) -> None:
    with serving() as (path, _, probe):
        idle, busy = Client(path), Client(path)
        idle.get("/_ping")
        busy.send(b"GET /silence HTTP/1.1\r\nHost: x\r\n\r\n")
        busy.until(b"\r\n\r\n")
    assert probe.closed.is_set()
    assert idle.rest() == b""
    idle.socket.close()
    busy.socket.close()
