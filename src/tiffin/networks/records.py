"""The ledger's tables of this domain: networks as created, endpoints of containers while they run."""

from typing import Protocol

import msgspec

from tiffin.content.ledger import Ledger
from tiffin.model.network import Endpoints, Network

_NETWORKS = "CREATE TABLE network(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record BLOB NOT NULL)"
_ENDPOINTS = "CREATE TABLE endpoints(container TEXT PRIMARY KEY, record BLOB NOT NULL)"

_encode = msgspec.json.Encoder().encode
_network = msgspec.json.Decoder(Network).decode
_endpoints = msgspec.json.Decoder(Endpoints).decode


class Records(Protocol):
    """Where networks and endpoints are kept."""

    def networks(self) -> list[Network]: ...
    def endpoints(self) -> list[Endpoints]: ...
    def keep(self, network: Network) -> None: ...
    def drop(self, network_id: str) -> None: ...
    def keep_endpoints(self, endpoints: Endpoints) -> None: ...
    def drop_endpoints(self, container_id: str) -> None: ...


class LedgerRecords:
    """On disk. Endpoints need not outlive a power cut, their containers don't either."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        ledger.declare("networks", _NETWORKS, _ENDPOINTS)

    def networks(self) -> list[Network]:
        """Every network."""
        with self._ledger.reading() as db:
            return [_network(row[0]) for row in db.execute("SELECT record FROM network")]

    def endpoints(self) -> list[Endpoints]:
        """Every container's endpoints."""
        with self._ledger.reading() as db:
            return [_endpoints(row[0]) for row in db.execute("SELECT record FROM endpoints")]

    def keep(self, network: Network) -> None:
        """Write a network down, over what was there."""
        with self._ledger.transaction() as db:
            db.execute("INSERT OR REPLACE INTO network VALUES (?, ?, ?)", (network.id, network.name, _encode(network)))

    def drop(self, network_id: str) -> None:
        """Forget a network."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM network WHERE id = ?", (network_id,))

    def keep_endpoints(self, endpoints: Endpoints) -> None:
        """Write a container's endpoints down, over what was there."""
        with self._ledger.transaction(volatile=True) as db:
            row = (endpoints.container_id, _encode(endpoints))
            db.execute("INSERT OR REPLACE INTO endpoints VALUES (?, ?)", row)

    def drop_endpoints(self, container_id: str) -> None:
        """Forget a container's endpoints."""
        with self._ledger.transaction(volatile=True) as db:
            db.execute("DELETE FROM endpoints WHERE container = ?", (container_id,))
