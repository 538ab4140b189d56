"""Where files come from: images, the client's directories, the web, repositories, the Dockerfile itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from tiffin.build.dockerfile.ignore import DEFAULT_NAME, read_patterns
from tiffin.build.solve import git, layouts
from tiffin.build.solve.cache import Cache
from tiffin.build.solve.contents import Hashes
from tiffin.build.solve.directories import Directories, erase
from tiffin.build.solve.events import Report, VertexLog, VertexProgress
from tiffin.build.solve.fetching import Fetching
from tiffin.build.solve.files import write_inline
from tiffin.build.solve.imports import Imports
from tiffin.build.solve.ports import Bases
from tiffin.build.solve.request import BuildRequest, Wanted
from tiffin.build.solve.store import Store
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.values import Files, Outcome, Stack
from tiffin.build.steps import (
    GitSource,
    HttpSource,
    ImageSource,
    InlineSource,
    LayoutSource,
    LocalSource,
    ResultSource,
    Step,
)
from tiffin.errors import Invalid, NotFound
from tiffin.model.digest import Digest, digest_of

_OFTEN = 0.1  # s between two reports of progress


class Sources:
    """Of one build; what it opens is closed by `undo`."""

    def __init__(
        self,
        store: Store,
        cache: Cache,
        directories: Directories,
        bases: Bases,
        request: BuildRequest,
        undo: contextlib.AsyncExitStack,
    ) -> None:
        self._directories = directories
        self._bases = bases
        self._request = request
        self._undo = undo
        self._store = store
        self._cache = cache
        self._fetching = Fetching(store.blobs, cache)

    def ready(self, step: Step) -> Outcome | None:
        """What needs no work."""
        if isinstance(step, ImageSource):
            return _of_stack(self._bases.layers(step))
        if isinstance(step, ResultSource):
            solved = self._request.results.get(step.id)
            return None if solved is None else _of_stack(Stack(solved.layers))
        return None

    async def bring(self, digest: Digest, step: Step, report: Report) -> Outcome:
        """Raises tiffin.errors."""
        match step:
            case LocalSource():
                return await self._local(digest, step, report)
            case HttpSource():
                return await self._http(digest, step, report)
            case GitSource():
                return await self._git(digest, step, report)
            case InlineSource():
                path = self._scratch()
                await in_thread(write_inline, step, path)
                return Outcome(digest_of(f"{step.path}\0{step.mode}\0{step.content}".encode()), Files(path, Hashes()))
            case LayoutSource():
                return await self._layout(digest, step, report)
            case ResultSource():
                raise NotFound(f"no result {step.id} of another build in this session")
        raise TypeError(step)

    def _scratch(self) -> Path:
        path = self._directories.make_scratch()
        self._undo.callback(erase, path)
        return path

    async def _local(self, digest: Digest, step: LocalSource, report: Report) -> Outcome:
        context = self._request.contexts.get(step.context)
        if context is None:
            raise Invalid(f"the client has no directory {step.context!r}")
        kept = self._undo.enter_context(self._directories.context(context.key))
        told = _Told(digest, "transferring context:", report)
        exclude = step.exclude
        if exclude is None:
            probe = await context.take(Wanted((DEFAULT_NAME,)), self._scratch(), told)
            exclude = await in_thread(_patterns, probe)
        # read while the client looks; it raises nothing
        known = asyncio.ensure_future(in_thread(Hashes, kept / "hashes" if context.key else None))
        path = await context.take(Wanted(step.paths, tuple(exclude)), kept / "tree", told)
        told.finish()
        hashes = await known
        self._undo.callback(hashes.save)
        # its content decides, not its name: steps that take it say which part of it
        return Outcome(digest, Files(path, hashes))

    async def _layout(self, digest: Digest, step: LayoutSource, report: Report) -> Outcome:
        store = await self._request.client.store(f"oci:{step.store}")
        manifest, config = await layouts.described(store, step.digest, step.platform)
        stack = layouts.stack_of(manifest, config)
        imports = Imports()
        imports.add({}, {}, manifest.layers, store)

        def keep(brought: Stack) -> None:
            self._cache.add_brought(brought, step.label, self._store.size(brought))

        await imports.bring(stack, self._store, keep, digest, report)
        self._undo.callback(self._store.holds.release, stack)
        return _of_stack(stack)

    async def _http(self, digest: Digest, step: HttpSource, report: Report) -> Outcome:
        path = self._scratch()
        told = _Told(digest, f"downloading {step.filename}", report)
        loop = asyncio.get_running_loop()

        def progress(current: int, total: int) -> None:
            loop.call_soon_threadsafe(told, current, total)

        blob = await in_thread(self._fetching.fetch, step, path, progress)
        told.finish()
        return Outcome(digest_of(f"{step.filename}\0{blob}".encode()), Files(path, Hashes()))

    async def _git(self, digest: Digest, step: GitSource, report: Report) -> Outcome:
        scratch = self._scratch()
        loop = asyncio.get_running_loop()

        def output(stream: int, data: bytes) -> None:
            loop.call_soon_threadsafe(report, VertexLog(digest=digest, stream=stream, data=data))

        tree, key = await in_thread(git.check_out, step, scratch, output)
        return Outcome(key, Files(tree, Hashes()))


class _Told:
    """Implements `request.Progress`: not more often than anyone can read."""

    def __init__(self, digest: Digest, what: str, report: Report) -> None:
        self._digest, self._what, self._report = digest, what, report
        self._started = time.time_ns()
        self._next = 0.0
        self._last = (0, 0)

    def __call__(self, current: int, total: int = 0) -> None:
        self._last = (current, total)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _OFTEN
            self._tell(False)

    def finish(self) -> None:
        self._tell(True)

    def _tell(self, done: bool) -> None:
        current, total = self._last
        self._report(
            VertexProgress(
                digest=self._digest, id=self._what, current=current, total=total, done=done, started=self._started
            )
        )


def _of_stack(stack: Stack) -> Outcome:
    """Equal layers are equal, whatever the image they came with."""
    return Outcome(stack.chain or digest_of(b""), stack)


def _patterns(directory: Path) -> tuple[str, ...]:
    path = directory / DEFAULT_NAME
    if path.is_symlink() or not path.is_file():
        return ()
    return read_patterns(path.read_bytes())
