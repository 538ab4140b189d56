"""Runs the steps of a plan: each when its inputs are there, none twice, equal ones of concurrent builds once.

A step's key is known when its inputs are; a record under it that stands on the very layers that this build has below is
the result. Otherwise the step is executed in a *flight* that every build with the same key waits for; the last to leave
one cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tiffin.build.keys import ContentInput, Part, content_inputs, key_of, key_parts
from tiffin.build.plan import BuildPlan
from tiffin.build.solve import contents
from tiffin.build.solve.cache import Cache
from tiffin.build.solve.cache import Step as Record
from tiffin.build.solve.events import Event, Report, VertexCompleted, VertexExplained, VertexStarted
from tiffin.build.solve.execution import Execution, Tools, finished, held
from tiffin.build.solve.explaining import explain
from tiffin.build.solve.failures import StepFailed
from tiffin.build.solve.ports import Bases
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.sources import Sources
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.values import EMPTY, Files, Outcome, Stack, Value
from tiffin.build.steps import RunCommand, Step
from tiffin.errors import NotFound, TiffinError
from tiffin.model.digest import Digest

CANCELED = "context canceled"
_EVERYTHING = ContentInput(0, ("/",))


@dataclass(slots=True)
class Flight:
    """A step that is being executed. told: what it reported so far, for those who come later; held: what it made."""

    task: asyncio.Task[Stack] | None = None
    waiting: int = 0
    told: list[Event] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    held: list[Stack] = field(default_factory=list)

    def report(self, event: Event) -> None:
        self.told.append(event)
        for report in self.reports:
            report(event)


class Solver:
    """One for the engine. at_once: steps executed side by side, over all builds."""

    def __init__(self, tools: Tools, cache: Cache, *, at_once: int = 16) -> None:
        self.tools = tools
        self.cache = cache
        self.slots = asyncio.Semaphore(at_once)
        self.flights: dict[Any, Flight] = {}

    async def solve(
        self,
        plan: BuildPlan,
        request: BuildRequest,
        bases: Bases,
        report: Report,
        *,
        allowed: Collection[Digest] | None = None,
        imported: Mapping[Digest, Record] | None = None,
    ) -> Stack:
        """The layers of the plan's output, held: to release them is the caller's.

        allowed: the chain IDs that cached steps may have; None for any. imported: further cached steps, by key.
        Raises StepFailed.
        """
        async with contextlib.AsyncExitStack() as undo:
            sources = Sources(self.tools.store, self.cache, self.tools.directories, bases, request, undo)
            stack = await _Build(self, plan, request, sources, report, undo, allowed, imported or {}).run()
            self.tools.store.holds.take(stack)
            return stack


class _Build:
    """One plan's way through the solver."""

    def __init__(
        self,
        solver: Solver,
        plan: BuildPlan,
        request: BuildRequest,
        sources: Sources,
        report: Report,
        undo: contextlib.AsyncExitStack,
        allowed: Collection[Digest] | None,
        imported: Mapping[Digest, Record],
    ) -> None:
        self._solver = solver
        self._store = solver.tools.store
        self._plan = plan
        self._request = request
        self._sources = sources
        self._report = report
        self._undo = undo
        self._allowed = allowed
        self._imported = imported
        self._tasks: dict[Digest, asyncio.Task[Outcome]] = {}
        self._hashing = asyncio.Lock()
        self._used: list[Digest] = []

    async def run(self) -> Stack:
        if self._plan.output is None:
            return EMPTY
        for digest, step in self._plan.steps.items():
            self._tasks[digest] = asyncio.create_task(self._outcome(digest, step), name=f"step {digest[7:19]}")
        try:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
            for task in self._tasks.values():  # inputs first: the cause before what it kept from being done
                if task.done():
                    task.result()
            return await self._layered(self._tasks[self._plan.output].result())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            if self._used:
                await finished(in_thread(self._solver.cache.touched, self._used))

    async def _outcome(self, digest: Digest, step: Step) -> Outcome:
        if not step.inputs:
            return await self._source(digest, step)
        inputs: list[Outcome | None] = []
        for given in step.inputs:
            inputs.append(None if given is None else await asyncio.shield(self._tasks[given]))
        return await self._made(digest, step, inputs)

    async def _source(self, digest: Digest, step: Step) -> Outcome:
        known = self._sources.ready(step)
        self._report(VertexStarted(digest=digest, name=step.label, cached=known is not None))
        try:
            outcome = known or await self._sources.bring(digest, step, self._report)
        except BaseException as error:
            self._ended(digest, step, error)
            raise
        self._report(VertexCompleted(digest=digest))
        if isinstance(outcome.value, Stack):
            self._hold(outcome.value)
        return outcome

    def _hold(self, stack: Stack) -> None:
        self._store.holds.take(stack)
        self._undo.callback(self._store.holds.release, stack)

    def _ended(self, digest: Digest, step: Step, error: BaseException, what: str = "") -> None:
        """Tell of a failure. What a user can understand is raised as StepFailed."""
        text = CANCELED if isinstance(error, asyncio.CancelledError) else what + (_words(error) or type(error).__name__)
        self._report(VertexCompleted(digest=digest, error=text))
        if isinstance(error, TiffinError | OSError) and not isinstance(error, StepFailed):
            raise StepFailed(text, step) from error

    async def _layered(self, outcome: Outcome) -> Stack:
        """A value as layers; a directory becomes one."""
        if isinstance(outcome.value, Stack):
            return outcome.value
        stack = await in_thread(self._store.layer_of, outcome.value, self._store.holds.take)
        self._undo.callback(self._store.holds.release, stack)
        return stack

    async def _made(self, digest: Digest, step: Step, inputs: list[Outcome | None]) -> Outcome:
        started = VertexStarted(digest=digest, name=step.label, inputs=tuple(one for one in step.inputs if one))
        first = inputs[0]
        below = EMPTY if first is None else await self._layered(first)
        try:
            parts = await self._parts(step, inputs)
        except NotFound as error:
            self._report(started)
            self._ended(digest, step, error, "failed to compute cache key: ")
            raise
        key = key_of(parts)
        record = None if step.fresh else await self._recorded(key, below)
        if record is not None:
            self._report(replace(started, cached=True))
            self._explain(digest, "", "nothing that it depends on has changed")
            self._report(VertexCompleted(digest=digest))
            self._used.append(key)
            return Outcome(key, record)
        # what must be made afresh, or may ask this client for secrets, is nobody else's
        own = step.fresh or (isinstance(step, RunCommand) and bool(step.mounts))
        name = (key, below.chain, self if own else None)
        self._report(started)
        if self._request.explain and not step.fresh:
            self._explain(digest, *await in_thread(self._why, step, parts))
        elif step.fresh:
            self._explain(digest, "", "the build was asked not to use the cache for it")
        values = [EMPTY if one is None else one.value for one in inputs]
        parents = tuple(one.key for one in inputs if one is not None)

        def begin(flight: Flight) -> asyncio.Task[Stack]:
            keep = self._keeping(flight, step, key, parts, parents)
            execution = Execution(self._solver.tools, self._request, flight.report, digest, keep, self._plan.epoch)
            return asyncio.create_task(self._execute(execution, step, values, below), name=f"run {digest[7:19]}")

        try:
            stack = await self._flown(name, begin, _addressed(self._report, digest))
        except BaseException as error:
            self._ended(digest, step, error)
            raise
        self._report(VertexCompleted(digest=digest))
        return Outcome(key, stack)

    def _why(self, step: Step, parts: tuple[Part, ...]) -> tuple[str, str]:
        return explain(self._solver.cache.steps(), step.label or type(step).__name__, parts)

    def _explain(self, digest: Digest, part: str, reason: str) -> None:
        if self._request.explain:
            self._report(VertexExplained(digest=digest, part=part, reason=reason))

    async def _parts(self, step: Step, inputs: list[Outcome | None]) -> tuple[Part, ...]:
        """What the key is made of. NotFound for a file that is not there."""
        wanted = content_inputs(step)
        by_content = {one.index for one in wanted}
        keys: list[Digest | None] = []
        for index, one in enumerate(inputs):
            if one is None or index in by_content:
                keys.append(None)
            else:
                keys.append(await self._content(_EVERYTHING, one.value) if isinstance(one.value, Files) else one.key)
        found = []
        for want in wanted:
            given = inputs[want.index]
            found.append(await self._content(want, EMPTY if given is None else given.value))
        epoch = () if self._plan.epoch is None else (Part("epoch", str(self._plan.epoch)),)
        return (*key_parts(step, keys, found), *epoch)

    async def _content(self, wanted: ContentInput, value: Value) -> Digest:
        def work() -> Digest:
            hashes = value.hashes if isinstance(value, Files) else contents.Hashes()
            with self._store.opened(value) as root:
                return contents.digest(root, wanted, hashes)

        if isinstance(value, Files):
            async with self._hashing:
                return await in_thread(work)
        if value.chain is None:
            return await in_thread(work)
        what = repr((wanted.paths, wanted.wildcards, wanted.include, wanted.exclude))
        return await in_thread(self._solver.cache.content, value.chain, what, work)

    async def _recorded(self, key: Digest, below: Stack) -> Stack | None:
        """The cached result, held, on the base's layers as this build has them (blobs may be compressed otherwise)."""
        record = self._solver.cache.find(key) or self._imported.get(key)
        if record is None or not record.stack.stands_on(below):
            return None
        stack = Stack((*below.layers, *record.stack.layers[len(below.layers) :]))
        if self._allowed is not None and stack.chain not in self._allowed:
            return None
        # None for what is damaged, was pruned meanwhile, or removed by hand
        return stack if await held(self._store, stack, self._undo) else None

    async def _flown(self, name: Any, begin: Callable[[Flight], asyncio.Task[Stack]], report: Report) -> Stack:
        flights, holds = self._solver.flights, self._store.holds
        flight = flights.get(name)
        if flight is None or flight.task is None or flight.task.done():
            flight = flights[name] = Flight()
            flight.task = begin(flight)
        for event in flight.told:
            report(event)
        flight.reports.append(report)
        flight.waiting += 1
        try:
            stack = await asyncio.shield(flight.task)
            self._hold(stack)
            return stack
        finally:
            flight.waiting -= 1
            flight.reports.remove(report)
            if not flight.waiting:
                if flights.get(name) is flight:
                    del flights[name]
                flight.task.cancel()
                await asyncio.wait([flight.task])
                if not flight.task.cancelled():
                    flight.task.exception()  # retrieved: whoever waited has heard of it, or has gone
                for made in flight.held:
                    holds.release(made)

    def _keeping(
        self, flight: Flight, step: Step, key: Digest, parts: tuple[Part, ...], parents: tuple[Digest, ...]
    ) -> Callable[[Stack], None]:
        def keep(stack: Stack) -> None:
            layer = self._store.snapshots.layer(stack.chain) if stack.chain else None
            label = step.label or type(step).__name__
            size = layer.size if layer else 0
            self._store.holds.take(stack)
            flight.held.append(stack)
            self._solver.cache.add(Record(key, label, "regular", parts, parents, stack, size, time.time_ns()))

        return keep

    async def _execute(self, execution: Execution, step: Step, values: list[Value], below: Stack) -> Stack:
        async with self._solver.slots:
            return await execution.run(step, values, below)


def _words(error: BaseException) -> str:
    """An OSError's without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    path = error.filename
    shown = os.fsdecode(path) if isinstance(path, str | bytes) else ""
    return f"{error.strerror.lower()}: {shown}" if shown else error.strerror.lower()


def _addressed(report: Report, digest: Digest) -> Report:
    """Events of a step that another build's definition may have begun, under this one's name."""
    return lambda event: report(replace(event, digest=digest))
