"""Where images and containers meet: `commit`, and what a crash has left of either."""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Protocol

from tiffin.engine.container_export import OWN
from tiffin.errors import Conflict, NotFound
from tiffin.images import Commit, Images
from tiffin.images.instructions import changed
from tiffin.model.container import Config, Container
from tiffin.model.container_status import Paused, is_running
from tiffin.model.image import Image
from tiffin.model.reference import parse_reference

_OWNER = re.compile(r"[0-9a-f]{64}", re.ASCII)  # a container's snapshots begin with its ID


class Signals(Protocol):
    """Who can freeze a container."""

    async def pause(self, reference: str, *, lasting: bool = True) -> None: ...
    async def unpause(self, reference: str) -> None: ...


class Containers(Protocol):
    """What `commit` needs of the containers."""

    @property
    def signals(self) -> Signals: ...
    def get(self, reference: str) -> Container: ...


def reconcile(images: Images, containers: Collection[str]) -> int:
    """At start, blocking: remove the snapshots of containers that have no record (a crash came between), then the
    layers and blobs that nothing refers to. The bytes freed, without the snapshots'.
    """
    for key in images.snapshots.snapshots():
        owner = _OWNER.match(key)
        if owner and owner[0] not in containers:
            images.snapshots.remove(key)
    freed = images.collect()
    images.written()
    return freed


async def commit(
    containers: Containers,
    images: Images,
    reference: str,
    *,
    repository: str = "",
    tag: str = "",
    author: str = "",
    comment: str = "",
    changes: Sequence[str] = (),
    config: Config | None = None,
    pause: bool = True,
    ignore: Collection[bytes] = OWN,
) -> Image:
    """An image of a container as it is now, its configuration included (`config` lies over it).

    Raises NotFound, Invalid (a name, an instruction), Conflict (the container is being removed).
    """
    container = containers.get(reference)
    name = None
    if repository:
        name = parse_reference(f"{repository}:{tag}" if tag else repository).with_default_tag()
    run = image_config(container.config, config)
    changed(run, changes)  # before anything is frozen: an instruction may be wrong
    request = Commit(
        key=container.id,
        run=run,
        name=name,
        author=author,
        comment=comment,
        changes=changes,
        command=" ".join((container.path, *container.args)).strip(),
        ignore=ignore,
    )
    async with AsyncExitStack() as undo:
        if pause and is_running(container.status) and not isinstance(container.status, Paused):
            await _freeze(containers, container.id, undo)
        return await asyncio.to_thread(images.commit, container.image_id, request)


async def _freeze(containers: Containers, container: str, undo: AsyncExitStack) -> None:
    """Pause a container until `undo`. One that ends meanwhile needs none: nothing writes to it any more."""
    try:
        await containers.signals.pause(container, lasting=False)
    except (Conflict, FileNotFoundError):
        return

    async def thaw() -> None:
        with suppress(Conflict, FileNotFoundError, NotFound):
            await containers.signals.unpause(container)

    undo.push_async_callback(thaw)


def image_config(config: Config, over: Config | None = None) -> dict[str, Any]:
    """A container's configuration in the names of an image's document; what `over` sets wins."""
    run = _document(config)
    if over is None:
        return run
    given = _document(over)
    env = {item.partition("=")[0]: item for item in (*run.get("Env", ()), *given.pop("Env", ()))}
    for key in ("Labels", "ExposedPorts", "Volumes"):
        if key in given:
            given[key] = {**run.get(key, {}), **given[key]}
    return {**run, **given, **({"Env": list(env.values())} if env else {})}


def _document(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {
        "User": config.user,
        "ExposedPorts": _keys(config.exposed_ports),
        "Env": _list(config.env),
        "Entrypoint": _list(config.entrypoint),
        "Cmd": _list(config.cmd),
        "Volumes": _keys(config.volumes),
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels) if config.labels else None,
        "StopSignal": config.stop_signal,
        "OnBuild": _list(config.on_build),
        "Shell": _list(config.shell),
    }
    if config.healthcheck is not None:
        health = config.healthcheck
        found["Healthcheck"] = {
            key: value
            for key, value in {
                "Test": _list(health.test),
                "Interval": health.interval,
                "Timeout": health.timeout,
                "StartPeriod": health.start_period,
                "StartInterval": health.start_interval,
                "Retries": health.retries,
            }.items()
            if value
        }
    return {key: value for key, value in found.items() if value}


def _list(value: Sequence[str] | None) -> list[str] | None:
    return list(value) if value is not None else None


def _keys(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {key: {} for key in value} if value else None
