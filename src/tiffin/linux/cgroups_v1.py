"""OCI `linux.resources` as writes to cgroup v1 files. See Documentation/admin-guide/cgroup-v1 of the kernel."""

from __future__ import annotations

import os

from .cgroups import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Write = tuple[str, str, tuple[int, ...]]  # path, content, errnos that don't matter

EINVAL = 22
ENOENT = 2
UNLIMITED = -1


class _Writes:
    def __init__(self, cgroup: Cgroup, live: bool) -> None:
        self.cgroup = cgroup
        self.live = live
        self.found: list[Write] = []

    def add(self, controller: str, file: str, value: object, ignore: tuple[int, ...] = ()) -> None:
        directory = self.cgroup.directory(controller)
        if directory is None:
            raise OSError(ENOENT, f"cannot set {controller} limit: container could not join or create cgroup")
        self.found.append((f"{directory}/{file}", str(value), ignore))

    def current(self, controller: str, file: str) -> str | None:
        directory = self.cgroup.directory(controller)
        if not self.live or directory is None:
            return None
        with open(f"{directory}/{file}", encoding="ascii") as opened:
            return opened.read().strip()


def writes(cgroup: Cgroup, resources: Mapping[str, Any], *, live: bool = False) -> list[Write]:
    """In the order to be written. `live`: the group has limits already, which decide on the order.

    Device rules are apart: cgroups_devices. Raises OSError EINVAL for a value that makes no sense, ENOENT where the
    machine lacks the controller.
    """
    if resources.get("unified"):
        raise OSError(EINVAL, "invalid configuration: cannot use unified on cgroup v1")
    target = _Writes(cgroup, live)
    for name, convert in _CONVERTERS.items():
        if resources.get(name):
            convert(target, resources[name])
    return target.found


def hierarchy_preparations(cgroup: Cgroup, mount_points: Mapping[str, str]) -> list[tuple[str, str]]:
    """(parent, directory) pairs below the mount whose cpuset.cpus and cpuset.mems must be copied, topmost first.

    A cpuset takes no process before it has both; a new one is empty.
    """
    directory, top = cgroup.directory("cpuset"), mount_points.get("cpuset")
    if cgroup.version == 2 or directory is None or top is None:
        return []
    pairs: list[tuple[str, str]] = []
    while directory.startswith(top + "/"):
        parent = os.path.dirname(directory)
        pairs.append((parent, directory))
        directory = parent
    return pairs[::-1]


def _memory(target: _Writes, memory: Mapping[str, Any]) -> None:
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit == UNLIMITED and swap == 0 and _has(target, "memory", "memory.memsw.limit_in_bytes"):
        swap = UNLIMITED
    pair: list[tuple[str, int]] = []
    if limit:
        pair.append(("memory.limit_in_bytes", limit))
    if swap:
        pair.append(("memory.memsw.limit_in_bytes", swap))
    if len(pair) == 2:
        current = target.current("memory", "memory.memsw.limit_in_bytes")
        # memory may never exceed memory+swap, not even for a moment
        if swap == UNLIMITED or (current is not None and swap > int(current)):
            pair.reverse()
    for file, value in pair:
        target.add("memory", file, value)
    if memory.get("reservation"):
        target.add("memory", "memory.soft_limit_in_bytes", memory["reservation"])
    if memory.get("kernelTCP"):
        target.add("memory", "memory.kmem.tcp.limit_in_bytes", memory["kernelTCP"])
    if memory.get("disableOOMKiller"):
        target.add("memory", "memory.oom_control", 1)
    swappiness = memory.get("swappiness")
    if swappiness is not None and swappiness != UNLIMITED:
        if not 0 <= swappiness <= 100:
            raise OSError(EINVAL, f"invalid memory swappiness value: {swappiness} (valid range is 0-100)")
        target.add("memory", "memory.swappiness", swappiness)


def _cpu(target: _Writes, cpu: Mapping[str, Any]) -> None:
    if cpu.get("realtimePeriod"):
        target.add("cpu", "cpu.rt_period_us", cpu["realtimePeriod"])
    if cpu.get("realtimeRuntime"):
        target.add("cpu", "cpu.rt_runtime_us", cpu["realtimeRuntime"])
    if cpu.get("shares"):
        target.add("cpu", "cpu.shares", cpu["shares"])
    period, quota, burst = cpu.get("period"), cpu.get("quota"), cpu.get("burst")
    if burst == 0:
        target.add("cpu", "cpu.cfs_burst_us", 0, (ENOENT,))
    if period:
        # the old quota may not fit into the new period; then it is taken after the new quota
        target.add("cpu", "cpu.cfs_period_us", period, (EINVAL,) if quota else ())
    if quota:
        target.add("cpu", "cpu.cfs_quota_us", quota)
        if period and target.live:
            target.add("cpu", "cpu.cfs_period_us", period)
    if burst:
        target.add("cpu", "cpu.cfs_burst_us", burst)
    if cpu.get("idle") is not None:
        target.add("cpu", "cpu.idle", cpu["idle"])
    for name in ("cpus", "mems"):
        if cpu.get(name):
            target.add("cpuset", f"cpuset.{name}", cpu[name])


def _pids(target: _Writes, pids: Mapping[str, Any]) -> None:
    limit = pids.get("limit")
    if limit:
        target.add("pids", "pids.max", limit if limit > 0 else "max")


def _block_io(target: _Writes, io: Mapping[str, Any]) -> None:
    # the weight files belong to the scheduler in use: CFQ until 5.0, BFQ since
    prefix = "blkio.bfq" if _has(target, "blkio", "blkio.bfq.weight") else "blkio"
    if io.get("weight"):
        target.add("blkio", f"{prefix}.weight", io["weight"])
    if io.get("leafWeight"):
        target.add("blkio", "blkio.leaf_weight", io["leafWeight"])
    for device in io.get("weightDevice") or ():
        number = f"{device['major']}:{device['minor']}"
        if device.get("weight"):
            target.add("blkio", f"{prefix}.weight_device", f"{number} {device['weight']}")
        if device.get("leafWeight"):
            target.add("blkio", "blkio.leaf_weight_device", f"{number} {device['leafWeight']}")
    for key, file in THROTTLE.items():
        for device in io.get(key) or ():
            rate = f"{device['major']}:{device['minor']} {device['rate']}"
            target.add("blkio", f"blkio.throttle.{file}", rate)


THROTTLE = {
    "throttleReadBpsDevice": "read_bps_device",
    "throttleWriteBpsDevice": "write_bps_device",
    "throttleReadIOPSDevice": "read_iops_device",
    "throttleWriteIOPSDevice": "write_iops_device",
}


def _huge_pages(target: _Writes, limits: list[Mapping[str, Any]]) -> None:
    for limit in limits:
        target.add("hugetlb", f"hugetlb.{limit['pageSize']}.limit_in_bytes", limit["limit"])


def _network(target: _Writes, network: Mapping[str, Any]) -> None:
    if network.get("classID"):
        target.add("net_cls", "net_cls.classid", network["classID"])
    for entry in network.get("priorities") or ():
        target.add("net_prio", "net_prio.ifpriomap", f"{entry['name']} {entry['priority']}")


def rdma_line(device: str, limits: Mapping[str, Any]) -> str:
    """ "mlx5_0 hca_handle=3 hca_object=max", the same on v1 and v2."""
    handles, objects = limits.get("hcaHandles"), limits.get("hcaObjects")
    line = device
    if handles is not None:
        line += f" hca_handle={handles}"
    if objects is not None:
        line += f" hca_object={objects}"
    return line


def _rdma(target: _Writes, rdma: Mapping[str, Mapping[str, Any]]) -> None:
    for device, limits in rdma.items():
        target.add("rdma", "rdma.max", rdma_line(device, limits))


def _has(target: _Writes, controller: str, file: str) -> bool:
    """Whether the kernel has the file, seen on the nearest group that exists (the root of a hierarchy lacks some)."""
    directory = target.cgroup.directory(controller)
    while directory and directory != "/":
        if os.path.exists(f"{directory}/{file}"):
            return True
        directory = os.path.dirname(directory)
    return False


_CONVERTERS: dict[str, Callable[[_Writes, Any], None]] = {
    "memory": _memory,
    "cpu": _cpu,
    "pids": _pids,
    "blockIO": _block_io,
    "hugepageLimits": _huge_pages,
    "network": _network,
    "rdma": _rdma,
}
