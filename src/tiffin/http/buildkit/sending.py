"""Sending what was made to the client: a directory by fsutil's packets, or one file, over FileSend/DiffCopy.

Source: tonistiigi/fsutil send.go; moby/buildkit session/filesync (the metadata's names).
"""

from __future__ import annotations

import asyncio
import io
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from time import time_ns
from typing import IO, Any

from tiffin.errors import Invalid, Unsupported
from tiffin.http.buildkit.filesync import DATA, FAILED, FINISHED, REQUEST, STAT
from tiffin.http.buildkit.sessions import Session
from tiffin.http.buildkit.threads import in_thread
from tiffin.linux import paths
from tiffin.wire.buildkit import message
from tiffin.wire.grpc.status import StatusError
from tiffin.wire.grpc.stream import Metadata, Stream

_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
_EXPORTER = "buildkit-attachable-exporter-id"
_CHUNK = 32 << 10
_PIECE = 1 << 20
_BATCH = 256
_DIRECTORY, _SYMLINK, _DEVICE, _FIFO, _CHARACTER = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 21
_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def _begin(session: Session, exporter: int, metadata: Metadata) -> Stream:
    if not session.serves(_SEND):
        raise Unsupported("the client takes no files: it has not announced FileSend")
    return session.call(_SEND, [(_EXPORTER, str(exporter)), *metadata])


async def send_file(session: Session, exporter: int, pieces: Iterator[bytes], metadata: Metadata) -> int:
    """One file, such as a tar; the bytes sent. `pieces` is read in threads. Raises Invalid as the client says."""
    stream = _begin(session, exporter, metadata)
    kind = message("moby.filesync.v1.BytesMessage")
    size = 0
    try:
        async for piece in _gathered(pieces):
            await stream.send(kind(data=piece).SerializeToString())
            size += len(piece)
        await stream.end()
        while await stream.receive() is not None:
            pass
    except StatusError as error:
        raise Invalid(f"failed to send the result to the client: {error.message}") from error
    finally:
        stream.cancel()
    return size


async def _gathered(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def gather() -> bytes:
        buffer = bytearray()
        for piece in pieces:
            buffer += piece
            if len(buffer) >= _PIECE:
                break
        return bytes(buffer)

    while data := await in_thread(gather):
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]


async def send_tree(
    session: Session, exporter: int, root: int, folder: bytes = b"", beside: Mapping[bytes, bytes] | None = None
) -> None:
    """All that is in a directory, and files of our own beside it, by name. Raises Invalid as the client says.

    folder: where on the client it goes; a name of one part.
    """
    stream = _begin(session, exporter, [])
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    sender = Sender(directory, folder, beside or {})
    tasks = [asyncio.ensure_future(work) for work in (_list(stream, sender), _serve(stream, sender))]
    try:
        # neither can go on when the other has failed
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    except StatusError as error:
        raise Invalid(f"failed to send the result to the client: {error.message}") from error
    finally:
        stream.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        os.close(directory)


async def _list(stream: Stream, sender: Sender) -> None:
    entries = sender.entries()
    while batch := await in_thread(_some, entries):
        for packet in batch:
            await stream.send(packet)
    await stream.send(message("fsutil.types.Packet")(type=STAT).SerializeToString())


def _some(entries: Iterator[bytes]) -> list[bytes]:
    found = []
    for packet in entries:
        found.append(packet)
        if len(found) == _BATCH:
            break
    return found


async def _serve(stream: Stream, sender: Sender) -> None:
    packet_type = message("fsutil.types.Packet")
    async for data in stream:
        packet = packet_type.FromString(data)
        if packet.type == REQUEST:
            pieces = sender.content(packet.ID)
            while batch := await in_thread(_some, pieces):
                for piece in batch:
                    await stream.send(piece)
        elif packet.type == FINISHED:
            await stream.send(packet_type(type=FINISHED).SerializeToString())
            await stream.end()
        elif packet.type == FAILED:
            raise Invalid(f"error from receiver: {packet.data.decode('utf-8', 'replace')}")


class Sender:
    """One directory's packets. Blocks."""

    def __init__(self, root: int, folder: bytes, beside: Mapping[bytes, bytes]) -> None:
        self._root = root
        self._folder = folder
        self._beside = beside
        self._packet = message("fsutil.types.Packet")
        self._files: dict[int, bytes] = {}
        self._names: dict[tuple[int, int], bytes] = {}
        self._index = 0

    def entries(self) -> Iterator[bytes]:
        """A STAT for each entry: directories before what they hold, names in the order of their bytes."""
        if self._folder:
            yield self._own(b"", stat.S_IFDIR | 0o755)
        yield from self._directory(self._root, b"", self._beside)

    def _directory(self, directory: int, path: bytes, beside: Mapping[bytes, bytes]) -> Iterator[bytes]:
        for name in sorted({*map(os.fsencode, os.listdir(directory)), *beside}):
            if name in beside:
                yield self._own(name, stat.S_IFREG | 0o600, len(beside[name]))
                continue
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISSOCK(status.st_mode):
                continue
            inner = path + b"/" + name if path else name
            yield self._entry(directory, name, inner, status)
            if stat.S_ISDIR(status.st_mode):
                descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                try:
                    yield from self._directory(descriptor, inner, {})
                finally:
                    os.close(descriptor)

    def _sent(self, path: bytes) -> str:
        """A path as the client gets it."""
        return b"/".join(filter(None, (self._folder, path))).decode("utf-8", "replace")

    def _own(self, name: bytes, mode: int, size: int = 0) -> bytes:
        """Something that is not in the root."""
        packet = self._packet(type=STAT)
        packet.stat.path, packet.stat.mode, packet.stat.size = self._sent(name), go_mode(mode), size
        packet.stat.modTime = time_ns()
        if stat.S_ISREG(mode):
            self._files[self._index] = name
        self._index += 1
        return bytes(packet.SerializeToString())

    def _entry(self, directory: int, name: bytes, path: bytes, status: os.stat_result) -> bytes:
        packet = self._packet(type=STAT)
        entry = packet.stat
        entry.path = self._sent(path)
        entry.mode = go_mode(status.st_mode)
        entry.uid, entry.gid, entry.modTime = status.st_uid, status.st_gid, status.st_mtime_ns
        if stat.S_ISREG(status.st_mode):
            first = self._names.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                entry.linkname = self._sent(first)
            else:
                entry.size = status.st_size
                self._files[self._index] = path
        elif stat.S_ISLNK(status.st_mode):
            entry.linkname = os.readlink(name, dir_fd=directory).decode("utf-8", "replace")
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        self._index += 1
        return bytes(packet.SerializeToString())

    def content(self, index: int) -> Iterator[bytes]:
        """The DATA packets of a listed file, the last of them empty. Raises Invalid."""
        path = self._files.get(index)
        if path is None:
            raise Invalid(f"invalid file id {index}")
        with self._opened(path) as file:
            while data := file.read(_CHUNK):
                yield self._packet(type=DATA, ID=index, data=data).SerializeToString()
        yield self._packet(type=DATA, ID=index).SerializeToString()

    def _opened(self, path: bytes) -> IO[bytes]:
        if path in self._beside:
            return io.BytesIO(self._beside[path])
        descriptor = paths.open_beneath(self._root, path, os.O_RDONLY | os.O_NONBLOCK)
        return os.fdopen(descriptor, "rb", buffering=0)


def go_mode(mode: int) -> int:
    """Go's io/fs.FileMode of a st_mode."""
    kinds: dict[int, int] = {
        stat.S_IFDIR: _DIRECTORY,
        stat.S_IFLNK: _SYMLINK,
        stat.S_IFIFO: _FIFO,
        stat.S_IFBLK: _DEVICE,
        stat.S_IFCHR: _DEVICE | _CHARACTER,
    }
    special = sum(bit for ours, bit in _BITS if mode & ours)
    return mode & 0o777 | kinds.get(stat.S_IFMT(mode), 0) | special


def entry_of(name: str, status: os.stat_result, link: str = "") -> Any:
    """A fsutil Stat, for LLBBridge's StatFile and ReadDir."""
    return message("fsutil.types.Stat")(
        path=name,
        mode=go_mode(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size,
        modTime=status.st_mtime_ns,
        linkname=link,
    )
