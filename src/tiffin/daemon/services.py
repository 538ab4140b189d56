"""The composition root: the one place where the engine's parts are made and meet."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from types import ModuleType

from tiffin import snapshots
from tiffin.containers.records import Records
from tiffin.content.blobs import BlobStore
from tiffin.content.ledger import Ledger
from tiffin.daemon import adapters, builds, checks
from tiffin.daemon.config import Config
from tiffin.daemon.roots import Roots
from tiffin.engine import system
from tiffin.engine.bootstrap import Bootstraps
from tiffin.engine.container_context import Context
from tiffin.engine.containers import Containers
from tiffin.engine.events import Events
from tiffin.engine.images import reconcile
from tiffin.errors import TiffinError
from tiffin.http.containers_list import Summaries
from tiffin.http.router import Router
from tiffin.http.services import Census, Services
from tiffin.images.service import Images
from tiffin.linux import cgroups
from tiffin.model.container_status import is_running
from tiffin.networks import records as network_records
from tiffin.networks.service import Networks
from tiffin.runtime.launcher import Forkserver
from tiffin.volumes import records as volume_records
from tiffin.volumes.service import Volumes

log = logging.getLogger(__name__)

RESOURCES = (
    "system",
    "disk_usage",
    "check",
    "events",
    "containers",
    "exec",
    "grpc",
    "attach",
    "logs",
    "stats",
    "archive",
    "images",
    "image_bootstrap",
    "image_layers",
    "registry",
    "networks",
    "volumes",
    "swarm",
)


@dataclass(slots=True)
class Engine:
    """The running engine: what handlers use, and how it all ends."""

    config: Config
    services: Services
    ending: list[Callable[[], Awaitable[None] | None]] = field(default_factory=list)

    async def close(self) -> None:
        """Let go of everything, last made first. Containers run on."""
        for end in reversed(self.ending):
            waiting = end()
            if waiting is not None:
                await waiting

    def reconfigure(self, config: Config) -> None:
        """Take over what may change while running."""
        self.config = config
        self.services.settings = replace(
            self.services.settings,
            debug=config.level == "debug",
            labels=config.labels,
            live_restore=config.live_restore,
            registry_mirrors=config.registry_mirrors,
            insecure_registries=config.insecure_registries,
        )
        self.services.registry.registries.hosts = adapters.registry_hosts(config)
        self.services.events.publish("daemon", "reload", self.services.identity, {"name": self.services.machine.name})


def router() -> Router:
    """Every resource's routes."""
    return Router(map(_resource, RESOURCES), later=lambda: map(_resource, builds.RESOURCES))


def _resource(name: str) -> ModuleType:
    return importlib.import_module(f"tiffin.http.{name}")


async def build(config: Config, roots: Roots) -> Engine:
    """Make the services, find what an earlier daemon left running."""
    machine = system.observe()
    events = Events()
    services = Services(
        machine=machine,
        settings=settings(config, roots),
        identity=system.identity(roots.data / "engine-id"),
        events=events,
    )
    engine = Engine(config, services)
    try:
        await _assemble(engine, roots)
    except BaseException:
        await engine.close()
        raise
    return engine


async def _assemble(engine: Engine, roots: Roots) -> None:
    config, services = engine.config, engine.services
    launcher = Forkserver(roots.state)
    await launcher.open()
    engine.ending.append(launcher.leave)
    _raise_descriptor_limit()
    ledger = Ledger(roots.data / "ledger.db")
    engine.ending.append(ledger.close)
    blobs = BlobStore(roots.data / "content")
    driver = config.storage_driver or snapshots.driver(roots.data / "snapshots")
    snapshotter = snapshots.open_driver(driver, roots.data / "snapshots", ledger)
    engine.ending.append(snapshotter.close)
    services.storage_driver = snapshotter.name
    images = Images(ledger, blobs, snapshotter, publish=adapters.of_images(services.events))
    images.reserve_host((roots.data, roots.state))
    services.images = images
    records = Records(ledger)
    users = adapters.ImageUsers(records)
    images.users = users
    images.kept_chains.append(users.chains)
    services.registry = transfers = adapters.transfers(config, images, ledger)
    engine.ending.append(transfers.close)
    assembly = builds.Assembly(images, transfers, ledger, roots)
    await assembly.restore(adapters.container_settings(config, roots))
    await asyncio.to_thread(reconcile, images, {one.id for one in records})
    services.volumes = Volumes(
        roots.data / "volumes", volume_records.LedgerRecords(ledger), tell=adapters.of_volumes(services.events)
    )
    services.volumes.restore([one.id for one in records])
    networks = Networks(
        network_records.LedgerRecords(ledger),
        adapters.network_defaults(config),
        tell=adapters.of_networks(services.events),
    )
    engine.ending.append(networks.close)
    services.networks = networks
    context = Context(
        settings=adapters.container_settings(config, roots),
        records=records,
        images=images,
        snapshots=snapshotter,
        networks=networks,
        volumes=services.volumes,
        launcher=launcher,
        events=services.events,
        hierarchies=cgroups.detect(),
    )
    containers = Containers(context)
    services.containers = containers
    services.summaries = Summaries()
    services.make_builder = lambda: assembly.builds(context)
    if assembly.restored:
        assert services.builder is not None  # what its directories hold of an earlier daemon's builds goes now
    services.census = lambda: _count(services)
    await networks.start(containers.running())
    engine.ending += [containers.close, lambda: _stop_containers(engine)]
    await containers.restore()
    services.bootstraps = Bootstraps(roots.data / "bootstrap", images, containers, transfers)
    await services.bootstraps.reconcile()
    services.check = checks.check(ledger, context, snapshotter, networks, services.volumes)


async def _stop_containers(engine: Engine) -> None:
    """Without live restore containers end with the daemon. Restart policies see that nobody stopped them by hand."""
    if engine.config.live_restore:
        return
    containers: Containers = engine.services.containers
    records = containers.context.records
    by_hand = {one.id for one in records if one.manually_stopped}

    async def stop(container_id: str) -> None:
        with contextlib.suppress(TiffinError):
            await containers.signals.stop(container_id, timeout=engine.config.shutdown_timeout)
        if container_id in records and container_id not in by_hand:
            records.change(container_id, manually_stopped=False)

    await asyncio.gather(*(stop(one.id) for one in list(records) if is_running(one.status)))


def _count(services: Services) -> Census:
    return Census(**services.containers.count(), images=len(services.images.select()))


def _raise_descriptor_limit() -> None:
    """As far as allowed: each connection and each container takes some. Containers get theirs from the forkserver."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settings(config: Config, roots: Roots) -> system.Settings:
    """What `docker info` may know of the configuration."""
    runtimes = {name: (path, ()) for name, path in adapters.runtimes(config).items()}
    return system.Settings(
        root=str(roots.data),
        debug=config.level == "debug",
        experimental=config.experimental,
        labels=config.labels,
        log_driver=config.log_driver,
        default_runtime=config.default_runtime,
        runtimes=runtimes,
        init_path=config.init_path or "docker-init",
        live_restore=config.live_restore,
        registry_mirrors=config.registry_mirrors,
        insecure_registries=config.insecure_registries,
        address_pools=config.address_pools,
        cdi_directories=config.cdi_spec_dirs,
        seccomp_profile=config.seccomp_profile or "builtin",
        http_proxy=config.http_proxy or os.environ.get("HTTP_PROXY", ""),
        https_proxy=config.https_proxy or os.environ.get("HTTPS_PROXY", ""),
        no_proxy=config.no_proxy or os.environ.get("NO_PROXY", ""),
    )
