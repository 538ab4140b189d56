"""Which containers there are, and how many."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from tiffin.containers.filters import Filters
from tiffin.containers.filters import select as filtered
from tiffin.engine.container_context import Context
from tiffin.engine.container_sizes import layer_size, root_size
from tiffin.errors import NotFound
from tiffin.model.container import Container
from tiffin.model.container_status import Exited, Paused, Restarting, Running, is_running


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the writable layer, and of it and the image together."""

    layer: int
    root: int


class Listing:
    def __init__(self, context: Context) -> None:
        self._context = context

    def select(self, filters: Filters, *, every: bool = False, limit: int = 0) -> list[Container]:
        """Newest first; those that run unless `every`, a limit or a filter on states asks for more. Raises Invalid."""
        found = filtered(
            sorted(self._context.records, key=lambda one: one.created, reverse=True),
            filters,
            find=self._context.records.find,
            ancestors=self._ancestors,
            networks=self._networks,
        )
        if not every and limit <= 0 and not any(filters.get(key) for key in ("status", "exited", "before", "since")):
            found = [one for one in found if is_running(one.status)]
        return found[:limit] if limit > 0 else found

    def _ancestors(self, reference: str) -> frozenset[str]:
        try:
            image = self._context.images.get(reference)
        except NotFound:
            return frozenset()
        chain = image.config.diff_ids
        used = {one.image_id for one in self._context.records}
        found = {str(image.id)}
        for image_id in used:
            try:
                other = self._context.images.get(image_id)
            except NotFound:
                continue
            if other.config.diff_ids[: len(chain)] == chain and chain:
                found.add(image_id)
        return frozenset(found)

    def _networks(self, container: Container) -> frozenset[str]:
        endpoints = self._context.networks.endpoints(container.id)
        names = set(container.networks)
        for one in endpoints.endpoints if endpoints else ():
            names |= {one.network, one.network_id}
        return frozenset(names)

    async def sizes(self, container: Container) -> Sizes:
        """Walks the layer."""
        layer = await asyncio.to_thread(layer_size, self._context, container)
        try:
            root = await asyncio.to_thread(root_size, self._context, container)
        except NotFound:
            root = layer
        return Sizes(layer, root)

    def count(self) -> Mapping[str, int]:
        """By what `docker info` tells apart."""
        found = {"running": 0, "paused": 0, "stopped": 0}
        for one in self._context.records:
            match one.status:
                case Paused():
                    found["paused"] += 1
                case Running() | Restarting():
                    found["running"] += 1
                case Exited() | _:
                    found["stopped"] += 1
        return found
