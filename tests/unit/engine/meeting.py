"""Containers without a forkserver, whose operations meet at moments that a test chooses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tiffin.containers.records import Records
from tiffin.content.ledger import Ledger
from tiffin.engine.container_context import Context, Settings
from tiffin.engine.container_health import HealthChecks
from tiffin.engine.container_lifecycle import Lifecycle
from tiffin.engine.container_stop import Signals
from tiffin.engine.events import Events
from tiffin.linux.cgroups import Hierarchies
from tiffin.model.container import Container
from tiffin.model.container_status import Paused, Running, Status
from tiffin.runtime.launcher import Attachment, StartFailed
from unit.containers.specimens import container

RUNNING, PAUSED = Running(1, 1, 0), Paused(1, 1, 0)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


class Process:
    """A running container that does what the test says."""

    pid, pidfd = 1, -1

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.signalled = asyncio.Event()

    def signal(self, number: int) -> None:
        self.sent.append(int(number))
        self.signalled.set()

    def discard(self) -> None:
        pass

    async def attach(self, attachment: Attachment) -> None:
        os.close(attachment.fd)
        raise StartFailed("attach", 32, "", "it has ended")


class Meeting:
    def __init__(self, place: Path) -> None:
        (place / "exec").mkdir()
        # Containers meet only their records, their locks and what is alive: nothing else is asked.
        nobody = cast(Any, SimpleNamespace(resolvers=SimpleNamespace()))
        self.context = Context(
            settings=Settings(place / "data", place / "exec"),
            records=Records(Ledger(place / "ledger.db")),
            images=nobody,
            snapshots=nobody,
            networks=nobody,
            volumes=nobody,
            launcher=nobody,
            events=Events(),
            hierarchies=Hierarchies({}, "/nowhere"),
        )
        self.records = self.context.records
        self.lifecycle = Lifecycle(self.context, HealthChecks(self.context))
        self.signals = Signals(self.context, self.lifecycle)
        self.launched: list[str] = []

        async def launch(container_id: str) -> None:
            self.launched.append(container_id)

        self.lifecycle.launch = launch  # type: ignore[method-assign]

    def add(self, status: Status) -> tuple[Container, Process]:
        one = container("web", status=status)
        self.records.add(one)
        self.records.change(one.id, status=status)
        process = Process()
        if isinstance(status, Running | Paused):
            self.context.live(one.id).process = cast(Any, process)
        return one, process

    async def end(self, one: Container, status: Status) -> None:
        """The run is over, and somebody else was quick: what `status` says has come since."""
        live = self.context.live(one.id)
        async with self.records.lock(one.id):
            live.process = None
            self.records.change(one.id, status=status)
            live.ended.set()
