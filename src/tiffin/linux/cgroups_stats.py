"""What a container used, read from its control groups, in one shape for v1 and v2.

    {"cpu": {"total", "user", "kernel": ns, "percpu": [ns, …], "periods", "throttled_periods", "throttled_time": ns},
     "memory": {"usage", "max_usage", "limit", "failcnt", "stat": {…}, "swap": {usage max_usage limit failcnt} | None,
                "kernel": the same | None, "kernel_tcp": the same | None},
     "blkio": {name: [{"major", "minor", "op", "value"}, …]},      # names and ops as docker's stats have them
     "pids": {"current", "limit"},                                  # limit 0: none
     "hugetlb": {page size: {"usage", "max_usage", "failcnt"}}}

A controller that the machine lacks gives an empty object. Bytes, unless said.
"""

from __future__ import annotations

import os

from .cgroups import UNIFIED, Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = 2**64 - 1
NANOSECONDS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

BLKIO_V1 = {
    "io_service_bytes_recursive": ("blkio.throttle.io_service_bytes_recursive", "blkio.bfq.io_service_bytes_recursive"),
    "io_serviced_recursive": ("blkio.throttle.io_serviced_recursive", "blkio.bfq.io_serviced_recursive"),
    "io_queue_recursive": ("blkio.io_queued_recursive",),
    "io_service_time_recursive": ("blkio.io_service_time_recursive",),
    "io_wait_time_recursive": ("blkio.io_wait_time_recursive",),
    "io_merged_recursive": ("blkio.io_merged_recursive",),
    "io_time_recursive": ("blkio.time_recursive",),
    "sectors_recursive": ("blkio.sectors_recursive",),
}


def read(cgroup: Cgroup) -> dict[str, Any]:
    """A sample. Raises FileNotFoundError when the group is gone."""
    directory = cgroup.directory("memory") if cgroup.version == 1 else cgroup.directories.get(UNIFIED)
    if directory is not None:
        os.stat(directory)
    return _read_v1(cgroup) if cgroup.version == 1 else _read_v2(cgroup.directories[UNIFIED])


def _read_v1(cgroup: Cgroup) -> dict[str, Any]:
    return {
        "cpu": _cpu_v1(cgroup.directory("cpuacct"), cgroup.directory("cpu")),
        "memory": _memory_v1(cgroup.directory("memory")),
        "blkio": _blkio_v1(cgroup.directory("blkio")),
        "pids": _pids(cgroup.directory("pids")),
        "hugetlb": _hugetlb(cgroup.directory("hugetlb"), "usage_in_bytes", "max_usage_in_bytes", "failcnt"),
    }


def _cpu_v1(accounting: str | None, cpu: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if accounting is not None:
        ticks = _table(accounting + "/cpuacct.stat")
        found["total"] = _number(accounting + "/cpuacct.usage")
        found["percpu"] = [int(word) for word in _text(accounting + "/cpuacct.usage_percpu").split()]
        for name, file, fallback in (("user", "usage_user", "user"), ("kernel", "usage_sys", "system")):
            exact = _number(f"{accounting}/cpuacct.{file}", None)
            found[name] = ticks.get(fallback, 0) * NANOSECONDS_PER_TICK if exact is None else exact
        for name in ("user", "sys"):
            found["percpu_" + name] = [int(word) for word in _text(f"{accounting}/cpuacct.usage_percpu_{name}").split()]
    throttling = _table(cpu + "/cpu.stat") if cpu is not None else {}
    found["periods"] = throttling.get("nr_periods", 0)
    found["throttled_periods"] = throttling.get("nr_throttled", 0)
    found["throttled_time"] = throttling.get("throttled_time", 0)
    return found


def _memory_v1(directory: str | None) -> dict[str, Any]:
    found: dict[str, Any] | None = _counter_v1(directory, "memory") if directory is not None else None
    if directory is None or found is None:
        return {}  # or it was removed just now
    found["stat"] = _table(directory + "/memory.stat")
    found["swap"] = _counter_v1(directory, "memory.memsw")
    found["kernel"] = _counter_v1(directory, "memory.kmem")
    found["kernel_tcp"] = _counter_v1(directory, "memory.kmem.tcp")
    return found


def _counter_v1(directory: str, prefix: str) -> dict[str, int] | None:
    usage = _number(f"{directory}/{prefix}.usage_in_bytes", None)
    if usage is None:
        return None
    return {
        "usage": usage,
        "max_usage": _number(f"{directory}/{prefix}.max_usage_in_bytes") or 0,
        "limit": _number(f"{directory}/{prefix}.limit_in_bytes") or 0,
        "failcnt": _number(f"{directory}/{prefix}.failcnt") or 0,
    }


def _blkio_v1(directory: str | None) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name, files in BLKIO_V1.items():
        found[name] = []
        for file in files if directory is not None else ():
            found[name] = _blkio_entries(f"{directory}/{file}")
            if found[name]:
                break
    return found


def _blkio_entries(path: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for line in _text(path).splitlines():
        words = line.split()
        if ":" not in words[0]:
            continue  # the total over all devices
        major, minor = (int(number) for number in words[0].split(":"))
        op = words[1] if len(words) == 3 else ""
        entries.append({"major": major, "minor": minor, "op": op, "value": int(words[-1])})
    return entries


def _read_v2(directory: str) -> dict[str, Any]:
    cpu = _table(directory + "/cpu.stat")
    return {
        "cpu": {
            "total": cpu.get("usage_usec", 0) * 1000,
            "user": cpu.get("user_usec", 0) * 1000,
            "kernel": cpu.get("system_usec", 0) * 1000,
            "percpu": [],
            "periods": cpu.get("nr_periods", 0),
            "throttled_periods": cpu.get("nr_throttled", 0),
            "throttled_time": cpu.get("throttled_usec", 0) * 1000,
        },
        "memory": _memory_v2(directory),
        "blkio": _blkio_v2(directory),
        "pids": _pids(directory),
        "hugetlb": _hugetlb(directory, "current", "max_usage", "events"),
    }


def _memory_v2(directory: str) -> dict[str, Any]:
    usage = _number(directory + "/memory.current", None)
    if usage is None:
        return {}
    limit = _number(directory + "/memory.max") or 0
    swap_usage = _number(directory + "/memory.swap.current", None)
    swap_limit = _number(directory + "/memory.swap.max") or 0
    swap = None
    if swap_usage is not None:
        # v1's counter, which clients expect, is memory and swap together
        total = UNLIMITED if UNLIMITED in (limit, swap_limit) else limit + swap_limit
        swap = {"usage": usage + swap_usage, "max_usage": 0, "limit": total, "failcnt": 0}
    return {
        "usage": usage,
        "max_usage": _number(directory + "/memory.peak") or 0,
        "limit": limit,
        "failcnt": _table(directory + "/memory.events").get("oom", 0),
        "stat": _table(directory + "/memory.stat"),
        "swap": swap,
        "kernel": None,
        "kernel_tcp": None,
    }


def _blkio_v2(directory: str) -> dict[str, list[dict[str, Any]]]:
    names = {"rbytes": "read", "wbytes": "write", "rios": "read", "wios": "write"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in BLKIO_V1}
    for line in _text(directory + "/io.stat").splitlines():
        device, *pairs = line.split()
        if ":" not in device:
            continue
        major, minor = (int(number) for number in device.split(":"))
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key in names:
                target = "io_service_bytes_recursive" if key.endswith("bytes") else "io_serviced_recursive"
                found[target].append({"major": major, "minor": minor, "op": names[key], "value": int(value)})
    return found


def _pids(directory: str | None) -> dict[str, int]:
    current = _number(f"{directory}/pids.current", None) if directory is not None else None
    if current is None:
        return {}
    limit = _number(f"{directory}/pids.max") or 0
    return {"current": current, "limit": 0 if limit == UNLIMITED else limit}


def _hugetlb(directory: str | None, usage: str, maximum: str, failures: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name in sorted(os.listdir(directory)) if directory is not None else ():
        if name.startswith("hugetlb.") and name.endswith("." + usage) and ".rsvd." not in name:
            size = name.split(".")[1]
            prefix = f"{directory}/hugetlb.{size}."
            failcnt = _table(prefix + failures).get("max", 0) if failures == "events" else _number(prefix + failures)
            found[size] = {
                "usage": _number(prefix + usage) or 0,
                "max_usage": _number(prefix + maximum) or 0,
                "failcnt": failcnt or 0,
            }
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        if error.errno in (19, 95):  # ENODEV, EOPNOTSUPP: the controller is there, this file is not for this group
            return ""
        raise


def _number(path: str, missing: int | None = 0) -> int | None:
    text = _text(path).strip()
    if not text:
        return missing
    return UNLIMITED if text == "max" else int(text)


def _table(path: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[key] = int(value)
    return found
