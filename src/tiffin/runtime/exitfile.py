"""The exit file: how a container ended, where a daemon that was away finds it. One line of JSON, written atomically.

{"code":0,"oom_killed":false,"finished_at":1767323045123456789}

finished_at is Unix time in nanoseconds; "error" is there where the code is not the process's own.
"""

import os
import time


def code_of(status: int) -> int:
    """A wait status as a shell reports it: 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def write_exit(state: str, code: int, oom: bool, error: str = "") -> dict[str, object]:
    """Write state/exit so that it is there whole or not at all, whoever is killed; gives what was written.

    Until `sync_exit` a power loss may leave an empty file, which says as little as none.
    """
    finished = time.time_ns()
    said = f',"error":"{error}"' if error else ""
    text = f'{{"code":{code},"oom_killed":{"true" if oom else "false"},"finished_at":{finished}{said}}}\n'
    try:
        directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            fd = os.open("exit.tmp", flags, 0o600, dir_fd=directory)
            os.write(fd, text.encode())
            os.close(fd)
            os.rename("exit.tmp", "exit", src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(directory)
    except OSError:
        pass  # a full disk: the daemon, if there is one, hears it over the channel
    return {"code": code, "oom_killed": oom, "finished_at": finished, "error": error}


def sync_exit(state: str) -> None:
    """Make it durable; apart from writing it, because those who wait for the exit need not wait for the disk."""
    for path, flags in ((os.path.join(state, "exit"), 0), (state, os.O_DIRECTORY)):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
        except OSError:
            return  # the container is removed already
        try:
            os.fsync(fd)
        except OSError:
            pass
        finally:
            os.close(fd)


def remove_exit(state: str) -> None:
    """Forget how an earlier run ended."""
    try:
        os.unlink(os.path.join(state, "exit"))
    except FileNotFoundError:
        pass
