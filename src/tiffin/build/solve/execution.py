"""Executing one step, after all is known that it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tiffin.build.solve import files
from tiffin.build.solve.directories import Directories
from tiffin.build.solve.events import Report, VertexLog
from tiffin.build.solve.failures import StepFailed
from tiffin.build.solve.ports import OwnerOf, Process, Runner
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.running import Running
from tiffin.build.solve.store import Store, new_key
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.values import EMPTY, Stack, Value
from tiffin.build.steps import CopyFiles, MakeDirectory, Merge, RunCommand, Step
from tiffin.model.digest import Digest

T = TypeVar("T")
_MOST_OUTPUT = 2 << 20  # bytes of a step's output that are told, as BuildKit does


@dataclass(frozen=True, slots=True)
class Tools:
    """What executing takes. place: where the engine keeps what it mounts into RUNs."""

    store: Store
    directories: Directories
    runner: Runner
    owner_of: OwnerOf
    place: Path


@dataclass(slots=True)
class Execution:
    """keep: writes the record of the layer that was made, before anything else may sweep it."""

    tools: Tools
    request: BuildRequest
    report: Report
    digest: Digest
    keep: Callable[[Stack], None]
    epoch: int | None

    async def run(self, step: Step, inputs: list[Value], below: Stack) -> Stack:
        """Raises StepFailed, tiffin.errors."""
        match step:
            case RunCommand():
                return await self._command(step, inputs, below)
            case Merge():
                return await finished(in_thread(self._merge, inputs, below))
            case MakeDirectory() | CopyFiles():
                # a thread that works on files can't be broken off: its end is waited for
                return await finished(in_thread(self._files, step, inputs, below))
        raise TypeError(step)

    def _files(self, step: MakeDirectory | CopyFiles, inputs: list[Value], below: Stack) -> Stack:
        store, owner_of = self.tools.store, self.tools.owner_of
        with store.working(below) as (key, root):
            if isinstance(step, MakeDirectory):
                files.make_directory(root, step, owner_of)
            else:
                files.copy_files(root, step, inputs, store, owner_of, self.epoch)
            return store.committed(below, key, self.keep, epoch=self.epoch)

    def _merge(self, inputs: list[Value], below: Stack) -> Stack:
        layers = [layer for value in inputs[1:] for layer in (value if isinstance(value, Stack) else EMPTY).layers]
        return self.tools.store.restacked(below, layers, self.keep)

    async def _command(self, step: RunCommand, inputs: list[Value], below: Stack) -> Stack:
        store, runner = self.tools.store, self.tools.runner
        key = new_key()
        place = self.tools.place / key
        running = Running(store, self.tools.directories, runner, self.request, place)
        ours = True
        store.copies.add(key)
        try:
            await finished(in_thread(store.snapshots.prepare, key, below.chain))
            code, process = await running.run(step, inputs, key, below, _Output(self.digest, self.report))
            if code:
                ours = False
                keeping = in_thread(
                    store.failed.keep, key, step, code, below, inputs, self.request, self.tools.directories
                )
                raise StepFailed(_failed(step, code), step, code, key if await finished(keeping) else "")
            return await finished(in_thread(self._committed, below, process))
        finally:
            if ours:
                await finished(in_thread(store.snapshots.remove, key))
            store.copies.discard(key)

    def _committed(self, below: Stack, process: Process) -> Stack:
        ignore = {*self.tools.runner.own, *process.targets}
        return self.tools.store.committed(below, process.snapshot, self.keep, ignore=ignore, epoch=self.epoch)


def _failed(step: RunCommand, code: int) -> str:
    command = " ".join(step.arguments)
    return f'process "{command}" did not complete successfully: exit code: {code}'


class _Output:
    def __init__(self, digest: Digest, report: Report) -> None:
        self._digest, self._report = digest, report
        self._left = _MOST_OUTPUT

    def __call__(self, stream: int, data: bytes) -> None:
        if self._left <= 0:
            return
        self._left -= len(data)
        self._report(VertexLog(digest=self._digest, stream=stream, data=data))
        if self._left <= 0:
            text = f"[output clipped, log limit {_MOST_OUTPUT >> 20}MiB reached]\n".encode()
            self._report(VertexLog(digest=self._digest, stream=2, data=text))


async def held(store: Store, stack: Stack, undo: AsyncExitStack) -> bool:
    """Keep layers from every sweep until `undo`; False where one of them is gone."""
    task = asyncio.ensure_future(in_thread(store.hold, stack))
    try:
        found = await finished(task)
    except asyncio.CancelledError:
        if not task.cancelled() and task.exception() is None and task.result():
            store.holds.release(stack)
        raise
    if found:
        undo.callback(store.holds.release, stack)
    return found


async def finished(work: Awaitable[T]) -> T:
    """Work in a thread, waited for though we are cancelled: what it holds must not be taken away under it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
