"""Where monitors come from: a process that was forked from the forkserver before it knew anything, and stays that way.

A monitor's memory, and that of the PID 1 of a container with an init of ours, begins as a copy of this process's:
nothing of another container is in it (test_neighbours). And as this process does next to nothing, the pages of its
heap stay shared with all monitors. The forkserver asks for a monitor by sending one end of a channel; the monitor is
born as the forkserver's child and waits at that end for its charge: see vigil.py. Some are born ahead of time.

What a monitor writes to in its life is copied page by page, which takes longer than what it does. One that is to watch
its container itself gets these pages ahead of time ("warm"; which ones, the first such monitor tells), and a stage of
its own, see ahead.py. For one that is to rest, see rest.py, that would be memory for nothing.
"""

import _socket as socket
import gc
import marshal
import os
import sys
from collections.abc import Callable

from tiffin.linux import clone, fds
from tiffin.runtime import channel, title

SPARES = {False: 2, True: 1}  # monitors that wait for a container, by whether they are warm: those take much memory
LONGEST = 32768  # bytes of what a monitor is told ahead of time
_OFTEN = 12  # times, until the interpreter has adapted the code and leaves it as it is


class Gone(OSError):
    """The nursery was killed."""


class Nursery:
    """The forkserver's end."""

    def __init__(self, live: Callable[[socket.socket], None], rehearse: Callable[[], None]) -> None:
        """Forks it. live: what a monitor does with its end of the channel, never to return. rehearse: its beginning."""
        self.socket, theirs = channel.pair()
        self._ready: dict[bool, list[tuple[int, socket.socket]]] = {False: [], True: []}  # by whether they are warm
        self._asked: list[tuple[socket.socket, bool]] = []
        self.pages: dict[str, bytes] = {}  # what a monitor and its stage write to, see linux/pages.py
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _serve(theirs, live, rehearse)
            finally:
                os._exit(1)
        theirs.close()

    def learn(self, pages: dict[str, bytes]) -> None:
        """Pages that were written to, by a "monitor" or by its "stage"."""
        if all(len(some) < LONGEST // 2 - 64 for some in pages.values()):
            self.pages |= pages

    def learnt(self) -> bool:
        """Whether both are known."""
        return len(self.pages) == 2

    def refill(self, *, warm: bool) -> None:
        """Have as many spares of a kind born as there are too few. Raises Gone."""
        for _ in range(len(self._ready[warm]) + sum(kind is warm for _, kind in self._asked), SPARES[warm]):
            self._ask(warm)

    def _ask(self, warm: bool, *, waits: bool = False) -> None:
        ours, theirs = channel.pair()
        try:
            fds.send(self.socket, b"f", (theirs.fileno(),))
        except OSError as error:
            raise Gone(error.errno, error.strerror) from None
        finally:
            theirs.close()
        if warm and self.learnt() and not waits:
            try:
                ours.send(b"w" + marshal.dumps((self.pages["monitor"], self.pages["stage"])))
            except OSError:
                pass  # the nursery or the monitor was killed just now, which is seen when it is to be born or used
        self._asked.append((ours, warm))

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
        pid, (end, warm) = int.from_bytes(said, "little"), self._asked.pop(0)
        if pid:
            self._ready[warm].append((pid, end))
        else:
            end.close()

    def take(self, *, warm: bool) -> tuple[int, socket.socket]:
        """A monitor that waits for its charge: its pid, and our end of its channel. OSError when none can be forked."""
        ready = self._ready[warm]
        if not ready and not any(kind is warm for _, kind in self._asked):
            self._ask(warm, waits=True)  # nor for what can be done as well when it is wanted
        while not ready and any(kind is warm for _, kind in self._asked):
            self.heard(0)
        if not ready:
            raise OSError(11, "no monitor can be forked")
        return ready.pop(0)

    def drop(self) -> None:
        """Let those that are ready go."""
        for ready in self._ready.values():
            for _, end in ready:
                end.close()
            ready.clear()


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
