"""What a build made, as an image of the store, or as an archive of one that is stored nowhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO

from tiffin.build.solve.solved import Solved
from tiffin.content.blobs import BlobStore
from tiffin.engine.builds_documents import PREDICATE, STATEMENT, Composed, Statement, Wanted, compose
from tiffin.errors import Forbidden, TiffinError
from tiffin.images import Images, host
from tiffin.images.arrival import Parts
from tiffin.images.events import silent
from tiffin.images.saving import Saved, archive
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest
from tiffin.model.image import Image
from tiffin.model.reference import Reference

Placed = tuple[Descriptor, Callable[[], IO[bytes]]]
"""A blob, and how it is opened."""

_BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Exported:
    """top: what the names mean, the index or the only manifest. images: their IDs; config: that of the best of them for
    this machine."""

    top: Descriptor
    config: Digest
    names: tuple[Reference, ...]
    images: tuple[Digest, ...]

    @property
    def digest(self) -> Digest:
        return self.top.digest


def export(images: Images, results: Mapping[str, Solved], wanted: Wanted) -> Exported:
    """An image, or one for each platform, stored under the names. Blocks. Forbidden for a reserved name.

    Names of an index get the best of its images for this machine; without a name it keeps the index.
    """
    if host.NAME in wanted.names:
        raise Forbidden(f"{host.NAME.familiar}: this name is reserved for the root file system of this machine")
    made = compose(images.blobs, results, wanted, _said_before(images, wanted.names))
    if not _is_here(images, made, wanted.names):
        _store(images, made, wanted.names)
    for name in wanted.names:
        images.publish("tag", made.first.config.id, {"name": name.familiar})
    return _told(made, wanted.names)


def _is_here(images: Images, made: Composed, names: Sequence[Reference]) -> bool:
    """Whether the names, or the image's ID, mean all this already."""
    first, index = made.first.config.id, made.top.digest if made.is_index else None
    if any(images.catalog.named(one) != first for one in names) or _indexes(images, made, names) != {index}:
        return False
    try:
        found = [images.catalog.image(one.config.id).manifest.raw for one in made.images]
    except (TiffinError, OSError):
        return False
    return found == [one.manifest.raw for one in made.images] and all(map(images.blobs.exists, made.blobs))


def _indexes(images: Images, made: Composed, names: Sequence[Reference]) -> set[Digest | None]:
    """What the names mean, or the ID where there are none."""
    return {images.indexes.of(one) for one in ([str(name) for name in names] or [str(made.first.config.id)])}


def _store(images: Images, made: Composed, names: tuple[Reference, ...]) -> None:
    before = _indexes(images, made, names) - {made.top.digest, None}
    with images.blobs.lease() as lease:
        for digest, raw in made.documents.items() if made.is_index else ():
            images.blobs.lease_blob(lease, digest)
            if not images.blobs.exists(digest):
                images.blobs.put(raw, lease)
        for one in made.images:
            own = () if made.is_index else names
            images.arrivals.add(Parts(one.config, one.layers, one.manifest.raw, names=own), lease, silent)
        if made.is_index:
            _name(images, made, names)
        else:
            _renew(images, made)
    if before:
        images.blobs.sweep(images.wanted_blobs)
    images.written()


def _told(made: Composed, names: tuple[Reference, ...]) -> Exported:
    return Exported(made.top, made.first.config.id, names, tuple(one.config.id for one in made.images))


def _name(images: Images, made: Composed, names: Sequence[Reference]) -> None:
    index, first = made.top.digest, made.first.config.id
    if not names:
        images.indexes.keep(index, first, [one.config.id for one in made.images], made.blobs)
        return
    changed = [name for name in names if images.indexes.of(name) != index or images.catalog.named(name) != first]
    for one in made.images:
        images.indexes.attach(changed, index, one.config.id, made.blobs, first=first)


def _renew(images: Images, made: Composed) -> None:
    """An image that was here may have been described otherwise, by a build with other annotations."""
    one = made.images[0]
    image = images.catalog.image(one.config.id)
    if image.manifest.raw != one.manifest.raw and not image.repo_digests:
        images.catalog.describe(image.id, made.top.digest, made.blobs)
        images.blobs.sweep(images.wanted_blobs)


def _said_before(images: Images, names: Sequence[Reference]) -> dict[Digest, list[Statement]]:
    """The statements about the images that a name has now. Nothing where they are damaged: they are made anew."""
    found: dict[Digest, list[Statement]] = {}
    index = images.indexes.of(names[0]) if names else None
    try:
        for member in images.indexes.members(index) if index else ():
            if member.manifest is None or not member.subject or not member.available:
                continue
            found[Digest(member.subject)] = [
                Statement(layer.annotations.get(PREDICATE, ""), images.blobs.read(layer.digest))
                for layer in member.manifest.layers
                if layer.media_type == STATEMENT
            ]
    except (TiffinError, OSError):
        return {}
    return found


def archived(images: Images, results: Mapping[str, Solved], wanted: Wanted) -> tuple[Exported, Iterator[bytes]]:
    """The same as an OCI layout in a tar, with docker's manifest.json beside it; the store keeps nothing of it. Blocks.

    The results must be held while the iterator runs.
    """
    made = compose(images.blobs, results, wanted, {})
    return _told(made, wanted.names), _pieces(images, made, wanted.names)


def laid_out(images: Images, results: Mapping[str, Solved], wanted: Wanted) -> tuple[Exported, list[Placed]]:
    """The blobs of that layout one by one, for who keeps a layout himself. Blocks; holds as `archived`."""
    made = compose(images.blobs, results, wanted, {})
    beside = _Beside(images.blobs, made.documents)
    digests = dict.fromkeys(_saved(made, wanted.names).blobs)
    return _told(made, wanted.names), [
        (Descriptor(_BYTES, digest, beside.size(digest)), partial(beside.open, digest)) for digest in digests
    ]


def _pieces(images: Images, made: Composed, names: Sequence[Reference]) -> Iterator[bytes]:
    yield from archive(_Beside(images.blobs, made.documents), [_saved(made, names)])


def _saved(made: Composed, names: Sequence[Reference]) -> Saved:
    first = made.first
    saved = Saved(Image(first.config, first.manifest), list(names))
    if made.is_index:
        saved.index, saved.beside = made.top, made.blobs
    return saved


class _Beside:
    """A store's blobs, and documents that are in none."""

    def __init__(self, blobs: BlobStore, documents: Mapping[Digest, bytes]) -> None:
        self._blobs, self._documents = blobs, documents

    def size(self, digest: Digest) -> int:
        return len(self._documents[digest]) if digest in self._documents else self._blobs.size(digest)

    def open(self, digest: Digest) -> IO[bytes]:
        return io.BytesIO(self._documents[digest]) if digest in self._documents else self._blobs.open(digest)
