"""A request as handlers see it.

@route("POST", "/containers/{id}/rename")
async def rename(request: Request) -> Response:
    await request.services.containers.rename(request["id"], request.query.text("name"))
    return response.empty()

@route("POST", "/containers/create")
async def create(request: Request) -> Response:
    body = await request.json(wire.ContainerCreate)      # a msgspec Struct; raises Invalid, which becomes a 400
    ...
    return response.json(wire.ContainerCreated(...), status=201)

@route("POST", "/containers/{id}/attach")
async def attach(request: Request) -> Response | None:
    stream = await request.hijack()                      # the 101 is on its way, the socket is ours
    ...hand stream.detach() and stream.leftover to the monitor...
    return None
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

from tiffin.errors import Invalid
from tiffin.http import decode
from tiffin.http.filters import Filters, parse
from tiffin.http.hijack import RAW_STREAM, Hijacked
from tiffin.http.lending import Lent
from tiffin.http.upgrade import consumed

T = TypeVar("T")
Version = tuple[int, int]

BODY_LIMIT = 4 << 20
"""Bytes that a body which is read whole may have; streams have no limit here."""

_FALSE = frozenset(("", "0", "no", "false", "none"))


class Exchange(Protocol):
    """The connection's end of a request."""

    @property
    def peer(self) -> str:
        """The client's address, empty on a unix socket."""
        ...

    async def receive(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises Invalid when the client breaks off."""
        ...

    def lend(self) -> Lent | None:
        """The body, for a thread to read by itself where that can be."""
        ...

    async def hijack(self, content_type: str, protocol: str) -> Hijacked:
        """Answer the upgrade and give the socket away."""
        ...

    async def websocket(self) -> Hijacked:
        """Answer a WebSocket handshake; frames are translated on their way."""
        ...


class Query(dict[str, list[str]]):
    """The query string: each key with its values in order."""

    @classmethod
    def of(cls, text: str) -> Query:
        """Parse; raises Invalid when it has more than a thousand fields."""
        query = cls()
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise Invalid(f"the query string can't be read: {error}") from error
        for key, value in pairs:
            query.setdefault(key, []).append(value)
        return query

    def text(self, key: str, default: str = "") -> str:
        """The first value."""
        values = self.get(key)
        return values[0] if values else default

    def texts(self, key: str) -> list[str]:
        """Every value, for keys such as `names` that may repeat."""
        return self.get(key, [])

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean in docker's spelling: false is empty, 0, no, false, none; the rest is true. `default` if absent."""
        values = self.get(key)
        return default if values is None else values[0].strip().lower() not in _FALSE

    def integer(self, key: str, default: int = 0) -> int:
        """A whole number, `default` if absent or empty. Raises Invalid for anything else."""
        text = self.text(key).strip()
        if not text:
            return default
        try:
            number = int(text)
        except ValueError as error:
            raise Invalid(f"{key}={text[:40]}: not a whole number") from error
        if not -(1 << 63) <= number < 1 << 63:
            raise Invalid(f"{key}={text[:40]}: value out of range")
        return number

    def filters(self, allowed: Collection[str] | None = None, key: str = "filters") -> Filters:
        """The filters. Raises Invalid `invalid filter 'x'` for a key that is not `allowed` (None allows all)."""
        given = parse(self.text(key))
        return given if allowed is None else given.only(allowed)


@dataclass(slots=True)
class Request:
    """One request. `request["id"]` is a parameter of the path, percent-decoded."""

    method: str
    path: str
    """Without the version, percent-decoded."""
    headers: Mapping[str, str]
    """Names in lower case; repeated ones joined with a comma."""
    query: Query
    version: Version
    """The API version asked for, (1, 51) on an unversioned path."""
    services: Any
    exchange: Exchange
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.parameters[name]

    def since(self, version: str) -> bool:
        """Whether the client speaks this API version or a later one: `request.since("1.42")`."""
        major, _, minor = version.partition(".")
        return self.version >= (int(major), int(minor))

    @property
    def has_body(self) -> bool:
        """Whether the client announced a body, be it of unknown length."""
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0").strip("0 ") != ""

    @property
    def wants_upgrade(self) -> bool:
        """Whether the client asked to leave HTTP on this connection."""
        return "upgrade" in self.headers

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes in; reading slowly slows the client down. Raises Invalid when the client breaks off."""
        while piece := await self.exchange.receive():
            yield piece

    async def body(self, limit: int = BODY_LIMIT) -> bytes:
        """The whole body. Raises Invalid when it has more than `limit` bytes."""
        pieces = bytearray()
        while piece := await self.exchange.receive():
            pieces += piece
            if len(pieces) > limit:
                raise Invalid(f"the request's body is too large: more than {limit} bytes")
        return bytes(pieces)

    async def json(self, kind: type[T], *, required: bool = True) -> T:
        """The body as `kind`. Keys match in any case, null means absent, unknown fields are ignored.

        Without `required` a missing body is `kind()`. Raises Invalid for malformed JSON, a wrong type, an empty
        body, or a Content-Type other than application/json (a browser can't send that one across sites unasked).
        """
        if not self.has_body and not required:
            return kind()
        if self.has_body:
            self._expect_json()
        body = await self.body()
        if not body.strip():
            if not required:
                return kind()
            raise Invalid("invalid JSON: got EOF while reading request body")
        return decode.decode(body, kind)

    def _expect_json(self) -> None:
        given = self.headers.get("content-type", "")
        media, _, _ = given.partition(";")
        if not media.strip():
            raise Invalid("malformed Content-Type header (): mime: no media type: it must be 'application/json'")
        if media.strip().lower() != "application/json":
            raise Invalid(f"unsupported Content-Type header ({given}): must be 'application/json'")

    async def hijack(self, *, content_type: str = RAW_STREAM, protocol: str = "tcp", at_once: bool = False) -> Hijacked:
        """Leave HTTP: a 101 when the client asked to upgrade, else a raw 200, then the socket is the caller's.

        When this returns, the client has read the header; with `at_once` it has left, and before anything else is
        written `consumed` is to be waited for. Return None from the handler afterwards.
        """
        hijacked = await self.exchange.hijack(content_type, protocol)
        if not at_once:
            try:
                await consumed(hijacked.socket)
            except BaseException:
                hijacked.close()
                raise
        return hijacked

    async def websocket(self) -> Hijacked:
        """Become a WebSocket whose binary messages are the stream. Raises Invalid without a proper handshake."""
        return await self.exchange.websocket()
