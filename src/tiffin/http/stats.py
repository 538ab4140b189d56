"""/containers/ID/stats."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from tiffin.errors import Invalid
from tiffin.http import response
from tiffin.http.containers import containers_of
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route


@route("GET", "/containers/{id}/stats")
async def stats(request: Request) -> Response:
    containers = containers_of(request)
    query = request.query
    containers.get(request["id"])
    stream, at_once = query.flag("stream", default=True), query.flag("one-shot") and request.since("1.41")
    if stream and at_once:
        raise Invalid("cannot have stream=true and one-shot=true")
    if not stream:
        return response.json(await containers.statistics.once(request["id"], at_once=at_once))
    return response.stream(_lines(containers.statistics.stream(request["id"])), response.JSON)


async def _lines(samples: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for sample in samples:
        yield msgspec.json.encode(sample) + b"\n"
