"""BuildKit's Control and LLBBridge as clients call them that are late, or early."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tiffin.http.buildkit import jobs
from tiffin.http.buildkit.control import Control
from tiffin.wire.buildkit import control, gateway
from tiffin.wire.grpc.connection import Connection
from tiffin.wire.grpc.status import Code, StatusError

PATIENCE = 60
_CONTROL = "/moby.buildkit.v1.Control/"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"

Test = Callable[[Connection], Awaitable[None]]


@asynccontextmanager
async def served() -> AsyncIterator[Connection]:
    """A client of a builder that has nothing to build with: what is asked of it is answered without."""
    ours, theirs = socket.socketpair()
    builder: Any = None
    server = Connection(handler=Control(builder, None, lambda: "").serve)
    client = Connection()
    await server.open(theirs)
    await client.open(ours)
    try:
        yield client
    finally:
        client.close()
        await asyncio.wait_for(server.wait_closed(), PATIENCE)


def run(test: Test) -> None:
    async def bounded() -> None:
        async with served() as client:
            await asyncio.wait_for(test(client), PATIENCE)

    asyncio.run(bounded())


@pytest.fixture
def endless_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a job that does not come waits longer than the test does."""
    monkeypatch.setattr(jobs, "JOB_SECONDS", 10 * PATIENCE)


async def probe(client: Connection, ref: str) -> None:
    """What buildx does first of all: a build of nothing, to learn what the builder can."""
    solving = client.call(_CONTROL + "Solve")
    await solving.send(control("SolveRequest", Ref=ref, Internal=True).SerializeToString())
    await solving.end()
    metadata = [("buildkit-controlapi-buildid", ref)]
    await client.unary(_BRIDGE + "Ping", b"", metadata)
    await client.unary(_BRIDGE + "Return", gateway("ReturnRequest", result={}).SerializeToString(), metadata)
    assert await solving.receive() is not None
    assert await solving.receive() is None


async def told(client: Connection, ref: str) -> list[bytes]:
    stream = client.call(_CONTROL + "Status")
    await stream.send(control("StatusRequest", Ref=ref).SerializeToString())
    await stream.end()
    return [message async for message in stream]


@pytest.mark.usefixtures("endless_patience")
def test_the_status_of_a_probe_that_has_ended_ends_too() -> None:
    async def test(client: Connection) -> None:
        await probe(client, "probed")
        assert await told(client, "probed") == []

    run(test)


@pytest.mark.usefixtures("endless_patience")
def test_a_probe_is_in_no_history() -> None:
    async def test(client: Connection) -> None:
        await probe(client, "probed")
        listing = client.call(_CONTROL + "ListenBuildHistory")
        await listing.send(control("BuildHistoryRequest", EarlyExit=True).SerializeToString())
        await listing.end()
        assert await listing.receive() is None

    run(test)


@pytest.mark.usefixtures("endless_patience")
@pytest.mark.parametrize("internal", [False, True])
def test_a_call_for_a_build_that_has_failed_meanwhile_fails_at_once(internal: bool) -> None:
    async def test(client: Connection) -> None:
        request = control("SolveRequest", Ref="failed", Frontend="unheard.of", Internal=internal)
        with pytest.raises(StatusError, match=r"unheard\.of"):
            await client.unary(_CONTROL + "Solve", request.SerializeToString())
        with pytest.raises(StatusError) as refused:
            await client.unary(_BRIDGE + "Ping", b"", [("buildkit-controlapi-buildid", "failed")])
        assert (refused.value.code, refused.value.message) == (Code.NOT_FOUND, "no such job failed")

    run(test)


@pytest.mark.usefixtures("endless_patience")
def test_calls_may_come_before_their_build() -> None:
    async def test(client: Connection) -> None:
        following = asyncio.ensure_future(told(client, "later"))
        pinging = asyncio.ensure_future(client.unary(_BRIDGE + "Ping", b"", [("buildkit-controlapi-buildid", "later")]))
        await client.unary(_CONTROL + "Info", b"")
        await probe(client, "later")
        assert await following == []
        assert await pinging

    run(test)


def test_a_build_that_never_comes_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "JOB_SECONDS", 0.01)

    async def test(client: Connection) -> None:
        with pytest.raises(StatusError, match="no such job never"):
            await told(client, "never")

    run(test)
