"""What the container use cases share: the records, their neighbours, and what is alive at the moment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from tiffin.containers.records import Records
from tiffin.containers.restart import Backoff
from tiffin.containers.waits import Waits
from tiffin.engine.container_early import Early
from tiffin.engine.events import Events
from tiffin.engine.hangups import Hangups
from tiffin.engine.neighbours import Images, Launcher, Snapshots
from tiffin.errors import Unavailable
from tiffin.linux import cgroups_live
from tiffin.linux.cgroups import Cgroup, Hierarchies
from tiffin.model.container import Config, Container
from tiffin.model.container_host import HostConfig, LogConfig
from tiffin.networks.service import Networks
from tiffin.runtime.launcher import Attachment, ExecProcess, Running, StartFailed
from tiffin.volumes.service import Volumes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """The daemon's part of what a container becomes."""

    data_root: Path
    exec_root: Path
    default_runtime: str = "tiffin"
    runtimes: dict[str, str] = field(default_factory=dict)
    default_log: LogConfig = field(default_factory=LogConfig)
    log_bounds: Mapping[str, str] = field(default_factory=lambda: {"max-size": "10m", "max-file": "3"})
    """Of the driver json-file, for what neither the request nor the daemon's options say."""
    cgroup_parent: str = "/tiffin"
    cdi_directories: tuple[str, ...] = ()
    init: bool = False
    stop_timeout: int = 10
    host_defaults: Callable[[HostConfig], HostConfig] = lambda host: host
    """Fills in what the daemon's options say and the request does not."""


@dataclass(slots=True)
class Exec:
    """A further process of a container, from create until some minutes after its end, or the container's removal."""

    id: str
    container_id: str
    config: Any
    process: ExecProcess | None = None
    exit_code: int | None = None
    started: bool = False
    can_remove: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        return self.process is not None and self.exit_code is None


class Arriving:
    """Clients that were told that they are attached, and whose sockets are still on their way here."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def settled(self, timeout: float) -> None:
        """Until they are here; `timeout` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._none.wait()


@dataclass(slots=True)
class Live:
    """What a container has beyond its record while the daemon runs."""

    process: Running | None = None
    pending: list[Attachment] = field(default_factory=list)  # attachments that came before the start
    arriving: Arriving = field(default_factory=Arriving)
    backoff: Backoff = field(default_factory=Backoff)
    restart: asyncio.Task[None] | None = None
    supervisor: asyncio.Task[None] | None = None
    health: asyncio.Task[None] | None = None
    execs: dict[str, Exec] = field(default_factory=dict)
    streams: set[asyncio.Task[None]] = field(default_factory=set)  # that wait for attachments to end
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # of this run; the next has one of its own
    stopping: bool = False
    removals: int = 0  # requests that kill it in order to remove it
    killed: bool = False  # SIGKILL was sent: whoever froze it now would keep it from dying
    births: int = 0  # further processes that are about to be
    calm: asyncio.Event = field(default_factory=asyncio.Event)  # when there are none any more
    freezing: bool = False

    @contextlib.contextmanager
    def birth(self) -> Iterator[None]:
        """While a further process is made. One that is frozen half-born would keep who asked for it waiting."""
        self.births += 1
        self.calm.clear()
        try:
            yield
        finally:
            self.births -= 1
            if not self.births:
                self.calm.set()

    @contextlib.asynccontextmanager
    async def no_births(self) -> AsyncIterator[None]:
        """While it is frozen: who would make one is refused, and who is at it has finished."""
        self.freezing = True
        try:
            if self.births:
                await self.calm.wait()
            yield
        finally:
            self.freezing = False


class Context:
    """Built once by the daemon; used from the event loop's thread."""

    def __init__(
        self,
        *,
        settings: Settings,
        records: Records,
        images: Images,
        snapshots: Snapshots,
        networks: Networks,
        volumes: Volumes,
        launcher: Launcher,
        events: Events,
        hierarchies: Hierarchies,
    ) -> None:
        self.settings = settings
        self.records = records
        self.images = images
        self.snapshots = snapshots
        self.networks = networks
        networks.resolvers.inside = self.sockets
        self.volumes = volumes
        self.launcher = launcher
        self.events = events
        self.hierarchies = hierarchies
        self.early = Early(launcher, lambda container: cgroups_live.discard(self.cgroup(container)))
        self.waits = Waits()
        self.others: list[Callable[[], Collection[str]]] = []
        """IDs that look like containers' and are builds'."""
        self.execs: dict[str, Exec] = {}
        self._live: dict[str, Live] = {}
        self._filling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._hangups: Hangups | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def filling(self, volume: str) -> asyncio.Lock:
        """Held while a volume gets its first content: others that start with it wait for all of it."""
        return self._filling.setdefault(volume, asyncio.Lock())

    def live(self, container_id: str) -> Live:
        found = self._live.get(container_id)
        if found is None:
            found = self._live[container_id] = Live()
        return found

    @property
    def hangups(self) -> Hangups:
        if self._hangups is None:
            self._hangups = Hangups(asyncio.get_running_loop())
        return self._hangups

    async def sockets(self, container_id: str, *wanted: tuple[int, int, int]) -> list[int]:
        """Sockets made in a running container's network namespace. Raises Unavailable when it does not run (yet)."""
        live = self._live.get(container_id)
        if live is None or live.process is None:
            raise Unavailable(f"container {container_id} is not running")
        try:
            return await live.process.sockets(*wanted)
        except StartFailed as failure:
            raise Unavailable(str(failure)) from failure

    def take_pending(self, container_id: str) -> list[Attachment]:
        """The attachments that came before a start; the caller hands on or closes their descriptors."""
        live = self.live(container_id)
        pending, live.pending = live.pending, []
        for attachment in pending:
            self.hangups.forget(attachment.fd)
        return pending

    def watch_stream(self, container_id: str, ended: Awaitable[str]) -> None:
        """Tell when a client leaves a container by its detach keys."""
        live = self.live(container_id)
        task = self.task(self._note_end(container_id, ended), f"attachment to {container_id}")
        live.streams.add(task)
        task.add_done_callback(live.streams.discard)

    async def _note_end(self, container_id: str, ended: Awaitable[str]) -> None:
        if await ended == "keys" and container_id in self.records:
            self.publish(self.records.get(container_id), "detach")

    def forget(self, container_id: str) -> None:
        live = self._live.pop(container_id, None)
        for exec_id in live.execs if live else ():
            self.execs.pop(exec_id, None)

    def forget_exec(self, execution: Exec) -> None:
        self.execs.pop(execution.id, None)
        if (live := self._live.get(execution.container_id)) is not None:
            live.execs.pop(execution.id, None)

    def task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run work that belongs to no request; `close` waits for its end. What it raises is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Stop watching; the containers run on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def directory(self, container_id: str) -> Path:
        """Its files on disk: hosts, hostname, resolv.conf, its log."""
        return self.settings.data_root / "containers" / container_id

    def state(self, container_id: str) -> Path:
        """Its monitor's socket and exit file."""
        return self.settings.exec_root / "containers" / container_id

    def cgroup(self, container: Container) -> Cgroup:
        """Its control groups' directories."""
        parent = container.host.cgroup_parent or self.settings.cgroup_parent
        return self.hierarchies.place(f"{parent.rstrip('/')}/{container.id}")

    def log_path(self, container: Container) -> str:
        """Where the json-file log is; empty for the other drivers, as the API has it."""
        if container.host.log_config.type != "json-file":
            return ""
        return str(self.directory(container.id) / f"{container.id}-json.log")

    def publish(self, container: Container, action: str, at: int | None = None, **attributes: str) -> None:
        """An event of the container, with docker's attributes: its labels, image and name."""
        self.events.publish(
            "container",
            action,
            container.id,
            {**(container.config.labels or {}), "image": container.config.image, "name": container.name, **attributes},
            at=at,
        )


def now() -> int:
    return time.time_ns()


def stop_signal_of(config: Config) -> str:
    return config.stop_signal or "SIGTERM"
