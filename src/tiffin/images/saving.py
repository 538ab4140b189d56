"""`save`: images as one archive that is Docker's and an OCI layout at once, as docker 25 and later write it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Protocol

from tiffin.content.blobs import CHUNK, BlobStore
from tiffin.errors import Unsupported
from tiffin.images.referrers import Referrer
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest, digest_of
from tiffin.model.image import Image
from tiffin.model.reference import Reference
from tiffin.snapshots.tar import END, Entry, Kind, entry_header, padding

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(slots=True)
class Saved:
    """One image and the names it is saved under."""

    image: Image
    names: list[Reference] = field(default_factory=list)
    index: Descriptor | None = None
    """The index that the names mean, where it is saved too."""
    beside: tuple[Digest, ...] = ()
    """Its blobs: the index, its other images, attestations."""
    referrers: Sequence[Referrer] = ()

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """All that is saved, in the archive's order."""
        manifest = self.image.manifest
        referring = [blob for one in self.referrers for blob in one.blobs]
        return (
            *(layer.digest for layer in manifest.layers),
            self.image.id,
            digest_of(manifest.raw),
            *self.beside,
            *referring,
        )


class Blobs(Protocol):
    """What an archive takes of `content.blobs.BlobStore`."""

    def size(self, digest: Digest) -> int: ...

    def open(self, digest: Digest) -> IO[bytes]: ...


def archive(blobs: Blobs, images: Sequence[Saved]) -> Iterator[bytes]:
    """The archive, blobs as they lie: what is loaded again has the same manifests and layers, to the byte."""
    yield from (directory("blobs/"), directory("blobs/sha256/"))
    written: set[Digest] = set()
    for saved in images:
        for digest in saved.blobs:
            if digest not in written:
                written.add(digest)
                yield from blob(blobs, digest)
    yield from document("index.json", _index(images))
    yield from document("manifest.json", _manifest(images))
    yield from document("oci-layout", _LAYOUT)
    yield from document("repositories", _repositories(images))
    yield END


def check(blobs: BlobStore, images: Sequence[Saved]) -> None:
    """Before the first byte is sent. Unsupported where an image is not all here, Internal for a damaged blob."""
    for saved in images:
        missing = [layer.digest for layer in saved.image.manifest.layers if not blobs.exists(layer.digest)]
        if saved.image.reserved or missing:
            name = saved.names[0].familiar if saved.names else saved.image.short_id
            raise Unsupported(f"cannot save {name}: it holds the root file system of this machine, which is not stored")
        for layer in saved.image.manifest.layers:
            if blobs.size(layer.digest) != layer.size:  # cut short by a power loss; a manifest may also be wrong
                for _ in blobs.verified(layer.digest):
                    pass


def directory(name: str) -> bytes:
    return entry_header(Entry(name.encode(), Kind.DIRECTORY, 0o755))


def blob(blobs: Blobs, digest: Digest) -> Iterator[bytes]:
    """A member of an OCI layout's tar, in pieces."""
    size = blobs.size(digest)
    yield entry_header(Entry(f"blobs/sha256/{digest[7:]}".encode(), size=size))
    with blobs.open(digest) as file:
        while data := file.read(CHUNK):
            yield data
    yield padding(size)


def document(name: str, data: bytes) -> Iterator[bytes]:
    yield entry_header(Entry(name.encode(), size=len(data)))
    yield data + padding(len(data))


def _index(images: Sequence[Saved]) -> bytes:
    manifests = []
    for saved in images:
        manifest, platform = saved.image.manifest, saved.image.config.platform
        annotations: list[dict[str, str]] = [
            {"io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag or "latest"}
            for name in saved.names
        ]
        for annotation in annotations or [{}]:
            described = Descriptor(
                manifest.media_type, digest_of(manifest.raw), len(manifest.raw), annotation, platform
            )
            if saved.index is not None:
                described = replace(saved.index, annotations={**saved.index.annotations, **annotation})
            manifests.append(described.document())
    referring = {one.digest: one.described for saved in images for one in saved.referrers}
    manifests += referring.values()
    media_type = "application/vnd.oci.image.index.v1+json"
    return _json({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests})


def _manifest(images: Sequence[Saved]) -> bytes:
    return _json(
        [
            {
                "Config": f"blobs/sha256/{saved.image.id[7:]}",
                "RepoTags": [name.familiar for name in saved.names] or None,
                "Layers": [f"blobs/sha256/{layer.digest[7:]}" for layer in saved.image.manifest.layers],
                # by diff ID: layers may be compressed, as they came
                "LayerSources": {
                    diff: layer.document()
                    for diff, layer in zip(saved.image.config.diff_ids, saved.image.manifest.layers, strict=True)
                },
            }
            for saved in images
        ]
    )


def _repositories(images: Sequence[Saved]) -> bytes:
    found: dict[str, dict[str, str]] = {}
    for saved in images:
        layers = saved.image.manifest.layers
        for name in saved.names:
            if layers and name.tag:
                found.setdefault(name.familiar_name, {})[name.tag] = layers[-1].digest[7:]
    return _json(found)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
