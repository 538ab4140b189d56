"""What steps have made, by their keys, in the ledger: survives restarts, and keeps its layers from every sweep.

A record is written when its layer is durable, in one transaction. How often and when it was used may be lost with the
power; nothing depends on it.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tiffin.build.keys import Part
from tiffin.build.solve.notes import Notes
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.values import Stack
from tiffin.content.ledger import Ledger
from tiffin.model.digest import Digest

_SCHEMA = """
CREATE TABLE build_step(
  key TEXT PRIMARY KEY, label TEXT NOT NULL, kind TEXT NOT NULL, parts TEXT NOT NULL, parents TEXT NOT NULL,
  layers TEXT NOT NULL, chain TEXT, size INTEGER NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,
  uses INTEGER NOT NULL DEFAULT 0);
CREATE TABLE build_content(
  chain TEXT NOT NULL, what TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (chain, what));
CREATE TABLE build_source(
  source TEXT PRIMARY KEY, facts TEXT NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL, created INTEGER NOT NULL,
  used INTEGER NOT NULL DEFAULT 0, uses INTEGER NOT NULL DEFAULT 0)
"""
_BROUGHT = """
CREATE TABLE build_brought(
  chain TEXT PRIMARY KEY, label TEXT NOT NULL, layers TEXT NOT NULL, size INTEGER NOT NULL, created INTEGER NOT NULL)
"""

IMPORTED = "imported"
"""The kind of a step that another builder tells of. It is in no ledger."""


@dataclass(frozen=True, slots=True)
class Step:
    """One cached step. size: bytes of its own layer; times in ns, used 0 for never."""

    key: Digest
    label: str
    kind: str
    parts: tuple[Part, ...]
    parents: tuple[Digest, ...]
    stack: Stack
    size: int
    created: int
    used: int = 0
    uses: int = 0


@dataclass(frozen=True, slots=True)
class Brought:
    """Layers that an imported cache has brought. No key leads to them: who made them is believed by one build only."""

    label: str
    stack: Stack
    size: int
    created: int


@dataclass(frozen=True, slots=True)
class Download:
    """A file that was fetched: facts are what the server said of it (etag, last-modified)."""

    source: str
    facts: dict[str, str]
    blob: Digest
    size: int
    created: int = 0
    used: int = 0
    uses: int = 0


class Cache:
    """Any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        ledger.declare("build", _SCHEMA, _BROUGHT)
        self.notes = Notes(ledger)

    def add(self, step: Step) -> None:
        """A key that is there already gets the newer result."""
        row = (
            step.key,
            step.label,
            step.kind,
            json.dumps([[part.name, part.value] for part in step.parts]),
            json.dumps(step.parents),
            _layers(step.stack),
            step.stack.chain,
            step.size,
            step.created,
        )
        with self._ledger.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO build_step(key, label, kind, parts, parents, layers, chain, size, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def find(self, key: Digest) -> Step | None:
        with self._ledger.reading() as db:
            row = db.execute("SELECT * FROM build_step WHERE key = ?", (key,)).fetchone()
        return _step(row) if row else None

    def steps(self) -> list[Step]:
        """Oldest first."""
        with self._ledger.reading() as db:
            return [_step(row) for row in db.execute("SELECT * FROM build_step ORDER BY created, rowid")]

    def created(self, chain: Digest) -> int | None:
        """When a layer was made, in ns; None for one that no step here has made."""
        with self._ledger.reading() as db:
            row = db.execute("SELECT min(created) FROM build_step WHERE chain = ?", (chain,)).fetchone()
        return row[0] if row else None

    def touched(self, keys: Iterable[Digest]) -> None:
        """Note that a build used these."""
        now = time.time_ns()
        with self._ledger.transaction(volatile=True) as db:
            db.executemany(
                "UPDATE build_step SET used = ?, uses = uses + 1 WHERE key = ?", [(now, key) for key in keys]
            )

    def remove(self, keys: Sequence[Digest]) -> bool:
        """True."""
        with self._ledger.transaction() as db:
            db.executemany("DELETE FROM build_step WHERE key = ?", [(key,) for key in keys])
            known = "SELECT chain FROM build_step WHERE chain IS NOT NULL"
            db.execute(f"DELETE FROM build_content WHERE chain NOT IN ({known})")
        return True

    def content(self, chain: Digest, what: str, found: Callable[[], Digest]) -> Digest:
        """The digest of a part of a stack of layers, which never changes: found out once."""
        query = "SELECT digest FROM build_content WHERE chain = ? AND what = ?"
        with self._ledger.reading() as db:
            row = db.execute(query, (chain, what)).fetchone()
        if row:
            return Digest(row["digest"])
        digest = found()
        with self._ledger.transaction(volatile=True) as db:
            db.execute("INSERT OR REPLACE INTO build_content VALUES (?, ?, ?)", (chain, what, digest))
        return digest

    def download(self, source: str) -> Download | None:
        with self._ledger.reading() as db:
            row = db.execute("SELECT * FROM build_source WHERE source = ?", (source,)).fetchone()
        return _download(row) if row else None

    def downloads(self) -> list[Download]:
        with self._ledger.reading() as db:
            return [_download(row) for row in db.execute("SELECT * FROM build_source ORDER BY created")]

    def keep_download(self, download: Download) -> None:
        row = (download.source, json.dumps(download.facts), download.blob, download.size, time.time_ns())
        with self._ledger.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO build_source(source, facts, blob, size, created) VALUES (?, ?, ?, ?, ?)", row
            )

    def remove_downloads(self, sources: Sequence[str]) -> bool:
        """True."""
        with self._ledger.transaction() as db:
            db.executemany("DELETE FROM build_source WHERE source = ?", [(source,) for source in sources])
        return True

    def add_brought(self, stack: Stack, label: str, size: int) -> None:
        row = (stack.chain, label, _layers(stack), size, time.time_ns())
        with self._ledger.transaction() as db:
            db.execute("INSERT OR REPLACE INTO build_brought VALUES (?, ?, ?, ?, ?)", row)

    def brought(self) -> list[Brought]:
        """Oldest first."""
        with self._ledger.reading() as db:
            rows = db.execute("SELECT * FROM build_brought ORDER BY created, rowid").fetchall()
        return [Brought(row["label"], _stack(row["layers"]), row["size"], row["created"]) for row in rows]

    def remove_brought(self, chain: Digest) -> bool:
        """True."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM build_brought WHERE chain = ?", (chain,))
        return True

    def chains(self) -> list[Digest]:
        """Layers that records refer to."""
        query = "SELECT chain FROM build_step WHERE chain IS NOT NULL UNION SELECT chain FROM build_brought"
        with self._ledger.reading() as db:
            return [Digest(row[0]) for row in db.execute(query)]

    def blobs(self) -> set[Digest]:
        """Blobs that records refer to."""
        with self._ledger.reading() as db:
            found = {Digest(row[0]) for row in db.execute("SELECT blob FROM build_source")}
            for row in db.execute("SELECT layers FROM build_step UNION SELECT layers FROM build_brought"):
                found.update(Digest(blob) for _, blob in json.loads(row["layers"]))
        return found


def _step(row: sqlite3.Row) -> Step:
    return Step(
        key=Digest(row["key"]),
        label=row["label"],
        kind=row["kind"],
        parts=tuple(Part(name, value) for name, value in json.loads(row["parts"])),
        parents=tuple(json.loads(row["parents"])),
        stack=_stack(row["layers"]),
        size=row["size"],
        created=row["created"],
        used=row["used"],
        uses=row["uses"],
    )


def _layers(stack: Stack) -> str:
    return json.dumps([[layer.diff, layer.blob] for layer in stack.layers])


def _stack(layers: str) -> Stack:
    return Stack(tuple(LayerBlob(Digest(diff), Digest(blob)) for diff, blob in json.loads(layers)))


def _download(row: sqlite3.Row) -> Download:
    return Download(
        row["source"], json.loads(row["facts"]), row["blob"], row["size"], row["created"], row["used"], row["uses"]
    )
