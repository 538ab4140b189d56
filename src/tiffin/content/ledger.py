"""The ledger: one SQLite database a data root, in which each domain keeps its own tables.

    ledger = Ledger(data_root / "ledger.db")
    ledger.declare("images", "CREATE TABLE …", "ALTER TABLE …")   # steps, each applied once, in order
    with ledger.transaction() as db:                              # one writer at a time; commits or rolls back
        db.execute("INSERT …")
    with ledger.reading() as db: …                                # any thread; never waits for a writer

A committed transaction is on disk (WAL, synchronous=FULL). `transaction(volatile=True)` may be lost with the power, in
order, but not with the process: for what can be found out again.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiffin.content import crash
from tiffin.content.reserve import Reserve
from tiffin.errors import Internal, Unavailable

_BUSY_SECONDS = 30.0
_LOOK = 256  # transactions between two looks at the reserve


class Ledger:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: dict[threading.Thread, sqlite3.Connection] = {}
        self._reserve = Reserve(path)
        self._count = 0
        path.parent.mkdir(mode=0o710, parents=True, exist_ok=True)
        self._reserve.give_place()
        try:
            # before SQLite does: its -wal and -shm get the same mode
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            self._durable = self._connect("FULL")
            self._volatile = self._connect("NORMAL")
            self._durable.execute("CREATE TABLE IF NOT EXISTS domain(name TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        except (sqlite3.DatabaseError, OSError) as error:
            raise Internal(f"cannot open the ledger {path}: {error}; restore it or move it away") from error
        self._reserve.take()

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute("PRAGMA foreign_keys=ON")
        return db

    def declare(self, domain: str, *steps: str) -> None:
        """Bring a domain's tables up to date: steps not applied yet run in order, each in a transaction of its own."""
        with self._lock:
            row = self._durable.execute("SELECT version FROM domain WHERE name = ?", (domain,)).fetchone()
            version: int = row["version"] if row else 0
            if version > len(steps):
                raise Internal(f"the ledger's tables of {domain} come from a newer version; use that one")
            for number, step in enumerate(steps[version:], version + 1):
                note = f"INSERT OR REPLACE INTO domain VALUES ('{domain}', {number})"
                try:
                    self._durable.executescript(f"BEGIN IMMEDIATE; {step}; {note}; COMMIT;")
                except BaseException:
                    if self._durable.in_transaction:
                        self._durable.execute("ROLLBACK")
                    raise

    def has(self, domain: str) -> bool:
        """Whether a domain has ever declared tables here."""
        with self.reading() as db:
            return db.execute("SELECT 1 FROM domain WHERE name = ?", (domain,)).fetchone() is not None

    @contextmanager
    def transaction(self, *, volatile: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock:
            db = self._volatile if volatile else self._durable
            if self._volatile.in_transaction or self._durable.in_transaction:
                raise RuntimeError("ledger transactions do not nest")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                crash.point("ledger-commit")
                db.execute("COMMIT")
            except BaseException as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    text = f"no space left on device: writing {self._path}; remove images or containers first"
                    raise Unavailable(text) from error
                raise
            self._count += 1
            if self._count % _LOOK == 0:
                self._reserve.take()

    @property
    def commits(self) -> int:
        """How many transactions there have been: while it stays, so does what was read after asking."""
        return self._count

    def settle(self) -> None:
        """What is committed so far, volatile or not, is on disk when it returns. Any thread; nobody waits for it."""
        log = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)  # unlike its neighbours, SQLite locks it never
        try:
            os.fdatasync(log)
        finally:
            os.close(log)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent view of what is committed, for this thread; it sees nothing of an open transaction."""
        db: sqlite3.Connection | None = getattr(self._local, "reader", None)
        if db is None:
            db = self._connect("NORMAL")
            db.execute("PRAGMA query_only=ON")
            self._local.reader = db
            with self._lock:
                # threads that work for one request only would leave theirs behind
                for thread in [thread for thread in self._readers if not thread.is_alive()]:
                    self._readers.pop(thread).close()
                self._readers[threading.current_thread()] = db
        if db.in_transaction:  # a reader inside a reader shares its view
            yield db
            return
        db.execute("BEGIN")
        try:
            yield db
        finally:
            db.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            for db in (*self._readers.values(), self._volatile, self._durable):
                db.close()
            self._reserve.keep_place()
