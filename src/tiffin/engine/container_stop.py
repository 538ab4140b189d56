"""Signals and pauses: stop, kill, restart, pause, unpause, resize."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from tiffin.containers.signals import signal_number
from tiffin.engine.container_context import Context, stop_signal_of
from tiffin.engine.container_lifecycle import Lifecycle
from tiffin.errors import Conflict, Internal, Invalid, NotFound, NotModified
from tiffin.linux import cgroups_live
from tiffin.model.container import Container
from tiffin.model.container_status import Paused, Restarting, Running, is_running
from tiffin.runtime.launcher import StartFailed

_KILL_PATIENCE = 30.0  # seconds; a process in uninterruptible sleep does not even mind SIGKILL


class Signals:
    def __init__(self, context: Context, lifecycle: Lifecycle) -> None:
        self._context = context
        self._lifecycle = lifecycle

    async def stop(self, reference: str, *, timeout: int | None = None, signal_name: str = "") -> None:
        """The stop signal, `timeout` seconds (-1: no end), SIGKILL. Raises NotFound, NotModified, Invalid."""
        container = self._context.records.find(reference)
        if not is_running(container.status):
            raise NotModified("")
        _check(signal_name, f"cannot stop container: {reference}")
        await self._stop(container, timeout, signal_name)
        self._context.publish(self._now(container), "stop")
        await self._remove_if_ephemeral(container)

    async def restart(self, reference: str, *, timeout: int | None = None, signal_name: str = "") -> None:
        """Stop what runs, start it anyway."""
        context = self._context
        container = context.records.find(reference)
        if is_running(container.status):
            _check(signal_name, f"Cannot restart container {reference}")
            await self._stop(container, timeout, signal_name)
            context.publish(self._now(container), "stop")
        async with context.records.lock(container.id):
            # others may have come first since it stopped: it runs again, is paused even, or is being removed
            if self._lifecycle.can_launch(container.id):
                context.records.change(container.id, manually_stopped=False)
                await self._lifecycle.launch(container.id)
        context.publish(self._now(container), "restart")

    async def _stop(self, container: Container, timeout: int | None, signal_name: str) -> None:
        context = self._context
        async with context.records.lock(container.id):
            container = context.records.change(container.id, manually_stopped=True)
            live = context.live(container.id)
            if isinstance(container.status, Restarting):
                self._lifecycle.give_up_restart(container.id)
                return
            if live.process is None:
                return
            live.stopping = True
            ended = live.ended
        try:
            await self._signal_until_gone(container, ended, timeout, signal_name)
        finally:
            live.stopping = False

    async def _signal_until_gone(
        self, container: Container, ended: asyncio.Event, timeout: int | None, signal_name: str
    ) -> None:
        """The lock was let go of this moment; `ended` is the end of the run that was found under it."""
        if timeout is None:
            timeout = container.config.stop_timeout
        if timeout is None:
            timeout = self._context.settings.stop_timeout
        first = signal_number(signal_name or stop_signal_of(container.config))
        self._send(container, first)
        if isinstance(container.status, Paused):
            # a frozen process takes no signal: docker kills it, we let it see the stop signal first
            await self._thaw(container)
        try:
            await asyncio.wait_for(ended.wait(), None if timeout < 0 else timeout or 0.001)
            return
        except TimeoutError:
            pass
        async with self._context.records.lock(container.id):  # not while somebody freezes it
            if ended.is_set():
                return
            await self._kill(container)
        try:
            await asyncio.wait_for(ended.wait(), _KILL_PATIENCE)
        except TimeoutError:
            raise Internal(
                f"cannot stop container: {container.id}: tried to kill container, but did not receive an exit event"
            ) from None

    async def _remove_if_ephemeral(self, container: Container) -> None:
        context = self._context
        if container.host.auto_remove:
            async with context.records.lock(container.id):
                # whoever came first may have started it again
                if container.id in context.records and not is_running(self._now(container).status):
                    await self._lifecycle.remove_ended(container.id)

    async def _kill(self, container: Container) -> None:
        """The lock is held. A frozen process does not die."""
        self._send(container, signal.SIGKILL)
        if isinstance(self._now(container).status, Paused):
            await self._thaw(container)

    def _send(self, container: Container, number: int) -> None:
        live = self._context.live(container.id)
        if live.process is None:
            return
        try:
            live.process.signal(number)
        except ProcessLookupError:
            return
        live.killed = live.killed or number == signal.SIGKILL
        self._context.publish(container, "kill", signal=str(int(number)))

    def _now(self, container: Container) -> Container:
        """Its record as it is at the moment, or as it was last."""
        records = self._context.records
        return records.get(container.id) if container.id in records else container

    async def kill(self, reference: str, signal_name: str = "") -> None:
        """Raises NotFound, Invalid, Conflict for one that does not run."""
        context = self._context
        try:
            container = context.records.find(reference)
        except NotFound as error:
            raise NotFound(f"cannot kill container: {reference}: {error}") from error
        try:
            number = signal_number(signal_name) if signal_name else int(signal.SIGKILL)
        except Invalid as error:
            raise Invalid(f"cannot kill container: {reference}: {error}") from error
        async with context.records.lock(container.id):
            container = context.records.get(container.id)
            live = context.live(container.id)
            if isinstance(container.status, Restarting):
                context.records.change(container.id, manually_stopped=True)
                self._lifecycle.give_up_restart(container.id)
                return
            if live.process is None or not isinstance(container.status, Running | Paused):
                raise Conflict(f"cannot kill container: {reference}: container {container.id} is not running")
            own = container.config.stop_signal
            # docker's rule: without a stop signal of its own, whatever is sent means that it shall not come back
            if number == signal.SIGKILL or not own or number == signal_number(own):
                context.records.change(container.id, manually_stopped=True)
            if number != signal.SIGKILL:
                return self._send(container, number)
            ended = live.ended
            await self._kill(container)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 10)

    async def pause(self, reference: str, *, lasting: bool = True) -> None:
        """Freeze every process. Raises Conflict. lasting: not to be undone by a restart of the daemon."""
        context = self._context
        container = context.records.find(reference)
        async with context.records.lock(container.id):
            container = context.records.get(container.id)
            match container.status:
                case Paused():
                    raise Conflict(f"Container {container.id} is already paused")
                case Restarting():
                    raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
                case Running(pid=pid, started_at=started, finished_at=finished):
                    live = context.live(container.id)
                    async with live.no_births():
                        if live.killed:
                            raise Conflict(f"container {container.id} is not running")
                        try:
                            await asyncio.to_thread(cgroups_live.freeze, context.cgroup(container))
                        except FileNotFoundError as error:
                            raise Conflict(f"container {container.id} is not running") from error
                        write = context.records.change if lasting else context.records.note
                        write(container.id, status=Paused(pid, started, finished))
                case _:
                    raise Conflict(f"container {container.id} is not running")
        context.publish(container, "pause")

    async def unpause(self, reference: str) -> None:
        context = self._context
        container = context.records.find(reference)
        async with context.records.lock(container.id):
            container = context.records.get(container.id)
            if not isinstance(container.status, Paused):
                raise Conflict(f"Container {container.id} is not paused")
            await self._thaw(container)
        context.publish(container, "unpause")

    async def _thaw(self, container: Container) -> None:
        try:
            await asyncio.to_thread(cgroups_live.thaw, self._context.cgroup(container))
        except FileNotFoundError:
            return  # it ended meanwhile
        if container.id not in self._context.records:
            return
        status = self._context.records.get(container.id).status
        if isinstance(status, Paused):
            self._context.records.change(
                container.id, status=Running(status.pid, status.started_at, status.finished_at)
            )

    async def resize(self, reference: str, height: int, width: int) -> None:
        """The terminal's size in characters. Raises Conflict for one that does not run."""
        context = self._context
        container = context.records.find(reference)
        live = context.live(container.id)
        if live.process is None or not is_running(container.status):
            raise Conflict(f"container {container.id} is not running")
        if container.config.tty:  # of others the size is nobody's business, and no error: as docker's shim has it
            try:
                await live.process.resize(height, width)
            except StartFailed as error:  # it ended meanwhile
                raise Conflict(f"container {container.id} is not running") from error
        context.publish(container, "resize", height=str(height), width=str(width))


def _check(signal_name: str, words: str) -> None:
    """Raises Invalid that begins with `words` for what is no signal; none is fine."""
    try:
        if signal_name:
            signal_number(signal_name)
    except Invalid as error:
        raise Invalid(f"{words}: {error}") from error
