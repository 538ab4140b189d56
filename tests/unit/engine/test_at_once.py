"""Operations that meet on one container, with the moments at which they meet chosen."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest

from tiffin.engine.container_attach import Attaching, Wanted
from tiffin.engine.container_context import Arriving
from tiffin.engine.container_exec import ExecConfig, Execs
from tiffin.engine.container_failures import StartError
from tiffin.engine.container_health import HealthChecks
from tiffin.engine.container_remove import Removal
from tiffin.engine.container_restore import Restore
from tiffin.engine.container_start import Starter
from tiffin.errors import Conflict, NotFound
from tiffin.linux import cgroups_live
from tiffin.model.container import Container, Healthcheck
from tiffin.model.container_status import Exited, Health, Removing, Status
from tiffin.runtime.launcher import Exit
from unit.containers.specimens import container
from unit.engine.meeting import PAUSED, RUNNING, Meeting, Process, run


@pytest.fixture
def made(tmp_path: Path) -> Meeting:
    return Meeting(tmp_path)


@pytest.mark.parametrize("meanwhile", [PAUSED, Removing(0, 0, 0, False)])
def test_a_restart_does_not_launch_what_was_paused_or_removed_since_it_stopped(
    made: Meeting, meanwhile: Status
) -> None:
    async def body() -> None:
        one, process = made.add(RUNNING)
        restart = asyncio.create_task(made.signals.restart("web"))
        await process.signalled.wait()
        await made.end(one, meanwhile)
        with pytest.raises(Conflict):
            await restart
        assert made.launched == []

    run(body())


def test_a_restart_launches_what_it_stopped_and_leaves_alone_what_runs_again(made: Meeting) -> None:
    async def body() -> None:
        for status, launches in ((Exited(0, 1, 2), 1), (RUNNING, 0)):
            one, process = made.add(RUNNING)
            restart = asyncio.create_task(made.signals.restart("web"))
            await process.signalled.wait()
            await made.end(one, status)
            await restart
            assert len(made.launched) == launches
            made.launched.clear()
            made.records.remove(one.id)

    run(body())


def test_who_is_paused_while_it_is_stopped_is_thawed_to_die(made: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        thawed = asyncio.Event()
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(cgroups_live, "thaw", lambda _: loop.call_soon_threadsafe(thawed.set))
        one, process = made.add(RUNNING)
        async with made.records.lock(one.id):
            stop = asyncio.create_task(made.signals.stop("web", timeout=0))
        await process.signalled.wait()
        async with made.records.lock(one.id):  # within the time that it was given
            made.records.change(one.id, status=PAUSED)
        await thawed.wait()
        assert process.sent == [15, 9]
        await made.end(one, Exited(137, 1, 2))
        await stop

    run(body())


def test_a_stop_does_not_kill_the_next_run(made: Meeting) -> None:
    async def body() -> None:
        one, process = made.add(RUNNING)
        stop = asyncio.create_task(made.signals.stop("web", timeout=1000))
        await process.signalled.wait()
        await made.end(one, RUNNING)
        live = made.context.live(one.id)
        live.process, live.ended = cast(Any, Process()), asyncio.Event()
        await stop
        assert cast(Any, live.process).sent == []

    run(body())


def test_a_stop_removes_what_is_ephemeral_but_not_while_it_runs_again(made: Meeting) -> None:
    async def body() -> None:
        removed: list[str] = []

        async def remove(container_id: str) -> None:
            removed.append(container_id)

        made.lifecycle.remove_ended = remove
        for status, times in ((RUNNING, 0), (Exited(0, 1, 2), 1)):
            one, process = made.add(RUNNING)
            made.records.rewrite(replace(made.records.get(one.id), host=replace(one.host, auto_remove=True)))
            stop = asyncio.create_task(made.signals.stop("web", timeout=1000))
            await process.signalled.wait()
            await made.end(one, status)
            await stop
            assert removed == [one.id] * times
            made.records.remove(one.id)
            made.context.forget(one.id)

    run(body())


def test_what_was_killed_is_not_frozen_any_more(made: Meeting) -> None:
    async def body() -> None:
        one, process = made.add(RUNNING)
        kill = asyncio.create_task(made.signals.kill("web"))
        await process.signalled.wait()
        with pytest.raises(Conflict, match="is not running"):
            await made.signals.pause("web")
        await made.end(one, Exited(137, 1, 2))
        await kill

    run(body())


def test_nobody_starts_what_is_killed_to_be_removed(made: Meeting) -> None:
    async def body() -> None:
        removed: list[str] = []

        async def remove(one: Container, volumes: bool) -> None:
            removed.append(one.id)

        removal = Removal(made.context, made.lifecycle, made.signals)
        removal._remove = remove  # type: ignore[method-assign]
        one, process = made.add(RUNNING)
        removing = asyncio.create_task(removal.remove("web", force=True))
        await process.signalled.wait()
        async with made.records.lock(one.id):
            starting = asyncio.create_task(made.lifecycle.start("web"))
            await asyncio.sleep(0)  # it waits for the lock, and gets it before who removes
            live = made.context.live(one.id)
            live.process = None
            made.records.change(one.id, status=Exited(137, 1, 2))
            live.ended.set()
        with pytest.raises(Conflict, match="marked for removal"):
            await starting
        await removing
        assert removed == [one.id] and not made.launched

    run(body())


def test_a_start_waits_for_clients_that_are_on_their_way(made: Meeting) -> None:
    async def body() -> None:
        arriving = Arriving()
        await arriving.settled(60)
        with arriving:
            waiting = asyncio.create_task(arriving.settled(60))
            with arriving:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not waiting.done()
            await arriving.settled(0.001)  # but not for ever
        await waiting

    run(body())


def test_the_client_of_a_container_that_has_ended_or_is_gone_sees_the_end(made: Meeting) -> None:
    async def body() -> None:
        attaching = Attaching(made.context, cast(Any, None))
        one, _ = made.add(RUNNING)
        for removed in (False, True):
            if removed:
                made.records.remove(one.id)
            ours, theirs = socket.socketpair()
            with ours:
                await attaching.attach(one, Wanted(stdout=True), theirs.detach(), b"", framed=True)
                assert ours.recv(1) == b""

    run(body())


def test_the_client_of_an_exec_whose_container_is_gone_sees_the_end(made: Meeting) -> None:
    async def body() -> None:
        execs = Execs(made.context)
        one, _ = made.add(RUNNING)
        execution = execs.get(execs.create("web", ExecConfig(("true",))))
        made.records.remove(one.id)
        ours, theirs = socket.socketpair()
        with ours:
            with pytest.raises(NotFound):
                await execs.start(execution, fd=theirs.detach())
            assert ours.recv(1) == b""

    run(body())


def test_an_end_is_told_though_something_that_was_held_can_not_be_given_back(
    made: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        one, _ = made.add(RUNNING)
        monkeypatch.setattr(made.lifecycle._starter, "clean", AsyncMock(side_effect=OSError("the plugin has gone")))
        made.records.note(one.id, manually_stopped=True)
        made.context.live(one.id).process = None
        told = made.context.waits.exit(one.id)
        await made.lifecycle.ended(one.id, Exit(7, False, 2, ""))
        assert (await told).exit_code == 7
        assert made.records.get(one.id).status == Exited(7, 1, 2)

    run(body())


def test_a_container_that_can_not_be_restored_keeps_nobody_from_starting(
    made: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        for root in (made.context.settings.data_root, made.context.settings.exec_root):
            (root / "containers").mkdir(parents=True)
        one, _ = made.add(Exited(0, 1, 2))
        other = container("other", status=RUNNING)
        made.records.add(other)
        made.records.change(other.id, status=RUNNING)
        restore = Restore(made.context, made.lifecycle)
        seen: list[str] = []

        async def settle(found: Container) -> None:
            seen.append(found.id)
            if found.id == other.id:
                raise OSError("nft: no such table")

        monkeypatch.setattr(restore, "_settle", settle)
        await restore.run()
        assert set(seen) == {one.id, other.id}

    run(body())


def test_a_paused_container_is_not_probed(made: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        one, process = made.add(PAUSED)
        config = replace(one.config, healthcheck=Healthcheck(test=("CMD", "true")))
        one = replace(one, config=config, status=PAUSED, health=Health())
        made.records.rewrite(one)
        turns, probed, sleep = iter(range(100)), asyncio.Event(), asyncio.sleep
        found: list[Status] = []

        async def turn(_: float) -> None:
            if next(turns) == 3:
                made.records.note(one.id, status=RUNNING)
            await sleep(0)

        async def probe(*_: Any) -> tuple[int, bytes]:
            found.append(made.records.get(one.id).status)
            probed.set()
            return 0, b""

        monkeypatch.setattr(asyncio, "sleep", turn)
        checks = HealthChecks(made.context)
        checks.run = probe
        checks.begin(one, cast(Any, process))
        await probed.wait()
        checks.end(one.id)
        assert found == [RUNNING]

    run(body())


def test_a_start_that_meets_a_mistake_of_ours_has_failed_as_any_other(
    made: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        one, _ = made.add(Exited(0, 1, 2))
        starter = Starter(made.context)
        monkeypatch.setattr(starter, "_prepare", AsyncMock(side_effect=ValueError("embedded null byte")))
        with pytest.raises(StartError, match="embedded null byte"):
            await starter.launch(one)

    run(body())


def test_a_container_that_runs_on_does_not_keep_what_was_executed_in_it(
    made: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        one, _ = made.add(RUNNING)
        execs = Execs(made.context)
        monkeypatch.setattr("tiffin.engine.container_exec._REMEMBERED", 0.0)
        forgotten, forget = asyncio.Event(), made.context.forget_exec
        monkeypatch.setattr(made.context, "forget_exec", lambda one: (forget(one), forgotten.set()))

        async def ended(*_: Any) -> Any:
            return SimpleNamespace(wait=AsyncMock(return_value=7))

        monkeypatch.setattr(execs, "_run", ended)
        execution = execs.get(execs.create("web", ExecConfig(("true",))))
        await execs.start(execution, fd=None)
        await execution.ended.wait()
        assert execution.exit_code == 7
        await forgotten.wait()
        assert not made.context.execs and not made.context.live(one.id).execs
        with pytest.raises(NotFound):
            execs.get(execution.id)

    run(body())


def test_the_loop_reads_from_who_takes_over_the_number_of_a_probes_socket(
    made: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        one, process = made.add(RUNNING)
        loop = asyncio.get_running_loop()
        held: list[int] = []

        async def begin(*arguments: Any, **options: Any) -> Any:
            held.append(arguments[2][0].fd)  # our end stays open: what the probe says never ends
            return SimpleNamespace(wait=asyncio.Event().wait)

        execs = Execs(made.context)
        monkeypatch.setattr(execs, "_run", begin)
        monkeypatch.setattr(process, "kill", ended := Mock(), raising=False)
        pair, (ours, theirs) = socket.socketpair(), socket.socketpair()
        monkeypatch.setattr(socket, "socketpair", lambda *_: pair)
        number = pair[0].fileno()
        assert await execs.probe(one, cast(Any, process), ("true",), 0.01) == (-1, b"")
        ended.assert_called_once()
        monkeypatch.undo()
        # at once, as another task would: who has the number that the probe's socket had is read from
        os.dup2(ours.fileno(), number)
        heard = asyncio.Event()
        loop.add_reader(number, heard.set)
        theirs.send(b"x")
        await heard.wait()
        loop.remove_reader(number)
        ours.close()
        theirs.close()
        os.close(number)
        os.close(held[0])

    run(body())
