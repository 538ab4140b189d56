"""Builds, put together."""

from __future__ import annotations

from tiffin.build.solve.cache import Cache
from tiffin.content.ledger import Ledger
from tiffin.daemon.roots import Roots
from tiffin.engine import builds_run
from tiffin.engine.builds import Builds
from tiffin.engine.builds_run import Runner
from tiffin.engine.container_context import Context, Settings
from tiffin.engine.transfers import Transfers
from tiffin.images.service import Images
from tiffin.linux import cgroups


def restored(images: Images, ledger: Ledger, settings: Settings) -> Cache:
    """Before the first sweep: what is cached is known, and what an earlier daemon's builds left running has ended."""
    builds_run.clear(ledger, settings, cgroups.detect())
    cache = Cache(ledger)
    images.kept_chains.append(cache.chains)
    images.kept_blobs.append(cache.blobs)
    return cache


def assembled(
    images: Images, transfers: Transfers, context: Context, ledger: Ledger, cache: Cache, roots: Roots
) -> Builds:
    """The use case."""
    runner = Runner(context, ledger)
    builds = Builds(images, transfers, runner, cache, roots.data / "build", roots.state / "build")
    context.others.append(builds.shells.ids)
    return builds
