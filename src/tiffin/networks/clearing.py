"""Bridges of removed networks: out of the way already, deleted when nobody is likely to wait for it.

Deleting one takes the kernel 20 to 40 ms, in which it changes no other link of the namespace.
"""

import asyncio
import logging
from collections.abc import Iterable

from tiffin.networks import bridges
from tiffin.networks.standing import words

log = logging.getLogger(__name__)

QUIET = 0.25
"""Seconds since the last removal after which it is done; scripts that remove several are through by then."""
MOST = 32
"""So many that wait are not kept waiting by a further one."""


class Clearing:
    """Lives on the event loop. What a killed daemon leaves is found by its note at the next start."""

    def __init__(self) -> None:
        self._links: list[str] = []
        self._work: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def later(self, links: Iterable[str]) -> None:
        """Delete these before long."""
        self._links += links
        if self._timer is not None and len(self._links) < MOST:
            self._timer.cancel()
            self._timer = None
        if self._links and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(QUIET, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._work is None:
            self._work = asyncio.create_task(self._clear())

    async def _clear(self) -> None:
        # one by one: what else waits for the kernel's lock gets its turn in between
        while self._links:
            name = self._links.pop()
            try:
                await asyncio.to_thread(bridges.remove_links, [name])
            except OSError as error:
                log.warning("bridge %s of a removed network stays until the next start: %s", name, words(error))
        self._work = None

    async def close(self) -> None:
        """Delete what is left, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._begin()
        if self._work is not None:
            await self._work
