"""Whole volumes: copy, export, import. What is made is made ready beside the volumes, and then becomes one in one step.

A reader sees the files as they are at its moment; whoever wants them to fit together has the containers stopped.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tiffin.content import crash
from tiffin.content.blobs import require_free_space
from tiffin.content.compression import Readable, decompressed
from tiffin.errors import Internal, TiffinError, Unavailable
from tiffin.linux.syscalls import INT, function
from tiffin.model.volume import Volume
from tiffin.snapshots import trees
from tiffin.snapshots.extract import extract
from tiffin.snapshots.pack import END, Packer
from tiffin.volumes.service import Volumes

_syncfs = function("syncfs", INT)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Copies:
    """Blocking, from any thread."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def copy(self, name: str, new: str, labels: Mapping[str, str] | None = None) -> Volume:
        """Another volume with the same files; extents are shared where the file system can. It gets the labels of the
        first unless others are given. Raises NotFound, Invalid, Conflict, Unavailable when the disk is full.
        """
        self._volumes.check_free(new)
        with self._volumes.kept(name, "copy") as volume, self._new(new) as (directory, target):
            with _opened(Path(volume.mountpoint)) as source:
                trees.copy(source, target)
            return self._publish(directory, new, volume.labels if labels is None else labels, target)

    def export(self, name: str) -> Iterator[bytes]:
        """A tar of the files, the directory itself first, with owners, links and extended attributes."""
        with self._volumes.kept(name, "export") as volume, _opened(Path(volume.mountpoint)) as source:
            yield from Packer().item(source, b".", b"./")
            yield END

    def import_(self, new: str, stream: Readable, labels: Mapping[str, str] | None = None) -> Volume:
        """A volume of the files of a tar, compressed or not. Raises Invalid, Conflict, Unavailable."""
        self._volumes.check_free(new)
        with self._new(new) as (directory, target):
            _, plain = decompressed(stream)
            extract(target, plain)
            return self._publish(directory, new, labels or {}, target)

    @contextmanager
    def _new(self, name: str) -> Iterator[tuple[Path, int]]:
        local = self._volumes.local
        require_free_space(local.root)
        try:
            with local.staging() as directory, _opened(directory / "_data") as target:
                yield directory, target
        except TiffinError:
            raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (Unavailable if full else Internal)(f"create {name}: {error}") from error

    def _publish(self, directory: Path, name: str, labels: Mapping[str, str], target: int) -> Volume:
        crash.point("volume-filled")
        _syncfs(target)
        return self._volumes.publish(directory, name, labels)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
