"""A solver without a daemon: real layers on disk, and processes that are functions."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tiffin.build import BuildOptions, BuildPlan, ImageRequest, ResolvedImage, plan_build
from tiffin.build.solve.cache import Cache
from tiffin.build.solve.directories import Directories
from tiffin.build.solve.events import Event, Report, VertexStarted
from tiffin.build.solve.execution import Tools
from tiffin.build.solve.ports import Process
from tiffin.build.solve.request import BuildRequest, Progress, Wanted
from tiffin.build.solve.solver import Solver
from tiffin.build.solve.store import Store
from tiffin.build.solve.values import Stack
from tiffin.build.steps import ImageSource
from tiffin.content.blobs import BlobStore
from tiffin.content.ledger import Ledger
from tiffin.engine.container_root import mount_detached
from tiffin.model.digest import Digest
from tiffin.snapshots import Snapshotter, open_driver

Action = Callable[[int, Process], Awaitable[int]]


@dataclass
class Functions:
    """A Runner: the word behind `RUN` names a function that gets the root's fd."""

    snapshots: Snapshotter
    actions: dict[str, Action] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    own: Collection[bytes] = ()

    async def run(self, process: Process, request: BuildRequest, output: Callable[[int, bytes], None]) -> int:
        word = process.step.arguments[-1]
        self.ran.append(word)
        root = mount_detached(self.snapshots.mounts(process.snapshot))
        try:
            action = self.actions.get(word)
            if action is not None:
                return await action(root, process)
            output(1, f"{word}\n".encode())
            os.close(os.open(word, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=root))
            return 0
        finally:
            os.close(root)


class NoImages:
    """Bases for Dockerfiles that begin with scratch."""

    async def resolve(
        self, asked: ImageRequest, request: BuildRequest, vertex: Digest, report: Report
    ) -> ResolvedImage:
        raise AssertionError("no images here")

    def layers(self, step: ImageSource) -> Stack:
        raise AssertionError("no images here")


@dataclass(frozen=True)
class Directory:
    """A context that lies ready."""

    path: Path
    key: str = ""

    async def take(self, wanted: Wanted, into: Path, progress: Progress) -> Path:
        return self.path


class Workshop:
    """Everything that a solver needs, in one directory. `again` opens it anew, as the next daemon would."""

    def __init__(self, root: Path, driver: str = "overlay") -> None:
        ledger = Ledger(root / "ledger.db")
        self.root = root
        self.snapshots = open_driver(driver, root / "snapshots", ledger)
        self.blobs = BlobStore(root / "content")
        self.cache = Cache(ledger)
        self.runner = Functions(self.snapshots)
        self.store = Store(self.snapshots, self.blobs, mount_detached, contextlib.nullcontext)
        tools = Tools(self.store, Directories(root / "build"), self.runner, lambda root, text: (7, 7), root / "run")
        self.solver = Solver(tools, self.cache)

    async def build(
        self, dockerfile: str, context: Path | None = None, report: Report = lambda _: None, key: str = ""
    ) -> Stack:
        plan = plan_build(dockerfile.encode(), BuildOptions())
        assert isinstance(plan, BuildPlan)
        contexts: Mapping[str, Directory] = {"context": Directory(context, key)} if context else {}
        request = BuildRequest(dockerfile=dockerfile.encode(), options=BuildOptions(), contexts=contexts)
        stack, _ = await self.solver.solve(plan, request, NoImages(), report)
        self.store.holds.release(stack)
        return stack

    @contextlib.contextmanager
    def opened(self, stack: Stack) -> Iterator[Path]:
        with self.store.opened(stack) as root:
            yield Path(f"/proc/self/fd/{root}")

    def close(self) -> None:
        self.snapshots.close()


def names(events: list[Event], *, cached: bool) -> list[str]:
    """The steps that were begun, as progress shows them."""
    return [event.name for event in events if isinstance(event, VertexStarted) and event.cached == cached]


def run(work: Awaitable[Stack]) -> Stack:
    async def main() -> Stack:
        return await work

    return asyncio.run(main())
