"""The catalog: which images there are and what they are called. Tables in the ledger, documents in the blob store."""

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tiffin.content.blobs import BlobStore
from tiffin.content.ledger import Ledger
from tiffin.errors import Internal, Invalid, NotFound
from tiffin.model.descriptor import Manifest, parse_manifest
from tiffin.model.digest import Digest
from tiffin.model.image import Image, ImageConfig, parse_config
from tiffin.model.reference import Reference, parse_reference

_SCHEMA = """
CREATE TABLE image(
  id TEXT PRIMARY KEY, manifest TEXT NOT NULL, parent TEXT, size INTEGER NOT NULL, tagged REAL NOT NULL DEFAULT 0);
CREATE TABLE image_name(name TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE);
CREATE INDEX image_name_image ON image_name(image);
CREATE TABLE image_blob(
  image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE, blob TEXT NOT NULL, PRIMARY KEY (image, blob))
"""
_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})", re.ASCII)
_FULL_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}", re.ASCII)
_CACHED = 512


@dataclass(frozen=True, slots=True)
class Record:
    """What is written when an image arrives."""

    config: ImageConfig
    manifest: Manifest
    manifest_digest: Digest
    size: int
    parent: Digest | None = None
    names: tuple[Reference, ...] = ()

    @property
    def blobs(self) -> set[Digest]:
        return {self.manifest_digest, self.config.id, *(layer.digest for layer in self.manifest.layers)}


@dataclass(frozen=True, slots=True)
class Held:
    """An image as the ledger has it, whether or not its documents can be read."""

    id: Digest
    manifest: Digest
    names: tuple[Reference, ...]
    blobs: frozenset[Digest]


def is_digest(text: str) -> bool:
    """Whether a text is an ID, or the digest of another document, in full."""
    return _FULL_ID.fullmatch(text) is not None


def no_such_image(name: str) -> NotFound:
    """docker's words: clients pull when they read them."""
    try:
        shown = name if _FULL_ID.fullmatch(name) else parse_reference(name).with_default_tag().familiar
    except Invalid:
        shown = name
    return NotFound(f"No such image: {shown}")


class Catalog:
    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._documents: dict[Digest, tuple[ImageConfig, Manifest]] = {}
        self._guard = threading.Lock()
        self._reserved: dict[Digest, Image] = {}
        self.of_index: Callable[[Digest], Digest | None] = lambda digest: None
        """The image that an index's names have; `Indexes` knows."""
        ledger.declare("images", _SCHEMA)

    def reserve(self, image: Image) -> None:
        """An image that is not stored: it is found, never changed."""
        self._reserved[image.id] = image

    def add(self, record: Record) -> bool:
        """Register an image and give it its names. True where it was not there before."""
        image = record.config.id
        now = time.time() if record.names else 0.0
        row = (image, record.manifest_digest, record.parent, record.size, now)
        with self._ledger.transaction() as db:
            new = db.execute("INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, ?)", row).rowcount == 1
            if new:
                db.executemany("INSERT INTO image_blob VALUES (?, ?)", [(image, blob) for blob in record.blobs])
            for name in record.names:
                put_name(db, name, image)
        return new

    def describe(self, image: Digest, manifest: Digest, blobs: Iterable[Digest]) -> None:
        """Have an image another manifest, which is in the store with the blobs that it names."""
        with self._ledger.transaction() as db:
            db.execute("UPDATE image SET manifest = ? WHERE id = ?", (manifest, image))
            db.execute("DELETE FROM image_blob WHERE image = ?", (image,))
            rows = [(image, blob) for blob in {image, manifest, *blobs}]
            db.executemany("INSERT INTO image_blob VALUES (?, ?)", rows)
        with self._guard:
            self._documents.pop(image, None)

    def tag(self, name: Reference, image: Digest) -> Digest | None:
        """Give an image a name; the image that had it before."""
        with self._ledger.transaction() as db:
            before = db.execute("SELECT image FROM image_name WHERE name = ?", (str(name),)).fetchone()
            put_name(db, name, image)
        return before["image"] if before else None

    def untag(self, names: Iterable[Reference]) -> None:
        with self._ledger.transaction() as db:
            db.executemany("DELETE FROM image_name WHERE name = ?", [(str(name),) for name in names])

    def remove(self, image: Digest) -> None:
        """With its names."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM image WHERE id = ?", (image,))
        with self._guard:
            self._documents.pop(image, None)

    def resolve(self, name: str) -> Digest:
        """The ID for a name, a digest, an ID or its beginning. NotFound in docker's words; Invalid for no name.

        An image is found by its manifest's digest too, and by its index's: what builders say that they have made.
        """
        if _FULL_ID.fullmatch(name):
            found = self._by_prefix(name.removeprefix("sha256:")) or self._by_document(name)
        else:
            found = self._by_name(name) or self._by_prefix(name)
        if found is None:
            raise no_such_image(name)
        return found

    def named(self, reference: Reference) -> Digest | None:
        for image in self._reserved.values():
            if reference.with_default_tag().familiar in image.repo_tags:
                return image.id
        wanted = str(reference.with_default_tag())
        if reference.tag and reference.digest:  # a digest decides; the tag beside it is for people
            wanted = str(replace(reference, tag=None))
        with self._ledger.reading() as db:
            row = db.execute("SELECT image FROM image_name WHERE name = ?", (wanted,)).fetchone()
        return Digest(row["image"]) if row else None

    def _by_name(self, name: str) -> Digest | None:
        try:
            return self.named(parse_reference(name))
        except Invalid:
            if _ID.fullmatch(name):  # sha256:abc… is an ID and no name
                return None
            raise

    def _by_document(self, name: str) -> Digest | None:
        digest = Digest(f"sha256:{name.removeprefix('sha256:')}")
        with self._ledger.reading() as db:
            row = db.execute("SELECT id FROM image WHERE manifest = ?", (digest,)).fetchone()
        return Digest(row["id"]) if row else self.of_index(digest)

    def _by_prefix(self, prefix: str) -> Digest | None:
        match = _ID.fullmatch(prefix)
        if match is None:
            return None
        low, high = f"sha256:{match[1]}", f"sha256:{match[1]}g"
        with self._ledger.reading() as db:
            rows = db.execute("SELECT id FROM image WHERE id >= ? AND id < ? LIMIT 2", (low, high)).fetchall()
        found = [Digest(row["id"]) for row in rows] + [item for item in self._reserved if item.startswith(low)]
        return found[0] if len(found) == 1 else None  # an ambiguous one names nothing

    def get(self, name: str) -> Image:
        return self.image(self.resolve(name))

    def image(self, digest: Digest) -> Image:
        if digest in self._reserved:
            return self._reserved[digest]
        with self._ledger.reading() as db:
            row = db.execute("SELECT manifest, parent, size, tagged FROM image WHERE id = ?", (digest,)).fetchone()
            names = db.execute("SELECT name FROM image_name WHERE image = ? ORDER BY name", (digest,)).fetchall()
        if row is None:
            raise no_such_image(digest)
        return self._image(digest, row, [parse_reference(item["name"]) for item in names])

    def images(self) -> list[Image]:
        """Every image, without order. One whose documents are damaged is left out: it can't be used."""
        with self._ledger.reading() as db:
            rows = db.execute("SELECT id, manifest, parent, size, tagged FROM image").fetchall()
            names: dict[str, list[Reference]] = {}
            for item in db.execute("SELECT name, image FROM image_name ORDER BY name"):
                names.setdefault(item["image"], []).append(parse_reference(item["name"]))
        found = list(self._reserved.values())
        for row in rows:
            try:
                found.append(self._image(Digest(row["id"]), row, names.get(row["id"], [])))
            except (NotFound, Invalid, Internal):
                continue
        return found

    def held(self) -> list[Held]:
        """Every image that is recorded, without order."""
        with self._ledger.reading() as db:
            rows = db.execute("SELECT id, manifest FROM image").fetchall()
            blobs: dict[str, set[Digest]] = {}
            for item in db.execute("SELECT image, blob FROM image_blob"):
                blobs.setdefault(item["image"], set()).add(Digest(item["blob"]))
            names: dict[str, list[Reference]] = {}
            for item in db.execute("SELECT name, image FROM image_name ORDER BY name"):
                names.setdefault(item["image"], []).append(parse_reference(item["name"]))
        return [
            Held(
                Digest(row["id"]),
                Digest(row["manifest"]),
                tuple(names.get(row["id"], ())),
                frozenset(blobs.get(row["id"], ())) | {Digest(row["id"]), Digest(row["manifest"])},
            )
            for row in rows
        ]

    def _image(self, digest: Digest, row: sqlite3.Row, names: list[Reference]) -> Image:
        config, manifest = self._read(digest, Digest(row["manifest"]))
        return Image(
            config=config,
            manifest=manifest,
            repo_tags=tuple(name.familiar for name in names if name.digest is None),
            repo_digests=tuple(name.familiar for name in names if name.digest is not None),
            size=row["size"],
            parent=Digest(row["parent"]) if row["parent"] else None,
            tagged=row["tagged"],
        )

    def _read(self, image: Digest, manifest: Digest) -> tuple[ImageConfig, Manifest]:
        documents = self._documents.get(image)
        if documents is None:
            documents = (parse_config(self._blobs.read(image)), parse_manifest(self._blobs.read(manifest)))
            with self._guard:
                if len(self._documents) >= _CACHED:
                    self._documents.clear()
                self._documents[image] = documents
        return documents

    def is_reserved(self, image: Digest) -> bool:
        return image in self._reserved

    def names(self, image: Digest) -> list[Reference]:
        """Tags and digests, in docker's order: by text."""
        if image in self._reserved:
            return [parse_reference(tag) for tag in self._reserved[image].repo_tags]
        with self._ledger.reading() as db:
            rows = db.execute("SELECT name FROM image_name WHERE image = ? ORDER BY name", (image,)).fetchall()
        return [parse_reference(row["name"]) for row in rows]

    def tags_of(self, repository: Reference) -> list[tuple[Reference, Digest]]:
        """Every tag of a repository."""
        with self._ledger.reading() as db:
            rows = db.execute(
                "SELECT name, image FROM image_name WHERE name GLOB ? ORDER BY name", (repository.name + ":*",)
            ).fetchall()
        return [(parse_reference(row["name"]), Digest(row["image"])) for row in rows]

    def children(self, image: Digest) -> list[Digest]:
        with self._ledger.reading() as db:
            return [Digest(row["id"]) for row in db.execute("SELECT id FROM image WHERE parent = ?", (image,))]

    def blobs(self) -> set[Digest]:
        with self._ledger.reading() as db:
            return {Digest(row["blob"]) for row in db.execute("SELECT DISTINCT blob FROM image_blob")}


def put_name(db: sqlite3.Connection, name: Reference, image: Digest) -> None:
    """In a transaction of the caller's. The name means no index any more."""
    db.execute("INSERT OR REPLACE INTO image_name VALUES (?, ?)", (str(name), image))
    db.execute("UPDATE image SET tagged = ? WHERE id = ?", (time.time(), image))
