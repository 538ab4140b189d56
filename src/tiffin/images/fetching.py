"""Blobs fetched from registries: several at once, each once however many want it, resumed where they broke off."""

import math
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from tiffin.content.blobs import BlobStore, Lease
from tiffin.content.ledger import Ledger
from tiffin.content.partials import Partial, discard, expire
from tiffin.errors import Internal, Invalid, TiffinError
from tiffin.images.events import Progress, Report
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.failures import Busy, Cancelled, Refused, Unreachable, out_of_space
from tiffin.registry.repository import Repository
from tiffin.registry.session import Retries

_SCHEMA = "CREATE TABLE pulled_blob(digest TEXT PRIMARY KEY, since REAL NOT NULL)"
_KEPT_SECONDS = 7 * 24 * 3600
_TELL_EVERY = 0.1  # seconds
_LONGEST_WAIT = 60.0  # seconds
_CHUNK = 1 << 18


class Origins(Protocol):
    """Where the blobs of a repository may be had, the preferred first."""

    def __iter__(self) -> Iterator[Repository]: ...


class Damaged(Invalid):
    """What an earlier attempt has left was no beginning of the blob: once more, from zero."""


class Waiting:
    """Blobs of images that are not complete yet: kept for the next attempt, a week at most."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        ledger.declare("pulls", _SCHEMA)
        with ledger.transaction(volatile=True) as db:
            db.execute("DELETE FROM pulled_blob WHERE since < ?", (time.time() - _KEPT_SECONDS,))

    def keep(self, digest: Digest) -> None:
        with self._ledger.transaction(volatile=True) as db:
            db.execute("INSERT OR REPLACE INTO pulled_blob VALUES (?, ?)", (digest, time.time()))

    def let_go(self, digests: Iterable[Digest] | None = None) -> None:
        """These, or all."""
        with self._ledger.transaction(volatile=True) as db:
            if digests is None:
                db.execute("DELETE FROM pulled_blob")
            else:
                db.executemany("DELETE FROM pulled_blob WHERE digest = ?", [(digest,) for digest in digests])

    def digests(self) -> list[Digest]:
        with self._ledger.reading() as db:
            return [Digest(row["digest"]) for row in db.execute("SELECT digest FROM pulled_blob")]


class Fetch:
    """One blob on its way. Watchers hear of its progress; without any it is broken off."""

    def __init__(self, descriptor: Descriptor, name: str) -> None:
        self.descriptor = descriptor
        self.name = name
        self.cancellation = Cancellation()
        self.begun = threading.Event()  # `partial` is there, or `error`
        self.done = threading.Event()
        self.partial: Partial | None = None
        self.error: BaseException | None = None
        self._watchers: dict[int, Report] = {}
        self._last: Progress | None = None
        self._lock = threading.Lock()

    def watch(self, report: Report) -> int:
        with self._lock:
            self._watchers[id(report)] = report
            if self._last is not None:
                report(self._last)
        return id(report)

    def leave(self, watcher: int) -> None:
        with self._lock:
            self._watchers.pop(watcher, None)
            alone = not self._watchers
        if alone and not self.done.is_set():
            self.cancellation.cancel()

    def tell(self, status: str, current: int = 0, total: int = 0) -> None:
        progress = Progress(self.name, status, current, total)
        with self._lock:
            self._last = progress
            for report in self._watchers.values():
                report(progress)


class Fetches:
    """Every blob that is being fetched. at_once: how many."""

    def __init__(self, blobs: BlobStore, waiting: Waiting, retries: Retries, at_once: int = 3) -> None:
        self._blobs = blobs
        self._waiting = waiting
        self._retries = retries
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(at_once, "fetch")
        self._lock = threading.Lock()
        self._running: dict[Digest, Fetch] = {}
        expire(blobs)

    def want(self, descriptor: Descriptor, origins: Origins, report: Report) -> tuple[Fetch, int] | None:
        """Take part in fetching a blob; None where it is in the store. The caller holds a lease on it."""
        with self._lock:
            if self._blobs.exists(descriptor.digest):
                return None
            fetch = self._running.get(descriptor.digest)
            if fetch is not None and not fetch.cancellation.cancelled:
                return fetch, fetch.watch(report)
            before = fetch
            fetch = Fetch(descriptor, descriptor.digest[7:19])
            watcher = fetch.watch(report)
            if len(self._running) >= self._at_once:
                fetch.tell("Waiting")
            self._running[descriptor.digest] = fetch
        self._pool.submit(self._run, fetch, origins, before)
        return fetch, watcher

    def _run(self, fetch: Fetch, origins: Origins, before: Fetch | None) -> None:
        error: BaseException | None = None
        try:
            if before is not None:
                before.done.wait()  # one writer at a time
            self._fetch(fetch, origins)
        except OSError as failure:
            error = out_of_space(failure, f"blob {fetch.descriptor.digest}")
        except BaseException as failure:
            error = failure
        if fetch.partial is not None and error is not None and not _worth_keeping(fetch.partial, error):
            fetch.partial.discard()
        with self._lock:
            if self._running.get(fetch.descriptor.digest) is fetch:
                del self._running[fetch.descriptor.digest]
        fetch.error = error
        if fetch.partial is not None:
            fetch.partial.end(error)
            fetch.partial.close()
        fetch.begun.set()
        fetch.done.set()

    def _fetch(self, fetch: Fetch, origins: Origins) -> None:
        fetch.cancellation.check()
        descriptor = fetch.descriptor
        partial = Partial(self._blobs, descriptor.digest, descriptor.size)
        fetch.partial = partial
        fetch.begun.set()
        self._complete(fetch, partial, origins)
        fetch.tell("Verifying Checksum")
        with self._blobs.lease() as lease:
            self._waiting.keep(descriptor.digest)  # first: a daemon that dies in between finds its work again
            self._commit(partial, lease)
        fetch.tell("Download complete")

    def _commit(self, partial: Partial, lease: Lease) -> None:
        try:
            partial.commit(lease)
        except Invalid as error:
            if partial.resumed:
                raise Damaged(str(error)) from error
            raise

    def _complete(self, fetch: Fetch, partial: Partial, origins: Origins) -> None:
        """Fetch what is missing, from the first origin that has it."""
        failure: TiffinError | None = None
        for repository in origins:
            try:
                self._from(repository, fetch, partial)
                return
            except (Unreachable, Refused, Internal) as error:
                failure = error
        raise failure or Internal(f"blob {fetch.descriptor.digest}: nowhere to fetch it from")

    def _from(self, repository: Repository, fetch: Fetch, partial: Partial) -> None:
        failures = 0
        while not partial.complete:
            before = partial.size
            try:
                self._attempt(repository, fetch, partial)
                if not partial.complete:
                    raise Unreachable(f"blob {partial.digest}: unexpected EOF after {partial.size} bytes")
            except (Unreachable, Busy) as error:
                failures = 1 if partial.size > before else failures + 1
                if failures >= self._retries.attempts:
                    raise
                asked = error.wait if isinstance(error, Busy) else None
                _count_down(fetch, min(self._retries.delay(failures - 1) if asked is None else asked, _LONGEST_WAIT))

    def _attempt(self, repository: Repository, fetch: Fetch, partial: Partial) -> None:
        answer, begins = repository.blob(partial.digest, partial.size, fetch.cancellation)
        with answer:
            length = answer.length
            if length is not None and begins + length != partial.expected:
                raise Invalid(
                    f"blob {partial.digest}: the registry offers {begins + length} bytes, "
                    f"{partial.expected} were promised"
                )
            skip, told = partial.size - begins, 0.0
            while data := answer.read(_CHUNK):
                fetch.cancellation.check()
                if skip:  # the server knows no ranges: what is here already is read again
                    dropped = min(skip, len(data))
                    skip, data = skip - dropped, data[dropped:]
                partial.write(data)
                now = time.monotonic()
                if now - told >= _TELL_EVERY:
                    told = now
                    fetch.tell("Downloading", partial.size, partial.expected)

    def drop(self, digests: Iterable[Digest]) -> None:
        """Keep nothing of these for later attempts, once their fetches have ended; what others fetch stays."""
        for digest in digests:
            with self._lock:
                fetch = self._running.get(digest)
            if fetch is not None:
                if not fetch.cancellation.cancelled:
                    continue
                fetch.done.wait()
            with self._lock:
                if digest not in self._running:
                    discard(self._blobs, digest)

    def forget(self) -> int:
        """Keep nothing for later attempts any more; the bytes freed. What is being fetched stays."""
        self._waiting.let_go()
        with self._lock:
            return expire(self._blobs, 0, list(self._running))

    def close(self) -> None:
        """Break off everything; what has come is kept."""
        with self._lock:
            running = list(self._running.values())
        for fetch in running:
            fetch.cancellation.cancel()
        self._pool.shutdown(wait=False, cancel_futures=False)


def _worth_keeping(partial: Partial, error: BaseException) -> bool:
    """What a broken connection has left, yes; what was wrong, or filled the disk, no."""
    return partial.size > 0 and isinstance(error, Unreachable | Busy | Cancelled)


def _count_down(fetch: Fetch, seconds: float) -> None:
    """Wait, and say for how long, second by second. Raises Cancelled."""
    for left in range(math.ceil(seconds), 0, -1):
        fetch.tell(f"Retrying in {left} second{'' if left == 1 else 's'}")
        fetch.cancellation.wait(1.0)
