"""Where a registry keeps what it has: blobs by digest, and small documents by key.

Keys are paths of checked names (`repositories/a/b/_tags/latest`); components that begin with `_` can't be part of a
repository's name. Nothing is changed in place: a document is replaced whole, a blob appears whole or not at all.
Methods block, are called from any thread, and raise Unavailable where the storage fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tiffin.model.digest import Digest


@dataclass(frozen=True, slots=True)
class Held:
    """A blob in the storage. modified: seconds since the epoch."""

    digest: Digest
    size: int
    modified: float


class Storage(Protocol):
    def get(self, key: str) -> bytes | None:
        """A document, None where there is none."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write or replace a document; it is durable when this returns."""
        ...

    def delete(self, key: str) -> bool:
        """Remove a document; whether it was there."""
        ...

    def children(self, prefix: str, after: str = "") -> Iterator[str]:
        """Names of the documents directly below a prefix, in the order of their bytes, those behind `after`."""
        ...

    def modified(self, key: str) -> float:
        """When a document was written, in seconds since the epoch; now where it is not there."""
        ...

    def blob_size(self, digest: Digest) -> int | None:
        """Bytes of a blob, None where there is none."""
        ...

    def open(self, digest: Digest) -> BinaryIO | None:
        """A blob as a file of this machine; None where the storage has no files, see `pieces`. NotFound without."""
        ...

    def pieces(self, digest: Digest, offset: int, length: int) -> Iterator[bytes]:
        """A part of a blob. NotFound where there is none."""
        ...

    def take(self, path: Path, digest: Digest) -> None:
        """Make a verified file of the working directory the blob. Durable when this returns; the file is gone."""
        ...

    def blobs(self) -> Iterator[Held]:
        """Every blob."""
        ...

    def drop(self, digest: Digest) -> None:
        """Remove a blob."""
        ...
