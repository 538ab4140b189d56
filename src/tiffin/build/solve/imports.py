"""Steps that other builders have made: told at a build's beginning, their layers fetched when they are needed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tiffin.build.solve.cache import Step
from tiffin.build.solve.events import Report, VertexProgress
from tiffin.build.solve.execution import finished
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.store import Store
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.trail import Contents
from tiffin.build.solve.values import Stack
from tiffin.content.blobs import BlobWriter, Lease
from tiffin.errors import NotFound
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest

_AT_ONCE = 4


class Source(Protocol):
    """Where blobs of a cache lie."""

    async def fetch(self, blob: Descriptor, writer: BlobWriter, told: Callable[[int], None]) -> None:
        """Write a blob's bytes; more than its size are too many. told: bytes so far. Raises tiffin.errors."""
        ...


@dataclass(slots=True)
class Imports:
    """steps by key, the first to tell of one counts; contents as in a Trail; blobs: who has them.

    known: layers whose blobs were verified to be theirs. Of others it is only said, though both may be here.
    """

    steps: dict[Digest, Step] = field(default_factory=dict)
    contents: dict[tuple[Digest, str], Digest] = field(default_factory=dict)
    blobs: dict[Digest, tuple[Descriptor, Source]] = field(default_factory=dict)
    known: set[LayerBlob] = field(default_factory=set)
    _fetching: defaultdict[Digest, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    def add(
        self,
        steps: Mapping[Digest, Step],
        contents: Contents,
        blobs: Iterable[Descriptor],
        source: Source,
    ) -> None:
        self.steps = {**steps, **self.steps}
        self.contents = {**contents, **self.contents}
        for blob in blobs:
            self.blobs.setdefault(blob.digest, (blob, source))

    def strange(self, layers: Iterable[LayerBlob]) -> list[LayerBlob]:
        """Those whose blobs are to be verified."""
        return [layer for layer in layers if layer.blob != layer.diff and layer not in self.known]

    async def bring(
        self, stack: Stack, store: Store, keep: Callable[[Stack], None], vertex: Digest, report: Report
    ) -> None:
        """Fetch and apply what is not here of a stack; held afterwards. keep: writes the record of it.

        Raises NotFound for a layer that nobody has, and what fetching raises.
        """
        with store.blobs.lease() as lease:
            for layer in stack.layers:
                store.blobs.lease_blob(lease, layer.blob)
            missing = await in_thread(store.missing, stack)
            for layer in missing:
                if layer.blob not in self.blobs:
                    raise NotFound(f"layer {layer.diff} has not come with the cache")
            try:
                async with asyncio.TaskGroup() as group:
                    for blob in {layer.blob for layer in missing}:
                        group.create_task(self._fetched(blob, store, lease, vertex, report))
            except ExceptionGroup as several:
                raise several.exceptions[0] from several
            await _assembled(store, stack, self.strange(stack.layers), keep)
            self.known.update(stack.layers)

    async def _fetched(self, blob: Digest, store: Store, lease: Lease, vertex: Digest, report: Report) -> None:
        descriptor, source = self.blobs[blob]
        async with self._fetching[blob], self._slots:
            if await in_thread(store.blobs.exists, blob):
                return

            def told(current: int) -> None:
                report(VertexProgress(digest=vertex, id=blob, current=current, total=descriptor.size))

            size = descriptor.size
            with store.blobs.writer(lease) as writer:
                await source.fetch(descriptor, writer, told)
                await finished(in_thread(writer.commit, descriptor.digest, size))
            report(VertexProgress(digest=vertex, id=blob, current=size, total=size, done=True))


async def _assembled(store: Store, stack: Stack, strange: Collection[LayerBlob], keep: Callable[[Stack], None]) -> None:
    task = asyncio.ensure_future(in_thread(store.assembled, stack, strange, keep))
    try:
        await finished(task)
    except asyncio.CancelledError:
        if not task.cancelled() and task.exception() is None:
            store.holds.release(stack)  # nobody is left to do it
        raise
