"""Copies into and out of a container while others start, end or remove it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tiffin.engine.container_archive import Archives
from tiffin.engine.container_export import Exports
from tiffin.errors import Conflict, NotFound
from tiffin.model.container import Container
from tiffin.model.container_status import Created, Exited, Removing, Running, Status
from unit.engine.meeting import RUNNING, Meeting, run


@pytest.fixture
def made(tmp_path: Path) -> Meeting:
    return Meeting(tmp_path)


@pytest.mark.parametrize("status", [Created(), Exited(0, 1, 2)])
def test_nobody_starts_or_removes_a_container_while_files_are_copied_into_it(made: Meeting, status: Status) -> None:
    async def body() -> None:
        one, _ = made.add(status)
        archives = Archives(made.context)
        begun, go = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def work(found: Container, pidfd: int) -> int:
            loop.call_soon_threadsafe(begun.set)
            go.wait(60)
            return pidfd

        copying = asyncio.create_task(archives._in_thread("web", work, writing=True))
        await begun.wait()
        starting = asyncio.create_task(made.lifecycle.start("web"))
        await asyncio.sleep(0)
        assert made.records.lock(one.id).locked()
        assert not made.launched
        assert not made.records.get(one.id).pristine
        go.set()
        assert await copying == -1
        await starting
        assert made.launched

    run(body())


def test_files_are_copied_into_what_is_left_when_a_container_ends_meanwhile(made: Meeting) -> None:
    async def body() -> None:
        from tiffin.engine.container_archive import _Ended

        one, process = made.add(RUNNING)
        process.pidfd = os.open("/dev/null", os.O_RDONLY)
        loop, tried = asyncio.get_running_loop(), asyncio.Event()

        def work(found: Container, pidfd: int) -> Status:
            if isinstance(found.status, Running):
                assert pidfd not in (-1, process.pidfd)
                loop.call_soon_threadsafe(tried.set)
                raise _Ended
            return found.status

        copying = asyncio.create_task(Archives(made.context)._in_thread("web", work))
        await tried.wait()
        await made.end(one, Exited(0, 1, 2))
        assert await copying == Exited(0, 1, 2)
        os.close(process.pidfd)

    run(body())


def test_a_copy_that_is_not_wanted_any_more_holds_its_container_until_its_thread_is_done(made: Meeting) -> None:
    async def body() -> None:
        one, _ = made.add(Exited(0, 1, 2))
        begun, go = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def work(found: Container, pidfd: int) -> None:
            loop.call_soon_threadsafe(begun.set)
            go.wait(60)

        copying = asyncio.create_task(Archives(made.context)._in_thread("web", work))
        await begun.wait()
        copying.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert made.records.lock(one.id).locked()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert not made.records.lock(one.id).locked()

    run(body())


def test_a_container_that_is_removed_meanwhile_is_not_found_by_a_copy(made: Meeting) -> None:
    async def body() -> None:
        one, _ = made.add(Exited(0, 1, 2))
        async with made.records.lock(one.id):
            copying = asyncio.create_task(Archives(made.context).stat("web", "/etc"))
            await asyncio.sleep(0)
            made.records.remove(one.id)
        with pytest.raises(NotFound):
            await copying

    run(body())


def test_a_layer_that_is_removed_while_it_is_compared_is_no_failure(made: Meeting) -> None:
    async def body() -> None:
        one, _ = made.add(Exited(0, 1, 2))
        exports = Exports(made.context)
        steps: list[Callable[[], object]] = [
            lambda: made.records.change(one.id, status=Removing(0, 0, 0, False)),
            lambda: made.records.remove(one.id),
        ]
        for step, error in zip(steps, (Conflict, NotFound), strict=True):
            gone = threading.Event()

            def changes(key: str, own: object, gone: threading.Event = gone) -> None:
                gone.wait(60)
                raise FileNotFoundError(2, "No such file or directory", key)

            made.context.snapshots = cast(Any, SimpleNamespace(changes=changes))
            comparing = asyncio.create_task(exports.changes(one.id))
            await asyncio.sleep(0)
            step()
            gone.set()
            with pytest.raises(error):
                await comparing

    run(body())
