"""A container's file system as a whole: what it changed, all of it as a tar, an image made of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tiffin.engine import container_root
from tiffin.engine.container_context import Context
from tiffin.errors import Conflict
from tiffin.images.making import Commit
from tiffin.linux import cgroups_live
from tiffin.model.container import Config
from tiffin.model.container_status import Dead, Removing, Running
from tiffin.model.image import Image
from tiffin.model.reference import Reference
from tiffin.snapshots.pack import END, Packer
from tiffin.snapshots.snapshotter import Change

OWN = frozenset(
    (b"/.dockerenv", b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf", b"/etc/mtab", b"/dev", b"/dev/console")
    + (b"/dev/pts", b"/dev/shm", b"/proc", b"/sys")
)
"""Paths that the engine makes in every container; they are no change of the container's."""


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """POST /commit."""

    name: Reference | None = None
    author: str = ""
    comment: str = ""
    pause: bool = True
    changes: tuple[str, ...] = ()


class Exports:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def changes(self, reference: str) -> list[Change]:
        """What differs from the image, by path. Raises NotFound."""
        container = self._context.records.find(reference)
        return await asyncio.to_thread(self._context.snapshots.changes, container.id, OWN)

    def export(self, reference: str) -> Iterator[bytes]:
        """The root file system as a tar, without what is mounted in it. Blocks. Raises NotFound, Conflict."""
        container = self._context.records.find(reference)
        if isinstance(container.status, Removing | Dead):
            raise Conflict(f"You cannot export container {container.id} which is being removed")
        root = container_root.mount_for_reading(self._context.snapshots.mounts(container.id))
        self._context.publish(container, "export")
        return _packed(root)

    async def commit(self, reference: str, request: CommitRequest, config: Config | None) -> Image:
        """An image of the container; a running one stands still meanwhile, unless the request says otherwise."""
        context = self._context
        container = context.records.find(reference)
        if isinstance(container.status, Removing | Dead):
            raise Conflict(f"You cannot commit container {container.id} which is {type(container.status).__name__}")
        order = Commit(
            key=container.id,
            run=document(replace(config, image="") if config else container.config),
            name=request.name,
            author=request.author,
            comment=request.comment,
            changes=request.changes,
            command=" ".join((container.path, *container.args)),
            ignore=OWN,
        )
        async with context.records.lock(container.id):
            freezes = request.pause and isinstance(context.records.get(container.id).status, Running)
            group = context.cgroup(container)
            if freezes:
                await asyncio.to_thread(cgroups_live.freeze, group)
            try:
                image: Image = await asyncio.to_thread(self._images.commit, container.image_id, order)
            finally:
                if freezes:
                    await asyncio.to_thread(cgroups_live.thaw, group)
        context.publish(
            container, "commit", comment=request.comment, imageID=image.id, imageRef=str(request.name or "")
        )
        return image

    @property
    def _images(self) -> Any:
        return self._context.images


def _packed(root: int) -> Iterator[bytes]:
    try:
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        try:
            yield from Packer(precise=False).tree(directory)
            yield END
        finally:
            os.close(directory)
    finally:
        os.close(root)


def document(config: Config) -> dict[str, Any]:
    """The configuration in the names of an image's document; what is empty is left out."""
    found: dict[str, Any] = {}
    pairs: Sequence[tuple[str, Any]] = (
        ("User", config.user),
        ("ExposedPorts", config.exposed_ports and {name: {} for name in config.exposed_ports}),
        ("Env", config.env and list(config.env)),
        ("Entrypoint", config.entrypoint and list(config.entrypoint)),
        ("Cmd", config.cmd and list(config.cmd)),
        ("Volumes", config.volumes and {name: {} for name in config.volumes}),
        ("WorkingDir", config.working_dir),
        ("Labels", dict(config.labels or {})),
        ("StopSignal", config.stop_signal),
        ("OnBuild", config.on_build and list(config.on_build)),
        ("Shell", config.shell and list(config.shell)),
    )
    for key, value in pairs:
        if value:
            found[key] = value
    health = config.healthcheck
    if health is not None and health.test:
        found["Healthcheck"] = {
            "Test": list(health.test),
            **{
                key: value
                for key, value in (
                    ("Interval", health.interval),
                    ("Timeout", health.timeout),
                    ("StartPeriod", health.start_period),
                    ("StartInterval", health.start_interval),
                    ("Retries", health.retries),
                )
                if value
            },
        }
    return found
