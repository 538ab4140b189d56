"""BuildKit's two entries. What serves them is imported with the first client that comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiffin.errors import Invalid, Unsupported
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.http.services import Services

if TYPE_CHECKING:
    from tiffin.http.buildkit.control import Control


def control_of(services: Services) -> Control:
    """What serves BuildKit's calls."""
    if services.builder is None:
        raise Unsupported("building images is not part of this version; load, import or pull them")
    if services.buildkit is None:
        from tiffin.http.buildkit.control import Control

        services.buildkit = Control(services.builder, services.images, lambda: services.networks.host_gateway)
    control: Control = services.buildkit
    return control


def _expect_upgrade(request: Request) -> None:
    protocol = request.headers.get("upgrade", "")
    if protocol != "h2c":
        raise Invalid(f"protocol {protocol} not supported: ask to upgrade to h2c")


@route("POST", "/grpc", cancel=False)
async def serve_grpc(request: Request) -> Response | None:
    """gRPC on this connection: Control and LLBBridge are served."""
    from tiffin.wire.grpc.connection import Connection

    _expect_upgrade(request)
    control = control_of(request.services)
    hijacked = await request.hijack(content_type="", protocol="h2c")
    connection = Connection(handler=control.serve)
    try:
        await connection.open(hijacked.socket, hijacked.leftover)
        await connection.wait_closed()
    finally:
        connection.close()
    return None


@route("POST", "/session", cancel=False)
async def serve_session(request: Request) -> Response | None:
    """gRPC on this connection: the client serves what its builds need of it."""
    from tiffin.http.buildkit.sessions import described

    _expect_upgrade(request)
    sessions = control_of(request.services).sessions
    sessions.check(described(request.headers).id)
    hijacked = await request.hijack(content_type="", protocol="h2c")
    await sessions.serve(request.headers, hijacked.socket, hijacked.leftover)
    return None
