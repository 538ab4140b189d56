"""What a power loss or a bad disk leaves: files cut short, a torn log, records without files."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.api import Api, Failed
from faults.inventory import settled
from rig import Engine, archives, eventually

pytestmark = pytest.mark.root


def largest_blob(engine: Engine) -> Path:
    blobs = (engine.data_root / "content/blobs/sha256").iterdir()
    return max(blobs, key=lambda path: path.stat().st_size)


def test_a_blob_cut_short_is_noticed_and_loaded_again(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    engine.kill()
    blob = largest_blob(engine)
    with blob.open("r+b") as file:
        file.truncate(1000)
    engine.start()
    status, answer = api.raw("GET", "/v1.51/images/busybox/get")
    assert status == 500
    assert b"is damaged" in answer
    assert b"load or pull the image again" in answer
    assert api.ask("GET", "/_ping") == b"OK"
    status, answer = api.raw("POST", "/v1.51/images/load", archives.busybox().read_bytes())
    assert status == 200, answer
    assert b"error" not in answer, answer
    status, answer = api.raw("GET", "/v1.51/images/busybox/get")
    assert status == 200
    assert len(answer) > 100_000
    container = api.run("true")
    assert api.wait(container) == 0
    api.remove(container)


def test_a_blob_cut_short_is_replaced_by_the_next_load(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    blob = largest_blob(engine)
    whole = blob.read_bytes()
    with blob.open("r+b") as file:
        file.truncate(1000)
    status, answer = api.raw("POST", "/v1.51/images/load", archives.busybox().read_bytes())
    assert status == 200, answer
    assert blob.read_bytes() == whole


def test_a_torn_write_ahead_log_loses_its_last_transactions_only(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    runs = api.run("sleep", "100000")
    for number in range(20):
        api.ask("POST", "/volumes/create", {"Name": f"volume{number}"})
    engine.kill()
    log = engine.data_root / "ledger.db-wal"
    data = log.read_bytes()
    log.write_bytes(data[: len(data) * 3 // 4] + b"\0" * 4096)
    engine.start()
    names = {volume["Name"] for volume in api.ask("GET", "/volumes")["Volumes"] or ()}
    assert names == {f"volume{number}" for number in range(len(names))}
    for one in api.ask("GET", "/containers/json", all=1):
        assert one["Id"] == runs
        api.remove(one["Id"], force=True)
    container = api.run("true")
    assert api.wait(container) == 0


def test_a_ledger_that_is_none_is_refused_with_what_to_do(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(images=())
    engine.stop()
    ledger = engine.data_root / "ledger.db"
    kept = ledger.read_bytes()
    ledger.write_bytes(b"this is no database" * 1000)
    with pytest.raises(RuntimeError, match=r"cannot open the ledger .*restore it or move it away"):
        engine.start()
    assert "Traceback" not in engine.log_tail()
    ledger.write_bytes(kept)
    engine.start()
    assert Api(engine).ask("GET", "/_ping") == b"OK"


def test_after_a_power_loss_everything_is_made_again(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    ports = {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}
    always = api.run("sleep", "100000", RestartPolicy={"Name": "always"}, **ports)
    plain, ephemeral = api.run("sleep", "100000"), api.run("sleep", "100000", AutoRemove=True)
    ended = api.run("sh", "-c", "exit 3")
    api.wait(ended)
    engine.kill()
    # what a machine has lost when it comes back: processes, groups, links, rules, /run
    eventually(lambda: [os.kill(pid, signal.SIGKILL) for pid in engine.machine.processes()] == [], errors=OSError)
    for directory in engine.machine.cgroups():
        if directory.name != engine.machine.name:
            eventually(lambda directory=directory: (directory.rmdir(), True)[1])  # type: ignore[misc]
    engine.run("nft", "flush", "ruleset")
    for link in engine.machine.links():
        if link != "lo":
            engine.run("ip", "link", "del", link, check=False)
    shutil.rmtree(engine.exec_root)
    engine.start()
    states = {one: api.state(one) for one in (always, plain, ended)}
    assert states[always]["Running"]
    assert (states[plain]["Status"], states[plain]["ExitCode"]) == ("exited", 137)
    assert states[plain]["Error"]
    assert (states[ended]["ExitCode"], states[ended]["Error"]) == (3, "")
    with pytest.raises(Failed, match="No such container"):
        api.state(ephemeral)
    assert "8080" in engine.run("nft", "list", "ruleset")
    api.start(plain)
    for one in (always, plain, ended):
        api.remove(one, force=True)


def test_containers_whose_files_are_gone_can_be_seen_and_removed(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    container = api.run("true")
    api.wait(container)
    engine.kill()
    shutil.rmtree(engine.data_root / "containers" / container)
    for snapshots in (engine.data_root / "snapshots").rglob(container):
        shutil.rmtree(snapshots)
    engine.start()
    assert api.state(container)["Status"] == "exited"
    with pytest.raises(Failed) as refusal:
        api.start(container)
    assert "Traceback" not in refusal.value.text
    api.remove(container)
    assert api.ask("GET", "/containers/json", all=1) == []
