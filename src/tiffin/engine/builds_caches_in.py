"""Caches of other builders, read at a build's beginning. What can't be read is told, and the build goes on without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from time import time_ns
from typing import NamedTuple

from tiffin.build.solve import exchange, inline
from tiffin.build.solve.cache import Cache, Step
from tiffin.build.solve.events import Report, VertexCompleted, VertexLog, VertexProgress, VertexStarted
from tiffin.build.solve.imports import Imports, Source
from tiffin.build.solve.request import BuildRequest, CachePlace, CacheStore
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.trail import Contents
from tiffin.build.solve.values import Stack
from tiffin.engine.builds_bases import stack_of
from tiffin.engine.builds_repositories import CacheRepository, Repositories
from tiffin.engine.transfers import Transfers
from tiffin.errors import Invalid, NotFound, TiffinError
from tiffin.images import Images
from tiffin.model.descriptor import (
    INDEX_TYPES,
    MAX_DOCUMENT,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    document,
    parse_descriptor,
    parse_manifest,
)
from tiffin.model.digest import Digest, digest_of, parse_digest
from tiffin.model.image import parse_config
from tiffin.model.platform import Platform, host_platform
from tiffin.model.reference import Reference, parse_reference

_FOREIGN = "this cache is of another builder, whose keys differ: it is left alone\n"


class _Found(NamedTuple):
    """What a cache tells, as `Imports.add` takes it."""

    steps: Mapping[Digest, Step]
    contents: Contents
    blobs: Iterable[Descriptor]
    source: Source


class Caches:
    """Reads caches, and knows the registries that hold them."""

    def __init__(self, images: Images, transfers: Transfers, cache: Cache) -> None:
        self._images, self._cache = images, cache
        self.repositories = Repositories(transfers)

    async def imported(self, request: BuildRequest, report: Report) -> Imports:
        """What the request's caches tell; of a step that several know, the first named counts."""
        imports = Imports()
        imports.known.update(layer for one in self._cache.brought() for layer in one.stack.layers)
        places = {str(place): place for place in request.imports}.values()
        for found in await asyncio.gather(*(self._reading(place, request, report) for place in places)):
            if found is not None:
                imports.add(*found)
                if isinstance(found.source, _Here):  # an image of the store was verified when it came
                    imports.known.update(layer for step in found.steps.values() for layer in step.stack.layers)
        return imports

    async def _reading(self, place: CachePlace, request: BuildRequest, report: Report) -> _Found | None:
        name = f"importing cache manifest from {place}"
        vertex = digest_of(name.encode())
        report(VertexStarted(digest=vertex, name=name))
        found, problem = None, ""
        try:
            found = await self._read(place, request, vertex, report)
        except (TiffinError, OSError) as error:
            problem = str(error) or type(error).__name__
        except BaseException:
            report(VertexCompleted(digest=vertex, error="context canceled"))
            raise
        report(VertexCompleted(digest=vertex, error=problem))
        return found

    async def _read(self, place: CachePlace, request: BuildRequest, vertex: Digest, report: Report) -> _Found:
        platform = request.options.platform or host_platform()
        if place.type == "registry":
            return await self._of_reference(place, request, platform, vertex, report)
        if place.type == "local":
            digest, src = place.attributes.get("digest", ""), place.attributes.get("src", "")
            if not digest:
                raise Invalid("local cache importer requires explicit digest")
            if not src:
                raise Invalid("local cache importer requires src")
            store = await request.client.store(f"local:{src}")
            raw = _checked(await store.read(parse_digest(digest), MAX_DOCUMENT), parse_digest(digest))
            return await self._of_manifest(raw, store, platform, vertex, report)
        raise Invalid(f"unknown cache importer: {place.type}")

    async def _of_reference(
        self, place: CachePlace, request: BuildRequest, platform: Platform, vertex: Digest, report: Report
    ) -> _Found:
        """A repository's cache; before that an image of the store, if it carries one."""
        reference = reference_of(place)
        local = await asyncio.to_thread(self._of_image, reference, platform)
        if local is not None:
            return local
        store = self.repositories.place(reference, await request.client.credentials(reference.domain))
        try:
            raw = (await store.manifest()).raw
        except TiffinError as error:
            if self._is_here(reference):
                raise Invalid("the image carries no cache of this builder") from error
            raise
        return await self._of_manifest(raw, store, platform, vertex, report)

    def _of_image(self, reference: Reference, platform: Platform) -> _Found | None:
        try:
            image = self._images.find(reference, platform)
            steps = {step.key: step for step in inline.read(image.config.raw, stack_of(image))}
        except TiffinError:
            return None
        return _Found(steps, {}, (), _Here()) if steps else None

    def _is_here(self, reference: Reference) -> bool:
        try:
            self._images.find(reference)
        except NotFound:
            return False
        return True

    async def _of_manifest(
        self, raw: bytes, store: CacheStore, platform: Platform, vertex: Digest, report: Report
    ) -> _Found:
        body = document(raw, "the cache's manifest")
        kind = str(body.get("mediaType") or (OCI_INDEX if "manifests" in body else OCI_MANIFEST))
        now = time_ns()
        told = f"inferred cache manifest type: {kind}"
        report(VertexProgress(digest=vertex, id=told, done=True, started=now))
        listed = body.get("manifests" if kind in INDEX_TYPES else "layers")
        if not isinstance(listed, list):
            raise Invalid("the cache's manifest lists nothing")
        blobs = [parse_descriptor(one, "the cache's manifest") for one in listed]
        config = next((one for one in blobs if one.media_type == exchange.MEDIA_TYPE), None)
        if kind not in INDEX_TYPES:
            stated = parse_descriptor(body.get("config"), "the cache's manifest")
            config = stated if stated.media_type == exchange.MEDIA_TYPE else None
        if config is None:
            return await self._of_carrier(raw, kind, blobs, store, platform, vertex, report)
        if config.size > exchange.LARGEST:
            raise Invalid(f"blob {config.digest} is too large ({config.size} > {exchange.LARGEST})")
        found = _checked(await store.read(config.digest, config.size), config.digest)
        offered = {blob.digest: blob for blob in blobs if blob is not config}
        read = await asyncio.to_thread(exchange.read, found, offered)
        if not read.own:
            report(VertexLog(digest=vertex, stream=2, data=_FOREIGN.encode()))
        return _Found(read.steps, read.contents, offered.values(), store)

    async def _of_carrier(
        self,
        raw: bytes,
        kind: str,
        blobs: list[Descriptor],
        store: CacheStore,
        platform: Platform,
        vertex: Digest,
        report: Report,
    ) -> _Found:
        """An image that carries its cache, or an index of such."""
        if kind in INDEX_TYPES:
            chosen = next((one for one in blobs if one.platform == platform), None)
            if chosen is None:
                raise Invalid(f"the cache's index has no image for {platform}")
            if isinstance(store, CacheRepository):
                raw = (await store.at(chosen.digest).manifest()).raw
            else:
                raw = _checked(await store.read(chosen.digest, MAX_DOCUMENT), chosen.digest)
        manifest = parse_manifest(raw)
        if manifest.config.size > MAX_DOCUMENT:
            raise Invalid(f"image configuration is larger than {MAX_DOCUMENT} bytes")
        configuration = _checked(await store.read(manifest.config.digest, manifest.config.size), manifest.config.digest)
        diffs = parse_config(configuration).diff_ids
        if len(diffs) != len(manifest.layers):
            raise Invalid("invalid manifest, layers length mismatch")
        pairs = zip(diffs, manifest.layers, strict=True)
        stack = Stack(tuple(LayerBlob(diff, layer.digest) for diff, layer in pairs))
        steps = {step.key: step for step in inline.read(configuration, stack)}
        if not steps and inline.BUILDKIT in json.loads(configuration):
            report(VertexLog(digest=vertex, stream=2, data=_FOREIGN.encode()))
        return _Found(steps, {}, manifest.layers, store)


class _Here:
    """An image of the store offers no blobs: its layers are here, or the steps are run."""

    async def fetch(self, blob: Descriptor, *_: object) -> None:
        raise NotFound(f"blob {blob.digest} is not here")


def reference_of(place: CachePlace) -> Reference:
    """Raises Invalid."""
    text = place.attributes.get("ref", "")
    if not text:
        raise Invalid("missing ref")
    return parse_reference(text).with_default_tag()


def _checked(raw: bytes, digest: Digest) -> bytes:
    if digest_of(raw) != digest:
        raise Invalid(f"{digest} of the cache is damaged: its content has digest {digest_of(raw)}")
    return raw
