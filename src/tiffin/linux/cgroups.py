"""Control group hierarchies of this machine, and a container's directory in each. See cgroups(7).

Three shapes: v1 (a hierarchy for each controller), hybrid (v1 with an additional cgroup2 tree that has no controllers
but freeze, kill and events), v2 (cgroup2 alone). A hierarchy is found by its mount, never by an assumed path.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

UNIFIED = ""  # the cgroup2 tree, as /proc/PID/cgroup names it


class Hierarchies:
    """Mount points of cgroup file systems.

    v1: controller ("memory", "name=systemd") -> mount point, co-mounted ones sharing it; unified: the cgroup2 mount
    point or None; controllers: what the cgroup2 root offers; own: hierarchy -> this process's path in it.
    """

    __slots__ = ("controllers", "own", "unified", "v1")

    def __init__(
        self, v1: Mapping[str, str], unified: str | None, controllers: tuple[str, ...] = (), own: Mapping[str, str] = {}
    ) -> None:
        self.v1 = dict(v1)
        self.unified = unified
        self.controllers = controllers
        self.own = dict(own)

    @property
    def version(self) -> int:
        """1 (hybrid too) or 2."""
        return 1 if any(not name.startswith("name=") for name in self.v1) else 2

    def place(self, cgroups_path: str) -> Cgroup:
        """The directories of an OCI cgroupsPath: absolute below the mounts, relative below this process's own group."""
        directories: dict[str, str] = {}
        trees = dict(self.v1) if self.version == 1 else {}
        if self.unified is not None:
            trees[UNIFIED] = self.unified
        for name, mount_point in trees.items():
            directories[name] = os.path.join(mount_point, self._inside(name, cgroups_path))
        return Cgroup(directories, self.version)

    def _inside(self, name: str, cgroups_path: str) -> str:
        if "\0" in cgroups_path:
            raise OSError(errno.EINVAL, "a NUL byte in a control group's path")
        # cleaned as an absolute path first: ".." must not lead out of the parent
        cleaned = os.path.normpath("/" + cgroups_path).lstrip("/")
        if cgroups_path.startswith("/"):
            return cleaned
        own = self.own.get(name, "/").lstrip("/")
        if self.version == 2:
            # a group with processes in it can't hand controllers down, so the container becomes its sibling
            own = os.path.dirname(own)
        return os.path.join(own, cleaned)


class Cgroup:
    """A group in every hierarchy. directories: controller -> path, the cgroup2 tree under UNIFIED."""

    __slots__ = ("directories", "version")

    def __init__(self, directories: Mapping[str, str], version: int) -> None:
        self.directories = dict(directories)
        self.version = version

    def directory(self, controller: str) -> str | None:
        """Where the controller's files are, if the machine has it."""
        if self.version == 2:
            return self.directories.get(UNIFIED)
        return self.directories.get(controller)

    def unique(self) -> list[str]:
        """Every directory once, in order."""
        return list(dict.fromkeys(self.directories.values()))

    def procs(self) -> list[str]:
        """The files a process writes itself to, in order to be in the group."""
        return [directory + "/cgroup.procs" for directory in self.unique()]


def detect(mountinfo: str = "/proc/self/mountinfo", cgroup: str = "/proc/self/cgroup") -> Hierarchies:
    """The hierarchies this process sees. Raises OSError ENODEV where no cgroup file system is mounted."""
    v1: dict[str, str] = {}
    unified: str | None = None
    with open(mountinfo, "rb") as file:
        for line in file:
            before, _, after = line.decode("utf-8", "surrogateescape").partition(" - ")
            kind, _, options = after.split()[:3]
            if kind not in ("cgroup", "cgroup2"):
                continue
            mount_point = _unescape(before.split()[4])
            if kind == "cgroup2":
                unified = unified or mount_point
                continue
            for option in options.split(","):
                # the superblock's options name the controllers among others (rw, xattr, release_agent=…)
                if option.startswith("name=") or option in V1_CONTROLLERS:
                    v1.setdefault(option, mount_point)
    if not v1 and unified is None:
        raise OSError(19, "no cgroup file system is mounted", mountinfo)
    controllers: tuple[str, ...] = ()
    if unified is not None:
        with open(unified + "/cgroup.controllers", encoding="ascii") as file:
            controllers = tuple(file.read().split())
    return Hierarchies(v1, unified, controllers, groups_of(cgroup))


_V1_CONTROLLERS = """
    cpu cpuacct cpuset memory devices freezer net_cls net_prio blkio perf_event hugetlb pids rdma misc
"""
V1_CONTROLLERS = frozenset(_V1_CONTROLLERS.split())


def groups_of(path: str = "/proc/self/cgroup") -> dict[str, str]:
    """hierarchy -> path in it, from /proc/PID/cgroup."""
    found: dict[str, str] = {}
    with open(path, "rb") as file:
        for line in file:
            _, names, group = line.decode("utf-8", "surrogateescape").rstrip("\n").split(":", 2)
            for name in names.split(",") if names else [UNIFIED]:
                found[name] = group
    return found


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
