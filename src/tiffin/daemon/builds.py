"""Builds, put together: at the start where there have been some, else with the first who asks. The planner and all it
needs are a quarter of the daemon's modules.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiffin.content.ledger import Ledger
from tiffin.daemon.roots import Roots
from tiffin.engine.container_context import Context
from tiffin.engine.transfers import Transfers
from tiffin.images.service import Images
from tiffin.linux import cgroups

if TYPE_CHECKING:
    from tiffin.build.solve.cache import Cache
    from tiffin.engine.builds import Builds
    from tiffin.engine.container_context import Settings

RESOURCES = ("build", "build_failed")


@dataclass(slots=True)
class Assembly:
    images: Images
    transfers: Transfers
    ledger: Ledger
    roots: Roots
    _cache: Cache | None = None

    async def restore(self, settings: Settings) -> None:
        """Before the first sweep: what is cached is known, and what builds of an earlier daemon left running ends."""
        if self.ledger.has("build") or (settings.exec_root / "build").exists():
            await asyncio.to_thread(self._restore, settings)

    def _restore(self, settings: Settings) -> None:
        from tiffin.engine import builds_run

        builds_run.clear(self.ledger, settings, cgroups.detect())
        self._cache = self._opened()

    def _opened(self) -> Cache:
        from tiffin.build.solve.cache import Cache

        cache = Cache(self.ledger)
        self.images.kept_chains.append(cache.chains)
        self.images.kept_blobs.append(cache.blobs)
        return cache

    @property
    def restored(self) -> bool:
        """Whether there is something of builds."""
        return self._cache is not None

    def builds(self, context: Context) -> Builds:
        """The use case; called once."""
        from tiffin.engine.builds import Builds
        from tiffin.engine.builds_run import Runner

        cache = self._cache or self._opened()
        runner = Runner(context, self.ledger)
        data, state = self.roots.data / "build", self.roots.state / "build"
        builds = Builds(self.images, self.transfers, runner, cache, data, state)
        context.others.append(builds.shells.ids)
        return builds
