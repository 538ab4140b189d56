"""A directory of the client's as a place for caches: containerd.services.content.v1, served over the session.

Source: containerd's api/services/content/v1/content.proto and what its server does; moby/buildkit session/content.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

from tiffin.content.blobs import BlobWriter
from tiffin.errors import Invalid, NotFound, Unavailable
from tiffin.http.buildkit.sessions import Session
from tiffin.http.buildkit.threads import in_thread
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest
from tiffin.wire.buildkit import message, parse
from tiffin.wire.grpc.status import Code, StatusError
from tiffin.wire.grpc.stream import Stream

_PACKAGE = "containerd.services.content.v1."
_SERVICE = f"/{_PACKAGE}Content/"
_ID = "buildkit-attachable-store-id"
_WRITE, _COMMIT = 1, 2
_PIECE = 1 << 20  # bytes of a message: Go's servers take 4 MiB
_BATCH = 64


class SessionStore:
    """Implements `build.solve.request.CacheStore`. id: as the client calls it, `local:PATH`."""

    def __init__(self, session: Session, id: str) -> None:
        if not session.serves(_SERVICE + "Info"):
            raise Invalid("the client offers no directory: it has not announced a content store")
        self._session, self._id = session, id

    def _call(self, method: str) -> Stream:
        return self._session.call(_SERVICE + method, [(_ID, self._id)])

    async def _size(self, blob: Digest) -> int | None:
        stream = self._call("Info")
        try:
            await stream.send(message(_PACKAGE + "InfoRequest")(digest=blob).SerializeToString())
            await stream.end()
            return int(parse(_PACKAGE + "InfoResponse", await stream.receive_one()).info.size)
        except StatusError as error:
            if error.code == Code.NOT_FOUND:
                return None
            raise _translated(error, blob) from error
        finally:
            stream.cancel()

    async def has(self, blob: Digest) -> bool:
        return await self._size(blob) is not None

    async def read(self, blob: Digest, most: int) -> bytes:
        data = bytearray()

        async def take(piece: bytes) -> None:
            data.extend(piece)

        await self._read(blob, most, take)
        return bytes(data)

    async def fetch(self, blob: Descriptor, writer: BlobWriter, told: Callable[[int], None]) -> None:
        async def take(piece: bytes) -> None:
            await in_thread(writer.write, piece)
            told(writer.size)

        await self._read(blob.digest, blob.size, take)

    async def _read(self, blob: Digest, most: int, take: Callable[[bytes], Any]) -> None:
        stream = self._call("Read")
        size = 0
        try:
            await stream.send(message(_PACKAGE + "ReadContentRequest")(digest=blob).SerializeToString())
            await stream.end()
            while arrived := await stream.receive_many(_BATCH):
                piece = b"".join(parse(_PACKAGE + "ReadContentResponse", one).data for one in arrived)
                size += len(piece)
                if size > most:
                    raise Invalid(f"blob {blob}: more than {most} bytes")
                await take(piece)
        except StatusError as error:
            raise _translated(error, blob) from error
        finally:
            stream.cancel()

    async def put(self, blob: Descriptor, opened: Callable[[], IO[bytes]]) -> None:
        file = await in_thread(opened)
        stream = self._call("Write")
        try:
            await self._write(stream, blob, file)
        except StatusError as error:
            if error.code != Code.ALREADY_EXISTS:
                raise _translated(error, blob.digest) from error
        finally:
            stream.cancel()
            file.close()

    async def _write(self, stream: Stream, blob: Descriptor, file: IO[bytes]) -> None:
        """Each message is answered before the next one is sent, as containerd's own writer has it."""
        kind = message(_PACKAGE + "WriteContentRequest")
        ref, offset = f"tiffin-{blob.digest}", 0
        while piece := await in_thread(file.read, _PIECE):
            request = kind(action=_WRITE, ref=ref, total=blob.size, expected=blob.digest, offset=offset, data=piece)
            await stream.send(request.SerializeToString())
            if await stream.receive() is None:
                raise Invalid(f"blob {blob.digest}: the client stopped to take it")
            offset += len(piece)
        request = kind(action=_COMMIT, ref=ref, total=blob.size, expected=blob.digest, offset=offset)
        await stream.send(request.SerializeToString())
        await stream.end()
        while await stream.receive() is not None:
            pass


def _translated(error: StatusError, blob: Digest) -> Exception:
    if error.code == Code.NOT_FOUND:
        return NotFound(error.message or f"blob {blob}: the client has none")
    if error.code in (Code.UNAVAILABLE, Code.CANCELLED):
        return Unavailable(f"blob {blob}: the client is gone: {error.message}")
    return Invalid(f"blob {blob}: the client's store says: {error.message}")
