"""Descriptors, manifests and indexes of the OCI image specification, and Docker's twins of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiffin.errors import Invalid
from tiffin.model.digest import Digest, parse_digest
from tiffin.model.platform import Platform, normalized

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
MAX_DOCUMENT = 4 << 20  # bytes; the distribution specification's limit for a manifest
MAX_LAYERS = 1000


@dataclass(frozen=True, slots=True)
class Descriptor:
    """media type, digest, size in bytes; with annotations and platform where a document gave them."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    def document(self) -> dict[str, Any]:
        body: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            body["annotations"] = dict(self.annotations)
        if self.platform:
            body["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                body["platform"]["variant"] = self.platform.variant
        return body


@dataclass(frozen=True, slots=True)
class Manifest:
    """One platform's image. `raw` is what was received: its digest is the image's in a registry."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    raw: bytes
    manifests: tuple[Descriptor, ...]


def document(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object, bounded; Invalid names what was being read."""
    if len(raw) > MAX_DOCUMENT:
        raise Invalid(f"{what} is larger than {MAX_DOCUMENT} bytes")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{what} is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Invalid(f"{what} is not a JSON object")
    return body


def _string_map(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {str(key): str(item) for key, item in value.items()}


def parse_descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise Invalid(f"{what}: a descriptor must be a JSON object")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Invalid(f"{what}: a descriptor without a valid size")
    platform = value.get("platform")
    parsed = None
    if isinstance(platform, dict) and platform.get("os") and platform.get("architecture"):
        parsed = normalized(str(platform["os"]), str(platform["architecture"]), str(platform.get("variant") or ""))
    digest = parse_digest(str(value.get("digest", "")))
    annotations = _string_map(value.get("annotations"))
    return Descriptor(str(value.get("mediaType") or ""), digest, size, annotations, parsed)


def parse_manifest(raw: bytes, media_type: str = "") -> Manifest:
    """Invalid where the document is not what its media type says (CVE-2021-41190: one body, two meanings)."""
    body = document(raw, "image manifest")
    stated = str(body.get("mediaType") or media_type or OCI_MANIFEST)
    if "manifests" in body or stated not in MANIFEST_TYPES or (media_type and stated != media_type):
        raise Invalid(f"image manifest: unexpected media type or content ({stated})")
    layers = body.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise Invalid(f"image manifest: layers must be a list of at most {MAX_LAYERS}")
    return Manifest(
        raw,
        stated,
        parse_descriptor(body.get("config"), "image manifest"),
        tuple(parse_descriptor(layer, "image manifest") for layer in layers),
        _string_map(body.get("annotations")),
    )


def parse_index(raw: bytes) -> Index:
    body = document(raw, "image index")
    manifests = body.get("manifests")
    if "layers" in body or "config" in body or not isinstance(manifests, list):
        raise Invalid("image index: unexpected content: no list of manifests")
    return Index(raw, tuple(parse_descriptor(item, "image index") for item in manifests))


def manifest_bytes(config: Descriptor, layers: tuple[Descriptor, ...]) -> bytes:
    """An OCI manifest in canonical form: the same parts always give the same digest."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.document(),
        "layers": [layer.document() for layer in layers],
    }
    return json.dumps(body, separators=(",", ":")).encode()
