"""Binds whose files change hands (`--mount type=bind,…,bind-idmap`): the source's owner is the container's user inside.

What that user makes is the owner's on the host: a developer owns the files in the work tree, whoever the image runs as.
The two swap places and everybody else stays who he is, so that nothing in the tree is without an owner.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tiffin.containers.users import User, resolve
from tiffin.engine import container_root
from tiffin.engine.container_external import BUILT_IN
from tiffin.errors import Invalid
from tiffin.model.container import Container
from tiffin.model.mount import Mount

_ALL = 2**32 - 1
"""Ids that a user namespace can map; the last one stands for none."""


def mappings(container: Container, layers: Sequence[Mount], user: User) -> dict[str, dict[str, Any]]:
    """Destination → the OCI mount's uidMappings and gidMappings. Raises Invalid."""
    found: dict[str, dict[str, Any]] = {}
    for point in container.mounts:
        options = point.request.bind_options if point.request else None
        wanted = options.id_mapping if options else None
        if wanted is None:
            continue
        if container.host.runtime not in ("", BUILT_IN):
            raise Invalid(
                f"mount {point.destination}: owners can't be mapped by runtime {container.host.runtime}: use {BUILT_IN}"
            )
        chosen = user
        if wanted.user:
            with container_root.opened(layers) as root:
                chosen = resolve(wanted.user, (), lambda path: container_root.read_small(root, path))
        owner = os.stat(point.source)
        found[point.destination] = {
            "uidMappings": swapped(owner.st_uid, chosen.uid),
            "gidMappings": swapped(owner.st_gid, chosen.gid),
        }
    return found


def swapped(one: int, other: int) -> list[dict[str, int]]:
    """The map in which two ids change places, in the OCI specification's words: what the files have, what is seen."""
    low, high = sorted((one, other))
    if low == high:
        return [_range(0, 0, _ALL)]
    parts = [
        _range(0, 0, low),
        _range(low, high, 1),
        _range(low + 1, low + 1, high - low - 1),
        _range(high, low, 1),
        _range(high + 1, high + 1, _ALL - high - 1),
    ]
    return [part for part in parts if part["size"]]


def _range(there: int, here: int, size: int) -> dict[str, int]:
    return {"containerID": there, "hostID": here, "size": size}
