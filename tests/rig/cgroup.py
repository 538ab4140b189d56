"""A container's cgroup files as the host sees them, on v1, hybrid and v2."""

from __future__ import annotations

from pathlib import Path

from rig.machine import CGROUPS


def version() -> int:
    """2 where /sys/fs/cgroup itself is the unified hierarchy."""
    return 2 if (CGROUPS / "cgroup.controllers").exists() else 1


def read(pid: int, v1: str, v2: str) -> str:
    """The content of a process's cgroup file; `v1` begins with the controller's name: memory.limit_in_bytes."""
    return (directory(pid, v1.split(".")[0]) / (v1 if version() == 1 else v2)).read_text().strip()


def directory(pid: int, controller: str) -> Path:
    """The directory of the cgroup in which a process is, for a controller."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if version() == 2 and number == "0":
            return CGROUPS / path.lstrip("/")
        if controller in controllers.split(","):
            return CGROUPS / controller / path.lstrip("/")
    raise LookupError(f"process {pid} is in no {controller} cgroup")
