"""The daemon's end of forkserver and monitors, for asyncio."""

import _socket
import asyncio
import marshal
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.linux import fds, namespaces
from tiffin.runtime import channel, doors, exits
from tiffin.runtime.handles import Attachment, ExecProcess, Exit, Sandbox, StartFailed
from tiffin.runtime.interpreter import start_forkserver
from tiffin.runtime.link import Connection, Refused, close_all
from tiffin.runtime.wording import exec_failure, start_failure

__all__ = ["Attachment", "ExecProcess", "Exit", "Forkserver", "Running", "Sandbox", "StartFailed"]


_PATIENCE = 30.0  # s, for a monitor that is found to say what it watches


class Running:
    """A container that runs, and its monitor."""

    def __init__(self, container_id: str, state: Path, directory: Path) -> None:
        self.id, self.state, self.directory = container_id, state, directory
        self.pid, self.started_at, self.pidfd, self._serial = 0, 0, -1, 0
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = loop.create_future()
        self._begun: asyncio.Future[None] = loop.create_future()
        self._execs: dict[str, asyncio.Future[int]] = {}
        self._streams: dict[int, asyncio.Future[str]] = {}
        self._network: Callable[[Sandbox], Awaitable[None]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._link: Connection | None = None
        self.end: exits.End = lambda: None
        """Kills every process of the container, frozen or not: for one that has lost its monitor for good."""

    # -- events ------------------------------------------------------------------------------------------------------

    def connect(self, sock: socket.socket) -> None:
        """Speak with the monitor over this socket."""
        self._link = Connection(sock, self._event)

    def _event(self, name: str, payload: dict[str, Any], attached: list[int]) -> None:
        if name == "sandbox":
            self._run(self._configure(Sandbox(attached[0], attached[1], payload["pid"], tuple(attached[2:]))))
            return
        if name == "started":
            self.pid, self.started_at = payload["pid"], payload["started_at"]
            if self.pidfd >= 0:
                os.close(self.pidfd)
            self.pidfd = attached.pop(0)
            if not self._begun.done():
                self._begun.set_result(None)
        elif name == "failed" and not self._begun.done():
            self._begun.set_exception(Refused(payload))
        elif name == "exit":
            self._ended(Exit(payload["code"], payload["oom_killed"], payload["finished_at"], payload["error"]))
            self._tell("seen", {})
        elif name == "exec-exit":
            self._exec_ended(payload["exec"], payload["code"])
            self._tell("seen", {"exec": payload["exec"]})
        elif name == "detached":
            self._stream_ended(payload["id"], payload["reason"])
        elif name == "closed":
            self._disconnected()
        close_all(attached)

    def _tell(self, verb: str, payload: dict[str, Any]) -> None:
        if self._link is not None and self._link.open:
            self._link.tell(verb, payload)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _configure(self, sandbox: Sandbox) -> None:
        answer: dict[str, Any] = {}
        try:
            if self._network is not None:
                await self._network(sandbox)
        except Exception as error:
            answer = {"error": str(error) or type(error).__name__}
            if not self._begun.done():
                self._begun.set_exception(error)
        finally:
            close_all(sandbox.descriptors)
        self._tell("go", answer)

    def _ended(self, how: Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(how)
        for name in list(self._execs):
            self._exec_ended(name, 137)

    def _exec_ended(self, name: str, code: int) -> None:
        future = self._execs.pop(name, None)
        if future is not None and not future.done():
            future.set_result(code)

    def _stream_ended(self, number: int, reason: str) -> None:
        future = self._streams.pop(number, None)
        if future is not None and not future.done():
            future.set_result(reason)

    def _disconnected(self) -> None:
        for number in list(self._streams):
            self._stream_ended(number, "gone")
        for name in list(self._execs):
            self._exec_ended(name, 137)
        if not self._begun.done():
            problem = {"step": "monitor", "errno": 0, "path": b"", "text": "the monitor died"}
            self._begun.set_exception(Refused(problem))
        elif not self._exit.done() and self._begun.exception() is None:
            self._run(self._find_again())

    async def _find_again(self) -> None:
        """The monitor died: the forkserver forks another, or the exit file says how the container ended."""
        found = await exits.find(self.state, self.pidfd, self.end, (self.directory, self.id))
        if isinstance(found, socket.socket):
            return self.connect(found)
        self._ended(Exit(*found))

    # -- what a daemon does ------------------------------------------------------------------------------------------

    async def wait(self) -> Exit:
        """Until the container has ended."""
        return await asyncio.shield(self._exit)

    def _register(self, attachment: Attachment) -> dict[str, object]:
        self._serial += 1
        attachment.ended = asyncio.get_running_loop().create_future()
        self._streams[self._serial] = attachment.ended
        return attachment.want(self._serial)

    async def attach(self, attachment: Attachment) -> "asyncio.Future[str]":
        """Attach a client to the first process: a future that is done when its stream has ended, with the reason."""
        want = self._register(attachment)
        await self._ask("attach", want, (attachment.fd,))
        assert attachment.ended is not None
        return attachment.ended

    async def _ask(
        self, verb: str, payload: dict[str, Any], attach: tuple[int, ...] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        if self._link is None or not self._link.open:
            close_all(attach)
            raise StartFailed(verb, 32, "", f"container {self.id[:12]} has no monitor at the moment; try again")
        try:
            return await self._link.ask(verb, payload, attach)
        except Refused as refused:
            problem = refused.problem
            raise StartFailed(verb, problem["errno"], _text(problem["path"]), problem["text"]) from None

    async def exec(
        self, process: Mapping[str, Any], stdio: Mapping[str, Any], attachments: Sequence[Attachment], exec_id: str
    ) -> ExecProcess:
        """Start another process in the container. process and stdio as in plan.py. StartFailed when it can't be."""
        wants = tuple(self._register(attachment) for attachment in attachments)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._execs[exec_id] = future
        payload = {"exec": exec_id, "process": dict(process), "stdio": _stdio(stdio), "wants": wants}
        if self._link is None or not self._link.open:
            raise StartFailed("exec", 32, "", f"container {self.id[:12]} has no monitor at the moment; try again")
        try:
            answer, attached = await self._link.ask("exec", payload, tuple(item.fd for item in attachments))
        except Refused as refused:
            self._execs.pop(exec_id, None)
            raise _failed(refused.problem, exec_failure) from None
        close_all(attached)
        return ExecProcess(exec_id, answer["pid"], future)

    async def resize(self, height: int, width: int, exec_id: str = "") -> None:
        """Set the size of the terminal, in characters."""
        await self._ask("resize", {"exec": exec_id, "rows": height, "columns": width})

    def signal(self, number: int) -> None:
        """Signal the first process. ProcessLookupError when it has ended."""
        namespaces.pidfd_send_signal(self.pidfd, number)

    def discard(self) -> None:
        """To be said before it is killed in order to be removed: its end need not wait for its mounts' end."""
        self._tell("discard", {})

    async def sandbox(self, *, resolver: bool = False) -> Sandbox:
        """Its network namespace, for the caller to close; with the name server's sockets of a daemon before, or new."""
        _, attached = await self._ask("network", {"resolver": resolver})
        return Sandbox(attached[0], attached[1], self.pid, tuple(attached[2:]))

    async def sockets(self, *wanted: tuple[int, int, int]) -> list[int]:
        """New sockets made in its network namespace: family, type, protocol of each. The caller closes them."""
        numbers = tuple(tuple(map(int, one)) for one in wanted)  # marshal takes no enums
        _, attached = await self._ask("network", {"sockets": numbers})
        close_all(attached[:2])
        return attached[2:]

    async def set_sysctls(self, settings: Mapping[str, str]) -> None:
        """Of its network namespace: names with dots, an interface's own dots as slashes. StartFailed."""
        await self._ask("network", {"settings": doors.paths(settings)})

    def close(self) -> None:
        """Let go of the monitor; the container runs on."""
        link, self._link = self._link, None
        if link is not None:
            link._event = lambda *_: None
            link.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _stdio(stdio: Mapping[str, Any]) -> dict[str, Any]:
    return {"terminal": False, "stdin": False, "stdin_once": False, "size": None, **stdio}


def _text(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, bytes) else str(path)


def _failed(problem: dict[str, Any], word: Callable[[str, int, str, str], str]) -> StartFailed:
    step, number, path, text = problem["step"], problem["errno"], _text(problem["path"]), problem["text"]
    return StartFailed(step, number, path, word(step, number, path, text))


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
        network: Callable[[Sandbox], Awaitable[None]] | None = None,
    ) -> Running:
        """Start a container; returns when execve has succeeded. StartFailed, or what `network` raised, when it has not.

        plan: see plan.py; with plan["network"], `network` is awaited while the stage mounts. The descriptors of the
        attachments belong to the monitor from here on, whatever happens.
        """
        descriptors = tuple(attachment.fd for attachment in attachments)
        try:
            for attempt in (0, 1):
                running = Running(str(plan["id"]), Path(plan["state"]), self.directory)
                running._network = network
                wants = tuple(running._register(attachment) for attachment in attachments)
                running.connect(self._send_plan(plan, wants, descriptors))
                asked = self._sock
                try:
                    await running._begun
                    return running
                except BaseException as error:
                    running.close()
                    if isinstance(error, Refused):
                        if error.problem["step"] == "monitor" and not attempt and self._lost(asked):
                            continue  # the request reached a forkserver that was being killed
                        raise _failed(error.problem, start_failure) from None
                    raise
            raise AssertionError("unreachable")
        finally:
            close_all(descriptors)

    def _send_plan(
        self, plan: Mapping[str, Any], wants: tuple[dict[str, object], ...], descriptors: tuple[int, ...]
    ) -> socket.socket:
        """Ask for a monitor: our end of the channel to it."""
        memory = os.memfd_create("plan", os.MFD_CLOEXEC)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            os.write(memory, marshal.dumps(dict(plan)))
            self._request((0, "start", {"wants": wants}), (memory, theirs.fileno(), *descriptors))
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
        waited = {asyncio.ensure_future(_quiet(running._begun)), asyncio.ensure_future(_quiet(running._exit))}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=_PATIENCE)
        for task in waited:
            task.cancel()
        if not running._exit.done() and not running._begun.done():
            running.close()
            raise OSError(f"its monitor does not answer within {_PATIENCE:g} s")
        if running._exit.done():
            running.close()
            return running._exit.result()
        if running._begun.exception() is not None:
            running.close()
            return Exit(*await exits.find_exit(state_dir, -1))
        return running


async def _quiet(future: "asyncio.Future[Any]") -> None:
    await asyncio.wait({future})
