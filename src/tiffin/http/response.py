"""Answers, built by the functions below; errors are raised (`tiffin.errors`) rather than returned.

return response.json({"Id": id}, status=201)
return response.empty()                                             # 204
return response.stream(frames(), "application/vnd.docker.raw-stream")    # chunked, headers at once
return response.progress(messages())                                # lines of JSON, headers at the first one
return Response(200, response.File(file, 0, size))                  # a part of a file, by sendfile(2)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec

from tiffin.errors import TiffinError
from tiffin.http import errors

JSON = "application/json"

_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class File:
    """`length` bytes of an open file from `offset` on. It is closed when the answer has been sent, or broken off."""

    file: BinaryIO
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length


@dataclass(slots=True)
class Response:
    """Status, headers, and a body that is whole, a part of a file, or a stream."""

    status: int = 200
    body: bytes | File | AsyncIterator[bytes] = b""
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: bool = False
    """Whether a stream's header waits for its first output, so that an error before it keeps its status."""
    length: int | None = None
    """Bytes of a stream where that is known: then it is not chunked."""
    after: Callable[[int], None] | None = None
    """Called when the answer has been sent, or broken off, with the bytes of its body that went out."""


def json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value (Structs, dicts, lists, …) as JSON. The content type is exactly application/json: the CLI compares."""
    return Response(status, _encoder.encode(value) + b"\n", JSON, headers or {})


def empty(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """No body."""
    return Response(status, headers=headers or {})


def raw(
    body: bytes, content_type: str = "text/plain; charset=utf-8", status: int = 200, headers: Mapping[str, str] = {}
) -> Response:
    """Bytes as they are."""
    return Response(status, body, content_type, headers)


def stream(
    pieces: AsyncIterator[bytes],
    content_type: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    hold: bool = False,
) -> Response:
    """A chunked body: each piece is sent at once, and the next is asked for when the client has taken the last.

    The iterator is closed when the client goes away. `hold` keeps the header back until the first piece.
    An error after the header breaks the connection off, which tells the client that the stream is not whole.
    """
    return Response(status, pieces, content_type, headers or {}, hold)


def progress(messages: AsyncIterator[Any], content_type: str = JSON) -> Response:
    """Pull, push, load, build: JSON objects, one a line, ended by `\\r\\n`.

    An error before the first message is an ordinary error; after it, it becomes the last line.
    """
    return Response(200, _lines(messages), content_type, {}, True)


async def _lines(messages: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    begun = False
    try:
        async for message in messages:
            begun = True
            yield _encoder.encode(message) + b"\r\n"
    except TiffinError as error:
        if not begun:
            raise
        text = errors.message(error)
        yield _encoder.encode({"errorDetail": {"message": text}, "error": text}) + b"\r\n"
