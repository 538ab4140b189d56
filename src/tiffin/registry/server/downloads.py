"""Blobs that come from an upstream registry: one download for all who want it, served while it comes.

What has come survives a broken connection and a killed process (`content/partials`). Nobody is sent the last byte of a
blob before the whole has been verified.
"""

import threading
from collections.abc import Callable

from tiffin.content.blobs import CHUNK, BlobStore
from tiffin.content.partials import Partial
from tiffin.errors import Internal, TiffinError
from tiffin.model.digest import Digest
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.repository import Repository


class Download:
    """size: bytes of the blob. `beyond` and `read` are for those who follow; `run` is the thread that fetches."""

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
        self._partial = Partial(workspace, digest, size)
        self._error: TiffinError | None = None
        self._verified = False

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
        return self.size if self._verified else min(self._partial.size, self.size - 1)

    def duplicate(self) -> int:
        """A descriptor of the file, the caller's to close."""
        return self._partial.duplicate()

    def run(self, done: Callable[[], None], received: Callable[[int], None]) -> None:
        """Fetch, verify, hand over: `done` makes the file a blob of the registry. Never raises."""
        try:
            while not self._partial.complete:
                self._fetch(received)
            with self._workspace.lease() as lease:
                self._partial.commit(lease)
                done()
            self._verified = True
        except TiffinError as error:
            self._error = error
        except OSError as error:
            self._error = Internal(f"blob {self.digest}: {error}")
        finally:
            self._changed()

    def close(self) -> None:
        """When nobody begins to follow any more. Those who do have descriptors of their own."""
        self._partial.close()

    def _fetch(self, received: Callable[[int], None]) -> None:
        answer, begins = self._repository.blob(self.digest, self._partial.size, self._cancellation)
        with answer:
            if begins != self._partial.size:
                skipped = self._partial.size
                while skipped and (data := answer.read(min(CHUNK, skipped))):
                    skipped -= len(data)
            while data := answer.read():
                self._partial.write(data)
                received(len(data))
                self._changed()
        if not self._partial.complete:
            raise Internal(f"blob {self.digest}: upstream has sent {self._partial.size} of {self.size} bytes")

    def _changed(self) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for changed in watchers:
            changed()
