"""A BuildKit client: one session that serves what the daemon asks for, one connection on which a build is asked for.

    builder = Builder(engine)
    response = await builder.build(Build(attributes, exporters, services), on_status)

Source of what travels: moby/buildkit client/solve.go, session/session.go.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tiffin.client.build_session import Services
from tiffin.client.engine import Engine
from tiffin.wire.buildkit import control, parse
from tiffin.wire.grpc.connection import Connection
from tiffin.wire.grpc.status import Code, StatusError

CLIENT_NAME = "tiffin"
_CONTROL = "/moby.buildkit.v1.Control/"
_STATUS_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """attributes are the frontend's; exporters pairs of type and attributes."""

    attributes: Mapping[str, str]
    services: Services
    exporters: Sequence[tuple[str, Mapping[str, str]]] = ()
    entitlements: Sequence[str] = ()
    cache_to: Sequence[tuple[str, Mapping[str, str]]] = ()
    cache_from: Sequence[tuple[str, Mapping[str, str]]] = ()
    ref: str = field(default_factory=lambda: os.urandom(13).hex())


class Builder:
    """Builds on a daemon, and asks it about its cache."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def build(self, build: Build, on_status: Callable[[Any], None]) -> dict[str, str]:
        """The exporter's response. `on_status` gets each StatusResponse. Raises StatusError."""
        session = os.urandom(13).hex()
        headers = {
            "X-Docker-Expose-Session-Uuid": session,
            "X-Docker-Expose-Session-Name": CLIENT_NAME,
            "X-Docker-Expose-Session-Sharedkey": build.services.shared_key,
        }
        methods = ",".join(build.services.methods())
        async with (
            self._opened("/session", headers | {"X-Docker-Expose-Session-Grpc-Method": methods}, build.services),
            self._opened("/grpc") as connection,
        ):
            request = control(
                "SolveRequest",
                Ref=build.ref,
                Session=session,
                Frontend="dockerfile.v0",
                FrontendAttrs=build.attributes,
                Entitlements=build.entitlements,
            )
            for kind, attributes in build.exporters:
                request.Exporters.add(Type=kind, Attrs=attributes)
            for kind, attributes in build.cache_to:
                request.Cache.Exports.add(Type=kind, Attrs=attributes)
            for kind, attributes in build.cache_from:
                request.Cache.Imports.add(Type=kind, Attrs=attributes)
            status = asyncio.ensure_future(_follow(connection, build.ref, on_status))
            try:
                data = await connection.unary(_CONTROL + "Solve", request.SerializeToString())
            finally:
                # what is told last comes on a stream of its own, and may be a moment behind
                await asyncio.wait([status], timeout=_STATUS_SECONDS)
                status.cancel()
                await asyncio.gather(status, return_exceptions=True)
            return dict(parse("moby.buildkit.v1.SolveResponse", data).ExporterResponse)

    async def ask(self, method: str, request: bytes) -> list[bytes]:
        """A call of the Control service, and all that it answers. Raises StatusError."""
        async with self._opened("/grpc") as connection:
            stream = connection.call(_CONTROL + method)
            await stream.send(request)
            await stream.end()
            return [data async for data in stream]

    @asynccontextmanager
    async def _opened(
        self, path: str, headers: Mapping[str, str] | None = None, services: Services | None = None
    ) -> AsyncIterator[Connection]:
        # connecting blocks, as the rest of the client does
        sock, first = await asyncio.to_thread(_upgraded, self._engine, path, headers or {})
        connection = Connection(handler=services.serve if services is not None else None)
        try:
            await connection.open(sock, first)
            yield connection
        finally:
            connection.close()


async def _follow(connection: Connection, ref: str, on_status: Callable[[Any], None]) -> None:
    stream = connection.call(_CONTROL + "Status")
    await stream.send(control("StatusRequest", Ref=ref).SerializeToString())
    await stream.end()
    try:
        async for data in stream:
            on_status(parse("moby.buildkit.v1.StatusResponse", data))
    except StatusError as error:
        # the build's own failure is what counts
        if error.code not in (Code.NOT_FOUND, Code.CANCELLED, Code.UNAVAILABLE):
            raise


def _upgraded(engine: Engine, path: str, headers: Mapping[str, str]) -> tuple[socket.socket, bytes]:
    """A socket that speaks HTTP/2 from now on, and what was read from it too early."""
    engine = engine.fork()
    response = engine.request("POST", path, headers={"Upgrade": "h2c", "Connection": "Upgrade", **headers})
    if response.status != 101:
        raise StatusError(
            Code.UNAVAILABLE, f"the daemon does not speak BuildKit's protocol: {path} answered {response.status}"
        )
    first = response.connection.leftover()
    sock = response.connection.socket
    return (sock if isinstance(sock, socket.socket) else _plain(sock)), first


def _plain(tls: Any) -> socket.socket:
    """A socket whose other end a thread carries over TLS, as TLS here is not a socket of its own."""
    ours, theirs = socket.socketpair()

    def carry() -> None:
        with theirs:
            while True:
                readable: Iterable[Any] = [tls] if tls.pending() else select.select([tls, theirs], [], [])[0]
                for one in readable:
                    data = one.recv(65536)
                    if not data:
                        tls.close()
                        return
                    (theirs if one is tls else tls).sendall(data)

    threading.Thread(target=carry, daemon=True).start()
    return ours
