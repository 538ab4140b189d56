"""What a build made, as an image of the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tiffin.build.solve.solved import Solved
from tiffin.content.compression import decompressed
from tiffin.errors import Forbidden
from tiffin.images import Images, host
from tiffin.images.arrival import Parts
from tiffin.images.events import silent
from tiffin.model.descriptor import OCI_CONFIG, OCI_LAYER, Descriptor, manifest_bytes
from tiffin.model.digest import Digest, digest_of
from tiffin.model.image import parse_config
from tiffin.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Exported:
    """digest is the manifest's, config the image's ID."""

    digest: Digest
    config: Digest
    names: tuple[Reference, ...]


def export(images: Images, solved: Solved, names: Sequence[Reference], annotations: Mapping[str, str]) -> Exported:
    """Blocks. Forbidden for a reserved name."""
    names = tuple(name.with_default_tag() for name in names)
    if host.NAME in names:
        raise Forbidden(f"{host.NAME.familiar}: this name is reserved for the root file system of this machine")
    config = parse_config(solved.document())
    blobs = tuple(layer.blob for layer in solved.layers)
    manifest = _annotated(images, config.raw, blobs, annotations) if annotations else None
    with images.blobs.lease() as lease:
        images.arrivals.add(Parts(config, blobs, manifest, names=names), lease, silent)
    images.written()
    for name in names:
        images.publish("tag", config.id, {"name": name.familiar})
    image = images.catalog.image(config.id)
    return Exported(digest_of(image.manifest.raw), config.id, names)


def _annotated(images: Images, config: bytes, blobs: Sequence[Digest], annotations: Mapping[str, str]) -> bytes:
    """A manifest that carries annotations."""
    layers = []
    for blob in blobs:
        with images.blobs.open(blob) as file:
            compression, _ = decompressed(file)
        suffix = f"+{compression}" if compression else ""
        layers.append(Descriptor(OCI_LAYER + suffix, blob, images.blobs.size(blob)))
    plain = json.loads(manifest_bytes(Descriptor(OCI_CONFIG, digest_of(config), len(config)), tuple(layers)))
    return json.dumps({**plain, "annotations": dict(sorted(annotations.items()))}, separators=(",", ":")).encode()
