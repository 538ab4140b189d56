"""A repository of a registry as a place for a build's cache."""

from __future__ import annotations

import asyncio
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
from tiffin.registry.failures import Busy, Unreachable
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
        loop = asyncio.get_running_loop()

        def fetch(cancellation: Cancellation) -> None:
            def tell(size: int) -> None:
                loop.call_soon_threadsafe(told, size)

            first(self._origins, lambda repository: self._fetched(repository, blob, writer, tell, cancellation))

        await self._transfers.asked(fetch)

    def _fetched(
        self,
        repository: Repository,
        blob: Descriptor,
        writer: BlobWriter,
        told: Callable[[int], None],
        cancellation: Cancellation,
    ) -> bool:
        for attempt in range(_ATTEMPTS):
            before = writer.size
            try:
                self._read_on(repository, blob, writer, told, cancellation)
                return True
            except (Unreachable, Busy):
                if attempt == _ATTEMPTS - 1 and writer.size == before:
                    raise
                cancellation.wait(self._transfers.registries.retries.delay(attempt))
        raise Unreachable(f"blob {blob.digest}: broken off after {writer.size} bytes, {_ATTEMPTS} times")

    def _read_on(
        self,
        repository: Repository,
        blob: Descriptor,
        writer: BlobWriter,
        told: Callable[[int], None],
        cancellation: Cancellation,
    ) -> None:
        answer, begins = repository.blob(blob.digest, writer.size, cancellation)
        with answer:
            skip = writer.size - begins
            while data := answer.read(_CHUNK):
                cancellation.check()
                dropped = min(skip, len(data))
                skip -= dropped
                writer.write(data[dropped:])
                if writer.size > blob.size:
                    raise Invalid(f"blob {blob.digest}: more than the {blob.size} bytes that were promised")
                told(writer.size)

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
