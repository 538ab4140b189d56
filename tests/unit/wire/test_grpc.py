"""gRPC over HTTP/2: two ends on a socketpair, and ends that do not play by the rules."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tiffin.wire.grpc.connection import Connection, Handler
from tiffin.wire.grpc.framing import (
    MESSAGE_LIMIT,
    Splitter,
    decode_text,
    encode_text,
    parse_timeout,
    prefixed,
)
from tiffin.wire.grpc.status import Code, Detail, StatusError, decode_status, encode_status
from tiffin.wire.grpc.stream import Stream

PATIENCE = 60


@asynccontextmanager
async def pair(handler: Handler) -> AsyncIterator[tuple[Connection, Connection]]:
    """A client and a server that serves with `handler`."""
    ours, theirs = socket.socketpair()
    client, server = Connection(), Connection(handler=handler)
    await server.open(theirs)
    await client.open(ours)
    try:
        yield client, server
    finally:
        client.close()
        server.close()
        await asyncio.wait_for(client.wait_closed(), PATIENCE)
        await asyncio.wait_for(server.wait_closed(), PATIENCE)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), PATIENCE)

    asyncio.run(bounded())


async def echo(stream: Stream) -> None:
    async for message in stream:
        await stream.send(message)


def test_messages_are_cut_wherever_they_are_split() -> None:
    messages = [b"", b"one", b"x" * 70000, b"last"]
    data = b"".join(map(prefixed, messages))
    for size in (1, 3, 4096, len(data)):
        splitter = Splitter()
        found = [message for at in range(0, len(data), size) for message in splitter.feed(data[at : at + size])]
        assert found == messages
        assert splitter.pending == 0


def test_a_message_that_is_too_large_is_refused_by_its_header_alone() -> None:
    with pytest.raises(StatusError) as refused:
        Splitter().feed(b"\0" + struct.pack(">L", MESSAGE_LIMIT + 1))
    assert refused.value.code == Code.RESOURCE_EXHAUSTED


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(StatusError) as refused:
        Splitter().feed(b"\1\0\0\0\1x")
    assert refused.value.code == Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("250m", 0.25), ("5u", 5e-6), ("7n", 7e-9)],
)
def test_timeouts_have_a_unit(text: str, seconds: float) -> None:
    assert parse_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "12", "-1S", "123456789S", "1.5S", "1x", "٣S"])
def test_what_is_no_timeout_is_none(text: str) -> None:
    assert parse_timeout(text) is None


def test_texts_survive_the_header() -> None:
    text = "50% of Überraschung\nnext\x00"
    assert encode_text(text).isascii()
    assert decode_text(encode_text(text)) == text


def test_errors_survive_with_their_details() -> None:
    error = StatusError(Code.NOT_FOUND, "no such thing", [Detail("type/A+json", b'{"a":1}'), Detail("b", b"")])
    again = decode_status(encode_status(error))
    assert (again.code, again.message, again.details) == (error.code, error.message, error.details)


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x1a\xff\xff\xff\xff\x0f", b"\x08", b"\x12\x05ab", b""])
def test_a_status_that_makes_no_sense_is_read_as_far_as_it_goes(data: bytes) -> None:
    assert isinstance(decode_status(data), StatusError)


def test_large_messages_pass_both_ways_through_small_windows() -> None:
    async def test() -> None:
        async with pair(echo) as (client, _):
            large = bytes(range(256)) * 40000
            assert await client.unary("/s/m", large) == large

    run(test)


def test_many_calls_at_once_do_not_mix() -> None:
    async def test() -> None:
        async with pair(echo) as (client, _):
            sent = [b"%d" % number * 5000 for number in range(150)]
            assert await asyncio.gather(*(client.unary("/s/m", message) for message in sent)) == sent

    run(test)


def test_messages_that_two_tasks_send_in_one_call_do_not_mix() -> None:
    large, small = b"l" * 3_000_000, b"s"

    async def both(stream: Stream) -> None:
        await asyncio.gather(stream.send(large), stream.send(small), stream.send(large))

    async def test() -> None:
        async with pair(both) as (client, _):
            stream = client.call("/s/m")
            await stream.end()
            for _ in range(1000):
                await asyncio.sleep(0)  # the windows are full
            assert sorted([message async for message in stream]) == [large, large, small]

    run(test)


def test_a_reader_that_waits_slows_the_sender_down_and_loses_nothing() -> None:
    async def test() -> None:
        sent = 0

        async def source(stream: Stream) -> None:
            nonlocal sent
            for _ in range(200):
                await stream.send(b"x" * 100_000)
                sent += 1

        async with pair(source) as (client, _):
            stream = client.call("/s/m")
            await stream.end()
            assert await stream.receive() is not None
            for _ in range(1000):
                await asyncio.sleep(0)
            # what fits into windows and buffers is on its way, and not all of it
            assert sent < 200
            count = 1
            async for _message in stream:
                count += 1
            assert count == 200

    run(test)


def test_an_error_reaches_the_caller_with_code_message_and_details() -> None:
    async def fail(stream: Stream) -> None:
        raise StatusError(Code.FAILED_PRECONDITION, "nöt now", [Detail("t", b"v" * 5000)])

    async def test() -> None:
        async with pair(fail) as (client, _):
            with pytest.raises(StatusError) as failed:
                await client.unary("/s/m", b"")
            assert (failed.value.code, failed.value.message) == (Code.FAILED_PRECONDITION, "nöt now")
            assert failed.value.details == (Detail("t", b"v" * 5000),)

    run(test)


def test_a_handler_that_breaks_is_an_internal_error_and_the_connection_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fragile(stream: Stream) -> None:
        if await stream.receive_one() == b"break":
            raise RuntimeError("broken")
        await stream.send(b"fine")

    async def test() -> None:
        async with pair(fragile) as (client, _):
            with pytest.raises(StatusError) as failed:
                await client.unary("/s/m", b"break")
            assert failed.value.code == Code.INTERNAL
            assert await client.unary("/s/m", b"go on") == b"fine"

    run(test)
    assert "/s/m failed" in caplog.text


def test_a_call_that_is_given_up_cancels_its_handler() -> None:
    async def test() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def wait(stream: Stream) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with pair(wait) as (client, _):
            stream = client.call("/s/m")
            await stream.send(b"begin")
            await begun.wait()
            stream.cancel()
            await cancelled.wait()

    run(test)


def test_a_deadline_ends_the_call() -> None:
    async def wait(stream: Stream) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        async with pair(wait) as (client, _):
            stream = client.call("/s/m", [("grpc-timeout", "10m")])
            with pytest.raises(StatusError) as failed:
                await stream.receive()
            assert failed.value.code == Code.DEADLINE_EXCEEDED

    run(test)


def test_a_closed_connection_ends_handlers_and_calls() -> None:
    async def test() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def wait(stream: Stream) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with pair(wait) as (client, server):
            stream = client.call("/s/m")
            await begun.wait()
            server.close()
            with pytest.raises(StatusError) as failed:
                await stream.receive()
            assert failed.value.code == Code.UNAVAILABLE
            await ended.wait()

    run(test)
