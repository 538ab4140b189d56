"""WebSocket frames and the tunnel behind them."""

import os
import struct

import pytest

from tiffin.errors import Invalid
from tiffin.http.websocket import Frames, handshake
from unit.http.serving import Client, serving

HANDSHAKE = {
    "host": "x",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


def masked(opcode: int, content: bytes) -> bytes:
    mask = os.urandom(4)
    length = len(content)
    head = struct.pack(">BB", 0x80 | opcode, 0x80 | length) if length < 126 else b""
    if 126 <= length < 65536:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
    elif length >= 65536:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(content))


def test_the_handshake_of_the_specification() -> None:
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in handshake(HANDSHAKE)


@pytest.mark.parametrize(
    "change",
    [{"upgrade": "tcp"}, {"sec-websocket-key": "?"}, {"sec-websocket-version": "8"}, {"origin": "http://evil"}],
)
def test_other_handshakes_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        handshake({**HANDSHAKE, **change})


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_come_in_any_pieces(size: int) -> None:
    content = os.urandom(size)
    frames = Frames()
    data = masked(2, content) + masked(9, b"ping")
    got = answer = b""
    for start in range(0, len(data), 1000):
        payload, reply, ended = frames.decode(data[start : start + 1000])
        got, answer = got + payload, answer + reply
        assert not ended
    assert (got, answer) == (content, b"\x8a\x04ping")


@pytest.mark.parametrize("data", [b"\x82\x01x", b"\x82\xff" + b"\xff" * 8, masked(8, b""), masked(11, b"")])
def test_unmasked_huge_closing_and_unknown_frames_end_the_stream(data: bytes) -> None:
    assert Frames().decode(data)[2]


def test_bytes_pass_both_ways_and_a_close_ends_it() -> None:
    with serving() as (path, _, probe), Client(path) as client:
        client.send(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        client.send(masked(2, b"to the container"))
        while not probe.hijacked:
            pass
        held = probe.hijacked[0].socket
        held.settimeout(60)
        assert held.recv(100) == b"to the container"
        held.sendall(b"to the client")
        assert client.exactly(15) == b"\x82\x0dto the client"
        client.send(masked(8, b""))
        assert held.recv(100) == b""
        held.close()
        assert client.rest() == b"\x88\x02\x03\xe8"
