"""Storage in a directory: an OCI image layout for the blobs, files for the documents.

oci-layout, index.json, blobs/sha256/…, blobs/sha512/…     what others read as it lies
repositories/NAME/_tags, _manifests, _blobs, _referrers    documents
catalog/                                                   a name for each repository
uploads/, partial/, ingest/                                on its way in
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tiffin.content import crash
from tiffin.content.blobs import CHUNK, BlobStore, sync_directory
from tiffin.model.digest import Digest, hex_of
from tiffin.registry.server.names import ALGORITHMS, algorithm_of
from tiffin.registry.server.storage import Held

_ATTEMPTS = 100


class Blobs(BlobStore):
    """The blob store, with sha512 beside sha256."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for algorithm in ALGORITHMS:
            (root / "blobs" / algorithm).mkdir(mode=0o710, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        return self.root / "blobs" / algorithm_of(digest) / hex_of(digest)

    def digests(self) -> Iterator[Digest]:
        for algorithm in ALGORITHMS:
            for name in os.listdir(self.root / "blobs" / algorithm):
                yield Digest(f"{algorithm}:{name}")


class Directory:
    """Implements Storage. One process at a time has it: see `daemon/registry.py`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Blobs(root)

    def get(self, key: str) -> bytes | None:
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        if self.get(key) == data:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                os.utime(path)  # young again: the sweep's grace begins anew
                return
        temporary = self.root / "ingest" / secrets.token_hex(8)
        try:
            with open(temporary, "xb", buffering=0) as file:
                file.write(data)
                os.fsync(file.fileno())
            crash.point("registry-document-written")
            self._rename(temporary, path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def _rename(self, temporary: Path, path: Path) -> None:
        for attempt in range(_ATTEMPTS):
            self._make(path.parent)
            try:
                os.rename(temporary, path)
                return
            except FileNotFoundError:  # `delete` has removed the directory, which was empty
                if attempt == _ATTEMPTS - 1:
                    raise

    def _make(self, directory: Path) -> None:
        if not directory.is_dir():
            self._make(directory.parent)
            with contextlib.suppress(FileNotFoundError):
                directory.mkdir(mode=0o710, exist_ok=True)
                sync_directory(directory.parent)

    def delete(self, key: str) -> bool:
        path = self.root / key
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        for parent in path.parents[: key.count("/") - 1]:
            try:
                parent.rmdir()
            except OSError:  # not empty
                break
        return True

    def children(self, prefix: str, after: str = "") -> Iterator[str]:
        try:
            names = os.listdir(self.root / prefix)
        except (FileNotFoundError, NotADirectoryError):
            return iter(())
        return iter(sorted(name for name in names if name > after))

    def modified(self, key: str) -> float:
        try:
            return (self.root / key).stat().st_mtime
        except FileNotFoundError:
            return time.time()

    def blob_size(self, digest: Digest) -> int | None:
        try:
            return self.store.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, digest: Digest) -> BinaryIO | None:
        return self.store.open(digest)

    def pieces(self, digest: Digest, offset: int, length: int) -> Iterator[bytes]:
        with self.store.open(digest) as file:
            file.seek(offset)
            while length and (data := file.read(min(CHUNK, length))):
                yield data
                length -= len(data)

    def take(self, path: Path, digest: Digest) -> None:
        target = self.store.path(digest)
        if path != target:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            os.chmod(path, 0o640)
            crash.point("registry-blob-written")
            os.rename(path, target)
            crash.point("registry-blob-renamed")
        sync_directory(target.parent)

    def blobs(self) -> Iterator[Held]:
        for digest in self.store.digests():
            with contextlib.suppress(FileNotFoundError):
                status = self.store.path(digest).stat()
                yield Held(digest, status.st_size, status.st_mtime)

    def drop(self, digest: Digest) -> None:
        self.store.path(digest).unlink(missing_ok=True)
