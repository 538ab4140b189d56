"""Volumes that are a mount: the local driver's options `type`, `o` and `device`, as mount(8) would take them."""

import errno
import os
from collections.abc import Mapping

from tiffin.errors import Invalid
from tiffin.linux import mounts

_KNOWN = ("type", "o", "device", "size")
_UMOUNT_NOFOLLOW = 8
_BIND = mounts.MS_BIND | mounts.MS_REC
_FLAGS = {
    "ro": mounts.MS_RDONLY,
    "nosuid": mounts.MS_NOSUID,
    "nodev": mounts.MS_NODEV,
    "noexec": mounts.MS_NOEXEC,
    "sync": 1 << 4,
    "dirsync": 1 << 7,
    "noatime": 1 << 10,
    "nodiratime": 1 << 11,
    "bind": mounts.MS_BIND,
    "rbind": _BIND,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
}
_DEFAULTS = ("rw", "suid", "dev", "exec", "async", "defaults", "")


def check(name: str, options: Mapping[str, str]) -> None:
    """Raises Invalid with docker's words for options that the driver does not know, or that don't make a mount."""
    for key in options:
        if key not in _KNOWN:
            raise Invalid(f'create {name}: invalid option: "{key}"')
    if "size" in options:
        raise Invalid(f"create {name}: quota size requested but no quota support: give a tmpfs its size with o=size=…")
    for key in ("device", "type") if options else ():
        if not options.get(key):
            raise Invalid(f'create {name}: missing required option: "{key}"')


def mount(directory: str, options: Mapping[str, str]) -> None:
    """Make the mount, unless it is there. Raises OSError that names what was mounted where."""
    if _mounted(directory):
        return
    flags, data = _parse(options.get("o", ""))
    device, kind = options["device"], options["type"]
    try:
        mounts.mount(os.fsencode(device), os.fsencode(directory), os.fsencode(kind), flags, data.encode() or None)
        if flags & mounts.MS_BIND and flags & ~_BIND:
            # a bind takes no other flags at first
            mounts.mount(b"none", os.fsencode(directory), None, flags | mounts.MS_REMOUNT, None)
    except OSError as error:
        described = f"failed to mount local volume: mount {device}:{directory}, data: {data}"
        hint = "; the kernel has no such file system" if error.errno == errno.ENODEV else ""
        raise OSError(error.errno, f"{described}: {os.strerror(error.errno or 0).lower()}{hint}") from error


def unmount(directory: str) -> None:
    """Take away all that is mounted there; containers that still have it keep it. Nothing is no error."""
    while True:
        try:
            mounts.umount(os.fsencode(directory), mounts.MNT_DETACH | _UMOUNT_NOFOLLOW)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno == errno.EINVAL:  # not a mount point
                return
            raise


def _mounted(directory: str) -> bool:
    # a bind mount of the same file system looks like a directory to os.path.ismount
    escaped = directory.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        return any(line.split(" ", 5)[4] == escaped for line in mountinfo)


def _parse(text: str) -> tuple[int, str]:
    """mount(8)'s comma-separated options as mount(2)'s flags, and the rest for the file system."""
    flags = 0
    rest = []
    for word in text.split(","):
        if word in _FLAGS:
            flags |= _FLAGS[word]
        elif word not in _DEFAULTS:
            rest.append(word)
    return flags, ",".join(rest)
