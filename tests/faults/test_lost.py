"""Containers that nobody can account for, left-overs under our ids, and what belongs to others."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from faults.api import Api
from faults.inventory import forkserver_of, inventory, monitor_of, nothing_more, settled
from rig import Engine, eventually
from rig.machine import CGROUPS

pytestmark = pytest.mark.root


def orphan(engine: Engine, pid: int) -> None:
    """Kill everything that watches a container, by the pid of its process."""
    forkserver = forkserver_of(engine)
    watching = [parent(pid)]
    while parent(watching[-1]) != forkserver:  # a monitor that is not at rest yet is the child of another
        watching.append(parent(watching[-1]))
    for number in (signal.SIGSTOP, signal.SIGKILL):  # they stand still: none finds another forkserver, or hands over
        for one in watching:
            with contextlib.suppress(ProcessLookupError):  # it has just handed over
                os.kill(one, number)
        if number == signal.SIGSTOP:
            os.kill(forkserver, signal.SIGKILL)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("away", [False, True], ids=["daemon alive", "daemon killed too"])
def test_a_container_that_nobody_watches_any_more_is_ended_and_says_so(
    start_engine: Callable[..., Engine], away: bool, paused: bool
) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    container = api.run("sleep", "100000")
    pid = api.state(container)["Pid"]
    if paused:
        api.ask("POST", f"/containers/{container}/pause")
    if away:
        engine.kill()
    orphan(engine, pid)
    if away:
        engine.start()
    assert api.wait(container) == 137
    state = api.state(container)
    assert (state["Status"], state["Running"], state["Paused"]) == ("exited", False, False)
    assert "monitor" in state["Error"]
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), what="init has reaped it")
    api.start(container)
    assert api.state(container)["Running"]
    api.remove(container, force=True)
    nothing_more(engine, before)


def test_a_policy_starts_a_lost_container_again(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    container = api.run("sleep", "100000", RestartPolicy={"Name": "always"})
    pid = api.state(container)["Pid"]
    engine.kill()
    orphan(engine, pid)
    engine.start()
    state = api.state(container)
    assert state["Running"]
    assert state["Pid"] != pid
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), what="init has reaped it")


def test_a_process_that_got_a_dead_containers_number_is_left_alone(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    container = api.run("sleep", "100000")
    pid = api.state(container)["Pid"]
    engine.kill()
    orphan(engine, pid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    with subprocess.Popen(["sleep", "100000"]) as innocent:
        try:
            with sqlite3.connect(engine.data_root / "ledger.db") as ledger:
                (state,) = ledger.execute("SELECT state FROM container WHERE id = ?", (container,)).fetchone()
                assert str(pid).encode() in state
                forged = state.replace(f'"pid":{pid}'.encode(), f'"pid":{innocent.pid}'.encode())
                assert msgspec.json.decode(forged)
                ledger.execute("UPDATE container SET state = ? WHERE id = ?", (forged, container))
            ledger.close()
            engine.start()
            assert api.state(container)["Status"] == "exited"
            assert api.state(container)["Pid"] == 0
            api.remove(container, force=True)
            assert innocent.poll() is None
        finally:
            innocent.kill()


def test_what_bears_our_ids_and_is_nobodys_is_removed_and_the_rest_stays(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    runs, ended = api.run("sleep", "100000"), api.run("true")
    api.wait(ended)
    pid = api.state(runs)["Pid"]
    engine.kill()
    machine, unknown, foreign = engine.machine, "ab" * 32, "cd" * 32
    tops = [top for top in (CGROUPS / machine.name, *CGROUPS.glob(f"*/{machine.name}")) if top.is_dir()]
    stale = [top / name for top in tops for name in (ended, unknown)]
    for directory in stale:
        (directory / "inner").mkdir(parents=True)
    (engine.exec_root / "containers" / unknown / "shm").mkdir(parents=True)
    (engine.data_root / "containers" / unknown).mkdir()
    (engine.data_root / "containers" / unknown / "hosts").write_text("")
    machine.run(["ip", "link", "add", "vethlost", "type", "veth", "peer", "name", "vethpeer"])
    bridge = next(name for name in machine.links() if name != "lo" and not name.startswith("veth"))
    machine.run(f"ip link set vethlost master {bridge}".split())
    # others': a container of another engine under the same parent, a link, a table, files of somebody's
    theirs = [top / foreign for top in tops]
    for directory in theirs:
        directory.mkdir()
    machine.run(["ip", "link", "add", "theirs0", "type", "bridge"])
    machine.run(["nft", "add", "table", "inet", "theirs"])
    kept = engine.exec_root / "containers" / "notes.txt"
    kept.write_text("somebody's")
    live = subprocess.Popen(["sleep", "100000"])
    try:
        for directory in theirs:
            with contextlib.suppress(OSError):  # v2: not every tree takes processes
                (directory / "cgroup.procs").write_text(str(live.pid))
        (engine.exec_root / "containers" / foreign).mkdir()
        engine.start()
        assert not [str(directory) for directory in stale if directory.exists()]
        assert not (engine.exec_root / "containers" / unknown).exists()
        assert not (engine.data_root / "containers" / unknown).exists()
        assert "vethlost" not in machine.links()
        assert api.state(runs)["Pid"] == pid
        assert live.poll() is None
        assert all(directory.exists() for directory in theirs)
        assert (engine.exec_root / "containers" / foreign).exists()
        assert kept.read_text() == "somebody's"
        assert "theirs0" in machine.links()
        assert "table inet theirs" in engine.run("nft", "list", "tables")
    finally:
        live.kill()
        live.wait()
    machine.run(["ip", "link", "del", "theirs0"])
    machine.run(["nft", "delete", "table", "inet", "theirs"])
    kept.unlink()
    (engine.exec_root / "containers" / foreign).rmdir()
    for directory in theirs:
        eventually(lambda directory=directory: (directory.rmdir(), True)[1])  # type: ignore[misc]
    for container in (runs, ended):
        api.remove(container, force=True)
    nothing_more(engine, before)


def test_a_container_that_another_data_root_knows_runs_on(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    container = api.run("sleep", "100000", CgroupParent=f"{engine.machine.cgroup_parent}/deeper")
    pid = api.state(container)["Pid"]
    engine.kill()
    with contextlib.closing(sqlite3.connect(engine.data_root / "ledger.db")) as ledger:
        ledger.execute("DELETE FROM container")
        ledger.commit()
    engine.start()
    assert api.ask("GET", "/containers/json", all=1) == []
    assert os.path.exists(f"/proc/{pid}")
    assert monitor_of(engine, container)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    engine.restart()
    assert not (engine.exec_root / "containers" / container).exists()


def test_a_second_daemon_on_the_same_roots_is_refused(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = Api(engine)
    container = api.run("sleep", "100000")
    for other in (
        ["--data-root", str(engine.data_root), "--exec-root", str(engine.root / "exec2")],
        ["--data-root", str(engine.root / "data2"), "--exec-root", str(engine.exec_root)],
    ):
        command = [
            engine.command()[0],
            "-H",
            f"unix://{engine.root}/second.sock",
            "-p",
            str(engine.root / "p2"),
            *other,
        ]
        done = engine.machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, text = done.communicate(timeout=60)
        assert done.returncode == 1
        assert b"in use by another daemon" in text
        assert b"Traceback" not in text
    assert api.state(container)["Running"]
    api.remove(container, force=True)


def test_groups_that_nobody_was_left_to_remove_go_with_their_container(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    container = api.run("sleep", "100000")
    groups = [group for group in CGROUPS.glob(f"**/{container}") if group.is_dir()]
    assert groups
    api.ask("POST", f"/containers/{container}/kill")
    api.wait(container)
    eventually(lambda: not any(group.exists() for group in groups))
    for group in groups:
        group.mkdir()
    api.remove(container)
    nothing_more(engine, before)
