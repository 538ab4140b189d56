"""Bodies that a thread reads from the socket: whole, broken off, given up, and what the connection is afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tiffin.errors import Invalid
from tiffin.http import response
from tiffin.http.flows import Inflow
from tiffin.http.lending import Lent
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from unit.http.serving import Client, eventually, serving

HEAD = b"POST /%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@route("POST", "/take")
async def take(request: Request) -> Response:
    """The digest of the body, read by a thread; `after` N bytes it gives up."""
    await request.services.begun.wait()  # what has come by then has come by the loop
    flow, limit = Inflow(request), request.query.integer("after")
    request.services.lent.append(isinstance(flow._body, Lent))

    def read() -> str:
        digest, size = hashlib.sha256(), 0
        try:
            while data := flow.read(50_000):
                digest.update(data)
                size += len(data)
                request.services.taken += len(data)
                if limit and size >= limit:
                    raise Invalid("enough")
        except Invalid as error:
            request.services.ended.append(str(error))
            raise
        return digest.hexdigest()

    try:
        return response.json(await asyncio.to_thread(read))
    finally:
        await flow.close()


class Begun(asyncio.Event):
    """Set from another thread."""

    def now(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(self.set)


@contextlib.contextmanager
def taking(*, at_once: bool = True) -> Iterator[tuple[Path, SimpleNamespace]]:
    services = SimpleNamespace(lent=[], ended=[], taken=0, begun=Begun())
    if at_once:
        services.begun.set()
    with serving(sys.modules[__name__], services=services) as (path, server, _):
        services.loop = server.loop
        try:
            yield path, services
        finally:
            services.begun.now(server.loop)


def chunked(body: bytes, source: random.Random) -> bytes:
    pieces, at = [], 0
    while at < len(body):
        size = source.choice((1, 100, 32_768, 70_000))
        data = body[at : at + size]
        pieces.append(b"%x\r\n%s\r\n" % (len(data), data))
        at += size
    return b"".join([*pieces, b"0\r\n\r\n"])


@pytest.mark.parametrize("at_once", [True, False])
def test_a_body_arrives_whole_and_the_connection_goes_on(at_once: bool) -> None:
    source = random.Random(1)
    with taking(at_once=at_once) as (path, services), Client(path) as client:
        for _ in range(3):
            body = source.randbytes(3_000_000)
            stream = chunked(body, source)
            client.send(HEAD % b"take")
            client.send(stream[:100_000])
            services.begun.now(services.loop)
            client.send(stream[100_000:])
            assert client.answer()[2].decode().strip() == f'"{hashlib.sha256(body).hexdigest()}"'
    assert any(services.lent)


def test_the_next_request_may_follow_at_once() -> None:
    body = random.Random(2).randbytes(500_000)
    with taking() as (path, _), Client(path) as client:
        request = HEAD % b"take" + chunked(body, random.Random(3))
        threading.Thread(target=client.send, args=(request + request,)).start()
        for _ in range(2):
            assert client.answer()[2].decode().strip() == f'"{hashlib.sha256(body).hexdigest()}"'


@pytest.mark.parametrize("behind", [b"", b"nonsense\r\n"])
def test_a_body_that_ends_early_or_is_malformed_is_an_error(behind: bytes) -> None:
    with taking() as (path, services), Client(path) as client:
        client.send(HEAD % b"take")
        client.send(b"8000\r\n" + bytes(0x8000) + b"\r\n" + behind)
        if not behind:
            client.socket.shutdown(socket.SHUT_WR)
        assert client.answer()[0] == 400
        assert client.rest() == b""
    assert services.ended == ["the request's body ended early: unexpected EOF"]


def test_who_stops_reading_answers_while_the_client_still_sends() -> None:
    with taking() as (path, services), Client(path) as client:
        client.send(HEAD % b"take?after=100000")
        chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
        for _ in range(100):  # more than any buffer: it is discarded, so that the answer is seen
            client.send(chunk)
        assert client.answer()[0] == 400
    assert services.ended == ["enough"]


def test_a_client_that_goes_ends_whoever_waits_for_its_body() -> None:
    with taking() as (path, services):
        with Client(path) as client:
            client.send(HEAD % b"take")
            client.send(b"8000\r\n" + bytes(0x8000) + b"\r\n")
            assert eventually(lambda: services.lent)
        assert eventually(lambda: services.ended)
    assert services.lent == [True]


def test_a_server_that_closes_waits_for_nobody_s_body() -> None:
    with taking() as (path, services):
        client = Client(path)
        client.send(HEAD % b"take")
        client.send(b"8000\r\n" + bytes(0x8000) + b"\r\n")
        # what is closed with bytes in it that nobody has read is reset
        assert eventually(lambda: services.taken == 0x8000)
    with client:
        assert client.socket.recv(1000) == b""
    assert services.ended == ["the request was broken off before its body had ended"]
