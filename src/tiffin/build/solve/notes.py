"""What is remembered of cached steps in order to explain the next build: how long each took, which files it read.

Nothing depends on it: it may be lost with the power, and a listing that would be very long is not kept.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence

from tiffin.content.ledger import Ledger
from tiffin.model.digest import Digest

_SCHEMA = """
CREATE TABLE build_note(key TEXT PRIMARY KEY, took INTEGER NOT NULL, project TEXT NOT NULL);
CREATE TABLE build_listing(digest TEXT PRIMARY KEY, files BLOB NOT NULL)
"""
_MOST = 20_000  # files in a listing
_SHORT = 8  # bytes of a file's digest: enough to see that two differ

Listing = Sequence[tuple[bytes, bytes]]
"""Path and description (`contents.digest`) of everything that a step takes of one source."""


class Notes:
    """Any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        ledger.declare("build_notes", _SCHEMA)

    def add(self, key: Digest, took: int, project: str, listings: Mapping[Digest, Listing]) -> None:
        """took: ns; project: the directory that was built; listings by the digest of what they list."""
        rows = [(digest, _packed(listing)) for digest, listing in listings.items() if len(listing) <= _MOST]
        with self._ledger.transaction(volatile=True) as db:
            db.execute("INSERT OR REPLACE INTO build_note VALUES (?, ?, ?)", (key, took, project))
            db.executemany("INSERT OR IGNORE INTO build_listing VALUES (?, ?)", rows)

    def took(self, key: Digest) -> int | None:
        """How long a step ran, in ns."""
        with self._ledger.reading() as db:
            row = db.execute("SELECT took FROM build_note WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def keys(self, project: str) -> set[str]:
        """The steps that a project's builds have run."""
        with self._ledger.reading() as db:
            return {row[0] for row in db.execute("SELECT key FROM build_note WHERE project = ?", (project,))}

    def listing(self, digest: Digest) -> dict[bytes, bytes] | None:
        """Paths, each with something that differs where the file does."""
        with self._ledger.reading() as db:
            row = db.execute("SELECT files FROM build_listing WHERE digest = ?", (digest,)).fetchone()
        return _unpacked(row[0]) if row else None

    def tidy(self) -> None:
        """Forget what no cached step refers to."""
        with self._ledger.transaction(volatile=True) as db:
            db.execute("DELETE FROM build_note WHERE key NOT IN (SELECT key FROM build_step)")
            used = "SELECT 1 FROM build_step WHERE instr(parts, build_listing.digest)"
            db.execute(f"DELETE FROM build_listing WHERE NOT EXISTS ({used})")


def shortened(listing: Listing) -> dict[bytes, bytes]:
    """As `Notes.listing` gives it."""
    return {path: hashlib.sha256(about).digest()[:_SHORT] for path, about in listing}


def _packed(listing: Listing) -> bytes:
    return zlib.compress(b"".join(about + path + b"\0" for path, about in shortened(listing).items()), 1)


def _unpacked(data: bytes) -> dict[bytes, bytes]:
    found, plain, at = {}, zlib.decompress(data), 0
    while at < len(plain):
        end = plain.index(b"\0", at + _SHORT)
        found[plain[at + _SHORT : end]] = plain[at : at + _SHORT]
        at = end + 1
    return found
