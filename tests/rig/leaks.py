"""What a machine held before and holds after: processes, mounts, cgroups, links, descriptors of the daemon."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from rig.engine import Engine
from rig.machine import WAITING


@dataclass(frozen=True)
class Census:
    """Counted by kind, so that two of the same name count twice."""

    found: Counter[str]

    @classmethod
    def of(cls, engine: Engine) -> Census:
        machine = engine.machine
        processes = [command for command in machine.processes().values() if command not in WAITING]
        found = Counter(f"process {command}" for command in processes)
        found += Counter(f"mount {point}" for point in machine.mounts())
        found += Counter(f"cgroup {directory}" for directory in machine.cgroups() if directory.name != machine.name)
        found += Counter(f"link {name}" for name in machine.links())
        if engine.daemon is not None and engine.kind == "tiffin":  # dockerd's connections to containerd come and go
            found += Counter(descriptors(engine.daemon.pid))
        return cls(found)

    def beyond(self, earlier: Census) -> list[str]:
        """What is here and was not there."""
        return sorted((self.found - earlier.found).elements())


def descriptors(pid: int) -> list[str]:
    """A process's open descriptors by what they are: `fd socket`, `fd /path`; sockets and pipes without numbers."""
    names = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append("fd " + os.readlink(f"/proc/{pid}/fd/{name}").split(":[")[0])
        except OSError:
            continue
    return names
