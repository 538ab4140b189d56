"""What handlers work with: one object, made by the daemon, reached as `request.services`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiffin.engine.events import Events
from tiffin.engine.system import Machine, Settings


@dataclass(slots=True)
class Census:
    """How many objects there are, as `docker info` counts them."""

    running: int = 0
    paused: int = 0
    stopped: int = 0
    images: int = 0


@dataclass(slots=True)
class Services:
    """The domains and use cases. A handler takes the one it is about."""

    machine: Machine
    settings: Settings
    identity: str
    """The engine's ID."""
    events: Events
    images: Any = None
    containers: Any = None
    summaries: Any = None
    """Of containers, as the list shows them."""
    execs: Any = None
    networks: Any = None
    volumes: Any = None
    registry: Any = None
    make_builder: Callable[[], Any] = lambda: None
    """Called once, by who builds first."""
    buildkit: Any = None
    bootstraps: Any = None
    check: Any = None
    storage_driver: str = ""
    census: Callable[[], Census] = Census
    _builder: Any = None

    @property
    def has_built(self) -> bool:
        """Whether there may be anything of builds."""
        return self._builder is not None

    @property
    def builder(self) -> Any:
        """What builds images."""
        if self._builder is None:
            self._builder = self.make_builder()
        return self._builder
