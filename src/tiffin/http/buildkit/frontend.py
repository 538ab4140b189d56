"""dockerfile.v0: from what a client says and offers to a BuildRequest, and to what the solver makes of it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tiffin.build.dockerfile.ignore import DEFAULT_NAME, ignore_file_names, read_patterns
from tiffin.build.options import BuildOptions
from tiffin.build.remotes import parse_git
from tiffin.build.solve.events import Event, Report, VertexProgress, VertexWarning
from tiffin.build.solve.request import BuildRequest, Context
from tiffin.build.solve.solved import Solved
from tiffin.build.steps import GitSource, HttpSource, ResultSource, Step
from tiffin.engine.builds import Builds
from tiffin.errors import Invalid, NotFound, Unsupported
from tiffin.http.buildkit.attributes import Attributes, read_attributes
from tiffin.http.buildkit.caches import whole
from tiffin.http.buildkit.callers import Caller, Directory, Upload, read_files
from tiffin.http.buildkit.jobs import Job
from tiffin.http.buildkit.sessions import Session, Sessions
from tiffin.http.buildkit.subrequests import answer
from tiffin.http.buildkit.threads import in_thread
from tiffin.linux import paths
from tiffin.model.digest import Digest
from tiffin.model.image import ImageConfig, parse_config
from tiffin.model.platform import Platform
from tiffin.wire.grpc.stream import QUEUED

_UPLOADED = "http://buildkit-session/"
_FETCHED = "fetched-context"
_COPY_ALL = b"FROM scratch\nCOPY / /\n"
_UNPACK = b"FROM scratch\nADD context /\n"
_DOCKERFILE_LIMIT = 16 * QUEUED


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a frontend gives: metadata, and the names in its job of the results, by platform; none for a question's
    answer. several: a result for each platform, though it be one."""

    ids: Mapping[str, str]
    metadata: Mapping[str, bytes]
    several: bool = False


@dataclass(slots=True)
class _Sources:
    """Where Dockerfile and context come from, as far as it is known."""

    dockerfile: bytes = b""
    ignore: bytes | None = None
    main: Step | None = None
    contexts: dict[str, Context] = field(default_factory=dict)
    results: dict[str, Solved] = field(default_factory=dict)


class Frontend:
    """Solves for one job of a client."""

    def __init__(self, builds: Builds, images: Any, sessions: Sessions, job: Job) -> None:
        self._builds, self._images, self._sessions, self._job = builds, images, sessions, job

    async def solve(
        self, given: Mapping[str, str], inputs: Mapping[str, Solved], entitlements: frozenset[str]
    ) -> Outcome:
        """Run a build, or answer a question about its Dockerfile. Raises as `Builds.solve` does."""
        attributes = read_attributes(given)
        _check_attestations(attributes)
        self._job.attributes = self._job.attributes or dict(given)
        self._job.attestations = attributes.attestations
        session = await self._sessions.get(self._job.session)
        sources, ignore = await self._read(attributes, session)
        options = replace(attributes.options, ignore=ignore, input_images=_input_images(attributes))
        if attributes.request:
            return Outcome({}, await answer(attributes, options, sources.dockerfile, self._images))
        request = BuildRequest(
            dockerfile=sources.dockerfile,
            options=options,
            name=attributes.filename,
            contexts=sources.contexts | await self._contexts(attributes, session),
            main=sources.main,
            results={**inputs, **sources.results},
            client=Caller(session),
            pull=attributes.pull,
            explain=attributes.explain,
            imports=attributes.cache_from,
            inline=any(one.Type == "inline" for one in self._job.request.Cache.Exports),
            whole_trail=whole(self._job),
            entitlements=entitlements,
            host=attributes.host,
        )
        return await self._solved(request, attributes.platforms or (options.platform,), self._job.report)

    async def _solved(self, request: BuildRequest, platforms: Sequence[Platform | None], report: Report) -> Outcome:
        """Each platform's build, side by side: what they have in common is done once."""
        requests = (replace(request, options=replace(request.options, platform=one)) for one in platforms)
        owners: dict[Digest, int] = {}
        works = [self._builds.solve(one, _first_of(owners, n, report)) for n, one in enumerate(requests)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._kept(work)) for work in works]
        except ExceptionGroup as several:
            # the first is the cause, and the only one that can be told
            raise several.exceptions[0] from several
        return self._outcome(dict(task.result() for task in tasks), several=request.options.multi_platform)

    async def _kept(self, work: Awaitable[Solved]) -> tuple[str, Solved]:
        """A result, and the name it has got in the job, which releases it."""
        solved, id = await work, os.urandom(13).hex()
        self._job.results[id] = solved
        return id, solved

    def _outcome(self, results: Mapping[str, Solved], *, several: bool) -> Outcome:
        metadata = {"refs.platforms": _platforms([solved.image.platform for solved in results.values()])}
        for solved in results.values():
            metadata["containerimage.config" + (f"/{solved.image.platform}" if several else "")] = solved.document()
            if solved.plan.epoch is not None:
                metadata["source.date.epoch"] = str(solved.plan.epoch).encode()
        return Outcome({str(solved.image.platform): id for id, solved in results.items()}, metadata, several)

    # Where things come from

    async def _session(self, attributes: Attributes, name: str, own: Session) -> Session:
        other = attributes.sessions.get(name)
        return await self._sessions.get(other) if other else own

    async def _contexts(self, attributes: Attributes, session: Session) -> dict[str, Context]:
        found: dict[str, Context] = {}
        main = attributes.context_name
        found[main] = Directory(await self._session(attributes, main, session), main)
        for name, value in attributes.options.contexts.items():
            kind, _, local = value.partition(":")
            if kind == "local":
                offered = await self._session(attributes, local, session)
                found[local] = Directory(offered, local, ignore=True, shared_key=attributes.shared_keys.get(name, ""))
        return found

    async def _read(self, attributes: Attributes, session: Session) -> tuple[_Sources, tuple[str, ...]]:
        """The sources, and what of the client's directory is to be ignored. Both files are asked for at once, as few
        Dockerfiles have an ignore file of their own."""
        ahead = None if attributes.context else asyncio.ensure_future(self._ignore_file(attributes, session))
        try:
            sources = await self._sources(attributes, session)
            self._job.narrator.source = (attributes.filename, sources.dockerfile)
            return sources, () if ahead is None else await self._ignored(sources.ignore, ahead)
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _ignore_file(self, attributes: Attributes, session: Session) -> bytes:
        name = attributes.context_name
        offered = await self._session(attributes, name, session)
        return (await read_files(offered, name, [DEFAULT_NAME])).get(DEFAULT_NAME, b"")

    async def _sources(self, attributes: Attributes, session: Session) -> _Sources:
        if attributes.context:
            sources = await self._remote(attributes, session)
            if not attributes.local_dockerfile:
                return sources
        else:
            sources = _Sources()
        name = attributes.filename
        wanted = [name, ignore_file_names(name)[0]]
        lower = os.path.join(os.path.dirname(name), "dockerfile")
        if os.path.basename(name) == "Dockerfile":
            wanted.append(lower)
        vertex = self._job.begin(f"[internal] load build definition from {name}")
        self._job.narrator.definition = vertex
        try:
            directory = attributes.dockerfile_name
            offered = await self._session(attributes, directory, session)
            files = await read_files(offered, directory, wanted)
            path = os.path.normpath(name)
            dockerfile = files.get(path, files.get(os.path.normpath(lower)))
            if dockerfile is None:
                raise NotFound(f"failed to read dockerfile: open {name}: no such file or directory")
        except Exception as error:
            self._job.complete(vertex, str(error))
            raise
        self._transferred(vertex, "dockerfile", len(dockerfile))
        sources.dockerfile = dockerfile
        sources.ignore = files.get(os.path.normpath(wanted[1]))
        return sources

    def _transferred(self, vertex: Any, what: str, size: int) -> None:
        progress = VertexProgress(digest=vertex, id=f"transferring {what}:", current=size, done=True)
        self._job.report(progress)
        self._job.complete(vertex)

    async def _ignored(self, own: bytes | None, ahead: asyncio.Task[bytes]) -> tuple[str, ...]:
        """Patterns of the Dockerfile's own ignore file, else of the context's."""
        vertex = self._job.begin(f"[internal] load {DEFAULT_NAME}")
        try:
            patterns = await ahead if own is None else own
            found = read_patterns(patterns)
        except Exception as error:
            self._job.complete(vertex, str(error))
            raise
        self._transferred(vertex, "context", len(patterns))
        return found

    async def _remote(self, attributes: Attributes, session: Session) -> _Sources:
        """A context that is a URL. What it holds is seen by building a copy of it."""
        if attributes.subdirectory:
            raise Unsupported(
                "a subdirectory of a remote context is not supported; name it in the URL: repo.git#ref:dir"
            )
        url, sources = attributes.context, _Sources()
        git = parse_git(url)
        if git is not None:
            sources.main = GitSource(
                remote=git.remote,
                ref=git.ref,
                subdirectory=git.subdirectory,
                checksum=git.checksum,
                keep_git_dir=bool(git.keep_git_dir) or _keeps_git(attributes),
                submodules=git.submodules is not False,
                label=f"[internal] load git source {url}",
            )
            fetched = await self._fetch(BuildRequest(dockerfile=_COPY_ALL, options=BuildOptions(), main=sources.main))
            name = attributes.filename
        elif url.startswith(_UPLOADED):
            upload = Upload(session, url.removeprefix(_UPLOADED))
            request = BuildRequest(dockerfile=_UNPACK, options=BuildOptions(), contexts={"context": upload})
            fetched, name = await self._unpacked(request, attributes)
        elif url.startswith(("http://", "https://")):
            source = HttpSource(url=url, filename="context", label="[internal] load remote build context")
            request = BuildRequest(dockerfile=_UNPACK, options=BuildOptions(), main=source)
            fetched, name = await self._unpacked(request, attributes)
        else:
            raise Invalid(f"invalid context {url}: neither a git repository nor a web address")
        if sources.main is None:
            sources.main = ResultSource(id=_FETCHED, label="[internal] load build context")
            sources.results[_FETCHED] = fetched
        if not attributes.local_dockerfile:
            sources.dockerfile = await in_thread(_read, fetched, name)
        return sources

    async def _fetch(self, request: BuildRequest) -> Solved:
        session = await self._sessions.get(self._job.session)
        solved = await self._builds.solve(replace(request, client=Caller(session)), self._job.report)
        self._job.results[os.urandom(13).hex()] = solved
        return solved

    async def _unpacked(self, request: BuildRequest, attributes: Attributes) -> tuple[Solved, str]:
        """The context, and its Dockerfile's name: what is no archive is itself the Dockerfile."""
        solved = await self._fetch(request)
        return solved, "context" if await in_thread(_has, solved, "context") else attributes.filename


def _check_attestations(attributes: Attributes) -> None:
    """Raises Unsupported, before anything is built."""
    for kind, options in attributes.attestations.items():
        if kind not in ("provenance", "sbom"):
            raise Unsupported(f"attestation {kind!r} is not known: there are provenance and sbom")
        if options.get("generator"):
            raise Unsupported("sbom generators are not run: leave the generator out, package databases are read")
        if options.get("version", "v0.2") != "v0.2":
            raise Unsupported(f"provenance version {options['version']} is not written: leave version out for v0.2")
        if options.get("mode", "min") not in ("min", "max"):
            raise Invalid(f"invalid provenance mode {options['mode']!r}: give min or max")


def _first_of(owners: dict[Digest, int], number: int, report: Report) -> Report:
    """What several platforms' builds have in common is told by the one that came to it first; warnings by the first."""

    def told(event: Event) -> None:
        owner = 0 if isinstance(event, VertexWarning) else owners.setdefault(event.digest, number)
        if owner == number:
            report(event)

    return told


def _keeps_git(attributes: Attributes) -> bool:
    return attributes.options.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "").lower() in ("1", "t", "true")


def _has(solved: Solved, name: str) -> bool:
    with solved.opened() as root:
        try:
            os.close(paths.open_in(root, os.fsencode(name)))
        except OSError:
            return False
        return True


def _read(solved: Solved, name: str) -> bytes:
    with solved.opened() as root:
        try:
            descriptor = paths.open_in(root, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise NotFound(
                f"failed to read dockerfile: open {name}: {os.strerror(error.errno or 0).lower()}"
            ) from error
        with os.fdopen(descriptor, "rb") as file:
            return file.read(_DOCKERFILE_LIMIT)


def _platforms(platforms: Sequence[Platform]) -> bytes:
    """exptypes.Platforms."""
    listed = []
    for one in platforms:
        document = {"architecture": one.architecture, "os": one.os}
        if one.variant:
            document["variant"] = one.variant
        listed.append({"ID": str(one), "Platform": document})
    return json.dumps({"Platforms": listed}).encode()


def _input_images(attributes: Attributes) -> dict[str, ImageConfig]:
    """Configurations of the results that `input:` contexts name."""
    found = {}
    for name, text in attributes.metadata.items():
        try:
            document = base64.b64decode(json.loads(text)["containerimage.config"])
            found[name] = parse_config(document)
        except KeyError:
            continue
        except (ValueError, TypeError) as error:
            raise Invalid(f"failed to parse input metadata {name}: {error}") from error
    return found
