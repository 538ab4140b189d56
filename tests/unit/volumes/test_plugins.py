"""Volume plugins, against a driver of the tests' own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rig.volume_driver
from rig import eventually, registries
from tiffin.content.ledger import Ledger
from tiffin.errors import Conflict, Internal, NotFound, Unavailable
from tiffin.volumes.check import VolumesCheck
from tiffin.volumes.plugins import Patience, Plugins
from tiffin.volumes.records import LedgerRecords
from tiffin.volumes.service import Volumes


class Driver:
    """The driver's process, on a socket in the directory of sockets."""

    def __init__(self, root: Path, name: str = "keeper") -> None:
        self.socket = root / "sockets" / f"{name}.sock"
        self.state = root / "state"
        self.state.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, rig.volume_driver.__file__, self.socket, self.state])
        eventually(self.socket.is_socket)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    def calls(self, *methods: str) -> list[str]:
        lines = [line.rstrip() for line in (self.state / "calls").read_text().splitlines()]
        return [line for line in lines if line.split()[0] in methods]


@pytest.fixture
def driver(short: Path) -> Iterator[Driver]:
    made = Driver(short)
    yield made
    made.stop()


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose path leaves room for a socket's name."""
    return tmp_path_factory.mktemp("p")


@pytest.fixture
def reopen(short: Path) -> Iterator[Callable[..., Volumes]]:
    """reopen(answer=2) waits that long for answers, reopen(connect=1) for somebody who listens: seconds."""
    ledgers: list[Ledger] = []

    def open_again(answer: float = 60, connect: float = 60) -> Volumes:
        ledgers.append(Ledger(short / "ledger.db"))
        plugins = Plugins(short / "sockets", (short / "specs",), Patience(answer=answer, connect=connect))
        return Volumes(short / "volumes", LedgerRecords(ledgers[-1]), plugins=plugins)

    yield open_again
    for one in ledgers:
        one.close()


def test_volume_is_made_mounted_for_each_container_and_removed(driver: Driver, reopen: Callable[[], Volumes]) -> None:
    volumes = reopen()
    volume = volumes.create("data", driver="keeper", options={"size": "1G"}, labels={"a": "b"})
    assert (volume.driver, volume.scope, volume.mountpoint) == ("keeper", "global", "")
    with pytest.raises(Conflict, match="volume name must be unique"):
        volumes.create("data", driver="local")
    assert json.loads((driver.state / "data.options").read_text()) == {"size": "1G"}
    volumes.reference("data", "one")
    volumes.reference("data", "two")
    place = volumes.mount("data", "one")
    assert place == volumes.mount("data", "two") == str(driver.state / "volumes" / "data")
    assert volumes.look("data").mountpoint == place
    assert volumes.look("data").status == {"holders": 2}
    with pytest.raises(Conflict, match="volume is in use - \\[one, two\\]"):
        volumes.remove("data")
    volumes.unmount("one")
    assert volumes.look("data").status == {"holders": 1}
    volumes.release("one")
    volumes.release("two")
    assert driver.calls("Mount", "Unmount") == [
        "Mount data one",
        "Mount data two",
        "Unmount data one",
        "Unmount data two",
    ]
    volumes.remove("data")
    assert volumes.all() == []


def test_volumes_that_others_made_are_found(driver: Driver, reopen: Callable[[], Volumes]) -> None:
    (driver.state / "volumes" / "elsewhere").mkdir(parents=True)
    volumes = reopen()
    assert [(one.name, one.driver) for one in volumes.all()] == [("elsewhere", "keeper")]
    assert volumes.create("elsewhere").driver == "keeper", "no driver is named: whoever has it"
    with pytest.raises(NotFound, match="get missing: no such volume"):
        volumes.get("missing")


def test_a_restart_of_the_daemon_keeps_count_of_mounts(driver: Driver, reopen: Callable[[], Volumes]) -> None:
    volumes = reopen()
    volumes.create("data", driver="keeper", labels={"a": "b"})
    for container in ("one", "two"):
        volumes.reference("data", container)
        volumes.mount("data", container)
    volumes = reopen()
    assert volumes.get("data").labels == {"a": "b"}
    volumes.restore(["one"])
    assert driver.calls("Mount", "Unmount")[2:] == ["Unmount data two"]
    volumes.unmount("one")
    assert volumes.look("data").status == {"holders": 0}


def test_a_check_leaves_plugins_volumes_and_what_is_being_made_alone(
    driver: Driver, reopen: Callable[[], Volumes], short: Path
) -> None:
    volumes = reopen()
    volumes.create("data", driver="keeper")
    volumes.reference("data", "one")
    volumes.mount("data", "one")
    (driver.state / "volumes" / "data").rmdir()  # on this machine there is nothing to see of it
    check = VolumesCheck(volumes, short / "volumes", lambda: {"one": ["data"]}, tuple)
    with volumes.local.staging():
        assert list(check.findings(thorough=True)) == []


def test_a_plugin_may_be_restarted_at_any_time(driver: Driver, reopen: Callable[[], Volumes]) -> None:
    volumes = reopen()
    volumes.create("data", driver="keeper")
    driver.stop()
    driver.start()
    assert volumes.mount("data", "one")
    driver.stop()
    assert [one.name for one in volumes.all()] == ["data"], "what we know is listed without it"
    volumes.unmount("one")
    with pytest.raises(NotFound, match='error looking up volume plugin keeper: plugin "keeper" not found'):
        volumes.mount("data", "two")
    driver.start()
    assert volumes.mount("data", "two")


def test_errors_and_silence_are_told(driver: Driver, reopen: Callable[..., Volumes]) -> None:
    volumes = reopen()
    volumes.create("data", driver="keeper")
    (driver.state / "fail").write_text("Mount the array is degraded")
    with pytest.raises(Internal, match="volume driver keeper: Mount: the array is degraded"):
        volumes.mount("data", "one")
    (driver.state / "fail").write_text("Mount")
    with pytest.raises(Unavailable, match="volume driver keeper: Mount: no answer within 2 s"):
        reopen(answer=2).mount("data", "one")
    (driver.state / "fail").unlink()
    volumes.unmount("one")


def test_a_dead_socket_is_waited_for_and_then_told(driver: Driver, reopen: Callable[..., Volumes]) -> None:
    reopen().create("data", driver="keeper")
    driver.process.kill()
    driver.process.wait()
    volumes = reopen(connect=1)
    with pytest.raises(Unavailable, match=r"cannot connect to unix://.*: Connection refused; is it running?"):
        volumes.mount("data", "one")


@pytest.fixture
def over_tcp(short: Path) -> Iterator[Callable[..., tuple[Path, int]]]:
    """over_tcp(certificate, key, ca) is a driver's state, and its port on 127.0.0.1; plain without arguments."""
    processes = []

    def start(*files: Path) -> tuple[Path, int]:
        state = short / f"tcp-{len(processes)}"
        state.mkdir()
        processes.append(subprocess.Popen([sys.executable, rig.volume_driver.__file__, "tcp", state, *files]))
        return state, int(eventually((state / "port").read_text))

    yield start
    for one in processes:
        one.kill()
        one.wait()


def test_a_plugin_is_reached_over_tcp(
    over_tcp: Callable[..., tuple[Path, int]], reopen: Callable[[], Volumes], short: Path
) -> None:
    state, port = over_tcp()
    (short / "specs").mkdir()
    (short / "specs" / "far.spec").write_text(f"tcp://127.0.0.1:{port}\n")
    volumes = reopen()
    assert volumes.create("data", driver="far").driver == "far"
    volumes.reference("data", "one")
    assert volumes.mount("data", "one") == str(state / "volumes" / "data")
    assert volumes.drivers() == ["local", "far"]
    volumes.unmount("one")
    volumes.release("one")
    volumes.remove("data")
    assert not (state / "volumes" / "data").exists()


def test_a_plugin_over_tls_and_its_client_know_each_other(
    over_tcp: Callable[..., tuple[Path, int]], reopen: Callable[[], Volumes], short: Path
) -> None:
    ca, certificate, key = registries.certificate(short / "keys", "127.0.0.1")
    other, *_ = registries.certificate(short / "others", "127.0.0.1")
    _, port = over_tcp(certificate, key, ca)
    (short / "specs").mkdir()

    def specify(name: str, **tls: object) -> None:
        document = {"Name": name, "Addr": f"https://127.0.0.1:{port}", "TLSConfig": tls}
        (short / "specs" / f"{name}.json").write_text(json.dumps(document))

    mine = {"CertFile": str(certificate), "KeyFile": str(key)}
    specify("far", CAFile=str(ca), **mine)
    specify("careless", InsecureSkipVerify=True, **mine)
    specify("stranger", CAFile=str(other), **mine)
    specify("nobody", CAFile=str(ca))
    volumes = reopen()
    assert volumes.create("data", driver="far").driver == "far"
    assert volumes.create("more", driver="careless").driver == "careless"
    with pytest.raises(Unavailable, match=r"volume driver stranger: .*certificate verify failed"):
        volumes.create("none", driver="stranger")
    with pytest.raises(Unavailable, match="volume driver nobody: "):
        volumes.create("none", driver="nobody")


def test_specifications_name_an_address(driver: Driver, short: Path) -> None:
    specs = short / "specs"
    specs.mkdir()
    (specs / "plain.spec").write_text(f"unix://{driver.socket}\n")
    (specs / "full.json").write_text(json.dumps({"Name": "full", "Addr": f"unix://{driver.socket}"}))
    (specs / "wrong.json").write_text("{}")
    plugins = Plugins(short / "none", (specs,))
    assert plugins.names() == ["full", "plain", "wrong"]
    assert plugins.get("plain").scope == plugins.get("full").scope == "global"
    assert [one.name for one in plugins.drivers()] == ["full", "plain"]
    with pytest.raises(Internal, match="is no plugin specification"):
        plugins.get("wrong")
    with pytest.raises(NotFound):
        plugins.get("../sockets/keeper")
