"""What a container said: read from its log files, followed while it speaks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from tiffin.containers import logfiles
from tiffin.containers.logfiles import Entry, Part
from tiffin.engine.container_context import Context
from tiffin.engine.container_start import log_file
from tiffin.errors import Invalid, Unsupported
from tiffin.linux import inotify
from tiffin.model.container import Container


@dataclass(frozen=True, slots=True)
class Asked:
    """GET …/logs. Times in nanoseconds since the epoch, 0: no bound; `tail` -1: all."""

    stdout: bool = False
    stderr: bool = False
    follow: bool = False
    since: int = 0
    until: int = 0
    timestamps: bool = False
    details: bool = False
    tail: int = -1


class Logs:
    def __init__(self, context: Context) -> None:
        self._context = context

    def check(self, reference: str, asked: Asked) -> Container:
        """Raises NotFound, Invalid, Unsupported before anything is sent."""
        container = self._context.records.find(reference)
        if not asked.stdout and not asked.stderr:
            raise Invalid("Bad parameters: you must choose at least one stream")
        if container.host.log_config.type == "none":
            raise Unsupported("configured logging driver does not support reading")
        return container

    def replay(self, container: Container, wanted: Any, framed: bool) -> AsyncGenerator[bytes, None]:
        """For an attach that asks for what was said before."""
        return self.read(container, Asked(stdout=wanted.stdout, stderr=wanted.stderr), framed)

    async def read(self, container: Container, asked: Asked, framed: bool) -> AsyncGenerator[bytes, None]:
        """The log as the API sends it: frames, or raw for a container with a terminal. Pieces of about 64 KiB."""
        path = log_file(self._context, container)
        render = Renderer(asked, framed)
        runs = self._context.live(container.id).process is not None
        follower = _Follower(self._context, container, path) if asked.follow and runs else None
        log = logfiles.parts(path)
        try:
            if asked.tail >= 0:
                log = logfiles.seek_tail(log, asked.tail)
            while log:
                part = log[0]
                for lines in logfiles.blocks(part.file):
                    if piece := render(lines):
                        yield piece
                    if render.done:
                        return
                if len(log) == 1:
                    break
                log.pop(0).close()
            if follower is None:
                return
            async for lines in follower.lines(log.pop() if log else None):
                if piece := render(lines):
                    yield piece
                if render.done:
                    return
        finally:
            for part in log:
                part.close()
            if follower is not None:
                follower.close()


class Renderer:
    """Lines of the file to bytes for the client. `done` when the time asked for is past."""

    def __init__(self, asked: Asked, framed: bool) -> None:
        self._asked = asked
        self._framed = framed
        self._plain = not (asked.since or asked.until or asked.timestamps or asked.details)
        self.done = False

    def __call__(self, lines: list[bytes]) -> bytes:
        asked = self._asked
        out: list[bytes] = []
        decode = logfiles.decode
        for line in lines:
            entry = decode(line)
            if entry is None or not (asked.stderr if entry.stream == "stderr" else asked.stdout):
                continue
            if self._plain:
                data = entry.log.encode("utf-8", "surrogateescape")
            elif (found := self._decorated(entry)) is not None:
                data = found
            else:
                if self.done:
                    break
                continue
            if self._framed:
                out.append(_HEADERS[entry.stream == "stderr"] + len(data).to_bytes(4, "big"))
            out.append(data)
        return b"".join(out)

    def _decorated(self, entry: Entry) -> bytes | None:
        asked = self._asked
        if asked.since or asked.until:
            moment = logfiles.nanoseconds(entry.time)
            if asked.since and moment < asked.since:
                return None
            if asked.until and moment > asked.until:
                self.done = True
                return None
        text = entry.log
        if asked.details:
            pairs = sorted((entry.attrs or {}).items())
            text = ",".join(f"{_quoted(key)}={_quoted(value)}" for key, value in pairs) + " " + text
        if asked.timestamps:
            text = f"{_full(entry.time)} {text}"
        return text.encode("utf-8", "surrogateescape")


_HEADERS = (b"\x01\0\0\0", b"\x02\0\0\0")


def _full(time: str) -> str:
    """With all nine digits, as docker prints timestamps."""
    whole, _, fraction = time.rstrip("Z").partition(".")
    return f"{whole}.{fraction.ljust(9, '0')}Z"


def _quoted(text: str) -> str:
    return quote_plus(text)


class _Follower:
    """New lines of a log, across rotations, until the container has ended and everything is read."""

    def __init__(self, context: Context, container: Container, path: str) -> None:
        self._context = context
        self._id = container.id
        self._path = path
        self._watch = inotify.Watch(os.path.dirname(path))
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._watch.fileno(), self._note)

    def _note(self) -> None:
        self._watch.drain()
        self._changed.set()

    def close(self) -> None:
        self._loop.remove_reader(self._watch.fileno())
        self._watch.close()

    async def lines(self, part: Part | None) -> AsyncIterator[list[bytes]]:
        """From where the part stands; it is closed here."""
        waiting: list[Part] = []
        try:
            while True:
                self._changed.clear()
                ended = self._ended()
                if part is None:
                    part = self._open()
                if part is not None:
                    replaced = _is_replaced(part, self._path)
                    for lines in logfiles.blocks(part.file):
                        yield lines
                    if replaced:
                        # renamed before it was read to its end: nothing more comes here, but maybe several after it
                        waiting = waiting or logfiles.parts(self._path, after=part.inode)
                        part.close()
                        part = waiting.pop(0) if waiting else None
                        continue
                    if os.fstat(part.file.fileno()).st_size < part.file.tell():
                        part.file.seek(0)  # truncated: a log of a single file begins anew
                        continue
                if ended:
                    return
                await self._wait()
        finally:
            for one in (*waiting, *([part] if part else ())):
                one.close()

    def _open(self) -> Part | None:
        try:
            return logfiles.opened(self._path)
        except FileNotFoundError:
            return None

    def _ended(self) -> bool:
        return self._id not in self._context.records or self._context.live(self._id).process is None

    async def _wait(self) -> None:
        live = self._context.live(self._id)
        if live.process is None:
            return
        changed, ended = asyncio.ensure_future(self._changed.wait()), asyncio.ensure_future(live.ended.wait())
        try:
            await asyncio.wait((changed, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            ended.cancel()


def _is_replaced(part: Part, path: str) -> bool:
    try:
        return part.inode != os.stat(path).st_ino
    except FileNotFoundError:
        return False
