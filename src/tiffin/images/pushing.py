"""`push`: an image's blobs and its manifest, byte for byte as they lie in the store, told in docker's words."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from tiffin.content.blobs import Lease
from tiffin.errors import Invalid, NotFound, TiffinError
from tiffin.images.events import Message, Progress, Report
from tiffin.images.indexes import Member
from tiffin.images.service import Images
from tiffin.model.descriptor import OCI_INDEX, Descriptor, Manifest, document
from tiffin.model.digest import Digest, digest_of
from tiffin.model.image import Image
from tiffin.model.platform import Platform
from tiffin.model.reference import Reference
from tiffin.registry import referrers, uploads
from tiffin.registry.access import Registries
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import NOBODY, Credentials
from tiffin.registry.failures import Refused
from tiffin.registry.provenance import Provenance
from tiffin.registry.repository import Repository
from tiffin.registry.session import Unauthorized

_TELL_EVERY = 0.1  # seconds
_MOUNTS_TRIED = 3


@dataclass(frozen=True, slots=True)
class Push:
    """A tag, or with none every tag of the repository. platform: of an index that one's image alone."""

    reference: Reference
    credentials: Credentials = NOBODY
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class _Sending:
    """What one push of one image works with."""

    repository: Repository
    reference: Reference
    report: Report
    cancellation: Cancellation

    @property
    def tag(self) -> str:
        return self.reference.tag or "latest"


class Pushes:
    """Every push of the engine. at_once: how many layers. All methods block."""

    def __init__(self, images: Images, registries: Registries, provenance: Provenance, *, at_once: int = 5) -> None:
        self._images = images
        self._registries = registries
        self._provenance = provenance
        self._at_once = at_once
        self._slots = threading.BoundedSemaphore(at_once)

    def chosen(self, push: Push) -> list[tuple[Reference, Image]]:
        """What would be pushed. NotFound in docker's words, Invalid for the reserved image."""
        reference = push.reference
        if reference.digest:
            raise Invalid("cannot push a digest reference")
        catalog = self._images.catalog
        if reference.tag:
            digest = catalog.named(reference)
            tags = [(reference, digest)] if digest else []
        else:
            tags = list(catalog.tags_of(reference))
        if not tags:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        found = [(name, catalog.image(digest)) for name, digest in tags]
        if push.platform is not None:
            found = [(name, self._images.chosen(str(name), push.platform)) for name, _ in tags]
        if any(image.reserved for _, image in found):
            raise Invalid(f"{reference.familiar}: the reserved image of this machine can't be pushed")
        return found

    def push(self, push: Push, report: Report, cancellation: Cancellation) -> None:
        """Raises NotFound, Refused (`denied: …`), Unreachable."""
        report(Message(f"The push refers to repository [{push.reference.name}]", status=True))
        chosen = self.chosen(push)
        repository = self._registries.writing(push.reference, push.credentials, cancellation)
        try:
            for reference, image in chosen:
                sending = _Sending(repository, reference, report, cancellation)
                index = None if push.platform else self._images.indexes.of(reference)
                members = self._images.indexes.members(index) if index else []
                if index and self._images.indexes.whole(members):
                    self._index(index, members, image, sending)
                else:
                    self._image(image, sending, instead_of=index)
        except Unauthorized as error:  # docker's push says it without the request
            raise error.why from error

    def _image(self, image: Image, sending: _Sending, *, instead_of: Digest | None = None) -> None:
        """instead_of: the index that can't be sent, for not all of it is here."""
        manifest = image.manifest
        digest, size = digest_of(manifest.raw), len(manifest.raw)
        with self._images.blobs.lease() as lease:
            self._content(manifest, image.config.diff_ids, lease, sending)
            sending.repository.put_manifest(sending.tag, manifest.raw, manifest.media_type)
        self._referring([digest], sending)
        self._remember(sending.reference, digest, image)
        self._done(digest, size, sending)
        if instead_of is not None:
            raw = self._images.indexes.raw(instead_of)
            kind = str(document(raw, "image index").get("mediaType") or OCI_INDEX)
            note = {
                "manifestPushedInsteadOfIndex": True,
                "originalIndex": Descriptor(kind, instead_of, len(raw)).document(),
                "selectedManifest": Descriptor(
                    manifest.media_type, digest, size, platform=image.config.platform
                ).document(),
            }
            sending.report(Message("", aux=note))

    def _index(self, index: Digest, members: Sequence[Member], image: Image, sending: _Sending) -> None:
        """An index with all that it names, attestations too, byte for byte."""
        indexes, blobs = self._images.indexes, self._images.blobs
        nested = indexes.nested(index)
        with blobs.lease() as lease:
            for digest in (index, *(item.digest for item in nested)):
                blobs.lease_blob(lease, digest)
            for member in members:
                assert member.manifest is not None
                manifest = member.manifest
                shown = member.image.config.diff_ids if member.image else [layer.digest for layer in manifest.layers]
                self._content(manifest, shown, lease, sending)
                sending.repository.put_manifest(member.descriptor.digest, manifest.raw, manifest.media_type)
            for item in nested:
                sending.repository.put_manifest(item.digest, blobs.read(item.digest), item.media_type)
            raw = indexes.raw(index)
            kind = str(document(raw, "image index").get("mediaType") or OCI_INDEX)
            sending.repository.put_manifest(sending.tag, raw, kind)
        self._referring([index, *(member.descriptor.digest for member in members)], sending)
        self._remember(sending.reference, index, image)
        indexes.attach([replace(sending.reference, tag=None, digest=index)], index, image.id, ())
        self._done(index, len(raw), sending)

    def _referring(self, subjects: Sequence[Digest], sending: _Sending) -> None:
        """What refers to what was sent, as far as it is here."""
        for one in self._images.referrers.below(subjects):
            with self._images.blobs.lease() as lease:
                for digest in one.blobs:
                    self._images.blobs.lease_blob(lease, digest)
                for blob in (one.manifest.config, *one.manifest.layers):
                    self._blob(blob, sending, _untold)
                referrers.publish(sending.repository, one.subject, one.manifest.raw, one.described)

    def _content(self, manifest: Manifest, shown: Sequence[Digest], lease: Lease, sending: _Sending) -> None:
        """The blobs of a manifest. shown: what progress calls its layers."""
        for descriptor in (manifest.config, *manifest.layers):
            self._images.blobs.lease_blob(lease, descriptor.digest)
        layers = list(zip(shown, manifest.layers, strict=True))[::-1]  # the topmost first, as docker
        for name, _ in layers:
            sending.report(Progress(name[7:19], "Preparing"))
        for name, _ in layers[self._at_once :]:
            sending.report(Progress(name[7:19], "Waiting"))
        self._layers(layers, sending)
        self._blob(manifest.config, sending, _untold)
        self._provenance.note(sending.reference, [layer.digest for layer in manifest.layers])

    def _done(self, digest: Digest, size: int, sending: _Sending) -> None:
        sending.report(Message(f"{sending.tag}: digest: {digest} size: {size}", status=True))
        sending.report(Message("", aux={"Tag": sending.tag, "Digest": digest, "Size": size}))
        self._images.publish("push", sending.reference.familiar, {"name": sending.reference.familiar_name})

    def _remember(self, reference: Reference, digest: Digest, image: Image) -> None:
        name, catalog = replace(reference, tag=None, digest=digest), self._images.catalog
        # another platform's image has no name of its own: it goes with the index
        if catalog.named(reference) == image.id != catalog.named(name):
            catalog.tag(name, image.id)
            self._images.written()

    def _layers(self, layers: list[tuple[Digest, Descriptor]], sending: _Sending) -> None:
        """Several at once, each blob once. The first failure breaks off the others."""
        first: dict[Digest, Digest] = {}
        for diff, layer in layers:
            first.setdefault(layer.digest, diff)
        mine = Cancellation()
        own = replace(sending, cancellation=mine)
        with sending.cancellation.ending(mine.cancel), ThreadPoolExecutor(self._at_once, "push") as pool:
            futures = [
                pool.submit(self._layer, layer, diff, first[layer.digest] == diff, own) for diff, layer in layers
            ]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failure = next((error for future in done if (error := future.exception())), None)
            if failure is not None:
                mine.cancel()
                raise failure

    def _layer(self, layer: Descriptor, diff: Digest, is_first: bool, sending: _Sending) -> None:
        def tell(status: str, current: int = 0) -> None:
            total = layer.size if current else 0
            sending.report(Progress(diff[7:19], status, current, total))

        sending.cancellation.check()
        if not is_first:
            tell("Layer already exists")
            return
        with self._slots:
            self._blob(layer, sending, tell)

    def _blob(self, blob: Descriptor, sending: _Sending, tell: Callable[..., None]) -> None:
        repository, cancellation = sending.repository, sending.cancellation
        if repository.has_blob(blob.digest) is not None:
            tell("Layer already exists")
            return
        location = ""
        for source in self._provenance.sources(sending.reference, blob.digest)[:_MOUNTS_TRIED]:
            try:
                mounted = uploads.mount(repository, blob.digest, source, cancellation)
            except Refused:
                continue  # no right to read there: it is sent
            if mounted is None:
                tell(f"Mounted from {source}")
                return
            location = mounted
        told = 0.0

        def sent(count: int) -> None:
            nonlocal told
            cancellation.check()
            now = time.monotonic()
            if now - told >= _TELL_EVERY:
                told = now
                tell("Pushing", count)

        try:
            uploads.upload(
                repository,
                blob.digest,
                lambda: self._images.blobs.open(blob.digest),
                blob.size,
                sent,
                cancellation,
                location,
            )
        except TiffinError:
            cancellation.check()
            raise
        tell("Pushed")


def _untold(status: str, current: int = 0) -> None:
    """What has no line in the progress."""
