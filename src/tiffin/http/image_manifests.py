"""The manifests of an image as the API shows them: those of its index, or its only one."""

from collections.abc import Iterable

from tiffin.images import Images
from tiffin.images.indexes import Member
from tiffin.model.descriptor import OCI_INDEX, Descriptor, document
from tiffin.model.digest import Digest, digest_of
from tiffin.model.image import Image
from tiffin.model.platform import Platform
from tiffin.wire import images as wire


def _index(images: Images, image: Image, name: str) -> Digest | None:
    """The index that a name means; without one, or by an ID, that of any of the image's names."""
    index = images.indexes.of(name) if name else None
    if index is not None or (name and images.is_name(name)):
        return index
    return images.indexes.of_image(image)


def summaries(images: Images, image: Image, name: str = "") -> list[wire.ManifestSummary]:
    """Of an index all, whether here or not. name: what the image was asked for by. Blocks."""
    index = _index(images, image, name)
    if index is not None:
        return [_summary(images, member) for member in images.indexes.members(index)]
    if image.reserved:
        return []
    manifest, platform = image.manifest, image.config.platform
    described = Descriptor(
        manifest.media_type, digest_of(manifest.raw), len(manifest.raw), manifest.annotations, platform
    )
    parts = {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
    here = [images.blobs.size(digest) for digest in parts if images.blobs.exists(digest)]
    size = described.size + sum(here)
    return [_summary(images, Member(described, manifest, image, len(here) == len(parts), size))]


def target(images: Images, image: Image, name: str = "") -> wire.OciDescriptor:
    """The document that a name means: an index, or the image's manifest. Blocks."""
    index = _index(images, image, name)
    if index is None:
        raw = image.manifest.raw
        return wire.OciDescriptor(media_type=image.manifest.media_type, digest=digest_of(raw), size=len(raw))
    raw = images.indexes.raw(index)
    kind = str(document(raw, "image index").get("mediaType") or OCI_INDEX)
    return wire.OciDescriptor(media_type=kind, digest=index, size=len(raw))


def containers(images: Images, image: Image) -> int:
    """How many use an image, in whichever of its platforms."""
    return sum(len(images.users.using(one)) for one in (image.id, *images.indexes.beside(image.id)))


def _summary(images: Images, member: Member) -> wire.ManifestSummary:
    image, described = member.image, member.descriptor
    shown = _platform(described.platform or (image.config.platform if image else None))
    attested = member.subject
    kind = "attestation" if attested else "image" if image or _is_image(described) else "unknown"
    summary = wire.ManifestSummary(
        id=described.digest,
        descriptor=wire.OciDescriptor(
            media_type=described.media_type,
            digest=described.digest,
            size=described.size,
            annotations=dict(described.annotations),
            platform=shown,
        ),
        available=member.available,
        size=wire.ManifestSize(content=member.size, total=member.size + (image.size if image else 0)),
        kind=kind,
    )
    if kind == "image":
        summary.image_data = wire.ImageData(
            platform=shown,
            containers=_users(images, [image.id] if image else []),
            size=wire.Unpacked(unpacked=image.size if image else 0),
        )
    if attested:
        summary.attestation_data = wire.AttestationData(for_=attested)
    return summary


def _is_image(described: Descriptor) -> bool:
    return described.platform is not None and described.platform.os != "unknown"


def _users(images: Images, of: Iterable[Digest]) -> list[str]:
    return [user.id for one in of for user in images.users.using(one)]


def _platform(platform: Platform | None) -> wire.PlatformOf:
    if platform is None:
        return wire.PlatformOf()
    return wire.PlatformOf(architecture=platform.architecture, os=platform.os, variant=platform.variant)
