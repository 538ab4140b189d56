"""Flags of run, create and update that limit what a container may use, and those that give it devices."""

from __future__ import annotations

from tiffin.cli import flags
from tiffin.cli.flags import Flag, Values
from tiffin.cli.kinds import BYTES, CPUS, SWAP_BYTES, UINT, UINT16, BadValue, Kind, checked, ram_bytes, split_csv
from tiffin.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _device_and_number(raw: str) -> tuple[str, str]:
    path, colon, figure = raw.partition(":")
    if not colon or not path:
        raise BadValue(f"bad format: {raw}")
    if not path.startswith("/dev/"):
        raise BadValue(f"bad format for device path: {raw}")
    return path, figure


_POSITIVE = "Number must be a positive integer"


def _bytes_rate(raw: str, previous: list[dict[str, Any]]) -> list[dict[str, Any]]:
    path, figure = _device_and_number(raw)
    try:
        rate = ram_bytes(figure)
    except BadValue as error:
        shape = "<device-path>:<number>[<unit>]"
        text = f"invalid rate for device: {raw}. The correct format is {shape}. {_POSITIVE}"
        raise BadValue(f"{text}. Unit is optional and can be kb, mb, or gb") from error
    return [*previous, {"Path": path, "Rate": rate}]


def _operations_rate(raw: str, previous: list[dict[str, Any]]) -> list[dict[str, Any]]:
    path, figure = _device_and_number(raw)
    if not figure.isdigit():
        text = f"invalid rate for device: {raw}. The correct format is <device-path>:<number>. {_POSITIVE}"
        raise BadValue(text)
    return [*previous, {"Path": path, "Rate": int(figure)}]


def _weight(raw: str, previous: list[dict[str, Any]]) -> list[dict[str, Any]]:
    path, figure = _device_and_number(raw)
    if not figure.isdigit() or (int(figure) and not 10 <= int(figure) <= 1000):
        raise BadValue(f"invalid weight for device: {raw}")
    return [*previous, {"Path": path, "Weight": int(figure)}]


_LIMITS = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
]


def _limit_number(raw: str) -> int:
    try:
        return int(raw)
    except ValueError as error:
        raise BadValue(f'strconv.ParseInt: parsing "{raw}": invalid syntax') from error


def _ulimit(raw: str, previous: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    name, equals, figures = raw.partition("=")
    if not equals:
        raise BadValue(f"invalid ulimit argument: {raw}")
    if name not in _LIMITS:
        raise BadValue(f"invalid ulimit type: {name}")
    parts = figures.split(":")
    if len(parts) > 2:
        text = f"too many limit value arguments - {figures}, can only have up to two, `soft[:hard]`"
        raise BadValue(text)
    hard = _limit_number(parts[-1])
    soft = _limit_number(parts[0])
    order = "ulimit soft limit must be less than or equal to hard limit"
    if hard != -1 and soft == -1:
        raise BadValue(f"{order}: soft: -1 (unlimited), hard: {hard}")
    if hard != -1 and soft > hard:
        raise BadValue(f"{order}: {soft} > {hard}")
    return {**previous, name: {"Name": name, "Soft": soft, "Hard": hard}}


def _gpu_count(text: str) -> int:
    if text == "all":
        return -1
    try:
        return int(text)
    except ValueError as error:
        reason = 'value must be either "all" or an integer: invalid syntax'
        raise BadValue(f"invalid count ({text}): {reason}") from error


def _gpus(raw: str, previous: list[dict[str, Any]]) -> list[dict[str, Any]]:
    request: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    seen = set()
    for field in split_csv(raw):
        key, equals, value = field.partition("=")
        if key in seen:
            raise BadValue(f"gpu request key '{key}' can be specified only once")
        seen.add(key)
        if not equals:
            seen.add("count")
            request["Count"] = _gpu_count(key)
        elif key == "driver":
            request["Driver"] = value
        elif key == "count":
            request["Count"] = _gpu_count(value)
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = {name: text for name, _, text in (item.partition("=") for item in split_csv(value))}
        else:
            raise BadValue(f"unexpected key '{key}' in '{field}'")
    if "count" not in seen and request["DeviceIDs"] is None:
        request["Count"] = 1
    return [*previous, request]


def _cgroup_rule(raw: str) -> str:
    import re

    if not re.match(r"^[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}$", raw):
        raise BadValue(f"invalid device cgroup format '{raw}'")
    return raw


def _rates(parse: Callable[[str, Any], Any]) -> Kind:
    return Kind("list", parse, list, always_shown="[]")


SHARED = (
    Flag("blkio-weight", UINT16, "Block IO weight, relative: 10 to 1000, or 0 to disable"),
    flags.number("cpu-period", "CFS period of the CPU limit, in microseconds"),
    flags.number("cpu-quota", "CFS quota of the CPU limit, in microseconds"),
    flags.number("cpu-rt-period", "Real-time period, in microseconds"),
    flags.number("cpu-rt-runtime", "Real-time runtime, in microseconds"),
    flags.number("cpu-shares", "CPU shares (relative weight)", "c"),
    Flag("cpus", CPUS, "Number of CPUs"),
    flags.text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    flags.text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("kernel-memory", BYTES, "Kernel memory limit"),
    Flag("memory", BYTES, "Memory limit", short="m"),
    Flag("memory-reservation", BYTES, "Memory soft limit"),
    Flag("memory-swap", SWAP_BYTES, "Limit of memory plus swap: -1 for unlimited swap"),
    flags.number("pids-limit", "Most processes in the container (-1 for unlimited)"),
)

FLAGS = (
    *SHARED,
    Flag("blkio-weight-device", _rates(_weight), "Block IO weight of a device, relative"),
    flags.text("cgroup-parent", "Parent cgroup of the container"),
    flags.number("cpu-count", "CPU count (Windows only)"),
    flags.number("cpu-percent", "CPU percent (Windows only)"),
    flags.several("device", "Add a host device to the container"),
    Flag("device-cgroup-rule", Kind("list", checked(_cgroup_rule), list), "Add a rule to the allowed devices"),
    Flag("device-read-bps", _rates(_bytes_rate), "Limit reading from a device, in bytes per second"),
    Flag("device-read-iops", _rates(_operations_rate), "Limit reading from a device, in operations per second"),
    Flag("device-write-bps", _rates(_bytes_rate), "Limit writing to a device, in bytes per second"),
    Flag("device-write-iops", _rates(_operations_rate), "Limit writing to a device, in operations per second"),
    Flag("gpus", Kind("gpu-request", _gpus, list), "GPUs to add to the container ('all' for all of them)"),
    Flag("io-maxbandwidth", BYTES, "Maximum IO bandwidth of the system drive (Windows only)"),
    Flag("io-maxiops", UINT, "Maximum IOps of the system drive (Windows only)"),
    flags.number("memory-swappiness", "How readily memory is swapped (0 to 100)", default=-1),
    flags.switch("oom-kill-disable", "Don't kill processes when memory runs out"),
    flags.number("oom-score-adj", "Preference of the host's OOM killer (-1000 to 1000)"),
    Flag("ulimit", Kind("ulimit", _ulimit, dict, always_shown="[]"), "Resource limits of processes"),
)

_SHARED_KEYS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "kernel-memory": "KernelMemory",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
}

_KEYS = _SHARED_KEYS | {
    "blkio-weight-device": "BlkioWeightDevice",
    "cgroup-parent": "CgroupParent",
    "cpu-count": "CpuCount",
    "cpu-percent": "CpuPercent",
    "device-cgroup-rule": "DeviceCgroupRules",
    "device-read-bps": "BlkioDeviceReadBps",
    "device-read-iops": "BlkioDeviceReadIOps",
    "device-write-bps": "BlkioDeviceWriteBps",
    "device-write-iops": "BlkioDeviceWriteIOps",
    "io-maxbandwidth": "IOMaximumBandwidth",
    "io-maxiops": "IOMaximumIOps",
    "memory-swappiness": "MemorySwappiness",
    "oom-kill-disable": "OomKillDisable",
    "oom-score-adj": "OomScoreAdj",
}


def _valid_mode(mode: str) -> bool:
    return bool(mode) and set(mode) <= set("rwm") and len(set(mode)) == len(mode)


def device(raw: str) -> dict[str, str]:
    """`/dev/a[:/dev/b][:rwm]` as the API's DeviceMapping. Raises Invalid."""
    import posixpath

    parts = raw.split(":")
    if len(parts) > 3 or not parts[0]:
        raise Invalid(f"bad format for path: {raw}")
    source, target, mode = parts[0], parts[0], "rwm"
    if len(parts) == 3:
        target, mode = parts[1], parts[2]
        if not _valid_mode(mode):
            raise Invalid(f"bad mode specified: {mode}")
    elif len(parts) == 2 and _valid_mode(parts[1]):
        mode = parts[1]
    elif len(parts) == 2:
        target = posixpath.normpath(parts[1])
    else:
        source = target = posixpath.normpath(parts[0])
    if not target.startswith("/"):
        raise Invalid(f"{target} is not an absolute path")
    return {"PathOnHost": source, "PathInContainer": target or source, "CgroupPermissions": mode}


def _is_cdi_name(name: str) -> bool:
    """`vendor/class=device`, a name of the Container Device Interface rather than a path."""
    kind, equals, item = name.partition("=")
    vendor, slash, group = kind.partition("/")
    return bool(equals and item and slash and vendor and group) and "/" not in group


def shared(values: Values) -> dict[str, Any]:
    """The limits that update can change, zero where not given."""
    return {key: values.get(name) for name, key in _SHARED_KEYS.items()}


def fill(values: Values, host: dict[str, Any]) -> None:
    """Put these flags' part into the body of `HostConfig`. Raises Invalid."""
    swappiness = values.number("memory-swappiness")
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise Invalid(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    for name, key in _KEYS.items():
        host[key] = values.get(name)
    host["DeviceCgroupRules"] = host["DeviceCgroupRules"] or None
    limits: dict[str, Any] = values.get("ulimit")
    host["Ulimits"] = [limits[name] for name in sorted(limits)]
    requests = list(values.get("gpus"))
    names = [item for item in values.list("device") if _is_cdi_name(item)]
    if names:
        requests.append({"Driver": "cdi", "DeviceIDs": names})
    host["DeviceRequests"] = requests or None
    host["Devices"] = [device(item) for item in values.list("device") if item not in names]
