"""Removes what nothing refers to, while the registry serves. May be killed at any moment; the next one goes on.

Kept are all manifests (with `untagged`: those that a tag, an index that is kept or a kept subject leads to), their
blobs, and whatever is younger than the grace period or was touched since it began, see `recent`.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from tiffin.content import crash
from tiffin.model.digest import Digest
from tiffin.registry.server import manifests
from tiffin.registry.server.manifests import Described
from tiffin.registry.server.repositories import Repositories, catalog_key, link
from tiffin.registry.server.storage import Held
from tiffin.registry.server.uploads import Uploads


@dataclass(slots=True)
class Collected:
    """What was removed. links: blobs of single repositories; bytes: of blobs. held: blobs that stay."""

    manifests: int = 0
    links: int = 0
    blobs: int = 0
    bytes: int = 0
    uploads: int = 0
    held: int = 0
    held_bytes: int = 0

    def __str__(self) -> str:
        return (
            f"removed {self.manifests} manifests, {self.links} links, {self.blobs} blobs ({self.bytes} bytes), "
            f"{self.uploads} uploads"
        )


class Collection:
    """One run. grace, upload_seconds: seconds."""

    def __init__(
        self,
        repositories: Repositories,
        uploads: Uploads,
        *,
        grace: float,
        upload_seconds: float,
        untagged: bool = False,
    ) -> None:
        self._repositories = repositories
        self._storage = repositories.storage
        self._recent = repositories.recent
        self._uploads = uploads
        self._upload_seconds = upload_seconds
        self._untagged = untagged
        self._until = time.monotonic() - grace
        self._oldest = time.time() - grace
        self._wanted: set[Digest] = set()
        self._done = Collected()

    def run(self) -> Collected:
        self._recent.forget(self._until)
        for name in list(self._repositories.every()):
            self._mark(name)
        for held in self._storage.blobs():
            if not self._remove_blob(held):
                self._done.held += 1
                self._done.held_bytes += held.size
        self._done.uploads = self._uploads.expire(self._upload_seconds)
        return self._done

    def _remove_blob(self, held: Held) -> bool:
        if held.digest in self._wanted or held.modified > self._oldest:
            return False
        with self._recent.removing(held.digest, self._until) as permitted:
            # a link made since the marks were read was touched
            if permitted:
                crash.point("registry-sweep")
                self._storage.drop(held.digest)
                self._done.blobs += 1
                self._done.bytes += held.size
        return permitted

    def _mark(self, name: str) -> None:
        known: dict[Digest, Described] = {}
        for text in self._storage.children(link(name, "manifests")):
            record = self._storage.get(link(name, "manifests", text))
            if record is not None:
                known[Digest(text)] = manifests.recorded(record)
        kept = self._reachable(name, known) if self._untagged else set(known)
        for digest in known.keys() - kept:
            if not self._remove_manifest(name, digest):
                kept.add(digest)
        blobs = {blob for digest in kept for blob in known[digest].blobs}
        self._wanted |= kept | blobs
        held = 0
        for text in self._storage.children(link(name, "blobs")):
            if text not in blobs and self._old(link(name, "blobs", text)) and self._remove_link(name, Digest(text)):
                continue
            held += 1
            self._wanted.add(Digest(text))
        if not kept and not held:
            self._delist(name)

    def _reachable(self, name: str, known: dict[Digest, Described]) -> set[Digest]:
        tags = self._storage.children(link(name, "tags"))
        roots = {self._storage.get(link(name, "tags", tag)) or b"" for tag in tags}
        referrers: dict[Digest, list[Digest]] = {}
        for digest, described in known.items():
            if described.subject:
                referrers.setdefault(described.subject, []).append(digest)
        kept: set[Digest] = set()
        waiting: list[Digest] = [digest for digest in known if digest.encode() in roots]
        waiting += [digest for digest in known if not self._old(link(name, "manifests", digest))]
        while waiting:
            digest = waiting.pop()
            if digest in kept or digest not in known:
                continue
            kept.add(digest)
            more: Iterable[Digest] = (*known[digest].manifests, *referrers.get(digest, ()))
            waiting.extend(more)
        return kept

    def _old(self, key: str) -> bool:
        return self._storage.modified(key) <= self._oldest

    def _remove_manifest(self, name: str, digest: Digest) -> bool:
        with self._recent.removing(digest, self._until) as permitted:
            if permitted:
                crash.point("registry-sweep-manifest")
                self._repositories.delete_manifest(name, digest)
                self._done.manifests += 1
        return permitted

    def _remove_link(self, name: str, digest: Digest) -> bool:
        with self._recent.removing(digest, self._until) as permitted:
            if permitted:
                crash.point("registry-sweep-link")
                self._storage.delete(link(name, "blobs", digest))
                self._done.links += 1
        return permitted

    def _delist(self, name: str) -> None:
        with self._recent.removing(name, self._until) as permitted:
            if permitted and self._old(catalog_key(name)):
                self._storage.delete(catalog_key(name))
