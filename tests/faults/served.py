"""Images that only the fake registry has."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable

from rig.archives import architecture
from rig.registries import Fake, digest_of


def serve(
    registry: Fake, layers: int, *, tag: str = "1", size: int = 200_000, pack: Callable[[bytes], bytes] = gzip.compress
) -> list[str]:
    """An image of layers that nothing else has, of `size` random bytes each; their blobs' digests."""
    tars = []
    for number in range(layers):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo(f"file-{number}")
            member.size = size
            tar.addfile(member, io.BytesIO(os.urandom(size)))
        tars.append(buffer.getvalue())
    rootfs = {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]}
    config = {"architecture": architecture(), "os": "linux", "config": {}, "rootfs": rootfs}
    kind = "application/vnd.oci.image"
    described = {**registry.add_blob(json.dumps(config).encode()), "mediaType": f"{kind}.config.v1+json"}
    suffix = "+gzip" if pack is gzip.compress else ""
    blobs = [{**registry.add_blob(pack(tar)), "mediaType": f"{kind}.layer.v1.tar{suffix}"} for tar in tars]
    manifest = {"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": described, "layers": blobs}
    registry.add_manifest(manifest, tag)
    return [blob["digest"] for blob in blobs]
