"""Whiteouts: how a layer says that something below it is gone (OCI image specification, layer.md), in three dialects.

In an archive `.wh.name` hides name and `.wh..wh..opq` everything below its directory. In overlayfs a 0/0 character
device hides its name, the xattr trusted.overlay.opaque (user.overlay.opaque) everything below. In a copied tree the
thing itself is removed.
"""

import os
import stat
from collections.abc import Callable
from typing import Protocol

from tiffin.errors import Invalid
from tiffin.snapshots import trees

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_META = b".wh..wh."


class Whiteouts(Protocol):
    def take(self, directory: int, parts: tuple[bytes, ...], changed: Callable[[], None]) -> bool:
        """Whether the entry was a whiteout (then done here). directory: fd of its parent; parts: its whole path.

        `changed` is called before anything is removed.
        """
        ...

    def placed(self, parts: tuple[bytes, ...]) -> None:
        """The layer brought an entry of its own."""
        ...

    def directory_over_whiteout(self, directory: int, name: bytes) -> None:
        """A directory was made where this layer had a whiteout."""
        ...


class KeepNames:
    """No whiteouts: archives that are not layers."""

    def take(self, directory: int, parts: tuple[bytes, ...], changed: Callable[[], None]) -> bool:
        return False

    def placed(self, parts: tuple[bytes, ...]) -> None:
        pass

    def directory_over_whiteout(self, directory: int, name: bytes) -> None:
        pass


def hidden_name(name: bytes) -> bytes | None:
    """The name that a whiteout hides; None for an ordinary name or one of aufs. Invalid for `.wh.` and `.wh..`."""
    if not name.startswith(PREFIX) or name.startswith(_META):
        return None
    hidden = name[len(PREFIX) :]
    if hidden in (b"", b".", b".."):
        raise Invalid(f"invalid whiteout {name.decode('utf-8', 'backslashreplace')!r} in the layer")
    return hidden


class OverlayWhiteouts:
    """As overlayfs wants them. userxattr: for a mount in a user namespace, with that option."""

    def __init__(self, *, userxattr: bool = False) -> None:
        self.opaque_attribute = "user.overlay.opaque" if userxattr else "trusted.overlay.opaque"

    def take(self, directory: int, parts: tuple[bytes, ...], changed: Callable[[], None]) -> bool:
        name = parts[-1]
        if name == OPAQUE:
            os.setxattr(f"/proc/self/fd/{directory}", self.opaque_attribute, b"y")
            return True
        hidden = hidden_name(name)
        if hidden is not None:
            try:
                os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=directory)
            except FileExistsError:
                # this layer has the name itself: only what is below a directory is hidden
                self.directory_over_whiteout(directory, hidden)
        return name.startswith(PREFIX)

    def placed(self, parts: tuple[bytes, ...]) -> None:
        pass

    def directory_over_whiteout(self, directory: int, name: bytes) -> None:
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            os.setxattr(trees.at(directory, name), self.opaque_attribute, b"y", follow_symlinks=False)


class RemovingWhiteouts:
    """On a tree that holds the layers below: the thing is removed, unless this layer itself brought it."""

    def __init__(self) -> None:
        self._brought: set[tuple[bytes, ...]] = set()

    def placed(self, parts: tuple[bytes, ...]) -> None:
        while parts and parts not in self._brought:
            self._brought.add(parts)
            parts = parts[:-1]

    def take(self, directory: int, parts: tuple[bytes, ...], changed: Callable[[], None]) -> bool:
        name = parts[-1]
        hidden = hidden_name(name)
        if name == OPAQUE:
            changed()
            with trees.opened(b".", directory) as fd:
                self._clear(fd, parts[:-1])
        elif hidden is not None:
            changed()
            self._hide(directory, (*parts[:-1], hidden))
        return name.startswith(PREFIX)

    def _hide(self, directory: int, parts: tuple[bytes, ...]) -> None:
        if parts not in self._brought:
            trees.remove(directory, parts[-1])
        elif stat.S_ISDIR(os.stat(parts[-1], dir_fd=directory, follow_symlinks=False).st_mode):
            with trees.opened(parts[-1], directory) as fd:
                self._clear(fd, parts)

    def _clear(self, directory: int, parts: tuple[bytes, ...]) -> None:
        for child in os.listdir(directory):
            self._hide(directory, (*parts, os.fsencode(child)))

    def directory_over_whiteout(self, directory: int, name: bytes) -> None:
        pass
