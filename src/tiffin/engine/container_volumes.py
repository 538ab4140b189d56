"""Sources of a container's mounts, made ready just before it starts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from tiffin.engine import container_images, container_root
from tiffin.engine.container_context import Context
from tiffin.engine.threads import in_thread
from tiffin.errors import Conflict, Invalid
from tiffin.linux import paths
from tiffin.model.container import Container
from tiffin.model.container_host import HostConfig, MountPoint
from tiffin.model.container_status import Running
from tiffin.model.mount import Mount
from tiffin.snapshots import trees


async def answering(host: HostConfig) -> None:
    """Until the file systems of its binds have answered: where one hangs, nobody but this request waits for it."""
    for request in host.mounts or ():
        if request.type == "bind" and request.source.startswith("/"):
            await in_thread(os.path.exists, request.source)


async def sources(context: Context, container: Container, layers: tuple[Mount, ...]) -> dict[str, str]:
    """Destination → host path, for what is not simply the mount's own source. Missing `-v` directories are made.

    An empty volume is filled with what the image has at its destination (docker's copy-up). Raises Invalid.
    """
    found: dict[str, str] = {}
    for point in container.mounts:
        match point.type:
            case "bind":
                await in_thread(_check_bind, point)
            case "volume":
                source = point.source
                if point.driver != "local":  # its driver says where
                    source = await in_thread(context.volumes.mount, point.name, container.id)
                    found[point.destination] = source
                async with context.filling(point.name):
                    await in_thread(_fill_if_empty, source, point.destination if point.copy_up else None, layers)
                if point.subpath:
                    below(source, point.subpath)  # an error that names it, before anything begins
            case "image":
                await asyncio.to_thread(container_images.mount, context, container, point)
                if point.subpath:
                    below(point.source, point.subpath)
    return found


def tell_mounted(context: Context, container: Container) -> None:
    """The events of a start."""
    for point in container.mounts:
        if point.type == "volume":
            shown = {
                "container": container.id,
                "destination": point.destination,
                "driver": point.driver,
                "propagation": point.propagation,
                "read/write": str(point.rw).lower(),
            }
            context.events.publish("volume", "mount", point.name, shown)


def tell_unmounted(context: Context, container: Container) -> None:
    """The events of an end."""
    for point in container.mounts:
        if point.type == "volume":
            shown = {"container": container.id, "driver": point.driver}
            context.events.publish("volume", "unmount", point.name, shown)


def _check_bind(point: MountPoint) -> None:
    if os.path.lexists(point.source):
        return
    if not point.create:
        raise Invalid(f'invalid mount config for type "bind": bind source path does not exist: {point.source}')
    try:
        os.makedirs(point.source, 0o755, exist_ok=True)
    except OSError as error:
        raise Invalid(f"error while creating mount source path '{point.source}': {error.strerror}") from error


def _fill_if_empty(volume: str, destination: str | None, layers: tuple[Mount, ...]) -> None:
    """destination: None where nothing is to be copied; a part of before goes all the same."""
    target = os.open(volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _mark(os.getxattr, target):
            _clear(target)
            _mark(os.removexattr, target)
        if destination is None or os.listdir(target):
            return
        with container_root.opened(layers) as root:
            try:
                # the destination's links stay inside the image (CVE-2022-23648)
                source = paths.open_in(root, os.fsencode(destination), os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                return  # the image has no such directory
            try:
                _fill(source, target)
            finally:
                os.close(source)
    finally:
        os.close(target)


def _fill(source: int, target: int) -> None:
    _mark(os.setxattr, target, b"")
    try:
        trees.copy(source, target)
        status = os.fstat(source)
        os.fchown(target, status.st_uid, status.st_gid)
        os.fchmod(target, status.st_mode & 0o7777)
    except BaseException:
        _clear(target)
        _mark(os.removexattr, target)
        raise
    _mark(os.removexattr, target)


def _mark(call: Callable[..., object], target: int, *value: bytes) -> bool:
    """A volume that is being filled says so: a part, from a daemon that was killed, does not count as the whole."""
    try:
        call(target, "trusted.tiffin.filling", *value)
    except OSError:
        return False  # it has none, or is on a file system that can't have any
    return True


def _clear(target: int) -> None:
    for name in os.listdir(target):
        trees.remove(target, os.fsencode(name))


def below(source: str, subpath: str) -> str:
    """The subpath's real place, links resolved inside the volume only. Raises Invalid."""
    volume = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = paths.open_in(volume, os.fsencode(subpath))
    except OSError as error:
        raise Invalid(f"cannot access path {source}/{subpath}: {(error.strerror or '').lower()}") from error
    finally:
        os.close(volume)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def check_idle(context: Context, name: str) -> None:
    """Raises Conflict where a running container may write to a volume."""
    for container in context.records:
        if not isinstance(container.status, Running):
            continue
        for point in container.mounts:
            if point.type == "volume" and point.name == name and point.rw:
                raise Conflict(
                    f"volume {name} is in use - [{container.id}]: container {container.name} runs and may write to it;"
                    " stop or pause it, or use --force to take the files as they are"
                )
