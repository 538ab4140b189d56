"""Control groups as a plan has them: files to write before the start, counters to read and directories to remove after.

Raises OSError with the path.
"""

import os
import time
from collections.abc import Callable

from tiffin.linux import namespaces

Operation = tuple[object, ...]


def execute(operation: Operation) -> None:
    """One operation of plan["cgroup"]."""
    _OPERATIONS[operation[0]](*operation[1:])  # type: ignore[index]


def _mkdir(path: bytes, mode: int, parents: bool) -> None:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass
    except FileNotFoundError:
        if not parents:
            raise
        _mkdir(os.path.dirname(path), mode, True)
        _mkdir(path, mode, False)


def _write(path: bytes, data: bytes, ignore: tuple[int, ...]) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in ignore:
            raise OSError(error.errno, error.strerror, path) from error


def read(path: bytes) -> bytes:
    """The content of a control file, up to 64 KiB."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def _copy(source: bytes, target: bytes, ignore: tuple[int, ...]) -> None:
    try:
        if not read(target).strip():
            _write(target, read(source).strip(), ())
    except OSError as error:
        if error.errno not in ignore:
            raise


def _device_filter(path: bytes, program: bytes) -> None:
    from tiffin.linux import bpf_program

    bpf_program.attach_device_filter(path, program)


_OPERATIONS: dict[str, Callable[..., None]] = {
    "mkdir": _mkdir,
    "write": _write,
    "copy": _copy,
    "device_filter": _device_filter,
}


def oom_killed(path: bytes | None) -> bool:
    """Whether the kernel killed for memory in this cgroup: v1 memory.oom_control or v2 memory.events, "oom_kill N"."""
    if not path:
        return False
    try:
        for line in read(path).splitlines():
            key, _, value = line.partition(b" ")
            if key == b"oom_kill" and int(value):
                return True
    except OSError:
        pass
    return False


_AT_ONCE = 256  # descriptors


def _members(procs: bytes) -> list[bytes]:
    try:
        return [pid for pid in read(procs).split() if int(pid) > 0]
    except OSError:
        return []


def kill(procs: tuple[bytes, ...]) -> None:
    """Kill every process of a container, by its cgroup.procs files; a stage is born in the last of these groups."""
    for path in dict.fromkeys((*procs[-1:], *procs[:1])):
        _kill_members(path)


def _kill_members(procs: bytes) -> None:
    for _ in range(64):
        pids = _members(procs)
        if not pids:
            return
        opened: dict[bytes, int] = {}
        for pid in pids[:_AT_ONCE]:
            try:
                opened[pid] = namespaces.pidfd_open(int(pid))
            except OSError:
                continue
        # the list again: a number that was another process's by the time it was opened is not in it
        there = _members(procs)
        for pid, pidfd in opened.items():
            try:
                if pid in there:
                    namespaces.pidfd_send_signal(pidfd, 9)
            except OSError:
                pass
            os.close(pidfd)
        time.sleep(0.002)


def remove(directories: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Remove cgroup directories, those made inside first; gives what is still in use."""
    left = []
    for directory in directories:
        try:
            _remove(directory)
        except FileNotFoundError:
            pass
        except OSError:
            left.append(directory)
    return tuple(left)


def _remove(directory: bytes) -> None:
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno != 16:  # EBUSY: groups that the container made in it
            raise
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                _remove(entry.path)
        os.rmdir(directory)
