"""The daemon dies at each of its durable steps, one after another; then everything is brought together again."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faults.api import Api, Failed
from faults.counting import cycles
from faults.inventory import cleared, inventory, nothing_more, settled
from rig import Engine, archives, eventually

pytestmark = pytest.mark.root

HOST = {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}, "Binds": ["named:/named", "/anonymous"]}


@dataclass(frozen=True)
class Operation:
    """before: what it needs; act: the operation, which may find itself done; after: it has its effect; undo: away."""

    act: Callable[[Api], object]
    after: Callable[[Api], bool]
    undo: Callable[[Api], object]
    before: Callable[[Api], object] = lambda api: None


def either(work: Callable[[], object], *statuses: int) -> None:
    """A refusal with one of these statuses means that it is done already."""
    try:
        work()
    except Failed as failure:
        if failure.status not in statuses:
            raise


def create(api: Api) -> None:
    either(lambda: api.create("sleep", "1000", name="web", **HOST), 409)


def start(api: Api) -> None:
    api.start("web")


def made(api: Api) -> None:
    create(api)
    start(api)


def ephemeral(api: Api) -> None:
    api.create("true", name="web", AutoRemove=True, **HOST)


def away(api: Api) -> None:
    either(lambda: api.remove("web", force=True), 404)
    either(lambda: api.ask("DELETE", "/volumes/named"), 404)


def status(api: Api, wanted: str) -> bool:
    return bool(api.state("web")["Status"] == wanted)


def gone(api: Api, path: str) -> bool:
    try:
        api.ask("GET", path)
    except Failed as failure:
        return failure.status == 404
    return False


def execute(api: Api) -> None:
    made_one = api.ask("POST", "/containers/web/exec", {"Cmd": ["touch", "/touched"]})
    api.ask("POST", f"/exec/{made_one['Id']}/start", {"Detach": True})


def load(api: Api) -> None:
    status_code, answer = api.raw("POST", "/images/load", archives.busybox().read_bytes())
    assert status_code == 200, answer


def import_layer(api: Api) -> None:
    status_code, answer = api.raw("POST", "/images/create?fromSrc=-&repo=imported&tag=1", archives.busybox_layer())
    assert status_code == 200, answer


def no_image(name: str) -> Callable[[Api], None]:
    return lambda api: either(lambda: api.ask("DELETE", f"/images/{name}"), 404)


def commit(api: Api) -> None:
    api.ask("POST", "/commit", None, container="web", repo="committed", tag="1")


def runs(api: Api, image: str) -> bool:
    body = {"Image": image, "Cmd": ["true"]}
    container = api.ask("POST", "/containers/create", body)["Id"]
    api.start(container)
    code = api.wait(container)
    api.remove(container)
    return code == 0


def network(api: Api) -> None:
    either(lambda: api.ask("POST", "/networks/create", {"Name": "net", "CheckDuplicate": True}), 409)


OPERATIONS = {
    "create": Operation(create, lambda api: status(api, "created"), away),
    "start": Operation(start, lambda api: status(api, "running"), away, create),
    "stop": Operation(
        lambda api: api.ask("POST", "/containers/web/stop", t=0), lambda api: status(api, "exited"), away, made
    ),
    "rm": Operation(away, lambda api: gone(api, "/containers/web/json"), away, create),
    "rm of one without volumes": Operation(
        away, lambda api: gone(api, "/containers/web/json"), away, lambda api: api.create("true", name="web")
    ),
    "rm -f": Operation(away, lambda api: gone(api, "/containers/web/json"), away, made),
    "rm of --rm": Operation(away, lambda api: gone(api, "/containers/web/json"), away, ephemeral),
    "end of --rm": Operation(
        lambda api: either(lambda: start(api), 404),
        lambda api: eventually(lambda: gone(api, "/containers/web/json")),
        away,
        ephemeral,
    ),
    "exec": Operation(execute, lambda api: status(api, "running"), away, made),
    "commit": Operation(
        commit,
        lambda api: status(api, "running") and runs(api, "committed:1"),
        lambda api: (away(api), no_image("committed:1")(api)),
        lambda api: (made(api), execute(api)),
    ),
    "import": Operation(import_layer, lambda api: runs(api, "imported:1"), no_image("imported:1")),
    "load": Operation(load, lambda api: runs(api, "busybox"), lambda api: None, no_image("busybox")),
    "rmi": Operation(
        no_image("imported:1"), lambda api: gone(api, "/images/imported:1/json"), no_image("imported:1"), import_layer
    ),
    "network create": Operation(
        network,
        lambda api: not gone(api, "/networks/net"),
        lambda api: either(lambda: api.ask("DELETE", "/networks/net"), 404),
    ),
    "network rm": Operation(
        lambda api: either(lambda: api.ask("DELETE", "/networks/net"), 404),
        lambda api: gone(api, "/networks/net"),
        lambda api: None,
        network,
    ),
    "volume create": Operation(
        lambda api: api.ask("POST", "/volumes/create", {"Name": "vol"}),
        lambda api: not gone(api, "/volumes/vol"),
        lambda api: either(lambda: api.ask("DELETE", "/volumes/vol"), 404),
    ),
    "volume rm": Operation(
        lambda api: either(lambda: api.ask("DELETE", "/volumes/vol"), 404),
        lambda api: gone(api, "/volumes/vol"),
        lambda api: None,
        lambda api: api.ask("POST", "/volumes/create", {"Name": "vol"}),
    ),
}


class Points:
    """The daemon's crash points, listed and armed through files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = Path(f"{path}.seen")

    def arm(self, number: int) -> None:
        """0 only lists."""
        self.seen.write_text("")
        self.path.write_text(str(number))

    def disarm(self) -> list[str]:
        """What was passed since."""
        self.path.unlink()
        return self.seen.read_text().splitlines()


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Points:
    monkeypatch.setenv("TIFFIN_CRASH_AT", f"@{tmp_path / 'points'}")
    return Points(tmp_path / "points")


@pytest.mark.parametrize("each", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])])
@pytest.mark.timeout(600)
def test_what_a_crash_breaks_off_can_be_repeated_and_leaves_nothing(
    start_engine: Callable[..., Engine], points: Points, each: bool
) -> None:
    engine = start_engine()
    settled(engine)
    source = random.Random(each)
    for name, operation in OPERATIONS.items():
        before = inventory(engine)
        passed = passage(engine, operation, points)
        assert passed or name == "exec", f"{name} passes no crash point"
        numbers = range(1, len(passed) + 1)
        for number in numbers if each else source.sample(numbers, min(1, len(passed))):
            where = f"{name} at {number}: {passed[number - 1]} of {', '.join(passed)}"
            try:
                broken_off(engine, operation, points, number)
                nothing_more(engine, before)
            except (AssertionError, OSError) as problem:
                raise AssertionError(f"{where}: {problem}") from problem


def passage(engine: Engine, operation: Operation, points: Points) -> list[str]:
    """The points that an operation passes."""
    api = Api(engine)
    operation.before(api)
    cleared(engine)  # it passes points too
    points.arm(0)
    operation.act(api)
    passed = points.disarm()
    assert operation.after(api)
    operation.undo(api)
    return passed


def broken_off(engine: Engine, operation: Operation, points: Points, number: int) -> None:
    """The daemon dies in the midst of it; the next one carries on."""
    api = Api(engine)
    operation.before(api)
    cleared(engine)
    points.arm(number)
    with contextlib.suppress(OSError, http.client.HTTPException):
        operation.act(api)
    assert engine.daemon is not None
    engine.daemon.wait(timeout=30)
    points.disarm()
    engine.start()
    operation.act(api)
    assert operation.after(api)
    operation.undo(api)


@pytest.mark.parametrize("count", cycles(6, 100))
@pytest.mark.timeout(600)
def test_a_daemon_killed_at_any_moment_of_any_operation_carries_on(
    start_engine: Callable[..., Engine], count: int
) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    source = random.Random(count)
    for _ in range(count):
        name, operation = source.choice(list(OPERATIONS.items()))
        operation.before(api)
        problems: list[Any] = []

        def act(operation: Operation = operation, problems: list[Any] = problems) -> None:
            try:
                operation.act(api)
            except (OSError, http.client.HTTPException):
                pass  # it was killed
            except Exception as problem:
                problems.append(problem)

        thread = threading.Thread(target=act)
        thread.start()
        time.sleep(source.random() * 0.06)
        engine.kill()
        thread.join()
        engine.start()
        assert not problems, (name, problems)
        operation.act(api)
        assert operation.after(api), name
        operation.undo(api)
    nothing_more(engine, before)
