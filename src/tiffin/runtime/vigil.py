"""A monitor from its birth on: it waits for a container, starts or adopts it, and stays with it to the end."""

import _socket as socket  # socket itself loads enum
import os

from tiffin.linux import pages
from tiffin.runtime import channel, rest, spare, spawn, title
from tiffin.runtime.exitfile import sync_exit
from tiffin.runtime.monitor import Monitor

_LONGEST = 32768  # bytes of a first message


def keep(upstream: socket.socket) -> None:
    """Never returns.

    The forkserver says first for which container, in a message of its own: its id behind r, where nobody is attached
    and rest.py comes in, or behind -, or behind l, where it wants to be told at the end which pages were written to. A
    spare monitor may be told so, behind w, before. Then start {charge, names, wants, stdio: how many follow} + [what it
    holds…, control, ends of stdio…, clients…], or adopt {charge, names, pid, at, status} + [what it holds…].
    """
    first, network = upstream.recv(_LONGEST), None
    if first[:1] == b"w":
        pages.make_own(first[1:])
        network = spare.network()
        first = upstream.recv(256)
    if not first:
        os._exit(0)
    try:
        title.show(b"tiffin-monitor", first[1:])
        monitor, successor = rest.begin(upstream) if first[:1] == b"r" else (None, -1)
        if monitor is None:
            monitor = _receive(upstream, network)
            if successor >= 0:
                rest.hand_over(monitor, successor)
        monitor.loop.run()
        if first[:1] == b"l" and monitor.upstream is upstream:
            _tell_pages(upstream)
        sync_exit(monitor.state)
    except BaseException as error:
        _complain(error)
        os._exit(70)
    finally:
        os._exit(0)


def _tell_pages(upstream: socket.socket) -> None:
    written = pages.own()
    if len(written) < _LONGEST:
        try:
            channel.send(upstream, (0, "written", {"pages": written}))
        except OSError:
            pass  # the forkserver was killed


def _receive(upstream: socket.socket, network: spare.Network | None) -> Monitor:
    (_, what, task), attached = channel.receive(upstream)
    names: tuple[str, ...] = task["names"]  # type: ignore[assignment]
    held, more = dict(zip(names, attached, strict=False)), attached[len(names) :]
    monitor = Monitor(task["charge"], upstream, held)  # type: ignore[arg-type]
    if network is not None and (what == "adopt" or monitor.plan["external"]):
        network.close()
        network = None
    if what == "adopt":
        monitor.adopt(task["pid"], task["at"], task["status"])  # type: ignore[arg-type]
        return monitor
    monitor.spare = network
    stdio: int = task["stdio"]  # type: ignore[assignment]
    theirs: spawn.Stdio = (more[1], more[2], more[3]) if stdio else None
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
