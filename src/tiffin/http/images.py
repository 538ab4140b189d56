"""Images over HTTP: /images, /commit. What asks registries is in `registry`."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from tiffin.engine import images as engine
from tiffin.engine.moments import moment
from tiffin.errors import Internal, Invalid, NotFound, TiffinError
from tiffin.http import image_manifests, registry, response
from tiffin.http import image_shapes as shapes
from tiffin.http.containers_shapes import to_model
from tiffin.http.filters import Filters
from tiffin.http.flows import Inflow, outflow, reporting
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.images import FILTERS, Images, Message, Progress, Query, Removed, created_seconds, labels_match
from tiffin.images.sources import opened
from tiffin.model.container import Config
from tiffin.model.image import Image
from tiffin.model.platform import Platform
from tiffin.model.reference import parse_reference, parse_tag
from tiffin.wire import containers as containers_wire
from tiffin.wire import images as wire

_TAR = "application/x-tar"
_PRUNE_FILTERS = frozenset({"dangling", "until", "label", "label!"})


def _images(request: Request) -> Images:
    images: Images = request.services.images
    return images


@route("GET", "/images/json")
async def listed(request: Request) -> Response:
    """The images, newest first."""
    images = _images(request)
    given = request.query.filters(FILTERS | {"label!"})
    query = Query(
        all=request.query.flag("all"),
        dangling=given.flag("dangling") if given.values_of("dangling") else None,
        labels=given.values_of("label"),
        without_labels=given.values_of("label!"),
        before=given.values_of("before"),
        since=given.values_of("since"),
        references=given.values_of("reference") or tuple(filter(None, [_legacy_filter(request)])),
        until=_until(given),
    )
    found = await asyncio.to_thread(images.select, query)
    shared = await asyncio.to_thread(images.shared_sizes) if request.query.flag("shared-size") else {}
    counts = _counts(images, found) if request.since("1.51") else {}
    answer = [shapes.summary(request, one, shared.get(one.id, -1), counts.get(one.id, -1)) for one in found]
    if request.since("1.47") and request.query.flag("manifests"):
        await asyncio.to_thread(_with_manifests, images, zip(found, answer, strict=True))
    return response.json(answer)


def _with_manifests(images: Images, pairs: Iterable[tuple[Image, wire.Summary]]) -> None:
    for image, summary in pairs:
        with suppress(NotFound, Internal, Invalid):  # a damaged document, or an image that goes, spoils no list
            summary.manifests = image_manifests.summaries(images, image)
            summary.descriptor = image_manifests.target(images, image)


def _legacy_filter(request: Request) -> str:
    return request.query.text("filter") if not request.since("1.41") else ""


def _until(given: Filters) -> float | None:
    text = given.single("until")
    return None if text is None else moment(text, time.time_ns()) / 1e9


def _counts(images: Images, found: Iterable[Image]) -> dict[str, int]:
    return {one.id: image_manifests.containers(images, one) for one in found}


@route("GET", "/images/{name:.+}/json")
async def inspected(request: Request) -> Response:
    """One image; of an index the best for this machine, or the platform's that is asked for."""
    images = _images(request)
    wanted = _wanted(request, "1.49")
    with_manifests = request.since("1.48") and request.query.flag("manifests")
    if wanted and with_manifests:
        raise Invalid("conflicting options: manifests and platform options cannot both be set")
    image = images.chosen(request["name"], wanted)
    answer = shapes.inspected(request, image, images.snapshots.name)
    if with_manifests:
        answer.manifests = await asyncio.to_thread(image_manifests.summaries, images, image, request["name"])
        answer.descriptor = await asyncio.to_thread(image_manifests.target, images, image, request["name"])
    return response.json(answer)


def _wanted(request: Request, since: str) -> Platform | None:
    """The platform that is asked for, where the API has that."""
    return registry.platform(request) if request.since(since) else None


@route("GET", "/images/{name:.+}/history")
async def history(request: Request) -> Response:
    """What made the image, newest first."""
    steps = _images(request).history(request["name"], _wanted(request, "1.48"))
    return response.json([shapes.history(step) for step in steps])


@route("POST", "/images/load")
async def load(request: Request) -> Response:
    """Images of an archive; progress unless `quiet`."""
    images = _images(request)
    platform = registry.platform(request)
    quiet = request.query.flag("quiet")
    body = Inflow(request)

    def work(report: Callable[[Progress | Message], None]) -> None:
        images.load(body, platform=platform, quiet=quiet, report=report)

    return response.progress(_told(_lines(reporting(work, body))))


async def _told(lines: AsyncIterator[wire.Line]) -> AsyncIterator[wire.Line]:
    """An error of load is always a line of a 200: clients look for it there."""
    try:
        async for line in lines:
            yield line
    except TiffinError as error:
        yield wire.Line(error_detail=wire.ErrorDetail(str(error)), error=str(error))


async def _lines(messages: AsyncIterator[Progress | Message | None]) -> AsyncIterator[wire.Line]:
    async for message in messages:
        if message is not None:
            yield shapes.line(message)


@route("GET", "/images/get")
async def saved(request: Request) -> Response:
    """Several images as one archive."""
    names = request.query.texts("names")
    if not names:
        raise Invalid("no image names given: give names=…")
    return await _archive(request, names)


@route("GET", "/images/{name:.+}/get")
async def saved_one(request: Request) -> Response:
    """One image, or every tag of a repository, as an archive."""
    return await _archive(request, [request["name"]])


async def _archive(request: Request, names: list[str]) -> Response:
    pieces = await asyncio.to_thread(_images(request).save, names, _wanted(request, "1.48"))
    return response.stream(outflow(pieces), _TAR)


@route("POST", "/images/create")
async def created(request: Request) -> Response:
    """Pull (`fromImage`) or import (`fromSrc`)."""
    if request.query.text("fromImage"):
        return registry.pulled(request)
    if request.query.text("fromSrc"):
        return await _import(request)
    raise Invalid("nothing to create: give fromImage or fromSrc")


async def _import(request: Request) -> Response:
    images = _images(request)
    source = request.query.text("fromSrc")
    name, tag = request.query.text("repo"), request.query.text("tag")
    if name and tag:
        name = f"{name}{'@' if ':' in tag else ':'}{tag}"
    changes, message, platform = (
        request.query.texts("changes"),
        request.query.text("message"),
        registry.platform(request),
    )
    body = Inflow(request) if source == "-" else None

    def work(report: Callable[[Message], None]) -> Message:
        with opened(source, body) as stream:
            note = message or f"Imported from {source}"
            image = images.import_(stream, name, changes=changes, message=note, platform=platform)
        return Message(image.id, status=True)

    return response.progress(_lines(reporting(work, body)))


@route("POST", "/images/{name:.+}/tag")
async def tagged(request: Request) -> Response:
    """Another name."""
    repository, tag = request.query.text("repo"), request.query.text("tag")
    if repository.rpartition("/")[2] == "sha256":
        raise Invalid("refusing to create an ambiguous tag using digest algorithm as name")
    target = f"{repository}:{parse_tag(tag)}" if tag else repository
    await asyncio.to_thread(_images(request).tag, request["name"], target)
    return response.empty(201)


@route("DELETE", "/images/{name:.+}")
async def removed(request: Request) -> Response:
    """Untag; delete what has no name left."""
    images = _images(request)
    force, keep_parents = request.query.flag("force"), request.query.flag("noprune")
    platforms = [shapes.platform(text) for text in request.query.texts("platforms")] if request.since("1.50") else []

    def work() -> list[Removed]:
        if not platforms:
            return images.remove(request["name"], force=force, prune=not keep_parents)
        return [item for one in platforms for item in images.remove_platform(request["name"], one, force=force)]

    gone = await asyncio.to_thread(work)
    return response.json([shapes.removal(item) for item in gone])


@route("POST", "/images/prune")
async def pruned(request: Request) -> Response:
    """Remove dangling images; with dangling=false all that no container uses."""
    images = _images(request)
    given = request.query.filters(_PRUNE_FILTERS)
    wanted = _agrees(given, _until(given))
    dangling = given.flag("dangling", True)

    def work() -> tuple[list[Any], int]:
        gone, freed = images.prune(wanted, dangling=dangling)
        if set(given) <= {"dangling"}:  # other filters name what may go
            freed += request.services.registry.pulls.forget()
            freed += 0 if dangling else request.services.bootstraps.forget()
        return gone, freed

    gone, freed = await asyncio.to_thread(work)
    request.services.events.publish("image", "prune", "", {"reclaimed": str(freed)})
    return response.json(
        wire.Pruned(images_deleted=[shapes.removal(item) for item in gone] or None, space_reclaimed=freed)
    )


def _agrees(given: Mapping[str, tuple[str, ...]], until: float | None) -> Callable[[Image], bool]:
    def agrees(image: Image) -> bool:
        labels = image.config.labels
        return (
            (until is None or created_seconds(image.created) < until)
            and labels_match(labels, given.get("label", ()))
            and not any(labels_match(labels, [item]) for item in given.get("label!", ()))
        )

    return agrees


@route("POST", "/commit")
async def committed(request: Request) -> Response:
    """An image of a container."""
    reference = request.query.text("container")
    if not reference:
        raise Invalid("no container given: give container=…")
    config = None
    if request.has_body:
        body = await request.json(containers_wire.Config, required=False)
        config = to_model(body, Config)
    image = await engine.commit(
        request.services.containers,
        _images(request),
        reference,
        repository=request.query.text("repo"),
        tag=request.query.text("tag"),
        author=request.query.text("author"),
        comment=request.query.text("comment"),
        changes=request.query.texts("changes"),
        config=config,
        pause=request.query.flag("pause", True),
    )
    container = request.services.containers.get(reference)
    repository, tag = (request.query.text(key) for key in ("repo", "tag"))
    named = parse_reference(f"{repository}:{tag}" if tag else repository).with_default_tag() if repository else None
    request.services.events.publish(
        "container",
        "commit",
        container.id,
        {
            **(container.config.labels or {}),
            "comment": request.query.text("comment"),
            "imageID": image.id,
            "imageRef": named.familiar if named else "",
            "image": container.config.image,
            "name": container.name,
        },
    )
    return response.json(wire.Committed(id=image.id), status=201)
