"""Remove containers: one, or all that stopped."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tiffin.containers.filters import Filters, label_matches
from tiffin.containers.waits import Outcome
from tiffin.content import crash
from tiffin.engine import container_images, container_links
from tiffin.engine.clearing import Clearing
from tiffin.engine.container_context import Context
from tiffin.engine.container_lifecycle import Lifecycle
from tiffin.engine.container_sizes import layer_size
from tiffin.engine.container_stop import Signals
from tiffin.errors import Conflict, Internal, Invalid, NotFound
from tiffin.linux import cgroups_live
from tiffin.linux.cgroups import Cgroup
from tiffin.model.container import Container
from tiffin.model.container_status import (
    Created,
    Dead,
    Exited,
    Paused,
    Removing,
    Restarting,
    exit_code_of,
    is_running,
    status_word,
)


@dataclass(frozen=True, slots=True)
class Pruned:
    ids: tuple[str, ...]
    bytes: int


class Removal:
    def __init__(self, context: Context, lifecycle: Lifecycle, signals: Signals) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._signals = signals
        self._clearing = Clearing(context)
        lifecycle.remove_ended = self._remove_ephemeral

    async def remove(self, reference: str, *, volumes: bool = False, force: bool = False, link: bool = False) -> None:
        """Raises NotFound, Conflict (it runs and there is no force; another removes it)."""
        context = self._context
        if link:
            return self._unlink(reference)
        container = context.records.find(reference)
        if isinstance(container.status, Removing):
            raise Conflict(f"removal of container {reference} is already in progress")
        if not is_running(container.status):
            return await self._remove_ended(container, reference, volumes, force)
        if not force:
            raise self._refusal(container)
        live = context.live(container.id)
        live.removals += 1  # nobody starts it again between its end and its removal
        try:
            await self._kill(container)
            await self._remove_ended(container, reference, volumes, force)
        finally:
            live.removals -= 1

    async def _remove_ended(self, container: Container, reference: str, volumes: bool, force: bool) -> None:
        context = self._context
        async with context.records.lock(container.id):
            if container.id not in context.records:
                if force:
                    return
                raise NotFound(f"No such container: {reference}")
            container = context.records.get(container.id)
            if isinstance(container.status, Restarting):
                self._lifecycle.give_up_restart(container.id)
            elif is_running(container.status):
                raise self._refusal(container)
            await self._remove(container, volumes)

    def _unlink(self, reference: str) -> None:
        """`parent/alias`. Raises NotFound."""
        name, _, alias = reference.removeprefix("/").rpartition("/")
        if not name:
            raise NotFound(f"No such container: {reference}")
        parent = self._context.records.find(name)
        rest = tuple(text for text in parent.host.links or () if container_links.parse(text)[1] != alias)
        if len(rest) == len(parent.host.links or ()):
            raise NotFound(f"No such container: {reference}: no such link")
        self._context.records.rewrite(replace(parent, host=replace(parent.host, links=rest or None)))

    @staticmethod
    def _refusal(container: Container) -> Conflict:
        if isinstance(container.status, Paused):
            hint = "container is paused and must be unpaused first"
        elif isinstance(container.status, Restarting):
            hint = "container is restarting: stop the container before removing or force remove"
        else:
            hint = f"container is {status_word(container.status)}: stop the container before removing or force remove"
        return Conflict(f'cannot remove container "{container.name}": {hint}')

    async def _kill(self, container: Container) -> None:
        live = self._context.live(container.id)
        ended = live.ended
        live.stopping = True  # whoever asked removes it, not the policy that removes what ended
        try:
            if live.process is not None:
                live.process.discard()
            try:
                await self._signals.kill(container.id, "KILL")
            except (Conflict, NotFound):
                return  # it ended by itself meanwhile
            if live.process is None:
                return
            try:
                await asyncio.wait_for(ended.wait(), 30)
            except TimeoutError:
                raise Internal(
                    f"cannot remove container {container.id}: it did not end {int(signal.SIGKILL)}"
                ) from None
        finally:
            live.stopping = False

    async def _remove_ephemeral(self, container_id: str) -> None:
        """The lock is held."""
        container = self._context.records.get(container_id)
        status = container.status
        volumes = status.volumes if isinstance(status, Removing) else container.host.auto_remove
        await self._remove(container, volumes)

    async def _remove(self, container: Container, volumes: bool) -> None:
        """What can still be found of it goes at once, its files later: after a power loss they may be wanted again."""
        context = self._context
        status = container.status
        code = exit_code_of(status)
        started, finished = getattr(status, "started_at", 0), getattr(status, "finished_at", 0)
        self._begin(container, Removing(code, started, finished, volumes))
        self._lifecycle.close_pending(container.id)
        await context.early.drop(container.id)
        later: list[Callable[[], None]] = []
        try:
            container_images.release(context, container.id, container.mounts)
            context.volumes.release(container.id)
            for point in container.mounts if volumes else ():
                if point.anonymous:
                    await self._remove_volume(point.name)
            context.records.remove(container.id)
        except Exception as error:
            text = f"failed to remove container {container.id}: {error}"
            context.records.change(container.id, status=Dead(text, code))
            context.waits.removed(container.id, Outcome(code, text))
            raise Internal(text) from error
        crash.point("container-forgotten")
        context.snapshots.remove(container.id, later.append)
        context.forget(container.id)
        context.publish(container, "destroy")
        context.waits.removed(container.id, Outcome(code))
        later += [
            partial(_remove_tree, path) for path in (context.directory(container.id), context.state(container.id))
        ]
        later.append(partial(_remove_groups, context.cgroup(container)))
        # an ephemeral one is removed at the next start, whatever is there of it
        self._clearing.add(later, settle=not container.host.auto_remove)

    def _begin(self, container: Container, removing: Removing) -> None:
        """A removal of several steps is written down: one that was broken off is finished at the next start."""
        records = self._context.records
        if not any(point.type in ("image", "volume") for point in container.mounts):
            records.note(container.id, status=removing)
            return
        # a volume's files may be gone before the record is
        durable = removing.volumes and any(point.anonymous for point in container.mounts)
        records.change(container.id, durable=durable and not container.host.auto_remove, status=removing)

    async def _remove_volume(self, name: str) -> None:
        try:
            await asyncio.to_thread(self._context.volumes.remove, name)
        except (Conflict, NotFound):
            return  # another container has it too

    async def prune(self, filters: Filters) -> Pruned:
        """Remove every container that is neither running nor paused. Filters: until, label, label!."""
        unknown = set(filters) - {"until", "label", "label!"}
        if unknown:
            raise Invalid(f"invalid filter '{min(unknown)}'")
        until = _moment(filters)
        removed: list[str] = []
        freed = 0
        for container in list(self._context.records):
            if not isinstance(container.status, Created | Exited | Dead) or not _matches(container, filters, until):
                continue
            size = await asyncio.to_thread(layer_size, self._context, container)
            try:
                await self.remove(container.id)
            except (NotFound, Conflict):
                continue
            removed.append(container.id)
            freed += size
        self._context.events.publish("container", "prune", "", {"reclaimed": str(freed)})
        return Pruned(tuple(removed), freed)


def _remove_groups(cgroup: Cgroup) -> None:
    """Its monitor has done so, or is at it; where it was killed, and the forkserver in the same moment, nobody has."""
    if cgroups_live.remains(cgroup):
        cgroups_live.discard(cgroup)


def _remove_tree(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=False, onerror=_unless_missing)


def _unless_missing(function: object, path: str, info: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]


def _moment(filters: Filters) -> int | None:
    from tiffin.engine.moments import moment

    values = filters.get("until", ())
    if len(values) > 1:
        raise Invalid("more than one until filter specified")
    return moment(values[0], time.time_ns()) if values else None


def _matches(container: Container, filters: Filters, until: int | None) -> bool:
    labels = container.config.labels or {}
    if until is not None and container.created > until:
        return False
    if not all(label_matches(value, labels) for value in filters.get("label", ())):
        return False
    return not any(label_matches(value, labels) for value in filters.get("label!", ()))
