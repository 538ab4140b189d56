"""Files of an archive, kept by their checksum: a second bootstrap fetches only what has changed."""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin

from tiffin.content.blobs import FREE_SPACE_FLOOR, require_free_space
from tiffin.errors import Forbidden, Unavailable
from tiffin.images.bootstrap.release import File
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.failures import Unreachable, out_of_space
from tiffin.registry.transport import CHUNK, Answer, Transport

T = TypeVar("T")

_KEPT_SECONDS = 30 * 24 * 3600
_ATTEMPTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 8

Counted = Callable[[int], None]
"""Called with the bytes that have come since the last call."""


class Downloads:
    """The files below `root`, and the way to more of them. Every method blocks; any thread may call it."""

    def __init__(self, root: Path, transport: Transport) -> None:
        self._root = root
        self._transport = transport

    def path(self, file: File) -> Path:
        """Where a file is, once it has been fetched."""
        return self._root / file.sha256

    def has(self, file: File) -> bool:
        """Whether it seems to be there: `fetch` looks closer."""
        try:
            return self.path(file).stat().st_size == file.size
        except FileNotFoundError:
            return False

    def document(self, url: str, limit: int, cancellation: Cancellation) -> bytes | None:
        """What is at an address, None where there is nothing. Raises Unavailable, Invalid above `limit` bytes."""
        return self._repeated(url, cancellation, lambda answer: answer.body(limit))

    def fetch(self, url: str, file: File, cancellation: Cancellation, counted: Counted) -> Path:
        """A file with these very bytes. Raises Unavailable, Forbidden for other bytes, which are not kept."""
        path = self.path(file)
        if self.has(file) and _is(path, file):
            os.utime(path)  # it is in use: see `expire`
            return path
        self._root.mkdir(mode=0o710, parents=True, exist_ok=True)
        partial = self._root / f"{file.sha256}.{secrets.token_hex(4)}"
        try:
            if self._repeated(url, cancellation, lambda answer: _store(answer, partial, url, file, counted)) is None:
                raise Unavailable(f"{url} is not there: the mirror is incomplete, or changes just now")
            os.replace(partial, path)
        except OSError as error:
            raise out_of_space(error, f"cannot keep {url}") from error
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _repeated(self, url: str, cancellation: Cancellation, take: Callable[[Answer], T]) -> T | None:
        for attempt in range(_ATTEMPTS):
            if attempt:
                cancellation.wait(2.0**attempt / 2)
            try:
                with self._answer(url, cancellation) as answer:
                    if answer.status == 200:
                        return take(answer)
                    if answer.status in (404, 410):
                        return None
                    failure = f"{answer.status} {answer.reason}"
                    if answer.status < 500 and answer.status != 429:
                        break
            except Unreachable as error:
                failure = str(error)
        raise Unavailable(f"cannot fetch {url}: {failure}")

    def _answer(self, url: str, cancellation: Cancellation) -> Answer:
        at = url
        for _ in range(_MAX_REDIRECTS):
            answer = self._transport.exchange("GET", at, headers={"Accept": "*/*"}, cancellation=cancellation)
            location = answer.headers.get("Location", "")
            if answer.status not in _REDIRECTS or not location:
                return answer
            answer.close()
            at = urljoin(at, location)
        raise Unavailable(f"cannot fetch {url}: too many redirects")

    def expire(self, seconds: float = _KEPT_SECONDS) -> int:
        """Remove what no bootstrap has used for so long, and what a crash has left in parts; the bytes freed."""
        freed = 0
        with contextlib.suppress(FileNotFoundError):
            for path in self._root.iterdir():
                status = path.stat()
                if time.time() - status.st_mtime >= seconds:
                    path.unlink(missing_ok=True)
                    freed += status.st_size
        return freed


def _is(path: Path, file: File) -> bool:
    """Whether a file that was kept is still what it was: nobody waited for the disk when it was written."""
    with path.open("rb") as kept:
        return hashlib.file_digest(kept, "sha256").hexdigest() == file.sha256


def _store(answer: Answer, partial: Path, url: str, file: File, counted: Counted) -> bool:
    sha256, size = hashlib.sha256(), 0
    require_free_space(partial.parent, FREE_SPACE_FLOOR + file.size)
    with partial.open("wb") as out:
        while data := answer.read(CHUNK):
            size += len(data)
            if size > file.size:
                break
            sha256.update(data)
            out.write(data)
            counted(len(data))
    if size != file.size or sha256.hexdigest() != file.sha256:
        counted(-min(size, file.size))
        raise Forbidden(
            f"{url}: not what the signed index promises ({file.size} bytes with SHA-256 {file.sha256}): it is damaged, "
            "or somebody has changed it"
        )
    return True
