"""The documents of what was built: a manifest for each platform, attestations beside them, an index of several.

Source: OCI image specification (manifest.md, image-index.md); BuildKit's docs/attestations/attestation-storage.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiffin.build.solve.solved import Solved
from tiffin.content.blobs import BlobStore
from tiffin.content.compression import decompressed
from tiffin.errors import Invalid
from tiffin.images.indexes import ATTESTATION, SUBJECT_ANNOTATION, TYPE_ANNOTATION
from tiffin.model.descriptor import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    manifest_bytes,
    parse_manifest,
)
from tiffin.model.digest import Digest, digest_of
from tiffin.model.image import ImageConfig, parse_config
from tiffin.model.platform import Platform, choose, host_platform
from tiffin.model.reference import Reference

STATEMENT = "application/vnd.in-toto+json"
PREDICATE = "in-toto.io/predicate-type"
_NOWHERE = Platform("unknown", "unknown")
Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto statement about an image. kind: its predicate's type."""

    kind: str
    raw: bytes


Attest = Callable[[Solved, Digest, Sequence[Statement]], Sequence[Statement]]
"""What is to be said of a result, by its manifest's digest; given what was said when the name was last built."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """By key. manifests and descriptors: for each platform, those under "" for every one."""

    manifests: Mapping[str, Texts] = field(default_factory=dict)
    descriptors: Mapping[str, Texts] = field(default_factory=dict)
    index: Texts = field(default_factory=dict)
    index_descriptor: Texts = field(default_factory=dict)

    def check(self, platforms: Sequence[str], *, several: bool) -> None:
        """Raises Invalid, in BuildKit's words."""
        for named in {*self.manifests, *self.descriptors} - {"", *platforms}:
            raise Invalid(f"invalid annotation: no platform {named} found in source")
        if not several and (self.index or self.index_descriptor):
            raise Invalid("index annotations not supported for single platform export")


@dataclass(frozen=True, slots=True)
class Wanted:
    """names       without any an image is dangling
    several        an index, though there be one image only
    """

    names: tuple[Reference, ...] = ()
    annotations: Annotations = field(default_factory=Annotations)
    several: bool = False
    attest: Attest | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """One platform's image. layers: their blobs, lowest first."""

    config: ImageConfig
    manifest: Manifest
    layers: tuple[Digest, ...]
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class Composed:
    """top: of the index, or of the only manifest. documents: all but the layers, by digest."""

    top: Descriptor
    images: tuple[Described, ...]
    documents: Mapping[Digest, bytes]

    @property
    def is_index(self) -> bool:
        return self.top.media_type == OCI_INDEX

    @property
    def first(self) -> Described:
        """The best for this machine."""
        return self.images[choose(host_platform(), [one.config.platform for one in self.images]) or 0]

    @property
    def blobs(self) -> tuple[Digest, ...]:
        layers = (digest for one in self.images for digest in one.layers)
        return tuple(dict.fromkeys((*layers, *self.documents)))


def compose(
    blobs: BlobStore, results: Mapping[str, Solved], wanted: Wanted, before: Mapping[Digest, Sequence[Statement]]
) -> Composed:
    """results: by platform. before: what the names' last build said of images, by their manifests. Blocks.

    Raises Invalid for annotations of what there is not.
    """
    documents: dict[Digest, bytes] = {}
    images, attested = [], []
    for platform, solved in results.items():
        image = _described(blobs, solved, platform, wanted.annotations)
        images.append(image)
        documents |= {image.config.id: image.config.raw, image.descriptor.digest: image.manifest.raw}
        digest = image.descriptor.digest
        if wanted.attest and (statements := wanted.attest(solved, digest, before.get(digest, ()))):
            attested.append(_attached(statements, digest, documents))
    several = wanted.several or len(images) > 1 or bool(attested)
    wanted.annotations.check([*results], several=several)
    if not several:
        return Composed(images[0].descriptor, tuple(images), documents)
    raw = _index([*(one.descriptor for one in images), *attested], wanted.annotations.index)
    documents[digest_of(raw)] = raw
    top = Descriptor(OCI_INDEX, digest_of(raw), len(raw), dict(wanted.annotations.index_descriptor))
    return Composed(top, tuple(images), documents)


def _described(blobs: BlobStore, solved: Solved, platform: str, annotations: Annotations) -> Described:
    config = parse_config(solved.document())
    layers = tuple(layer.blob for layer in solved.layers)
    listed = tuple(_layer(blobs, layer) for layer in layers)
    raw = manifest_bytes(Descriptor(OCI_CONFIG, config.id, len(config.raw)), listed)
    said = _of(annotations.manifests, platform)
    if said:
        raw = _json({**json.loads(raw), "annotations": said})
    described = Descriptor(
        OCI_MANIFEST, digest_of(raw), len(raw), _of(annotations.descriptors, platform), config.platform
    )
    return Described(config, parse_manifest(raw, OCI_MANIFEST), layers, described)


def _layer(blobs: BlobStore, blob: Digest) -> Descriptor:
    with blobs.open(blob) as file:
        compression, _ = decompressed(file)
    return Descriptor(OCI_LAYER + (f"+{compression}" if compression else ""), blob, blobs.size(blob))


def _of(texts: Mapping[str, Texts], platform: str) -> dict[str, str]:
    found = {**texts.get("", {}), **(texts.get(platform, {}) if platform else {})}
    return dict(sorted(found.items()))


def _attached(statements: Sequence[Statement], image: Digest, documents: dict[Digest, bytes]) -> Descriptor:
    """The manifest that holds statements, as an index names it: no platform, and the image that they are about."""
    layers = []
    for one in statements:
        digest = digest_of(one.raw)
        documents[digest] = one.raw
        layers.append(Descriptor(STATEMENT, digest, len(one.raw), {PREDICATE: one.kind}))
    rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    config = _json({"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs})
    raw = manifest_bytes(Descriptor(OCI_CONFIG, digest_of(config), len(config)), tuple(layers))
    documents |= {digest_of(config): config, digest_of(raw): raw}
    annotations = {SUBJECT_ANNOTATION: str(image), TYPE_ANNOTATION: ATTESTATION}
    return Descriptor(OCI_MANIFEST, digest_of(raw), len(raw), annotations, _NOWHERE)


def _index(manifests: Sequence[Descriptor], annotations: Texts) -> bytes:
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [one.document() for one in manifests],
    }
    if annotations:
        body["annotations"] = dict(sorted(annotations.items()))
    return _json(body)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
