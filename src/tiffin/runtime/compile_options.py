"""Mount options by name, as mount(8), the OCI specification and runc spell them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from tiffin.errors import Invalid
from tiffin.linux import mounts

# name -> (attributes to set, to clear); with a leading r the same for submounts too
_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (mounts.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, mounts.MOUNT_ATTR_RDONLY),
    "nosuid": (mounts.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, mounts.MOUNT_ATTR_NOSUID),
    "nodev": (mounts.MOUNT_ATTR_NODEV, 0),
    "dev": (0, mounts.MOUNT_ATTR_NODEV),
    "noexec": (mounts.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, mounts.MOUNT_ATTR_NOEXEC),
    "nodiratime": (mounts.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, mounts.MOUNT_ATTR_NODIRATIME),
    "noatime": (mounts.MOUNT_ATTR_NOATIME, mounts.MOUNT_ATTR__ATIME),
    "atime": (0, mounts.MOUNT_ATTR__ATIME),
    "relatime": (mounts.MOUNT_ATTR_RELATIME, mounts.MOUNT_ATTR__ATIME),
    "norelatime": (0, mounts.MOUNT_ATTR__ATIME),
    "strictatime": (mounts.MOUNT_ATTR_STRICTATIME, mounts.MOUNT_ATTR__ATIME),
    "nostrictatime": (0, mounts.MOUNT_ATTR__ATIME),
    "nosymfollow": (mounts.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, mounts.MOUNT_ATTR_NOSYMFOLLOW),
}
_RECURSIVE = {"r" + name: bits for name, bits in _ATTRIBUTES.items()}

PROPAGATION = {
    name + kind: flag | deep
    for name, deep in (("", 0), ("r", mounts.MS_REC))
    for kind, flag in (
        ("private", mounts.MS_PRIVATE),
        ("shared", mounts.MS_SHARED),
        ("slave", mounts.MS_SLAVE),
        ("unbindable", mounts.MS_UNBINDABLE),
    )
}
# parameters of the superblock that mount(2) takes as flags and fsconfig(2) as words; their opposites are the default
_SUPERBLOCK = {"sync": b"sync", "dirsync": b"dirsync", "lazytime": b"lazytime", "mand": b"mand"}
_IGNORED = frozenset(
    ("defaults", "async", "nolazytime", "nomand", "acl", "noacl", "iversion", "noiversion", "loud", "silent")
)


def clean(path: str) -> str:
    """As an absolute path without ., .. and doubled slashes (os.path.normpath keeps two leading ones)."""
    return "/" + os.path.normpath("/" + path).lstrip("/")


@dataclass(slots=True)
class Options:
    """set, clear: MOUNT_ATTR_* of the mount; recursive_*: of its submounts too. data: what the file system reads."""

    set: int = 0
    clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = 0
    bind: int = 0
    remount: bool = False
    copy_up: bool = False
    idmap: bool = False
    idmap_recursive: bool = False
    data: list[bytes] = field(default_factory=list)


def parse(options: Iterable[str]) -> Options:
    """Later options override earlier ones. Raises Invalid for two contradicting ways to map owners."""
    found = Options()
    for option in options:
        if option in _ATTRIBUTES:
            found.set, found.clear = _combine(found.set, found.clear, *_ATTRIBUTES[option])
        elif option in _RECURSIVE:
            pair = _combine(found.recursive_set, found.recursive_clear, *_RECURSIVE[option])
            found.recursive_set, found.recursive_clear = pair
        elif option in PROPAGATION:
            found.propagation |= PROPAGATION[option]
        elif option in ("bind", "rbind"):
            found.bind = 2 if option == "rbind" else max(found.bind, 1)
        elif option == "remount":
            found.remount = True
        elif option == "tmpcopyup":
            found.copy_up = True
        elif option in ("idmap", "ridmap"):
            if found.idmap:
                raise Invalid(f"mount options idmap and ridmap exclude each other: {','.join(options)}")
            found.idmap, found.idmap_recursive = True, option == "ridmap"
        elif option in _SUPERBLOCK:
            found.data.append(_SUPERBLOCK[option])
        elif option not in _IGNORED:
            found.data.append(option.encode())
    return found


def _combine(set_: int, clear: int, more: int, less: int) -> tuple[int, int]:
    """Access time is a field of three bits, not a set: whoever speaks of it last says all of it."""
    return set_ & ~less | more, clear & ~more | less


def known() -> set[str]:
    """Every option that is not handed to the file system."""
    named = {"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"}
    return {*_ATTRIBUTES, *_RECURSIVE, *PROPAGATION, *_SUPERBLOCK, *_IGNORED, *named}
