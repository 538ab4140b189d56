"""Images of an OCI layout on the client: what `--build-context NAME=oci-layout://…` stands for."""

from __future__ import annotations

from tiffin.build.solve.request import CacheStore
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.values import Stack
from tiffin.errors import Invalid, NotFound
from tiffin.model.descriptor import MAX_DOCUMENT, Manifest, document, parse_index, parse_manifest
from tiffin.model.digest import Digest, digest_of, parse_digest
from tiffin.model.image import ImageConfig, parse_config
from tiffin.model.platform import Platform, choose


async def described(store: CacheStore, digest: str, platform: Platform) -> tuple[Manifest, ImageConfig]:
    """The best image for a platform. Raises Invalid for what is damaged or no image, NotFound where none fits."""
    raw = await _read(store, parse_digest(digest), MAX_DOCUMENT)
    if "manifests" in document(raw, "image index"):
        offered = parse_index(raw).manifests
        index = choose(platform, [one.platform for one in offered])
        if index is None:
            raise NotFound(f"no match for platform in manifest {digest}: not found")
        raw = await _read(store, offered[index].digest, MAX_DOCUMENT)
    manifest = parse_manifest(raw)
    if manifest.config.size > MAX_DOCUMENT:
        raise Invalid(f"image configuration is larger than {MAX_DOCUMENT} bytes")
    config = parse_config(await _read(store, manifest.config.digest, manifest.config.size))
    if len(config.diff_ids) != len(manifest.layers):
        raise Invalid(f"image {manifest.config.digest}: invalid manifest, layers length mismatch")
    return manifest, config


def stack_of(manifest: Manifest, config: ImageConfig) -> Stack:
    pairs = zip(config.diff_ids, manifest.layers, strict=True)
    return Stack(tuple(LayerBlob(diff, layer.digest) for diff, layer in pairs))


async def _read(store: CacheStore, digest: Digest, most: int) -> bytes:
    raw = await store.read(digest, most)
    if digest_of(raw) != digest:
        raise Invalid(f"{digest} of the OCI layout is damaged: its content has digest {digest_of(raw)}")
    return raw
