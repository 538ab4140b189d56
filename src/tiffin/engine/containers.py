"""Containers, as the API's handlers and the daemon see them: one object with a use case in each attribute.

    containers = Containers(context)
    created = await containers.creation.create("web", config, host, networks)
    await containers.lifecycle.start(created.id)
    await containers.signals.stop("web")

`docker run` from here on: container_create → container_lifecycle → container_start → runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tiffin.containers.waits import CONDITIONS, Outcome
from tiffin.engine import container_top
from tiffin.engine.container_archive import Archives
from tiffin.engine.container_attach import Attaching
from tiffin.engine.container_changes import Changing
from tiffin.engine.container_context import Context
from tiffin.engine.container_create import Creation
from tiffin.engine.container_exec import Execs
from tiffin.engine.container_export import Exports
from tiffin.engine.container_health import HealthChecks
from tiffin.engine.container_lifecycle import Lifecycle
from tiffin.engine.container_list import Listing
from tiffin.engine.container_logs import Logs
from tiffin.engine.container_remove import Removal
from tiffin.engine.container_restore import Restore, alive
from tiffin.engine.container_stats import Statistics
from tiffin.engine.container_stop import Signals
from tiffin.errors import Conflict, Invalid
from tiffin.linux import cgroups_live
from tiffin.model.container import Container
from tiffin.model.container_status import Restarting, exit_code_of, is_running


class Containers:
    """Everything there is to do with containers."""

    def __init__(self, context: Context) -> None:
        self.context = context
        health = HealthChecks(context)
        self.creation = Creation(context)
        self.lifecycle = Lifecycle(context, health)
        self.signals = Signals(context, self.lifecycle)
        self.removal = Removal(context, self.lifecycle, self.signals)
        self.execs = Execs(context)
        self.logs = Logs(context)
        self.attaching = Attaching(context, self.logs.replay)
        self.listing = Listing(context)
        self.changing = Changing(context)
        self.archives = Archives(context)
        self.exports = Exports(context)
        self.statistics = Statistics(context)
        health.run = self.execs.probe
        self.creation.created = self.lifecycle.foresee

    def get(self, reference: str) -> Container:
        """By id, name or a prefix of an id. Raises NotFound, Invalid."""
        return self.context.records.find(reference)

    def running(self) -> frozenset[str]:
        """The ids of those that may run, before `restore` has looked."""
        return alive(self.context)

    async def restore(self) -> None:
        """At the daemon's start."""
        await Restore(self.context, self.lifecycle).run()

    async def close(self) -> None:
        """At the daemon's end: containers run on."""
        await self.context.close()
        self.lifecycle.close()

    def wait(self, reference: str, condition: str = "not-running") -> asyncio.Future[Outcome]:
        """Done at the condition: `not-running` (at once for one that does not run), `next-exit`, `removed`."""
        condition = condition or "not-running"
        if condition not in CONDITIONS:
            raise Invalid(f'invalid condition: "{condition}"')
        container = self.get(reference)
        if condition == "removed":
            return self.context.waits.removal(container.id)
        if condition == "not-running" and not is_running(container.status):
            done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            done.set_result(Outcome(exit_code_of(container.status), getattr(container.status, "error", "")))
            return done
        return self.context.waits.exit(container.id)

    def processes(self, reference: str, arguments: str) -> tuple[list[str], list[list[str]]]:
        """Titles and rows of ps(1), read from the host's /proc. Raises NotFound, Conflict, Invalid."""
        container = self.get(reference)
        if isinstance(container.status, Restarting):
            raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
        if not is_running(container.status):
            raise Conflict(f"container {container.id} is not running")
        found = container_top.table(cgroups_live.pids(self.context.cgroup(container)), arguments)
        self.context.publish(container, "top")
        return found

    def count(self) -> Mapping[str, int]:
        """Containers by state, as `docker info` counts them."""
        return self.listing.count()
