"""Many containers on several networks at once: no address twice, nothing left."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from faults.counting import cycles
from faults.inventory import inventory, nothing_more, settled
from rig import Engine, eventually

pytestmark = pytest.mark.root

NETWORKS, CLIENTS = 5, 20


class Held:
    """The addresses that running containers have at a moment, by network."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[tuple[str, str]] = set()

    @contextmanager
    def by(self, places: list[tuple[str, str]]) -> Iterator[None]:
        with self._lock:
            twice = self._held.intersection(places)
            self._held.update(places)
        assert not twice, f"given to two containers at once: {twice}"
        try:
            yield
        finally:
            with self._lock:
                self._held.difference_update(places)


@pytest.mark.parametrize("count", cycles(30, 1000))
def test_containers_on_five_networks_share_nothing_and_leave_nothing(
    start_engine: Callable[..., Engine], count: int
) -> None:
    engine = start_engine()
    api, held = settled(engine), Held()
    for number in range(NETWORKS):
        pool = {"Subnet": f"10.{60 + number}.0.0/26"}
        api.ask("POST", "/networks/create", {"Name": f"net{number}", "IPAM": {"Config": [pool]}})

    def live(number: int) -> None:
        first, second = f"net{number % NETWORKS}", f"net{(number + 1) % NETWORKS}"
        ports = {"PortBindings": {"80/tcp": [{"HostPort": ""}]}} if number % 3 == 0 else {}
        container = api.create("sleep", "100000", NetworkMode=first, **ports)
        if number % 4 == 0:
            api.ask("POST", f"/networks/{second}/connect", {"Container": container})
        api.start(container)
        if number % 4 == 1:
            api.ask("POST", f"/networks/{second}/connect", {"Container": container})
        shown = api.ask("GET", f"/containers/{container}/json")["NetworkSettings"]["Networks"]
        with held.by([(name, place["IPAddress"]) for name, place in shown.items()]):
            assert all(place["IPAddress"] for place in shown.values())
        if number % 4 == 1:
            api.ask("POST", f"/networks/{second}/disconnect", {"Container": container})
        api.remove(container, force=True)

    with ThreadPoolExecutor(CLIENTS) as crowd:
        list(crowd.map(live, range(CLIENTS)))  # threads, pools and caches are as large as they get
        before = inventory(engine)
        list(crowd.map(live, range(count)))
    nothing_more(engine, before, within=60)
    for number in range(NETWORKS):
        assert api.ask("GET", f"/networks/net{number}")["Containers"] == {}
    checked = json.loads(engine.cli("tiffin")("system", "check", "--format", "json").out)
    assert checked["Findings"] == []
    eventually(lambda: len([link for link in engine.machine.links() if link.startswith("veth")]) == 0)
