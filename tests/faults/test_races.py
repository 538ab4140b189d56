"""Everything at once on the same few containers: each answer is one that makes sense, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import rig as rig_package
from faults.api import Api, Failed
from faults.counting import cycles
from faults.inventory import inventory, nothing_more, settled
from rig import Engine

pytestmark = pytest.mark.root

NAMES = ("red", "green", "blue", "black")


def create(api: Api, name: str) -> None:
    ports = {"PortBindings": {"80/tcp": [{"HostPort": ""}]}}
    api.create("sleep", random.choice(["100000", "0.05"]), name=name, Binds=["/anonymous"], **ports)


def post(action: str, **query: object) -> Callable[[Api, str], object]:
    return lambda api, name: api.ask("POST", f"/containers/{name}/{action}", **query)


def execute(api: Api, name: str) -> None:
    made = api.ask("POST", f"/containers/{name}/exec", {"Cmd": ["true"]})
    api.ask("POST", f"/exec/{made['Id']}/start", {"Detach": True})


def rename(api: Api, name: str) -> None:
    api.ask("POST", f"/containers/{name}/rename", name=random.choice(NAMES))


def copy(api: Api, name: str) -> None:
    status, answer = api.raw("PUT", f"/v1.51/containers/{name}/archive?path=/tmp", bytes(10240))
    if status >= 300:
        raise Failed(f"copy to {name}", status, answer.decode())


def create_another(api: Api, name: str) -> None:
    """One that prints, leaves by itself or comes back, on this network or that."""
    command = random.choice([("sleep", "0.05"), ("sh", "-c", "while :; do echo said; usleep 20000; done"), ("none",)])
    host = {"NetworkMode": random.choice(["bridge", "none", "first", "second"]), "Init": random.choice([True, False])}
    ending = random.choice([{}, {"AutoRemove": True}, {"RestartPolicy": {"Name": "always"}}])
    api.create(*command, name=name, tty=random.choice([True, False]), **host, **ending)


def listen(api: Api, method: str, path: str, body: bytes = b"") -> None:
    """Ask for a stream, and go away in the middle of it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(api.engine.socket))
        head = f"{method} /v1.51{path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        answer = client.recv(4096)
        status = int(answer.split()[1])
        if status >= 300:
            raise Failed(path, status, answer.decode("utf-8", "replace"))
        client.settimeout(random.choice([0.001, 0.1]))
        until = time.monotonic() + 0.5
        try:
            while time.monotonic() < until and client.recv(4096):
                pass
        except (TimeoutError, ConnectionError):
            return


def attach(api: Api, name: str) -> None:
    listen(api, "POST", f"/containers/{name}/attach?stdin=1&stdout=1&stderr=1&stream=1&logs={random.choice('01')}")


def follow(api: Api, name: str) -> None:
    listen(api, "GET", f"/containers/{name}/logs?stdout=1&stderr=1&follow=1")


def execute_attached(api: Api, name: str) -> None:
    command = random.choice([["true"], ["sh", "-c", "echo said; sleep 0.1"], ["none"]])
    wanted = {"Cmd": command, "AttachStdin": True, "AttachStdout": True, "Tty": random.choice([True, False])}
    made = api.ask("POST", f"/containers/{name}/exec", wanted)
    listen(api, "POST", f"/exec/{made['Id']}/start", b'{"Detach": false}')


def copy_out(api: Api, name: str) -> None:
    status, answer = api.raw("GET", f"/v1.51/containers/{name}/{random.choice(['archive?path=/etc', 'export'])}")
    if status >= 300:
        raise Failed(f"copy from {name}", status, answer.decode())


def change_networks(api: Api, name: str) -> None:
    how, network = random.choice(["connect", "disconnect"]), random.choice(["first", "second"])
    api.ask("POST", f"/networks/{network}/{how}", {"Container": name, "Force": random.choice([True, False])})


OPERATIONS: list[Callable[[Api, str], object]] = [
    create,
    create,
    create,
    post("start"),
    post("start"),
    post("stop", t=0),
    post("kill"),
    post("kill", signal="TERM"),
    post("restart", t=0),
    post("pause"),
    post("unpause"),
    execute,
    rename,
    lambda api, name: api.ask("GET", f"/containers/{name}/json"),
    lambda api, name: api.ask("GET", f"/containers/{name}/logs", stdout=1),
    lambda api, name: api.ask("GET", f"/containers/{name}/top"),
    lambda api, name: api.ask("GET", "/containers/json", all=1),
    copy,
    lambda api, name: api.ask("POST", f"/containers/{name}/update", {"PidsLimit": 100}),
    lambda api, name: api.remove(name),
    lambda api, name: api.remove(name, force=True),
]
MORE = [
    *OPERATIONS,
    *[create_another] * 4,
    *[post("start")] * 3,
    *[attach, follow, execute_attached, copy_out, change_networks] * 2,
    post("resize", h=20, w=70),
    lambda api, name: api.ask("GET", f"/containers/{name}/changes"),
    lambda api, name: api.ask("GET", f"/containers/{name}/stats", stream=0, **{"one-shot": 1}),
    lambda api, name: api.ask("GET", "/containers/json", all=1, size=1),
    lambda api, name: api.ask("POST", "/commit", {}, container=name, repo="made"),
    lambda api, name: api.ask("POST", "/containers/prune"),
]


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons say when they close a descriptor that their loop still watches."""
    monkeypatch.setenv("PYTHONPATH", str(Path(rig_package.__file__).parent / "watchful"), prepend=os.pathsep)


@pytest.mark.parametrize("count", cycles(300, 10000))
def test_operations_that_come_at_once_are_done_or_refused(
    watchful: None, start_engine: Callable[..., Engine], count: int
) -> None:
    at_once(start_engine(), OPERATIONS, 8, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", cycles(1000, 10000))
def test_so_are_streams_copies_networks_and_policies(
    watchful: None, start_engine: Callable[..., Engine], count: int
) -> None:
    engine = start_engine()
    for network in ("first", "second"):
        Api(engine).ask("POST", "/networks/create", {"Name": network})
    at_once(engine, MORE, 12, count)


def test_a_container_is_paused_between_execs_and_not_within_one(start_engine: Callable[..., Engine]) -> None:
    api = Api(start_engine())
    container = api.run("sleep", "100000")

    def begin(number: int) -> bool:
        made = api.ask("POST", f"/containers/{container}/exec", {"Cmd": ["true"]})
        begun.release()
        time.sleep(number % 12 / 1000)  # no more than to meet the pause at another moment
        try:
            api.ask("POST", f"/exec/{made['Id']}/start", {"Detach": True})
        except Failed as refusal:
            return "is paused" in str(refusal)
        return True

    begun = threading.Semaphore(0)
    with ThreadPoolExecutor(1) as other:
        for number in range(24):
            execution = other.submit(begin, number)
            begun.acquire()
            time.sleep((11 - number % 12) / 1000)
            api.ask("POST", f"/containers/{container}/pause")
            assert execution.result(timeout=60), "refused for another reason"
            api.ask("POST", f"/containers/{container}/unpause")


def at_once(engine: Engine, operations: list[Callable[[Api, str], object]], clients: int, count: int) -> None:
    """So many operations by so many clients on four containers: no answer that makes no sense, nothing left."""
    api = settled(engine)
    unexpected: list[str] = []

    def one(number: int) -> None:
        source = random.Random(number)
        operation, name = source.choice(operations), source.choice(NAMES)
        try:
            operation(api, name)
        except Failed as refusal:
            if refusal.status not in (400, 403, 404, 409):
                unexpected.append(str(refusal))

    def clear() -> None:
        for container in api.ask("GET", "/containers/json", all=1):
            with contextlib.suppress(Failed):  # it removes itself; what stays is found below
                api.remove(container["Id"], force=True)

    with ThreadPoolExecutor(clients) as crowd:
        list(crowd.map(one, range(-200, 0)))
        clear()
        before = inventory(engine)
        list(crowd.map(one, range(count)))
    clear()
    assert not unexpected, "\n".join(sorted(set(unexpected)))
    nothing_more(engine, before)
    log = engine.log.read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:3000]
