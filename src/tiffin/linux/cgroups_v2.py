"""OCI `linux.resources`, which speaks v1, as writes to cgroup v2 files. See Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import os

from .cgroups import UNIFIED, Cgroup
from .cgroups_v1 import rdma_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .cgroups_v1 import Write

EINVAL = 22
ENOENT = 2
EBUSY = 16
EPERM = 1
EOPNOTSUPP = 95
DEFAULT_PERIOD = 100_000  # µs


def writes(directory: str, resources: Mapping[str, Any], controllers: tuple[str, ...]) -> list[Write]:
    """In the order to be written; `unified` last, as it overrides. Raises OSError EINVAL for what makes no sense."""
    files: list[tuple[str, str, tuple[int, ...]]] = []
    for name, convert in _CONVERTERS.items():
        if resources.get(name):
            files += convert(resources[name])
    if (resources.get("blockIO") or {}).get("weight"):
        weight = resources["blockIO"]["weight"]
        # BFQ takes the weight as it is; without it io.weight has another range
        files.append(("io.bfq.weight", str(weight), (ENOENT,)))
        files.append(("io.weight", str(io_weight(weight)), (ENOENT, EOPNOTSUPP)))
    for key, value in (resources.get("unified") or {}).items():
        files.append((_unified_file(key, controllers), value, ()))
    return [(f"{directory}/{file}", value, ignore) for file, value, ignore in files]


def subtree_controls(cgroup: Cgroup, mount_point: str, controllers: tuple[str, ...]) -> list[tuple[str, list[Write]]]:
    """(parent, writes) from the mount point down: what each must hand on so that the group has its controllers.

    A parent that may not (processes of its own, a controller in use by v1) is passed over: what depends on it fails
    when it is set.
    """
    target = cgroup.directories.get(UNIFIED)
    if cgroup.version == 1 or target is None:
        return []
    parents: list[str] = []
    parent = os.path.dirname(target)
    while parent.startswith(mount_point):
        parents.append(parent)
        if parent == mount_point:
            break
        parent = os.path.dirname(parent)
    passed_over = (EBUSY, ENOENT, EINVAL, EPERM, 13, 30)
    return [
        (parent, [(parent + "/cgroup.subtree_control", f"+{controller}", passed_over) for controller in controllers])
        for parent in reversed(parents)
    ]


def cpu_weight(shares: int) -> int:
    """1…10000 for cpu.shares' 2…262144, linear as runc has it; 0 stays 0 (unset)."""
    if shares == 0:
        return 0
    shares = min(max(shares, 2), 262144)
    return 1 + ((shares - 2) * 9999) // 262142


def io_weight(weight: int) -> int:
    """1…10000 for blkio.weight's 10…1000."""
    return 1 + (weight - 10) * 9999 // 990 if weight else 0


def swap_max(swap: int, memory: int) -> int:
    """memory.swap.max for v1's memory+swap limit: 0 unset, -1 unlimited. Raises OSError EINVAL."""
    if memory == -1 and swap == 0:
        return -1
    if swap in (0, -1):
        return swap
    if memory in (0, -1):
        raise OSError(EINVAL, "unable to set swap limit without memory limit")
    if memory < 0:
        raise OSError(EINVAL, f"invalid memory value: {memory}")
    if swap < memory:
        raise OSError(EINVAL, "memory+swap limit should be >= memory limit")
    return swap - memory


def _limit(value: int) -> str:
    return "max" if value < 0 else str(value)


def _memory(memory: Mapping[str, Any]) -> list[Write]:
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    found: list[Write] = []
    swap_limit = swap_max(swap, limit)
    if swap_limit or (swap and swap == limit):
        # a kernel without swap accounting has no such file; a limit that forbids swapping then holds anyhow
        found.append(("memory.swap.max", _limit(swap_limit), (ENOENT,) if swap_limit <= 0 else ()))
    if limit:
        found.append(("memory.max", _limit(limit), ()))
    if memory.get("reservation"):
        found.append(("memory.low", _limit(memory["reservation"]), ()))
    return found


def _cpu(cpu: Mapping[str, Any]) -> list[Write]:
    found: list[Write] = []
    if cpu.get("idle") is not None:
        found.append(("cpu.idle", str(cpu["idle"]), ()))
    if cpu.get("shares"):
        # a group that is idle refuses a weight
        found.append(("cpu.weight", str(cpu_weight(cpu["shares"])), (EINVAL,) if cpu.get("idle") else ()))
    period, quota, burst = cpu.get("period"), cpu.get("quota"), cpu.get("burst")
    if burst == 0:
        found.append(("cpu.max.burst", "0", (ENOENT,)))
    if quota or period:
        maximum = str(quota) if quota and quota > 0 else "max"
        found.append(("cpu.max", f"{maximum} {period or DEFAULT_PERIOD}", ()))
    if burst:
        found.append(("cpu.max.burst", str(burst), ()))
    found += [(f"cpuset.{name}", cpu[name], ()) for name in ("cpus", "mems") if cpu.get(name)]
    return found


def _pids(pids: Mapping[str, Any]) -> list[Write]:
    limit = pids.get("limit")
    return [("pids.max", _limit(limit), ())] if limit else []


IO_MAX = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}


def _block_io(io: Mapping[str, Any]) -> list[Write]:
    found: list[Write] = []
    for device in io.get("weightDevice") or ():
        if device.get("weight"):
            found.append(("io.bfq.weight", f"{device['major']}:{device['minor']} {device['weight']}", ()))
    for key, name in IO_MAX.items():
        for device in io.get(key) or ():
            found.append(("io.max", f"{device['major']}:{device['minor']} {name}={device['rate'] or 'max'}", ()))
    return found


def _huge_pages(limits: list[Mapping[str, Any]]) -> list[Write]:
    found: list[Write] = []
    for limit in limits:
        for file, ignore in (("max", ()), ("rsvd.max", (ENOENT,))):
            found.append((f"hugetlb.{limit['pageSize']}.{file}", str(limit["limit"]), ignore))
    return found


def _rdma(rdma: Mapping[str, Mapping[str, Any]]) -> list[Write]:
    return [("rdma.max", rdma_line(device, limits), ()) for device, limits in rdma.items()]


def _unified_file(key: str, controllers: tuple[str, ...]) -> str:
    if "/" in key:
        raise OSError(EINVAL, f"unified resource {key!r} must be a file name (no slashes)".replace("'", '"'))
    controller, dot, _ = key.partition(".")
    if not dot:
        raise OSError(EINVAL, f'unified resource "{key}" must be in the form CONTROLLER.PARAMETER')
    if controller not in (*controllers, "cgroup"):
        raise OSError(EINVAL, f'unified resource "{key}" can\'t be set: controller "{controller}" not available')
    return key


_CONVERTERS: dict[str, Callable[[Any], list[Write]]] = {
    "memory": _memory,
    "blockIO": _block_io,
    "cpu": _cpu,
    "pids": _pids,
    "hugepageLimits": _huge_pages,
    "rdma": _rdma,
}
