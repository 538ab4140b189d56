"""A monitor from its birth on: it waits for a container, starts or adopts it, and stays with it to the end."""

import _socket as socket  # socket itself loads enum
import marshal
import os

from tiffin.linux import pages
from tiffin.runtime import channel, rest, spawn, title
from tiffin.runtime.ahead import Ahead
from tiffin.runtime.exitfile import sync_exit
from tiffin.runtime.monitor import Monitor
from tiffin.runtime.nursery import LONGEST


def keep(upstream: socket.socket) -> None:
    """Never returns.

    The forkserver says first for which container, in a message of its own: its id behind r, where nobody is attached
    and rest.py comes in, or behind -, or behind l, where it wants to be told which pages the monitor and its stage
    wrote to. A spare monitor may be told so, behind w, before. Then start {charge, names, wants, stdio: how many
    follow} + [what it holds…, control, ends of stdio…, clients…], or adopt {charge, names, pid, at, status} + [what it
    holds…].
    """
    first, ahead = upstream.recv(LONGEST), None
    if first[:1] == b"w":
        own, of_stage = marshal.loads(first[1:])
        ahead = _ahead(of_stage)  # first: a fork shares all pages again
        pages.make_own(own)
        first = upstream.recv(256)
    if not first:
        os._exit(0)
    try:
        title.show(b"tiffin-monitor", first[1:])
        monitor, successor = rest.begin(upstream) if first[:1] == b"r" else (None, -1)
        if monitor is None:
            monitor = _receive(upstream, ahead, learns=first[:1] == b"l")
            if successor >= 0:
                rest.hand_over(monitor, successor)
        monitor.loop.run()
        if monitor.learns and monitor.upstream.socket is upstream:
            _tell_pages(upstream)
        sync_exit(monitor.state)
    except BaseException as error:
        _complain(error)
        os._exit(70)
    finally:
        os._exit(0)


def _ahead(written: bytes) -> Ahead | None:
    try:
        return Ahead(written)
    except OSError:
        return None  # another processor, no memory


def _tell_pages(upstream: socket.socket) -> None:
    try:
        channel.send(upstream, (0, "written", {"monitor": pages.own()}))
    except OSError:
        pass  # the forkserver was killed


def _receive(upstream: socket.socket, ahead: Ahead | None, *, learns: bool) -> Monitor:
    (_, what, task), attached = channel.receive(upstream)
    names: tuple[str, ...] = task["names"]  # type: ignore[assignment]
    held, more = dict(zip(names, attached, strict=False)), attached[len(names) :]
    charge: dict[str, object] = task["charge"]  # type: ignore[assignment]
    stdio = int(task.get("stdio", 0))  # type: ignore[call-overload]
    theirs: spawn.Stdio = (more[1], more[2], more[3]) if stdio else None
    fits = what == "start" and charge["ahead"]
    if ahead is not None and not (fits and ahead.take(theirs, held["plan"])):  # at once: all else is done beside it
        ahead.close()
        ahead = None
    monitor = Monitor(charge, upstream, held)
    if what == "adopt":
        monitor.adopt(task["pid"], task["at"], task["status"])  # type: ignore[arg-type]
        return monitor
    monitor.ahead, monitor.learns = ahead, learns
    clients = zip(more[1 + stdio :], task["wants"], strict=True)  # type: ignore[call-overload]
    monitor.start(socket.socket(fileno=more[0]), list(clients), theirs)
    return monitor


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
