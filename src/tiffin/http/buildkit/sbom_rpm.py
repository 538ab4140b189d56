"""rpm's database: one header a package, in SQLite. Those of older systems (Berkeley DB, ndb) are not read.

Source: rpm's docs (format.md, "Header"), lib/header.c for how a header lies in the database.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing

NAME, VERSION, RELEASE, EPOCH, ARCHITECTURE = 1000, 1001, 1002, 1003, 1022
_WANTED = frozenset((NAME, VERSION, RELEASE, EPOCH, ARCHITECTURE))
_NUMBER, _TEXT = 4, 6
_MAGIC = b"SQLite format 3\0"
_ENTRY = struct.Struct(">IIiI")
_MOST = 1 << 16  # entries of a header, packages of a database
_STEPS = 50_000_000  # of SQLite's machine


def headers(database: bytes) -> Iterator[Mapping[int, str]]:
    """What is said of each package, by tag. Nothing of a database that can't be read: it is somebody else's file."""
    if not database.startswith(_MAGIC):
        return
    with closing(sqlite3.connect(":memory:")) as db:
        try:
            db.deserialize(database)
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")
            db.set_progress_handler(lambda: 1, _STEPS)
            kind = db.execute("SELECT type FROM sqlite_schema WHERE name = 'Packages'").fetchone()
            if kind != ("table",):
                return
            rows = db.execute("SELECT blob FROM Packages ORDER BY hnum LIMIT ?", (_MOST,)).fetchall()
        except (sqlite3.Error, MemoryError):
            return
    for (blob,) in rows:
        if isinstance(blob, bytes):
            yield _header(blob)


def _header(blob: bytes) -> dict[int, str]:
    if len(blob) < 8:
        return {}
    count, _ = struct.unpack_from(">II", blob)
    start = 8 + min(count, _MOST) * _ENTRY.size
    if count > _MOST or start > len(blob):
        return {}
    found = {}
    for number in range(count):
        tag, kind, offset, _ = _ENTRY.unpack_from(blob, 8 + number * _ENTRY.size)
        at = start + offset
        if tag not in _WANTED or not start <= at <= len(blob) - 4:
            continue
        if kind == _TEXT:
            found[tag] = blob[at : blob.find(b"\0", at)].decode("utf-8", "replace")
        elif kind == _NUMBER:
            found[tag] = str(struct.unpack_from(">I", blob, at)[0])
    return found
