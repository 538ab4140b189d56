"""The composition root: the one place where the engine's parts are made and meet."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from types import ModuleType

from tiffin.daemon.config import Config
from tiffin.daemon.roots import Roots
from tiffin.engine import system
from tiffin.engine.events import Events
from tiffin.http.router import Router
from tiffin.http.services import Services

log = logging.getLogger(__name__)

RESOURCES = ("system", "swarm", "events")


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
        self.services.events.publish("daemon", "reload", self.services.identity, {"name": self.services.machine.name})


def router() -> Router:
    """Every resource's routes."""
    return Router(_resource(name) for name in RESOURCES)


def _resource(name: str) -> ModuleType:
    return importlib.import_module(f"tiffin.http.{name}")


async def build(config: Config, roots: Roots) -> Engine:
    """Make the services, find what an earlier daemon left running."""
    services = Services(
        machine=system.observe(),
        settings=settings(config, roots),
        identity=system.identity(roots.data / "engine-id"),
        events=Events(),
    )
    return Engine(config, services)


def settings(config: Config, roots: Roots) -> system.Settings:
    """What `docker info` may know of the configuration."""
    runtimes: dict[str, tuple[str, tuple[str, ...]]] = {"tiffin": ("tiffin-runtime", ())}
    for name, given in config.runtimes.items():
        runtimes[name] = (str(given.get("path", "")), tuple(given.get("runtimeArgs", ())))
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
        seccomp_profile=config.seccomp_profile or "builtin",
        http_proxy=config.http_proxy or os.environ.get("HTTP_PROXY", ""),
        https_proxy=config.https_proxy or os.environ.get("HTTPS_PROXY", ""),
        no_proxy=config.no_proxy or os.environ.get("NO_PROXY", ""),
    )
