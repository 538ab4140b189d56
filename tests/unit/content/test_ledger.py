"""The ledger: transactions that are whole, tables that grow with versions, threads that don't trip over each other."""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tiffin.content.ledger import Ledger
from tiffin.errors import Internal

TABLE = "CREATE TABLE thing(name TEXT PRIMARY KEY)"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.declare("things", TABLE)
    return ledger


def names(ledger: Ledger) -> list[str]:
    with ledger.reading() as db:
        return [row["name"] for row in db.execute("SELECT name FROM thing ORDER BY name")]


def test_a_transaction_is_there_as_a_whole_or_not_at_all(ledger: Ledger) -> None:
    with ledger.transaction() as db:
        db.execute("INSERT INTO thing VALUES ('a')")
    with pytest.raises(KeyError), ledger.transaction() as db:
        db.execute("INSERT INTO thing VALUES ('b')")
        raise KeyError
    assert names(ledger) == ["a"]


def test_volatile_and_durable_transactions_see_each_other(ledger: Ledger) -> None:
    with ledger.transaction(volatile=True) as db:
        db.execute("INSERT INTO thing VALUES ('v')")
    with ledger.transaction() as db:
        db.execute("INSERT INTO thing VALUES ('d')")
    assert names(ledger) == ["d", "v"]


def test_transactions_do_not_nest(ledger: Ledger) -> None:
    with ledger.transaction(), pytest.raises(RuntimeError, match="do not nest"), ledger.transaction(volatile=True):
        pass


def test_a_domain_s_steps_are_applied_once_and_in_order(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "ledger.db")
    first.declare("things", TABLE)
    first.close()
    second = Ledger(tmp_path / "ledger.db")
    second.declare("things", TABLE, "ALTER TABLE thing ADD COLUMN size INTEGER")
    second.declare("things", TABLE, "ALTER TABLE thing ADD COLUMN size INTEGER")
    with second.transaction() as db:
        db.execute("INSERT INTO thing VALUES ('a', 1)")


def test_a_failed_step_leaves_the_tables_as_they_were(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.OperationalError):
        ledger.declare("things", TABLE, "CREATE TABLE more(x); SELECT nonsense FROM nowhere")
    ledger.declare("things", TABLE, "CREATE TABLE more(x)")


def test_tables_of_a_newer_version_are_refused(ledger: Ledger) -> None:
    ledger.declare("things", TABLE, "CREATE TABLE more(x)")
    with pytest.raises(Internal, match="newer version"):
        ledger.declare("things", TABLE)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"something else" * 100)
    with pytest.raises(Internal, match="cannot open the ledger"):
        Ledger(tmp_path / "ledger.db")


def test_threads_write_and_read_at_once(ledger: Ledger) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for count in range(20):
                with ledger.transaction(volatile=count % 2 == 0) as db:
                    db.execute("INSERT INTO thing VALUES (?)", (f"{number}-{count}",))
                names(ledger)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(names(ledger)) == 160


def test_threads_that_have_ended_leave_no_connection(ledger: Ledger, tmp_path: Path) -> None:
    for _ in range(20):
        thread = threading.Thread(target=names, args=(ledger,))
        thread.start()
        thread.join()
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    held = [link for link in links if os.path.exists(link) and os.readlink(link) == str(tmp_path / "ledger.db")]
    assert len(held) < 10


def test_a_crash_before_the_commit_undoes_the_transaction(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\nfrom tiffin.content.ledger import Ledger\nl = Ledger(pathlib.Path(sys.argv[1]))\n"
        f"l.declare('things', '{TABLE}')\n"
        "for name in 'ab':\n  with l.transaction() as db: db.execute('INSERT INTO thing VALUES (?)', (name,))"
    )
    path = tmp_path / "ledger.db"
    environment = {**os.environ, "TIFFIN_CRASH_AT": "ledger-commit:2"}
    assert subprocess.run([sys.executable, "-c", code, str(path)], env=environment).returncode == -9
    ledger = Ledger(path)
    ledger.declare("things", TABLE)
    assert names(ledger) == ["a"]
