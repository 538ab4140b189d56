"""The mounts of a specification: docker's own, then the user's, in the order of their depth."""

import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiffin.containers import modes
from tiffin.errors import Invalid
from tiffin.model.container import Container
from tiffin.model.container_host import HostConfig, MountPoint

if TYPE_CHECKING:
    from tiffin.containers.spec import Surroundings

Mount = dict[str, Any]

_SHARED = frozenset(("shared", "rshared"))
_SLAVE = frozenset(("slave", "rslave"))


def mounts(container: Container, around: "Surroundings") -> list[Mount]:
    """Docker's defaults, files of the container, then what the user asked for; a user's mount replaces a default."""
    user = [
        {**mount, **around.owners.get(mount["destination"], {})} for mount in _user_mounts(container, around.sources)
    ]
    taken = {mount["destination"] for mount in user}
    own = [mount for mount in _defaults(container.host, around) if mount["destination"] not in taken]
    files = [
        _bind(source, destination, ["rbind", "rprivate"] + (["ro"] if container.host.readonly_rootfs else []))
        for destination, source in around.files.items()
        if destination not in taken
    ]
    return own + sorted(files + user, key=lambda mount: mount["destination"].count("/"))


def _defaults(host: HostConfig, around: "Surroundings") -> list[Mount]:
    access = "rw" if host.privileged else "ro"
    found: list[Mount] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", access],
        },
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": [access, "nosuid", "noexec", "nodev", "relatime"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    ]
    shm = _shm(host, around.shm)
    return [*found, shm] if shm else found


def _shm(host: HostConfig, shared: str | None) -> Mount | None:
    if host.ipc_mode == "none":
        return None
    if host.ipc_mode == "host":
        return _bind("/dev/shm", "/dev/shm", ["rbind", "rprivate"])
    if shared:
        return _bind(shared, "/dev/shm", ["rbind", "rprivate"])
    return {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", f"size={host.shm_size}"],
    }


def _bind(source: str, destination: str, options: list[str]) -> Mount:
    return {"destination": destination, "type": "bind", "source": source, "options": options}


def _user_mounts(container: Container, sources: Mapping[str, str]) -> list[Mount]:
    found = {point.destination: _of_point(point, sources) for point in container.mounts}
    for path, text in (container.host.tmpfs or {}).items():
        destination = posixpath.normpath("/" + path.lstrip("/"))
        found[destination] = tmpfs(destination, text)
    return list(found.values())


def _of_point(point: MountPoint, sources: Mapping[str, str]) -> Mount:
    if point.type == "tmpfs":
        return {"destination": point.destination, "type": "tmpfs", "source": "tmpfs", "options": list(point.options)}
    source = sources.get(point.destination, point.source)
    options = ["rbind" if point.recursive else "bind"]
    propagation = point.propagation or "rprivate"
    if not point.rw:
        # rro makes submounts read-only too, where the kernel can (5.12)
        options.append("ro")
        if point.recursive and point.read_only_recursive != "never":
            options.append("rro")
    options.append(propagation)
    mount = _bind(source, point.destination, options)
    # for the stage: resolved there, as another container with the volume may swap directories until then
    return {**mount, "subpath": point.subpath} if point.subpath else mount


def tmpfs(destination: str, text: str) -> Mount:
    """`--tmpfs path:options`. Raises Invalid for an option that tmpfs does not have."""
    options = ["noexec", "nosuid", "nodev"]
    for word in filter(None, text.split(",")):
        key = word.partition("=")[0]
        if key not in _TMPFS:
            raise Invalid(f"invalid tmpfs option {word!r}".replace("'", '"'))
        opposite = word[2:] if word.startswith("no") else "no" + word
        if opposite in options:
            options.remove(opposite)
        if word not in options:
            options.append(word)
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options}


_TMPFS = frozenset(
    [
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "ro",
        "rw",
        "defaults",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "sync",
        "async",
        "dirsync",
        "remount",
        "mand",
        "nomand",
        "iversion",
        "noiversion",
        "size",
        "mode",
        "uid",
        "gid",
        "nr_inodes",
        "nr_blocks",
        "mpol",
        "bind",
        "rbind",
        "unbindable",
        "runbindable",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
    ]
)


def root_propagation(points: tuple[MountPoint, ...]) -> str | None:
    """Binds that share mounts with the host need a root that does: the strongest of what they ask."""
    asked = {point.propagation for point in points}
    if asked & _SHARED:
        return "shared"
    return "rslave" if asked & _SLAVE else None


def is_shareable(host: HostConfig) -> bool:
    """Whether other containers may join this one's ipc namespace, so that its /dev/shm has to be on the host."""
    return host.ipc_mode == "shareable" or modes.container_of(host.ipc_mode) is not None
