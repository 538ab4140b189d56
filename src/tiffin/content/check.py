"""Whether the ledger itself is sound."""

from collections.abc import Iterator

from tiffin.content.ledger import Ledger
from tiffin.model.finding import Finding

_ADVICE = "stop the daemon, keep a copy of ledger.db and its -wal, and restore them from a backup"


class LedgerCheck:
    """SQLite's own examination of pages, indices and references."""

    domain = "ledger"

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def counted(self) -> dict[str, int]:
        """Nothing: there is one."""
        return {}

    def findings(self, *, thorough: bool) -> Iterator[Finding]:
        """Damaged pages, and rows that refer to rows that are not there."""
        with self._ledger.reading() as db:
            told = [str(row[0]) for row in db.execute("PRAGMA quick_check(20)")] if thorough else ["ok"]
            for row in db.execute("PRAGMA foreign_key_check"):
                told.append(f"table {row[0]}: row {row[1]} refers to none of {row[2]}")
        for text in told:
            if text != "ok":
                yield Finding(self.domain, "ledger-damaged", text[:60], f"ledger.db: {text}", _ADVICE, certain=True)
