"""Further processes in a running container: `docker exec`, and the probes of health checks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from tiffin.containers import spec, spec_security
from tiffin.containers.health import OUTPUT_LIMIT
from tiffin.containers.users import User, resolve
from tiffin.engine import container_links, container_root
from tiffin.engine.container_attach import parse_keys
from tiffin.engine.container_context import Context, Exec
from tiffin.engine.container_failures import NOT_EXECUTABLE, OTHER, code_of
from tiffin.errors import Conflict, Invalid, NotFound, TiffinError
from tiffin.model.container import Container
from tiffin.model.container_status import Paused, Restarting
from tiffin.model.container_status import Running as RunningStatus
from tiffin.runtime import compile_machine
from tiffin.runtime.compile import compile_exec
from tiffin.runtime.launcher import Attachment, ExecProcess, Running, StartFailed

_LOST_PATIENCE = 2.0  # s
Listening = Callable[[], Awaitable[None]]
_REMEMBERED = 300.0
"""Seconds in which the exit code of one that has ended can be asked for, while its container goes on."""


@dataclass(frozen=True, slots=True)
class ExecConfig:
    """POST …/exec."""

    cmd: tuple[str, ...]
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    tty: bool = False
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    privileged: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] | None = None


class ExecFailed(Invalid):
    """The process did not start; `code` is 127 or 126, as a shell has it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Execs:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._machine = compile_machine.detect()

    def create(self, reference: str, config: ExecConfig) -> str:
        """The id of an exec that can be started once. Raises NotFound, Conflict, Invalid."""
        container = self._running(reference)
        if not config.cmd:
            raise Invalid("No exec command specified")
        try:
            parse_keys(config.detach_keys)
        except Invalid as error:
            raise Invalid(f"Invalid escape keys ({config.detach_keys}) provided") from error
        if config.user and (process := self._context.live(container.id).process):
            self._user(container, config.user, process.pid)  # who is nobody is told before the exec is made
        execution = Exec(secrets.token_hex(32), container.id, config)
        self._context.execs[execution.id] = execution
        self._context.live(container.id).execs[execution.id] = execution
        self._context.publish(container, "exec_create: " + _shown(config.cmd), execID=execution.id)
        return execution.id

    def get(self, exec_id: str) -> Exec:
        """By id or a prefix of it. Raises NotFound."""
        execs = self._context.execs
        found = execs.get(exec_id)
        if found is None and exec_id:
            matching = [execution for key, execution in execs.items() if key.startswith(exec_id)]
            found = matching[0] if len(matching) == 1 else None
        if found is None or (found.can_remove and found.container_id not in self._context.records):
            raise NotFound(f"No such exec instance: {exec_id}")
        return found

    def _running(self, reference: str) -> Container:
        container = self._context.records.find(reference)
        match container.status:
            case Paused():
                raise _paused(reference)
            case Restarting():
                raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
            case RunningStatus():
                return container
        raise Conflict(f"container {container.id} is not running")

    def check_startable(self, exec_id: str) -> Exec:
        """Before the connection is given away. Raises NotFound, Conflict."""
        execution = self.get(exec_id)
        self._running(execution.container_id)
        return execution

    async def start(
        self,
        execution: Exec,
        *,
        fd: int | None,
        leftover: bytes = b"",
        size: tuple[int, int] | None = None,
        framed: bool = False,
        listening: Listening | None = None,
    ) -> None:
        """Run it. `fd` is the client's socket, ours from now on; None: nobody listens.

        listening: waits until the client is ready for output, while the process is planned already.
        Raises ExecFailed, Conflict (it was started before), NotFound (its container is gone).
        """
        if execution.started:
            _close(fd)
            doing = "has already run" if execution.exit_code is not None else "is already running"
            raise Conflict(f"Error: Exec command {execution.id} {doing}")
        context, config = self._context, execution.config
        try:
            container = context.records.get(execution.container_id)
        except NotFound:
            _close(fd)
            raise
        execution.started = True
        attachments = []
        if fd is not None:
            attachments.append(
                Attachment(
                    fd=fd,
                    stdin=config.attach_stdin,
                    stdout=config.attach_stdout,
                    stderr=config.attach_stderr,
                    framed=framed,
                    detach_keys=parse_keys(config.detach_keys) if config.tty else b"",
                    leftover=leftover,
                )
            )
        context.publish(container, "exec_start: " + _shown(config.cmd), execID=execution.id)
        try:
            execution.process = await self._run(container, execution, attachments, size, listening)
        except ExecFailed as failure:
            self._ended(container, execution, failure.code)
            raise
        context.task(self._watch(container, execution, execution.process), f"exec {execution.id}")

    async def _run(
        self,
        container: Container,
        execution: Exec,
        attachments: list[Attachment],
        size: tuple[int, int] | None,
        listening: Listening | None = None,
        *,
        single: bool = False,
    ) -> ExecProcess:
        config: ExecConfig = execution.config
        live = self._context.live(container.id)
        process = live.process
        try:
            if process is None:
                raise Conflict(f"container {container.id} is not running")
            plan = self._plan(container, config, process.pid, size)
            if listening is not None:
                await listening()
            if live.freezing or isinstance(self._context.records.get(container.id).status, Paused):
                raise _paused(container.id)
        except (TiffinError, OSError) as failure:
            for one in attachments:
                os.close(one.fd)
            raise ExecFailed(str(failure), NOT_EXECUTABLE) from failure
        try:
            stdio = {
                "terminal": config.tty,
                "stdin": config.attach_stdin,
                "stdin_once": True,
                "size": size or config.console_size,
            }
            with live.birth():
                return await process.exec(
                    plan, stdio=stdio, attachments=attachments, exec_id=execution.id, single=single
                )
        except StartFailed as failure:
            code = code_of(failure)
            raise ExecFailed(failure.message, NOT_EXECUTABLE if code == OTHER else code) from failure
        except (TiffinError, OSError) as failure:
            raise failure if isinstance(failure, ExecFailed) else ExecFailed(str(failure), 126) from failure

    def _plan(self, container: Container, config: ExecConfig, pid: int, size: tuple[int, int] | None) -> dict[str, Any]:
        user = self._user(container, config.user or container.config.user, pid)
        links = container_links.variables(container, container_links.current(self._context, container))
        changed = replace(
            container,
            path=config.cmd[0],
            args=config.cmd[1:],
            config=replace(
                container.config,
                tty=config.tty,
                env=(*links, *(container.config.env or ()), *config.env),
                working_dir=config.working_dir or container.config.working_dir,
            ),
            host=replace(container.host, privileged=container.host.privileged or config.privileged, ulimits=None),
        )
        capabilities = spec_security.capabilities_of(changed.host)
        document = spec.process(changed, user, capabilities, container.config.hostname)
        rows, columns = size or config.console_size or (0, 0)
        document.pop("consoleSize", None)
        if config.tty and rows and columns:
            document["consoleSize"] = {"height": rows, "width": columns}
        seccomp = None
        if not config.privileged:
            seccomp = spec_security.seccomp(container.host, spec_security.capabilities_of(container.host))
        return compile_exec(document, {"linux": {"seccomp": seccomp}}, machine=self._machine)

    def _user(self, container: Container, user: str, pid: int) -> User:
        process = self._context.live(container.id).process
        try:
            with container_root.opened((), pid, process.pidfd if process else -1) as root:
                return resolve(user, container.host.group_add or (), lambda path: container_root.read_small(root, path))
        except (ProcessLookupError, FileNotFoundError) as error:
            raise Conflict(f"container {container.id} is not running") from error

    async def settled(self, execution: Exec) -> None:
        """Of one whose monitor was killed, and which is ended for that, the exit code: its client asks at once."""
        process = execution.process
        if process is not None and process.lost and process.attached:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(execution.ended.wait(), _LOST_PATIENCE)

    async def _watch(self, container: Container, execution: Exec, process: ExecProcess) -> None:
        self._ended(container, execution, await process.wait())

    def _ended(self, container: Container, execution: Exec, code: int) -> None:
        execution.exit_code = code
        execution.ended.set()
        self._context.publish(container, "exec_die", execID=execution.id, exitCode=str(code))
        asyncio.get_running_loop().call_later(_REMEMBERED, self._context.forget_exec, execution)

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        """Raises NotFound, Conflict for one that does not run."""
        execution = self.get(exec_id)
        if execution.process is None or not execution.running:
            raise Conflict(f"exec process {exec_id} is not running")
        process = self._context.live(execution.container_id).process
        if process is None:
            raise Conflict(f"exec process {exec_id} is not running")
        if not execution.config.tty:
            return
        try:
            await process.resize(height, width, execution.id)
        except StartFailed as error:  # it ended meanwhile
            raise Conflict(f"exec process {exec_id} is not running") from error

    async def probe(
        self, container: Container, process: Running, command: tuple[str, ...], timeout: float
    ) -> tuple[int, bytes]:
        """Run a health check's command: its exit code, -1 when it took too long, and the head of what it said."""
        config = ExecConfig(cmd=command, attach_stdout=True, attach_stderr=True)
        execution = Exec(secrets.token_hex(32), container.id, config, started=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        ours.setblocking(False)
        attachment = Attachment(
            fd=theirs.detach(), stdin=False, stdout=True, stderr=True, framed=False, detach_keys=b"", leftover=b""
        )
        context = self._context
        context.publish(container, "exec_create: " + _shown(command), execID=execution.id)
        context.publish(container, "exec_start: " + _shown(command), execID=execution.id)
        with ours:
            try:
                started = await self._run(container, execution, [attachment], None, single=True)
            except ExecFailed as failure:
                context.publish(container, "exec_die", execID=execution.id, exitCode=str(failure.code))
                return failure.code, str(failure).encode()
            reading = asyncio.ensure_future(_read_head(ours))
            try:
                code = await asyncio.wait_for(started.wait(), timeout)
                output = await asyncio.wait_for(reading, 1.0)
            except TimeoutError:
                process.kill(execution.id)
                code, output = -1, b""
            finally:
                reading.cancel()
                await asyncio.wait((reading,))  # the loop reads no more from what is closed now
        context.publish(container, "exec_die", execID=execution.id, exitCode=str(code))
        return code, output


def _shown(command: tuple[str, ...]) -> str:
    """As docker's events have it: the program, a space, its arguments."""
    return f"{command[0]} {' '.join(command[1:])}"


def _paused(reference: str) -> Conflict:
    return Conflict(f"Container {reference} is paused, unpause the container before exec")


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


async def _read_head(stream: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    found = bytearray()
    with contextlib.suppress(ConnectionError):  # its monitor was killed
        while piece := await loop.sock_recv(stream, 4096):
            if len(found) < OUTPUT_LIMIT:
                found += piece
    return bytes(found[:OUTPUT_LIMIT])
