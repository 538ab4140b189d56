"""Blobs on their way to a registry: mounted from another repository, sent whole, or in chunks."""

from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import quote, urljoin

from tiffin.errors import Internal
from tiffin.model.digest import Digest
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.failures import Busy, Refused, Unreachable
from tiffin.registry.repository import Repository
from tiffin.registry.session import Call

CHUNK = 16 << 20
_SMALLEST_CHUNK = 1 << 20
_LARGEST_CHUNK = 512 << 20

Opened = Callable[[], BinaryIO]


class _Part:
    """`size` bytes of a file from `offset` on, read once; tells how far it is."""

    def __init__(self, file: BinaryIO, offset: int, size: int, sent: Callable[[int], None]) -> None:
        self._file = file
        self._left = size
        self._at = offset
        self._sent = sent
        file.seek(offset)

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self._at += len(data)
        if data:
            self._sent(self._at)
        return data


def mount(repository: Repository, digest: Digest, source: str, cancellation: Cancellation) -> str | None:
    """Have the registry take a blob over from the repository `source`. None when it did, else where to upload."""
    scopes = (*repository.scopes, f"repository:{source}:pull")
    url = repository.url("blobs/uploads/")
    url += f"{'&' if '?' in url else '?'}mount={quote(digest)}&from={quote(source, safe='')}"
    with repository.session.call(Call("POST", url, scopes, {"Content-Length": "0"}), cancellation) as answer:
        if answer.status == 201:
            return None
        return _location(url, answer.headers.get("Location"))


def begin(repository: Repository, cancellation: Cancellation) -> str:
    """Where to upload."""
    url = repository.url("blobs/uploads/")
    with repository.session.call(Call("POST", url, repository.scopes, {"Content-Length": "0"}), cancellation) as answer:
        return _location(url, answer.headers.get("Location"))


def upload(
    repository: Repository,
    digest: Digest,
    opened: Opened,
    size: int,
    sent: Callable[[int], None],
    cancellation: Cancellation,
    location: str = "",
) -> None:
    """Send a blob whole; where that breaks, in chunks, going on where the registry says it has got to."""
    location = location or begin(repository, cancellation)
    with opened() as file:
        try:
            _whole(repository, digest, file, size, sent, cancellation, location)
            return
        except Refused as error:
            # 413: a proxy's limit; 5xx and 404: an upload that has come to nothing
            if error.status not in (404, 413, 416) and not isinstance(error, Busy):
                raise
        except Unreachable:
            pass
        cancellation.check()
        _chunked(repository, digest, file, size, sent, cancellation)


def _whole(
    repository: Repository,
    digest: Digest,
    file: BinaryIO,
    size: int,
    sent: Callable[[int], None],
    cancellation: Cancellation,
    location: str,
) -> None:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    call = Call(
        "PUT",
        _closing(location, digest),
        repository.scopes,
        headers,
        lambda: _Part(file, 0, size, sent),
        retry=False,
    )
    repository.session.call(call, cancellation).close()


def _chunked(
    repository: Repository,
    digest: Digest,
    file: BinaryIO,
    size: int,
    sent: Callable[[int], None],
    cancellation: Cancellation,
) -> None:
    session = repository.session
    failures, at = 0, 0
    location, step = _begin_chunked(repository, cancellation)
    while at < size:
        try:
            location, at = _chunk(repository, file, at, min(step, size - at), sent, cancellation, location)
            failures = 0
        except (Unreachable, Refused) as error:
            failures += 1
            if failures >= session.retries.attempts or (isinstance(error, Refused) and error.status in (401, 403)):
                raise
            step = max(step // 4, _SMALLEST_CHUNK)
            if not isinstance(error, Refused) or error.status != 413:
                asked = error.wait if isinstance(error, Refused) else None
                cancellation.wait(session.retries.delay(failures - 1) if asked is None else min(asked, 60.0))
            resumed = _status(repository, location, cancellation)
            if resumed is None:
                location, step = _begin_chunked(repository, cancellation)
                at = 0
            else:
                location, at = resumed
    headers = {"Content-Length": "0"}
    session.call(Call("PUT", _closing(location, digest), repository.scopes, headers), cancellation).close()


def _begin_chunked(repository: Repository, cancellation: Cancellation) -> tuple[str, int]:
    url = repository.url("blobs/uploads/")
    call = Call("POST", url, repository.scopes, {"Content-Length": "0"})
    with repository.session.call(call, cancellation) as answer:
        least = answer.headers.get("OCI-Chunk-Min-Length") or ""
        step = min(max(CHUNK, int(least) if least.isdigit() else 0), _LARGEST_CHUNK)
        return _location(url, answer.headers.get("Location")), step


def _chunk(
    repository: Repository,
    file: BinaryIO,
    at: int,
    size: int,
    sent: Callable[[int], None],
    cancellation: Cancellation,
    location: str,
) -> tuple[str, int]:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size),
        "Content-Range": f"{at}-{at + size - 1}",
    }
    call = Call("PATCH", location, repository.scopes, headers, lambda: _Part(file, at, size, sent), retry=False)
    with repository.session.call(call, cancellation) as answer:
        reached = _reached(answer.headers.get("Range"))
        return _location(location, answer.headers.get("Location")), at + size if reached is None else reached


def _status(repository: Repository, location: str, cancellation: Cancellation) -> tuple[str, int] | None:
    """Where an upload stands; None where the registry has forgotten it."""
    try:
        with repository.session.call(Call("GET", location, repository.scopes), cancellation) as answer:
            reached = _reached(answer.headers.get("Range"))
            return _location(location, answer.headers.get("Location")), reached or 0
    except Refused:
        return None


def _reached(header: str | None) -> int | None:
    """`0-99` means that 100 bytes have come."""
    last = (header or "").removeprefix("bytes=").partition("-")[2]
    if not last.isdigit():
        return None
    return 0 if header == "0-0" else int(last) + 1


def _location(url: str, header: str | None) -> str:
    if not header:
        raise Internal(f'Post "{url}": the registry has not said where to upload')
    return urljoin(url, header)


def _closing(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={quote(digest)}"
