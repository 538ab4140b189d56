"""Images as mounts (`--mount type=image`): a read-only view of an image's files, kept as long as the container is.

The view is a snapshot of the container's own beside its layer, so no layer of it goes while the container has it. It
is mounted on a directory of the engine's at the start, from where the stage binds it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tiffin.engine import container_files, container_root
from tiffin.engine.container_context import Context
from tiffin.errors import Internal
from tiffin.linux import mounts
from tiffin.model.container import Container
from tiffin.model.container_host import MountPoint

_DIRECTORY = "images"


def pin(context: Context, container_id: str, point: MountPoint) -> MountPoint:
    """At create: the image's files stay from here on. Blocking. Raises NotFound, Invalid where it has no files."""
    assert point.request is not None  # there is no shorter way to ask for one
    image = context.images.get(point.request.source)
    context.snapshots.view(_key(container_id, point), image.chain)
    return replace(
        point,
        name=point.name or point.source,
        source=str(_place(context, container_id, point)),
        request=replace(point.request, source=image.id),
    )


def release(context: Context, container_id: str, points: tuple[MountPoint, ...]) -> None:
    """At removal; one that was not pinned is no error. Blocking."""
    for point in _images(points):
        context.snapshots.remove(_key(container_id, point))


def mount(context: Context, container: Container, point: MountPoint) -> None:
    """At a start. Blocking. Raises Internal."""
    place = Path(point.source)
    container_files.make_directory(place.parent, 0o700)
    container_files.make_directory(place, 0o700)
    if os.path.ismount(place):
        return  # of an earlier start that was broken off
    try:
        tree = container_root.mount_detached(context.snapshots.mounts(_key(container.id, point)))
        try:
            mounts.set_attributes(tree, mounts.MOUNT_ATTR_RDONLY)
            target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                mounts.attach(tree, target)
            finally:
                os.close(target)
        finally:
            os.close(tree)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise Internal(f"cannot mount image {point.name} on {point.destination}: {reason}") from error


def unmount(state: Path) -> None:
    """When the container with this state directory has ended. Processes that are still there keep what they have."""
    directory = state / _DIRECTORY
    with suppress(FileNotFoundError):
        for place in list(directory.iterdir()):
            with suppress(OSError):
                mounts.umount(os.fsencode(place), mounts.MNT_DETACH)
        shutil.rmtree(directory, ignore_errors=True)


def _images(points: tuple[MountPoint, ...]) -> Iterator[MountPoint]:
    return (point for point in points if point.type == "image")


def _key(container_id: str, point: MountPoint) -> str:
    return f"{container_id}-{hashlib.sha256(point.destination.encode()).hexdigest()[:16]}"


def _place(context: Context, container_id: str, point: MountPoint) -> Path:
    return context.state(container_id) / _DIRECTORY / _key(container_id, point)[65:]
