"""The registry behind a pull-through cache. It is asked with the cache's own credentials, never with a client's.

A tag is asked for each time, a digest only when it is not here. While the upstream can't be reached, what is here is
served. Requests for the same thing at the same time become one.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tiffin.content.blobs import BlobStore
from tiffin.errors import TiffinError, Unavailable
from tiffin.model.digest import Digest
from tiffin.model.reference import DEFAULT_DOMAIN
from tiffin.registry import referrers
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import Credentials
from tiffin.registry.failures import Busy, Refused, Unreachable
from tiffin.registry.hosts import HUB, Endpoint, check_mirror
from tiffin.registry.repository import Repository
from tiffin.registry.server import names
from tiffin.registry.server.counters import Counters
from tiffin.registry.server.downloads import Download
from tiffin.registry.server.refusals import Refusal, blob_unknown, manifest_unknown
from tiffin.registry.server.repositories import Found, Repositories
from tiffin.registry.session import Retries, Session
from tiffin.registry.transport import Transport

log = logging.getLogger(__name__)
T = TypeVar("T")

_AT_ONCE = 16


class Fetching:
    """Blobs under way, for all upstreams together: what has come of one lies in one file."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.downloads: dict[Digest, Download] = {}
        self.threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upstream")


class Upstream:
    """url: scheme, host and a path that is put before every repository's name.

    folder: what repositories are kept under here, and is not asked for there.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        repositories: Repositories,
        workspace: BlobStore,
        counters: Counters,
        fetching: Fetching,
        folder: str = "",
        *,
        verify: bool = True,
    ) -> None:
        parts = urlsplit(check_mirror(url, path=True))
        host = HUB if parts.netloc in (DEFAULT_DOMAIN, f"index.{DEFAULT_DOMAIN}") else parts.netloc
        endpoint = Endpoint(f"{parts.scheme}://{host}", host, verify, mirror=True, prefix=parts.path.strip("/"))
        self._cancellation = Cancellation()
        self._session = Session(endpoint, credentials, Transport(), self._cancellation, Retries(2, 0.5))
        self._repositories = repositories
        self._workspace = workspace
        self._counters = counters
        self._fetching = fetching
        self._folder = f"{folder}/" if folder else ""
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, ...], Future[Found]] = {}
        self.host = host

    def close(self) -> None:
        """Break off what is under way; what has come stays for the next time."""
        self._cancellation.cancel()
        self._fetching.threads.shutdown(cancel_futures=True)

    def _repository(self, name: str) -> Repository:
        return Repository(self._session, name.removeprefix(self._folder))

    # Manifests

    def manifest(self, name: str, reference: str) -> tuple[Found, str]:
        """The manifest, here or fetched, and a warning where upstream could not be asked. Refusal MANIFEST_UNKNOWN."""
        held = self._held(name, reference)
        if held is not None and names.is_digest(reference):
            self._counters.add("cache_requests_total", kind="manifest", result="hit")
            return held, ""
        try:
            return self._shared(("manifest", name, reference), lambda: self._current(name, reference, held)), ""
        except (Unreachable, Busy) as error:
            log.warning("upstream: %s", error)
            if held is None:
                raise Unavailable(f"upstream can't be asked and this is not here: {error}") from error
            self._counters.add("cache_requests_total", kind="manifest", result="stale")
            return held, '299 - "upstream could not be asked: this is what was cached"'
        except Refused as error:
            raise _refusal(error, manifest_unknown(detail={"name": name, "reference": reference})) from error

    def _held(self, name: str, reference: str) -> Found | None:
        try:
            return self._repositories.find(name, reference)
        except Refusal as error:
            if error.code != "MANIFEST_UNKNOWN":
                raise
            return None

    def _current(self, name: str, reference: str, held: Found | None) -> Found:
        repository = self._repository(name)
        if held is not None and repository.digest(reference) == held.digest:
            self._counters.add("cache_requests_total", kind="manifest", result="hit")
            return held
        self._counters.add("cache_requests_total", kind="manifest", result="miss")
        document = repository.manifest(reference)
        self._counters.add("upstream_bytes_total", len(document.raw))
        found, _ = self._repositories.put_manifest(name, reference, document.raw, document.media_type, whole=False)
        return found

    def _shared(self, key: tuple[str, ...], work: Callable[[], Found]) -> Found:
        with self._lock:
            future = self._asked.get(key)
            mine = future is None
            if future is None:
                future = self._asked[key] = Future()
        if not mine:
            return future.result()
        try:
            found = work()
        except BaseException as error:
            self._answered(key)
            future.set_exception(error)
            raise
        self._answered(key)
        future.set_result(found)
        return found

    def _answered(self, key: tuple[str, ...]) -> None:
        """Before anybody is told: who asks again because of it is not to get the same again."""
        with self._lock:
            del self._asked[key]

    # Blobs

    def blob(self, name: str, digest: Digest) -> int | Download:
        """A blob's size where it is here, else the download under way, joined. Refusal BLOB_UNKNOWN."""
        try:
            size = self._repositories.blob(name, digest)
            self._counters.add("cache_requests_total", kind="blob", result="hit")
            return size
        except Refusal:
            pass
        with self._fetching.lock:
            if shared := self._joined(digest):
                return shared
        expected = self._size(name, digest)
        if self._repositories.storage.blob_size(digest) == expected:
            # another repository's; upstream has just said that it is this one's too
            self._repositories.link_blob(name, digest, expected)
            self._counters.add("cache_requests_total", kind="blob", result="hit")
            return expected
        return self._download(name, digest, expected)

    def size(self, name: str, digest: Digest) -> int:
        """A blob's size, without fetching it. Refusal BLOB_UNKNOWN."""
        try:
            return self._repositories.blob(name, digest)
        except Refusal:
            return self._size(name, digest)

    def _size(self, name: str, digest: Digest) -> int:
        if names.algorithm_of(digest) != "sha256":
            raise Refusal("DIGEST_INVALID", 400, "a pull-through cache takes digests of sha256 only")
        try:
            size = self._repository(name).has_blob(digest)
        except (Unreachable, Busy) as error:
            raise Unavailable(f"upstream can't be asked and this is not here: {error}") from error
        if size is None:
            raise blob_unknown(digest)
        return size

    def _download(self, name: str, digest: Digest, size: int) -> Download:
        with self._fetching.lock:
            if shared := self._joined(digest):
                return shared
            made = Download(self._repository(name), digest, size, self._workspace, self._cancellation)
            made.join()
            self._fetching.downloads[digest] = made
        self._counters.add("cache_requests_total", kind="blob", result="miss")
        self._fetching.threads.submit(self._run, name, made)
        return made

    def _joined(self, digest: Digest) -> Download | None:
        shared = self._fetching.downloads.get(digest)
        if shared is not None:
            shared.join()
            self._counters.add("cache_requests_total", kind="blob", result="shared")
        return shared

    def _run(self, name: str, download: Download) -> None:
        def done() -> None:
            self._repositories.add_blob(name, self._workspace.path(download.digest), download.digest)

        def over() -> None:
            with self._fetching.lock:
                del self._fetching.downloads[download.digest]

        download.run(done, lambda count: self._counters.add("upstream_bytes_total", count), over)
        download.leave()

    # Lists

    def tags(self, name: str) -> list[str] | None:
        """Every tag that upstream has, sorted; None where it can't be asked."""
        try:
            return sorted(self._repository(name).tags())
        except TiffinError as error:
            log.info("upstream: %s", error)
            return None

    def referrers(self, name: str, subject: Digest, artifact_type: str) -> list[dict[str, Any]] | None:
        """What refers to a manifest as upstream lists it, all pages, by digest; None where it can't be asked."""
        found: dict[str, dict[str, Any]] = {}
        try:
            for page in referrers.pages(self._repository(name), subject, artifact_type):
                found |= {str(item["digest"]): item for item in page if isinstance(item, dict) and item.get("digest")}
        except TiffinError as error:
            log.info("upstream: %s", error)
            return None
        # a registry may take no notice of the type
        fit = [item for item in found.values() if artifact_type in ("", item.get("artifactType"))]
        return sorted(fit, key=lambda item: str(item["digest"]))


def _refusal(error: Refused, unknown: Refusal) -> Refusal:
    if error.status in (401, 403):
        return Refusal("DENIED", 403, f"upstream: {error}")
    return unknown if error.status == 404 else Refusal("UNAVAILABLE", 502, f"upstream: {error}")
