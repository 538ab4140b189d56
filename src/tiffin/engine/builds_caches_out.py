"""`--cache-to`: what made a result, written as BuildKit writes it: layers, their configuration, a manifest of both.

Source: moby/buildkit cache/remotecache/export.go; its attributes: docs of cache backends.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns
from typing import BinaryIO

from tiffin.build.dockerfile.gotext import parse_bool
from tiffin.build.solve import exchange
from tiffin.build.solve.directories import Directories
from tiffin.build.solve.events import Report, VertexCompleted, VertexProgress, VertexStarted
from tiffin.build.solve.execution import finished
from tiffin.build.solve.request import CachePlace, CacheStore, Client
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.store import Store
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.trail import Traced, Trail
from tiffin.build.solve.values import Stack
from tiffin.engine.builds_caches_in import reference_of
from tiffin.engine.builds_compression import LEVELS, SUFFIXES, compressed
from tiffin.engine.builds_repositories import Repositories
from tiffin.errors import Invalid, TiffinError, Unsupported
from tiffin.model.descriptor import DOCKER_INDEX, DOCKER_LAYER, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from tiffin.model.digest import Digest, digest_of

_AT_ONCE = 4
_NAMES = {"registry": "exporting cache to registry", "local": "exporting cache to client directory"}


@dataclass(frozen=True, slots=True)
class Options:
    """mode max: layers of all steps, min: those of the result. level None: the compression's own."""

    whole: bool = False
    manifest: bool = True
    oci: bool = True
    compression: str = "gzip"
    level: int | None = None
    force: bool = False
    ignore_error: bool = False


def options_of(place: CachePlace) -> Options:
    """Raises Invalid, Unsupported for attributes that can't be understood."""
    given = place.attributes
    if place.type not in ("registry", "local", "inline"):
        raise Invalid(f'unknown cache exporter: "{place.type}"')
    try:
        if place.type == "registry":
            reference_of(place)
        elif place.type == "local" and not given.get("dest"):
            raise Invalid("local cache exporter requires dest")
        options = _read(given)
    except Invalid as error:
        raise Invalid(f"failed to configure {place.type} cache exporter: {error}") from error
    if options.manifest and not options.oci:
        raise Invalid(
            "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format"
        )
    return options


def _read(given: Mapping[str, str]) -> Options:
    mode = given.get("mode", "min")
    if mode not in ("min", "max"):
        raise Invalid(f"unsupported cache export mode {mode!r}: give min or max")
    compression = given.get("compression", "gzip")
    if compression == "estargz":
        raise Unsupported("compression=estargz is not supported: give gzip, zstd or uncompressed")
    if compression not in SUFFIXES:
        raise Invalid(f"unsupported compression type {compression}")
    level = given.get("compression-level", "")
    if level and not level.removeprefix("-").isdecimal():
        raise Invalid(f"non-integer value {level} specified for compression-level")
    oci = _flag(given, "oci-mediatypes", True)
    return Options(
        whole=mode == "max",
        manifest=_flag(given, "image-manifest", oci),
        oci=oci,
        compression=compression,
        level=min(max(int(level), 0), LEVELS[compression]) if level else None,
        force=_flag(given, "force-compression", False),
        ignore_error=_flag(given, "ignore-error", False),
    )


def _flag(given: Mapping[str, str], name: str, default: bool) -> bool:
    if name not in given:
        return default
    try:
        return parse_bool(given[name]) if given[name] else True
    except ValueError as error:
        raise Invalid(f"failed to parse {name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Places:
    """Where a cache may go to. directories: for what is compressed on the way."""

    repositories: Repositories
    client: Client
    directories: Directories

    async def of(self, place: CachePlace) -> CacheStore:
        if place.type == "local":
            return await self.client.store(f"local:{place.attributes['dest']}")
        reference = reference_of(place)
        return self.repositories.place(reference, await self.client.credentials(reference.domain))


async def export(
    place: CachePlace,
    results: Sequence[tuple[Stack, Trail]],
    places: Places,
    store: Store,
    report: Report,
) -> dict[str, str]:
    """What exporters answer. Raises tiffin.errors, unless the place says that errors are to be passed over."""
    options = options_of(place)
    vertex = digest_of(f"{_NAMES[place.type]}\0{place}\0{time_ns()}".encode())
    report(VertexStarted(digest=vertex, name=_NAMES[place.type]))
    try:
        target = await places.of(place)
        answer = await _Export(options, target, store, places.directories, vertex, report).run(results)
    except (TiffinError, OSError) as error:
        report(VertexCompleted(digest=vertex, error=str(error)))
        if options.ignore_error:
            return {}
        raise
    except BaseException:
        report(VertexCompleted(digest=vertex, error="context canceled"))
        raise
    report(VertexCompleted(digest=vertex))
    return answer


@dataclass(slots=True)
class _Export:
    options: Options
    target: CacheStore
    store: Store
    directories: Directories
    vertex: Digest
    report: Report

    async def run(self, results: Sequence[tuple[Stack, Trail]]) -> dict[str, str]:
        with ExitStack() as undo:
            started = self._begun("preparing build cache for export")
            trail, layers = _together(results, whole=self.options.whole)
            if not layers:
                self._done("skipping cache export for empty result", started)
                return {}
            scratch = await finished(in_thread(undo.enter_context, self.directories.scratch()))
            slots = asyncio.Semaphore(_AT_ONCE)
            created = {step.stack.layers[-1].diff: step.created for step in trail.steps if step.stack.layers}
            stored = await finished(in_thread(self._stored_all, layers, scratch, created))
            self._done("preparing build cache for export", started)
            try:
                async with asyncio.TaskGroup() as group:
                    for blob, opened in {blob.digest: (blob, opened) for blob, opened in stored.values()}.values():
                        group.create_task(self._sent(blob, opened, slots))
            except ExceptionGroup as several:
                raise several.exceptions[0] from several
            blobs = {diff: blob for diff, (blob, _) in stored.items()}
            return await self._described(trail, blobs)

    def _stored_all(
        self, layers: Sequence[LayerBlob], scratch: Path, created: Mapping[Digest, int]
    ) -> dict[Digest, tuple[Descriptor, Callable[[], BinaryIO]]]:
        found = {}
        for layer in layers:
            if layer.diff not in found:
                blob, path = compressed(
                    self.store.blobs,
                    layer,
                    scratch,
                    self.options.compression,
                    level=self.options.level,
                    force=self.options.force,
                )
                notes = {exchange.DIFF_ANNOTATION: str(layer.diff)}
                if layer.diff in created:
                    notes[exchange.CREATED_ANNOTATION] = exchange.moment(created[layer.diff])
                kind = OCI_LAYER if self.options.oci else DOCKER_LAYER
                suffix = SUFFIXES[blob.media_type]
                suffix = suffix if self.options.oci else suffix.replace("+", ".")
                found[layer.diff] = (replace(blob, media_type=kind + suffix, annotations=notes), _opener(path))
        return found

    async def _sent(self, blob: Descriptor, opened: Callable[[], BinaryIO], slots: asyncio.Semaphore) -> None:
        async with slots:
            what = f"writing layer {blob.digest}"
            started = self._begun(what)
            if not await self.target.has(blob.digest):
                await self.target.put(blob, opened)
            self._done(what, started)

    async def _described(self, trail: Trail, blobs: Mapping[Digest, Descriptor]) -> dict[str, str]:
        raw = exchange.written(trail, blobs)
        config = Descriptor(exchange.MEDIA_TYPE, digest_of(raw), len(raw))
        started = self._begun(f"writing config {config.digest}")
        if not await self.target.has(config.digest):
            await self.target.put(config, lambda: io.BytesIO(raw))
        self._done(f"writing config {config.digest}", started)
        listed = [blob.document() for blob in {one.digest: one for one in blobs.values()}.values()]
        kind = OCI_MANIFEST if self.options.manifest else OCI_INDEX if self.options.oci else DOCKER_INDEX
        body = {"schemaVersion": 2, "mediaType": kind}
        if self.options.manifest:
            body |= {"config": config.document(), "layers": listed}
        else:
            body |= {"manifests": [*listed, config.document()]}
        manifest = json.dumps(body, separators=(",", ":")).encode()
        descriptor = Descriptor(kind, digest_of(manifest), len(manifest))
        word = "cache image manifest" if self.options.manifest else "cache manifest"
        started = self._begun(f"writing {word} {descriptor.digest}")
        await self.target.put(descriptor, lambda: io.BytesIO(manifest))
        self._done(f"writing {word} {descriptor.digest}", started)
        return {"cache.manifest": json.dumps(descriptor.document(), separators=(",", ":"))}

    def _begun(self, what: str) -> int:
        started = time_ns()
        self.report(VertexProgress(digest=self.vertex, id=what, started=started))
        return started

    def _done(self, what: str, started: int) -> None:
        self.report(VertexProgress(digest=self.vertex, id=what, done=True, started=started))


def _together(results: Sequence[tuple[Stack, Trail]], *, whole: bool) -> tuple[Trail, list[LayerBlob]]:
    """One trail of several results, and the layers that come along."""
    steps: dict[Digest, Traced] = {}
    contents: dict[tuple[Digest, str], Digest] = {}
    layers: dict[Digest, LayerBlob] = {}
    for output, trail in results:
        steps |= {step.key: step for step in trail.steps}
        contents |= trail.contents
        for stack in (output, *(trail.kept if whole else ())):
            for layer in stack.layers:
                layers.setdefault(layer.diff, layer)
    return Trail(tuple(steps.values()), contents), list(layers.values())


def _opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb", buffering=0)
