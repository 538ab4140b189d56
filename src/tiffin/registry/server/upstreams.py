"""Which upstream a request is about, where a cache has several: by `?ns=`, as containerd asks mirrors, or by path.

What comes from the upstream of `quay.io` is kept under `quay.io/…`, and can be asked for by that name as well.
"""

from collections.abc import Iterable, Mapping

from tiffin.errors import Invalid
from tiffin.model.reference import DEFAULT_DOMAIN
from tiffin.registry.hosts import HUB
from tiffin.registry.server import names
from tiffin.registry.server.refusals import Refusal, name_unknown
from tiffin.registry.server.upstream import Upstream

_HUB = (DEFAULT_DOMAIN, f"index.{DEFAULT_DOMAIN}", HUB)


def canonical(namespace: str) -> str:
    """A registry's host and port by one name."""
    lowered = namespace.lower()
    return DEFAULT_DOMAIN if lowered in _HUB else lowered


def folder(namespace: str) -> str:
    """What repositories of a registry are kept under; a port's colon can be in no name. Invalid for no host."""
    found = canonical(namespace).replace(":", "_")
    try:
        if "/" in found:
            raise Invalid("a slash")
        return names.repository(found)
    except (Refusal, Invalid) as error:
        raise Invalid(f"{namespace!r} is no registry's HOST or HOST:PORT") from error


class Upstreams:
    """by: upstreams by the registry that they stand for. default: of requests that name none."""

    def __init__(self, by: Mapping[str, Upstream], default: Upstream | None = None) -> None:
        self._by = dict(by)
        self._folders = {folder(namespace): upstream for namespace, upstream in by.items()}
        self._default = default

    def of(self, name: str, namespace: str) -> tuple[str, Upstream | None]:
        """A repository's name here, and where it comes from; None for one of our own. Refusal NAME_UNKNOWN."""
        if not namespace:
            found = self._folders.get(name.partition("/")[0])
            return name, found or self._default
        wanted = canonical(namespace)
        if wanted in self._by:
            return f"{folder(wanted)}/{name}", self._by[wanted]
        if self._default is not None and canonical(self._default.host) == wanted:
            return name, self._default
        raise name_unknown(f"{namespace}/{name}")

    def every(self) -> Iterable[Upstream]:
        return [*self._by.values(), *([self._default] if self._default else [])]
