"""GET /system/df: what images, containers and volumes take."""

import asyncio
from typing import Any

from tiffin.engine.threads import in_thread
from tiffin.errors import Invalid
from tiffin.http import containers_views, image_shapes, response, volumes
from tiffin.http.build_shapes import cache_record
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route

_KINDS = frozenset(("container", "image", "volume", "build-cache"))


@route("GET", "/system/df")
async def disk_usage(request: Request) -> Response:
    """Sizes by kind of object. From 1.42 on `type` picks kinds, and the others are null."""
    kinds = set(request.query.texts("type")) if request.since("1.42") else set()
    for kind in kinds - _KINDS:
        raise Invalid(f"unknown object type: {kind}")
    wanted = kinds or _KINDS
    told: dict[str, Any] = {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": None, "BuildCache": None}
    if "image" in wanted:
        told["Images"] = await _images(request)
        told["LayersSize"] = await asyncio.to_thread(request.services.images.size)
    if "container" in wanted:
        told["Containers"] = await _containers(request)
    if "volume" in wanted:
        told["Volumes"] = await in_thread(_volumes, request.services.volumes)
    if "build-cache" in wanted:
        kept = await asyncio.to_thread(request.services.builder.usage) if request.services.has_built else ()
        told["BuildCache"] = [cache_record(request, one) for one in kept]
    if not request.since("1.42"):
        told["BuilderSize"] = sum(one.size for one in told["BuildCache"] or ())
    return response.json(told)


async def _images(request: Request) -> list[Any]:
    images = request.services.images
    found = await asyncio.to_thread(images.select)
    shared = await asyncio.to_thread(images.shared_sizes)
    return [image_shapes.summary(request, one, shared.get(one.id, 0), len(images.users.using(one.id))) for one in found]


async def _containers(request: Request) -> list[Any]:
    containers = request.services.containers
    shown = []
    for one in containers.listing.select({}, every=True):
        sizes = await containers.listing.sizes(one)
        name = one.config.image
        shown.append(containers_views.summary(containers.context, one, request.version, sizes, name))
    return shown


def _volumes(service: Any) -> list[Any]:
    # what a volume with options mounts is not this engine's disk: docker leaves these out
    return [volumes.shape(one, service.usage(one.name)) for one in service.all() if not one.options]
