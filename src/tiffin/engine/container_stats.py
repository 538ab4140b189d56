"""What a container uses, sampled from its control groups and its network namespace (API: GET …/stats)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from tiffin.engine.container_context import Context
from tiffin.engine.moments import rfc3339
from tiffin.linux import cgroups_stats
from tiffin.model.container import Container
from tiffin.model.container_status import process_of

INTERVAL = 1.0
_TICK = 10**9 // os.sysconf("SC_CLK_TCK")
_NEVER = rfc3339(0)
_MACHINE_MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
_BLKIO = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)
_INTERFACE = (
    ("rx_bytes", 0), ("rx_packets", 1), ("rx_errors", 2), ("rx_dropped", 3),
    ("tx_bytes", 8), ("tx_packets", 9), ("tx_errors", 10), ("tx_dropped", 11),
)  # fmt: skip


class Statistics:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def stream(self, reference: str) -> AsyncIterator[dict[str, Any]]:
        """A sample a second, each with the one before; zeros while it does not run; ends when it is removed."""
        container_id = self._context.records.find(reference).id
        before: dict[str, Any] | None = None
        while container_id in self._context.records:
            container = self._context.records.get(container_id)
            sample = self._sample(container, before)
            yield sample
            before = sample if sample["read"] != _NEVER else None
            await asyncio.sleep(INTERVAL)

    async def once(self, reference: str, *, at_once: bool) -> dict[str, Any]:
        """One sample; with the counters of a second before, unless `at_once`."""
        container = self._context.records.find(reference)
        first = self._sample(container, None)
        if at_once or first["read"] == _NEVER:
            return first
        await asyncio.sleep(INTERVAL)
        return self._sample(self._context.records.get(container.id), first)

    def _sample(self, container: Container, before: dict[str, Any] | None) -> dict[str, Any]:
        pid = process_of(container.status)
        try:
            found = cgroups_stats.read(self._context.cgroup(container)) if pid else None
        except OSError:
            found = None  # it ended just now
        if found is None:
            return _empty(container)
        none: list[Any] | None = [] if self._context.hierarchies.version == 1 else None
        sample = {
            "name": "/" + container.name,
            "id": container.id,
            "read": rfc3339(time.time_ns()),
            "preread": before["read"] if before else _NEVER,
            "pids_stats": _pids(found["pids"]),
            "blkio_stats": {name: found["blkio"].get(name) or none for name in _BLKIO},
            "num_procs": 0,
            "storage_stats": {},
            "cpu_stats": _cpu(found["cpu"]),
            "precpu_stats": before["cpu_stats"] if before else _no_cpu(),
            "memory_stats": _memory(found["memory"]),
        }
        networks = _networks(pid) if container.host.network_mode not in ("none", "host") else {}
        if networks:
            sample["networks"] = networks
        return sample


def _empty(container: Container) -> dict[str, Any]:
    return {
        "name": "/" + container.name,
        "id": container.id,
        "read": _NEVER,
        "preread": _NEVER,
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(_BLKIO),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _no_cpu(),
        "precpu_stats": _no_cpu(),
        "memory_stats": {},
    }


def _no_cpu() -> dict[str, Any]:
    return {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def _cpu(cpu: dict[str, Any]) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "total_usage": cpu.get("total", 0),
        "usage_in_kernelmode": cpu.get("kernel", 0),
        "usage_in_usermode": cpu.get("user", 0),
    }
    if cpu.get("percpu"):
        usage["percpu_usage"] = cpu["percpu"]
    return {
        "cpu_usage": usage,
        "system_cpu_usage": _system_cpu(),
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {
            "periods": cpu.get("periods", 0),
            "throttled_periods": cpu.get("throttled_periods", 0),
            "throttled_time": cpu.get("throttled_time", 0),
        },
    }


def _system_cpu() -> int:
    """Nanoseconds that all processors spent: user, nice, system, idle, iowait, irq, softirq."""
    with open("/proc/stat", encoding="ascii") as file:
        return sum(int(word) for word in file.readline().split()[1:8]) * _TICK


def _memory(memory: dict[str, Any]) -> dict[str, Any]:
    if not memory:
        return {}
    found = {"usage": memory["usage"], "stats": memory["stat"], "limit": min(memory["limit"], _MACHINE_MEMORY)}
    for name in ("max_usage", "failcnt"):
        if memory.get(name):
            found[name] = memory[name]
    return found


def _pids(pids: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in pids.items() if value}


def _networks(pid: int) -> dict[str, dict[str, int]]:
    """Counters of the interfaces in a process's network namespace, but for the loopback."""
    found = {}
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            lines = file.readlines()[2:]
    except OSError:
        return {}
    for line in lines:
        name, _, counters = line.partition(":")
        values = counters.split()
        if name.strip() != "lo" and len(values) >= 12:
            found[name.strip()] = {key: int(values[index]) for key, index in _INTERFACE}
    return found
