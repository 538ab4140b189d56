"""Steps of builds that failed, and a shell in one: routes of tiffin's own.

GET  /build/failed               the steps whose files are kept, newest first
POST /build/failed/shell         query: id (its beginning; none: the newest), cmd (repeated; none: the step's shell),
                                 h, w. The connection becomes a raw terminal, as with a container that has one
POST /build/failed/{id}/resize   query: h, w
"""

from __future__ import annotations

from tiffin.engine.builds_debug import Shells
from tiffin.errors import TiffinError
from tiffin.http import response
from tiffin.http.containers import size_of
from tiffin.http.hijack import RAW_STREAM, last_words
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.runtime.handles import Attachment
from tiffin.wire.build_failed import FailedStep


def _shells(request: Request) -> Shells:
    shells: Shells = request.services.builder.shells
    return shells


@route("GET", "/build/failed")
async def listed(request: Request) -> Response:
    found = _shells(request).listed()
    return response.json(
        [FailedStep(one.id, one.step.label, one.code, one.at // 1_000_000_000, one.size) for one in found]
    )


@route("POST", "/build/failed/shell")
async def shell(request: Request) -> Response | None:
    shells, size = _shells(request), size_of(request)
    command = request.query.texts("cmd")
    failed = shells.take(request.query.text("id"))
    try:
        stream = await request.hijack(content_type=RAW_STREAM)
    except BaseException:
        shells.give_back(failed)
        raise
    # the runtime takes the descriptor whatever happens, so what a failure says goes through a copy
    with stream.socket.dup() as spare:
        client = Attachment(stream.detach(), stdin=True, leftover=stream.leftover)
        try:
            await shells.open(failed, command, client, size)
        except TiffinError as error:
            await last_words(spare, f"{error}\r\n".encode())
    return None


@route("POST", "/build/failed/{id}/resize")
async def resize(request: Request) -> Response:
    await _shells(request).resize(request["id"], *size_of(request))
    return response.empty(200)
