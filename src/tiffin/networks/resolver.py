"""The name server of one container, at 127.0.0.11 in its network namespace, served by the daemon.

Its sockets were made inside (`doorway`). A second descriptor of them is kept by the container's monitor: what is asked
while a daemon restarts waits there for the next.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tiffin.networks import dns_message as dns
from tiffin.networks.upstreams import Forwarder

log = logging.getLogger(__name__)

_AT_ONCE = 256
"""Questions being forwarded; further ones are refused, as docker does."""
_BURST = 64  # datagrams before the loop sees to others
_CONNECTIONS = 64
_PATIENCE = 10.0  # seconds that a TCP client may be silent

Answer = Callable[[dns.Question, int], bytes | None]
"""Question and the limit of the answer's length to the answer, None for a name that is none of ours."""


class Resolver:
    """Made and closed on the event loop; owns the sockets."""

    def __init__(
        self,
        container: str,
        sockets: tuple[socket.socket, socket.socket],
        answer: Answer,
        forwards: Callable[[], bool],
        forwarder: Forwarder,
    ) -> None:
        """`forwards` says whether the container may ask beyond its networks at the moment."""
        self._container = container
        self._datagrams, self._listener = sockets
        self._answer = answer
        self._forwards = forwards
        self._forwarder = forwarder
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._forwarded = self._connections = 0
        loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.setblocking(False)
        loop.add_reader(self._datagrams, self._read)
        loop.add_reader(self._listener, self._accept)

    def pause(self) -> set[asyncio.Task[None]]:
        """Read no more questions; the work that answers those which were read. Others wait in the sockets."""
        loop = asyncio.get_running_loop()
        for sock in (self._datagrams, self._listener):
            loop.remove_reader(sock)
        return self._asking

    def close(self) -> None:
        """Answer no more."""
        self.pause()
        for sock in (self._datagrams, self._listener):
            sock.close()
        for task in self._tasks:
            task.cancel()
        self._forwarder.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _read(self) -> None:
        for _ in range(_BURST):
            try:
                data, client = self._datagrams.recvfrom(dns.LARGEST)
            except OSError:
                return
            question, reply = self._at_once(data, stream=False)
            if reply is not None:
                self._send(reply, client)
            elif question is not None:
                asking = self._start(self._forward(data, question, client))
                self._asking.add(asking)
                asking.add_done_callback(self._asking.discard)

    def _send(self, reply: bytes, client: Any) -> None:
        with contextlib.suppress(OSError):  # nobody waits for it any more, or reads nothing
            self._datagrams.sendto(reply, client)

    async def _forward(self, data: bytes, question: dns.Question, client: Any) -> None:
        self._send(await self._outside(data, question, stream=False), client)

    def _at_once(self, data: bytes, *, stream: bool) -> tuple[dns.Question | None, bytes | None]:
        """The question, and what needs no asking elsewhere. Neither: nothing is to be said."""
        try:
            question = dns.read(data)
        except dns.Malformed as error:
            return None, None if error.code is None else dns.refusal(data, error.code)
        limit = dns.LARGEST if stream else question.limit
        reply = self._answer(question, limit)
        if reply is not None:
            self._note(question, "answered", reply)
        elif not self._forwards() or not self._forwarder.upstreams:
            reply = dns.answer(question, code=dns.SERVFAIL, limit=limit)
            self._note(question, "not forwarded", reply)
        elif self._forwarded >= _AT_ONCE:
            reply = dns.answer(question, code=dns.REFUSED, limit=limit)
            self._note(question, "too many at once", reply)
        return question, reply

    async def _outside(self, data: bytes, question: dns.Question, *, stream: bool) -> bytes:
        self._forwarded += 1
        begun = time.monotonic()
        try:
            found = await self._forwarder.ask(data, question, stream=stream)
        finally:
            self._forwarded -= 1
        took = f"after {(time.monotonic() - begun) * 1000:.1f} ms"
        if found is None:
            reply = dns.answer(question, code=dns.SERVFAIL, limit=dns.MINIMUM)
            self._note(question, f"nobody knows {took}", reply)
            return reply
        reply, upstream = found
        self._note(question, f"{upstream.address} {'from the host ' if upstream.on_host else ''}{took}", reply)
        return reply

    def _note(self, question: dns.Question, how: str, reply: bytes) -> None:
        """The query log: one line a question, with the daemon's option --debug."""
        if log.isEnabledFor(logging.DEBUG):
            code = dns.code_of(reply)
            said = dns.CODES[code] if code < len(dns.CODES) else str(code)
            count = int.from_bytes(reply[6:8], "big")
            log.debug("query %s %s: %s, %d records (%s)", self._container, question, said, count, how)

    # over TCP

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if self._connections >= _CONNECTIONS:
            client.close()
            return
        self._start(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        self._connections += 1
        try:
            reader, writer = await asyncio.open_connection(sock=client)
            with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, TimeoutError):
                while True:
                    async with asyncio.timeout(_PATIENCE):
                        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                    question, reply = self._at_once(data, stream=True)
                    if reply is None:
                        if question is None:
                            break
                        reply = await self._outside(data, question, stream=True)
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    async with asyncio.timeout(_PATIENCE):
                        await writer.drain()
        finally:
            self._connections -= 1
