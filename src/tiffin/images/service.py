"""The images of this machine, whole: what handlers and use cases call.

Every method blocks and may be called from any thread; `load`, `save`, `import_`, `commit`, `remove` and `prune` take
their time and belong off the event loop. `get` costs two queries.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tiffin.content.blobs import BlobStore, Lease
from tiffin.content.compression import Readable
from tiffin.content.ledger import Ledger
from tiffin.errors import Conflict, Forbidden, Invalid, NotFound, TiffinError, Unsupported
from tiffin.images import archives, host, saving
from tiffin.images.arrival import Arrivals
from tiffin.images.catalog import Catalog, no_such_image
from tiffin.images.events import Message, NoUsers, Publish, Report, Users, silent
from tiffin.images.indexes import Indexes
from tiffin.images.listing import Listing, Query, Step
from tiffin.images.making import Commit, Making
from tiffin.images.referrers import Referrers
from tiffin.images.removal import Deleted, Removal, Removed
from tiffin.linux import disk
from tiffin.model.digest import Digest, chain_ids, digest_of
from tiffin.model.image import Image
from tiffin.model.platform import Platform
from tiffin.model.reference import Reference, parse_reference
from tiffin.snapshots import Snapshotter

log = logging.getLogger(__name__)
_REMEMBERED = 1024  # names

References = Callable[[], Iterable[Digest]]


def _unheard(action: str, actor: str, attributes: object) -> None:
    pass


class Images:
    """users: who needs images; set by the composition root once the containers exist.

    publish is called with (action, image ID, attributes) from the thread that did it.
    """

    def __init__(
        self, ledger: Ledger, blobs: BlobStore, snapshots: Snapshotter, *, publish: Publish = _unheard
    ) -> None:
        self.users: Users = NoUsers()
        self.kept_blobs: list[References] = []  # other domains that refer to blobs
        self.kept_chains: list[References] = []  # and to layers
        self.publish = publish
        self.blobs = blobs
        self.snapshots = snapshots
        self._ledger = ledger
        self._meant: dict[str, tuple[int, set[Digest]]] = {}  # by name, as of how many commits
        self.catalog = Catalog(ledger, blobs)
        self.indexes = Indexes(ledger, blobs, self.catalog)
        self.referrers = Referrers(ledger, blobs)
        self.kept_blobs += [self.indexes.blobs, self.referrers.blobs]
        self.arrivals = Arrivals(self.catalog, blobs, snapshots)
        self._making = Making(blobs, snapshots, self.arrivals)
        self._listing = Listing(self.catalog, self.indexes, snapshots)
        self._removal = Removal(self.catalog, self.indexes, snapshots, lambda: self.users, self._published)

    def _published(self, action: str, actor: str, attributes: object) -> None:
        self.publish(action, actor, attributes)  # type: ignore[arg-type]

    def reserve_host(self, hidden: Collection[Path]) -> None:
        """Offer the image `host`. Nothing happens where the snapshot driver can't."""
        try:
            self.catalog.reserve(host.image(self.snapshots, hidden))
        except Unsupported as error:
            log.info("no host image: %s", error)

    def get(self, reference: str) -> Image:
        """By name, digest, ID or its beginning. NotFound `No such image: x:latest`, Invalid for what is no name."""
        return self.catalog.get(reference)

    def select(self, query: Query | None = None) -> list[Image]:
        return self._listing.images(query or Query())

    def chosen(self, reference: str, platform: Platform | None) -> Image:
        """As `get`; with a platform, that one's image of the name. NotFound in docker's words where it isn't here."""
        return self.indexes.chosen(reference, platform)

    def meant(self, name: str) -> set[Digest]:
        """The images that a name, a digest or an ID stands for: of an index all that are here. Empty for none."""
        commits = self._ledger.commits
        known = self._meant.get(name)
        if known is None or known[0] != commits:
            if len(self._meant) >= _REMEMBERED:
                self._meant.clear()
            known = self._meant[name] = commits, self._meaning(name)
        return known[1]

    def _meaning(self, name: str) -> set[Digest]:
        try:
            image = self.catalog.resolve(name)
        except (NotFound, Invalid):
            return set()
        index = self.indexes.of(name)
        return {image, *(self.indexes.ids(index) if index else ())}

    def subjects(self, name: Reference | str) -> list[Digest]:
        """What referrers of a name refer to: its index, and the manifests of its images that are here."""
        index = self.indexes.of(name)
        images = [self.catalog.image(digest) for digest in sorted(self.meant(str(name)))]
        return list(dict.fromkeys([*([index] if index else []), *(digest_of(one.manifest.raw) for one in images)]))

    def is_name(self, text: str) -> bool:
        """Whether a text is the name of an image, not an ID or the beginning of one."""
        try:
            return self.catalog.named(parse_reference(text)) is not None
        except Invalid:
            return False

    def history(self, reference: str, platform: Platform | None = None) -> list[Step]:
        return self._listing.history(self.chosen(reference, platform))

    def tag(self, source: str, target: str) -> None:
        """Give an image another name. Invalid for a name with a digest, Forbidden for a reserved one."""
        name = self._new_name(target)
        image = self.get(source)
        if image.reserved:
            raise Forbidden(f"{source}: the reserved image of this machine has no other name")
        self.catalog.tag(name, image.id)
        index = self.indexes.of(source)
        if index is not None:
            self.indexes.attach([name], index, image.id, ())
        self.written()
        self.publish("tag", image.id, {**image.config.labels, "name": name.familiar})

    def _new_name(self, text: str) -> Reference:
        name = parse_reference(text)
        if name.digest:
            raise Invalid("refusing to create a tag with a digest reference")
        if name.with_default_tag() == host.NAME:
            raise Forbidden(f"{name.familiar}: this name is reserved for the root file system of this machine")
        return name.with_default_tag()

    def load(
        self, stream: Readable, *, platform: Platform | None = None, quiet: bool = False, report: Report = silent
    ) -> list[Image]:
        """Every image of an archive (docker's or OCI's, compressed or not). Invalid for a damaged or hostile one.

        Reports `Loaded image: x` or `Loaded image ID: sha256:…` for each, and progress unless quiet.
        """
        progress = silent if quiet else report
        loaded = []
        try:
            with self.blobs.lease() as lease:
                with ThreadPoolExecutor(1, "layers") as beside:
                    archive = archives.Archive(
                        self.blobs,
                        lease,
                        lambda digest: beside.submit(self.snapshots.foresee, digest, self.blobs.path(digest)),
                    )
                    archive.take(stream)
                for parts in list(archives.images(archive, self.blobs, platform)):
                    if any(name == host.NAME for name in parts.names):
                        raise Forbidden("host:latest is reserved for the root file system of this machine")
                    self._replaced(parts.names, parts.config.id, report)
                    self.arrivals.add(parts, lease, progress)
                    image = self.catalog.image(parts.config.id)
                    loaded.append(image)
                    for name in parts.names:
                        report(Message(f"Loaded image: {name.familiar}\n"))
                    if not parts.names:
                        report(Message(f"Loaded image ID: {image.id}\n"))
                    shown = parts.names[0].familiar if parts.names else image.id
                    self.publish("load", image.id, {"name": shown})
                if platform is None:
                    for bundle in archives.bundles(archive):
                        self._together(bundle, lease, progress)
                self.referrers.keep(archives.referrers(archive))
        finally:
            # what the archive held beyond its images, or of one that was refused
            self.collect()
        self.written()
        return loaded

    def _together(self, bundle: archives.Bundle, lease: Lease, progress: Report) -> None:
        """The other images of an index whose name was loaded with one of them."""
        named = self.catalog.named(bundle.name)
        if named not in [parts.config.id for parts in bundle.images]:
            return
        for parts in bundle.images:
            self.arrivals.add(parts, lease, progress)
        for parts in bundle.images:
            first = self.indexes.first(bundle.index, parts.config.id)
            if self.catalog.named(bundle.name) != first:
                self.catalog.tag(bundle.name, first)
            self.indexes.attach([bundle.name], bundle.index, parts.config.id, bundle.blobs)

    def _replaced(self, names: Sequence[Reference], image: Digest, report: Report) -> None:
        for name in names:
            before = self.catalog.named(name)
            if before not in (None, image):
                text = (
                    f"The image {name.familiar} already exists, renaming the old one with ID {before} to empty string\n"
                )
                report(Message(text))

    def save(self, references: Sequence[str], platform: Platform | None = None) -> Iterator[bytes]:
        """One archive of several images: a name with its tag, a repository with all of them, an ID without names.

        A name of an index is saved with the images of it that are here, or, with a platform, as that one's image alone.

        NotFound and Unsupported come before the first byte. What is saved is kept until the iterator is closed.
        """
        chosen: dict[tuple[Digest, Digest | None], saving.Saved] = {}
        for text in references:
            for found, name in self._chosen(text):
                image = self.chosen(str(name or found.id), platform)
                index = self.indexes.of(name or str(found.id)) if platform is None else None
                key = (image.id, index)
                if key not in chosen:
                    chosen[key] = saving.Saved(image, [], *self.indexes.saved(index)) if index else saving.Saved(image)
                saved = chosen[key]
                if name and name not in saved.names:
                    saved.names.append(name)
        for saved in chosen.values():
            saved.referrers = self.referrers.below([digest_of(saved.image.manifest.raw), *saved.beside])
        saving.check(self.blobs, list(chosen.values()))
        return self._saved(list(chosen.values()))

    def _saved(self, chosen: list[saving.Saved]) -> Iterator[bytes]:
        with self.blobs.lease() as lease:
            for saved in chosen:
                for digest in saved.blobs:
                    self.blobs.lease_blob(lease, digest)
            for saved in chosen:
                shown = saved.names[0].familiar if saved.names else saved.image.id
                self.publish("save", saved.image.id, {"name": shown})
            yield from saving.archive(self.blobs, chosen)

    def _chosen(self, text: str) -> list[tuple[Image, Reference | None]]:
        image = self.catalog.resolve(text) if not self._is_repository(text) else None
        if image is None:
            tags = self.catalog.tags_of(parse_reference(text))
            return [(self.catalog.image(digest), name) for name, digest in tags]
        found = self.catalog.image(image)
        try:
            name = parse_reference(text).with_default_tag()
        except Invalid:
            return [(found, None)]
        return [(found, name if name.tag and name.familiar in found.repo_tags else None)]

    def _is_repository(self, text: str) -> bool:
        try:
            name = parse_reference(text)
        except Invalid:
            return False
        return not name.tag and not name.digest and bool(self.catalog.tags_of(name))

    def import_(
        self,
        stream: Readable,
        name: str = "",
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: Platform | None = None,
    ) -> Image:
        """An image of a root file system's tar. name: `repository[:tag]` or empty."""
        reference = self._new_name(name) if name else None
        try:
            digest = self._making.imported(stream, reference, changes=changes, message=message, platform=platform)
        finally:
            self.collect()
        self.written()
        self.publish("import", digest, {"name": reference.familiar if reference else digest})
        return self.catalog.image(digest)

    def commit(self, image: str | None, commit: Commit) -> Image:
        """An image of what a snapshot changed since its image. The caller has frozen whoever writes to it."""
        if commit.name:
            self._new_name(str(commit.name))
        try:
            digest = self._making.committed(self.catalog.get(image) if image else None, commit)
        finally:
            self.collect()
        self.written()
        made = self.catalog.image(digest)
        self.publish("create", digest, {**made.config.labels, "name": digest})
        if commit.name:
            self.publish("tag", digest, {**made.config.labels, "name": commit.name.familiar})
        return made

    def remove(self, reference: str, *, force: bool = False, prune: bool = True) -> list[Removed]:
        """docker's `rmi`. NotFound, Conflict (docker's words), Forbidden for the reserved image."""
        removed = self._removal.remove(reference, force=force, prune=prune)
        self._swept(removed)
        return removed

    def remove_platform(self, reference: str, platform: Platform, *, force: bool = False) -> list[Removed]:
        """One platform of an index; its names then mean the best of the others. The last one goes with its name."""
        image, index = self.chosen(reference, platform), self.indexes.of(reference)
        others = [one for one in self.indexes.images(index) if one.id != image.id] if index else []
        if index is None or not others:
            return self.remove(reference, force=force)
        if not force and (users := self.users.using(image.id)):
            raise Conflict(
                f"conflict: unable to delete {image.short_id} (must be forced) - "
                f"image is being used by container {users[0].id[:12]}"
            )
        for name in self.catalog.names(image.id):
            if self.indexes.of(name) == index:
                first = self.indexes.first(index, others[0].id, without=image.id)
                self.catalog.tag(name, first)
                self.indexes.attach([name], index, first, ())
        return self.remove(image.id, force=force, prune=False)

    def prune(self, wanted: Callable[[Image], bool], *, dangling: bool = True) -> tuple[list[Removed], int]:
        """Remove what no container uses and `wanted` agrees to; with the bytes freed."""
        removed: list[Removed] = []
        for digest in self._removal.unused(dangling=dangling):
            try:
                image = self.catalog.image(digest)
            except NotFound:
                continue
            if wanted(image):
                removed += self._removal.prune(digest)
        return removed, self._swept(removed)

    def _swept(self, removed: list[Removed]) -> int:
        self.written()
        return self.collect() if any(isinstance(item, Deleted) for item in removed) else 0

    def collect(self) -> int:
        """Remove layers and blobs that nothing refers to; the bytes freed. At start, and after removals."""
        freed = 0
        with self.arrivals.sweeping() as free:
            if free:
                freed = self.snapshots.sweep(self.wanted_chains())
        return freed + self.blobs.sweep(self.wanted_blobs)

    def wanted_chains(self) -> list[Digest]:
        """The layers that images and other domains refer to; those below them are wanted too."""
        chains = [image.chain for image in self.catalog.images() if image.chain]
        return [*chains, *(chain for references in self.kept_chains for chain in references())]

    def wanted_blobs(self) -> set[Digest]:
        """The blobs that images and other domains refer to."""
        return self.catalog.blobs().union(*(references() for references in self.kept_blobs))

    def size(self) -> int:
        """What blobs and layers take on the disk, as du counts (`LayersSize` of `system df`)."""
        usage = disk.Usage()
        usage.tree(self.blobs.root)
        self.snapshots.count(usage)
        return usage.bytes

    def shared_sizes(self) -> dict[Digest, int]:
        """For each image the bytes of its layers that other images have too."""
        sizes = {layer.chain: layer.size for layer in self.snapshots.layers()}
        images = {image.id: chain_ids(image.config.diff_ids) for image in self.catalog.images()}
        count: dict[Digest, int] = {}
        for chains in images.values():
            for chain in chains:
                count[chain] = count.get(chain, 0) + 1
        return {
            image: sum(sizes.get(chain, 0) for chain in chains if count[chain] > 1) for image, chains in images.items()
        }

    def find(self, reference: Reference, platform: Platform | None = None) -> Image:
        """By name alone: an ID is no name; of an index the platform's, where that is here. NotFound as `get`."""
        digest = self.catalog.named(reference)
        if digest is None:
            raise no_such_image(reference.familiar)
        image = self.catalog.image(digest)
        return image if platform is None else self.indexes.of_name(reference, image, platform) or image

    def written(self) -> None:
        """Bring `index.json` up to date for other readers of the layout."""
        try:
            self.blobs.write_index(self.index_entries())
        except (OSError, TiffinError) as error:  # nothing here reads it: the change itself is done
            log.warning("cannot write index.json: %s", error)

    def index_entries(self) -> list[dict[str, Any]]:
        """Descriptors of all images, one for each name."""
        entries = []
        for image in self.catalog.images():
            if image.reserved:
                continue
            raw = image.manifest.raw
            entry = {"mediaType": image.manifest.media_type, "digest": digest_of(raw), "size": len(raw)}
            named = [{"annotations": {"org.opencontainers.image.ref.name": tag}} for tag in image.repo_tags]
            entries += [{**entry, **name} for name in named or [{}]]
        return entries
