"""The drivers' tables: which layers and snapshots are whole. What has no record is left over, and swept."""

import re
import threading
from collections.abc import Iterable

from tiffin.content.ledger import Ledger
from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.model.digest import Digest, digest_of
from tiffin.snapshots.snapshotter import Layer

_SCHEMA = """
CREATE TABLE snapshot_layer(
  driver TEXT NOT NULL, chain TEXT NOT NULL, parent TEXT, diff TEXT NOT NULL, size INTEGER NOT NULL,
  PRIMARY KEY (driver, chain));
CREATE TABLE snapshot(
  driver TEXT NOT NULL, key TEXT NOT NULL, parent TEXT, writable INTEGER NOT NULL, PRIMARY KEY (driver, key))
"""
_LINEAGE = """
WITH RECURSIVE above(chain, parent, diff, size, depth) AS (
  SELECT chain, parent, diff, size, 0 FROM snapshot_layer WHERE driver = ?1 AND chain = ?2
  UNION ALL
  SELECT layer.chain, layer.parent, layer.diff, layer.size, depth + 1 FROM above
  CROSS JOIN snapshot_layer AS layer WHERE layer.driver = ?1 AND layer.chain = above.parent)
SELECT chain, parent, diff, size FROM above ORDER BY depth
"""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)


def chain_of(parent: Digest | None, diff: Digest) -> Digest:
    return digest_of(f"{parent} {diff}".encode()) if parent else diff


def checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise Invalid(f"{key!r} can't name a snapshot")
    return key


class Records:
    def __init__(self, ledger: Ledger, driver: str) -> None:
        self._ledger = ledger
        self._driver = driver
        self._adopted: dict[Digest, Layer] = {}
        self._guard = threading.Lock()
        ledger.declare("snapshots", _SCHEMA)

    def adopt(self, layer: Layer) -> None:
        self._adopted[layer.chain] = layer

    def add_layer(self, layer: Layer) -> None:
        row = (self._driver, layer.chain, layer.parent, layer.diff, layer.size)
        with self._ledger.transaction() as db:
            db.execute("INSERT OR REPLACE INTO snapshot_layer VALUES (?, ?, ?, ?, ?)", row)

    def layer(self, chain: Digest) -> Layer | None:
        if chain in self._adopted:
            return self._adopted[chain]
        query = "SELECT chain, parent, diff, size FROM snapshot_layer WHERE driver = ? AND chain = ?"
        with self._ledger.reading() as db:
            row = db.execute(query, (self._driver, chain)).fetchone()
        return Layer(*row) if row else None

    def layers(self) -> list[Layer]:
        with self._ledger.reading() as db:
            rows = db.execute(
                "SELECT chain, parent, diff, size FROM snapshot_layer WHERE driver = ? ORDER BY rowid", (self._driver,)
            ).fetchall()
        return [*self._adopted.values(), *(Layer(*row) for row in rows)]

    def remove_unwanted(self, wanted: Iterable[Digest]) -> list[Layer]:
        """Forget the layers that are neither wanted nor below something that is; they are returned."""
        with self._guard:  # against a snapshot that is just being put above one of them
            gone = self.unwanted(wanted)
            with self._ledger.transaction() as db:
                db.executemany(
                    "DELETE FROM snapshot_layer WHERE driver = ? AND chain = ?",
                    [(self._driver, layer.chain) for layer in gone],
                )
        return gone

    def lineage(self, chain: Digest | None) -> list[Layer]:
        """The layers of a chain, topmost first. NotFound where one is missing."""
        if chain is None:
            return []
        with self._ledger.reading() as db:
            found = [Layer(*row) for row in db.execute(_LINEAGE, (self._driver, chain))]
        base = found[-1].parent if found else chain
        if base is not None:  # what is not recorded was adopted
            if base not in self._adopted:
                raise NotFound(f"layer {base} does not exist: load or pull its image again")
            found.append(self._adopted[base])
        return found

    def unwanted(self, wanted: Iterable[Digest]) -> list[Layer]:
        """The layers that are neither wanted nor below something that is."""
        parents = {layer.chain: layer.parent for layer in self.layers()}
        keep: set[Digest] = set()
        for chain in (*wanted, *self._snapshot_parents()):
            current: Digest | None = chain
            while current is not None and current not in keep:
                keep.add(current)
                current = parents.get(current)
        keep |= self._adopted.keys()
        return [layer for layer in self.layers() if layer.chain not in keep]

    def _snapshot_parents(self) -> list[Digest]:
        with self._ledger.reading() as db:
            query = "SELECT DISTINCT parent FROM snapshot WHERE driver = ? AND parent IS NOT NULL"
            return [Digest(row[0]) for row in db.execute(query, (self._driver,))]

    def add_snapshot(self, key: str, parent: Digest | None, writable: bool) -> list[Layer]:
        """Record a snapshot above a layer; the layers below it, topmost first. NotFound, Conflict."""
        with self._guard:
            lineage = self.lineage(parent)
            self._insert_snapshot(key, parent, writable)
        return lineage

    def _insert_snapshot(self, key: str, parent: Digest | None, writable: bool) -> None:
        with self._ledger.transaction(volatile=True) as db:
            row = db.execute("SELECT 1 FROM snapshot WHERE driver = ? AND key = ?", (self._driver, key)).fetchone()
            if row:
                raise Conflict(f"snapshot {key} exists already")
            db.execute("INSERT INTO snapshot VALUES (?, ?, ?, ?)", (self._driver, key, parent, writable))

    def writable(self) -> list[str]:
        """The keys of snapshots that have files of their own."""
        with self._ledger.reading() as db:
            query = "SELECT key FROM snapshot WHERE driver = ? AND writable"
            return [str(row[0]) for row in db.execute(query, (self._driver,))]

    def snapshot(self, key: str) -> tuple[Digest | None, bool]:
        """(parent, writable)"""
        query = "SELECT parent, writable FROM snapshot WHERE driver = ? AND key = ?"
        with self._ledger.reading() as db:
            row = db.execute(query, (self._driver, key)).fetchone()
        if row is None:
            raise NotFound(f"snapshot {key} does not exist")
        return row["parent"], bool(row["writable"])

    def snapshots(self) -> list[str]:
        with self._ledger.reading() as db:
            query = "SELECT key FROM snapshot WHERE driver = ?"
            return [str(row[0]) for row in db.execute(query, (self._driver,))]

    def remove_snapshot(self, key: str) -> None:
        with self._ledger.transaction(volatile=True) as db:
            db.execute("DELETE FROM snapshot WHERE driver = ? AND key = ?", (self._driver, key))
