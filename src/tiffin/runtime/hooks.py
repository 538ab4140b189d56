"""OCI hooks: programs that run at fixed points with the container's state on their stdin. Raises OSError."""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import errno
import os
import select
import time

from tiffin.linux import namespaces
from tiffin.runtime import process

Hook = tuple[bytes, tuple[bytes, ...], tuple[bytes, ...], int]


def run(plan: dict[str, object], name: str, status: bytes, pid: int) -> None:
    """Run the hooks of one point in order; OSError for the first that fails, with its path."""
    state: bytes = plan["hook_state"] % (status, pid)  # type: ignore[operator]
    for path, argv, environment, timeout in plan["hooks"].get(name, ()):  # type: ignore[attr-defined]
        _run_one(path, argv, environment, timeout, state)


def _run_one(path: bytes, argv: tuple[bytes, ...], environment: tuple[bytes, ...], timeout: int, state: bytes) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            process.reset_signals()
            os.dup2(reading, 0)
            os.execve(path, list(argv) or [path], dict(item.split(b"=", 1) for item in environment if b"=" in item))
        finally:
            os._exit(127)
    os.close(reading)
    try:
        os.write(writing, state)
    except BrokenPipeError:
        pass  # a hook need not read it
    os.close(writing)
    if not _wait(pid, timeout):
        os.kill(pid, _signal.SIGKILL)
        os.waitpid(pid, 0)
        raise OSError(errno.ETIMEDOUT, "hook ran longer than its timeout", path)
    _, status = os.waitpid(pid, 0)
    if status:
        raise OSError(errno.EIO, _describe(os.waitstatus_to_exitcode(status)), path)


def _describe(code: int) -> str:
    """In Go's words, which runc's callers show: exit status 1, signal: killed."""
    return f"exit status {code}" if code >= 0 else f"signal: {(_signal.strsignal(-code) or str(-code)).lower()}"


def _wait(pid: int, timeout: int) -> bool:
    if timeout <= 0:
        return True
    pidfd = namespaces.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        deadline = time.monotonic() + timeout
        return bool(poll.poll(max(0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(pidfd)
