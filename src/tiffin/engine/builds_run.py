"""RUN in tiffin's own containers: the default sandbox, no record, no name, nothing in `ps`.

A container's start does the work; what is here stands in for create (nothing is written down) and for the record of
its end. What a crash leaves of one is found at the next start: `clear`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any

from tiffin.build.solve import running
from tiffin.build.solve.execution import finished
from tiffin.build.solve.ports import Process
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.threads import in_thread
from tiffin.containers import creation, modes
from tiffin.content.ledger import Ledger
from tiffin.engine.builds_foreign import explained
from tiffin.engine.container_context import Context, Settings, log, now
from tiffin.engine.container_export import OWN
from tiffin.engine.container_failures import StartError
from tiffin.engine.container_start import Starter
from tiffin.errors import Invalid
from tiffin.linux import cgroups_live
from tiffin.linux.cgroups import Hierarchies
from tiffin.model.container import Config, Container, ContainerId, EndpointRequest
from tiffin.model.container_host import HostConfig, LogConfig, MountPoint, RestartPolicy, Ulimit
from tiffin.runtime.handles import Attachment
from tiffin.runtime.launcher import Running

_TABLE = ("build_run", "CREATE TABLE build_run(id TEXT PRIMARY KEY, parent TEXT NOT NULL)")
_HOSTNAME = "buildkitsandbox"
_FRAME = 8


class Runner:
    """Implements `build.solve.ports.Runner`."""

    own: Collection[bytes] = OWN

    def __init__(self, context: Context, ledger: Ledger) -> None:
        self._context = context
        self._ledger = ledger
        self._starter = Starter(context)
        ledger.declare(*_TABLE)

    async def run(self, process: Process, request: BuildRequest, output: Callable[[int, bytes], None]) -> int:
        """Raises Invalid for a process that can't be started; cancelled, kills it and all it began."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            client = Attachment(theirs.detach(), stdout=True, stderr=True, framed=True)
            try:
                return await self._running(self._container(process, request), client, lambda: _read(ours, output))
            except Invalid as error:
                raise explained(error, process.step.platform) from error

    async def shell(self, process: Process, request: BuildRequest, client: Attachment, size: tuple[int, int]) -> int:
        """The same with a terminal of (rows, columns), which ends with its client's connection."""
        container = self._container(process, request)
        config = replace(container.config, tty=True, open_stdin=True, stdin_once=True, attach_stdin=True)
        host = replace(container.host, console_size=size)
        container = replace(container, config=config, host=host, pristine=False)

        async def left() -> None:
            if client.ended is not None:
                await client.ended
            await in_thread(cgroups_live.kill, self._context.cgroup(container))

        return await self._running(container, client, left)

    async def resize(self, key: str, height: int, width: int) -> None:
        """The terminal of a shell; nothing happens where there is none."""
        process = self._context.live(key).process
        if process is not None:
            await process.resize(height, width)

    async def _running(
        self, container: Container, client: Attachment, follow: Callable[[], Coroutine[Any, Any, None]]
    ) -> int:
        """follow: is waited for before the process is."""
        context = self._context
        await in_thread(self._note, container)
        try:
            context.live(container.id).pending.append(client)
            try:
                started = await self._starter.launch(container)
            except StartError as failure:
                raise Invalid(str(failure)) from failure
            return await self._follow(container, started, follow)
        finally:
            await finished(self._forget(container))

    async def _follow(
        self, container: Container, started: Running, follow: Callable[[], Coroutine[Any, Any, None]]
    ) -> int:
        cgroup = self._context.cgroup(container)
        started.end = lambda: cgroups_live.kill(cgroup)
        self._context.live(container.id).process = started
        try:
            await follow()
            return (await started.wait()).code
        except BaseException:
            await in_thread(cgroups_live.kill, cgroup)
            await finished(started.wait())
            raise
        finally:
            started.close()

    async def _forget(self, container: Container) -> None:
        context = self._context
        for attachment in context.take_pending(container.id):
            os.close(attachment.fd)
        await self._starter.clean(container.id)
        context.forget(container.id)
        await in_thread(self._remove, container)

    def _remove(self, container: Container) -> None:
        cgroups_live.discard(self._context.cgroup(container))
        shutil.rmtree(self._context.directory(container.id), ignore_errors=True)
        shutil.rmtree(self._context.state(container.id), ignore_errors=True)
        with self._ledger.transaction(volatile=True) as db:
            db.execute("DELETE FROM build_run WHERE id = ?", (container.id,))

    def _note(self, container: Container) -> None:
        parent = container.host.cgroup_parent or self._context.settings.cgroup_parent
        with self._ledger.transaction(volatile=True) as db:
            db.execute("INSERT OR REPLACE INTO build_run VALUES (?, ?)", (container.id, parent))

    def _container(self, process: Process, request: BuildRequest) -> Container:
        step, context = process.step, self._context
        host = self._host(process, request)
        hostname = step.hostname or ("" if modes.container_of(host.network_mode) else _HOSTNAME)
        path, *args = step.arguments
        config = Config(
            hostname=socket.gethostname() if host.network_mode == "host" else hostname,
            user=step.user,
            env=process.environment,
            cmd=step.arguments,
            working_dir=step.directory,
            network_disabled=False,
        )
        mode = host.network_mode
        return Container(
            id=ContainerId(process.snapshot),
            name=f"build-{process.snapshot[:12]}",
            created=now(),
            image_id="",
            config=config,
            host=host,
            path=path,
            args=tuple(args),
            driver=context.snapshots.name,
            networks={} if modes.container_of(mode) else {mode: EndpointRequest()},
            mounts=_mounts(process),
            chain=process.chain,
        )

    def _host(self, process: Process, request: BuildRequest) -> HostConfig:
        step, settings, asked = process.step, self._context.settings, request.host
        network = step.network if step.network != "default" else asked.network_mode
        hosts = (*(asked.extra_hosts or ()), *(f"{name}:{address}" for name, address in step.settings.hosts))
        parent = step.settings.cgroup_parent or asked.cgroup_parent
        if "\0" in parent:
            raise Invalid("a NUL byte can't be part of a control group's path")
        host = replace(
            asked,
            network_mode=self._network(network),
            extra_hosts=hosts,
            shm_size=step.settings.shm_size or asked.shm_size,
            ulimits=(*(asked.ulimits or ()), *map(_ulimit, step.settings.ulimits)),
            cgroup_parent=parent,
            privileged=step.security == "insecure",
            log_config=LogConfig("none"),
            restart_policy=RestartPolicy(),
            init=False,
        )
        return creation.settle(
            settings.host_defaults(host),
            runtime=settings.default_runtime,
            log=LogConfig("none"),
            unified_cgroups=self._context.hierarchies.version == 2,
        )

    def _network(self, mode: str) -> str:
        reference = modes.container_of(mode)
        return mode if reference is None else f"container:{self._context.records.find(reference).id}"


def _mounts(process: Process) -> tuple[MountPoint, ...]:
    binds = [
        MountPoint(
            "bind", bind.target, bind.source, rw=not bind.read_only, subpath=bind.subpath, recursive=False,
            propagation="rprivate",
        )
        for bind in process.binds
    ]  # fmt: skip
    tmpfs = [
        MountPoint("tmpfs", target, options=("nosuid", *((f"size={size}",) if size else ())))
        for target, size in process.tmpfs
    ]
    return (*binds, *tmpfs)


def _ulimit(text: str) -> Ulimit:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return Ulimit(name, soft=int(soft), hard=int(hard or soft))
    except ValueError:
        raise Invalid(f"invalid ulimit argument: {text}") from None


async def _read(sock: socket.socket, output: Callable[[int, bytes], None]) -> None:
    """Frames until the end: a header of 8 bytes with stream and length, then the bytes."""
    loop = asyncio.get_running_loop()
    buffer = bytearray()
    while data := await loop.sock_recv(sock, 1 << 16):
        buffer += data
        while len(buffer) >= _FRAME:
            size = int.from_bytes(buffer[4:8], "big")
            if len(buffer) < _FRAME + size:
                break
            output(buffer[0], bytes(buffer[_FRAME : _FRAME + size]))
            del buffer[: _FRAME + size]


def clear(ledger: Ledger, settings: Settings, hierarchies: Hierarchies) -> None:
    """At the daemon's start, before anything of theirs is swept: kill what still runs of an earlier daemon's."""
    ledger.declare(*_TABLE)
    with ledger.reading() as db:
        left = [(str(row["id"]), str(row["parent"])) for row in db.execute("SELECT id, parent FROM build_run")]
    for container_id, parent in left:
        log.info("a RUN of an earlier daemon is ended: %s", container_id[:12])
        cgroups_live.discard(hierarchies.place(f"{parent.rstrip('/')}/{container_id}"))
        for root in (settings.data_root, settings.exec_root):
            shutil.rmtree(root / "containers" / container_id, ignore_errors=True)
    if (settings.exec_root / "build").exists():
        for place in (settings.exec_root / "build").iterdir():
            running.clear(place)
    if left:
        with ledger.transaction() as db:
            db.execute("DELETE FROM build_run")
