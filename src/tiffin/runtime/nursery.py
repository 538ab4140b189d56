"""Where monitors come from: a process that was forked from the forkserver before it knew anything, and stays that way.

A monitor's memory, and that of the PID 1 of a container with an init of ours, begins as a copy of this process's:
nothing of another container is in it (test_neighbours). And as this process does next to nothing, the pages of its
heap stay shared with all monitors. The forkserver asks for a monitor by sending one end of a channel; the monitor is
born as the forkserver's child and waits at that end for its charge: see vigil.py. Some are born ahead of time.
"""

import _socket as socket
import gc
import os
import sys
from collections.abc import Callable

from tiffin.linux import clone, fds
from tiffin.runtime import channel, title

SPARES = 2  # monitors that wait for a container
_OFTEN = 12  # times, until the interpreter has adapted the code and leaves it as it is


class Gone(OSError):
    """The nursery was killed."""


class Nursery:
    """The forkserver's end."""

    def __init__(self, live: Callable[[socket.socket], None], rehearse: Callable[[], None]) -> None:
        """Forks it. live: what a monitor does with its end of the channel, never to return. rehearse: its beginning."""
        self.socket, theirs = channel.pair()
        self._ready: list[tuple[int, socket.socket]] = []
        self._asked: list[socket.socket] = []
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _serve(theirs, live, rehearse)
            finally:
                os._exit(1)
        theirs.close()

    def refill(self) -> None:
        """Have as many spares born as there are too few. Raises Gone."""
        while len(self._ready) + len(self._asked) < SPARES:
            self._ask()

    def _ask(self) -> None:
        ours, theirs = channel.pair()
        try:
            fds.send(self.socket, b"f", (theirs.fileno(),))
        except OSError as error:
            raise Gone(error.errno, error.strerror) from None
        finally:
            theirs.close()
        self._asked.append(ours)

    def heard(self, flags: int = socket.MSG_DONTWAIT) -> None:
        """A monitor was born: it is ready. Raises Gone."""
        try:
            said = self.socket.recv(8, flags)
        except BlockingIOError:
            return  # `take` did not wait for the loop to say so
        except OSError as error:
            raise Gone(error.errno, error.strerror) from None
        if not said:
            raise Gone(32, "the nursery ended")
        pid, end = int.from_bytes(said, "little"), self._asked.pop(0)
        if pid:
            self._ready.append((pid, end))
        else:
            end.close()

    def take(self) -> tuple[int, socket.socket]:
        """A monitor that waits for its charge: its pid, and our end of its channel. OSError when none can be forked."""
        if not self._ready and not self._asked:
            self._ask()
        while self._asked and not self._ready:
            self.heard(0)
        if not self._ready:
            raise OSError(11, "no monitor can be forked")
        return self._ready.pop(0)

    def drop(self) -> None:
        """Let those that are ready go."""
        for _, end in self._ready:
            end.close()
        self._ready.clear()


def _serve(requests: socket.socket, live: Callable[[socket.socket], None], rehearse: Callable[[], None]) -> None:
    fds.close_others({0, 1, 2, requests.fileno()})
    for _ in range(_OFTEN):
        _rehearse(rehearse)
    title.show(b"tiffin-forkserver", b"nursery")
    gc.collect()
    gc.freeze()
    space = socket.CMSG_LEN(4)
    while True:
        # As little as can be: what is touched here is each monitor's own memory.
        _, ancillary, _, _ = requests.recvmsg(1, space, socket.MSG_CMSG_CLOEXEC)
        if not ancillary:
            os._exit(0)
        end = int.from_bytes(ancillary[0][2], sys.byteorder)
        try:
            pid = clone.fork_beside()
        except OSError:
            pid = 0  # no memory, no processes: the forkserver says so
        else:
            if pid == 0:
                requests.close()
                live(socket.socket(fileno=end))
        os.close(end)
        requests.send(pid.to_bytes(8, "little"))


def _rehearse(rehearse: Callable[[], None]) -> None:
    """What every monitor does first. The caches that it fills are copied with the rest, and not written to again."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    ours.send(b"-")
    title.show(b"tiffin-monitor", theirs.recv(256)[1:])
    ours.close()
    theirs.close()
    rehearse()
