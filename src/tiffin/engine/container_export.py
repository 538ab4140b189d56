"""A container's file system as a whole: what it changed, all of it as a tar, an image made of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Sequence

from tiffin.engine import container_root
from tiffin.engine.container_context import Context
from tiffin.errors import Conflict, NotFound
from tiffin.model.container_status import Dead, Removing
from tiffin.snapshots.pack import END, Packer
from tiffin.snapshots.snapshotter import Change, ChangeKind

OWN = frozenset(
    b"/" + name
    for name in b".dockerenv etc/hosts etc/hostname etc/resolv.conf etc/mtab".split()
    + b"dev dev/console dev/pts dev/shm proc sys".split()
)
"""Paths that the engine makes in every container; they are no change of the container's."""


class Exports:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def changes(self, reference: str) -> list[Change]:
        """What differs from the image, by path. Raises NotFound."""
        container = self._context.records.find(reference)
        found = await asyncio.to_thread(self._context.snapshots.changes, container.id, OWN)
        return [one for one in found if not _is_ours(one, found)]

    def export(self, reference: str) -> Generator[bytes, None, None]:
        """The root file system as a tar, without what is mounted in it. Blocks. Raises NotFound, Conflict."""
        container = self._context.records.find(reference)
        if isinstance(container.status, Removing | Dead):
            raise Conflict(f"You cannot export container {container.id} which is being removed")
        try:
            pieces = _packed(container_root.mount_for_reading(self._context.snapshots.mounts(container.id)))
        except (FileNotFoundError, NotFound):
            self._context.records.get(container.id)  # NotFound when it was removed meanwhile
            raise
        next(pieces)  # begun: one that has not would leave its descriptors open when it is closed
        self._context.publish(container, "export")
        return pieces


def _is_ours(change: Change, among: Sequence[Change]) -> bool:
    """A directory that changed only because the engine put something of its own into it."""
    if change.kind is not ChangeKind.MODIFIED or not any(path.startswith(change.path + b"/") for path in OWN):
        return False
    return not any(other.path.startswith(change.path + b"/") for other in among)


def _packed(root: int) -> Generator[bytes, None, None]:
    try:
        yield b""
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        try:
            yield from Packer(precise=False).tree(directory)
            yield END
        finally:
            os.close(directory)
    finally:
        os.close(root)
