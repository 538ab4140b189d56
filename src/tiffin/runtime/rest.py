"""A container at rest: it runs, nobody is attached, and nothing is to do but wait for something to happen.

Whatever Python does in a fork costs memory of its own: to count a reference is to write to a page. So where nobody is
attached a container is started by a child of its monitor. When it runs, the child hands over what it has and leaves. By
then the monitor has done next to nothing, and it only polls; with the first event it becomes what its child was, and
stays that. As the child is killed with the monitor, there is one process at a time that takes the container's output.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _socket as socket
import marshal
import os
import select

from tiffin.linux import credentials, fds
from tiffin.runtime.monitor import Monitor

_SOON, _SELDOM = 0.1, 60.0  # s, between two looks whether a container is at rest
_SIZE, _MANY = 16384, 64  # bytes and descriptors of what is handed over
_OUTPUTS = ("stdout", "stderr")


Handed = tuple[list[int], bytes]  # the descriptors; how many are watched, and the rest of what is to be known


def begin(upstream: socket.socket) -> tuple[Monitor | None, int]:
    """Fork the child. In it: (None, the descriptor for `hand_over`). In the monitor, after a rest: (Monitor, -1).

    When the child has seen the container to its end, or was killed, the monitor leaves too.
    """
    handed, successor = _apart()
    if handed is None:
        return None, successor
    attached, data = handed
    if not data:
        os._exit(0)
    server = socket.socket(fileno=attached[0])
    server.listen(64)  # again: who connects is told that it is us who listen
    _wait(upstream, attached[: data[0]])
    return _resume(upstream, server, attached[1:], marshal.loads(data[1:])), -1


def rehearse() -> None:
    """For the nursery: all of it that can be done there, so that what it fills on first use is filled."""
    handed, successor = _apart()
    if handed is None:
        fds.send(socket.socket(fileno=successor), bytes((1,)), (successor,))
        os._exit(0)
    attached, data = handed
    end = socket.socket(fileno=attached[0])
    _wait(end, attached[: data[0]])  # its other end is closed: that is an event
    end.close()
    credentials.prctl(credentials.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _apart() -> tuple[Handed | None, int]:
    credentials.prctl(credentials.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    monitor = os.getpid()
    child = os.fork()
    if child == 0:
        ours.close()
        credentials.prctl(credentials.PR_SET_PDEATHSIG, _signal.SIGKILL, 0, 0, 0)
        if os.getppid() != monitor:
            os._exit(0)
        return None, theirs.detach()
    theirs.close()
    data, ancillary, _, _ = ours.recvmsg(_SIZE, socket.CMSG_LEN(_MANY * 4), socket.MSG_CMSG_CLOEXEC)
    os.waitpid(child, 0)  # from here on the container is our child
    ours.close()
    return (memoryview(ancillary[0][2]).cast("i").tolist() if ancillary else [], data), -1


def _wait(upstream: socket.socket, watched: list[int]) -> None:
    poll = select.poll()
    poll.register(upstream, select.POLLIN)
    for fd in watched:
        poll.register(fd, select.POLLIN)
    poll.poll()


def _resume(upstream: socket.socket, server: socket.socket, attached: list[int], about: dict[str, object]) -> Monitor:
    """Go on where the child left off. The container is our own child now."""
    names: tuple[str, ...] = about["names"]  # type: ignore[assignment]
    count = int(about["connections"])  # type: ignore[call-overload]
    fds_of = iter(attached)
    pidfd, connections = next(fds_of), [next(fds_of) for _ in range(count)]
    held = {name: next(fds_of) for name in names}
    charge: dict[str, object] = about["charge"]  # type: ignore[assignment]
    monitor = Monitor(charge, upstream, held, server)
    monitor.pid, monitor.started_at, monitor.pidfd = int(about["pid"]), int(about["at"]), pidfd  # type: ignore[call-overload]
    monitor.doors.held = list(fds_of)
    monitor.attach_log(adopting=True)
    monitor.session.open_pipes(-1, held["stdout"], held["stderr"])
    for fd in connections:
        monitor.serve(socket.socket(fileno=fd))
    monitor.loop.reap()  # it may have ended meanwhile
    return monitor


def hand_over(monitor: Monitor, successor: int, pause: float = _SOON) -> None:
    """In the child: look now and then whether there is nothing more to do, and leave then."""
    upstream = monitor.upstream.socket

    def look() -> None:
        if monitor.exited is None and monitor.upstream.socket is upstream:  # else a forkserver knows us as the monitor
            if _at_rest(monitor):
                _leave(monitor, successor)
            hand_over(monitor, successor, min(pause * 2, _SELDOM))

    monitor.loop.after("rest", pause, look)


def _at_rest(monitor: Monitor) -> bool:
    running = monitor.pid and monitor.birth is None and len(monitor.session.sources) == 2
    return bool(running and not monitor.session.clients and not monitor.execs.busy())


def _leave(monitor: Monitor, successor: int) -> None:
    assert monitor.server is not None
    held = {name: fd for name, fd in monitor.held.items() if name not in _OUTPUTS}
    connections = [connection.fileno() for connection in monitor.connections]
    about: dict[str, object] = {
        "charge": monitor.charge,
        "pid": monitor.pid,
        "at": monitor.started_at,
        "connections": len(connections),
        "names": (*_OUTPUTS, *held),
    }
    watched = (monitor.server.fileno(), monitor.pidfd, *connections, *(monitor.held[name] for name in _OUTPUTS))
    data = bytes((len(watched),)) + marshal.dumps(about)
    attach = (*watched, *held.values(), *monitor.doors.held)
    if len(data) <= _SIZE and len(attach) <= _MANY:
        fds.send(socket.socket(fileno=successor), data, attach)
        os._exit(0)
