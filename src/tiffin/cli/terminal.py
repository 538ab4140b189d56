"""The user's terminal: is there one, how large is it, raw mode that is always undone."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

STDIN, STDOUT, STDERR = 0, 1, 2


def is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def size(descriptor: int = STDOUT) -> tuple[int, int]:
    """`(rows, columns)`, zeros where there is no terminal."""
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        return 0, 0
    return rows, columns


class Raw:
    """Raw mode on standard input while inside; nothing happens when that is no terminal."""

    def __init__(self, wanted: bool = True) -> None:
        self._wanted = wanted and is_terminal(STDIN)
        self._before: Any = None

    def __enter__(self) -> Raw:
        if self._wanted:
            import termios
            import tty

            self._before = termios.tcgetattr(STDIN)
            tty.setraw(STDIN, termios.TCSANOW)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(STDIN, termios.TCSANOW, self._before)
            self._before = None


_NAMED = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as bytes. Raises ValueError for a key there is none of."""
    keys = bytearray()
    for name in (text or "ctrl-p,ctrl-q").split(","):
        if len(name) == 1:
            keys += name.encode("latin-1")
            continue
        prefix, dash, letter = name.lower().partition("-")
        if prefix != "ctrl" or not dash or len(letter) != 1:
            raise ValueError(f"Unknown character: '{name}'")
        if "a" <= letter <= "z":
            keys.append(ord(letter) - 96)
        elif letter in _NAMED:
            keys.append(_NAMED[letter])
        else:
            raise ValueError(f"Unknown character: '{name}'")
    return bytes(keys)


class DetachWatch:
    """Finds the detach keys in what is typed. Keys that begin the sequence are held back until it is decided."""

    def __init__(self, keys: bytes) -> None:
        self._keys, self._held = keys, 0
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """What goes to the container; sets `detached` when the sequence is complete."""
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._held]:
                self._held += 1
                if self._held == len(self._keys):
                    self.detached = True
                    return bytes(passed)
                continue
            passed += self._keys[: self._held]
            self._held = 0
            if byte == self._keys[0] and len(self._keys) > 1:
                self._held = 1
            else:
                passed.append(byte)
        return bytes(passed)
