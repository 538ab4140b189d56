"""Blobs that have come in part: kept under `partial/<hex>` over a broken connection and a killed daemon.

Bytes are only ever appended, so that a reader may follow while they come (`Following`).
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from tiffin.content import crash
from tiffin.content.blobs import CHUNK, BlobStore, Lease, require_free_space, sync_directory
from tiffin.errors import Invalid
from tiffin.linux import disk
from tiffin.model.digest import Digest, hex_of

_KEPT_SECONDS = 7 * 24 * 3600
_CHECK_EVERY = 32 << 20


def directory(store: BlobStore) -> Path:
    return store.root / "partial"


def expire(store: BlobStore, seconds: float = _KEPT_SECONDS, keep: Collection[Digest] = ()) -> int:
    """Remove what nobody has gone on with for so long; the bytes freed."""
    kept = {hex_of(digest) for digest in keep}
    freed = 0
    try:
        found = list(directory(store).iterdir())
    except FileNotFoundError:
        return 0
    for path in found:
        status = path.stat()
        if path.name not in kept and time.time() - status.st_mtime >= seconds:
            path.unlink(missing_ok=True)
            freed += status.st_blocks * 512
    return freed


def discard(store: BlobStore, digest: Digest) -> None:
    """Keep nothing of a blob; nobody may be writing it."""
    (directory(store) / hex_of(digest)).unlink(missing_ok=True)


class Partial:
    """One blob that is being fetched, by one writer. size: bytes that are there, those of earlier attempts included."""

    def __init__(self, store: BlobStore, digest: Digest, expected: int) -> None:
        self.digest = digest
        self.expected = expected
        self._store = store
        self.path = directory(store) / hex_of(digest)
        self.path.parent.mkdir(mode=0o710, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        self._hash = hashlib.sha256()
        self._changed = threading.Condition()
        self._done = False
        self._error: BaseException | None = None
        self._next_check = 0
        self._early = disk.Early()
        self.size = 0
        self._take_over()
        self.resumed = self.size

    def _take_over(self) -> None:
        if os.fstat(self._fd).st_size > self.expected:
            os.ftruncate(self._fd, 0)
        while data := os.pread(self._fd, CHUNK, self.size):
            self._hash.update(data)
            self.size += len(data)

    def write(self, data: bytes) -> None:
        """Append. Invalid beyond the size that was promised, Unavailable without space."""
        if self.size + len(data) > self.expected:
            raise Invalid(f"blob {self.digest}: more than the {self.expected} bytes that were promised")
        if self.size >= self._next_check:
            require_free_space(self._store.root)
            self._next_check = self.size + _CHECK_EVERY
        self._hash.update(data)
        view, at = memoryview(data), self.size
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        self._early.written(self._fd, at)
        with self._changed:
            self.size += len(data)
            self._changed.notify_all()

    @property
    def complete(self) -> bool:
        return self.size == self.expected

    def commit(self, lease: Lease) -> None:
        """Verified, durable, in the store. Invalid where the content is another: then nothing of it is kept."""
        found = Digest("sha256:" + self._hash.hexdigest())
        if not self.complete or found != self.digest:
            self.discard()
            raise Invalid(
                f"filesystem layer verification failed for digest {self.digest}: "
                f"{self.size} bytes with digest {found} have come, {self.expected} were promised"
            )
        self._store.lease_blob(lease, self.digest)
        crash.point("partial-complete")
        os.fsync(self._fd)
        os.rename(self.path, self._store.path(self.digest))
        crash.point("partial-renamed")
        sync_directory(self._store.path(self.digest).parent)
        self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Tell whoever follows that no more comes: all of it is there, or why not."""
        with self._changed:
            if not self._done:
                self._done, self._error = True, error
                self._changed.notify_all()

    def discard(self) -> None:
        """Keep nothing for a later attempt."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._fd)

    def read_at(self, fd: int, offset: int, size: int, check: Callable[[], None]) -> bytes:
        """Bytes as they come; b"" only after the whole has been verified. Raises what ended the download."""
        with self._changed:
            while self.size <= offset and not self._done:
                check()
                self._changed.wait()
            if self._error is not None:
                raise self._error
            there = self.size - offset
        return os.pread(fd, min(size, there), offset) if there > 0 else b""

    def wake(self) -> None:
        """Have everyone who waits for more look at their own affairs."""
        with self._changed:
            self._changed.notify_all()

    def duplicate(self) -> int:
        return os.dup(self._fd)


class Following:
    """A partial blob as a stream, from its beginning. check: raises when the reader should end; see `Partial.wake`."""

    def __init__(self, partial: Partial, check: Callable[[], None]) -> None:
        self._partial = partial
        self._check = check
        self._fd = partial.duplicate()
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        self._check()
        data = self._partial.read_at(self._fd, self._at, size, self._check)
        self._at += len(data)
        return data

    def close(self) -> None:
        os.close(self._fd)
