"""A container's life after create: started, watched, ended, started again by its policy. The state machine is here.

Every change of state happens under the container's lock and is written to the ledger before anyone is told.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from tiffin.containers import restart
from tiffin.containers.restart import Backoff
from tiffin.containers.waits import Outcome
from tiffin.content import crash
from tiffin.engine import container_volumes
from tiffin.engine.container_context import Context, log, now
from tiffin.engine.container_failures import StartError
from tiffin.engine.container_health import HealthChecks
from tiffin.engine.container_start import Starter
from tiffin.errors import Conflict, NotFound, NotModified, TiffinError
from tiffin.linux import cgroups_live
from tiffin.model.container import Container
from tiffin.model.container_status import (
    Created,
    Dead,
    Exited,
    Health,
    Paused,
    Removing,
    Restarting,
    Running,
)
from tiffin.runtime.launcher import Exit
from tiffin.runtime.launcher import Running as Process

Remove = Callable[[str], Awaitable[None]]


class Lifecycle:
    def __init__(self, context: Context, health: HealthChecks) -> None:
        self._context = context
        self._starter = Starter(context)
        self._health = health
        self.remove_ended: Remove = _cannot_remove
        """Removes a container that ended and asked for it; set by the use case that removes."""

    async def start(self, reference: str) -> None:
        """Raises NotFound, NotModified (it runs), Conflict (paused, being removed), StartError."""
        container = self._context.records.find(reference)
        async with self._context.records.lock(container.id):
            if not self.can_launch(container.id):
                raise NotModified("")
            live = self._context.live(container.id)
            live.backoff = Backoff()
            self._context.records.note(container.id, restart_count=0, manually_stopped=False)
            await self.launch(container.id)

    def can_launch(self, container_id: str) -> bool:
        """Whether it may be launched now, the lock being held; not when it runs. Raises NotFound, Conflict."""
        match self._context.records.get(container_id).status:
            case Running():
                return False
            case Paused():
                raise Conflict("cannot start a paused container, try unpause instead")
            case Removing() | Dead():
                raise _marked()
            case Restarting():
                self.cancel_restart(container_id)
        if self._context.live(container_id).removals:
            raise _marked()
        return True

    async def launch(self, container_id: str) -> None:
        """Start it, the lock being held. A failure is recorded, its streams closed, an ephemeral container removed."""
        context = self._context
        live = context.live(container_id)
        container = context.records.get(container_id)
        try:
            process = await self._starter.launch(container)
        except StartError as failure:
            await self._failed(container, failure)
            raise failure.error from failure
        crash.point("container-started")
        self._take_over(container, process)
        live.ended = asyncio.Event()
        live.killed = False
        finished = getattr(container.status, "finished_at", 0)
        status = Running(pid=process.pid, started_at=process.started_at, finished_at=finished)
        health = Health() if container.health else None
        container = context.records.change(container_id, status=status, health=health, pristine=False)
        live.supervisor = context.task(self._supervise(container_id, process), f"supervisor of {container_id}")
        container_volumes.tell_mounted(context, container)
        context.publish(container, "start", at=process.started_at)
        self._health.begin(container, process)

    async def _failed(self, container: Container, failure: StartError) -> None:
        context = self._context
        live = context.live(container.id)
        self.close_pending(container.id)
        await self._starter.clean(container.id)
        old = container.status
        started, finished = getattr(old, "started_at", 0), getattr(old, "finished_at", 0)
        status = (
            Exited(failure.code, started, now(), str(failure))
            if isinstance(old, Exited | Restarting)
            else Created(failure.code, str(failure), started, finished)
        )
        context.records.change(container.id, status=status)
        live.process = None
        context.waits.ended(container.id, Outcome(failure.code, str(failure)))
        if container.host.auto_remove:
            await self.remove_ended(container.id)

    def foresee(self, container: Container) -> None:
        """It was created, and is likely to be started next."""
        self._starter.foresee(container)

    def close_pending(self, container_id: str) -> None:
        """End the streams of those who attached before a start that does not come."""
        for attachment in self._context.take_pending(container_id):
            os.close(attachment.fd)

    def _take_over(self, container: Container, process: Process) -> None:
        cgroup = self._context.cgroup(container)
        process.end = lambda: cgroups_live.kill(cgroup)
        self._context.live(container.id).process = process

    def watch(self, container: Container, process: Process) -> None:
        """Take over a container that an earlier daemon started."""
        live = self._context.live(container.id)
        self._take_over(container, process)
        live.supervisor = self._context.task(self._supervise(container.id, process), f"supervisor of {container.id}")
        self._health.begin(container, process)

    async def _supervise(self, container_id: str, process: Process) -> None:
        ended = await process.wait()
        context = self._context
        async with context.records.lock(container_id):
            if container_id in context.records:
                await self.ended(container_id, ended)

    async def ended(self, container_id: str, ended: Exit) -> None:
        """Its process is gone: the lock is held. What it held is given back before anyone is told."""
        context = self._context
        live = context.live(container_id)
        container = context.records.get(container_id)
        self._health.end(container_id)
        if live.process is not None:
            live.process.close()
        live.process = None
        for task in live.streams:
            task.cancel()
        for execution in live.execs.values():
            execution.can_remove = True
        try:
            await self._starter.clean(container_id)
        except Exception:  # its end is told all the same: nobody else would, and who waits would wait for ever
            log.exception("not everything that container %s held was given back", container_id[:12])
        if ended.error:  # no monitor was there to clear up
            await asyncio.to_thread(cgroups_live.discard, context.cgroup(container))
        crash.point("container-ended")
        started = getattr(container.status, "started_at", 0)
        uptime = max(0.0, (ended.finished_at - started) / 1e9)
        again = restart.restarts(
            container.host.restart_policy, ended.code, container.manually_stopped, container.restart_count
        )
        kind: Any = Restarting if again else Exited
        status = kind(ended.code, started, ended.finished_at, ended.error, ended.oom_killed)
        health = container.health
        # of one that is removed now the exit file tells a daemon that comes back
        write = context.records.note if container.host.auto_remove and not again else context.records.change
        container = write(
            container_id, status=status, health=health, restart_count=container.restart_count + (1 if again else 0)
        )
        container_volumes.tell_unmounted(context, container)
        if ended.oom_killed:
            context.publish(container, "oom")
        context.publish(container, "die", at=ended.finished_at, exitCode=str(ended.code), execDuration=str(int(uptime)))
        live.ended.set()
        context.waits.ended(container_id, Outcome(ended.code, ended.error))
        if again:
            live.backoff = live.backoff.after(uptime)
            live.restart = context.task(
                self._restart_later(container_id, live.backoff.delay), f"restart of {container_id}"
            )
        elif container.host.auto_remove and not live.stopping:
            await self.remove_ended(container_id)

    async def _restart_later(self, container_id: str, delay: float) -> None:
        await asyncio.sleep(delay)
        context = self._context
        async with context.records.lock(container_id):
            if container_id not in context.records:
                return
            container = context.records.get(container_id)
            live = context.live(container_id)
            live.restart = None
            if not isinstance(container.status, Restarting) or live.removals:
                return
            try:
                await self.launch(container_id)
            except TiffinError as failure:
                log.warning("restart of %s failed: %s", container_id[:12], failure)

    def give_up_restart(self, container_id: str) -> None:
        """It was about to be started again and shall not: it has exited. The lock is held."""
        self.cancel_restart(container_id)
        old = self._context.records.get(container_id).status
        if isinstance(old, Restarting):
            ended = Exited(old.exit_code, old.started_at, old.finished_at, old.error, old.oom_killed)
            self._context.records.change(container_id, status=ended)
            self._context.waits.ended(container_id, Outcome(old.exit_code))

    def cancel_restart(self, container_id: str) -> None:
        live = self._context.live(container_id)
        if live.restart is not None:
            live.restart.cancel()
            live.restart = None

    def close(self) -> None:
        """At the daemon's end: containers run on."""
        self._starter.close()

    async def clean(self, container_id: str) -> None:
        """Give back what its last run held."""
        await self._starter.clean(container_id)


def _marked() -> Conflict:
    return Conflict("container is marked for removal and cannot be started")


async def _cannot_remove(container_id: str) -> None:
    raise NotFound(f"nobody removes {container_id}")
