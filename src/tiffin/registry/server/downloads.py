"""Blobs that come from an upstream registry: one download for all who want it, served while it comes.

What has come survives a broken connection and a killed process (`content/partials`). Nobody is sent the last byte of a
blob before the whole has been verified.
"""

import os
import threading
from collections.abc import Callable

from tiffin.content.blobs import CHUNK, BlobStore
from tiffin.content.partials import Partial
from tiffin.errors import Internal, TiffinError
from tiffin.model.digest import Digest
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.repository import Repository


class Download:
    """size: bytes of the blob. `run` is the thread that fetches; whoever follows does so between `join` and `leave`."""

    def __init__(
        self, repository: Repository, digest: Digest, size: int, workspace: BlobStore, cancellation: Cancellation
    ) -> None:
        self.digest = digest
        self.size = size
        self._repository = repository
        self._workspace = workspace
        self._cancellation = cancellation
        self._lock = threading.Lock()
        self._watchers: set[Callable[[], None]] = set()
        self._holders = 1  # the thread
        self._fd = -1
        self._partial: Partial | None = None
        self._error: TiffinError | None = None
        self._verified = False

    def join(self) -> None:
        """Keep the file open until `leave`."""
        with self._lock:
            self._holders += 1

    def leave(self) -> None:
        with self._lock:
            self._holders -= 1
            last = not self._holders
        if last and self._fd >= 0:
            os.close(self._fd)

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from the fetching thread, whenever more is there or it has ended."""
        with self._lock:
            self._watchers.add(changed)

    def unwatch(self, changed: Callable[[], None]) -> None:
        with self._lock:
            self._watchers.discard(changed)

    def available(self) -> int:
        """Bytes that may be sent. Raises what ended the download."""
        if self._error is not None:
            raise self._error
        if self._verified:
            return self.size
        return 0 if self._partial is None else min(self._partial.size, self.size - 1)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes that are available."""
        return os.pread(self._fd, size, offset)

    def run(self, done: Callable[[], None], received: Callable[[int], None], over: Callable[[], None]) -> None:
        """Fetch, verify, hand over: `done` makes the file a blob of the registry. Never raises.

        `over` is called before anybody can know how it ended: who asks again because it failed is to get another.
        """
        error: TiffinError | None = Internal(f"blob {self.digest}: the download was broken off")
        try:
            # hashes what an earlier attempt has left, which may take its time
            partial = Partial(self._workspace, self.digest, self.size)
            self._fd, self._partial = partial.duplicate(), partial
            while not partial.complete:
                self._fetch(partial, received)
            with self._workspace.lease() as lease:
                partial.commit(lease)
                done()
            error = None
        except TiffinError as failure:
            error = failure
        except OSError as failure:
            error = Internal(f"blob {self.digest}: {failure}")
        finally:
            if self._partial is not None:
                self._partial.close()
            over()
            self._error, self._verified = error, error is None
            self._changed()

    def _fetch(self, partial: Partial, received: Callable[[int], None]) -> None:
        answer, begins = self._repository.blob(self.digest, partial.size, self._cancellation)
        with answer:
            if begins != partial.size:
                skipped = partial.size
                while skipped and (data := answer.read(min(CHUNK, skipped))):
                    skipped -= len(data)
            while data := answer.read():
                partial.write(data)
                received(len(data))
                self._changed()
        if not partial.complete:
            raise Internal(f"blob {self.digest}: upstream has sent {partial.size} of {self.size} bytes")

    def _changed(self) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for changed in watchers:
            changed()
