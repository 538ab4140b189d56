"""The ledger's tables of this domain: volumes, and the containers that refer to them."""

from typing import Protocol

import msgspec

from tiffin.content.ledger import Ledger
from tiffin.model.volume import Volume

_VOLUMES = "CREATE TABLE volume(name TEXT PRIMARY KEY, record BLOB NOT NULL)"
_REFERENCES = (
    "CREATE TABLE volume_reference(volume TEXT NOT NULL, container TEXT NOT NULL, PRIMARY KEY (volume, container))"
)
# of drivers that have to be told when a container ends
_MOUNTS = "CREATE TABLE volume_mount(volume TEXT NOT NULL, container TEXT NOT NULL, PRIMARY KEY (volume, container))"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Volume).decode


class Records(Protocol):
    """Where volumes are written down."""

    def volumes(self) -> list[Volume]: ...
    def references(self) -> list[tuple[str, str]]: ...
    def keep(self, volume: Volume) -> None: ...
    def drop(self, name: str) -> None: ...
    def refer(self, name: str, container_id: str) -> None: ...
    def forget(self, container_id: str) -> None: ...
    def replace(self, name: str, volume: Volume) -> None: ...
    def mounts(self) -> list[tuple[str, str]]: ...
    def note_mount(self, name: str, container_id: str) -> None: ...
    def drop_mounts(self, container_id: str) -> None: ...


class LedgerRecords:
    """On disk, durably."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        ledger.declare("volumes", _VOLUMES, _REFERENCES, _MOUNTS)

    def volumes(self) -> list[Volume]:
        """Every volume."""
        with self._ledger.reading() as db:
            return [_decode(row[0]) for row in db.execute("SELECT record FROM volume ORDER BY name")]

    def references(self) -> list[tuple[str, str]]:
        """Volume and container of each reference."""
        with self._ledger.reading() as db:
            return [(row[0], row[1]) for row in db.execute("SELECT volume, container FROM volume_reference")]

    def keep(self, volume: Volume) -> None:
        """Write a volume down."""
        with self._ledger.transaction() as db:
            db.execute("INSERT OR REPLACE INTO volume VALUES (?, ?)", (volume.name, _encode(volume)))

    def drop(self, name: str) -> None:
        """Forget a volume and who refers to it."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM volume WHERE name = ?", (name,))
            db.execute("DELETE FROM volume_reference WHERE volume = ?", (name,))

    def refer(self, name: str, container_id: str) -> None:
        """Note that a container has a volume."""
        with self._ledger.transaction() as db:
            db.execute("INSERT OR IGNORE INTO volume_reference VALUES (?, ?)", (name, container_id))

    def forget(self, container_id: str) -> None:
        """Note that a container has none any more."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM volume_reference WHERE container = ?", (container_id,))

    def replace(self, name: str, volume: Volume) -> None:
        """Write a volume down under another name than it had."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM volume WHERE name = ?", (name,))
            db.execute("INSERT OR REPLACE INTO volume VALUES (?, ?)", (volume.name, _encode(volume)))

    def mounts(self) -> list[tuple[str, str]]:
        """Volume and container of each mount that a driver was asked for."""
        with self._ledger.reading() as db:
            return [(row[0], row[1]) for row in db.execute("SELECT volume, container FROM volume_mount")]

    def note_mount(self, name: str, container_id: str) -> None:
        """A driver is about to be asked for a mount."""
        with self._ledger.transaction() as db:
            db.execute("INSERT OR IGNORE INTO volume_mount VALUES (?, ?)", (name, container_id))

    def drop_mounts(self, container_id: str) -> None:
        """A container has none any more."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM volume_mount WHERE container = ?", (container_id,))
