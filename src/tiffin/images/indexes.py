"""Indexes: names that mean images of several platforms, and what of them is here.

A name has one image, as ever: of an index's the best for this machine. The index's other images have no names of their
own; they are reached by the name and a platform, are hidden from lists, and go with the index's last name. What a build
without a name has made is kept by that best image itself, and reached by its ID, or the index's.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tiffin.content.blobs import BlobStore
from tiffin.content.ledger import Ledger
from tiffin.errors import Internal, Invalid, NotFound
from tiffin.images.catalog import Catalog, put_name
from tiffin.model.descriptor import (
    INDEX_TYPES,
    OCI_INDEX,
    Descriptor,
    Manifest,
    document,
    parse_index,
    parse_manifest,
)
from tiffin.model.digest import Digest
from tiffin.model.image import Image
from tiffin.model.platform import Platform, choose, host_platform, same_architecture
from tiffin.model.reference import Reference, parse_reference

ATTESTATION = "attestation-manifest"
TYPE_ANNOTATION, SUBJECT_ANNOTATION = "vnd.docker.reference.type", "vnd.docker.reference.digest"
_MAX_NESTING = 4
_SCHEMA = """
CREATE TABLE image_index(
  name TEXT PRIMARY KEY REFERENCES image_name(name) ON DELETE CASCADE, digest TEXT NOT NULL);
CREATE INDEX image_index_digest ON image_index(digest);
CREATE TABLE image_index_member(
  digest TEXT NOT NULL, image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE, PRIMARY KEY (digest, image));
CREATE INDEX image_index_member_image ON image_index_member(image);
CREATE TABLE image_index_blob(digest TEXT NOT NULL, blob TEXT NOT NULL, PRIMARY KEY (digest, blob))
"""
_WITHOUT_NAMES = """
CREATE TABLE image_index_nameless(
  image TEXT PRIMARY KEY REFERENCES image(id) ON DELETE CASCADE, digest TEXT NOT NULL);
CREATE VIEW image_index_holder AS
  SELECT i.digest, n.image FROM image_index i JOIN image_name n ON n.name = i.name
  UNION SELECT digest, image FROM image_index_nameless
"""
_PART = (
    "NOT EXISTS (SELECT 1 FROM image_name n WHERE n.image = m.image)"
    " AND NOT EXISTS (SELECT 1 FROM image_index_nameless k WHERE k.image = m.image)"
)
_HELD = (
    "EXISTS (SELECT 1 FROM image_index_holder h JOIN image_index_member o ON o.digest = h.digest"
    " WHERE o.image = m.image)"
)


@dataclass(frozen=True, slots=True)
class Member:
    """A manifest that an index names. manifest: None where it isn't here; image: where it is in the catalog.

    available: all of its blobs are here. size: what is here of it, bytes.
    """

    descriptor: Descriptor
    manifest: Manifest | None = None
    image: Image | None = None
    available: bool = False
    size: int = 0

    @property
    def subject(self) -> str:
        """What an attestation attests; empty for anything else."""
        annotations = self.descriptor.annotations
        return annotations.get(SUBJECT_ANNOTATION, "") if annotations.get(TYPE_ANNOTATION) == ATTESTATION else ""

    @property
    def blobs(self) -> tuple[Digest, ...]:
        if self.manifest is None:
            return ()
        return (self.descriptor.digest, self.manifest.config.digest, *(one.digest for one in self.manifest.layers))


class Indexes:
    """The tables, and the documents in the blob store. Every method may be called from any thread."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, catalog: Catalog) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._catalog = catalog
        ledger.declare("image indexes", _SCHEMA, _WITHOUT_NAMES)
        catalog.of_index = self._named

    # -- what names mean ---------------------------------------------------------------------------------------------

    def attach(
        self,
        names: Iterable[Reference],
        index: Digest,
        image: Digest | None,
        blobs: Iterable[Digest],
        *,
        first: Digest | None = None,
    ) -> bool:
        """Have names mean an index, with an image and blobs that belong to it. Whether it is new.

        first: the image that the names get; without it they are there already.
        """
        with self._ledger.transaction() as db:
            new = False
            for name in names:
                if first is not None:
                    put_name(db, name, first)
                row = db.execute("SELECT digest FROM image_index WHERE name = ?", (str(name),)).fetchone()
                if row is None or row["digest"] != index:
                    db.execute("INSERT OR REPLACE INTO image_index VALUES (?, ?)", (str(name), index))
                    new = True
            if image is not None:
                added = db.execute("INSERT OR IGNORE INTO image_index_member VALUES (?, ?)", (index, image))
                new |= added.rowcount == 1
            if new:
                db.execute("DELETE FROM image_index_nameless WHERE digest IN (SELECT digest FROM image_index)")
            _add_blobs(db, index, blobs)
        return new

    def keep(self, index: Digest, first: Digest, images: Iterable[Digest], blobs: Iterable[Digest]) -> None:
        """An index that has no name; it goes with the image `first`, or when that one gets another such index."""
        with self._ledger.transaction() as db:
            db.execute("INSERT OR REPLACE INTO image_index_nameless VALUES (?, ?)", (first, index))
            db.executemany("INSERT OR IGNORE INTO image_index_member VALUES (?, ?)", [(index, one) for one in images])
            _add_blobs(db, index, blobs)

    def of(self, name: Reference | str) -> Digest | None:
        """The index that a name means, or that an image without a name keeps. None where there is none."""
        try:
            reference = (parse_reference(name) if isinstance(name, str) else name).with_default_tag()
        except Invalid:
            return self._kept_by(str(name))
        if reference.tag and reference.digest:
            reference = Reference(reference.domain, reference.path, digest=reference.digest)
        with self._ledger.reading() as db:
            row = db.execute("SELECT digest FROM image_index WHERE name = ?", (str(reference),)).fetchone()
        if row is None and isinstance(name, str) and self._catalog.named(reference) is None:
            return self._kept_by(name)
        return Digest(row["digest"]) if row else None

    def _kept_by(self, id: str) -> Digest | None:
        try:
            image = self._catalog.resolve(id)
        except (NotFound, Invalid):
            return None
        return next(iter(self._digests("SELECT digest FROM image_index_nameless WHERE image = ?", image)), None)

    def of_image(self, image: Image) -> Digest | None:
        """The index of an image's first name that means one, or that it keeps without a name."""
        names = (*image.repo_tags, *image.repo_digests, image.id)
        return next((index for name in names if (index := self.of(name)) is not None), None)

    def holds(self, index: Digest) -> bool:
        """Whether a name means it, or an image keeps it."""
        with self._ledger.reading() as db:
            return db.execute("SELECT 1 FROM image_index_holder WHERE digest = ?", (index,)).fetchone() is not None

    def _named(self, index: Digest) -> Digest | None:
        """The image that its names have, or that keeps it."""
        query = "SELECT image FROM image_index_holder WHERE digest = ? LIMIT 1"
        return next(iter(self._digests(query, index)), None)

    # -- which images ------------------------------------------------------------------------------------------------

    def images(self, index: Digest) -> list[Image]:
        """An index's images that are here."""
        found = []
        for digest in self.ids(index):
            try:
                found.append(self._catalog.image(digest))
            except (NotFound, Invalid, Internal):  # gone meanwhile, or damaged
                continue
        return found

    def ids(self, index: Digest) -> list[Digest]:
        return self._digests("SELECT image FROM image_index_member WHERE digest = ?", index)

    def first(self, index: Digest, image: Digest, *, without: Digest | None = None) -> Digest:
        """The image that the index's names get: the best for this machine of those here and `image`, else `image`."""
        here = [one for one in self.images(index) if one.id != without]
        best = _best(host_platform(), [*here, self._catalog.image(image)])
        return best.id if best else image

    def chosen(self, name: str, platform: Platform | None) -> Image:
        """The image of a name, or its platform's. NotFound in docker's words where that isn't here."""
        image = self._catalog.get(name)
        if platform is None:
            return image
        best = self.of_name(name, image, platform)
        if best is None:
            found = f"image with reference {name} was found but"
            if self.of(name) is None and (own := image.config.platform):
                raise NotFound(f"{found} its platform ({own}) does not match the specified platform ({platform})")
            raise NotFound(f"{found} does not provide the specified platform ({platform})")
        return best

    def of_name(self, name: Reference | str, image: Image, platform: Platform) -> Image | None:
        """The platform's image of a name that has `image`. None where it isn't here."""
        index = self.of(name)
        return _best(platform, [image, *(self.images(index) if index else ())])

    def beside(self, image: Digest) -> list[Digest]:
        """The nameless images of the indexes that an image's names mean, and of the one that it keeps."""
        query = (
            "SELECT DISTINCT m.image FROM image_index_member m JOIN image_index_holder h ON h.digest = m.digest "
            f"WHERE h.image = ? AND m.image != h.image AND {_PART}"
        )
        return self._digests(query, image)

    def hidden(self) -> set[Digest]:
        """Images without a name that are part of an index that is held."""
        return set(self._digests(f"SELECT DISTINCT m.image FROM image_index_member m WHERE {_PART} AND {_HELD}"))

    def orphans(self) -> list[Digest]:
        """Images without a name whose indexes nothing holds any more."""
        return self._digests(f"SELECT DISTINCT m.image FROM image_index_member m WHERE {_PART} AND NOT {_HELD}")

    def forget(self, image: Digest) -> None:
        """An image belongs to no index that nothing holds."""
        with self._ledger.transaction() as db:
            held = "SELECT digest FROM image_index_holder"
            db.execute(f"DELETE FROM image_index_member WHERE image = ? AND digest NOT IN ({held})", (image,))

    def _digests(self, query: str, *values: str) -> list[Digest]:
        with self._ledger.reading() as db:
            return [Digest(row[0]) for row in db.execute(query, values)]

    # -- documents ---------------------------------------------------------------------------------------------------

    def blobs(self) -> Iterator[Digest]:
        """What must stay beside the images' own blobs: indexes, and what they name that is no image."""
        query = "SELECT DISTINCT blob FROM image_index_blob WHERE digest IN (SELECT digest FROM image_index_holder)"
        yield from self._digests(query)

    def raw(self, index: Digest) -> bytes:
        return self._blobs.read(index)

    def members(self, index: Digest) -> list[Member]:
        """Every manifest that an index names, those of nested ones too, in its order. Internal for a damaged one."""
        here = {image.config.id: image for image in self.images(index)}
        return list(self._members(index, here, 0))

    def nested(self, index: Digest) -> list[Descriptor]:
        """The indexes in an index that are here, the innermost first."""
        found: list[Descriptor] = []
        for item in parse_index(self.raw(index)).manifests:
            if item.media_type in INDEX_TYPES and self._blobs.exists(item.digest) and len(found) < _MAX_NESTING:
                found += [*self.nested(item.digest), item]
        return found

    def saved(self, index: Digest) -> tuple[Descriptor | None, tuple[Digest, ...]]:
        """An index as it goes into archives, with the blobs of it that are here; nothing of one that has one image here
        and lacks others: that is a plain image then, for any reader.
        """
        members = self.members(index)
        images = [member for member in members if member.image is not None and member.available]
        if len(images) < 2 and not self.whole(members):
            return None, ()
        found = [blob for member in members if member.available for blob in member.blobs]
        nested = [item.digest for item in self.nested(index)]
        raw = self.raw(index)
        kind = str(document(raw, "image index").get("mediaType") or OCI_INDEX)
        return Descriptor(kind, index, len(raw)), (*dict.fromkeys(found), *nested, index)

    def whole(self, members: Iterable[Member]) -> bool:
        return all(member.available for member in members)

    def _members(self, index: Digest, here: dict[Digest, Image], depth: int) -> Iterator[Member]:
        for item in parse_index(self.raw(index)).manifests:
            if item.media_type in INDEX_TYPES:
                if self._blobs.exists(item.digest) and depth < _MAX_NESTING:
                    yield from self._members(item.digest, here, depth + 1)
                else:
                    yield Member(item)
                continue
            yield self._member(item, here)

    def _member(self, item: Descriptor, here: dict[Digest, Image]) -> Member:
        if not self._blobs.exists(item.digest):
            return Member(item)
        manifest = parse_manifest(self._blobs.read(item.digest), item.media_type)
        parts = [manifest.config.digest, *(layer.digest for layer in manifest.layers)]
        sizes = [self._blobs.size(digest) for digest in dict.fromkeys(parts) if self._blobs.exists(digest)]
        whole = len(sizes) == len(set(parts))
        return Member(item, manifest, here.get(manifest.config.digest), whole, item.size + sum(sizes))


def _add_blobs(db: sqlite3.Connection, index: Digest, blobs: Iterable[Digest]) -> None:
    db.executemany("INSERT OR IGNORE INTO image_index_blob VALUES (?, ?)", [(index, blob) for blob in blobs])
    db.execute("DELETE FROM image_index_blob WHERE digest NOT IN (SELECT digest FROM image_index_holder)")


def _best(wanted: Platform, images: Iterable[Image]) -> Image | None:
    usable = [image for image in images if same_architecture(wanted, image.config.platform)]
    best = choose(wanted, [image.config.platform for image in usable])
    return None if best is None else usable[best]
