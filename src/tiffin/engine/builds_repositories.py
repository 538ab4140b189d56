"""A repository of a registry as a place for a build's cache."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from tiffin.content.blobs import BlobWriter
from tiffin.engine.transfers import Transfers
from tiffin.errors import Invalid
from tiffin.images.origins import Opened, first
from tiffin.model.descriptor import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from tiffin.model.digest import Digest
from tiffin.model.reference import Reference
from tiffin.registry import uploads
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import Credentials
from tiffin.registry.failures import Busy, Cancelled, Unreachable
from tiffin.registry.repository import Document, Repository

_CHUNK = 1 << 18
_ATTEMPTS = 3


class Repositories:
    """Makes a place of a reference."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    def place(self, reference: Reference, credentials: Credentials) -> CacheRepository:
        return CacheRepository(self._transfers, reference.with_default_tag(), credentials)


class CacheRepository:
    """Implements `build.solve.request.CacheStore`. Reads from mirrors first, as a pull does; writes to the registry."""

    def __init__(self, transfers: Transfers, reference: Reference, credentials: Credentials) -> None:
        self._transfers = transfers
        self._reference, self._credentials = reference, credentials
        self._cancellation = Cancellation()
        self._origins = Opened(transfers.registries.reading(reference, credentials, self._cancellation))
        self._target: Repository | None = None

    async def manifest(self) -> Document:
        """What the reference names. Raises NotFound in docker's words, Unreachable."""
        wanted = self._reference.digest or self._reference.tag or "latest"
        return await self._transfers.asked(
            lambda _: first(self._origins, lambda repository: repository.manifest(wanted), self._reference)
        )

    def at(self, digest: Digest) -> CacheRepository:
        """The same repository, by digest."""
        reference = replace(self._reference, tag=None, digest=digest)
        return CacheRepository(self._transfers, reference, self._credentials)

    async def read(self, blob: Digest, most: int) -> bytes:
        def ask(repository: Repository) -> bytes:
            answer, _ = repository.blob(blob, 0, self._cancellation)
            with answer:
                return answer.body(most)

        return await self._transfers.asked(lambda _: first(self._origins, ask))

    async def fetch(self, blob: Descriptor, writer: BlobWriter, told: Callable[[int], None]) -> None:
        target = _Target(blob, writer, told)

        def fetch(cancellation: Cancellation) -> None:
            first(self._origins, lambda repository: self._fetched(repository, target, cancellation))

        try:
            await self._transfers.asked(fetch)
        finally:
            target.close()

    def _fetched(self, repository: Repository, target: _Target, cancellation: Cancellation) -> bool:
        for attempt in range(_ATTEMPTS):
            try:
                answer, begins = repository.blob(target.blob.digest, target.size, cancellation)
                with answer:
                    skip = target.size - begins  # what is here already, of a server that knows no ranges
                    while data := answer.read(_CHUNK):
                        dropped = min(skip, len(data))
                        skip -= dropped
                        target.write(data[dropped:])
                return True
            except (Unreachable, Busy):
                if attempt == _ATTEMPTS - 1:
                    raise
                cancellation.wait(self._transfers.registries.retries.delay(attempt))
        raise AssertionError

    async def has(self, blob: Digest) -> bool:
        return await self._transfers.asked(lambda _: self._writing().has_blob(blob) is not None)

    async def put(self, blob: Descriptor, opened: Callable[[], BinaryIO]) -> None:
        """A manifest, by its media type, gets the reference's tag."""

        def put(cancellation: Cancellation) -> None:
            if blob.media_type in MANIFEST_TYPES | INDEX_TYPES:
                with opened() as file:
                    tag = self._reference.tag or blob.digest
                    self._writing().put_manifest(tag, file.read(), blob.media_type)
            else:
                uploads.upload(
                    self._writing(), blob.digest, opened, blob.size, lambda _: cancellation.check(), cancellation
                )

        await self._transfers.asked(put)

    def _writing(self) -> Repository:
        if self._target is None:
            reference = replace(self._reference, digest=None)
            self._target = self._transfers.registries.writing(reference, self._credentials, self._cancellation)
        return self._target


class _Target:
    """Where a transfer's thread writes to. A thread that nobody waits for any more writes nothing."""

    def __init__(self, blob: Descriptor, writer: BlobWriter, told: Callable[[int], None]) -> None:
        self.blob = blob
        self._writer, self._told = writer, told
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def size(self) -> int:
        return self._writer.size

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._closed:
                raise Cancelled
            self._writer.write(data)
        if self.size > self.blob.size:
            raise Invalid(f"blob {self.blob.digest}: more than the {self.blob.size} bytes that were promised")
        self._loop.call_soon_threadsafe(self._told, self.size)

    def close(self) -> None:
        with self._lock:
            self._closed = True
