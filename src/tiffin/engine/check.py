"""`system check`: every domain says what it finds wrong, and what can be mended is.

What is on its way looks like something left over. So what is not certain counts only if it is found again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tiffin.errors import TiffinError
from tiffin.model.finding import Finding

log = logging.getLogger(__name__)

SETTLE = 5  # seconds for which what may be on its way is watched
_FIRST_PAUSE = 0.1  # between two looks at it; the next ones are longer
_ATTEMPTS = 5
_ROUNDS = 4  # a repair may show what is wrong behind it


class Part(Protocol):
    """One domain's own examination. Blocks; called from a thread while everything else goes on."""

    def counted(self) -> dict[str, int]:
        """How much there is to look at, by name."""
        ...

    def findings(self, *, thorough: bool) -> Iterable[Finding]:
        """What is wrong. thorough: what takes long (contents) as well."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """A finding, and what became of it. error: why it could not be repaired; `` where nobody tried."""

    finding: Finding
    repaired: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """counted: how much was looked at."""

    results: tuple[Result, ...]
    counted: dict[str, int]


class Check:
    """One at a time."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._alone = asyncio.Lock()

    async def run(self, *, repair: bool = False, settle: float = SETTLE, more: Sequence[Part] = ()) -> Report:
        """Look at everything; with `repair` mend what can be, and look again. more: parts of this request's own.

        settle: seconds after which what is still there is not on its way.
        """
        async with self._alone:
            parts = (*more, *self._parts)
            counted: dict[str, int] = {}
            for part in parts:
                counted |= await asyncio.to_thread(part.counted)
            found = await self._look(parts, settle)
            seen = {one.key: one for one in found}
            errors: dict[tuple[str, str, str], str] = {}
            for _ in range(_ROUNDS if repair else 0):
                mendable = [one for one in found if one.repair is not None and one.key not in errors]
                if not mendable:
                    break
                for one in mendable:
                    if (error := await asyncio.to_thread(_mended, one)) is not None:
                        errors[one.key] = error
                found = await self._look(parts, settle)
                seen |= {one.key: one for one in found}
        left = {one.key for one in found}
        results = [Result(one, repair and key not in left, errors.get(key, "")) for key, one in seen.items()]
        return Report(tuple(results), counted)

    async def _look(self, parts: Sequence[Part], settle: float) -> list[Finding]:
        found = await asyncio.to_thread(_all, parts, True)
        pause, watched = _FIRST_PAUSE, 0.0
        while watched < settle and not all(one.certain for one in found):
            await asyncio.sleep(pause)
            watched, pause = watched + pause, 2 * pause
            still = {one.key for one in await asyncio.to_thread(_all, parts, False)}
            found = [one for one in found if one.certain or one.key in still]
        return found


def _all(parts: Sequence[Part], thorough: bool) -> list[Finding]:
    return [finding for part in parts for finding in _of(part, thorough)]


def _of(part: Part, thorough: bool) -> list[Finding]:
    for _ in range(_ATTEMPTS - 1):
        try:
            return list(part.findings(thorough=thorough))
        except FileNotFoundError:  # it went while it was looked at
            continue
    return list(part.findings(thorough=thorough))


def _mended(finding: Finding) -> str | None:
    """None, or why not."""
    assert finding.repair is not None
    try:
        finding.repair()
    except (TiffinError, OSError) as error:
        log.warning("system check: %s: %s", finding.problem, error)
        return str(error)
    log.info("system check: repaired: %s", finding.problem)
    return None
