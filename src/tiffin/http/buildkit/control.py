"""moby.buildkit.v1.Control: what is built here, what becomes of a build, what the cache holds."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tiffin.engine import builds_foreign, system
from tiffin.engine.builds import Builds, CacheRecord, PruneRequest
from tiffin.errors import Invalid, TiffinError, Unsupported
from tiffin.http.buildkit import caches
from tiffin.http.buildkit.bridge import Bridge, given_inputs
from tiffin.http.buildkit.exporters import Exporter
from tiffin.http.buildkit.failures import code_of, status_of
from tiffin.http.buildkit.frontend import Frontend
from tiffin.http.buildkit.history import History
from tiffin.http.buildkit.jobs import Job, Jobs
from tiffin.http.buildkit.relay import relay
from tiffin.http.buildkit.results import Built
from tiffin.http.buildkit.sessions import Sessions, described
from tiffin.wire.buildkit import control, message, parse, stamp
from tiffin.wire.grpc.status import Code, StatusError, decode_status
from tiffin.wire.grpc.stream import Stream

_LABEL = "org.mobyproject.buildkit.worker."
FRONTENDS = ("dockerfile.v0", "gateway.v0")


class Control:
    """The service; `serve` is a connection's handler."""

    def __init__(self, builds: Builds, images: Any, gateway: Callable[[], str]) -> None:
        self._builds, self._images, self._gateway = builds, images, gateway
        self.sessions = Sessions()
        self._jobs = Jobs()
        self._history = History()
        self._bridge = Bridge(self._jobs, self._history.told, self._frontend, images, self.workers)
        self._methods: dict[str, Callable[[Stream], Awaitable[None]]] = {
            "Solve": self._solve,
            "Status": self._status,
            "Session": self._session,
            "ListWorkers": self._list_workers,
            "Info": self._info,
            "DiskUsage": self._disk_usage,
            "Prune": self._prune,
            "ListenBuildHistory": self._listen_history,
            "UpdateBuildHistory": self._update_history,
        }

    async def serve(self, stream: Stream) -> None:
        """One call. Raises StatusError."""
        _, service, method = [*stream.path.split("/"), "", ""][:3]
        try:
            if service == "moby.buildkit.v1.Control" and method in self._methods:
                await self._methods[method](stream)
            elif service == "moby.buildkit.v1.frontend.LLBBridge":
                await self._bridge.serve(method, stream)
            elif service == "grpc.health.v1.Health" and method == "Check":
                await stream.receive_one()
                await stream.send(message("grpc.health.v1.HealthCheckResponse")(status=1).SerializeToString())
            else:
                raise StatusError(Code.UNIMPLEMENTED, f"unknown method {method} for service {service}")
        except (TiffinError, OSError) as error:
            raise StatusError(code_of(error), str(error)) from error
        except ValueError as error:
            raise StatusError(Code.INVALID_ARGUMENT, str(error)) from error

    def _frontend(self, job: Job) -> Frontend:
        return Frontend(self._builds, self._images, self.sessions, job)

    # Building

    async def _solve(self, stream: Stream) -> None:
        response = await self.solve(parse("moby.buildkit.v1.SolveRequest", await stream.receive_one()))
        await stream.send(control("SolveResponse", ExporterResponse=response).SerializeToString())

    async def solve(self, request: Any, begun: Callable[[Job], None] = lambda job: None) -> dict[str, str]:
        """A build, to its end; what its exporters say. begun: gets the job, to follow it. Raises StatusError."""
        if not request.Ref:
            raise Invalid("a build needs a ref")
        job = Job(request.Ref, request.Session, request)
        await self._jobs.add(job)
        begun(job)
        failure: StatusError | None = None
        response: dict[str, str] = {}
        try:
            response = await self._worked(job)
            return response
        except StatusError as error:
            failure = error
            raise
        except (TiffinError, OSError) as error:
            failure = status_of(error, job.narrator.source)
            raise failure from error
        except asyncio.CancelledError:
            failure = StatusError(Code.CANCELLED, "the build was cancelled")
            raise
        except Exception as error:
            failure = StatusError(Code.INTERNAL, str(error) or type(error).__name__)
            raise
        finally:
            self._history.remember(job, response, failure)
            self._jobs.remove(job)

    async def _worked(self, job: Job) -> dict[str, str]:
        request = job.request
        wanted = caches.places(job)
        if request.Frontend:
            built, metadata = await self._by_frontend(job)
        else:
            built, metadata = await self._by_client(job)
        response = {name: value.decode("utf-8", "replace") for name, value in metadata.items() if _is_told(name)}
        if built.results:
            response |= await self._export(job, built)
            if wanted:
                session = await self.sessions.get(job.session)
                response |= await caches.export(self._builds, session, job, built.results.values())
        return response

    async def _by_frontend(self, job: Job) -> tuple[Built, Mapping[str, bytes]]:
        """The client leaves the build to us."""
        request = job.request
        if request.Frontend not in FRONTENDS:
            raise Unsupported(f"frontend {request.Frontend!r} is not known here: there is {FRONTENDS[0]}")
        inputs = given_inputs(request.FrontendInputs, self._jobs)
        outcome = await self._frontend(job).solve(request.FrontendAttrs, inputs, frozenset(request.Entitlements))
        return _built(job, outcome.ids, outcome.metadata, several=outcome.several), outcome.metadata

    async def _by_client(self, job: Job) -> tuple[Built, Mapping[str, bytes]]:
        """The client drives the build through the bridge and says what it returns."""
        if job.request.HasField("Definition") and getattr(job.request.Definition, "def"):
            raise Unsupported("graphs of the client's own (LLB) are not solved here: build a Dockerfile")
        returned = await job.returned
        if returned.HasField("error"):
            raise decode_status(returned.error.SerializeToString())
        result = returned.result
        kind = result.WhichOneof("alternative")
        several = kind in ("refs", "refsDeprecated")
        if kind == "refs":
            ids = {platform: ref.id for platform, ref in result.refs.refs.items()}
        elif kind == "refsDeprecated":
            ids = dict(result.refsDeprecated.refs)
        else:
            ids = {"": result.ref.id if kind == "ref" else result.refDeprecated}
        return _built(job, ids, result.metadata, several=several), result.metadata

    async def _export(self, job: Job, built: Built) -> dict[str, str]:
        request = job.request
        exporters = [(one.Type, dict(one.Attrs)) for one in request.Exporters]
        if not exporters and request.ExporterDeprecated:
            exporters = [(request.ExporterDeprecated, dict(request.ExporterAttrsDeprecated))]
        session = await self.sessions.get(job.session) if exporters else None
        response: dict[str, str] = {}
        for number, (kind, attributes) in enumerate(exporters):
            assert session is not None
            response |= await Exporter(self._builds, session, job, built).run(number, kind, attributes)
        return response

    async def _status(self, stream: Stream) -> None:
        request = parse("moby.buildkit.v1.StatusRequest", await stream.receive_one())
        job = await self._jobs.get(request.Ref, self._history.told)
        async for data in job.follow():
            await stream.send(data)

    async def _session(self, stream: Stream) -> None:
        """A session whose connection travels in this call's messages, as bake opens them."""
        headers: dict[str, str] = {}
        for name, value in stream.metadata:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.sessions.check(described(headers).id)
        ours, theirs = socket.socketpair()
        serving = asyncio.ensure_future(self.sessions.serve(headers, ours))
        try:
            await relay(stream, theirs, message("moby.buildkit.v1.BytesMessage"))
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    # About the builder

    def workers(self) -> Any:
        """A WorkerRecord: this machine."""
        record = message("moby.buildkit.v1.types.WorkerRecord")(ID="moby")
        for platform in builds_foreign.platforms():
            record.platforms.add(OS=platform.os, Architecture=platform.architecture, Variant=platform.variant)
        record.Labels[f"{_LABEL}executor"] = "tiffin"
        # by this buildx knows that the store holds indexes: several platforms, attestations, archives
        record.Labels[f"{_LABEL}snapshotter"] = "tiffin"
        record.Labels[f"{_LABEL}moby.host-gateway-ip"] = self._gateway()
        record.BuildkitVersion.CopyFrom(self._version())
        return record

    def _version(self) -> Any:
        return message("moby.buildkit.v1.types.BuildkitVersion")(package="tiffin", version=f"v{system.VERSION}")

    async def _list_workers(self, stream: Stream) -> None:
        await stream.receive_one()
        await stream.send(control("ListWorkersResponse", record=[self.workers()]).SerializeToString())

    async def _info(self, stream: Stream) -> None:
        await stream.receive_one()
        await stream.send(control("InfoResponse", buildkitVersion=self._version()).SerializeToString())

    # The cache

    async def _disk_usage(self, stream: Stream) -> None:
        request = parse("moby.buildkit.v1.DiskUsageRequest", await stream.receive_one())
        records = await asyncio.to_thread(self._builds.usage)
        wanted = _filters(request.filter)
        shown = [record_message(one) for one in records if _matches(one, wanted)]
        await stream.send(control("DiskUsageResponse", record=shown).SerializeToString())

    async def _prune(self, stream: Stream) -> None:
        request = parse("moby.buildkit.v1.PruneRequest", await stream.receive_one())
        filters = _filters(request.filter)
        if request.keepDuration:
            filters["until"] = (f"{request.keepDuration // 1_000_000_000}s",)
        wanted = PruneRequest(
            all=request.all,
            keep_storage=request.reservedSpace,
            max_used_space=request.maxUsedSpace,
            min_free_space=request.minFreeSpace,
            filters=filters,
        )
        removed, _ = await self._builds.prune(wanted)
        for record in removed:
            await stream.send(record_message(record).SerializeToString())

    # Builds of the past

    async def _listen_history(self, stream: Stream) -> None:
        request = parse("moby.buildkit.v1.BuildHistoryRequest", await stream.receive_one())
        async for event in self._history.events(request):
            await stream.send(event.SerializeToString())

    async def _update_history(self, stream: Stream) -> None:
        request = parse("moby.buildkit.v1.UpdateBuildHistoryRequest", await stream.receive_one())
        self._history.update(request)
        await stream.send(control("UpdateBuildHistoryResponse").SerializeToString())


def _built(job: Job, ids: Mapping[str, str], metadata: Mapping[str, bytes], *, several: bool) -> Built:
    """The job's results of these references, in the order that their platforms were asked for."""
    found = {platform: job.results[id] for platform, id in ids.items() if id in job.results}
    listed = json.loads(metadata.get("refs.platforms") or b"{}").get("Platforms") or []
    order = [one["ID"] for one in listed if one["ID"] in found]
    return Built({platform: found[platform] for platform in dict.fromkeys((*order, *found))}, several)


def _is_told(name: str) -> bool:
    return name.startswith(("frontend.", "result.")) or name == "version"


def record_message(record: CacheRecord) -> Any:
    """A UsageRecord."""
    told = control(
        "UsageRecord",
        ID=str(record.id),
        Mutable=False,
        InUse=record.in_use,
        Size=record.size,
        UsageCount=record.usage_count,
        Description=record.description,
        RecordType=record.type,
        Shared=record.shared,
        Parents=[str(parent) for parent in record.parents],
    )
    stamp(told.CreatedAt, record.created)
    if record.last_used:
        stamp(told.LastUsedAt, record.last_used)
    return told


def _filters(texts: Any) -> dict[str, tuple[str, ...]]:
    """BuildKit's filters: `type==regular`, `id~=…`, `until=24h`; all of them must hold."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        for part in filter(None, text.split(",")):
            name, _, value = part.replace("==", "=", 1).replace("~=", "=", 1).partition("=")
            found[name] = (*found.get(name, ()), value)
    return found


def _matches(record: CacheRecord, wanted: Mapping[str, tuple[str, ...]]) -> bool:
    values = {"id": str(record.id), "type": record.type, "description": record.description}
    flags = {"inuse": record.in_use, "shared": record.shared, "private": not record.shared, "mutable": False}
    for name, given in wanted.items():
        if name in values and values[name] not in given:
            return False
        if name in flags and not flags[name] and given != ("false",):
            return False
    return True
