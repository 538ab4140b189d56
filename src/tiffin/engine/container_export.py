"""A container's file system as a whole: what it changed, all of it as a tar, an image made of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

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
        """What differs from the image, by path. Raises NotFound, Conflict."""
        container = self._context.records.find(reference)
        with self._while_there(container.id, "compare"):
            found = await asyncio.to_thread(self._context.snapshots.changes, container.id, OWN)
        return [one for one in found if not _is_ours(one, found)]

    def export(self, reference: str) -> Generator[bytes, None, None]:
        """The root file system as a tar, without what is mounted in it. Blocks. Raises NotFound, Conflict."""
        container = self._context.records.find(reference)
        self._check_there(container.id, "export")
        with self._while_there(container.id, "export"):
            pieces = _packed(container_root.mount_for_reading(self._context.snapshots.mounts(container.id)))
        next(pieces)  # begun: one that has not would leave its descriptors open when it is closed
        self._context.publish(container, "export")
        return pieces

    @contextmanager
    def _while_there(self, container_id: str, verb: str) -> Iterator[None]:
        """What is missing is not our failure where somebody removes the container meanwhile."""
        try:
            yield
        except (FileNotFoundError, NotFound):
            self._check_there(container_id, verb)
            raise

    def _check_there(self, container_id: str, verb: str) -> None:
        if isinstance(self._context.records.get(container_id).status, Removing | Dead):
            raise Conflict(f"You cannot {verb} container {container_id} which is being removed")


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
