"""What asks registries: pull, push, /auth, /distribution, search."""

from collections.abc import AsyncIterator
from typing import Any

from tiffin.engine import manifest_lists
from tiffin.engine.transfers import Transfers
from tiffin.errors import Forbidden, Invalid, Unsupported
from tiffin.http import image_shapes as shapes
from tiffin.http import response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.images import Images, Message, Progress
from tiffin.images.pulling import Pull
from tiffin.images.pushing import Push
from tiffin.model.digest import parse_digest
from tiffin.model.platform import Platform, parse_platform
from tiffin.model.reference import DEFAULT_DOMAIN, Reference, parse_reference, parse_tag
from tiffin.registry.credentials import Credentials, from_auth_header, from_document
from tiffin.wire import images as wire

_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def _transfers(request: Request) -> Transfers:
    transfers: Transfers = request.services.registry
    return transfers


def _credentials(request: Request) -> Credentials:
    return from_auth_header(request.headers.get("x-registry-auth", ""))


def platform(request: Request) -> Platform | None:
    """`linux/arm64`, or the JSON object that newer clients send."""
    text = request.query.text("platform")
    if not text:
        return None
    return shapes.platform(text) if text.startswith("{") else parse_platform(text)


def wanted(request: Request) -> Pull:
    """What POST /images/create asks for: without a tag every tag, unless the name brings one or a digest.

    `referrers` is tiffin's own: what refers to the image is brought too.
    """
    name, tag = request.query.text("fromImage"), request.query.text("tag")
    reference = parse_reference(name)
    if tag:
        bare = Reference(reference.domain, reference.path)
        if ":" in tag:
            reference = Reference(bare.domain, bare.path, digest=parse_digest(tag))
        else:
            reference = Reference(bare.domain, bare.path, parse_tag(tag))
    all_tags = not reference.tag and not reference.digest
    referrers = request.query.flag("referrers")
    return Pull(reference, platform(request), all_tags, _credentials(request), referrers)


def pulled(request: Request) -> Response:
    """The stream of a pull."""
    pull = wanted(request)
    images: Images = request.services.images
    reserved = images.catalog.named(pull.reference.with_default_tag())
    if reserved is not None and images.catalog.is_reserved(reserved):
        return response.progress(_reserved(images, pull.reference))
    return response.progress(_lines(_transfers(request).pull(pull)))


async def _reserved(images: Images, reference: Reference) -> AsyncIterator[wire.Line]:
    """The image `host` is never asked of a registry; scripts that pull before they run go on."""
    image = images.find(reference)
    for warning in image.warnings:
        yield wire.Line(status=warning)
    yield wire.Line(status=f"Status: Image is up to date for {reference.with_default_tag().familiar}")


async def _lines(messages: AsyncIterator[Message | Progress]) -> AsyncIterator[wire.Line]:
    try:
        async for message in messages:
            yield shapes.line(message)
    finally:
        await messages.aclose()  # type: ignore[attr-defined]


@route("POST", "/images/{name:.+}/push")
async def pushed(request: Request) -> Response:
    """Push a tag, or with none every tag of the repository."""
    reference = parse_reference(request["name"])
    tag = request.query.text("tag")
    if tag:
        if reference.digest:
            raise Invalid("cannot push a digest reference")
        reference = Reference(reference.domain, reference.path, parse_tag(tag))
    only = platform(request) if request.since("1.46") else None
    images: Images = request.services.images
    named = images.catalog.named(reference.with_default_tag())
    if named is not None and images.catalog.is_reserved(named):
        raise Forbidden(f"{reference.familiar}: the reserved image of this machine can't be pushed")
    return response.progress(_lines(_transfers(request).push(Push(reference, _credentials(request), only))))


@route("POST", "/auth")
async def login(request: Request) -> Response:
    """Check credentials at a registry; some give an identity token for them."""
    document = await request.json(dict)
    given = from_document(document)
    named = {str(key).lower(): value for key, value in document.items()}
    address = str(named.get("serveraddress") or "")
    host = address.removeprefix("https://").removeprefix("http://").partition("/")[0]
    domain = DEFAULT_DOMAIN if not host or host in _HUB else host
    token = await _transfers(request).login(domain, given)
    return response.json(wire.Login(status="Login Succeeded", identity_token=token))


@route("GET", "/distribution/{name:.+}/json")
async def distributed(request: Request) -> Response:
    """What a registry holds under a name, and for which platforms."""
    reference = parse_reference(request["name"])
    remote = await _transfers(request).remote(reference, _credentials(request))
    document = remote.document
    return response.json(
        wire.Distributed(
            descriptor=wire.Described(media_type=document.media_type, digest=document.digest, size=len(document.raw)),
            platforms=[_platform_of(item) for item in remote.platforms],
        )
    )


@route("GET", "/distribution/{name:.+}/manifest")
async def manifest(request: Request) -> Response:
    """A manifest or an index as it lies in its registry, with the image's configuration; tiffin's own."""
    reference = parse_reference(request["name"])
    found = await manifest_lists.find(
        _transfers(request), reference, _credentials(request), insecure=request.query.flag("insecure")
    )
    document = found.document
    return response.json(
        wire.RemoteManifest(
            media_type=document.media_type,
            digest=document.digest,
            size=len(document.raw),
            document=document.raw,
            config=None if document.is_index else found.config,
        )
    )


@route("PUT", "/distribution/{name:.+}/manifest")
async def manifest_list(request: Request) -> Response:
    """Publish a list under a tag, and in its repository the manifests that it names; tiffin's own."""
    target = parse_reference(request["name"])
    if target.digest:
        raise Invalid("cannot push a digest reference")
    given = await request.json(wire.ManifestList)
    sources = [parse_reference(text) for text in given.sources]
    if any(source.digest is None for source in sources):
        raise Invalid("manifest list: sources need a digest")
    done = await manifest_lists.publish(
        _transfers(request),
        target,
        given.document,
        given.media_type,
        sources,
        _credentials(request),
        insecure=request.query.flag("insecure"),
    )
    return response.json(wire.PublishedList(digest=done.digest), status=201)


def _platform_of(item: dict[str, Any]) -> wire.PlatformOf:
    features = item.get("os.features")
    return wire.PlatformOf(
        architecture=str(item.get("architecture") or ""),
        os=str(item.get("os") or ""),
        os_version=str(item.get("os.version") or ""),
        os_features=[str(feature) for feature in features] if isinstance(features, list) else [],
        variant=str(item.get("variant") or ""),
    )


@route("GET", "/images/search")
async def searched(request: Request) -> Response:
    """Not here."""
    raise Unsupported("search: Docker Hub's catalogue can't be asked by this version; search it in a browser")
