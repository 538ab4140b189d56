"""Archives of images as they come to `load`: taken into the blob store in one pass, then read as what they are.

Three layouts, often in one archive: Docker's (manifest.json), OCI's (index.json), Docker's before 1.10 (repositories).
"""

import json
import posixpath
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tiffin.content.blobs import BlobStore, BlobWriter, Lease
from tiffin.content.compression import Readable, decompressed
from tiffin.content.verified import Hashed
from tiffin.errors import Invalid, NotFound
from tiffin.images.arrival import Parts
from tiffin.images.referrers import Referrer, referrer
from tiffin.model.descriptor import (
    CONFIG_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_DOCUMENT,
    Descriptor,
    Manifest,
    document,
    parse_index,
    parse_manifest,
)
from tiffin.model.digest import Digest
from tiffin.model.image import ImageConfig, config_bytes, parse_config
from tiffin.model.platform import Platform, choose, host_platform, normalized, same_architecture
from tiffin.model.reference import Reference, parse_reference
from tiffin.snapshots.tar import Kind, Limits, TarReader

_MEMBERS = Limits(entries=20_000)  # each becomes a durable blob
_MAX_NESTING = 4
_SETTLING = 2  # blobs at once
_MAGIC = slice(257, 262)  # of a tar's first header
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class Archive:
    """The members of an archive, as blobs under a lease."""

    def __init__(self, blobs: BlobStore, lease: Lease, layer: Callable[[Digest], object] = lambda digest: None) -> None:
        """layer: called with what looks like an uncompressed layer, while the rest still comes."""
        self._blobs = blobs
        self._layer = layer
        self._lease = lease
        self._members: dict[str, Digest] = {}
        self._links: dict[str, str] = {}

    def take(self, stream: Readable) -> None:
        """Read the whole archive, whatever it is compressed with. Invalid where it is damaged."""
        _, plain = decompressed(stream)
        reader = TarReader(plain, _MEMBERS)
        with _Settling() as settling:
            self._take(reader, settling)
            reader.drain()

    def _take(self, reader: TarReader, settling: "_Settling") -> None:
        for entry in reader:
            name = _member(entry.name)
            if entry.kind is Kind.FILE:
                self._members[name] = self._taken(reader, settling)
            elif entry.kind is Kind.SYMLINK:
                self._links[name] = _member(posixpath.join(posixpath.dirname(name), _text(entry.link)).encode())
            elif entry.kind is Kind.LINK:
                self._links[name] = _member(entry.link)

    def _taken(self, reader: TarReader, settling: "_Settling") -> Digest:
        with ExitStack() as undo:
            writer = undo.enter_context(self._blobs.writer(self._lease))
            first = data = reader.read()
            while data:
                writer.write(data)
                data = reader.read()
            digest = writer.seal()
            settling.add(writer, digest, undo.pop_all(), self._layer if first[_MAGIC] == b"ustar" else _ignored)
        return digest

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None

    def find(self, name: str) -> Digest | None:
        name = _member(name.encode())
        for _ in range(8):  # links to links; not for ever
            if name in self._members:
                return self._members[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def digest(self, name: str) -> Digest:
        digest = self.find(name)
        if digest is None:
            raise Invalid(f"the archive has no {name}: it is incomplete")
        return digest

    def read(self, name: str) -> bytes:
        return self._blobs.read(self.digest(name), MAX_DOCUMENT)

    def blob(self, descriptor: Descriptor) -> Digest:
        """A blob of the OCI layout, whose name must be its digest."""
        name = "blobs/" + descriptor.digest.replace(":", "/")
        digest = self.find(name)
        if digest is None:
            raise NotFound(f"the archive has no {name}: it is incomplete")
        if digest != descriptor.digest:
            raise Invalid(f"{name}: its content has digest {digest}")
        return digest

    def has_blob(self, digest: Digest) -> bool:
        return self.find("blobs/" + digest.replace(":", "/")) is not None


class _Settling:
    """Blobs that are made durable while the next come: the disk and the client need not wait for each other."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_SETTLING, "blobs")
        self._room = threading.BoundedSemaphore(2 * _SETTLING)
        self._settled: list[Future[None]] = []

    def add(self, writer: BlobWriter, digest: Digest, files: ExitStack, after: Callable[[Digest], object]) -> None:
        self._room.acquire()
        self._settled.append(self._threads.submit(self._settle, writer, digest, files, after))

    def _settle(self, writer: BlobWriter, digest: Digest, files: ExitStack, after: Callable[[Digest], object]) -> None:
        try:
            with files:
                writer.settle(digest)
            after(digest)
        finally:
            self._room.release()

    def __enter__(self) -> "_Settling":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Waits for all; raises what befell the first, unless something else has."""
        self._threads.shutdown()
        if kind is None:
            for one in self._settled:
                one.result()


def _ignored(digest: Digest) -> None:
    pass


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _member(name: bytes) -> str:
    return posixpath.normpath("/" + _text(name)).lstrip("/")


def images(archive: Archive, blobs: BlobStore, platform: Platform | None) -> Iterator[Parts]:
    """Every image of an archive. Invalid where it is none."""
    if "manifest.json" in archive and (platform is None or "index.json" not in archive):
        yield from _docker(archive, platform)
    elif "index.json" in archive:
        yield from _oci(archive, platform)
    elif "repositories" in archive:
        yield from _legacy(archive, blobs)
    else:
        raise Invalid(
            "invalid archive: it has none of manifest.json, index.json and repositories; "
            "to make an image of a root file system, use import"
        )


def _names(values: object) -> tuple[Reference, ...]:
    if not isinstance(values, list):
        return ()
    names = [parse_reference(str(value)) for value in values]
    if any(name.digest or not name.tag for name in names):
        raise Invalid(f"invalid tag in the archive: {values}")
    return tuple(names)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An index in an archive. images: those whose blobs the archive has; blobs: the index's and its attestations'."""

    name: Reference
    index: Digest
    images: tuple[Parts, ...]
    blobs: tuple[Digest, ...]


def referrers(archive: Archive) -> Iterator[Referrer]:
    """The artifacts that `index.json` lists beside the images: what refers to these by `subject`."""
    if "index.json" not in archive:
        return
    for descriptor in parse_index(archive.read("index.json")).manifests:
        if descriptor.media_type in MANIFEST_TYPES and archive.has_blob(descriptor.digest):
            found = referrer(archive.read(_blob_name(archive.blob(descriptor))), descriptor.media_type)
            if found is not None and all(archive.has_blob(blob) for blob in found.blobs):
                yield found


def bundles(archive: Archive) -> Iterator[Bundle]:
    """The indexes of several platforms that an archive has names for. Nothing where they are damaged."""
    if "index.json" not in archive:
        return
    for descriptor in parse_index(archive.read("index.json")).manifests:
        if descriptor.media_type in INDEX_TYPES and archive.has_blob(descriptor.digest):
            for name in _annotated(descriptor):
                with suppress(Invalid, NotFound):
                    yield _bundle(archive, descriptor, name)


def _bundle(archive: Archive, descriptor: Descriptor, name: Reference) -> Bundle:
    found, blobs = [], [archive.blob(descriptor)]
    for item in parse_index(archive.read(_blob_name(descriptor.digest))).manifests:
        if item.media_type in INDEX_TYPES or not archive.has_blob(item.digest):
            continue
        manifest = parse_manifest(archive.read(_blob_name(archive.blob(item))), item.media_type)
        parts = [archive.blob(one) for one in (manifest.config, *manifest.layers)]
        blobs.append(item.digest)
        if _is_image(item):
            config = parse_config(archive.read(_blob_name(parts[0])))
            found.append(Parts(config, tuple(parts[1:]), manifest.raw, manifest.media_type))
        else:
            blobs += parts
    return Bundle(name, descriptor.digest, tuple(found), tuple(blobs))


def _docker(archive: Archive, platform: Platform | None) -> Iterator[Parts]:
    try:
        entries = json.loads(archive.read("manifest.json"))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"manifest.json is not valid JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Invalid("manifest.json must be a list of objects")
    originals = _original_manifests(archive)
    for entry in entries:
        config = parse_config(archive.read(str(entry.get("Config", ""))))
        if platform is not None and not same_architecture(platform, config.platform):
            continue
        layers = entry.get("Layers") or []
        if not isinstance(layers, list):
            raise Invalid("manifest.json: Layers must be a list")
        names = _names(entry.get("RepoTags"))
        original = originals.get(config.id)
        digests = tuple(archive.digest(str(layer)) for layer in layers)
        # the manifest it came with keeps its digest in registries, if it speaks of these very blobs
        if original and tuple(layer.digest for layer in original.layers) == digests:
            yield Parts(config, digests, original.raw, original.media_type, names)
        else:
            yield Parts(config, digests, names=names)


def _original_manifests(archive: Archive) -> dict[Digest, Manifest]:
    if "index.json" not in archive:
        return {}
    try:
        found = [manifest for _, manifest in _manifests(archive, archive.read("index.json"), None, 0)]
    except (Invalid, NotFound):
        return {}  # manifest.json says all that is needed
    return {manifest.config.digest: manifest for manifest in found}


def _oci(archive: Archive, platform: Platform | None) -> Iterator[Parts]:
    if "oci-layout" in archive:
        version = str(document(archive.read("oci-layout"), "oci-layout").get("imageLayoutVersion", ""))
        if not version.startswith("1."):
            raise Invalid(f"oci-layout: version {version!r} is not supported")
    index = archive.read("index.json")
    found = False
    for descriptor, manifest in _manifests(archive, index, platform or host_platform(), 0):
        config = parse_config(archive.read(_blob_name(archive.blob(manifest.config))))
        alone = descriptor.media_type not in INDEX_TYPES  # of an index, its words have decided
        if alone and platform is not None and not same_architecture(platform, config.platform):
            continue
        found = True
        layers = tuple(archive.blob(layer) for layer in manifest.layers)
        yield Parts(config, layers, manifest.raw, manifest.media_type, _annotated(descriptor))
    if not found:
        raise NotFound(f"the archive has no image for {platform or host_platform()}")


def _manifests(
    archive: Archive, index: bytes, platform: Platform | None, depth: int
) -> Iterator[tuple[Descriptor, Manifest]]:
    """The image manifests of an index: of a nested one only the best for the platform (all of them for None)."""
    if depth > _MAX_NESTING:
        raise Invalid(f"image index: nested more than {_MAX_NESTING} deep")
    for descriptor in parse_index(index).manifests:
        raw = archive.read("blobs/" + archive.blob(descriptor).replace(":", "/"))
        if descriptor.media_type not in INDEX_TYPES:
            manifest = parse_manifest(raw, descriptor.media_type)
            if manifest.config.media_type in CONFIG_TYPES or referrer(raw, descriptor.media_type) is None:
                yield descriptor, manifest
            continue
        # a platform whose blobs the archive leaves out is not on offer
        offered = [item for item in parse_index(raw).manifests if archive.has_blob(item.digest) and _is_image(item)]
        if platform is None:
            chosen = offered
        else:
            best = choose(platform, [item.platform for item in offered])
            chosen = [] if best is None else [offered[best]]
        for item in chosen:
            below = archive.read("blobs/" + archive.blob(item).replace(":", "/"))
            if item.media_type in INDEX_TYPES:
                inner = _manifests(archive, below, platform, depth + 1)
                yield from ((descriptor, manifest) for _, manifest in inner)
            else:
                yield descriptor, parse_manifest(below, item.media_type)


def _blob_name(digest: Digest) -> str:
    return "blobs/" + digest.replace(":", "/")


def _is_image(descriptor: Descriptor) -> bool:
    return "vnd.docker.reference.type" not in descriptor.annotations  # attestations of BuildKit


def _annotated(descriptor: Descriptor) -> tuple[Reference, ...]:
    for key in _NAME_ANNOTATIONS:
        value = descriptor.annotations.get(key)
        # ref.name may be a mere tag, which names nothing here
        if value and (key == _NAME_ANNOTATIONS[0] or "/" in value or ":" in value):
            try:
                return (parse_reference(value).with_default_tag(),)
            except Invalid:
                continue
    return ()


def _legacy(archive: Archive, blobs: BlobStore) -> Iterator[Parts]:
    repositories = document(archive.read("repositories"), "repositories")
    names: dict[str, list[Reference]] = {}
    for repository, tags in repositories.items():
        if not isinstance(tags, dict):
            raise Invalid("repositories: must map names to tags to images")
        for tag, image in tags.items():
            names.setdefault(str(image), []).append(parse_reference(f"{repository}:{tag}"))
    for image, references in names.items():
        config, layers = _legacy_image(archive, blobs, image)
        yield Parts(config, layers, names=tuple(references))


def _legacy_image(archive: Archive, blobs: BlobStore, image: str) -> tuple[ImageConfig, tuple[Digest, ...]]:
    chain: list[dict[str, Any]] = []
    layers: list[Digest] = []
    current: str | None = image
    while current:
        if len(chain) > 1000:
            raise Invalid("repositories: an image with more than 1000 ancestors")
        body = document(archive.read(f"{current}/json"), f"{current}/json")
        chain.insert(0, body)
        layers.insert(0, archive.digest(f"{current}/layer.tar"))
        current = str(body["parent"]) if body.get("parent") else None
    top = chain[-1]
    history = tuple(_legacy_history(body) for body in chain)
    diff_ids = []
    for layer in layers:
        with blobs.open(layer) as file:
            hashed = Hashed(decompressed(file)[1])
            while hashed.read(1 << 20):
                pass
        diff_ids.append(hashed.digest)
    run = top.get("config")
    platform = normalized(str(top.get("os") or "linux"), str(top.get("architecture") or host_platform().architecture))
    created = str(top.get("created") or datetime.fromtimestamp(0, UTC).isoformat().replace("+00:00", "Z"))
    raw = config_bytes(platform, tuple(diff_ids), run if isinstance(run, dict) else {}, history, created=created)
    return parse_config(raw), tuple(layers)


def _legacy_history(body: dict[str, Any]) -> dict[str, Any]:
    command = (body.get("container_config") or {}).get("Cmd") or []
    return {"created": str(body.get("created") or ""), "created_by": " ".join(map(str, command))}
