"""At the daemon's start: containers and their records are brought together, whatever the daemon before died of.

A container runs when its monitor says so; everything else follows from the record, the exit file and the control group,
in that order. What carries the id of one of our containers and belongs to nobody alive is removed; what we have no
record of, and which is in use, is another engine's.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tiffin.containers import restart
from tiffin.engine import container_files, container_images
from tiffin.engine.container_context import Context, log, now
from tiffin.engine.container_lifecycle import Lifecycle
from tiffin.errors import TiffinError
from tiffin.linux import cgroups_live
from tiffin.model.container import Container
from tiffin.model.container_status import (
    Created,
    Dead,
    Exited,
    Paused,
    Removing,
    Restarting,
    Running,
    exit_code_of,
    is_running,
)
from tiffin.runtime import channel
from tiffin.runtime.exits import recorded
from tiffin.runtime.launcher import Exit, StartFailed
from tiffin.runtime.launcher import Running as Process
from tiffin.runtime.link import close_all

_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SOCKET = "monitor.sock"


def alive(context: Context) -> frozenset[str]:
    """Those that may run: their record says so, or somebody listens in their state directory."""
    return frozenset(
        one.id for one in context.records if is_running(one.status) or (context.state(one.id) / _SOCKET).exists()
    )


class Restore:
    def __init__(self, context: Context, lifecycle: Lifecycle) -> None:
        self._context = context
        self._lifecycle = lifecycle

    async def run(self) -> None:
        """Adopt what still runs, settle what ended meanwhile, clear away, start what its policy wants."""
        await self._each(self._settle, list(self._context.records))
        await asyncio.to_thread(self._sweep)
        await self._each(self._resume, sorted(self._context.records, key=lambda item: item.created))

    @staticmethod
    async def _each(work: Callable[[Container], Awaitable[None]], containers: Sequence[Container]) -> None:
        """All at once. What befalls one of them keeps neither the others nor the daemon from starting."""
        done = await asyncio.gather(*(work(one) for one in containers), return_exceptions=True)
        for container, failure in zip(containers, done, strict=True):
            if isinstance(failure, Exception):
                log.error("container %s was not restored", container.id[:12], exc_info=failure)

    async def _settle(self, container: Container) -> None:
        context = self._context
        state, status = context.state(container.id), container.status
        running = isinstance(status, Running | Paused)
        found: Process | Exit | None = None
        if running or (state / _SOCKET).exists():
            found = await self._find(container)
        if isinstance(found, Process):
            if not running:  # the crash came between the start and its record
                status = Running(found.pid, found.started_at, getattr(status, "finished_at", 0))
                container = context.records.change(container.id, status=status, pristine=False)
            await self._thaw(container)
            self._lifecycle.watch(container, found)
            await self._answer_names(container, found)
            return
        ended = recorded(state)
        if ended is not None and ended[2] > getattr(status, "finished_at", 0):
            found = Exit(*ended)
        elif not running:
            if found is not None:  # a start that was broken off
                await self._clear(container)
            return
        assert found is not None
        async with context.records.lock(container.id):
            await self._clear(container)
            started = getattr(status, "started_at", 0) if running else found.finished_at
            exited = Exited(found.code, started, found.finished_at, found.error, found.oom_killed)
            context.records.change(container.id, status=exited, pristine=False)

    async def _find(self, container: Container) -> Process | Exit:
        context = self._context
        try:
            return await context.launcher.adopt(container.id, context.state(container.id))
        except Exception as error:
            log.warning("container %s is lost: %s", container.id[:12], error)
            return Exit(137, False, now(), f"the container was lost while the daemon was away: {error}")

    async def _answer_names(self, container: Container, process: Process) -> None:
        """What it asked while there was no daemon waits in the name server's sockets, which its monitor has kept."""
        endpoints = self._context.networks.endpoints(container.id)
        if endpoints is None or not endpoints.named:
            return
        try:
            sandbox = await process.sandbox(resolver=True)
            try:
                await self._context.networks.resume(container.id, sandbox)
            finally:
                close_all(sandbox.descriptors)
        except (StartFailed, TiffinError) as error:
            log.warning("container %s resolves no names: %s", container.id[:12], error)

    async def _thaw(self, container: Container) -> None:
        """The record decides: frozen without being paused is the rest of a commit, or of a pause nobody heard of."""
        cgroup = self._context.cgroup(container)
        frozen = await asyncio.to_thread(cgroups_live.frozen, cgroup)
        if frozen and isinstance(container.status, Running):
            await asyncio.to_thread(cgroups_live.thaw, cgroup)
        elif not frozen and isinstance(container.status, Paused):
            old = container.status
            status = Running(old.pid, old.started_at, old.finished_at)
            self._context.records.change(container.id, status=status)

    async def _clear(self, container: Container) -> None:
        """It does not run, or nobody could say how it goes on: what is left of the run goes, processes first."""
        await asyncio.to_thread(cgroups_live.discard, self._context.cgroup(container))
        await self._lifecycle.clean(container.id)
        _unlink(self._context.state(container.id) / _SOCKET)

    def _sweep(self) -> None:
        """Directories and control groups without a container, or without a run."""
        context = self._context
        for container in context.records:
            cgroup = context.cgroup(container)
            if not isinstance(container.status, Running | Paused) and cgroups_live.remains(cgroup):
                cgroups_live.discard(cgroup)
        for directory in (context.settings.exec_root / "containers").iterdir():
            if _ID.fullmatch(directory.name) and directory.name not in context.records:
                forget_state(context, directory)
        for directory in (context.settings.data_root / "containers").iterdir():
            if _ID.fullmatch(directory.name) and directory.name not in context.records:
                shutil.rmtree(directory, ignore_errors=True)

    async def _resume(self, container: Container) -> None:
        context = self._context
        if container.id not in context.records or isinstance(container.status, Running | Paused):
            return
        ephemeral = container.host.auto_remove and isinstance(container.status, Exited)
        if ephemeral or isinstance(container.status, Removing | Dead):
            await _try(lambda: self._lifecycle.remove_ended(container.id), "removal", container.id)
        elif isinstance(container.status, Created):
            return
        elif isinstance(container.status, Restarting) or restart.restarts_with_daemon(
            container.host.restart_policy, exit_code_of(container.status), container.manually_stopped
        ):
            async with context.records.lock(container.id):
                await _try(lambda: self._lifecycle.launch(container.id), "restart", container.id)


def forget_state(context: Context, directory: Path) -> None:
    """Remove a state directory that belongs to no container of ours, unless somebody lives there."""
    cgroup = context.hierarchies.place(f"{context.settings.cgroup_parent}/{directory.name}")
    if _is_watched(directory) or (cgroups_live.exists(cgroup) and cgroups_live.pids(cgroup)):
        log.warning("%s belongs to a container of another data root that runs; it is left alone", directory)
        return
    cgroups_live.discard(cgroup)
    container_files.drop_shm(directory)
    container_images.unmount(directory)
    shutil.rmtree(directory, ignore_errors=True)


async def _try(work: Callable[[], Awaitable[None]], what: str, container_id: str) -> None:
    try:
        await work()
    except TiffinError as failure:
        log.warning("%s of %s failed: %s", what, container_id[:12], failure)


def _is_watched(state: Path) -> bool:
    """Whether a monitor listens there."""
    try:
        channel.connect(str(state), _SOCKET).close()
    except OSError:
        return False
    return True


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass
