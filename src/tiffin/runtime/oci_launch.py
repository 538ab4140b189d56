"""Starting processes for the OCI runtime CLI: the part of the monitor in a process that soon goes away.

The stage is forked by a starter that exits at once, because entering a pid namespace binds whoever forks: this process
must stay outside to run the host's hooks. It is child subreaper, so the container's process becomes its child.
"""

import _socket as socket
import errno
import json
import marshal
import os
from collections.abc import Callable
from typing import Any

from tiffin.errors import Internal
from tiffin.linux import credentials, fds, namespaces
from tiffin.runtime import controls, hooks, plan, spawn

Plan = dict[str, object]
Stdio = tuple[int, int, int] | None


class StartFailed(Internal):
    """What the stage could not do: step, errno and path are in the text."""


class Launched:
    """A stage that talks to us. pid: as this process sees it."""

    def __init__(self, compiled: Plan, pid: int, channel: socket.socket) -> None:
        self.plan = compiled
        self.pid = pid
        self.channel = channel

    def until_ready(self, console: Callable[[int], None]) -> None:
        """Serve the stage until everything but the last steps is done. console: takes the pty's master.

        Raises StartFailed; the process has ended then.
        """
        while True:
            message, attached = receive(self.channel)
            match message:
                case ("console",):
                    console(attached[0])
                case ("hook", str(name)):
                    self._hook(name)
                case ("ready",):
                    return
                case ():
                    raise StartFailed("unable to start container process: it ended before it was ready")

    def go(self) -> None:
        """Let it become the process. Raises StartFailed."""
        fds.send(self.channel, b"go")
        self.finish()

    def finish(self) -> None:
        """Wait for execve: the channel closes. Raises StartFailed where a last step fails."""
        while True:
            message, attached = receive(self.channel)
            if not message:
                return
            if message[0] == "notify":
                self._offer_listener(attached[0])

    def _offer_listener(self, listener: int) -> None:
        """Hand the filter's notify fd to the agent at OCI's listenerPath, with a ContainerProcessState."""
        path, metadata = self.plan["process"]["seccomp_notify"]  # type: ignore[index]
        state = json.loads(self.plan["hook_state"] % (b"creating", self.pid))  # type: ignore[operator]
        document = {
            "ociVersion": state["ociVersion"],
            "fds": ["seccompFd"],
            "pid": self.pid,
            "metadata": metadata.decode(),
            "state": state,
        }
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            agent.connect(path)
            fds.send(agent, json.dumps(document).encode(), (listener,))
        except OSError as error:
            raise StartFailed(f"error sending seccomp listener to {os.fsdecode(path)}: {error.strerror}") from error
        finally:
            agent.close()
            os.close(listener)

    def _hook(self, name: str) -> None:
        try:
            hooks.run(self.plan, name, b"creating", self.pid)
        except OSError as error:
            path = os.fsdecode(error.filename or b"")
            raise StartFailed(f"error running hook {name}: {path}: {error.strerror}") from error
        fds.send(self.channel, b"go")


def receive(channel: socket.socket) -> tuple[tuple[object, ...], list[int]]:
    try:
        return spawn.receive(channel)
    except spawn.Refused as error:
        raise StartFailed(describe(error)) from error
    except ConnectionError:
        return (), []


def first(compiled: dict[str, Any], stdio: Stdio) -> Launched:
    """A container's first process. Its cgroups are made; on failure they are removed again. Raises StartFailed."""
    filled = plan.defaults(compiled)
    try:
        for operation in filled["cgroup"]:  # type: ignore[attr-defined]
            controls.execute(operation)
    except OSError as error:
        controls.remove(filled["rmdir"])  # type: ignore[arg-type]
        path = os.fsdecode(error.filename or b"")
        raise StartFailed(f"unable to apply cgroup configuration: {path}: {error.strerror}") from error
    return _through_starter(filled, lambda: spawn.first(filled, stdio))


def further(compiled: dict[str, Any], pidfd: int, stdio: Stdio) -> Launched:
    """Another process of a running container. Raises StartFailed."""
    filled = plan.defaults(compiled)

    def start() -> tuple[int, socket.socket]:
        if not spawn.has_user_namespace(filled):
            namespaces.setns(pidfd, namespaces.CLONE_NEWPID)
        return spawn.further(filled, pidfd, stdio)

    return _through_starter(filled, start)


def _through_starter(filled: Plan, start: Callable[[], tuple[int, socket.socket]]) -> Launched:
    # not dumpable: a process that joins a container must not be open to the container's root
    credentials.prctl(credentials.PR_SET_DUMPABLE, 0, 0, 0, 0)
    credentials.prctl(credentials.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    starter = os.fork()
    if starter == 0:
        try:
            ours.close()
            pid, channel = start()
            fds.send(theirs, marshal.dumps(("started", pid)), (channel.fileno(),))
        except spawn.Refused as error:
            fds.send(theirs, marshal.dumps(("error", error.step, error.errno, error.filename, error.strerror)))
        except OSError as error:
            path = error.filename if isinstance(error.filename, bytes) else os.fsencode(error.filename or b"")
            fds.send(theirs, marshal.dumps(("error", "start", error.errno, path, error.strerror or "")))
        finally:
            os._exit(0)
    theirs.close()
    try:
        message, attached = receive(ours)
    finally:
        ours.close()
        os.waitpid(starter, 0)
    if not message:
        raise StartFailed("unable to start container process: the starter ended")
    channel = socket.socket(fileno=attached[0])
    return Launched(filled, int(message[1]), channel)  # type: ignore[call-overload]


def describe(error: spawn.Refused) -> str:
    """The failure in the words that runc's callers know, where they know some."""
    path, text = os.fsdecode(error.filename or b""), error.strerror or os.strerror(error.errno or 0)
    text = text if error.step == "exec" else text[:1].lower() + text[1:]
    prefix = "unable to start container process: "
    match error.step:
        case "exec":
            return f'{prefix}exec: "{path}": {text}'
        case "chdir":
            return f'{prefix}chdir to cwd ("{path}") set in config.json failed: {text}'
        case "mount" if error.errno in (errno.ENOTDIR, errno.ELOOP) and path in ("proc", "sys"):
            return f'{prefix}error during container init: "/{path}" must be mounted on ordinary directory'
        case "mount" | "remount":
            return f'{prefix}error during container init: error mounting to rootfs at "{path}": {text}'
        case "hook":
            return f"{prefix}error during container init: error running hook: {path}: {text}"
        case "sysctl":
            return f"{prefix}error during container init: open /proc/sys/{path.replace('.', '/')}: {text}"
        case "seccomp":
            return f"{prefix}error during container init: error loading seccomp filter into kernel: {text}"
        case "cgroup":
            return f"{prefix}error adding pid to cgroups: failed to write {path}: {text}"
        case step:
            where = f" {path}" if path else ""
            return f"{prefix}error during container init: {step}{where}: {text}"
