"""Health checks: a probe run inside the container again and again, and what its results mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tiffin.containers.health import Probing, judge, settings
from tiffin.engine.container_context import Context, now
from tiffin.model.container import Container
from tiffin.model.container_status import Health, Paused, Probe, is_running
from tiffin.runtime.launcher import Running

RunProbe = Callable[[Container, Running, tuple[str, ...], float], Awaitable[tuple[int, bytes]]]
"""Runs a command in a container for so many seconds at most: exit code (-1: too slow) and the head of its output."""


class HealthChecks:
    def __init__(self, context: Context) -> None:
        self._context = context
        self.run: RunProbe = _cannot_run
        """Set by the use case that runs further processes."""

    def begin(self, container: Container, process: Running) -> None:
        """Start probing, where the container has a probe."""
        probing = settings(container.config)
        if probing is None or container.health is None:
            return
        live = self._context.live(container.id)
        live.health = self._context.task(self._loop(container.id, process, probing), f"health check of {container.id}")

    def end(self, container_id: str) -> None:
        live = self._context.live(container_id)
        if live.health is not None:
            live.health.cancel()
            live.health = None

    async def _loop(self, container_id: str, process: Running, probing: Probing) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            container = self._context.records.get(container_id)
            health = container.health or Health()
            starting = health.status == "starting" and loop.time() - began < probing.start_period
            await asyncio.sleep(probing.start_interval if starting else probing.interval)
            container = self._context.records.get(container_id)
            if not is_running(container.status) or self._context.live(container_id).process is not process:
                return
            if self._is_paused(container_id):
                continue  # nothing in it would answer
            probe = await self._probe(container, process, probing)
            if self._is_paused(container_id):
                continue  # it was frozen in the midst of it
            in_start = loop.time() - began < probing.start_period
            self._note(container_id, probe, probing, in_start)

    def _is_paused(self, container_id: str) -> bool:
        records = self._context.records
        return container_id in records and isinstance(records.get(container_id).status, Paused)

    async def _probe(self, container: Container, process: Running, probing: Probing) -> Probe:
        start = now()
        try:
            code, output = await self.run(container, process, probing.command, probing.timeout)
        except Exception as error:
            return Probe(start, now(), 128, str(error))
        if code == -1:
            seconds = f"{probing.timeout:g}s"
            return Probe(start, now(), -1, f"Health check exceeded timeout ({seconds})")
        return Probe(start, now(), code, output.decode("utf-8", "replace"))

    def _note(self, container_id: str, probe: Probe, probing: Probing, in_start: bool) -> None:
        context = self._context
        if container_id not in context.records:
            return
        before = context.records.get(container_id).health or Health()
        after = judge(before, probe, probing, in_start)
        container = context.records.note(container_id, health=after)
        if after.status != before.status:
            context.records.change(container_id, health=replace(after, log=after.log[-1:]))
            context.records.note(container_id, health=after)
            context.publish(container, f"health_status: {after.status}")


async def _cannot_run(
    container: Container, process: Running, command: tuple[str, ...], timeout: float
) -> tuple[int, bytes]:
    raise RuntimeError("no use case runs probes")
