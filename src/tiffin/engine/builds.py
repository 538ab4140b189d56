"""Builds: the solver with images to stand on, containers to run in, and images as the result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from time import time_ns
from typing import Any, cast

from tiffin.build.drafts import ImageDraft
from tiffin.build.options import ImageRequest, ResolvedImage
from tiffin.build.plan import BuildPlan, ImagesNeeded
from tiffin.build.recent import Plans
from tiffin.build.solve import inline
from tiffin.build.solve.cache import Cache
from tiffin.build.solve.directories import Directories
from tiffin.build.solve.events import Report, VertexCompleted, VertexProgress, VertexStarted, VertexWarning, silent
from tiffin.build.solve.execution import Tools
from tiffin.build.solve.request import BuildRequest, CachePlace, Client
from tiffin.build.solve.solved import LayerBlob, Solved
from tiffin.build.solve.solver import Solver
from tiffin.build.solve.store import Store
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.trail import Trail
from tiffin.build.solve.values import Stack
from tiffin.build.steps import ImageSource
from tiffin.containers import users
from tiffin.engine import builds_caches_out, builds_prune, container_root
from tiffin.engine.builds_bases import Bases, progress_of
from tiffin.engine.builds_caches_in import Caches
from tiffin.engine.builds_dates import dated
from tiffin.engine.builds_debug import Shells
from tiffin.engine.builds_documents import Annotations, Statement, Wanted
from tiffin.engine.builds_export import Exported, Placed, archived, export, laid_out
from tiffin.engine.builds_prune import CacheRecord, PruneRequest
from tiffin.engine.builds_run import Runner
from tiffin.engine.transfers import Transfers
from tiffin.errors import TiffinError
from tiffin.images import Images, Progress
from tiffin.images.pushing import Push
from tiffin.model.descriptor import INDEX_TYPES
from tiffin.model.digest import Digest, chain_ids, digest_of
from tiffin.model.reference import Reference, parse_reference

__all__ = ["Annotations", "Builds", "CacheRecord", "Exported", "PruneRequest", "Result", "Statement", "Wanted"]

Planned = Callable[[BuildPlan, Mapping[Digest, Digest]], None]
DOCKERFILE = digest_of(b"[internal] load build definition")
"""The vertex that warnings belong to."""


class Result:
    """Implements `build.solve.solved.Solved`."""

    def __init__(
        self, plan: BuildPlan, stack: Stack, image: ImageDraft, created: str, store: Store, trail: Trail, inline: bool
    ) -> None:
        self.plan = plan
        self.image = image
        self.created = created
        self.stack = stack
        self.trail = trail
        self._store = store
        self._inline = inline  # whether the image shall carry a cache

    @property
    def layers(self) -> tuple[LayerBlob, ...]:
        return self.stack.layers

    def document(self) -> bytes:
        """The image's configuration."""
        document = self.image.document(self.stack.diffs, self.created)
        return inline.written(document, self.stack, self.trail) if self._inline else document

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Its root directory, for reading: fd."""
        with self._store.opened(self.stack) as root:
            yield root

    def release(self) -> None:
        """Its layers may go."""
        for stack in (self.stack, *self.trail.kept):
            self._store.holds.release(stack)


class Builds:
    """root: where builds keep directories; place: where what RUNs see is mounted."""

    def __init__(
        self, images: Images, transfers: Transfers, runner: Runner, cache: Cache, root: Path, place: Path
    ) -> None:
        self._images = images
        self._transfers = transfers
        self._cache = cache
        self._directories = Directories(root)
        self._store = Store(images.snapshots, images.blobs, container_root.mount_detached, images.arrivals.arriving)
        self._caches = Caches(images, transfers, cache)
        self._plans = Plans()
        self._solver = Solver(Tools(self._store, self._directories, runner, _owner_of, place), self._cache)
        self.shells = Shells(self._solver.tools, runner)
        images.kept_chains.append(self._store.holds.chains)
        images.kept_blobs.append(self._store.holds.blobs)

    async def solve(self, request: BuildRequest, report: Report = silent, planned: Planned | None = None) -> Result:
        """Run what the target needs. Raises DockerfileError (lines), tiffin.errors; cancelling kills what runs.

        planned: is told the steps, and the IDs of the images among them, before the first one is begun.

        A failing step raises build.solve.failures.StepFailed with its label, span and, for RUN, the exit code.
        """
        async with AsyncExitStack() as undo:
            bases = Bases(self._images, self._transfers, self._store, undo)
            allowed = await self._allowed(request)
            plan = await self._plan(request, bases, report)
            for finding in plan.findings:
                report(VertexWarning(digest=DOCKERFILE, finding=finding))
            if planned is not None:
                steps = ((digest, step) for digest, step in plan.steps.items() if isinstance(step, ImageSource))
                planned(plan, {digest: bases.image(step).id for digest, step in steps})
            imports = await self._caches.imported(request, report) if request.imports else None
            stack, trail = await self._solver.solve(plan, request, bases, report, allowed=allowed, imports=imports)
        told = {step.stack.chain: step.created for step in trail.steps}
        image, created = dated(plan, stack, lambda chain: self._cache.created(chain) or told.get(chain))
        return Result(plan, stack, image, created, self._store, trail, request.inline or _wants_inline(request))

    async def _plan(self, request: BuildRequest, bases: Bases, report: Report) -> BuildPlan:
        found: dict[ImageRequest, ResolvedImage] = {}
        while True:
            plan = self._plans.plan(request.dockerfile, request.options, found, request.main)
            if not isinstance(plan, ImagesNeeded):
                return plan
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = {
                        one: group.create_task(self._resolved(one, request, bases, report)) for one in plan.requests
                    }
            except ExceptionGroup as several:
                # the first is the cause, and the only one that can be told
                raise several.exceptions[0] from several
            found = found | {one: task.result() for one, task in tasks.items()}

    async def _resolved(
        self, asked: ImageRequest, request: BuildRequest, bases: Bases, report: Report
    ) -> ResolvedImage:
        vertex = digest_of(f"{asked.label}\0{asked.reference}".encode())
        report(VertexStarted(digest=vertex, name=asked.label))
        try:
            found = await bases.resolve(asked, request, vertex, report)
        except BaseException as error:
            report(VertexCompleted(digest=vertex, error=str(error) or "context canceled"))
            raise
        report(VertexCompleted(digest=vertex))
        return found

    async def _allowed(self, request: BuildRequest) -> set[Digest] | None:
        """The chains that cached steps may have. An image that is not here allows nothing."""
        if request.cache_from is None:
            return None
        found: set[Digest] = set()
        for name in request.cache_from:
            try:
                image = self._images.find(parse_reference(name).with_default_tag())
            except TiffinError:
                continue
            found.update(chain_ids(image.config.diff_ids))
        return found

    async def export(self, solved: Solved, names: Sequence[Reference] = (), report: Report = silent) -> Exported:
        """Store the result as an image and give it its names (without any it is dangling, as in docker)."""
        return await self.export_all({"": solved}, Wanted(tuple(name.with_default_tag() for name in names)), report)

    async def export_all(self, results: Mapping[str, Solved], wanted: Wanted, report: Report = silent) -> Exported:
        """The same of several platforms' results, by platform, or with more to be said of one.

        Files for `-o type=local|tar` come from `solved.opened()` and `snapshots.pack`, archives from `archived`.
        """
        vertex = digest_of(b"exporting to image" + b"".join(solved.document() for solved in results.values()))
        report(VertexStarted(digest=vertex, name="exporting to image"))
        try:
            made = await in_thread(export, self._images, results, wanted)
        except BaseException as error:
            report(VertexCompleted(digest=vertex, error=str(error) or "context canceled"))
            raise
        done = ["exporting layers", *(f"writing image {image}" for image in made.images)]
        if made.top.media_type in INDEX_TYPES:
            done.append(f"exporting manifest list {made.top.digest}")
        for text in (*done, *(f"naming to {name}" for name in made.names)):
            report(VertexProgress(digest=vertex, id=text, done=True, started=time_ns()))
        report(VertexCompleted(digest=vertex))
        return made

    async def archived(self, results: Mapping[str, Solved], wanted: Wanted) -> tuple[Exported, Iterator[bytes]]:
        """As a tar, stored nowhere. The results must be held while it is read, in threads."""
        return await in_thread(archived, self._images, results, wanted)

    async def laid_out(self, results: Mapping[str, Solved], wanted: Wanted) -> tuple[Exported, list[Placed]]:
        """The blobs of such an archive. The results must be held while they are read, in threads."""
        return await in_thread(laid_out, self._images, results, wanted)

    async def push(self, name: Reference, client: Client, report: Report) -> None:
        """What a name means to its registry, for the client. Raises as pushes do."""
        vertex = digest_of(f"pushing {name}".encode())
        report(VertexStarted(digest=vertex, name=f"pushing {name}"))
        try:
            messages = self._transfers.push(Push(name, await client.credentials(name.domain)))
            async with aclosing(cast(Any, messages)) as following:
                async for message in following:
                    if isinstance(message, Progress) and message.total:
                        report(progress_of(message, vertex))
        except BaseException as error:
            report(VertexCompleted(digest=vertex, error=str(error) or "context canceled"))
            raise
        report(VertexCompleted(digest=vertex))

    async def export_cache(
        self, place: CachePlace, solved: Sequence[Solved], client: Client, report: Report = silent
    ) -> dict[str, str]:
        """Write a cache of what made these results; what exporters answer, `cache.manifest`.

        Raises tiffin.errors, unless the place says that errors are to be passed over.
        """
        results = [one for one in solved if isinstance(one, Result)]
        trails = [(one.stack, one.trail) for one in results]
        places = builds_caches_out.Places(self._caches.repositories, client, self._directories)
        return await builds_caches_out.export(place, trails, places, self._store, report)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory for a context, removed at the end. Blocks."""
        with self._directories.scratch() as path:
            yield path

    def usage(self) -> list[CacheRecord]:
        """What the cache holds, oldest first. Blocks."""
        return builds_prune.usage(self._cache, self._directories, self._store, self._images)

    async def prune(self, request: PruneRequest) -> tuple[list[CacheRecord], int]:
        """What was removed, and the bytes freed."""
        return await in_thread(builds_prune.prune, request, self._cache, self._directories, self._store, self._images)


def _wants_inline(request: BuildRequest) -> bool:
    return request.options.build_args.get("BUILDKIT_INLINE_CACHE", "") in ("1", "true", "True")


def _owner_of(root: int, text: str) -> tuple[int, int]:
    """`user[:group]`, names by the root's files. A number alone is the group's too, as BuildKit has it."""
    if text.isdecimal():
        text = f"{text}:{text}"
    user = users.resolve(text, (), lambda path: container_root.read_small(root, path))
    return user.uid, user.gid
