"""A pseudo-terminal with a process on it: what a person at a keyboard sees and types."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

from rig.waiting import PATIENCE


class Terminal:
    """A process whose controlling terminal we hold the other end of. Leaving the context kills the process."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], rows: int = 24, columns: int = 80) -> None:
        self._master, slave = os.openpty()
        self.seen = ""
        self._position = 0
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the foreground process gets SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text: str) -> None:
        """Type text as it is: end a line with a newline, ^C is \\x03."""
        os.write(self._master, text.encode())

    def expect(self, pattern: str, *, within: float = 60) -> re.Match[str]:
        """Wait until what came after the last match matches; AssertionError with what was seen otherwise."""
        deadline = time.monotonic() + within * PATIENCE
        expression = re.compile(pattern, re.MULTILINE)
        while not (match := expression.search(self.seen, self._position)):
            if not self._read(deadline):
                raise AssertionError(f"no {pattern!r} on the terminal; seen: {self.seen[self._position :]!r}")
        self._position = match.end()
        return match

    def wait(self, *, within: float = 60) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + within * PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(timeout=max(deadline - time.monotonic(), 1))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last process has closed the other end
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)
