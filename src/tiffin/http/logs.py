"""/containers/ID/logs."""

from __future__ import annotations

import time

from tiffin.engine.container_logs import Asked
from tiffin.engine.moments import moment
from tiffin.http import response
from tiffin.http.containers import containers_of
from tiffin.http.hijack import MULTIPLEXED_STREAM, RAW_STREAM
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route


@route("GET", "/containers/{id}/logs")
async def logs(request: Request) -> Response:
    reader = containers_of(request).logs
    query = request.query
    asked = Asked(
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        follow=query.flag("follow"),
        since=_moment(request, "since"),
        until=_moment(request, "until"),
        timestamps=query.flag("timestamps"),
        details=query.flag("details"),
        tail=_tail(query.text("tail")),
    )
    container = reader.check(request["id"], asked)
    framed = not container.config.tty
    several = framed and request.since("1.42")
    return response.stream(reader.read(container, asked, framed), MULTIPLEXED_STREAM if several else RAW_STREAM)


def _moment(request: Request, key: str) -> int:
    text = request.query.text(key)
    return moment(text, time.time_ns()) if text and text != "0" else 0


def _tail(text: str) -> int:
    """A number of lines; anything else means all of them, as in docker."""
    return int(text) if text.isascii() and text.isdigit() else -1
