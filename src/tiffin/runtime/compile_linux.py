"""Namespaces, owner maps, sysctls, time offsets of an OCI `linux` object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiffin.errors import Invalid
from tiffin.linux import namespaces

NAMESPACES = {
    "pid": namespaces.CLONE_NEWPID,
    "network": namespaces.CLONE_NEWNET,
    "mount": namespaces.CLONE_NEWNS,
    "ipc": namespaces.CLONE_NEWIPC,
    "uts": namespaces.CLONE_NEWUTS,
    "user": namespaces.CLONE_NEWUSER,
    "cgroup": namespaces.CLONE_NEWCGROUP,
    "time": namespaces.CLONE_NEWTIME,
}
IPC_SYSCTLS = frozenset(
    "kernel." + name for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


@dataclass(slots=True)
class Namespaces:
    """unshare: CLONE_NEW* flags of new ones; join: (flag, path) of existing ones; names: all not the host's."""

    unshare: int = 0
    join: list[tuple[int, bytes]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def new(self, name: str) -> bool:
        return bool(self.unshare & NAMESPACES[name])


def parse_namespaces(linux: Mapping[str, Any]) -> Namespaces:
    found = Namespaces()
    for entry in linux.get("namespaces") or ():
        name, path = entry.get("type", ""), entry.get("path") or ""
        if name not in NAMESPACES:
            raise Invalid(f'namespace "{name}" does not exist')
        if name in found.names:
            raise Invalid(f"malformed spec file: duplicated ns {entry}")
        if path and not path.startswith("/"):
            raise Invalid(f"namespace path {path!r} of {name} is not absolute")
        found.names.add(name)
        if path:
            found.join.append((NAMESPACES[name], path.encode()))
        else:
            found.unshare |= NAMESPACES[name]
    if "mount" not in found.names or not found.new("mount"):
        raise Invalid('a mount namespace of its own is required: add {"type": "mount"} to linux.namespaces')
    return found


def owner_maps(linux: Mapping[str, Any], spaces: Namespaces) -> tuple[bytes, bytes, bool] | None:
    """(uid_map, gid_map, deny setgroups) for a new user namespace; None without one."""
    uids, gids = linux.get("uidMappings") or (), linux.get("gidMappings") or ()
    if "user" not in spaces.names:
        if uids or gids:
            raise Invalid("User namespace mappings specified, but USER namespace isn't enabled in the config")
        return None
    if not spaces.new("user"):
        return None
    if not uids or not gids:
        raise Invalid("User namespaces enabled, but no uid or gid mappings found.")
    return owner_map(uids), owner_map(gids), False


def owner_map(entries: Any) -> bytes:
    """/proc/PID/uid_map's lines: inside, outside, count."""
    lines = [f"{entry['containerID']} {entry['hostID']} {entry['size']}\n" for entry in entries]
    return "".join(lines).encode()


def sysctls(linux: Mapping[str, Any], spaces: Namespaces) -> list[tuple[bytes, bytes]]:
    """Those that belong to a namespace of the container's own. Raises Invalid for any other: it would be the host's."""
    found = []
    for key, value in (linux.get("sysctl") or {}).items():
        name = _dotted(key)
        if not all(part.strip(".") for part in key.split("/")):
            # "net/../kernel/core_pattern" begins like one of the network's (CVE-2022-0811)
            raise Invalid(f'sysctl "{key}" is not a name: it has an empty part, "." or ".."')
        if name in IPC_SYSCTLS or name.startswith("fs.mqueue."):
            _require("ipc", name, spaces)
        elif name.startswith("net."):
            if "network" not in spaces.names:
                raise Invalid(f'sysctl "{key}" not allowed in host network namespace')
        elif name == "kernel.domainname":
            _require("uts", name, spaces)
        elif name == "kernel.hostname":
            raise Invalid(f'sysctl "{key}" is not allowed as it conflicts with the OCI "hostname" field')
        elif name.startswith("user."):
            _require("user", name, spaces)
        else:
            raise Invalid(f'sysctl "{key}" is not in a separate kernel namespace')
        found.append((key.encode(), str(value).encode()))
    return found


def _dotted(key: str) -> str:
    """sysctl(8): the first separator decides which of . and / separates."""
    dot, slash = key.find("."), key.find("/")
    if slash < 0 or 0 <= dot < slash:
        return key
    return key.replace(".", "\0").replace("/", ".").replace("\0", "/")


def _require(space: str, name: str, spaces: Namespaces) -> None:
    if space not in spaces.names:
        raise Invalid(f'sysctl "{name}" is not allowed in the hosts {space} namespace')


def time_offsets(linux: Mapping[str, Any], spaces: Namespaces) -> bytes | None:
    """/proc/PID/timens_offsets' lines."""
    offsets = linux.get("timeOffsets") or {}
    if not offsets:
        return None
    if not spaces.new("time"):
        raise Invalid("time namespace offsets are specified, but a new time namespace isn't enabled in the config")
    lines = []
    for clock, offset in offsets.items():
        if clock not in ("monotonic", "boottime"):
            raise Invalid(f"time offset of clock {clock!r}: only monotonic and boottime have one")
        lines.append(f"{clock} {offset.get('secs') or 0} {offset.get('nanosecs') or 0}\n")
    return "".join(lines).encode()
