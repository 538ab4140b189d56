"""Volumes in a directory of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tiffin.content.ledger import Ledger
from tiffin.volumes.records import LedgerRecords
from tiffin.volumes.service import Volumes

Open = Callable[[], Volumes]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Open]:
    """The volumes as a newly started daemon finds them."""
    ledgers: list[Ledger] = []

    def open_again() -> Volumes:
        ledgers.append(Ledger(tmp_path / "ledger.db"))
        return Volumes(tmp_path / "volumes", LedgerRecords(ledgers[-1]))

    yield open_again
    for ledger in ledgers:
        ledger.close()
