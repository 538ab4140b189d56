"""POST /build?version=2: BuildKit as docker 18.09 to 20.10 speak it without buildx.

The client serves its files on /session as buildx does; this request starts the build, and its answer carries what
buildx gets from `Control.Status`: each StatusResponse in base64, in lines with the id
`moby.buildkit.trace`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from tiffin.errors import Invalid, TiffinError, Unsupported
from tiffin.http import errors, response
from tiffin.http.grpc import control_of
from tiffin.http.request import Query, Request
from tiffin.http.response import Response
from tiffin.wire import build as wire

if TYPE_CHECKING:
    from tiffin.http.buildkit.jobs import Job

_TRACE, _IMAGE = "moby.buildkit.trace", "moby.image.id"
_REMOTE = "client-session"


def built(request: Request) -> Response:
    """A build whose files are in the session that the request names. Raises Invalid, Unsupported."""
    return response.progress(_lines(request, _solve_request(request.query)))


def _solve_request(query: Query) -> Any:
    from tiffin.wire.buildkit import control

    session = query.text("session")
    if not session:
        raise Invalid("a build with BuildKit needs a session")
    kind, attributes = "moby", {"name": ",".join(name for name in query.texts("t") if name)}
    outputs = _json(query, "outputs")
    if outputs:
        if len(outputs) > 1:
            raise Unsupported("one output only: builds with several need buildx")
        kind, attributes = str(outputs[0].get("Type") or ""), dict(outputs[0].get("Attrs") or {})
    return control(
        "SolveRequest",
        Ref=query.text("buildid") or os.urandom(16).hex(),
        Session=session,
        Frontend="dockerfile.v0",
        FrontendAttrs=_attributes(query),
        ExporterDeprecated=kind,
        ExporterAttrsDeprecated=attributes,
        Entitlements=["network.host"] if query.text("networkmode") == "host" else [],
    )


def _attributes(query: Query) -> dict[str, str]:
    """The query in the frontend's words."""
    found = {"filename": query.text("dockerfile") or "Dockerfile"}
    remote = query.text("remote")
    if remote == "upload-request":
        raise Unsupported("a context on stdin needs buildx, or DOCKER_BUILDKIT=0")
    if remote and remote != _REMOTE:
        found["context"] = remote
    pairs = {"target": "target", "platform": "platform", "networkmode": "force-network-mode", "shmsize": "shm-size"}
    found |= {name: query.text(key) for key, name in pairs.items() if query.text(key) not in ("", "0", "default")}
    if query.flag("nocache"):
        found["no-cache"] = ""
    if query.flag("pull"):
        found["image-resolve-mode"] = "pull"
    hosts = [host.replace(":", "=", 1) for host in query.texts("extrahosts") if host]
    if hosts:
        found["add-hosts"] = ",".join(hosts)
    if caches := _json(query, "cachefrom"):
        found["cache-from"] = ",".join(map(str, caches))
    for key, prefix in (("buildargs", "build-arg:"), ("labels", "label:")):
        given = _json(query, key)
        if isinstance(given, Mapping):
            found |= {prefix + str(name): str(value) for name, value in given.items() if value is not None}
    return found


def _json(query: Query, key: str) -> Any:
    try:
        return json.loads(query.text(key) or "null")
    except ValueError as error:
        raise Invalid(f"{key}: invalid JSON: {error}") from error


async def _lines(request: Request, solve: Any) -> AsyncIterator[wire.Line]:
    from tiffin.wire.grpc.status import StatusError

    begun: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
    work = asyncio.create_task(control_of(request.services).solve(solve, begun.set_result), name="build")
    try:
        await _first(work, begun)
        if begun.done():
            async for data in begun.result().follow():
                yield wire.Line(id=_TRACE, aux=base64.b64encode(data).decode())
        told = await work
        if image := told.get("containerimage.config.digest"):
            yield wire.Line(id=_IMAGE, aux={"ID": image})
    except (TiffinError, StatusError) as error:
        text = errors.message(error)
        yield wire.Line(error_detail=wire.ErrorDetail(0, text), error=text)
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await work


async def _first(*waited: asyncio.Future[Any]) -> None:
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
