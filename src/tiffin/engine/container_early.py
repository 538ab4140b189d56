"""Starts that begin before they are asked for: between a create and its start the client has things of its own to do.

Whoever creates a container that is to be removed at its end, as `docker run --rm` does, starts it next. All of that
start is done at once but the execve, which comes when it is asked for. Nobody can tell, unless the start depends on
what was changed in between: then this one is withdrawn, and another one made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tiffin.engine.neighbours import Launcher
from tiffin.model.container import Container
from tiffin.runtime.launcher import Running

_PATIENCE = 1.0  # s; a client that goes on asks within milliseconds
_MANY = 16  # at the same time

Plan = Mapping[str, Any]


class _Begun(NamedTuple):
    container: Container
    plan: Plan
    running: Running
    timer: asyncio.TimerHandle


class Early:
    """By container id, for use from the event loop's thread."""

    def __init__(self, launcher: Launcher, discard: Callable[[Container], None]) -> None:
        """discard: removes what a start has left whose monitor was killed; blocks."""
        self._launcher, self._discard = launcher, discard
        self._begun: dict[str, _Begun] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, container_id: str) -> bool:
        return container_id in self._begun or container_id in self._ending

    def begin(self, container: Container, plan: Plan) -> None:
        """Where it is likely to be wanted, and can be undone: hooks are others' programs. Raises OSError."""
        if not container.host.auto_remove or plan["hooks"] or len(self._begun) >= _MANY:
            return
        running = self._launcher.prepare(plan)
        running.begun.add_done_callback(_looked_at)
        timer = asyncio.get_running_loop().call_later(_PATIENCE, self._end, container.id)
        self._begun[container.id] = _Begun(container, plan, running, timer)

    async def take(self, container_id: str, plan: Plan) -> Running | None:
        """What there is of a start by this plan, to be released. None: nothing, nor anything in another start's way."""
        found = self._begun.get(container_id)
        if found is not None and found.plan is plan and not found.running.begun.done():
            found.timer.cancel()
            del self._begun[container_id]
            return found.running
        await self.drop(container_id)
        return None

    async def drop(self, container_id: str) -> None:
        """Undo it, for another start, or for who changes the container's files."""
        self._end(container_id)
        if container_id in self._ending:
            await asyncio.shield(self._ending[container_id])

    def _end(self, container_id: str) -> None:
        found = self._begun.pop(container_id, None)
        if found is None:
            return
        found.timer.cancel()
        task = self._ending[container_id] = asyncio.get_running_loop().create_task(self._undo(found))
        task.add_done_callback(lambda _: self._ending.pop(container_id))

    async def _undo(self, found: _Begun) -> None:
        if not await found.running.withdraw():
            await asyncio.to_thread(self._discard, found.container)

    def close(self) -> None:
        """At the daemon's end: a monitor undoes what no daemon waits for."""
        for found in self._begun.values():
            found.timer.cancel()
            found.running.close()
        self._begun.clear()


def _looked_at(begun: asyncio.Future[None]) -> None:
    """Why it failed the start says that is asked for."""
    if not begun.cancelled():
        begun.exception()
