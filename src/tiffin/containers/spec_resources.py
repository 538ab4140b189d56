"""Limits of a specification (`linux.resources`), from docker's options."""

from collections.abc import Sequence
from typing import Any

from tiffin.containers.spec_devices import number_of
from tiffin.model.container_host import HostConfig, ThrottleDevice

PERIOD = 100_000


def resources(host: HostConfig, rules: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Only what was asked for: an absent key leaves the kernel's default alone."""
    found: dict[str, Any] = {"devices": list(rules)}
    found.update(limits(host))
    return found


def limits(host: HostConfig) -> dict[str, Any]:
    """Everything but the devices, which is what an update may change."""
    parts = {"memory": _memory(host), "cpu": _cpu(host), "blockIO": _block_io(host)}
    found: dict[str, Any] = {name: part for name, part in parts.items() if part}
    if host.pids_limit is not None:
        found["pids"] = {"limit": host.pids_limit if host.pids_limit > 0 else -1}
    return found


def _memory(host: HostConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if host.memory:
        found["limit"] = host.memory
    if host.memory_reservation:
        found["reservation"] = host.memory_reservation
    if host.memory_swap:
        found["swap"] = host.memory_swap
    if host.kernel_memory:
        found["kernel"] = host.kernel_memory
    if host.memory_swappiness is not None and host.memory_swappiness >= 0:
        found["swappiness"] = host.memory_swappiness
    if host.oom_kill_disable:
        found["disableOOMKiller"] = True
    return found


def _cpu(host: HostConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if host.cpu_shares:
        found["shares"] = host.cpu_shares
    if host.nano_cpus:
        found["period"] = PERIOD
        found["quota"] = host.nano_cpus * PERIOD // 10**9
    for name, value in (
        ("period", host.cpu_period),
        ("quota", host.cpu_quota),
        ("realtimePeriod", host.cpu_realtime_period),
        ("realtimeRuntime", host.cpu_realtime_runtime),
        ("cpus", host.cpuset_cpus),
        ("mems", host.cpuset_mems),
    ):
        if value:
            found[name] = value
    return found


def _block_io(host: HostConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if host.blkio_weight:
        found["weight"] = host.blkio_weight
    weights = [
        {"major": major, "minor": minor, "weight": device.weight}
        for device in host.blkio_weight_device or ()
        for major, minor in [number_of(device.path)]
    ]
    if weights:
        found["weightDevice"] = weights
    for name, devices in (
        ("throttleReadBpsDevice", host.blkio_device_read_bps),
        ("throttleWriteBpsDevice", host.blkio_device_write_bps),
        ("throttleReadIOPSDevice", host.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", host.blkio_device_write_iops),
    ):
        if devices:
            found[name] = [_throttle(device) for device in devices]
    return found


def _throttle(device: ThrottleDevice) -> dict[str, int]:
    major, minor = number_of(device.path)
    return {"major": major, "minor": minor, "rate": device.rate}
