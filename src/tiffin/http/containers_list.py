"""GET /containers/json: each entry stays encoded until something in it changes. Only the status text goes with time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from tiffin.containers.status_text import status_text
from tiffin.engine.container_context import Context, now
from tiffin.http import containers_views as views
from tiffin.http.containers_views import Version
from tiffin.model.container import Container
from tiffin.model.container_status import Created, is_running
from tiffin.model.digest import Digest
from tiffin.model.network import Endpoints

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Names:
    """What the names that containers are listed with mean: images by name, the ids of networks by name."""

    images: dict[str, set[Digest]] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)

    def image(self, context: Context, container: Container) -> str:
        """The name that was used, or the id when it means another image by now."""
        name = container.config.image
        if name not in self.images:
            self.images[name] = context.images.meant(name)
        return name if container.image_id in self.images[name] else container.image_id

    def hold(self, context: Context) -> bool:
        """Whether they mean the same now."""
        return all(context.images.meant(name) == found for name, found in self.images.items()) and all(
            views.network_id(context, name) == found for name, found in self.networks.items()
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an entry was made of, and its JSON; where its status tells the time, up to there."""

    container: Container
    endpoints: Endpoints | None
    running: bool
    timed: bool
    text: bytes


class Summaries:
    """The entries that were shown last, by the containers' ids."""

    def __init__(self) -> None:
        self._kept: dict[str, _Entry] = {}
        self._names = Names()
        self._version: Version = (0, 0)

    def listed(self, context: Context, containers: Iterable[Container], version: Version) -> bytes:
        """The whole answer."""
        if version != self._version or len(self._kept) > 2 * len(context.records) or not self._names.hold(context):
            self._kept, self._names, self._version = {}, Names(), version
        moment = now()
        shown = []
        for one in containers:
            entry = self._kept.get(one.id)
            if (
                entry is None
                or entry.container is not one
                or (entry.running and entry.endpoints is not context.networks.endpoints(one.id))
            ):
                entry = self._kept[one.id] = self._made(context, one)
            shown.append(entry.text + _encode(status_text(one, moment)) + b"}" if entry.timed else entry.text)
        return b"[" + b",".join(shown) + b"]\n"

    def _made(self, context: Context, container: Container) -> _Entry:
        for name in container.networks:
            self._names.networks[name] = views.network_id(context, name)
        shown = views.summary(context, container, self._version, None, self._names.image(context, container))
        status = shown.pop("Status")
        timed = not isinstance(container.status, Created)
        text = _encode(shown)[:-1] + b',"Status":' + (b"" if timed else _encode(status) + b"}")
        endpoints = context.networks.endpoints(container.id)
        return _Entry(container, endpoints, is_running(container.status), timed, text)
