"""Mounts before they are attached: what a root or a bind is made of. Raises OSError."""

import os
import stat

from tiffin.linux import mounts, paths
from tiffin.runtime import idmaps

_STRING_LIMIT = 255  # of fsconfig(2); beyond it overlay takes its layers one at a time


def shift(tree: int, maps: tuple[bytes, bytes], *, recursive: bool) -> None:
    """Shift the owners in a detached mount by uid and gid maps (an idmapped mount)."""
    holder = idmaps.user_namespace(*maps)
    try:
        mounts.set_attributes(tree, mounts.MOUNT_ATTR_IDMAP, user_namespace=holder, recursive=recursive)
    finally:
        os.close(holder)


def layered(options: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Overlay options for fsconfig(2): a lowerdir too long for one string becomes one lowerdir+ for each layer."""
    out: list[bytes] = []
    for option in options:
        key, _, value = option.partition(b"=")
        if key == b"lowerdir" and len(value) > _STRING_LIMIT:
            layers = value.replace(b"\\:", b"\0").split(b":")
            out += [b"lowerdir+=" + layer.replace(b"\0", b":") for layer in layers]
        else:
            out.append(option)
    return tuple(out)


def alike(tree: int, place: int) -> bool:
    """Whether a tree can be put at a place: both are directories, or neither is."""
    return stat.S_ISDIR(os.fstat(tree).st_mode) == stat.S_ISDIR(os.fstat(place).st_mode)


def bound(source: bytes, subpath: bytes, *, recursive: bool, follow: bool) -> int:
    """A copy of what is mounted at a path of the host, or beneath it where others may swap directories for links."""
    if not subpath:
        return mounts.clone(mounts.AT_FDCWD, source, recursive=recursive, follow=follow)
    top = os.open(source, paths.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    inner = paths.open_in(top, subpath)
    tree = mounts.clone(inner, recursive=recursive)
    os.close(inner)
    os.close(top)
    return tree
