"""Another OCI runtime (runc, crun) in the place of the stage, behind the same monitor.

`create` makes the container from the bundle, with our pipes as its stdio, or sends the pty's master over a console
socket; its init becomes the monitor's child, as that is subreaper. Then the network, then `start`. In place of `Birth`.
"""

import _socket as socket  # socket itself loads enum
import os
import time
from collections.abc import Callable

from tiffin.linux import fds, namespaces
from tiffin.runtime import doors, process, spawn
from tiffin.runtime.loop import READ, Loop

_LOG_LIMIT = 65536


class External:
    """Follows create and start of one container."""

    def __init__(self, loop: Loop, plan: dict[str, object], theirs: spawn.Stdio) -> None:
        """Begins with create; theirs: the process's ends of its stdio, None with a terminal."""
        self.loop, self.plan = loop, plan
        self.pid, self.pidfd, self.started_at = 0, -1, 0
        self.on_sandbox: Callable[[list[int]], None] = lambda attached: None
        self.on_console: Callable[[int], None] = os.close
        self.on_ready: Callable[[], None] = lambda: None
        self.on_started: Callable[[], None] = lambda: None
        self.on_failed: Callable[[str, int, bytes, str], None] = lambda *_: None
        settings: dict[str, object] = plan["external"]  # type: ignore[assignment]
        self._bundle: bytes = _bytes(settings["bundle"])
        self._log = os.path.join(self._bundle, b"runtime.log")
        self._console: socket.socket | None = None
        options = [b"--bundle", self._bundle, b"--pid-file", self._place(b"init.pid")]
        if theirs is None:
            options += [b"--console-socket", self._listen()]
        self._step = b"create"
        self._child = self._run(b"create", options, theirs)

    def _place(self, name: bytes) -> bytes:
        return os.path.join(self._bundle, name)

    def _listen(self) -> bytes:
        path = self._place(b"console.sock")
        self._console = server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        server.bind(path)
        server.listen(1)
        self.loop.watch(server.fileno(), READ, self._accept)
        return path

    def _accept(self, _: int) -> None:
        server, self._console = self._console, None
        assert server is not None
        fd = server._accept()[0]  # type: ignore[attr-defined]
        self.loop.forget(server.fileno())
        server.close()
        os.unlink(self._place(b"console.sock"))
        connection = socket.socket(fileno=fd)
        try:
            attached = fds.receive(connection)[1]
        finally:
            connection.close()
        size: tuple[int, int] | None = self.plan["stdio"]["size"]  # type: ignore[index]
        if size and attached:
            process.resize(attached[0], *size)
        if attached:
            self.on_console(attached[0])

    def _run(self, verb: bytes, options: list[bytes], theirs: spawn.Stdio = None) -> int:
        return run(self.plan, verb, options, self._log, theirs)

    def child_ended(self, pid: int, status: int) -> bool:
        """Whether the child was ours: create or start."""
        if pid != self._child:
            return False
        self._child = 0
        if status:
            self._failed()
        elif self._step == b"create":
            self._created()
        else:
            self.on_started()
        return True

    def _created(self) -> None:
        if self._console is not None:
            self._accept(READ)
        try:
            fd = os.open(self._place(b"init.pid"), os.O_RDONLY | os.O_CLOEXEC)
            self.pid = int(os.read(fd, 32))
            os.close(fd)
            self.pidfd = namespaces.pidfd_open(self.pid)
            if self.plan["network"]:
                wanted = doors.RESOLVER if self.plan["network"] == "resolver" else ()
                return self.on_sandbox(doors.make_in(self.pidfd, wanted))
        except (OSError, ValueError) as error:
            return self._failed(str(error))
        self.go()

    def go(self) -> None:
        """The network is there: start."""
        self._step = b"start"
        self.started_at = time.time_ns()
        self.on_ready()
        self._child = self._run(b"start", [])

    def _failed(self, text: str = "") -> None:
        reason = text or message(self._log) or f"the runtime's {self._step.decode()} failed"
        self.started_at = 0
        delete(self.plan)
        self.on_failed("runtime", 0, b"", reason)

    def kill(self) -> None:
        """End what there is of the container."""
        delete(self.plan)

    def abandon(self) -> None:
        """Nobody wants the container any more."""
        if self._child:
            try:
                os.kill(self._child, 9)
                os.waitpid(self._child, 0)
            except OSError:
                pass
        self.kill()


def run(plan: dict[str, object], verb: bytes, options: list[bytes], log: bytes, theirs: spawn.Stdio = None) -> int:
    """Run the runtime: its pid."""
    settings: dict[str, object] = plan["external"]  # type: ignore[assignment]
    program = _bytes(settings["runtime"])
    common = [b"--root", _bytes(settings["root"]), b"--log", log, b"--log-format", b"json"]
    more = [_bytes(item) for item in settings.get("args") or ()]  # type: ignore[attr-defined]
    argv = [program, *more, *common, verb, *options, _bytes(plan["id"])]
    pid = os.fork()
    if pid == 0:
        try:
            process.reset_signals()
            null = os.open(b"/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for number, fd in enumerate(theirs or (null, null, null)):
                os.dup2(fd, number, inheritable=True)
            fds.close_range(3, 0xFFFFFFFF, 0)
            os.execv(program, argv)
        finally:
            os._exit(127)
    return pid


def delete(plan: dict[str, object]) -> None:
    """Remove what the runtime knows of the container; kills it if it runs."""
    pid = run(plan, b"delete", [b"--force"], b"/dev/null")
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def message(log: bytes) -> str:
    """The last error in a runtime's JSON log."""
    try:
        fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        text = os.read(fd, _LOG_LIMIT).decode("utf-8", "replace")
        os.close(fd)
    except OSError:
        return ""
    found = ""
    for line in text.splitlines():
        _, key, rest = line.partition('"msg":')
        rest = rest.lstrip()
        if key and rest.startswith('"') and ('"level":"error"' in line.replace(": ", ":")):
            found = _string(rest[1:])
    return found


def _string(text: str) -> str:
    """A JSON string up to its closing quote."""
    out: list[str] = []
    position = 0
    while position < len(text) and text[position] != '"':
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
            out.append({"n": "\n", "t": "\t"}.get(text[position], text[position]))
        else:
            out.append(text[position])
        position += 1
    return "".join(out)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else os.fsencode(str(value))
