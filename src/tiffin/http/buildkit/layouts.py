"""An image with its attestations as an OCI layout in a tar: an index of both beneath the layout's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tiffin.content.blobs import BlobStore
from tiffin.http.buildkit.attestations import attached, descriptor
from tiffin.images.saving import blob, directory, document
from tiffin.model.digest import Digest, digest_of
from tiffin.model.image import Image
from tiffin.model.reference import Reference
from tiffin.snapshots.tar import END

INDEX = "application/vnd.oci.image.index.v1+json"


def index(image: Image, manifest: bytes) -> bytes:
    """The image, and what is said about it."""
    platform = image.config.platform
    named = {"architecture": platform.architecture, "os": platform.os}
    own = image.manifest
    described = {
        "mediaType": own.media_type,
        "digest": digest_of(own.raw),
        "size": len(own.raw),
        "platform": named | ({"variant": platform.variant} if platform.variant else {}),
    }
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [described, descriptor(manifest, digest_of(own.raw))],
        }
    )


def archive(
    blobs: BlobStore, image: Image, names: Sequence[Reference], statements: Sequence[tuple[str, bytes]]
) -> tuple[Digest, Iterator[bytes]]:
    """The index's digest, and the tar. Blobs are kept from a sweep while the iterator runs."""
    manifest, config = attached(statements)
    top = index(image, manifest)
    written = [*(data for _, data in statements), config, manifest, top]
    return digest_of(top), _pieces(blobs, image, written, _layout_index(top, names))


def _layout_index(top: bytes, names: Sequence[Reference]) -> bytes:
    manifests: list[dict[str, Any]] = []
    for name in names or (None,):
        entry: dict[str, Any] = {"mediaType": INDEX, "digest": digest_of(top), "size": len(top)}
        if name is not None:
            entry["annotations"] = {
                "io.containerd.image.name": str(name),
                "org.opencontainers.image.ref.name": name.tag or "latest",
            }
        manifests.append(entry)
    return _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})


def _pieces(blobs: BlobStore, image: Image, written: Sequence[bytes], layout: bytes) -> Iterator[bytes]:
    stored = {image.id, digest_of(image.manifest.raw), *(layer.digest for layer in image.manifest.layers)}
    with blobs.lease() as lease:
        for digest in stored:
            blobs.lease_blob(lease, digest)
        for name in ("blobs/", "blobs/sha256/"):
            yield directory(name)
        for digest in sorted(stored):
            yield from blob(blobs, digest)
        for data in written:
            yield from document(f"blobs/sha256/{digest_of(data)[7:]}", data)
        yield from document("index.json", layout)
        yield from document("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        yield END


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
