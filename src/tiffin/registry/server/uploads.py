"""Blobs on their way in: files under `uploads/` that only grow, until their digest is right and they become blobs.

An upload survives its connection and its process: what has come is there, and a client that asks how much goes on
from there. Its id ends with a mark of its repository, so that it is of no use in another.
"""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.content import crash
from tiffin.content.blobs import require_free_space
from tiffin.model.digest import Digest
from tiffin.registry.server import names
from tiffin.registry.server.refusals import Refusal, digest_invalid, too_large, upload_unknown

if TYPE_CHECKING:
    from hashlib import _Hash

_ID = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}", re.ASCII)
_CHECK_EVERY = 32 << 20
_READ = 1 << 20


class Upload:
    """One blob that comes. size: bytes that are there. Used by one request at a time; see `http/distribution`."""

    def __init__(self, id: str, path: Path, limit: int, algorithm: str = "sha256") -> None:
        self.id = id
        self.path = path
        self.size = path.stat().st_size if path.exists() else 0
        self.touched = time.monotonic()
        self._limit = limit
        # of the bytes in the file; None where they have not been read, as after a restart
        self._hash: _Hash | None = names.new_hash(algorithm) if not self.size else None
        self._algorithm = algorithm
        self._next_check = 0

    def write(self, fd: int, pieces: Sequence[bytes]) -> None:
        """Append. Refusal 413 above the limit, Unavailable without space."""
        size = sum(map(len, pieces))
        if self._limit and self.size + size > self._limit:
            raise too_large("SIZE_INVALID", self._limit)
        if self.size >= self._next_check:
            require_free_space(self.path.parent)
            self._next_check = self.size + _CHECK_EVERY
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
            if self._hash is not None:
                self._hash.update(piece)
        self.size += size
        self.touched = time.monotonic()

    def open(self) -> int:
        """A descriptor to append by; what a write that failed has left behind the counted bytes is cut off."""
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        os.ftruncate(fd, self.size)
        return fd

    def rewind(self, size: int) -> None:
        """What came behind these bytes was wrong."""
        self.size, self._hash = size, None

    def verify(self, digest: Digest) -> None:
        """Refusal DIGEST_INVALID where the bytes are not what the client says."""
        algorithm = names.algorithm_of(digest)
        if self._hash is None or self._algorithm != algorithm:
            self._hash, self._algorithm = self._read(algorithm), algorithm
        found = f"{algorithm}:{self._hash.hexdigest()}"
        if found != digest:
            raise digest_invalid(f"{self.size} bytes with digest {found} have come, not {digest}")
        crash.point("registry-upload-verified")

    def _read(self, algorithm: str) -> "_Hash":
        made = names.new_hash(algorithm)
        with open(self.path, "rb", buffering=0) as file:
            while data := file.read(_READ):
                made.update(data)
        return made


class Uploads:
    """Every upload. limit: bytes of one blob, 0 for any number; most: how many there may be at once."""

    def __init__(self, directory: Path, *, limit: int = 0, most: int = 10_000) -> None:
        self.directory = directory
        self._limit = limit
        self._most = most
        self._known: dict[str, Upload] = {}
        directory.mkdir(mode=0o710, parents=True, exist_ok=True)
        for path in directory.iterdir():
            if _ID.fullmatch(path.name):
                self._known[path.name] = Upload(path.name, path, limit)

    def __len__(self) -> int:
        return len(self._known)

    def start(self, name: str, algorithm: str = "sha256") -> Upload:
        """A new one. Refusal TOOMANYREQUESTS."""
        if len(self._known) >= self._most:
            text = f"{self._most} uploads are open; try again when some have ended"
            raise Refusal("TOOMANYREQUESTS", 429, text, headers={"Retry-After": "60"})
        id = f"{secrets.token_hex(16)}-{_mark(name)}"
        upload = Upload(id, self.directory / id, self._limit, algorithm)
        os.close(upload.open())
        self._known[id] = upload
        return upload

    def get(self, name: str, id: str) -> Upload:
        """Refusal BLOB_UPLOAD_UNKNOWN for what was never begun, is done, or is another repository's."""
        upload = self._known.get(id)
        if upload is None or not secrets.compare_digest(id[33:], _mark(name)):
            raise upload_unknown()
        return upload

    def end(self, upload: Upload) -> None:
        """Forget it, and remove what is left of it."""
        self._known.pop(upload.id, None)
        upload.path.unlink(missing_ok=True)

    def expire(self, seconds: float) -> int:
        """End those that nobody has gone on with for so long; how many that were."""
        until = time.monotonic() - seconds
        late = [one for one in list(self._known.values()) if one.touched < until]
        for one in late:
            self.end(one)
        return len(late)


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
