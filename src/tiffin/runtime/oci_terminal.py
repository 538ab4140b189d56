"""Terminals of the OCI runtime CLI: handing the pty to a console socket, or relaying it to the caller's terminal."""

import _socket as socket
import fcntl
import os
import select
import signal
import termios
import tty
from collections.abc import Callable

from tiffin.errors import Invalid
from tiffin.linux import fds
from tiffin.runtime import process


def check(terminal: bool, console_socket: str, *, detach: bool) -> None:
    """Raises Invalid where nobody would hold the terminal, or somebody waits for one that does not come."""
    if detach and terminal and not console_socket:
        raise Invalid("cannot allocate tty if runc will detach without setting console socket")
    if (not detach or not terminal) and console_socket:
        raise Invalid("cannot use console socket if runc will not detach or allocate tty")


def to_socket(path: str) -> Callable[[int], None]:
    """Connect now, so that a wrong path fails before anything is made; the returned function sends the master."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    channel.connect(path)

    def send(master: int) -> None:
        fds.send(channel, b"/dev/ptmx", (master,))
        channel.close()
        os.close(master)

    return send


class Relay:
    """Between the caller's stdin and stdout and a pty's master, until the process has ended and all is read."""

    def __init__(self) -> None:
        self.master = -1
        self._saved: list[object] | None = None

    def take(self, master: int) -> None:
        """The master; the caller's terminal becomes raw and gives its size."""
        self.master = master
        if os.isatty(0):
            self._saved = termios.tcgetattr(0)
            tty.setraw(0)
        self.resize()

    def resize(self) -> None:
        """Pass the caller's window size on."""
        if self.master < 0 or not os.isatty(0):
            return
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
        process.resize(self.master, int.from_bytes(size[:2], "little"), int.from_bytes(size[2:4], "little"))

    def run(self, ended: Callable[[], bool], wake: int) -> None:
        """Copy until `ended` and nothing is left to read. wake: an fd that becomes readable on every signal."""
        poll = select.poll()
        for fd in (self.master, 0, wake):
            poll.register(fd, select.POLLIN)
        while True:
            finished = ended()
            events = poll.poll(0 if finished else None)
            for fd, _ in events:
                if fd == wake:
                    os.read(wake, 512)
                elif fd == 0:
                    data = os.read(0, 32768)
                    if data:
                        _write_all(self.master, data)
                    else:
                        poll.unregister(0)
                elif not self._copy_out():
                    poll.unregister(self.master)
            if finished and not any(fd == self.master for fd, _ in events):
                return

    def _copy_out(self) -> bool:
        try:
            data = os.read(self.master, 32768)
        except OSError:  # EIO: no process has the slave open any more
            return False
        _write_all(1, data)
        return bool(data)

    def restore(self) -> None:
        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSANOW, self._saved)  # type: ignore[arg-type]


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def forwarded_signals() -> set[signal.Signals]:
    """What a foreground run passes on: all but those that concern this process itself."""
    own = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGKILL, signal.SIGSTOP}
    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT}
    return {one for one in signal.Signals if one not in own | faults}
