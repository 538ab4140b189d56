"""An image store of one's own, and archives for it."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tiffin.content.blobs import BlobStore
from tiffin.content.ledger import Ledger
from tiffin.images import Images, User
from tiffin.model.digest import Digest
from tiffin.snapshots import open_driver

Members = dict[str, bytes]


@dataclass
class Containers:
    """Who uses which image."""

    users: dict[str, list[User]] = field(default_factory=dict)

    def using(self, image: Digest) -> list[User]:
        return self.users.get(image, [])


@dataclass
class Store:
    root: Path
    images: Images
    containers: Containers
    events: list[tuple[str, str, dict[str, str]]]

    def blobs(self) -> set[str]:
        return set(self.images.blobs.digests())

    def is_empty(self) -> bool:
        staging = list((self.root / "snapshots/overlay/staging").iterdir()) + list(
            (self.root / "content/ingest").iterdir()
        )
        return not (self.blobs() or self.images.snapshots.layers() or self.images.select() or staging)


def open_store(root: Path) -> Store:
    ledger = Ledger(root / "ledger.db")
    events: list[tuple[str, str, dict[str, str]]] = []
    images = Images(
        ledger,
        BlobStore(root / "content"),
        open_driver("overlay", root / "snapshots", ledger),
        publish=lambda action, actor, attributes: events.append((action, actor, dict(attributes))),
    )
    containers = Containers()
    images.users = containers
    return Store(root, images, containers, events)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def tar(members: Members, **attributes: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config(*layers: bytes, **run: Any) -> bytes:
    """A configuration document for plain layers."""
    body = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-02T03:04:05Z",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": f"layer {n}"} for n, _ in enumerate(layers)],
    }
    return json.dumps(body).encode()


def docker_archive(
    tags: list[str] | None, *layers: bytes, stored: tuple[bytes, ...] | None = None, **run: Any
) -> Members:
    """As `docker save` wrote it before 25. stored: the layers as they lie in the archive (compressed, or wrong)."""
    document = config(*layers, **run)
    names = [f"{number}/layer.tar" for number, _ in enumerate(layers)]
    manifest = [{"Config": f"{sha256(document)[7:]}.json", "RepoTags": tags, "Layers": names}]
    return {
        f"{sha256(document)[7:]}.json": document,
        **dict(zip(names, stored or layers, strict=True)),
        "manifest.json": json.dumps(manifest).encode(),
    }


def described(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}


def oci_manifest(document: bytes, *layers: bytes, suffix: str = "") -> bytes:
    # spaces that no writer of ours would make: the bytes must survive
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described(document, "application/vnd.oci.image.config.v1+json"),
            "layers": [described(layer, "application/vnd.oci.image.layer.v1.tar" + suffix) for layer in layers],
        },
        indent=3,
    ).encode()


def oci_archive(manifests: list[dict[str, Any]], *blobs: bytes) -> Members:
    index = {"schemaVersion": 2, "manifests": manifests}
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **{f"blobs/sha256/{sha256(blob)[7:]}": blob for blob in blobs},
    }
