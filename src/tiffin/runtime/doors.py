"""Sockets made inside a container's network namespace, for the daemon, which uses them without ever entering."""

import _socket as socket  # socket itself loads enum
import os
from collections.abc import Mapping

from tiffin.linux import fds, namespaces

Wanted = tuple[tuple[int, int, int], ...]
"""socket(2)'s arguments for each: family, type, protocol."""

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_ROUTING = (socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
RESOLVER: Wanted = (
    (socket.AF_INET, socket.SOCK_DGRAM, 0),
    (socket.AF_INET, socket.SOCK_STREAM, 0),
    (socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER),
)
"""What a name server for the container takes: where it is asked over UDP and TCP, and how that is arranged."""


def make(wanted: Wanted = ()) -> list[int]:
    """Here: a NETLINK_ROUTE socket, the network namespace, and what is wanted. The caller closes them."""
    made = [socket.socket(*_ROUTING).detach(), os.open(b"/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)]
    return made + [socket.socket(family, kind, protocol).detach() for family, kind, protocol in wanted]


def make_in(pidfd: int, wanted: Wanted = ()) -> list[int]:
    """The same in a process's network namespace; by a child, so that we stay out. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            namespaces.setns(pidfd, namespaces.CLONE_NEWNET)
            fds.send(theirs, b"ok", tuple(make(wanted)))
        finally:
            os._exit(0)
    theirs.close()
    _, attached = fds.receive(ours)
    ours.close()
    os.waitpid(pid, 0)
    if len(attached) != 2 + len(wanted):
        raise OSError(3, "the container's network namespace is gone")
    return attached


def paths(settings: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """Of `net.ipv6.conf.eth0.disable_ipv6` and the like, where in /proc they are written."""
    swap = str.maketrans("./", "/.")
    return tuple((key.translate(swap).encode(), value.encode()) for key, value in settings.items())


def set_in(pidfd: int, settings: tuple[tuple[bytes, bytes], ...]) -> None:
    """Write settings of a process's network namespace, relative to /proc/sys; by a child. Raises OSError."""
    for path, _ in settings:
        if not path.startswith(b"net/") or not all(path.split(b"/")) or b".." in path.split(b"/"):
            raise OSError(22, "not a setting of a network namespace", path)
    pid = os.fork()
    if pid == 0:
        number = 255
        try:
            namespaces.setns(pidfd, namespaces.CLONE_NEWNET)
            for path, value in settings:
                fd = os.open(b"/proc/sys/" + path, os.O_WRONLY | os.O_CLOEXEC)
                os.write(fd, value)
                os.close(fd)
            number = 0
        except OSError as error:
            number = error.errno or number
        finally:
            os._exit(number)
    number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if number:
        raise OSError(number, os.strerror(number), b"/proc/sys/net")


class Doors:
    """Keeps a second descriptor of the name server's sockets: what is asked while there is no daemon waits in them."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def keep(self, made: list[int]) -> list[int]:
        """Of what `make` made for a RESOLVER; gives it back."""
        if len(made) == 2 + len(RESOLVER):
            self.held = [os.dup(fd) for fd in made[2:4]]
        return made

    def open(self, pidfd: int, request: dict[str, object]) -> list[int]:
        """As requested: `settings` to be written, `sockets`, or `resolver`, those that are kept or new ones."""
        if request.get("settings"):
            set_in(pidfd, request["settings"])  # type: ignore[arg-type]
            return []
        if not request.get("resolver"):
            return make_in(pidfd, tuple(request.get("sockets", ())))  # type: ignore[arg-type]
        made = make_in(pidfd, RESOLVER)
        for place, fd in enumerate(self.held, 2):
            os.close(made[place])
            made[place] = os.dup(fd)
        return made if self.held else self.keep(made)
