"""/containers/ID/attach and attach/ws: the client's socket is given to the container's monitor."""

from __future__ import annotations

from tiffin.engine.container_attach import Wanted
from tiffin.http.containers import containers_of
from tiffin.http.hijack import MULTIPLEXED_STREAM, RAW_STREAM
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route


def _wanted(request: Request) -> Wanted:
    query = request.query
    return Wanted(
        stdin=query.flag("stdin"),
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        stream=query.flag("stream"),
        logs=query.flag("logs"),
        detach_keys=query.text("detachKeys"),
    )


@route("POST", "/containers/{id}/attach")
async def attach(request: Request) -> Response | None:
    attaching = containers_of(request).attaching
    wanted = _wanted(request)
    container = attaching.check(request["id"], wanted)
    framed = not container.config.tty
    several = framed and request.wants_upgrade and request.since("1.42")
    with attaching.arriving(container):
        stream = await request.hijack(content_type=MULTIPLEXED_STREAM if several else RAW_STREAM)
        await attaching.attach(container, wanted, stream.detach(), stream.leftover, framed)
    return None


@route("GET", "/containers/{id}/attach/ws", cancel=False)
async def attach_websocket(request: Request) -> Response | None:
    attaching = containers_of(request).attaching
    wanted = _wanted(request)
    container = attaching.check(request["id"], wanted)
    with attaching.arriving(container):
        stream = await request.websocket()
        await attaching.attach(container, wanted, stream.detach(), stream.leftover, framed=False)
    return None
