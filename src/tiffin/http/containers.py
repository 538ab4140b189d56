"""/containers: create, list, inspect, and what changes their state. Streams are in `attach`, files in `archive`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from tiffin.containers.waits import Outcome
from tiffin.engine.containers import Containers
from tiffin.errors import Invalid
from tiffin.http import containers_views as views
from tiffin.http import response
from tiffin.http.containers_list import Names, Summaries
from tiffin.http.containers_shapes import creation, to_model
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.model.container_host import HostConfig
from tiffin.wire import containers as wire


def containers_of(request: Request) -> Containers:
    """The use cases."""
    found: Containers = request.services.containers
    return found


@route("POST", "/containers/create")
async def create(request: Request) -> Response:
    if not request.has_body:
        raise Invalid("invalid JSON: got EOF while reading request body")
    body = await request.json(wire.CreateBody)
    if request.since("1.42"):
        body.host_config.kernel_memory = msgspec.UNSET
    config, host, networks = creation(body)
    if not request.since("1.44") and len(networks) > 1:
        raise Invalid(
            "Container cannot be created with multiple network endpoints: connect it to the others afterwards"
        )
    found = await containers_of(request).creation.create(
        request.query.text("name"), config, host, networks, platform=request.query.text("platform")
    )
    return response.json(wire.Created(found.id, list(found.warnings)), status=201)


@route("GET", "/containers/json")
async def list_all(request: Request) -> Response:
    containers = containers_of(request)
    query = request.query
    filters: dict[str, list[str]] = {key: list(values) for key, values in query.filters().items()}
    for old in ("before", "since"):
        if query.text(old):
            filters.setdefault(old, []).append(query.text(old))
    found = containers.listing.select(filters, every=query.flag("all"), limit=query.integer("limit"))
    if not query.flag("size"):
        summaries: Summaries = request.services.summaries
        return response.raw(summaries.listed(containers.context, found, request.version), response.JSON)
    shown, names = [], Names()
    for one in found:
        sizes = await containers.listing.sizes(one)
        name = names.image(containers.context, one)
        shown.append(views.summary(containers.context, one, request.version, sizes, name))
    return response.json(shown)


@route("GET", "/containers/{id}/json")
async def inspect(request: Request) -> Response:
    containers = containers_of(request)
    container = containers.get(request["id"])
    sizes = await containers.listing.sizes(container) if request.query.flag("size") else None
    return response.json(views.inspect(containers.context, container, request.version, sizes))


@route("POST", "/containers/{id}/start")
async def start(request: Request) -> Response:
    await containers_of(request).lifecycle.start(request["id"])
    return response.empty()


def _timeout(request: Request) -> int | None:
    return request.query.integer("t") if request.query.text("t") else None


def _signal(request: Request) -> str:
    return request.query.text("signal") if request.since("1.42") else ""


@route("POST", "/containers/{id}/stop")
async def stop(request: Request) -> Response:
    await containers_of(request).signals.stop(request["id"], timeout=_timeout(request), signal_name=_signal(request))
    return response.empty()


@route("POST", "/containers/{id}/restart")
async def restart(request: Request) -> Response:
    signals = containers_of(request).signals
    await signals.restart(request["id"], timeout=_timeout(request), signal_name=_signal(request))
    return response.empty()


@route("POST", "/containers/{id}/kill")
async def kill(request: Request) -> Response:
    await containers_of(request).signals.kill(request["id"], request.query.text("signal"))
    return response.empty()


@route("POST", "/containers/{id}/pause")
async def pause(request: Request) -> Response:
    await containers_of(request).signals.pause(request["id"])
    return response.empty()


@route("POST", "/containers/{id}/unpause")
async def unpause(request: Request) -> Response:
    await containers_of(request).signals.unpause(request["id"])
    return response.empty()


@route("POST", "/containers/{id}/resize")
async def resize(request: Request) -> Response:
    height, width = size_of(request)
    await containers_of(request).signals.resize(request["id"], height, width)
    return response.empty(200)


def size_of(request: Request) -> tuple[int, int]:
    """`h` and `w` of a terminal. Raises Invalid."""
    return _characters(request, "height"), _characters(request, "width")


def _characters(request: Request, what: str) -> int:
    text = request.query.text(what[0])
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f'invalid resize {what} "{text}": invalid syntax')
    if len(text) > 5 or int(text) >= 65536:
        raise Invalid(f'invalid resize {what} "{text}": value out of range')
    return int(text)


@route("POST", "/containers/{id}/rename")
async def rename(request: Request) -> Response:
    await containers_of(request).changing.rename(request["id"], request.query.text("name"))
    return response.empty()


@route("POST", "/containers/{id}/update")
async def update(request: Request) -> Response:
    body = await request.json(wire.UpdateBody, required=False)
    host = to_model(body, HostConfig)
    given = {name: getattr(host, name) for name in host.__dataclass_fields__}
    warnings = await containers_of(request).changing.update(request["id"], given)
    return response.json({"Warnings": warnings or None})


@route("POST", "/containers/{id}/wait", cancel=True)
async def wait(request: Request) -> Response:
    condition = request.query.text("condition") if request.since("1.30") else ""
    outcome = containers_of(request).wait(request["id"], condition)
    return response.stream(_outcome(outcome), response.JSON)


async def _outcome(waiting: asyncio.Future[Outcome]) -> AsyncIterator[bytes]:
    """The header is on its way before the wait begins: `docker run` starts the container only then."""
    outcome = await waiting
    error = {"Error": {"Message": outcome.error}} if outcome.error else {}
    yield msgspec.json.encode({"StatusCode": outcome.exit_code, **error}) + b"\n"


@route("DELETE", "/containers/{id:.+}")
async def remove(request: Request) -> Response:
    query = request.query
    await containers_of(request).removal.remove(
        request["id"], volumes=query.flag("v"), force=query.flag("force"), link=query.flag("link")
    )
    return response.empty()


@route("POST", "/containers/prune", since="1.25")
async def prune(request: Request) -> Response:
    found = await containers_of(request).removal.prune(request.query.filters())
    return response.json({"ContainersDeleted": list(found.ids) or None, "SpaceReclaimed": found.bytes})


@route("GET", "/containers/{id}/top")
async def top(request: Request) -> Response:
    titles, rows = containers_of(request).processes(request["id"], request.query.text("ps_args"))
    return response.json({"Titles": titles, "Processes": rows})
