"""Blobs as an OCI image layout: `oci-layout`, `index.json`, `blobs/sha256/<hex>`; skopeo and crane read it as it lies.

A blob is written under `ingest/`, hashed on its way, made durable, renamed to its digest, and only then may anything
refer to it. A lease keeps what it touched from the sweep until its holder has written the reference.
"""

import hashlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tiffin.content import crash
from tiffin.errors import Internal, Invalid, NotFound, Unavailable
from tiffin.linux import disk
from tiffin.model.digest import Digest, digest_of, hex_of

CHUNK = 1 << 20
FREE_SPACE_FLOOR = 64 << 20  # bytes left to the machine by whatever is written here
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHECK_EVERY = 32 << 20
_VECTOR = 64  # pieces that one system call takes well
_UNHASHED = 4 << 20  # bytes of a blob that wait for their hash, beside those that are being hashed


def require_free_space(path: Path | int, floor: int = FREE_SPACE_FLOOR) -> None:
    """Unavailable when the file system holds less than `floor` bytes or no inodes."""
    status = os.statvfs(path)
    if status.f_bavail * status.f_frsize < floor or (status.f_files and status.f_favail < 16):
        where = "the data root" if isinstance(path, int) else path
        raise Unavailable(f"no space left on device: {where} has less than {floor >> 20} MiB free; remove images first")


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def file_digest(path: Path) -> Digest:
    """The digest of a file's content. FileNotFoundError."""
    with open(path, "rb") as file:
        return Digest("sha256:" + hashlib.file_digest(file, "sha256").hexdigest())


def _index(manifests: Iterable[Mapping[str, Any]]) -> bytes:
    media_type = "application/vnd.oci.image.index.v1+json"
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests)}
    return json.dumps(body, separators=(",", ":")).encode()


class Lease:
    """Digests that no sweep may remove while it is held."""

    def __init__(self) -> None:
        self.digests: set[Digest] = set()


class _Hash:
    """SHA-256 in a thread beside the one that writes: two of the machine's processors for one stream."""

    _threads = ThreadPoolExecutor(thread_name_prefix="sha256")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pending: Future[None] | None = None
        self._behind: list[bytes] = []  # what came since
        self._size = 0

    def update(self, pieces: list[bytes], size: int) -> None:
        """Takes pieces, size bytes in all. Returns before they are hashed, unless too much is waiting already."""
        self._behind += pieces
        self._size += size
        if self._pending is not None and not self._pending.done() and self._size < _UNHASHED:
            return
        self.wait()
        if self._size < CHUNK // 16:
            self._take(self._behind)
        else:
            self._pending = self._threads.submit(self._take, self._behind)
        self._behind, self._size = [], 0

    def _take(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._hash.update(piece)

    def wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def hexdigest(self) -> str:
        self.wait()
        self._take(self._behind)
        self._behind = []
        return self._hash.hexdigest()


class BlobWriter:
    """Takes bytes, gives a blob. Left without `commit`, it leaves nothing."""

    def __init__(self, store: "BlobStore", lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._path = store.root / "ingest" / secrets.token_hex(8)
        store.writing.add(self._path.name)
        self._file: BinaryIO = open(self._path, "xb", buffering=0)
        self._hash = _Hash()
        self._next_check = 0
        self._gathered: list[bytes] = []  # what comes in small pieces is written in large ones
        self._written = 0
        self._early = disk.Early()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self._gathered.append(data)
        if self.size - self._written >= CHUNK:
            self._flush()
        return len(data)

    def _flush(self) -> None:
        if self._written >= self._next_check:
            require_free_space(self._store.root)
            self._next_check = self._written + _CHECK_EVERY
        pieces, self._gathered = self._gathered, []
        if len(pieces) > _VECTOR:
            pieces = [b"".join(pieces)]
        self._hash.update(pieces, self.size - self._written)
        disk.write(self._file.fileno(), pieces)
        self._written = self.size
        self._early.written(self._file.fileno(), self._written)

    def commit(self, expected: Digest | None = None, size: int | None = None) -> Digest:
        """The blob's digest, durable. Invalid if it is not what was expected."""
        digest = self.seal(expected, size)
        self.settle(digest)
        return digest

    def seal(self, expected: Digest | None = None, size: int | None = None) -> Digest:
        """The digest of what has come, all of it, and leased: `settle` makes it a blob. Invalid as `commit`."""
        self._flush()
        digest = Digest("sha256:" + self._hash.hexdigest())
        if size is not None and size != self.size:
            raise Invalid(f"blob {expected or digest}: {self.size} bytes, {size} were promised")
        if expected is not None and digest != expected:
            raise Invalid(f"blob {expected}: its content has digest {digest}")
        self._store.lease_blob(self._lease, digest)
        return digest

    def settle(self, digest: Digest) -> None:
        """Durable, under its digest. From any thread; nothing is written any more."""
        if self._store.exists(digest) and self._store.size(digest) == self.size:
            return  # one that a power loss cut short is replaced
        crash.point("blob-written")
        os.fsync(self._file.fileno())
        os.fchmod(self._file.fileno(), 0o640)
        os.rename(self._path, self._store.path(digest))
        crash.point("blob-renamed")
        sync_directory(self._store.path(digest).parent)

    def __enter__(self) -> "BlobWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hash.wait()
        self._file.close()
        self._path.unlink(missing_ok=True)
        self._store.writing.discard(self._path.name)


class BlobStore:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._lock = threading.Lock()
        self._leases: set[Lease] = set()
        self.writing: set[str] = set()  # names in `ingest/` that belong to somebody
        self._touched: dict[int, set[Digest]] = {}  # one for each sweep under way: what was leased since it began
        for directory in (self._blobs, root / "ingest", root / "quarantine"):
            directory.mkdir(mode=0o710, parents=True, exist_ok=True)
        for leftover in (root / "ingest").iterdir():  # a writer that died; the data root has one daemon
            leftover.unlink()
        if not (root / "oci-layout").exists():
            self.write_layout()

    def path(self, digest: Digest) -> Path:
        return self._blobs / hex_of(digest)

    def exists(self, digest: Digest) -> bool:
        return self.path(digest).exists()

    def size(self, digest: Digest) -> int:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise NotFound(f"blob {digest} not found in {self.root}") from error

    def open(self, digest: Digest) -> BinaryIO:
        """The blob's file, unverified: for readers that hash what they read, see `verified`."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError as error:
            raise NotFound(f"blob {digest} not found in {self.root}") from error

    def verified(self, digest: Digest) -> Iterator[bytes]:
        """Chunks of the blob; at the end Internal, and the blob in quarantine, if they were not its content."""
        sha256 = hashlib.sha256()
        with self.open(digest) as file:
            while chunk := file.read(CHUNK):
                sha256.update(chunk)
                yield chunk
        if "sha256:" + sha256.hexdigest() != digest:
            raise self.quarantine(digest)

    def read(self, digest: Digest, limit: int = 4 << 20) -> bytes:
        """A small blob, verified. Invalid above `limit` bytes."""
        if self.size(digest) > limit:
            raise Invalid(f"blob {digest} is larger than {limit} bytes")
        with self.open(digest) as file:
            data = file.read()
        if digest_of(data) != digest:
            raise self.quarantine(digest)
        return data

    def quarantine(self, digest: Digest) -> Internal:
        """Set a damaged blob aside, so that it is fetched again; returns the error to raise."""
        os.replace(self.path(digest), self.root / "quarantine" / hex_of(digest))
        sync_directory(self._blobs)
        return Internal(f"blob {digest} is damaged: moved to {self.root / 'quarantine'}; load or pull the image again")

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        lease = Lease()
        with self._lock:
            self._leases.add(lease)
        try:
            yield lease
        finally:
            with self._lock:
                self._leases.discard(lease)

    def leased(self) -> set[Digest]:
        """What no sweep may remove now."""
        with self._lock:
            return {digest for lease in self._leases for digest in lease.digests}

    def strays(self) -> list[Path]:
        """Files that belong to nobody: of writers that are gone, and damaged blobs that have come again."""
        ingested = [path for path in (self.root / "ingest").iterdir() if path.name not in self.writing]
        damaged = [path for path in (self.root / "quarantine").iterdir() if (self._blobs / path.name).exists()]
        return ingested + damaged

    def examine(self, digest: Digest, *, thorough: bool) -> str:
        """What is wrong with a blob, `` where nothing is. thorough: its content is read as well."""
        try:
            if thorough and (found := file_digest(self.path(digest))) != digest:
                return f"is damaged: its content has digest {found}"
            self.path(digest).stat()
        except FileNotFoundError:
            return "is missing"
        return ""

    def adopt(self, path: Path, digest: Digest) -> None:
        """Take a file with just this content as a blob: linked where that can be, else copied."""
        ingested = self.root / "ingest" / secrets.token_hex(8)
        try:
            os.link(path, ingested)
        except OSError:
            shutil.copyfile(path, ingested)
        os.replace(ingested, self.path(digest))
        sync_directory(self._blobs)

    def lease_blob(self, lease: Lease, digest: Digest) -> None:
        with self._lock:
            lease.digests.add(digest)
            for touched in self._touched.values():
                touched.add(digest)

    def writer(self, lease: Lease) -> BlobWriter:
        return BlobWriter(self, lease)

    def put(self, data: bytes, lease: Lease) -> Digest:
        with self.writer(lease) as writer:
            writer.write(data)
            return writer.commit()

    def digests(self) -> Iterator[Digest]:
        for name in os.listdir(self._blobs):
            yield Digest("sha256:" + name)

    def sweep(self, references: Callable[[], Iterable[Digest]]) -> int:
        """Remove every blob that nothing refers to and no lease holds; the bytes freed on the disk.

        May be killed at any moment: an unlink is whole or not, and what is left is swept the next time.
        """
        with self._lock:
            # a lease that ends meanwhile counts: its holder may have written the reference after we have read them
            touched = {digest for lease in self._leases for digest in lease.digests}
            self._touched[id(touched)] = touched
        try:
            wanted = set(references())
            return sum(self._sweep_one(digest, touched) for digest in list(self.digests()) if digest not in wanted)
        finally:
            with self._lock:
                del self._touched[id(touched)]

    def _sweep_one(self, digest: Digest, touched: set[Digest]) -> int:
        with self._lock:
            if digest in touched:
                return 0
            crash.point("blob-sweep")
            try:
                size = disk.freed_by(self.path(digest).stat())
                self.path(digest).unlink()
            except FileNotFoundError:  # another sweep
                return 0
            return size

    def write_index(self, manifests: Iterable[Mapping[str, Any]]) -> None:
        """`index.json`, for other readers of the layout; nothing here reads it."""
        self._replace("index.json", _index(manifests))

    def has_index(self, manifests: Iterable[Mapping[str, Any]]) -> bool:
        """Whether `index.json` says that, and `oci-layout` what it should."""
        try:
            found = [(self.root / name).read_bytes() for name in ("oci-layout", "index.json")]
        except FileNotFoundError:
            return False
        return found == [_LAYOUT, _index(manifests)]

    def write_layout(self) -> None:
        """`oci-layout`, which says that this is one."""
        self._replace("oci-layout", _LAYOUT)

    def _replace(self, name: str, data: bytes) -> None:
        temporary = self.root / "ingest" / f"{name}.{secrets.token_hex(4)}"
        temporary.write_bytes(data)
        os.replace(temporary, self.root / name)
