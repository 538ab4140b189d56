"""What removed containers leave on the disk, cleared away in batches."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest

from tiffin.engine.clearing import Clearing
from unit.engine.meeting import Meeting, run


def test_a_burst_of_removals_waits_for_the_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Meeting(tmp_path).context
    done: list[str] = []
    monkeypatch.setattr(context.records, "settle", lambda: done.append("settled"))

    async def scenario() -> None:
        clearing, held, over = Clearing(context), threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        clearing.add([held.wait], settle=False)
        await asyncio.sleep(0)  # the first batch is under way
        for number in range(20):
            clearing.add([partial(done.append, str(number))], settle=True)
        clearing.add([partial(loop.call_soon_threadsafe, over.set)], settle=False)
        held.set()
        await over.wait()
        await context.close()

    run(scenario())
    assert done == ["settled", *map(str, range(20))]


def test_what_cannot_be_cleared_keeps_nothing_else_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = Meeting(tmp_path).context

    async def scenario() -> None:
        clearing, over = Clearing(context), asyncio.Event()
        loop = asyncio.get_running_loop()

        def fails() -> None:
            raise PermissionError(1, "Operation not permitted", "/somewhere")

        def ends() -> None:
            loop.call_soon_threadsafe(over.set)

        clearing.add([fails, ends], settle=True)
        await over.wait()
        await context.close()

    run(scenario())
    assert "/somewhere" in caplog.text
