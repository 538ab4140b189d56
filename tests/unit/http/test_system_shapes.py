"""/info and /version in the shapes of several API versions, without a daemon."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiffin.engine import system
from tiffin.engine.events import Events
from tiffin.engine.system import Machine, Settings
from tiffin.http import events as events_routes
from tiffin.http import swarm
from tiffin.http import system as routes
from tiffin.http.request import Query, Request
from tiffin.http.router import Router
from tiffin.http.services import Census, Services

MACHINE = Machine(
    name="lunchbox",
    kernel="6.18.0",
    operating_system="Debian",
    os_version="12",
    machine="x86_64",
    processors=2,
    memory=1 << 30,
    cgroup_version=2,
    cgroup_controllers=frozenset({"cpu", "cpuset", "memory", "pids"}),
    swap_accounting=True,
    apparmor=False,
    seccomp=True,
)


def ask(path: str, machine: Machine = MACHINE, settings: Settings = Settings("/var/lib/tiffin")) -> dict[str, Any]:
    services = Services(machine, settings, "an-id", Events(), storage_driver="overlay")
    services.volumes = SimpleNamespace(drivers=lambda: ["local", "keeper"])
    services.networks = SimpleNamespace(drivers=lambda: ["bridge", "host", "null"], warnings=lambda: ["a wall"])
    services.census = lambda: Census(running=2, paused=1, stopped=3, images=4)
    route, parameters, rest, version = Router([routes, swarm, events_routes]).resolve("GET", path)

    async def run() -> Any:
        request = Request("GET", rest, {}, Query(), version, services, None, parameters)  # type: ignore[arg-type]
        return await route.handler(request)

    answer = asyncio.run(run())
    decoded: dict[str, Any] = json.loads(answer.body)
    return decoded


def test_info_tells_what_was_counted_and_observed() -> None:
    info = ask("/info")
    assert (info["Containers"], info["ContainersRunning"], info["ContainersPaused"], info["Images"]) == (6, 2, 1, 4)
    assert (info["Name"], info["NCPU"], info["MemTotal"]) == ("lunchbox", 2, 1 << 30)
    assert "WARNING: a wall" in info["Warnings"]
    assert info["Plugins"]["Volume"] == ["local", "keeper"]
    assert info["CgroupVersion"] == "2"
    assert "name=cgroupns" in info["SecurityOptions"]


@pytest.mark.parametrize(
    ("version", "there", "gone"),
    [
        ("1.41", ("KernelMemory", "BridgeNfIptables"), ("FirewallBackend", "DiscoveredDevices")),
        ("1.49", ("BridgeNfIptables", "FirewallBackend"), ("KernelMemory", "DiscoveredDevices")),
        ("1.51", ("FirewallBackend",), ("KernelMemory", "BridgeNfIptables", "DiscoveredDevices")),
    ],
)
def test_fields_come_and_go_with_the_api_version(version: str, there: tuple[str, ...], gone: tuple[str, ...]) -> None:
    info = ask(f"/v{version}/info")
    assert all(key in info for key in there)
    assert not any(key in info for key in gone)
    assert ("Expected" in info["RuncCommit"]) is (version == "1.41")


def test_a_kernel_without_limits_is_warned_about() -> None:
    info = ask("/info", replace(MACHINE, cgroup_controllers=frozenset(), swap_accounting=False))
    assert "WARNING: No memory limit support" in info["Warnings"]
    assert not info["MemoryLimit"]


def test_version_is_one_that_clients_take_for_a_late_docker() -> None:
    version = ask("/version")
    assert int(version["Version"].split(".")[0]) >= 23
    assert version["Arch"] == "amd64"
    assert version["Components"][0]["Details"]["MinAPIVersion"] == "1.24"


def test_the_identity_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "engine-id"
    first = system.identity(path)
    assert system.identity(path) == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_this_machine_can_be_observed() -> None:
    machine = system.observe()
    assert machine.processors >= 1
    assert machine.memory > 0
    assert machine.cgroup_version in (1, 2)
