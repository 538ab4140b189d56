"""A channel to a monitor, for asyncio."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from tiffin.runtime import channel

Reply = tuple[dict[str, Any], list[int]]


class Refused(Exception):
    """The monitor answered no; problem: step, errno, path (bytes), text."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("text"))
        self.problem = problem


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that came with a message."""
    for fd in descriptors:
        os.close(fd)


class Connection:
    """A channel to a monitor: requests with replies, and events."""

    def __init__(self, sock: socket.socket, event: Callable[[str, dict[str, Any], list[int]], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._event = event
        self._loop = asyncio.get_running_loop()
        self._serial = 0
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._unsent: list[tuple[channel.Message, tuple[int, ...]]] = []
        self.open = True
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        for _ in range(64):
            try:
                (serial, what, payload), attached = channel.receive(self._sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # told once, and before what it has said: it left without reading something of ours
            except OSError:
                return self.close()
            if serial == 0:
                self._event(str(what), payload, attached)
            elif serial in self._waiting:
                future = self._waiting.pop(serial)
                if future.cancelled():
                    close_all(attached)
                elif what:
                    future.set_result((payload, attached))
                else:
                    close_all(attached)
                    future.set_exception(Refused(payload))
            if not self.open:
                return

    def close(self) -> None:
        """Hang up."""
        if not self.open:
            return
        self.open = False
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Refused({"step": "monitor", "errno": 32, "path": b"", "text": "it went away"}))
        self._waiting.clear()
        for _, attach in self._unsent:
            close_all(attach)
        self._unsent.clear()
        self._event("closed", {}, [])

    def tell(self, verb: str, payload: dict[str, Any], attach: tuple[int, ...] = (), serial: int = 0) -> None:
        """Send without waiting for an answer. The descriptors are closed here."""
        if not self.open:
            return close_all(attach)
        self._unsent.append(((serial, verb, payload), attach))
        self._flush()

    def _flush(self) -> None:
        while self._unsent and self.open:
            message, attach = self._unsent[0]
            try:
                channel.send(self._sock, message, attach)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._flush)
                return
            except (BrokenPipeError, ConnectionResetError):
                # it has hung up: what it said before that is still to be read, and then its end
                for _, unsent in self._unsent:
                    close_all(unsent)
                self._unsent.clear()
                break
            except OSError:
                return self.close()
            self._unsent.pop(0)
            close_all(attach)
        if self.open:
            self._loop.remove_writer(self._sock.fileno())

    async def ask(self, verb: str, payload: dict[str, Any], attach: tuple[int, ...] = ()) -> Reply:
        """Send and wait for the answer: its payload and descriptors. Those to send are closed here. Raises Refused."""
        if not self.open:
            close_all(attach)
            raise Refused({"step": verb, "errno": 32, "path": b"", "text": "the monitor is gone"})
        self._serial += 1
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting[self._serial] = future
        self.tell(verb, payload, attach, self._serial)
        return await future
