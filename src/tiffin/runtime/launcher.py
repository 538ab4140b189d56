"""The daemon's end of forkserver and monitors, for asyncio."""

import _socket
import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.linux import fds
from tiffin.runtime import channel, exits
from tiffin.runtime.handles import Attachment, ExecProcess, Exit, Networking, Sandbox, StartFailed
from tiffin.runtime.interpreter import start_forkserver
from tiffin.runtime.link import Refused, close_all
from tiffin.runtime.plan_memory import sealed
from tiffin.runtime.running import Running, failed
from tiffin.runtime.wording import start_failure

__all__ = ["Attachment", "ExecProcess", "Exit", "Forkserver", "Networking", "Running", "Sandbox", "StartFailed"]


_PATIENCE = 30.0  # s, for a monitor that is found to say what it watches


class Forkserver:
    """The forkserver of an exec root."""

    def __init__(self, exec_root: Path) -> None:
        """exec_root: an existing directory, mode 0700 or 0711, owned by us."""
        self.directory = exec_root
        self._sock: _socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = -1

    async def open(self) -> None:
        """Connect to the one that runs, or start one."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(None, self._open)
        self._watch()

    def _watch(self) -> None:
        """Start another one when it is killed: monitors look for it, to be in someone's charge again."""
        if self._loop is not None and self._sock is not None:
            self._watched = self._sock.fileno()
            self._loop.add_reader(self._watched, self._replace)

    def _replace(self) -> None:
        self.close()
        try:
            self._open()
            self._watch()
        except OSError:
            pass  # the next start tries again, and says why it can't

    def _open(self) -> None:
        try:
            self._sock = channel.connect(str(self.directory), "forkserver.sock")
        except OSError:
            start_forkserver(self.directory)
            self._sock = channel.connect(str(self.directory), "forkserver.sock")
        self.pid = fds.peer(self._sock)[0]

    def close(self) -> None:
        """Hang up."""
        if self._watched >= 0 and self._loop is not None:
            self._loop.remove_reader(self._watched)
            self._watched = -1
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def leave(self) -> None:
        """Hang up for good: the forkserver stays only while it has containers."""
        if self._sock is not None:
            try:
                if self._watched >= 0:
                    asyncio.get_running_loop().remove_reader(self._watched)
                    self._watched = -1
                channel.send(self._sock, (0, "leave", {}), ())
                await asyncio.wait_for(self._hung_up(self._sock), 1.0)
            except (OSError, TimeoutError):
                pass  # it was gone already, or is busy
        self.close()

    @staticmethod
    async def _hung_up(sock: Any) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        await loop.sock_recv(sock, 1)

    async def start(
        self,
        plan: Mapping[str, Any],
        *,
        attachments: Sequence[Attachment] = (),
        network: Networking | None = None,
    ) -> Running:
        """Start a container; returns when execve has succeeded. StartFailed, or what `network` raised, when it has not.

        plan: see plan.py; with plan["network"], `network` is awaited while the stage mounts. The descriptors of the
        attachments belong to the monitor from here on, whatever happens.
        """
        descriptors = tuple(attachment.fd for attachment in attachments)
        try:
            for attempt in (0, 1):
                running = Running(str(plan["id"]), Path(plan["state"]), self.directory)
                running.network = network
                wants = tuple(running.register(attachment) for attachment in attachments)
                running.connect(self._send_plan(plan, wants, descriptors))
                asked = self._sock
                try:
                    await running.begun
                    return running
                except BaseException as error:
                    running.close()
                    if isinstance(error, Refused):
                        if error.problem["step"] == "monitor" and not attempt and self._lost(asked):
                            continue  # the request reached a forkserver that was being killed
                        raise failed(error.problem, start_failure) from None
                    raise
            raise AssertionError("unreachable")
        finally:
            close_all(descriptors)

    def prepare(self, plan: Mapping[str, Any]) -> Running:
        """Begin a start that nobody has asked for yet: all of it but the execve. To be released, withdrawn or closed.

        plan: as for `start`. OSError.
        """
        running = Running(str(plan["id"]), Path(plan["state"]), self.directory)
        running.network = running.networked_when_released
        running.connect(self._send_plan({**plan, "prepared": True}, (), ()))
        return running

    def _send_plan(
        self, plan: Mapping[str, Any], wants: tuple[dict[str, object], ...], descriptors: tuple[int, ...]
    ) -> socket.socket:
        """Ask for a monitor: our end of the channel to it."""
        memory = os.memfd_create("plan", os.MFD_CLOEXEC)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            content, charge = sealed(dict(plan))
            os.write(memory, content)
            self._request((0, "start", {"charge": charge, "wants": wants}), (memory, theirs.fileno(), *descriptors))
        except BaseException:
            ours.close()
            raise
        finally:
            os.close(memory)
            theirs.close()
        return ours

    def _lost(self, asked: "_socket.socket | None") -> bool:
        """Whether the forkserver that was asked hung up."""
        if asked is None or asked is not self._sock:
            return True  # another one runs already
        try:
            if asked.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                return False
        except BlockingIOError:
            return False
        except OSError:
            pass
        self.close()
        return True

    def _request(self, message: channel.Message, attach: tuple[int, ...]) -> None:
        for attempt in (0, 1):
            try:
                if self._sock is None:
                    self._open()
                    self._watch()
                assert self._sock is not None
                return channel.send(self._sock, message, attach)
            except OSError:
                # Killed: another one is started, once.
                self.close()
                if attempt:
                    raise

    async def adopt(self, container_id: str, state_dir: Path) -> Running | Exit:
        """Find a container again after the daemon was away: running, or how it ended."""
        found = await exits.find(state_dir, -1, keeper=(self.directory, container_id))
        if not isinstance(found, socket.socket):
            return Exit(*found)
        running = Running(container_id, state_dir, self.directory)
        running.connect(found)
        waited = {asyncio.ensure_future(_quiet(running.begun)), asyncio.ensure_future(_quiet(running.exit))}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=_PATIENCE)
        for task in waited:
            task.cancel()
        if not running.exit.done() and not running.begun.done():
            running.close()
            raise OSError(f"its monitor does not answer within {_PATIENCE:g} s")
        if running.exit.done():
            running.close()
            return running.exit.result()
        if running.begun.exception() is not None:
            running.close()
            return Exit(*await exits.find_exit(state_dir, -1))
        return running


async def _quiet(future: "asyncio.Future[Any]") -> None:
    await asyncio.wait({future})
