"""Which repositories are known to hold a blob: where a push may have it mounted from instead of sending it."""

from collections.abc import Iterable

from tiffin.content.ledger import Ledger
from tiffin.model.digest import Digest
from tiffin.model.reference import Reference

_SCHEMA = """
CREATE TABLE blob_source(
  blob TEXT NOT NULL, domain TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (blob, domain, path)) WITHOUT ROWID
"""
_MOST = 50  # repositories remembered of one blob


class Provenance:
    """Only a hint: the registry decides. So it may be lost with the power."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        ledger.declare("registries", _SCHEMA)

    def note(self, repository: Reference, blobs: Iterable[Digest]) -> None:
        rows = [(blob, repository.domain, repository.path) for blob in blobs]
        with self._ledger.transaction(volatile=True) as db:
            db.executemany("INSERT OR IGNORE INTO blob_source VALUES (?, ?, ?)", rows)

    def sources(self, repository: Reference, blob: Digest) -> list[str]:
        """Other repositories of the same registry, those with the longest common beginning first."""
        with self._ledger.reading() as db:
            rows = db.execute(
                "SELECT path FROM blob_source WHERE blob = ? AND domain = ? AND path != ? LIMIT ?",
                (blob, repository.domain, repository.path, _MOST),
            ).fetchall()
        mine = repository.path.split("/")
        return sorted((str(row["path"]) for row in rows), key=lambda path: -_common(mine, path.split("/")))

    def keep_only(self, blobs: Iterable[Digest]) -> None:
        """Forget blobs that are not in the store any more."""
        kept = set(blobs)
        with self._ledger.transaction(volatile=True) as db:
            known = {row["blob"] for row in db.execute("SELECT DISTINCT blob FROM blob_source")}
            db.executemany("DELETE FROM blob_source WHERE blob = ?", [(blob,) for blob in known - kept])


def _common(one: list[str], other: list[str]) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
