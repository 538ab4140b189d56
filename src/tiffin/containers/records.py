"""The containers there are: records in memory, made durable in the ledger, found by name, id or a prefix of it."""

import asyncio
from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any, Protocol

import msgspec

from tiffin.containers.names import checked, invent
from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.model import container_status as status_module
from tiffin.model.container import Container
from tiffin.model.container_status import Created, Health, Status

_SCHEMA = """
CREATE TABLE IF NOT EXISTS container (
    id TEXT PRIMARY KEY,
    record BLOB NOT NULL,      -- everything but its state, JSON
    state BLOB NOT NULL        -- [name, restart count, stopped by hand, pristine, status kind, status, health], JSON
) WITHOUT ROWID;
"""


class Ledger(Protocol):
    """What records need of `content.ledger`."""

    def declare(self, domain: str, *steps: str) -> None: ...
    def transaction(self, *, volatile: bool = False) -> AbstractContextManager[Any]: ...
    def settle(self) -> None: ...


class Records:
    """Owned by one thread.

    A change of state is written without waiting for the disk: after a power loss no container runs anyway, and after a
    crash of the daemon the database holds it.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, str] = {}
        self._ids: list[str] = []
        self._locks: dict[str, asyncio.Lock] = {}
        ledger.declare("containers", _SCHEMA)
        with ledger.transaction() as db:
            rows = db.execute("SELECT id, record, state FROM container").fetchall()
        for _, record, state in rows:
            self._index(_thawed(record, state))

    def __iter__(self) -> Iterator[Container]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, container_id: object) -> bool:
        return container_id in self._by_id

    def lock(self, container_id: str) -> asyncio.Lock:
        """One operation at a time a container."""
        return self._locks.setdefault(container_id, asyncio.Lock())

    def get(self, container_id: str) -> Container:
        """By its whole id. Raises NotFound, also when it was removed a moment ago."""
        try:
            return self._by_id[container_id]
        except KeyError:
            raise NotFound(f"No such container: {container_id}") from None

    def find(self, reference: str) -> Container:
        """By id, name (with or without the slash), or a prefix of an id that only one has. Raises NotFound, Invalid."""
        if reference in self._by_id:
            return self._by_id[reference]
        by_name = self._by_name.get(reference.removeprefix("/"))
        if by_name is not None and by_name in self._by_id:  # else it is still being made
            return self._by_id[by_name]
        if not reference:
            raise Invalid('invalid name or ID supplied: ""')
        start = bisect_left(self._ids, reference)
        matching = [item for item in self._ids[start : start + 2] if item.startswith(reference)]
        if not matching:
            raise NotFound(f"No such container: {reference}")
        if len(matching) > 1:
            raise Invalid(f"multiple IDs found with provided prefix: {reference}")
        return self._by_id[matching[0]]

    def reserve_name(self, name: str, holder: str) -> str:
        """Take a name (invented where empty) for a container that is being made. Raises Invalid, Conflict."""
        bare = checked(name) if name else invent(self._by_name.__contains__)
        owner = self._by_name.get(bare)
        if owner is not None and owner != holder:
            raise Conflict(
                f'Conflict. The container name "/{bare}" is already in use by container "{owner}". You have to remove'
                " (or rename) that container to be able to reuse that name."
            )
        self._by_name[bare] = holder
        return bare

    def arriving(self) -> set[str]:
        """The ids of containers that are being made: their names are taken, there are no records yet."""
        return set(self._by_name.values()) - self._by_id.keys()

    def release_name(self, name: str) -> None:
        self._by_name.pop(name, None)

    def add(self, container: Container) -> None:
        """Durable when it returns, unless the container is removed when it ends: no power loss leaves such a one."""
        record, state = _frozen(container)
        with self._ledger.transaction(volatile=container.host.auto_remove) as db:
            db.execute("INSERT INTO container (id, record, state) VALUES (?, ?, ?)", (container.id, record, state))
        self._index(container)

    def rewrite(self, container: Container) -> None:
        """After an update or a rename: the whole record, durable."""
        record, state = _frozen(container)
        with self._ledger.transaction() as db:
            db.execute("UPDATE container SET record = ?, state = ? WHERE id = ?", (record, state, container.id))
        self._by_id[container.id] = container

    def change(self, container_id: str, *, durable: bool = False, **changes: Any) -> Container:
        """Replace fields that may change from moment to moment (status, health, restart_count, …)."""
        container = replace(self.get(container_id), **changes)
        with self._ledger.transaction(volatile=not durable) as db:
            db.execute("UPDATE container SET state = ? WHERE id = ?", (_state(container), container_id))
        self._by_id[container_id] = container
        return container

    def note(self, container_id: str, **changes: Any) -> Container:
        """Like `change`, in memory only: for what a restarted daemon finds out by itself."""
        container = self._by_id[container_id] = replace(self.get(container_id), **changes)
        return container

    def remove(self, container_id: str) -> None:
        """Its name is free again. After a power loss it may be back: what it had must be there until `settle`."""
        with self._ledger.transaction(volatile=True) as db:
            db.execute("DELETE FROM container WHERE id = ?", (container_id,))
        container = self._by_id.pop(container_id)
        self._by_name.pop(container.name, None)
        self._locks.pop(container_id, None)
        del self._ids[bisect_left(self._ids, container_id)]

    def settle(self) -> None:
        """What was changed, noted ones apart, survives a power loss when it returns. Blocking; any thread."""
        self._ledger.settle()

    def _index(self, container: Container) -> None:
        self._by_id[container.id] = container
        self._by_name[container.name] = container.id
        insort(self._ids, container.id)


def _state(container: Container) -> bytes:
    return msgspec.json.encode(
        [
            container.name,
            container.restart_count,
            container.manually_stopped,
            container.pristine,
            type(container.status).__name__,
            container.status,
            container.health,
        ]
    )


def _frozen(container: Container) -> tuple[bytes, bytes]:
    return msgspec.json.encode(replace(container, status=Created(), health=None)), _state(container)


def _thawed(record: bytes, state: bytes) -> Container:
    # a union of dataclasses has no tag for msgspec: the status is decoded by the name beside it
    name, restarts, stopped, pristine, kind, status, health = msgspec.json.decode(state)
    status_type: type[Status] = getattr(status_module, kind)
    known = {item.name for item in fields(status_type)}
    body = msgspec.json.decode(record)
    body.pop("status")
    parts = {item.name: item.type for item in fields(Container) if item.name in body and item.name != "status"}
    values = {key: msgspec.convert(body[key], kind_of) for key, kind_of in parts.items()}
    return Container(
        **{
            **values,
            "name": name,
            "restart_count": restarts,
            "manually_stopped": stopped,
            "pristine": pristine,
            "status": status_type(**{key: value for key, value in status.items() if key in known}),
            "health": msgspec.convert(health, Health) if health else None,
        }
    )
