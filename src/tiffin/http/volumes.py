"""/volumes: list, inspect, create, remove, prune; and /tiffin/volumes: what docker has not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import UNSET

from tiffin.engine import container_volumes
from tiffin.engine.moments import rfc3339
from tiffin.engine.threads import in_thread
from tiffin.errors import Invalid, Unavailable
from tiffin.http import response
from tiffin.http.filters import Filters
from tiffin.http.flows import Inflow, outflow
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.model.volume import Volume, VolumeUsage
from tiffin.volumes.copies import Copies
from tiffin.wire import volumes as wire

_FILTERS = ("dangling", "driver", "label", "name")
_PRUNE_FILTERS = ("label", "label!", "all")


@route("GET", "/volumes")
async def listing(request: Request) -> Response:
    """Every volume that the filters let through."""
    volumes = request.services.volumes
    filters = request.query.filters(_FILTERS)
    filters.flag("dangling")  # what it can't be is refused, whether there are volumes or not
    present = await in_thread(volumes.all)
    found = [one for one in present if _matches(one, filters, used=bool(volumes.holders(one.name)))]
    return response.json(wire.VolumeList(volumes=[shape(one) for one in found]))


@route("POST", "/volumes/create")
async def create(request: Request) -> Response:
    """Make a volume, or find the one of that name."""
    body = await request.json(wire.VolumeCreate, required=False)
    volume = await in_thread(
        request.services.volumes.create,
        body.name,
        driver=body.driver,
        options=body.driver_opts or {},
        labels=body.labels or {},
    )
    return response.json(shape(volume), status=201)


@route("POST", "/volumes/prune")
async def prune(request: Request) -> Response:
    """Remove volumes that no container has: from 1.42 on only nameless ones, unless `all`."""
    filters = request.query.filters(_PRUNE_FILTERS)
    everything = filters.flag("all") or not request.since("1.42")

    def wanted(volume: Volume) -> bool:
        return (everything or volume.anonymous) and _has_labels(volume.labels, filters)

    removed, freed = await in_thread(request.services.volumes.prune, wanted)
    request.services.events.publish("volume", "prune", "", {"reclaimed": str(freed)})
    return response.json(wire.VolumesPruned(volumes_deleted=removed or None, space_reclaimed=freed))


@route("POST", "/tiffin/volumes/{name}/copy")
async def copy(request: Request) -> Response:
    """Tiffin's own: another volume with the same files."""
    body = await request.json(wire.VolumeCopy)
    _check_idle(request)
    made = await in_thread(_copies(request).copy, request["name"], body.name, body.labels)
    return response.json(shape(made), status=201)


@route("POST", "/tiffin/volumes/{name}/rename")
async def rename(request: Request) -> Response:
    """Tiffin's own: another name for a volume that no container has."""
    body = await request.json(wire.VolumeRename)
    return response.json(shape(await in_thread(request.services.volumes.rename, request["name"], body.name)))


@route("GET", "/tiffin/volumes/{name}/export")
async def export(request: Request) -> Response:
    """Tiffin's own: a tar of a volume's files."""
    _check_idle(request)
    await in_thread(request.services.volumes.ours, request["name"], "export")
    return response.stream(outflow(_copies(request).export(request["name"])), "application/x-tar")


@route("POST", "/tiffin/volumes/{name}/import")
async def import_(request: Request) -> Response:
    """Tiffin's own: a new volume of the files of a tar, compressed or not."""
    labels = [item.partition("=") for item in request.query.texts("label")]
    flow = Inflow(request)
    try:
        made = await in_thread(
            _copies(request).import_, request["name"], flow, {key: value for key, _, value in labels}
        )
    finally:
        await flow.close()
    return response.json(shape(made), status=201)


def _copies(request: Request) -> Copies:
    return Copies(request.services.volumes)


def _check_idle(request: Request) -> None:
    """Raises Conflict where a running container may write to the volume, unless the client takes that upon itself."""
    if not request.query.flag("force"):
        container_volumes.check_idle(request.services.containers.context, request["name"])


@route("GET", "/volumes/{name:.*}")
async def inspect(request: Request) -> Response:
    """One volume."""
    return response.json(shape(await in_thread(request.services.volumes.look, request["name"])))


@route("PUT", "/volumes/{name:.*}", since="1.42")
async def update(request: Request) -> Response:
    """Cluster volumes only, and there is no cluster."""
    raise Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
        "swarm and try again."
    )


@route("DELETE", "/volumes/{name:.*}")
async def remove(request: Request) -> Response:
    """Remove a volume that no container has; with `force` a missing one is no error."""
    force = request.query.flag("force")
    await in_thread(request.services.volumes.remove, request["name"], force=force)
    return response.empty()


def shape(volume: Volume, usage: VolumeUsage | None = None) -> wire.Volume:
    """As the API has it; with its usage in /system/df."""
    return wire.Volume(
        created_at=rfc3339(volume.created - volume.created % 10**9),
        driver=volume.driver,
        labels=dict(volume.labels) or None,
        mountpoint=volume.mountpoint,
        name=volume.name,
        scope=volume.scope,
        status=dict(volume.status) or UNSET,
        options=dict(volume.options) or None,
        usage_data=UNSET if usage is None else wire.UsageData(size=usage.size, ref_count=usage.references),
    )


def _matches(volume: Volume, filters: Filters, *, used: bool) -> bool:
    if "dangling" in filters and filters.flag("dangling") == used:
        return False
    if (drivers := filters.values_of("driver")) and volume.driver not in drivers:
        return False
    if (names := filters.values_of("name")) and not any(_named(volume.name, name) for name in names):
        return False
    return _has_labels(volume.labels, filters)


def _named(name: str, pattern: str) -> bool:
    if pattern in name:
        return True
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise Invalid(f"invalid filter 'name={pattern}': {error}") from error


def _has_labels(labels: Mapping[str, str], filters: Filters) -> bool:
    asked, refused = filters.values_of("label"), filters.values_of("label!")
    return all(_labelled(labels, one) for one in asked) and not any(_labelled(labels, one) for one in refused)


def _labelled(labels: Mapping[str, str], wanted: str) -> bool:
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)
