"""A process between fork and exec, as its monitor sees it: the stage's messages, and what they make happen."""

import _socket as socket  # socket itself loads enum
import os
import time
from collections.abc import Callable

from tiffin.linux import fds, namespaces
from tiffin.runtime import hooks, spawn
from tiffin.runtime.loop import READ, Loop


class Birth:
    """Follows one stage until it has become the process, or failed."""

    def __init__(self, loop: Loop, plan: dict[str, object], pid: int, channel: socket.socket) -> None:
        self.loop, self.plan, self.pid, self.channel = loop, plan, pid, channel
        self.pidfd = namespaces.pidfd_open(pid)
        self.started_at = 0
        self._over = self._ready = False
        self.prepared = False  # nobody wants it yet: it waits before its execve until `release`
        self.on_sandbox: Callable[[list[int]], None] = lambda attached: None
        self.on_console: Callable[[int], None] = os.close
        self.on_written: Callable[[bytes], None] = lambda pages: None
        self.on_ready: Callable[[], None] = lambda: None
        self.on_started: Callable[[], None] = lambda: None
        self.on_failed: Callable[[str, int, bytes, str], None] = lambda *_: None
        loop.watch(channel.fileno(), READ, self._message)

    def go(self) -> None:
        """Let the stage go on."""
        try:
            fds.send(self.channel, b"go")
        except OSError:
            pass  # it is gone; the end of the channel says so

    def release(self) -> None:
        """It is wanted."""
        self.prepared = False
        if self._ready:
            self._begin()

    def _message(self, _: int) -> None:
        try:
            message, attached = spawn.receive(self.channel)
            if message:
                return self._handle(message[0], message, attached)
        except spawn.Refused as refused:
            path = refused.filename if isinstance(refused.filename, bytes) else b""
            return self._failed(refused.step, refused.errno or 0, path, refused.strerror or "")
        except OSError as error:
            return self._failed("stage", error.errno or 0, b"", error.strerror or "")
        if self.started_at:
            self._close()
            self.on_started()
        else:
            status = namespaces.zombie_status(self.pid)
            how = "" if status is None else f" ({os.waitstatus_to_exitcode(status)})"
            self._failed("start", 0, b"", f"the process ended before it had begun{how}")

    def _handle(self, name: object, message: tuple[object, ...], attached: list[int]) -> None:
        if name == "sandbox":
            self.on_sandbox(attached)
        elif name == "console":
            self.on_console(attached[0])
        elif name == "written":
            self.on_written(message[1])  # type: ignore[arg-type]
        elif name == "hook":
            self._hook(str(message[1]))
        elif name == "ready":
            # Attached are an ephemeral container's mounts. They stay open until we end: whoever waits for its end does
            # not wait for its file systems to be written back and taken down.
            self._ready = True
            if not self.prepared:
                self._begin()
        elif name == "notify":
            self._notify(attached[0], *message[1:])  # type: ignore[arg-type]

    def _begin(self) -> None:
        self.started_at = time.time_ns()
        self.on_ready()
        if not self.plan["eager"]:
            self.go()

    def _hook(self, name: str) -> None:
        try:
            hooks.run(self.plan, name, b"creating", self.pid)
        except OSError as error:
            path = error.filename if isinstance(error.filename, bytes) else b""
            return self._failed("hook", error.errno or 0, path, error.strerror or "")
        self.go()

    def _notify(self, listener: int, path: bytes, metadata: bytes) -> None:
        """Hand the seccomp notify descriptor to the agent that listens on a path, with its metadata."""
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            agent.connect(path)
            fds.send(agent, metadata % {b"pid": self.pid} if b"%(pid)d" in metadata else metadata, (listener,))
        finally:
            agent.close()
            os.close(listener)

    def _failed(self, step: str, number: int, path: bytes, text: str) -> None:
        if self._over:
            return
        self._over = True
        self._close()
        self.kill()
        self.on_failed(step, number, path, text)

    def kill(self) -> None:
        """End the stage, whatever it does."""
        try:
            namespaces.pidfd_send_signal(self.pidfd, 9)
        except OSError:
            pass

    def _close(self) -> None:
        if self.channel.fileno() >= 0:
            self.loop.forget(self.channel.fileno())
            self.channel.close()

    def abandon(self) -> None:
        """Nobody wants the process any more."""
        self._over = True
        self._close()
        self.kill()


def hold(pid: int) -> None:
    """Keep a process's mounts until we end. Not for a container that may be started again meanwhile."""
    try:
        namespaces.open_namespace(pid, namespaces.CLONE_NEWNS)
    except OSError:
        pass  # it has ended
