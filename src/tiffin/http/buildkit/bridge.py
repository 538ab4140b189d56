"""moby.buildkit.v1.frontend.LLBBridge: the calls with which `docker build` drives a build of its own.

A result's definition, which bake hands from one target to another, is an opaque source: it names the result.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

from tiffin.build.solve.solved import Solved
from tiffin.errors import Invalid, NotFound, TiffinError, Unsupported
from tiffin.http.buildkit.failures import status_of
from tiffin.http.buildkit.frontend import Frontend, Outcome
from tiffin.http.buildkit.jobs import Job, Jobs
from tiffin.http.buildkit.sending import entry_of
from tiffin.http.buildkit.threads import in_thread
from tiffin.linux import paths
from tiffin.model.digest import digest_of
from tiffin.wire.buildkit import gateway, message, parse
from tiffin.wire.grpc.status import Code, StatusError
from tiffin.wire.grpc.stream import Stream

_PACKAGE = "moby.buildkit.v1.frontend."
_OPAQUE = "tiffin-ref://"
_FILE_LIMIT = 15 << 20

CAPABILITIES = (
    "solve.base",
    "solve.inlinereturn",
    "resolveimage",
    "readfile",
    "readdir",
    "statfile",
    "return",
    "returnmap",
    "proto.refarray",
    "frontend.inputs",
    "gateway.solve.metadata",
    "gateway.evaluate",
    "gateway.evaluate.solve",
    "gateway.warnings",
    "reference.output",
)

BUILDING = ("exporter.image.attestations", "exporter.multiple", "gc.freespacefilter")


class Bridge:
    """The service. `frontend` makes a Frontend for a job, `worker` a WorkerRecord; `ended` knows jobs that are over."""

    def __init__(
        self,
        jobs: Jobs,
        ended: Callable[[str], Job | None],
        frontend: Callable[[Job], Frontend],
        images: Any,
        worker: Callable[[], Any],
    ) -> None:
        self._jobs, self._ended, self._frontend, self._images, self._worker = jobs, ended, frontend, images, worker
        self._methods: dict[str, Callable[[Job, bytes], Awaitable[Any]]] = {
            "Ping": self._ping,
            "Solve": self._solve,
            "Return": self._return,
            "Inputs": self._inputs,
            "Evaluate": self._evaluate,
            "ReadFile": self._read_file,
            "ReadDir": self._read_directory,
            "StatFile": self._stat_file,
            "ResolveImageConfig": self._resolve_image,
            "Warn": self._warn,
        }

    async def serve(self, method: str, stream: Stream) -> None:
        """One call. Raises StatusError, tiffin.errors."""
        handler = self._methods.get(method)
        if handler is None:
            raise StatusError(Code.UNIMPLEMENTED, f"{method} is not supported by this builder")
        job = await self._jobs.get(stream.value("buildkit-controlapi-buildid"), self._ended)
        if job.ended:
            raise NotFound(f"no such job {job.ref}")
        answer = await handler(job, await stream.receive_one())
        await stream.send(answer.SerializeToString())

    async def _ping(self, job: Job, data: bytes) -> Any:
        answer = gateway("PongResponse", Workers=[self._worker()])
        for name in CAPABILITIES:
            answer.FrontendAPICaps.add(ID=name, Enabled=True)
        for name in BUILDING:
            answer.LLBCaps.add(ID=name, Enabled=True)
        return answer

    async def _solve(self, job: Job, data: bytes) -> Any:
        request = parse(_PACKAGE + "SolveRequest", data)
        if not request.Frontend:
            return self._solved_definition(job, request)
        if request.Frontend not in ("dockerfile.v0", "gateway.v0"):
            raise Unsupported(f"frontend {request.Frontend!r} is not known here: there is dockerfile.v0")
        job.frontend, job.attributes = request.Frontend, dict(request.FrontendOpt)
        inputs = given_inputs(request.FrontendInputs, self._jobs)
        entitlements = frozenset(job.request.Entitlements)
        work = asyncio.ensure_future(self._frontend(job).solve(request.FrontendOpt, inputs, entitlements))
        job.tasks.add(work)
        try:
            outcome = await work
        except asyncio.CancelledError:
            # the job has ended under us, or this call was given up
            work.cancel()
            raise
        except (TiffinError, OSError) as error:
            raise status_of(error, job.narrator.source) from error
        finally:
            job.tasks.discard(work)
        return _answer(outcome)

    def _solved_definition(self, job: Job, request: Any) -> Any:
        """A graph: nothing, or one of our own results."""
        answer = gateway("SolveResponse")
        answer.result.ref.id = ""
        if request.HasField("Definition") and getattr(request.Definition, "def"):
            id = referenced(request.Definition)
            if self._jobs.result(id) is None:
                raise Unsupported("graphs of the client's own (LLB) are not solved here: build a Dockerfile")
            answer.result.ref.id = id
        return answer

    async def _return(self, job: Job, data: bytes) -> Any:
        if not job.returned.done():
            job.returned.set_result(parse(_PACKAGE + "ReturnRequest", data))
        return gateway("ReturnResponse")

    async def _inputs(self, job: Job, data: bytes) -> Any:
        return gateway("InputsResponse", Definitions=job.request.FrontendInputs)

    async def _evaluate(self, job: Job, data: bytes) -> Any:
        # results are made when they are asked for
        self._result(job, parse(_PACKAGE + "EvaluateRequest", data).Ref)
        return gateway("EvaluateResponse")

    async def _warn(self, job: Job, data: bytes) -> Any:
        request = parse(_PACKAGE + "WarnRequest", data)
        told = message("moby.buildkit.v1.StatusResponse")()
        told.warnings.add(
            vertex=request.digest,
            level=request.level,
            short=request.short,
            detail=request.detail,
            url=request.url,
            info=request.info,
            ranges=request.ranges,
        )
        job.tell(told)
        return gateway("WarnResponse")

    async def _resolve_image(self, job: Job, data: bytes) -> Any:
        request = parse(_PACKAGE + "ResolveImageConfigRequest", data)
        image = await in_thread(self._images.get, request.Ref)
        return gateway("ResolveImageConfigResponse", Digest=str(image.id), Config=image.config.raw, Ref=request.Ref)

    # Looking into results

    def _result(self, job: Job, id: str) -> Solved:
        solved = job.results.get(id)
        if solved is None:
            raise NotFound(f"no such ref: {id!r}")
        return solved

    async def _read_file(self, job: Job, data: bytes) -> Any:
        request = parse(_PACKAGE + "ReadFileRequest", data)
        content = await in_thread(_read, self._result(job, request.Ref), request)
        return gateway("ReadFileResponse", Data=content)

    async def _read_directory(self, job: Job, data: bytes) -> Any:
        request = parse(_PACKAGE + "ReadDirRequest", data)
        entries = await in_thread(_list, self._result(job, request.Ref), request)
        return gateway("ReadDirResponse", entries=entries)

    async def _stat_file(self, job: Job, data: bytes) -> Any:
        request = parse(_PACKAGE + "StatFileRequest", data)
        return gateway("StatFileResponse", stat=await in_thread(_stat, self._result(job, request.Ref), request))


def _answer(outcome: Outcome) -> Any:
    answer = gateway("SolveResponse")
    if outcome.several:
        for platform, id in outcome.ids.items():
            answer.result.refs.refs[platform].MergeFrom(reference(id))
    else:
        answer.result.ref.id = next(iter(outcome.ids.values()), "")
        if answer.result.ref.id:
            answer.result.ref.MergeFrom(reference(answer.result.ref.id))
    for name, value in outcome.metadata.items():
        answer.result.metadata[name] = value
    return answer


def reference(id: str) -> Any:
    """A Ref whose definition leads back to the result: a source, and the vertex that stands for its output."""
    source = message("pb.Op")()
    source.source.identifier = _OPAQUE + id
    first = source.SerializeToString(deterministic=True)
    output = message("pb.Op")()
    output.inputs.add(digest=digest_of(first))
    second = output.SerializeToString(deterministic=True)
    definition = message("pb.Definition")(**{"def": [first, second]})
    for data in (first, second):
        definition.metadata[digest_of(data)].caps["source.image"] = True
    return gateway("Ref", **{"id": id, "def": definition})


def referenced(definition: Any) -> str:
    """The result that a definition leads to, "" for a graph that is not ours."""
    for data in getattr(definition, "def"):
        identifier = parse("pb.Op", data).source.identifier
        if identifier.startswith(_OPAQUE):
            return str(identifier.removeprefix(_OPAQUE))
    return ""


def given_inputs(definitions: Mapping[str, Any], jobs: Jobs) -> dict[str, Solved]:
    """What `input:NAME` contexts stand for. Raises Invalid."""
    found = {}
    for name, definition in definitions.items():
        solved = jobs.result(referenced(definition))
        if solved is None:
            raise Invalid(f"input {name} is not a result of this builder, or its build has ended")
        found[name] = solved
    return found


@contextmanager
def _opened(solved: Solved, path: str, flags: int) -> Iterator[int]:
    with solved.opened() as root:
        try:
            descriptor = paths.open_in(root, os.fsencode(path), flags)
        except FileNotFoundError as error:
            raise NotFound(f"open {path}: no such file or directory") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _read(solved: Solved, request: Any) -> bytes:
    with _opened(solved, request.FilePath, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
        size = os.fstat(descriptor).st_size
        length = request.Range.Length if request.HasField("Range") and request.Range.Length else size
        if length > _FILE_LIMIT:
            raise Invalid(f"{request.FilePath} is too large to be read at once: {length} bytes")
        return os.pread(descriptor, length, request.Range.Offset)


def _list(solved: Solved, request: Any) -> list[Any]:
    with _opened(solved, request.DirPath, os.O_RDONLY | os.O_DIRECTORY) as directory:
        found = []
        for name in sorted(os.listdir(directory)):
            if not request.IncludePattern or fnmatchcase(name, request.IncludePattern):
                found.append(entry_of(name, os.stat(name, dir_fd=directory, follow_symlinks=False)))
        return found


def _stat(solved: Solved, request: Any) -> Any:
    with _opened(solved, request.Path, os.O_PATH | os.O_NOFOLLOW) as descriptor:
        return entry_of(os.path.basename(request.Path), os.fstat(descriptor))
