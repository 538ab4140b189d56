"""Finding a container again: its monitor, or how it ended."""

import asyncio
import json
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tiffin.linux import namespaces
from tiffin.runtime import channel
from tiffin.runtime.exitfile import code_of

Ended = tuple[int, bool, int, str]
End = Callable[[], None]
_PATIENCE = 5.0  # s, for the forkserver to fork a new monitor
_SURE = 6  # answers in a row, within a third of a second, that it will not


def _nothing() -> None:
    pass


def recorded(state: Path) -> Ended | None:
    """What the exit file says: code, OOM, finished_at (ns), error."""
    try:
        document = json.loads((state / "exit").read_bytes())
        error = str(document.get("error", ""))
        return int(document["code"]), bool(document["oom_killed"]), int(document["finished_at"]), error
    except (OSError, ValueError, KeyError):
        return None


async def find(
    state: Path, pidfd: int, end: End = _nothing, keeper: tuple[Path, str] | None = None
) -> socket.socket | Ended:
    """A connection to the container's monitor, or how the container ended. pidfd: of its first process, or -1.

    end: kills every process of the container, those that are frozen too. keeper: the forkserver's directory and the
    container's id, to ask whether a dead monitor will be replaced.
    """
    deadline = time.monotonic() + _PATIENCE
    unkept = 0
    pause = 0.005
    while True:
        ended = recorded(state)
        if ended is not None:
            return ended
        try:
            raw = channel.connect(str(state), "monitor.sock")
            return socket.socket(fileno=raw.detach())
        except FileNotFoundError:
            if pidfd < 0 or _ended(pidfd):
                return await find_exit(state, pidfd, end)
        except OSError:
            # Nobody listens at the moment: another monitor comes, or there is nobody who would fork one.
            unkept = 0 if keeper is None or in_charge(*keeper) else unkept + 1
            if unkept >= _SURE:
                return await find_exit(state, pidfd, end)
        if time.monotonic() > deadline:
            return await find_exit(state, pidfd, end)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.2)


def in_charge(directory: Path, container_id: str) -> bool:
    """Whether the forkserver looks after a container; True also where it can't be asked."""
    try:
        server = channel.connect(str(directory), "forkserver.sock")
    except OSError:
        return True
    try:
        server.settimeout(1.0)
        channel.send(server, (1, "list", {}))
        (_, _, reply), _ = channel.receive(server)
        return container_id in reply["ids"]  # type: ignore[operator]
    except OSError:
        return True
    finally:
        server.close()


async def find_exit(state: Path, pidfd: int, end: End = _nothing) -> Ended:
    """How a container without a monitor ended; one that still runs is killed: nobody holds its streams."""
    ended = recorded(state)
    if ended is not None:
        return ended
    now = time.time_ns()
    if pidfd < 0:
        return 137, False, now, "the container's monitor is gone and left no exit status"
    code = await killed(pidfd, end)
    if code is None:
        return 137, False, now, "the container's monitor was killed and its exit status is lost"
    return code, False, now, "the container's monitor was killed"


async def killed(pidfd: int, end: End = _nothing) -> int | None:
    """Kill a process that has lost its monitor, if it still runs: its exit code, None where the kernel forgot it."""
    try:
        namespaces.pidfd_send_signal(pidfd, 9)
        end()
    except OSError:
        pass  # it is gone, or its control group is
    return await awaited(pidfd)


async def awaited(pidfd: int) -> int | None:
    """A process's exit code when it has ended, None where the kernel forgot it. The pidfd stays the caller's."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(pidfd)
    for _ in range(100):
        status = namespaces.exit_status(pidfd)  # known once someone has reaped it
        if status is not None:
            return code_of(status)
        await asyncio.sleep(0.01)
    return None


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
