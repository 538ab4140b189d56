"""events of the OCI runtime CLI: statistics at intervals and out-of-memory notices, one JSON object a line."""

import json
import os
import re
import select
import time
from typing import Any

from tiffin.errors import Conflict, Invalid
from tiffin.linux import cgroups, cgroups_stats
from tiffin.runtime import oci_state
from tiffin.runtime.oci_options import Parsed

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds from Go's notation, such as 1m30s. Raises Invalid."""
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise Invalid(f'invalid value "{text}" for flag -interval: expected a duration such as 500ms or 5s')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
    if seconds <= 0:
        raise Invalid("duration interval must be greater than 0")
    return seconds


def events(root: str, options: Parsed) -> int:
    container = oci_state.load(root, options.arguments[0])
    interval = parse_duration(options.text("interval"))
    if container.status() == "stopped":
        raise Conflict(f"container with id {container.id} is not running")
    if options.on("stats"):
        _emit({"type": "stats", "id": container.id, "data": document(cgroups_stats.read(container.cgroup))})
        return 0
    with OutOfMemory(container.cgroup) as out_of_memory:
        due = time.monotonic() + interval
        while True:
            if out_of_memory.wait(max(0.0, due - time.monotonic())):
                _emit({"type": "oom", "id": container.id})
            try:
                if time.monotonic() >= due:
                    _emit({"type": "stats", "id": container.id, "data": document(cgroups_stats.read(container.cgroup))})
                    due += interval
                if not os.path.isdir(container.cgroup.unique()[0]):
                    return 0
            except (FileNotFoundError, OSError):
                return 0


def _emit(event: dict[str, Any]) -> None:
    print(json.dumps(event, separators=(",", ":")), flush=True)


class OutOfMemory:
    """The kernel's notices: v1 by eventfd, v2 by poll on memory.events. A removed group wakes a waiter too."""

    def __init__(self, cgroup: cgroups.Cgroup) -> None:
        self._fds: list[int] = []
        self._poll = select.poll()
        self._v1 = cgroup.version == 1
        directory = cgroup.directory("memory")
        if directory is None:
            return
        if self._v1:
            notice = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            control = os.open(directory + "/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            register = os.open(directory + "/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
            os.write(register, f"{notice} {control}".encode())
            os.close(register)
            self._fds, self._control = [notice, control], directory + "/memory.oom_control"
            self._poll.register(notice, select.POLLIN)
        else:
            file = os.open(directory + "/memory.events", os.O_RDONLY | os.O_CLOEXEC)
            self._fds, self._seen = [file], _killed(file)
            self._poll.register(file, select.POLLPRI)

    def wait(self, seconds: float) -> bool:
        """Whether memory ran out within that time."""
        if not self._poll.poll(seconds * 1000):
            return False
        if self._v1:
            os.eventfd_read(self._fds[0])
            return os.path.exists(self._control)
        try:
            before, self._seen = self._seen, _killed(self._fds[0])
        except OSError:
            return False
        return self._seen > before

    def __enter__(self) -> "OutOfMemory":
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)


def _killed(file: int) -> int:
    for line in os.pread(file, 4096, 0).splitlines():
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0


def document(stats: dict[str, Any]) -> dict[str, Any]:
    """A sample in the shape of runc's events, which containerd's and other readers know."""
    cpu, memory, blkio = stats["cpu"], stats["memory"], stats["blkio"]
    return {
        "cpu": {
            "usage": _present(
                {
                    "total": cpu.get("total", 0),
                    "percpu": cpu.get("percpu"),
                    "percpu_kernel": cpu.get("percpu_sys"),
                    "percpu_user": cpu.get("percpu_user"),
                }
            )
            | {"kernel": cpu.get("kernel", 0), "user": cpu.get("user", 0)},
            "throttling": _present(
                {
                    "periods": cpu["periods"],
                    "throttledPeriods": cpu["throttled_periods"],
                    "throttledTime": cpu["throttled_time"],
                }
            ),
        },
        "cpuset": {},
        "memory": _present({"cache": (memory.get("stat") or {}).get("cache")})
        | {
            "usage": _counter(memory if memory else None),
            "swap": _counter(memory.get("swap")),
            "kernel": _counter(memory.get("kernel")),
            "kernelTCP": _counter(memory.get("kernel_tcp")),
        }
        | _present({"raw": memory.get("stat")}),
        "pids": _present(dict(stats["pids"])),
        "blkio": _present({_BLKIO[name]: entries for name, entries in blkio.items()}),
        "hugetlb": {
            size: _present({"usage": one["usage"], "max": one["max_usage"]}) | {"failcnt": one["failcnt"]}
            for size, one in stats["hugetlb"].items()
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }


_BLKIO = {
    "io_service_bytes_recursive": "ioServiceBytesRecursive",
    "io_serviced_recursive": "ioServicedRecursive",
    "io_queue_recursive": "ioQueueRecursive",
    "io_service_time_recursive": "ioServiceTimeRecursive",
    "io_wait_time_recursive": "ioWaitTimeRecursive",
    "io_merged_recursive": "ioMergedRecursive",
    "io_time_recursive": "ioTimeRecursive",
    "sectors_recursive": "sectorsRecursive",
}


def _counter(counter: dict[str, int] | None) -> dict[str, int]:
    if not counter:
        return {"limit": 0, "failcnt": 0}
    extra = _present({"usage": counter["usage"], "max": counter["max_usage"]})
    return {"limit": counter["limit"], **extra, "failcnt": counter["failcnt"]}


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}
