"""What removed containers leave on the disk goes behind the answer: one batch at a time, so that a burst of removals
costs one wait for the disk and one thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from tiffin.engine.container_context import Context

log = logging.getLogger(__name__)

Call = Callable[[], object]


class Clearing:
    """A crash leaves what was not cleared to the next start. Used from the event loop's thread."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: list[Call] = []
        self._settle = False
        self._busy = False

    def add(self, calls: Sequence[Call], *, settle: bool) -> None:
        """settle: only when the records say on disk that nobody needs it."""
        self._waiting += calls
        self._settle |= settle
        if not self._busy:
            self._busy = True
            self._context.task(self._run(), "clearing away")

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                settle, self._settle = self._settle, False
                await asyncio.to_thread(self._clear, batch, settle)
        finally:
            self._busy = False

    def _clear(self, batch: Sequence[Call], settle: bool) -> None:
        if settle:
            self._context.records.settle()
        for call in batch:
            try:
                call()
            except OSError as error:
                log.warning("something of a removed container stays until the next start: %s", error)
