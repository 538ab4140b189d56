"""Steps in the air: equal ones of concurrent builds are executed once, and told to all who wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from tiffin.build.solve.events import Event, Report
from tiffin.build.solve.execution import finished
from tiffin.build.solve.store import Holds
from tiffin.build.solve.values import Stack

log = logging.getLogger(__name__)


class Lent:
    """What a build has opened: directories, layers that are held. Its flights read it, though the build may have gone
    when others follow them; `undo` is closed when the last is done."""

    def __init__(self) -> None:
        self.undo = AsyncExitStack()
        self._users = 1

    def lend(self) -> None:
        self._users += 1

    async def done(self) -> None:
        self._users -= 1
        if not self._users:
            await finished(self.undo.aclose())


@dataclass(slots=True)
class Flight:
    """A step that is being executed. told: what it reported so far, for those who come later; held: what it made."""

    lent: Lent
    task: asyncio.Task[Stack] | None = None
    waiting: int = 0
    told: list[Event] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    held: list[Stack] = field(default_factory=list)

    def report(self, event: Event) -> None:
        self.told.append(event)
        for report in self.reports:
            report(event)


class Flights:
    """By name: what makes two steps equal."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self.active: dict[Any, Flight] = {}

    async def join(
        self,
        name: Any,
        begin: Callable[[Flight], asyncio.Task[Stack]],
        report: Report,
        hold: Callable[[Stack], None],
        lent: Lent,
    ) -> Stack:
        """What the step makes, held by `hold`; begun if nobody has. The last to leave a flight cancels it.

        lent: what it reads if it is begun.
        """
        flight = self.active.get(name)
        if flight is None or flight.task is None or flight.task.done():
            flight = self.active[name] = Flight(lent)
            lent.lend()
            flight.task = begin(flight)
        for event in flight.told:
            report(event)
        flight.reports.append(report)
        flight.waiting += 1
        try:
            stack = await asyncio.shield(flight.task)
            hold(stack)
            return stack
        finally:
            flight.waiting -= 1
            flight.reports.remove(report)
            if not flight.waiting:
                if self.active.get(name) is flight:
                    del self.active[name]
                await finished(self._ended(flight, flight.task))

    async def _ended(self, flight: Flight, task: asyncio.Task[Stack]) -> None:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved: whoever waited has heard of it, or has gone
        for made in flight.held:
            self._holds.release(made)
        try:
            await flight.lent.done()
        except Exception as error:  # another build's, which has gone: no failure of who waited for the step
            log.warning("a build's directories could not be given back: %s", error)
