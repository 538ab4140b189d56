"""Builds in progress: what is told about each, what it has made, how it is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import time_ns
from typing import Any, NamedTuple

from tiffin.build.solve.events import Event, VertexCompleted, VertexStarted
from tiffin.build.solve.solved import Solved
from tiffin.errors import Conflict, NotFound
from tiffin.http.buildkit.progress import Narrator
from tiffin.model.digest import Digest, digest_of

JOB_SECONDS = 10.0
"""Status and LLBBridge calls may come before the Solve that they belong to."""

JOBS = 256
_GATHER = 0.01
"""s between two messages about a build: each costs client and daemon three system calls."""
_MOST = 1 << 20
"""Bytes of messages that are told as one."""


_PARTS = ("vertexes", "statuses", "logs", "warnings")


class _Told(NamedTuple):
    """A StatusResponse with one part. kind: which."""

    kind: int
    message: bytes


class Job:
    """One Control.Solve. `ref` is the client's name for it."""

    def __init__(self, ref: str, session: str, request: Any) -> None:
        self.ref, self.session, self.request = ref, session, request
        self.narrator = Narrator()
        self.results: dict[str, Solved] = {}
        """What was made, by the reference the client got for it."""
        self.returned: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """The client's ReturnRequest, when it has driven the build itself."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self.began = time_ns()
        self.frontend = ""
        self.attributes: dict[str, str] = {}
        """What the client asked for through the bridge."""
        self.attestations: Mapping[str, Mapping[str, str]] = {}
        """What is to be said of the result, by kind."""
        self._over = asyncio.Event()
        self._told: list[_Told] = []
        self._forgotten = 0
        self._more = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self._over.is_set()

    def report(self, event: Event) -> None:
        """The engine's Report."""
        message = self.narrator.message(event)
        if message is not None:
            self.tell(message)

    def tell(self, message: Any) -> None:
        """Send a StatusResponse to whoever follows."""
        kind = next((number for number, part in enumerate(_PARTS) if getattr(message, part)), len(_PARTS))
        self._told.append(_Told(kind, message.SerializeToString()))
        self._more.set()
        self._more = asyncio.Event()

    def begin(self, name: str) -> Digest:
        """A vertex of our own, for work around the graph; `complete` ends it."""
        digest = digest_of(f"{self.ref}\0{name}\0{len(self._told)}".encode())
        self.report(VertexStarted(digest=digest, name=name))
        return digest

    def complete(self, digest: Digest, error: str = "") -> None:
        self.report(VertexCompleted(digest=digest, error=error))

    def forget(self, most: int) -> None:
        """Keep only the end of what was told, for those who ask later."""
        self.narrator.source = ("", b"")
        size = sum(len(one.message) for one in self._told)
        while size > most and len(self._told) > 1:
            size -= len(self._told.pop(0).message)
            self._forgotten += 1

    async def follow(self) -> AsyncIterator[bytes]:
        """Everything told, from the beginning, until the job has ended. What came together is one message."""
        at = 0
        while True:
            more = self._more
            while (at := max(at, self._forgotten)) < self._forgotten + len(self._told):
                together = list(_fitting(self._told[at - self._forgotten :]))
                yield b"".join(together)  # protobuf: repeated fields one after the other are one
                at += len(together)
            if self.ended:
                return
            await more.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _GATHER)

    def end(self) -> None:
        """Nothing comes any more. Results are released."""
        self._over.set()
        self._more.set()
        for task in self.tasks:
            task.cancel()
        for solved in self.results.values():
            solved.release()
        self.results.clear()


def _fitting(told: Sequence[_Told]) -> Iterator[bytes]:
    """The first one, and those after it that go with it: of its kind, as clients read a message's parts in an order of
    their own."""
    size = 0
    for kind, message in told:
        size += len(message)
        if kind != told[0].kind or size > max(_MOST, len(told[0].message)):
            return
        yield message


class Jobs:
    """Jobs by ref; one that has ended stays until its followers have read it."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._changed = asyncio.Condition()

    async def add(self, job: Job) -> None:
        """Raises Conflict for a ref that is in use, or when there are too many."""
        if job.ref in self._jobs:
            raise Conflict(f"job ID {job.ref} exists")
        if len(self._jobs) >= JOBS:
            raise Conflict(f"{JOBS} builds are running already")
        self._jobs[job.ref] = job
        async with self._changed:
            self._changed.notify_all()

    def remove(self, job: Job) -> None:
        job.end()
        self._jobs.pop(job.ref, None)

    async def get(self, ref: str, ended: Callable[[str], Job | None]) -> Job:
        """Waited for if need be; one that has come and gone meanwhile is known to `ended`. Raises NotFound."""
        try:
            async with asyncio.timeout(JOB_SECONDS), self._changed:
                while (found := ended(ref) or self._jobs.get(ref)) is None:
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise NotFound(f"no such job {ref}") from None

    def result(self, id: str) -> Solved | None:
        """What a build has made, that of another job of the same client too (bake's `target:` contexts)."""
        return next((job.results[id] for job in self._jobs.values() if id in job.results), None)
