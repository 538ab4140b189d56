"""A running container from the daemon's side: what its monitor is asked and what it tells. For asyncio."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.linux import namespaces
from tiffin.runtime import doors, exits
from tiffin.runtime.handles import Attachment, ExecProcess, Exit, Networking, Sandbox, StartFailed
from tiffin.runtime.link import Connection, Refused, close_all
from tiffin.runtime.plan import process_defaults
from tiffin.runtime.wording import exec_failure, start_failure

_PATIENCE = 10.0  # s, for a monitor to undo what it has done


class Running:
    """A container that runs, and its monitor."""

    def __init__(self, container_id: str, state: Path, directory: Path) -> None:
        self.id, self.state, self.directory = container_id, state, directory
        self.pid, self.started_at, self.pidfd, self._serial = 0, 0, -1, 0
        loop = asyncio.get_running_loop()
        self.exit: asyncio.Future[Exit] = loop.create_future()
        self.begun: asyncio.Future[None] = loop.create_future()
        self._execs: dict[str, asyncio.Future[int]] = {}
        self._further: dict[str, tuple[ExecProcess, int]] = {}  # execs that have begun, a pidfd of each
        self._streams: dict[int, asyncio.Future[str]] = {}
        self.network: Networking | None = None
        self._networking: asyncio.Future[Networking | None] = loop.create_future()  # of one that was prepared
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
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
            if not self.begun.done():
                self.begun.set_result(None)
        elif name == "failed" and not self.begun.done():
            self.begun.set_exception(Refused(payload))
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

    def _tell(self, verb: str, payload: dict[str, Any], attach: tuple[int, ...] = ()) -> None:
        if self._link is not None and self._link.open:
            self._link.tell(verb, payload, attach)
        else:
            close_all(attach)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _configure(self, sandbox: Sandbox) -> None:
        answer: dict[str, Any] = {}
        try:
            if self.network is not None:
                await self.network(sandbox)
        except Exception as error:
            answer = {"error": str(error) or type(error).__name__}
            if not self.begun.done():
                self.begun.set_exception(error)
        finally:
            close_all(sandbox.descriptors)
        self._tell("go", answer)

    def _ended(self, how: Exit) -> None:
        if not self.exit.done():
            self.exit.set_result(how)
        for name in list(self._execs):
            self._exec_ended(name, 137)

    def _exec_ended(self, name: str, code: int) -> None:
        if name in self._further:
            os.close(self._further.pop(name)[1])
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
        for name in list(self._further):
            self._lose(name)
        if not self.begun.done():
            problem = {"step": "monitor", "errno": 0, "path": b"", "text": "the monitor died"}
            self.begun.set_exception(Refused(problem))
        elif not self.exit.done() and self.begun.exception() is None:
            # a pidfd of its own: ours may be closed meanwhile, and its number be another process's
            self._run(self._find_again(os.dup(self.pidfd)))

    def _lose(self, name: str) -> None:
        process, pidfd = self._further.pop(name)
        process.lost = True
        self._run(self._end_exec(process, pidfd))

    async def _end_exec(self, process: ExecProcess, pidfd: int) -> None:
        """The monitor died, and with it the streams: whoever used them is ended, as by docker's shim. Others go on."""
        try:
            code = await (exits.killed(pidfd) if process.attached else exits.awaited(pidfd))
        finally:
            os.close(pidfd)
        self._exec_ended(process.id, 137 if code is None else code)

    async def _find_again(self, pidfd: int) -> None:
        """The monitor died: the forkserver forks another, or the exit file says how the container ended."""
        try:
            found = await exits.find(self.state, pidfd, self.end, (self.directory, self.id))
        finally:
            os.close(pidfd)
        if not isinstance(found, socket.socket):
            self._ended(Exit(*found))
        elif self._closed:
            found.close()
        else:
            self.connect(found)

    # -- what a daemon does ------------------------------------------------------------------------------------------

    async def networked_when_released(self, sandbox: Sandbox) -> None:
        """For one that was prepared: its addresses are known when it is wanted."""
        network = await self._networking
        if network is not None:
            await network(sandbox)

    async def release(self, attachments: Sequence[Attachment], network: Networking | None = None) -> None:
        """Let one that was prepared run; returns when execve has succeeded. What `Forkserver.start` raises.

        The descriptors of the attachments are given away, whatever happens.
        """
        wants = tuple(self.register(attachment) for attachment in attachments)
        self._networking.set_result(network)
        self._tell("release", {"wants": wants}, tuple(attachment.fd for attachment in attachments))
        try:
            await self.begun
        except BaseException as error:
            self.close()
            if isinstance(error, Refused):
                raise failed(error.problem, start_failure) from None
            raise

    async def withdraw(self) -> bool:
        """Undo one that was prepared: whether its monitor has done so, its control groups gone."""
        self._tell("go", {"error": "nobody wants it"})
        try:
            await asyncio.wait_for(asyncio.shield(self.begun), _PATIENCE)
        except Refused as refused:
            return str(refused.problem["step"]) != "monitor"
        except TimeoutError:
            pass
        finally:
            self.close()
        return False

    async def wait(self) -> Exit:
        """Until the container has ended."""
        return await asyncio.shield(self.exit)

    def register(self, attachment: Attachment) -> dict[str, Any]:
        """What the monitor is told of a client; from now on `attachment.ended` says when it has left."""
        self._serial += 1
        attachment.ended = asyncio.get_running_loop().create_future()
        self._streams[self._serial] = attachment.ended
        return attachment.want(self._serial)

    async def attach(self, attachment: Attachment) -> "asyncio.Future[str]":
        """Attach a client to the first process: a future that is done when its stream has ended, with the reason."""
        want = self.register(attachment)
        try:
            await self._ask("attach", want, (attachment.fd,))
        except StartFailed:
            self._streams.pop(want["id"], None)
            raise
        assert attachment.ended is not None
        return attachment.ended

    def _linked(self, verb: str, attach: tuple[int, ...]) -> Connection:
        """The channel to the monitor; without one the descriptors that were to be sent are closed. StartFailed."""
        if self._link is None or not self._link.open:
            close_all(attach)
            raise StartFailed(verb, 32, "", f"container {self.id[:12]} has no monitor at the moment; try again")
        return self._link

    async def _ask(
        self, verb: str, payload: dict[str, Any], attach: tuple[int, ...] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        link = self._linked(verb, attach)
        try:
            return await link.ask(verb, payload, attach)
        except Refused as refused:
            problem = refused.problem
            raise StartFailed(verb, problem["errno"], _text(problem["path"]), problem["text"]) from None

    async def exec(
        self,
        process: Mapping[str, Any],
        stdio: Mapping[str, Any],
        attachments: Sequence[Attachment],
        exec_id: str,
        *,
        single: bool = False,
    ) -> ExecProcess:
        """Start another process in the container. process and stdio as in plan.py. StartFailed when it can't be.

        single: the monitor need not get ready for more.

        The descriptors of the attachments are given away, whatever happens.
        """
        descriptors = tuple(attachment.fd for attachment in attachments)
        link = self._linked("exec", descriptors)
        wants = tuple(self.register(attachment) for attachment in attachments)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._execs[exec_id] = future
        payload = {
            "exec": exec_id,
            "process": process_defaults(dict(process)),
            "stdio": _stdio(stdio),
            "wants": wants,
            "single": single,
        }
        try:
            answer, attached = await link.ask("exec", payload, descriptors)
        except Refused as refused:
            self._execs.pop(exec_id, None)
            for want in wants:
                self._streams.pop(want["id"], None)
            raise failed(refused.problem, exec_failure) from None
        started = ExecProcess(exec_id, answer["pid"], future, attached=bool(attachments))
        if exec_id in self._execs:  # else it has ended already
            self._further[exec_id] = (started, attached.pop())
            if not link.open:  # the monitor was killed right after its answer
                self._lose(exec_id)
        close_all(attached)
        return started

    async def resize(self, height: int, width: int, exec_id: str = "") -> None:
        """Set the size of the terminal, in characters."""
        await self._ask("resize", {"exec": exec_id, "rows": height, "columns": width})

    def signal(self, number: int) -> None:
        """Signal the first process. ProcessLookupError when it has ended."""
        namespaces.pidfd_send_signal(self.pidfd, number)

    def kill(self, exec_id: str) -> None:
        """End a further process, if it has not ended."""
        if exec_id in self._further:
            with contextlib.suppress(ProcessLookupError):
                namespaces.pidfd_send_signal(self._further[exec_id][1], signal.SIGKILL)

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
        self._closed = True
        self._networking.cancel()
        link, self._link = self._link, None
        if link is not None:
            link._event = lambda *_: None
            link.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        close_all([pidfd for _, pidfd in self._further.values()])
        self._further.clear()


def _stdio(stdio: Mapping[str, Any]) -> dict[str, Any]:
    return {"terminal": False, "stdin": False, "stdin_once": False, "size": None, **stdio}


def _text(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, bytes) else str(path)


def failed(problem: dict[str, Any], word: Callable[[str, int, str, str], str]) -> StartFailed:
    step, number, path, text = problem["step"], problem["errno"], _text(problem["path"]), problem["text"]
    return StartFailed(step, number, path, word(step, number, path, text))
