"""Repositories: which manifests, tags, blobs and referrers each has. Blobs are kept once for all of them.

    repositories/NAME/_blobs/DIGEST                 the blob's size
    repositories/NAME/_manifests/DIGEST             what it refers to (`manifests.Described`)
    repositories/NAME/_tags/TAG                     a digest
    repositories/NAME/_referrers/SUBJECT/DIGEST     the referrer's descriptor
    catalog/NAME                                    so that repositories are listed (`/` spelled `!`)

Content is written before what refers to it, so that a process that dies between the two leaves nothing half.
"""

import itertools
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiffin.content import crash
from tiffin.model.digest import Digest
from tiffin.registry.server import manifests, names
from tiffin.registry.server.manifests import Described
from tiffin.registry.server.recent import Recent
from tiffin.registry.server.refusals import (
    blob_unknown,
    digest_invalid,
    manifest_unknown,
    name_unknown,
    parts_unknown,
)
from tiffin.registry.server.storage import Storage


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest as it is stored."""

    digest: Digest
    media_type: str
    size: int


def link(name: str, what: str, *rest: str) -> str:
    """The key of a document: what is blobs, manifests, tags or referrers."""
    return "/".join(("repositories", name, f"_{what}", *rest))


def catalog_key(name: str) -> str:
    return f"catalog/{name.replace('/', '!')}"  # sorts before every character that a name has


class Repositories:
    """workspace: a directory on the storage's own file system where it has one, for what is small."""

    def __init__(self, storage: Storage, workspace: Path, recent: Recent | None = None) -> None:
        self.storage = storage
        self.recent = recent or Recent()
        self._workspace = workspace

    # Blobs

    def blob(self, name: str, digest: Digest) -> int:
        """A blob's size. Refusal BLOB_UNKNOWN where this repository has none."""
        self.recent.touch(digest)
        size = self.storage.get(link(name, "blobs", digest))
        if size is None:
            raise blob_unknown(digest)
        return int(size)

    def add_blob(self, name: str, path: Path, digest: Digest) -> None:
        """A verified file becomes a blob of this repository."""
        with self.recent.holding(digest, name):
            size = path.stat().st_size
            self.storage.take(path, digest)
            self.link_blob(name, digest, size)

    def link_blob(self, name: str, digest: Digest, size: int) -> None:
        """A blob that the storage has becomes one of this repository."""
        with self.recent.holding(digest, name):
            self._enlist(name)
            crash.point("registry-before-link")
            self.storage.put(link(name, "blobs", digest), b"%d" % size)

    def mount(self, name: str, digest: Digest, source: str) -> bool:
        """Take a blob over from another repository; whether that has it."""
        with self.recent.holding(digest):
            size = self.storage.get(link(source, "blobs", digest))
            if size is None:
                return False
            self.link_blob(name, digest, int(size))
            return True

    def delete_blob(self, name: str, digest: Digest) -> None:
        """This repository has it no more; the sweep removes it where no other has. Refusal BLOB_UNKNOWN."""
        if not self.storage.delete(link(name, "blobs", digest)):
            raise blob_unknown(digest)

    # Manifests

    def find(self, name: str, reference: str) -> Found:
        """By tag or digest. Refusal MANIFEST_UNKNOWN."""
        if names.is_digest(reference):
            digest = names.digest(reference)
        else:
            target = self.storage.get(link(name, "tags", names.tag(reference)))
            if target is None:
                raise manifest_unknown(detail={"name": name, "tag": reference})
            digest = Digest(target.decode())
        self.recent.touch(digest)
        described = self._described(name, digest)
        if described is None:
            raise manifest_unknown(detail={"name": name, "reference": reference})
        return Found(digest, described.media_type, described.size)

    def read(self, found: Found) -> bytes:
        """The manifest's bytes."""
        return b"".join(self.storage.pieces(found.digest, 0, found.size))

    def put_manifest(
        self,
        name: str,
        reference: str,
        raw: bytes,
        content_type: str,
        tags: Sequence[str] = (),
        *,
        whole: bool = True,
    ) -> tuple[Found, Described]:
        """Publish a manifest by tag or digest. whole: refuse one whose parts are not all here."""
        described = manifests.describe(raw, content_type)
        if names.is_digest(reference):
            digest = names.digest(reference)
            actual = names.digest_of(raw, names.algorithm_of(digest))
            if actual != digest:
                raise digest_invalid(f"the manifest has digest {actual}, not {digest}")
        else:
            digest, tags = names.digest_of(raw), [reference, *tags]
        for tag in tags:
            names.tag(tag)
        with self.recent.holding(digest, name, *described.blobs, *described.manifests):
            if whole:
                self._require(name, described)
            self._publish(name, digest, raw, described, tags)
        return Found(digest, described.media_type, described.size), described

    def _require(self, name: str, described: Described) -> None:
        missing = [one for one in described.blobs if self.storage.get(link(name, "blobs", one)) is None]
        missing += [one for one in described.manifests if self._described(name, one) is None]
        if missing:
            raise parts_unknown([str(one) for one in missing])

    def _publish(self, name: str, digest: Digest, raw: bytes, described: Described, tags: Sequence[str]) -> None:
        if self.storage.blob_size(digest) != len(raw):
            temporary = self._workspace / secrets.token_hex(8)
            try:
                temporary.write_bytes(raw)
                self.storage.take(temporary, digest)
            finally:
                temporary.unlink(missing_ok=True)
        self._enlist(name)
        self.storage.put(link(name, "manifests", digest), described.record())
        if described.subject:
            crash.point("registry-before-referrer")
            self.storage.put(link(name, "referrers", described.subject, digest), described.referrer(digest))
        for tag in tags:
            crash.point("registry-before-tag")
            self.storage.put(link(name, "tags", tag), digest.encode())

    def _described(self, name: str, digest: Digest) -> Described | None:
        record = self.storage.get(link(name, "manifests", digest))
        return None if record is None else manifests.recorded(record)

    def delete_tag(self, name: str, tag: str) -> None:
        """Refusal MANIFEST_UNKNOWN."""
        if not self.storage.delete(link(name, "tags", names.tag(tag))):
            raise manifest_unknown(detail={"name": name, "tag": tag})

    def delete_manifest(self, name: str, digest: Digest) -> None:
        """The manifest, its tags, and its place among the referrers of its subject. Refusal MANIFEST_UNKNOWN."""
        described = self._described(name, digest)
        if described is None:
            raise manifest_unknown(detail={"name": name, "digest": digest})
        for tag in self.storage.children(link(name, "tags")):
            if self.storage.get(link(name, "tags", tag)) == digest.encode():
                self.storage.delete(link(name, "tags", tag))
        if described.subject:
            self.storage.delete(link(name, "referrers", described.subject, digest))
        self.storage.delete(link(name, "manifests", digest))

    # Lists

    def tags(self, name: str, last: str, count: int) -> tuple[list[str], bool]:
        """At most `count` tags behind `last`, and whether more follow. Refusal NAME_UNKNOWN."""
        if self.storage.get(catalog_key(name)) is None:
            raise name_unknown(name)
        return _page(self.storage.children(link(name, "tags"), last), count)

    def catalog(self, last: str, count: int, readable: Callable[[str], bool] | None = None) -> tuple[list[str], bool]:
        """At most `count` names of repositories behind `last`, and whether more follow. readable: which to list."""
        behind = self.storage.children("catalog", last.replace("/", "!"))
        return _page(filter(readable, (one.replace("!", "/") for one in behind)), count)

    def every(self) -> Iterator[str]:
        """The names of all repositories."""
        for one in self.storage.children("catalog"):
            yield one.replace("!", "/")

    def tagged(self) -> Iterator[dict[str, Any]]:
        """Every tag as an entry of an image layout's index; `org.opencontainers.image.ref.name` is NAME:TAG."""
        for name in self.every():
            for tag in self.storage.children(link(name, "tags")):
                target = self.storage.get(link(name, "tags", tag))
                described = None if target is None else self._described(name, Digest(target.decode()))
                if target is not None and described is not None:
                    yield {
                        "mediaType": described.media_type,
                        "digest": target.decode(),
                        "size": described.size,
                        "annotations": {"org.opencontainers.image.ref.name": f"{name}:{tag}"},
                    }

    def referrers(
        self, name: str, subject: Digest, artifact_type: str, last: str, count: int, limit: int
    ) -> tuple[list[bytes], str]:
        """Descriptors of what refers to a manifest, and behind which the next page begins ("" for none).

        limit: bytes that a page may have.
        """
        found: list[bytes] = []
        size, at = 0, last
        for digest in self.storage.children(link(name, "referrers", subject), last):
            if len(found) >= count or size > limit:
                return found, at
            at = digest
            document = self.storage.get(link(name, "referrers", subject, digest))
            if document is None or (artifact_type and json.loads(document).get("artifactType") != artifact_type):
                continue
            if found and size + len(document) > limit:
                return found, last
            found.append(document)
            size += len(document)
            last = digest
        return found, ""

    def _enlist(self, name: str) -> None:
        if self.storage.get(catalog_key(name)) is None:
            self.storage.put(catalog_key(name), b"")


def _page(children: Iterator[str], count: int) -> tuple[list[str], bool]:
    found = list(itertools.islice(children, count))
    return found, bool(found) and next(children, None) is not None
