"""A monitor from its birth on: it waits for a container, starts or adopts it, and stays with it to the end."""

import _socket as socket  # socket itself loads enum
import os

from tiffin.runtime import channel, spawn, title
from tiffin.runtime.exitfile import sync_exit
from tiffin.runtime.monitor import Monitor, Payload


def keep(upstream: socket.socket) -> None:
    """Never returns.

    The forkserver says start {wants, stdio: how many follow} + [what it holds…, control, ends of stdio…, clients…], or
    adopt {pid, at, status} + [what it holds…].
    """
    try:
        (_, what, task), attached = channel.receive(upstream)
    except OSError:
        os._exit(0)
    try:
        charge: Payload = task["charge"]  # type: ignore[assignment]
        names: tuple[str, ...] = task["names"]  # type: ignore[assignment]
        title.show(b"tiffin-monitor", str(charge["id"]).encode())
        rest = attached[len(names) :]
        monitor = Monitor(charge, upstream, dict(zip(names, attached, strict=False)), str(task["directory"]))
        if what == "start":
            stdio: int = task["stdio"]  # type: ignore[assignment]
            theirs: spawn.Stdio = (rest[1], rest[2], rest[3]) if stdio else None
            clients = zip(rest[1 + stdio :], task["wants"], strict=True)  # type: ignore[call-overload]
            monitor.start(socket.socket(fileno=rest[0]), list(clients), theirs)
        else:
            monitor.adopt(task["pid"], task["at"], task["status"])  # type: ignore[arg-type]
        monitor.loop.run()
        sync_exit(monitor.state)
    except BaseException as error:
        _complain(error)
        os._exit(70)
    finally:
        os._exit(0)


def _complain(error: BaseException) -> None:
    """One line to stderr, which is the daemon's log."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
    try:
        os.write(2, f"tiffin monitor: {type(error).__name__}: {error} at {place}\n".encode())
    except OSError:
        pass
