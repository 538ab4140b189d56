"""Referrers: signatures, attestations and other artifacts that refer to an image's manifest or index by `subject`.

They stay as long as what they refer to, may refer to each other, and are sent and saved along with it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tiffin.content.blobs import BlobStore
from tiffin.content.ledger import Ledger
from tiffin.errors import TiffinError
from tiffin.model.descriptor import MANIFEST_TYPES, Manifest, parse_manifest
from tiffin.model.digest import Digest, digest_of
from tiffin.registry.server import manifests

_SCHEMA = """
CREATE TABLE image_referrer(digest TEXT PRIMARY KEY, subject TEXT NOT NULL, descriptor TEXT NOT NULL);
CREATE INDEX image_referrer_subject ON image_referrer(subject);
CREATE TABLE image_referrer_blob(
  digest TEXT NOT NULL REFERENCES image_referrer(digest) ON DELETE CASCADE, blob TEXT NOT NULL,
  PRIMARY KEY (digest, blob))
"""
_BELOW = "SELECT r.digest FROM image_referrer r JOIN known k ON r.subject = k.digest"
_LIVE = (
    f"WITH RECURSIVE known(digest) AS (SELECT manifest FROM image UNION SELECT digest FROM image_index UNION {_BELOW}) "
)


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that refers to another. described: its descriptor, as lists of referrers have it."""

    subject: Digest
    manifest: Manifest
    described: dict[str, Any]

    @property
    def digest(self) -> Digest:
        return Digest(self.described["digest"])

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """The manifest, and what it names."""
        named = (self.manifest.config.digest, *(layer.digest for layer in self.manifest.layers))
        return (self.digest, *dict.fromkeys(named))


def referrer(raw: bytes, media_type: str) -> Referrer | None:
    """A manifest as what refers to its subject; None for one without. Only image manifests can be; never raises."""
    try:
        found = manifests.describe(raw, media_type)
        if found.subject is None or found.media_type not in MANIFEST_TYPES:
            return None
        return Referrer(found.subject, parse_manifest(raw, media_type), json.loads(found.referrer(digest_of(raw))))
    except TiffinError:
        return None


class Referrers:
    """The tables. Every method may be called from any thread."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs
        ledger.declare("image referrers", _SCHEMA)

    def keep(self, found: Iterable[Referrer]) -> int:
        """Keep those whose subject is here, or kept; what had lost its own is forgotten. How many are new."""
        new = []
        with self._ledger.transaction() as db:
            for one in found:
                row = (one.digest, one.subject, json.dumps(one.described))
                if db.execute("INSERT OR IGNORE INTO image_referrer VALUES (?, ?, ?)", row).rowcount == 1:
                    new.append(one.digest)
                    rows = [(one.digest, blob) for blob in one.blobs]
                    db.executemany("INSERT INTO image_referrer_blob VALUES (?, ?)", rows)
            if new:
                db.execute(f"{_LIVE}DELETE FROM image_referrer WHERE subject NOT IN known")
            query = "SELECT 1 FROM image_referrer WHERE digest = ?"
            return sum(db.execute(query, (digest,)).fetchone() is not None for digest in new)

    def below(self, subjects: Iterable[Digest]) -> list[Referrer]:
        """What refers to these, and what to that: each behind its subject. What is damaged or gone is left out."""
        found: list[Referrer] = []
        waiting = list(dict.fromkeys(subjects))
        for subject in waiting:
            with self._ledger.reading() as db:
                query = "SELECT digest, descriptor FROM image_referrer WHERE subject = ? ORDER BY rowid"
                rows = db.execute(query, (subject,)).fetchall()
            for row in rows:
                one = self._read(Digest(row["digest"]), json.loads(row["descriptor"])["mediaType"])
                if one is not None and one.digest not in waiting:
                    found.append(one)
                    waiting.append(one.digest)
        return found

    def _read(self, digest: Digest, media_type: str) -> Referrer | None:
        try:
            found = referrer(self._blobs.read(digest), media_type)
        except TiffinError:
            return None
        return found if found is not None and all(self._blobs.exists(blob) for blob in found.blobs) else None

    def blobs(self) -> Iterator[Digest]:
        """What stays, for its subject does."""
        query = f"{_LIVE}SELECT DISTINCT b.blob FROM image_referrer_blob b JOIN known k ON b.digest = k.digest"
        with self._ledger.reading() as db:
            yield from [Digest(row["blob"]) for row in db.execute(query)]
