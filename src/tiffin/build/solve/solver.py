"""Runs the steps of a plan: each when its inputs are there, none twice, equal ones of concurrent builds once.

A step's key is known when its inputs are; a record under it that stands on the very layers that this build has below is
the result. Otherwise the step is executed in a *flight* that every build with the same key waits for.

What an imported cache tells of may have its layers elsewhere: they are fetched when something needs them, and where
that does not work the step is run after all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from tiffin.build.keys import Part, key_of
from tiffin.build.plan import BuildPlan
from tiffin.build.solve.cache import Cache
from tiffin.build.solve.cache import Step as Record
from tiffin.build.solve.events import Report, VertexCompleted, VertexExplained, VertexLog, VertexStarted
from tiffin.build.solve.execution import Execution, Tools, finished
from tiffin.build.solve.failures import StepFailed
from tiffin.build.solve.flights import Flight, Flights, Lent
from tiffin.build.solve.imports import Imports
from tiffin.build.solve.lookup import Lookup, by_key
from tiffin.build.solve.ports import Bases
from tiffin.build.solve.reasons import Reasons
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.sources import Sources
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.trail import Traced, Trail
from tiffin.build.solve.values import EMPTY, Outcome, Stack, Value
from tiffin.build.steps import RunCommand, SecretMount, SshMount, Step
from tiffin.errors import NotFound, TiffinError
from tiffin.model.digest import Digest

log = logging.getLogger(__name__)

CANCELED = "context canceled"


class Solver:
    """One for the engine. at_once: steps executed side by side, over all builds."""

    def __init__(self, tools: Tools, cache: Cache, *, at_once: int = 16) -> None:
        self.tools = tools
        self.cache = cache
        self.slots = asyncio.Semaphore(at_once)
        self.flights = Flights(tools.store.holds)

    async def solve(
        self,
        plan: BuildPlan,
        request: BuildRequest,
        bases: Bases,
        report: Report,
        *,
        allowed: Collection[Digest] | None = None,
        imports: Imports | None = None,
    ) -> tuple[Stack, Trail]:
        """The layers of the plan's output, and how it came to them; both held: to release them is the caller's.

        allowed: the chain IDs that cached steps may have; None for any. imports: what other builders tell.
        Raises StepFailed.
        """
        lent = Lent()
        try:
            sources = Sources(self.tools.store, self.cache, self.tools.directories, bases, request, lent.undo)
            stack, trail = await _Build(self, plan, request, sources, report, lent, allowed, imports).run()
            for held in (stack, *trail.kept):
                self.tools.store.holds.take(held)
            return stack, trail
        finally:
            await lent.done()


class _Build:
    """One plan's way through the solver."""

    def __init__(
        self,
        solver: Solver,
        plan: BuildPlan,
        request: BuildRequest,
        sources: Sources,
        report: Report,
        lent: Lent,
        allowed: Collection[Digest] | None,
        imports: Imports | None,
    ) -> None:
        self._solver = solver
        self._store = solver.tools.store
        self._plan = plan
        self._request = request
        self._sources = sources
        self._report = report
        self._lent = lent
        self._imports = imports
        self._tasks: dict[Digest, asyncio.Task[Outcome]] = {}
        self._coming: dict[Digest, asyncio.Task[Outcome]] = {}
        self._traced: dict[Digest, Traced] = {}
        self._reasons = Reasons(solver.cache, plan, request)
        self._lookup = Lookup(
            self._store,
            solver.cache,
            self._reasons,
            lent.undo,
            epoch=plan.epoch,
            allowed=allowed,
            imports=imports,
            here=self._here,
        )
        self._used: list[Digest] = []

    async def run(self) -> tuple[Stack, Trail]:
        if self._plan.output is None:
            return EMPTY, Trail()
        for digest, step in self._plan.steps.items():
            self._tasks[digest] = asyncio.create_task(self._outcome(digest, step), name=f"step {digest[7:19]}")
        try:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
            for task in self._tasks.values():  # inputs first: the cause before what it kept from being done
                if task.done():
                    task.result()
            output = await self._layered(await self._here(self._plan.output))
            kept = await self._kept() if self._request.whole_trail else ()
            steps = tuple(self._traced[digest] for digest in self._plan.steps if digest in self._traced)
            return output, Trail(steps, self._lookup.contents, kept)
        finally:
            tasks = [*self._tasks.values(), *self._coming.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
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
            if self._imports is not None:
                self._imports.known.update(outcome.value.layers)
        return outcome

    def _hold(self, stack: Stack) -> None:
        self._store.holds.take(stack)
        self._lent.undo.callback(self._store.holds.release, stack)

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
        self._lent.undo.callback(self._store.holds.release, stack)
        return stack

    async def _made(
        self, digest: Digest, step: Step, inputs: list[Outcome | None], *, trusting: bool = True
    ) -> Outcome:
        """trusting: what was imported counts."""
        started = VertexStarted(digest=digest, name=step.label, inputs=tuple(one for one in step.inputs if one))
        try:
            parts = await self._lookup.parts(step, inputs, trusting=trusting)
        except NotFound as error:
            self._report(started)
            self._ended(digest, step, error, "failed to compute cache key: ")
            raise
        first = inputs[0]
        below = EMPTY if first is None else await self._layered(first)
        key = key_of(parts)
        parents = tuple(one.key for one in inputs if one is not None)
        record, believed = None, False
        if not step.fresh:
            record, believed = await self._lookup.record(digest, key, below, trusting=trusting)
        believed = believed or any(one is not None and one.believed for one in inputs)
        if record is not None:
            self._report(replace(started, cached=True))
            if self._request.explain:
                self._explain(digest, "", await in_thread(self._reasons.cached, record))
            self._report(VertexCompleted(digest=digest))
            self._used.append(key)
            self._traced[digest] = Traced(key, _label(step), parents, record.stack, record.created)
            return Outcome(key, record.stack, believed)
        here = [None if given is None else await self._here(given) for given in step.inputs]
        if (
            trusting and self._imports is not None
        ):  # once more with what is here: others' word for it is in no key that is kept
            return await self._made(digest, step, here, trusting=False)
        # what must be made afresh, asks this client for secrets, or stands beside what only this build believes in, is
        # nobody else's
        beside = any(one is not None and one.believed for one in by_key(step, inputs)[1:])
        own = step.fresh or beside or _asks_client(step)
        name = (key, below.chain, self if own else None)
        self._report(started)
        if self._request.explain and not step.fresh:
            self._explain(digest, *await in_thread(self._reasons.missed, step, _label(step), parts))
        elif step.fresh:
            self._explain(digest, "", "the build was asked not to use the cache for it")
        values = [EMPTY if one is None else one.value for one in here]
        began = time.monotonic_ns()

        def begin(flight: Flight) -> asyncio.Task[Stack]:
            keep = self._keeping(flight, step, key, parts, parents, recorded=not beside)
            execution = Execution(self._solver.tools, self._request, flight.report, digest, keep, self._plan.epoch)
            return asyncio.create_task(self._execute(execution, step, values, below), name=f"run {digest[7:19]}")

        try:
            stack = await self._solver.flights.join(
                name, begin, _addressed(self._report, digest), self._hold, self._lent
            )
        except BaseException as error:
            self._ended(digest, step, error)
            raise
        if self._request.explain:
            took = time.monotonic_ns() - began
            self._explain(digest, "", self._reasons.made(await in_thread(self._store.size, stack), took))
        self._report(VertexCompleted(digest=digest))
        self._traced[digest] = Traced(key, _label(step), parents, stack, self._made_at(stack))
        return Outcome(key, stack, believed)

    def _made_at(self, stack: Stack) -> int:
        found = self._solver.cache.created(stack.chain) if stack.chain else None
        return found or time.time_ns()

    async def _here(self, digest: Digest) -> Outcome:
        """A step's outcome with its layers, fetched if need be; run after all where they can't be had."""
        outcome = await asyncio.shield(self._tasks[digest])
        if digest not in self._lookup.elsewhere:
            return outcome
        if digest not in self._coming:
            self._coming[digest] = asyncio.create_task(self._brought(digest, outcome), name=f"bring {digest[7:19]}")
        return await asyncio.shield(self._coming[digest])

    async def _brought(self, digest: Digest, outcome: Outcome) -> Outcome:
        step, stack = self._plan.steps[digest], outcome.value
        assert self._imports is not None and isinstance(stack, Stack)

        def keep(brought: Stack) -> None:
            self._solver.cache.add_brought(brought, _label(step), self._store.size(brought))

        try:
            await self._imports.bring(stack, self._store, keep, digest, self._report)
        except (TiffinError, OSError) as error:
            log.info("step %s of an imported cache: %s", _label(step), error)
            text = f"not taken from the imported cache: {_words(error)}\n"
            self._report(VertexLog(digest=digest, stream=2, data=text.encode()))
            inputs = [None if given is None else await self._here(given) for given in step.inputs]
            return await self._made(digest, step, inputs, trusting=False)
        self._lent.undo.callback(self._store.holds.release, stack)
        return outcome

    async def _kept(self) -> tuple[Stack, ...]:
        """The layers of every step, as far as they can be had."""
        kept = []
        for digest, traced in list(self._traced.items()):
            if digest in self._lookup.elsewhere and digest not in self._coming and not self._offered(traced.stack):
                continue
            with contextlib.suppress(StepFailed):  # of one that nothing else needed
                await self._here(digest)
                kept.append(self._traced[digest].stack)
        return tuple(kept)

    def _offered(self, stack: Stack) -> bool:
        """Whether what is missing of it came with a cache."""
        assert self._imports is not None
        return all(layer.blob in self._imports.blobs for layer in self._store.missing(stack))

    def _explain(self, digest: Digest, part: str, reason: str) -> None:
        if self._request.explain:
            self._report(VertexExplained(digest=digest, part=part, reason=reason))

    def _keeping(
        self,
        flight: Flight,
        step: Step,
        key: Digest,
        parts: tuple[Part, ...],
        parents: tuple[Digest, ...],
        *,
        recorded: bool,
    ) -> Callable[[Stack], None]:
        began = time.monotonic_ns()

        def keep(stack: Stack) -> None:
            self._store.holds.take(stack)
            flight.held.append(stack)
            if recorded:
                self._reasons.keep(key, time.monotonic_ns() - began, parts)
                size, now = self._store.size(stack), time.time_ns()
                self._solver.cache.add(Record(key, _label(step), "regular", parts, parents, stack, size, now))

        return keep

    async def _execute(self, execution: Execution, step: Step, values: list[Value], below: Stack) -> Stack:
        async with self._solver.slots:
            return await execution.run(step, values, below)


def _asks_client(step: Step) -> bool:
    return isinstance(step, RunCommand) and any(isinstance(one, SecretMount | SshMount) for one in step.mounts)


def _label(step: Step) -> str:
    return step.label or type(step).__name__


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
