"""On PYTHONPATH of a daemon: it says so, with a stack, when a descriptor is closed that its event loop still watches.

asyncio keeps readers by number. After such a close the next holder of the number is, for the loop, watched already: the
kernel is not asked, and whoever waits for it waits for ever.
"""

from __future__ import annotations

import asyncio.selector_events as selector_events
import os
import socket
import sys
import traceback
from typing import Any

_watched: dict[int, str] = {}
"""Who watches a descriptor."""


def _check(fd: int, how: str) -> None:
    if fd in _watched:
        stack = "".join(traceback.format_stack(limit=12)[:-2])
        sys.stderr.write(f"Traceback: descriptor {fd} is closed by {how}, still watched by {_watched[fd]}\n{stack}\n")


def _number(fd: Any) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())


def _install() -> None:
    loop: Any = selector_events.BaseSelectorEventLoop
    close, close_socket = os.close, socket.socket._real_close  # type: ignore[attr-defined]

    def closing(fd: int) -> None:
        _check(fd, "os.close")
        close(fd)

    def closing_socket(self: socket.socket, *arguments: Any) -> None:
        _check(self.fileno(), "socket.close")
        close_socket(self, *arguments)

    def watching(add: Any) -> Any:
        def added(self: Any, fd: Any, callback: Any, *arguments: Any) -> Any:
            handle = add(self, fd, callback, *arguments)
            _watched[_number(fd)] = repr(callback)
            return handle

        return added

    def forgetting(remove: Any) -> Any:
        def removed(self: Any, fd: Any) -> Any:
            found = remove(self, fd)
            if fd not in self._selector.get_map():
                _watched.pop(_number(fd), None)
            return found

        return removed

    os.close, socket.socket._real_close = closing, closing_socket  # type: ignore[attr-defined]
    for name in ("_add_reader", "_add_writer"):
        setattr(loop, name, watching(getattr(loop, name)))
    for name in ("_remove_reader", "_remove_writer"):
        setattr(loop, name, forgetting(getattr(loop, name)))


if sys.argv and os.path.basename(sys.argv[0]) == "tiffind":
    _install()
