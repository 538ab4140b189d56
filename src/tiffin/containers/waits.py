"""Those who wait for a container to stop or to be gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

CONDITIONS = ("not-running", "next-exit", "removed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a wait is answered with; `error` is text of a failure to remove or to start."""

    exit_code: int
    error: str = ""


class Waits:
    """Futures by container and condition. `not-running` and `next-exit` end together once someone waits."""

    def __init__(self) -> None:
        self._exits: dict[str, set[asyncio.Future[Outcome]]] = {}
        self._removals: dict[str, set[asyncio.Future[Outcome]]] = {}

    def exit(self, container_id: str) -> asyncio.Future[Outcome]:
        """Done when the container ends next."""
        return self._add(self._exits, container_id)

    def removal(self, container_id: str) -> asyncio.Future[Outcome]:
        """Done when it is gone."""
        return self._add(self._removals, container_id)

    def ended(self, container_id: str, outcome: Outcome) -> None:
        _settle(self._exits, container_id, outcome)

    def removed(self, container_id: str, outcome: Outcome) -> None:
        _settle(self._exits, container_id, outcome)
        _settle(self._removals, container_id, outcome)

    @staticmethod
    def _add(table: dict[str, set[asyncio.Future[Outcome]]], container_id: str) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        table.setdefault(container_id, set()).add(future)

        def forget(done: asyncio.Future[Outcome]) -> None:
            waiting = table.get(container_id)
            if waiting is not None:
                waiting.discard(done)
                if not waiting:
                    del table[container_id]

        future.add_done_callback(forget)
        return future


def _settle(table: dict[str, set[asyncio.Future[Outcome]]], container_id: str, outcome: Outcome) -> None:
    for future in table.pop(container_id, ()):
        if not future.done():
            future.set_result(outcome)
