"""What of this machine a plan depends on, gathered once, so that compiling itself is a function of its arguments."""

import os
from dataclasses import dataclass

from tiffin.linux import capabilities, cgroups


@dataclass(frozen=True, slots=True)
class Machine:
    """hierarchies: cgroup mounts. capabilities: bits this process may hand on. apparmor, selinux: whether enabled.

    in_user_namespace: device nodes can't be made, only bound. kcore: whether the kernel has /proc/kcore.
    """

    hierarchies: cgroups.Hierarchies
    capabilities: int
    apparmor: bool = False
    selinux: bool = False
    in_user_namespace: bool = False
    kcore: bool = True


def detect() -> Machine:
    return Machine(
        hierarchies=cgroups.detect(),
        capabilities=capabilities.own(),
        apparmor=_starts_with("/sys/module/apparmor/parameters/enabled", "Y"),
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        in_user_namespace=not _starts_with("/proc/self/uid_map", "0 0 4294967295"),
        kcore=os.path.exists("/proc/kcore"),
    )


def _starts_with(path: str, wanted: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return " ".join(file.readline().split()).startswith(wanted)
    except OSError:
        return False
