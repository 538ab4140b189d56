"""The ledger's space: there before it is needed, kept while nobody has the ledger open."""

from pathlib import Path

from tiffin.content import reserve
from tiffin.content.ledger import Ledger


def allocated(path: Path) -> int:
    """Bytes on disk, whatever the file's size is."""
    return path.stat().st_blocks * 512


def test_database_and_log_have_their_blocks_from_the_start(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    try:
        assert allocated(tmp_path / "ledger.db-wal") >= reserve.LOG
        assert allocated(tmp_path / "ledger.db") >= reserve.GROWTH
        assert (tmp_path / "ledger.db").stat().st_size < reserve.GROWTH
    finally:
        ledger.close()


def test_the_place_of_the_log_is_kept_between_two_daemons(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.db").close()
    assert not (tmp_path / "ledger.db-wal").exists()
    assert allocated(tmp_path / "ledger.db-reserve") >= reserve.LOG
    ledger = Ledger(tmp_path / "ledger.db")
    assert not (tmp_path / "ledger.db-reserve").exists()
    ledger.close()


def test_a_ledger_with_a_reserve_is_the_same_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.declare("test", "CREATE TABLE number(value INTEGER)")
    for value in range(600):  # further than one look at the reserve
        with ledger.transaction(volatile=True) as db:
            db.execute("INSERT INTO number VALUES (?)", (value,))
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    with again.reading() as db:
        assert db.execute("SELECT count(*), sum(value) FROM number").fetchone()[:] == (600, sum(range(600)))
    again.close()
