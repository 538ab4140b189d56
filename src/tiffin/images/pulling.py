"""`pull`: from a reference to an image in the catalog, told in docker's words."""

import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from tiffin.content.blobs import BlobStore, Lease
from tiffin.content.ledger import Ledger
from tiffin.errors import Forbidden, Invalid, NotFound, TiffinError, Unavailable
from tiffin.images import host
from tiffin.images.arrival import Parts
from tiffin.images.events import Message, Report, silent
from tiffin.images.fetching import Fetches, Waiting
from tiffin.images.indexes import ATTESTATION, SUBJECT_ANNOTATION, TYPE_ANNOTATION
from tiffin.images.origins import Opened, first
from tiffin.images.pulling_layers import Layers
from tiffin.images.referrers import Referrer, referrer
from tiffin.images.service import Images
from tiffin.model.descriptor import (
    DOCKER_CONFIG,
    MAX_DOCUMENT,
    OCI_CONFIG,
    Descriptor,
    Manifest,
    parse_index,
    parse_manifest,
)
from tiffin.model.digest import Digest
from tiffin.model.image import ImageConfig, parse_config
from tiffin.model.platform import Platform, choose, host_platform
from tiffin.model.reference import Reference
from tiffin.registry import referrers
from tiffin.registry.access import Registries
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import NOBODY, Credentials
from tiffin.registry.failures import Busy, Cancelled, Refused, Unreachable
from tiffin.registry.provenance import Provenance
from tiffin.registry.repository import Document, Repository

log = logging.getLogger(__name__)

T = TypeVar("T")

_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "text/html", ""})
_MAX_NESTING = 4
_MAX_ATTESTATIONS = 16  # of one image
_MAX_ATTESTATION = 16 << 20  # bytes; read at once
_MAX_REFERRERS = 256  # of one pull
_LAYER_WORDS = ("tar", "octet-stream")


@dataclass(frozen=True, slots=True)
class Pull:
    """What is asked for: a tag, a digest, or every tag of a repository."""

    reference: Reference
    platform: Platform | None = None
    all_tags: bool = False
    credentials: Credentials = NOBODY
    referrers: bool = False
    """Bring what refers to the image too: signatures, attestations."""


class Pulls:
    """Every pull of the engine. All methods block."""

    def __init__(
        self,
        images: Images,
        ledger: Ledger,
        registries: Registries,
        provenance: Provenance,
        *,
        at_once: int = 3,
        referrers: bool = False,
    ) -> None:
        """referrers: every pull brings them."""
        self._images = images
        self._referrers = referrers
        self._blobs: BlobStore = images.blobs
        self._registries = registries
        self._provenance = provenance
        self._waiting = Waiting(ledger)
        images.kept_blobs.append(self._waiting.digests)
        self._fetches = Fetches(images.blobs, self._waiting, registries.retries, at_once)
        self._layers = Layers(images.blobs, images.snapshots, self._fetches)

    def close(self) -> None:
        """Break off what is being fetched."""
        self._fetches.close()

    def forget(self) -> int:
        """Remove what pulls that were broken off have left; the bytes freed."""
        return self._fetches.forget() + self._images.collect()

    def pull(self, pull: Pull, report: Report, cancellation: Cancellation) -> None:
        """Raises NotFound (`pull access denied for …`, `manifest for … not found: …`), Unreachable, Invalid."""
        reference = pull.reference if pull.all_tags else pull.reference.with_default_tag()
        if reference.with_default_tag() == host.NAME:
            raise Forbidden("host:latest is reserved for the root file system of this machine")
        origins = Opened(self._registries.reading(reference, pull.credentials, cancellation))
        names = [reference]
        if pull.all_tags:
            names = [replace(reference, tag=tag, digest=None) for tag in self._tags(reference, origins)]
        new = False
        for name in names:
            new |= self._one(name, pull, origins, report, cancellation)
            if pull.referrers or self._referrers:
                new |= self._referring(name, origins, report, cancellation)
        shown = reference.familiar_name if pull.all_tags else reference.familiar
        self._told(reference, shown, new, report)

    def again(self, reference: Reference, image: Digest, credentials: Credentials, cancellation: Cancellation) -> None:
        """Bring the blobs of an image that are not here any more. reference: with the digest that it was pulled by.

        Raises as `pull`.
        """
        origins = Opened(self._registries.reading(reference, credentials, cancellation))
        top = first(origins, lambda repository: repository.manifest(str(reference.digest)), reference)
        platform = host_platform()
        with suppress(TiffinError):
            platform = parse_config(self._blobs.read(image)).platform
        manifest = self._chosen(top, platform, reference, origins, [])
        if manifest.config.digest != image:
            raise NotFound(f"{reference.familiar} is not image {image} any more")
        blobs = [manifest.config.digest, *(layer.digest for layer in manifest.layers)]
        try:
            self._arrive(manifest, blobs, origins, silent, cancellation)
        finally:
            self._waiting.let_go(blobs)

    def _told(self, reference: Reference, shown: str, new: bool, report: Report) -> None:
        words = "Downloaded newer image" if new else "Image is up to date"
        report(Message(f"Status: {words} for {shown}", status=True))
        self._images.publish("pull", shown, {"name": reference.familiar_name})

    def _tags(self, reference: Reference, origins: Opened) -> list[str]:
        return first(origins, lambda repository: sorted(repository.tags()), reference)

    def _one(
        self, reference: Reference, pull: Pull, origins: Opened, report: Report, cancellation: Cancellation
    ) -> bool:
        """One tag or digest; whether anything is new."""
        wanted = reference.digest or reference.tag or "latest"
        known = self._known(reference, pull, origins, wanted)
        if known is not None:
            digest, image = known
            report(Message(f"Pulling from {reference.path}", status=True, id=wanted))
            report(Message(f"Digest: {digest}", status=True))
            return self._named(reference, digest, image)
        top = first(origins, lambda repository: repository.manifest(wanted), reference)
        report(Message(f"Pulling from {reference.path}", status=True, id=wanted))
        trail: list[Document] = []
        manifest = self._chosen(top, pull.platform or host_platform(), reference, origins, trail)
        image = self._brought(manifest, reference, origins, report, cancellation)
        with self._blobs.lease() as lease:
            kept = self._beside(trail, origins, lease, cancellation) if top.is_index else set()
            report(Message(f"Digest: {top.digest}", status=True))
            return self._named(reference, top.digest, image, kept)

    def _known(self, reference: Reference, pull: Pull, origins: Opened, wanted: str) -> tuple[Digest, Digest] | None:
        """The digest behind a tag and the image that it was before: nothing but its digest is asked for then."""
        if pull.platform is not None:
            return None
        digest = reference.digest or first(origins, lambda repository: repository.digest(wanted), reference)
        if digest is None:
            return None
        image = self._images.catalog.named(replace(reference, tag=None, digest=digest))
        if self._images.indexes.holds(digest) and not self._blobs.exists(digest):
            return None  # the index was damaged, and set aside
        if image is None or self._images.catalog.image(image).config.platform != host_platform():
            return None
        return digest, image

    def _chosen(
        self, document: Document, platform: Platform, reference: Reference, origins: Opened, trail: list[Document]
    ) -> Manifest:
        """The manifest for a platform, through indexes of indexes. trail: gets the documents on the way to it."""
        trail.append(document)
        if not document.is_index:
            manifest = parse_manifest(document.raw, document.media_type)
            _check(manifest)
            return manifest
        if len(trail) > _MAX_NESTING:
            raise Invalid(f"image index: nested more than {_MAX_NESTING} deep")
        offered = parse_index(document.raw).manifests
        best = choose(platform, [item.platform for item in offered])
        if best is None:
            raise NotFound(f"no matching manifest for {platform} in the manifest list entries")
        descriptor = offered[best]
        below = first(origins, lambda repository: repository.manifest(descriptor.digest), reference)
        if len(below.raw) != descriptor.size or (descriptor.media_type and below.media_type != descriptor.media_type):
            raise Invalid(f"manifest {descriptor.digest}: its size or media type is not what the index promised")
        return self._chosen(below, platform, reference, origins, trail)

    def _beside(self, trail: list[Document], origins: Opened, lease: Lease, cancellation: Cancellation) -> set[Digest]:
        """Keep the indexes on the way to an image's manifest, and the attestations beside it; the blobs' digests.

        An attestation that can't be had keeps nobody from the image.
        """
        kept = {self._blobs.put(document.raw, lease) for document in trail}
        attestations = [
            item
            for item in parse_index(trail[-2].raw).manifests
            if item.annotations.get(TYPE_ANNOTATION) == ATTESTATION
            and item.annotations.get(SUBJECT_ANNOTATION) == trail[-1].digest
        ]
        for item in attestations[:_MAX_ATTESTATIONS]:
            try:
                kept |= self._attestation(item, origins, lease, cancellation)
            except (Refused, Invalid) as error:
                log.warning("attestation %s: %s", item.digest, error)
        return kept

    def _attestation(self, item: Descriptor, origins: Opened, lease: Lease, cancellation: Cancellation) -> set[Digest]:
        document = first(origins, lambda repository: repository.manifest(item.digest))
        return self._artifact(document, origins, lease, cancellation)

    def _artifact(self, document: Document, origins: Opened, lease: Lease, cancellation: Cancellation) -> set[Digest]:
        manifest = parse_manifest(document.raw, document.media_type)
        blobs = (manifest.config, *manifest.layers)
        if sum(blob.size for blob in blobs) > _MAX_ATTESTATION:
            raise Invalid(f"larger than {_MAX_ATTESTATION} bytes")
        kept = {self._blobs.put(document.raw, lease)}
        for blob in blobs:
            self._blobs.lease_blob(lease, blob.digest)
            self._small(blob, origins, lease, cancellation)
            kept.add(blob.digest)
        return kept

    def _referring(self, reference: Reference, origins: Opened, report: Report, cancellation: Cancellation) -> bool:
        """Bring what refers to an image that is here, and what refers to that; whether anything of it is new.

        What can't be had is told, and keeps nobody from the image.
        """
        waiting = self._images.subjects(reference)
        found: list[Referrer] = []
        with self._blobs.lease() as lease:
            for subject in waiting:
                try:
                    listed = first(origins, lambda repository: referrers.listed(repository, subject) or None) or []  # noqa: B023
                except TiffinError as error:
                    cancellation.check()
                    report(Message(f"What refers to {subject} can't be listed: {error}", status=True))
                    continue
                for item in [one for one in listed if one.digest not in waiting][: _MAX_REFERRERS - len(found)]:
                    try:
                        found.append(self._referrer(subject, item.digest, origins, lease, cancellation))
                        waiting.append(item.digest)
                    except TiffinError as error:
                        cancellation.check()
                        report(Message(f"What refers to {subject}: {item.digest}: {error}", status=True))
            new = self._images.referrers.keep(found)
        report(Message(f"Referrers: {len(found)}", status=True))
        return new > 0

    def _referrer(
        self, subject: Digest, digest: Digest, origins: Opened, lease: Lease, cancellation: Cancellation
    ) -> Referrer:
        document = first(origins, lambda repository: repository.manifest(digest))
        found = referrer(document.raw, document.media_type)
        if found is None or found.subject != subject:
            raise Invalid("is listed, and does not refer to it")
        self._artifact(document, origins, lease, cancellation)
        return found

    def _brought(
        self,
        manifest: Manifest,
        reference: Reference,
        origins: Opened,
        report: Report,
        cancellation: Cancellation,
    ) -> Digest:
        """The image's ID, once all of it is here."""
        blobs = [manifest.config.digest, *(layer.digest for layer in manifest.layers)]
        try:
            try:
                self._images.catalog.image(manifest.config.digest)
            except NotFound:
                self._arrive(manifest, blobs, origins, report, cancellation)
                self._provenance.note(reference, [layer.digest for layer in manifest.layers])
        except (Unreachable, Busy, Cancelled):
            raise  # what has come is kept: the next attempt goes on from there
        except BaseException as error:
            self._fetches.drop(blobs)
            self._waiting.let_go(None if isinstance(error, Unavailable) else blobs)
            self._images.collect()
            raise
        self._waiting.let_go(blobs)
        return manifest.config.digest

    def _arrive(
        self, manifest: Manifest, blobs: list[Digest], origins: Opened, report: Report, cancellation: Cancellation
    ) -> None:
        with self._blobs.lease() as lease:
            for digest in blobs:
                self._blobs.lease_blob(lease, digest)
            config = self._config(manifest.config, origins, lease, cancellation)
            if len(config.diff_ids) != len(manifest.layers):
                raise Invalid("invalid manifest, layers length mismatch")
            if config.platform.os != "linux":
                raise Invalid(f'image operating system "{config.platform.os}" cannot be used on this platform')
            with self._images.arrivals.arriving():
                self._layers.bring(manifest, config, origins, report, cancellation)
                layers = tuple(layer.digest for layer in manifest.layers)
                parts = Parts(config, layers, manifest.raw, manifest.media_type)
                self._images.arrivals.add(parts, lease, silent)

    def _config(self, descriptor: Descriptor, origins: Opened, lease: Lease, cancellation: Cancellation) -> ImageConfig:
        if descriptor.size > MAX_DOCUMENT:
            raise Invalid(f"image configuration is larger than {MAX_DOCUMENT} bytes")
        self._small(descriptor, origins, lease, cancellation)
        return parse_config(self._blobs.read(descriptor.digest))

    def _small(self, descriptor: Descriptor, origins: Opened, lease: Lease, cancellation: Cancellation) -> None:
        """Have a blob that fits into memory."""
        if not self._blobs.exists(descriptor.digest):
            with self._blobs.writer(lease) as writer:
                writer.write(self._small_bytes(descriptor, origins, cancellation))
                writer.commit(descriptor.digest, descriptor.size)

    def _small_bytes(self, descriptor: Descriptor, origins: Opened, cancellation: Cancellation) -> bytes:
        def read(repository: Repository) -> bytes:
            answer, _ = repository.blob(descriptor.digest, 0, cancellation)
            with answer:
                return answer.body(descriptor.size)

        for _ in range(self._registries.retries.attempts - 1):
            try:
                return first(origins, read)
            except (Unreachable, Busy):
                cancellation.wait(self._registries.retries.pause)
        return first(origins, read)

    def _named(self, reference: Reference, digest: Digest, image: Digest, kept: Collection[Digest] = ()) -> bool:
        """Give the image its tag and its digest; whether either is new.

        kept: where the digest is an index's, its document and what else of it is to stay.
        """
        catalog, indexes = self._images.catalog, self._images.indexes
        by_digest = replace(reference, tag=None, digest=digest)
        names = [by_digest] if reference.digest else [reference, by_digest]
        of_index = bool(kept) or indexes.holds(digest)
        named = indexes.first(digest, image) if of_index else image
        # a name that meant an index, and doesn't any more, is given anew: that takes the index off it
        changed = [
            name for name in names if catalog.named(name) != named or (indexes.of(name) is not None and not of_index)
        ]
        for name in () if of_index else changed:
            catalog.tag(name, named)
        new = names[0] in changed
        if of_index:
            # in one step: whoever asks for another platform of the name must not find it without its index
            new |= indexes.attach(changed, digest, image, kept, first=named)
            new |= indexes.attach(names, digest, image, kept)
            best = indexes.first(digest, image)  # another pull may have brought a better one meanwhile
            if best != named:
                indexes.attach(names, digest, image, kept, first=best)
        if changed:
            self._images.written()
        return new


def _check(manifest: Manifest) -> None:
    """Refuse what is no image: charts, signatures, other artifacts."""
    if manifest.config.media_type not in _CONFIGS:
        raise Invalid(
            f'invalid media type: encountered remote "{manifest.config.media_type}" when fetching: it is no image'
        )
    for layer in manifest.layers:
        if not any(word in layer.media_type for word in _LAYER_WORDS) or "encrypted" in layer.media_type:
            raise Invalid(f"invalid media type: layer {layer.digest[7:19]} is {layer.media_type!r}")
