"""POST /build, the classic builder's endpoint, and POST /build/prune."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.options import BuildOptions
from tiffin.build.solve.events import Event, VertexProgress
from tiffin.build.solve.failures import StepFailed
from tiffin.build.solve.request import BuildRequest, Nobody
from tiffin.engine import builds_contexts
from tiffin.engine.builds import Builds, PruneRequest
from tiffin.engine.builds_classic import Narrator, message_of
from tiffin.engine.builds_contexts import Unpacked
from tiffin.engine.builds_prune import FILTERS
from tiffin.engine.threads import in_thread
from tiffin.errors import Invalid, NotFound, TiffinError, Unsupported
from tiffin.http import build_session, errors, registry, response
from tiffin.http.flows import Inflow
from tiffin.http.request import Query, Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.model.container_host import HostConfig, Ulimit
from tiffin.model.digest import digest_of, hex_of
from tiffin.model.reference import Reference, parse_reference
from tiffin.registry.credentials import NOBODY, Credentials, from_config_header
from tiffin.wire import build as wire

_SHORT = 12


@dataclass(frozen=True, slots=True)
class _Client(Nobody):
    """What a request brings besides its context: credentials by registry."""

    known: Mapping[str, Credentials]

    async def credentials(self, domain: str) -> Credentials:
        return self.known.get(domain, NOBODY)


def _builds(request: Request) -> Builds:
    builds: Builds = request.services.builder
    return builds


@route("POST", "/build")
async def built(request: Request) -> Response:
    """An image of a context and its Dockerfile."""
    query = request.query
    if query.text("version") == "2":
        return build_session.built(request)
    _refuse(query)
    names = [_name(text) for text in query.texts("t") if text]
    options, host = _options(request), _host(query)
    undo = ExitStack()
    try:
        path = await asyncio.to_thread(undo.enter_context, _builds(request).scratch())
        name = await _context(request, path)
        context = path / "context"
        source = await asyncio.to_thread(builds_contexts.dockerfile, context, name)
        ignore = await asyncio.to_thread(builds_contexts.ignored, context, name)
        build = BuildRequest(
            dockerfile=source,
            options=replace(options, ignore=ignore),
            name=name,
            contexts={"context": Unpacked(context)},
            client=_Client(from_config_header(request.headers.get("x-registry-config", ""))),
            pull=query.flag("pull"),
            cache_from=_cache_from(query),
            entitlements=frozenset(("network.host",)),
            host=host,
        )
        return response.progress(_lines(request, build, names, undo))
    except BaseException:
        await asyncio.to_thread(undo.close)
        raise


def _refuse(query: Query) -> None:
    if query.flag("squash"):
        raise Unsupported("squash is not supported: build with several stages and copy what you need into the last")
    if query.text("isolation") not in ("", "default"):
        raise Invalid(f"Unsupported isolation: {query.text('isolation')!r}".replace("'", '"'))
    if query.text("outputs") not in ("", "[]", "null"):
        raise Unsupported("outputs are not supported by POST /build: newer clients use /grpc")


def _name(text: str) -> Reference:
    name = parse_reference(text)
    if name.digest:
        raise Invalid(f"build tag cannot contain a digest: {text}")
    return name.with_default_tag()


def _json(query: Query, key: str, kind: type[Any]) -> Any:
    text = query.text(key)
    if not text:
        return kind()
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Invalid(f"{key}: invalid JSON: {error}") from error
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise Invalid(f"{key}: expected a JSON {'object' if kind is dict else 'list'}")
    return value


def _options(request: Request) -> BuildOptions:
    query = request.query
    arguments = _json(query, "buildargs", dict)
    network = query.text("networkmode")
    return BuildOptions(
        target=query.text("target"),
        build_args={str(name): str(value) for name, value in arguments.items() if value is not None},
        labels={str(name): str(value) for name, value in _json(query, "labels", dict).items()},
        platform=registry.platform(request),
        no_cache=() if query.flag("nocache") else None,
        network=network if network in ("host", "none") else "default",
    )


def _cache_from(query: Query) -> tuple[str, ...] | None:
    given = _json(query, "cachefrom", list)
    return tuple(map(str, given)) if given else None


def _host(query: Query) -> HostConfig:
    ulimits = tuple(_ulimit(one) for one in _json(query, "ulimits", list))
    hosts = [host for text in query.texts("extrahosts") for host in text.split(",") if host]
    return HostConfig(
        network_mode=query.text("networkmode") or "default",
        memory=query.integer("memory"),
        memory_swap=query.integer("memswap"),
        cpu_shares=query.integer("cpushares"),
        cpu_period=query.integer("cpuperiod"),
        cpu_quota=query.integer("cpuquota"),
        cpuset_cpus=query.text("cpusetcpus"),
        cpuset_mems=query.text("cpusetmems"),
        cgroup_parent=query.text("cgroupparent"),
        shm_size=query.integer("shmsize"),
        ulimits=ulimits,
        extra_hosts=tuple(hosts),
        security_opt=tuple(map(str, _json(query, "securityopt", list))) or None,
    )


def _ulimit(given: Any) -> Ulimit:
    try:
        return Ulimit(str(given["Name"]), hard=int(given["Hard"]), soft=int(given["Soft"]))
    except (KeyError, TypeError, ValueError):
        raise Invalid("ulimits: expected objects with Name, Hard and Soft") from None


async def _context(request: Request, path: Path) -> str:
    """Fill path/context; the Dockerfile's name."""
    name = request.query.text("dockerfile") or builds_contexts.DEFAULT
    remote = request.query.text("remote")
    if remote:
        found = await in_thread(builds_contexts.fetch, remote, path, lambda stream, data: None)
        return found or name
    if not request.has_body:
        raise Invalid("no build context: send a tar archive, or give remote=")
    _check_type(request)
    body = Inflow(request)
    (path / "context").mkdir()
    try:
        await in_thread(builds_contexts.unpack, body, path / "context")
    finally:
        await body.close()
    return name


def _check_type(request: Request) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in ("", "application/x-tar", "application/tar", "application/octet-stream", "text/plain"):
        raise Invalid(f"Content-Type is not supported: {given}; send application/x-tar")


class _Stream:
    """Lines of a build, from where they are made to the client."""

    def __init__(self, quiet: bool) -> None:
        self.queue: asyncio.Queue[wire.Line | None] = asyncio.Queue()
        self._quiet = quiet

    def tell(self, text: str) -> None:
        if not self._quiet:
            self.queue.put_nowait(wire.Line(stream=text))

    def put(self, line: wire.Line) -> None:
        self.queue.put_nowait(line)

    def progress(self, event: Event) -> None:
        if isinstance(event, VertexProgress) and event.total and not self._quiet:
            what, _, which = event.id.rpartition(" ")
            detail = wire.ProgressDetail(current=event.current, total=event.total)
            self.put(wire.Line(status=what.capitalize(), id=which, progress_detail=detail))


async def _lines(
    request: Request, build: BuildRequest, names: list[Reference], undo: ExitStack
) -> AsyncIterator[wire.Line]:
    stream = _Stream(request.query.flag("q"))
    work = asyncio.create_task(_work(request, build, names, stream), name="build")
    work.add_done_callback(lambda _: stream.queue.put_nowait(None))
    begun = False
    try:
        while (line := await stream.queue.get()) is not None:
            begun = True
            yield line
        error = work.exception()
        if error is None:
            return
        if not isinstance(error, TiffinError | DockerfileError) or (not begun and not isinstance(error, StepFailed)):
            raise error
        text = message_of(error) if isinstance(error, StepFailed) else errors.message(error)
        code = error.code if isinstance(error, StepFailed) else 0
        yield wire.Line(error_detail=wire.ErrorDetail(code, text), error=text)
    finally:
        work.cancel()
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # retrieved: it was told above, or nobody is there to hear it
        await asyncio.to_thread(undo.close)


async def _work(request: Request, build: BuildRequest, names: list[Reference], stream: _Stream) -> None:
    builds, query = _builds(request), request.query
    narrator = Narrator(stream.tell, rm=query.flag("rm", True), forced=query.flag("forcerm"))
    labels = [f"{name}={value}" for name, value in build.options.labels.items()]

    def report(event: Event) -> None:
        stream.progress(event)
        narrator.hear(event)

    try:
        solved = await builds.solve(build, report, lambda plan, bases: narrator.begin(plan, labels, bases))
    except StepFailed as failed:
        narrator.fail(failed)
        raise
    try:
        existed = _exists(request, solved.document())
        made = await builds.export(solved, names)
    finally:
        solved.release()
    narrator.finish(made.config, existed=existed)
    stream.put(wire.Line(aux={"ID": made.config}))
    if query.flag("q"):
        stream.put(wire.Line(stream=f"{made.config}\n"))
        return
    stream.tell(f"Successfully built {hex_of(made.config)[:_SHORT]}\n")
    for name in names:
        stream.tell(f"Successfully tagged {name.familiar}\n")


def _exists(request: Request, document: bytes) -> bool:
    try:
        request.services.images.catalog.image(digest_of(document))
    except NotFound:
        return False
    return True


@route("POST", "/build/prune")
async def pruned(request: Request) -> Response:
    """Remove what builds have cached."""
    query = request.query
    wanted = PruneRequest(
        all=query.flag("all"),
        keep_storage=query.integer("keep-storage") or query.integer("reserved-space"),
        max_used_space=query.integer("max-used-space"),
        min_free_space=query.integer("min-free-space"),
        filters=query.filters(FILTERS),
    )
    removed, freed = await _builds(request).prune(wanted)
    request.services.events.publish("builder", "prune", "", {"reclaimed": str(freed)})
    return response.json(wire.Pruned(caches_deleted=[one.id for one in removed] or None, space_reclaimed=freed))


@route("POST", "/build/cancel")
async def cancelled(request: Request) -> Response:
    """A build under way ends with its connection: none is named here."""
    raise NotFound(f"no such build: {request.query.text('id')}")
