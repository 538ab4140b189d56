"""GET /containers/json: each entry stays encoded until something in it changes. Only the status text goes with time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from tiffin.containers.status_text import status_text
from tiffin.engine.container_context import Context, now
from tiffin.http import containers_views as views
from tiffin.http.containers_views import Version
from tiffin.model.container import Container
from tiffin.model.network import Endpoints

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an entry was made of, and its JSON without the closing brace. Values are replaced, never changed."""

    container: Container
    endpoints: Endpoints | None
    networks: tuple[str, ...]
    image: str
    version: Version
    text: bytes


@dataclass(slots=True)
class Summaries:
    """The entries that were shown last, by the containers' ids."""

    _kept: dict[str, _Entry] = field(default_factory=dict)

    def listed(
        self, context: Context, containers: Iterable[Container], version: Version, image_of: Callable[[Container], str]
    ) -> bytes:
        """The whole answer."""
        networks: dict[str, str] = {}
        moment = now()
        shown = []
        for one in containers:
            for name in one.networks:
                if name not in networks:
                    networks[name] = views.network_id(context, name)
            text = self._entry(context, one, tuple([networks[name] for name in one.networks]), version, image_of(one))
            shown.append(text + b',"Status":' + _encode(status_text(one, moment)) + b"}")
        if len(self._kept) > len(context.records):
            self._kept = {key: entry for key, entry in self._kept.items() if key in context.records}
        return b"[" + b",".join(shown) + b"]\n"

    def _entry(
        self, context: Context, container: Container, networks: tuple[str, ...], version: Version, image: str
    ) -> bytes:
        endpoints = context.networks.endpoints(container.id)
        known = self._kept.get(container.id)
        if (
            known is not None
            and known.container is container
            and known.endpoints is endpoints
            and known.networks == networks
            and known.image == image
            and known.version == version
        ):
            return known.text
        shown = views.summary(context, container, version, None, image)
        del shown["Status"]
        text = _encode(shown)[:-1]
        self._kept[container.id] = _Entry(container, endpoints, networks, image, version, text)
        return text
