"""Chunked bodies: read as h11 reads them, however they are cut."""

from __future__ import annotations

import random

import h11
import pytest

from tiffin.http.chunks import Chunks


def read(pieces: list[bytes]) -> tuple[bytes, bytes | None]:
    """The body, and what is left for h11."""
    chunks, body = Chunks(), b""
    for number, piece in enumerate(pieces):
        data, rest = chunks.feed(piece)
        body += data
        if rest is not None:
            return body, rest + b"".join(pieces[number + 1 :])
    return body, None


def of_h11(stream: bytes) -> tuple[bytes, bool]:
    """The body as h11 has it, and whether it is whole. Raises RemoteProtocolError."""
    connection, body = h11.Connection(h11.SERVER), b""
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + stream)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return body, True
        elif not isinstance(event, h11.Request):
            return body, False


@pytest.mark.parametrize("seed", range(40))
def test_a_body_is_the_same_however_it_is_cut(seed: int) -> None:
    source = random.Random(seed)
    body, stream = b"", b""
    for _ in range(source.randrange(6)):
        data = source.randbytes(source.choice((1, 2, 15, 16, 300)))
        extension = source.choice((b"", b";x", b"; name=value", b" "))
        stream += (b"%x" % len(data) if source.random() < 0.5 else b"%04X" % len(data)) + extension + b"\r\n"
        stream += data + b"\r\n"
        body += data
    end = b"0\r\n" + source.choice((b"", b"Trailer: x\r\n")) + b"\r\n" + source.choice((b"", b"GET / HTTP/1.1\r\n"))
    stream += end
    assert of_h11(stream) == (body, True)
    cuts = sorted(source.randrange(len(stream) + 1) for _ in range(source.randrange(20)))
    pieces = [stream[first:last] for first, last in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(pieces) == (body, end)
    assert read([stream[at : at + 1] for at in range(len(stream))]) == (body, end)


@pytest.mark.parametrize(
    "stream",
    [
        *(b"zz\r\n", b"-1\r\n", b"+1\r\nx\r\n", b"0x1\r\nx\r\n", b"1_0\r\n", b" 1\r\nx\r\n", b"\r\n", b"1\n1\r\n"),
        *(b"1\r\nxx\r\n", b"1\r\nx1\r\ny", b"1\r\nx\n0\r\n\r\n", b"1;\x00\r\nx\r\n", b"1;a\nb\r\nx\r\n"),
        *(b"f" * 40 + b"\r\n", b"1;" + b"x" * 300, b"1" * 300, b"1\r\nx\rx"),
    ],
)
def test_what_is_no_chunk_is_refused(stream: bytes) -> None:
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        with pytest.raises(h11.RemoteProtocolError):
            read(pieces)


def test_an_unfinished_body_has_no_end() -> None:
    assert read([b"5\r\nhel"]) == (b"hel", None)
    assert read([b"5\r\nhello\r"]) == (b"hello", None)
    assert read([b"5\r\nhello\r\n", b"0"]) == (b"hello", None)
