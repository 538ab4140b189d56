"""`rmi` and `image prune`, with docker's rules of what stands in the way (and docker's words for it)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiffin.errors import Conflict, Forbidden, NotFound, TiffinError
from tiffin.images.catalog import Catalog, is_digest
from tiffin.images.events import Publish, Users
from tiffin.images.indexes import Indexes
from tiffin.model.digest import Digest, chain_ids
from tiffin.model.image import Image
from tiffin.model.reference import Reference, parse_reference
from tiffin.snapshots import Snapshotter


@dataclass(frozen=True, slots=True)
class Untagged:
    name: str


@dataclass(frozen=True, slots=True)
class Deleted:
    digest: Digest


Removed = Untagged | Deleted


def _single(names: list[Reference]) -> bool:
    """At most one tag, and all names in one repository."""
    return len({name.name for name in names}) <= 1 and sum(1 for name in names if name.digest is None) <= 1


class Removal:
    def __init__(
        self,
        catalog: Catalog,
        indexes: Indexes,
        snapshots: Snapshotter,
        users: Callable[[], Users],
        publish: Publish,
    ) -> None:
        self._catalog = catalog
        self._indexes = indexes
        self._snapshots = snapshots
        self._users = users
        self._publish = publish

    def remove(self, text: str, *, force: bool, prune: bool) -> list[Removed]:
        """Untag, and delete what has no name left. prune: parents without names and children go too.

        The other platforms of an index go with its last name. NotFound, or Conflict for an image that something needs.
        """
        image = self._catalog.resolve(text)
        beside = self._indexes.beside(image)
        if is_digest(text):
            text = image  # which a manifest's digest is not
        removed = self._remove(text, force=force, prune=prune)
        for image in set(beside) & set(self._indexes.orphans()):
            self._delete(image, removed, force=force, prune=False, quiet=True)
            self._indexes.forget(image)  # one that a container uses stays, as any image without a name
        return removed

    def _remove(self, text: str, *, force: bool, prune: bool) -> list[Removed]:
        image = self._catalog.resolve(text)
        if self._catalog.is_reserved(image):
            raise Forbidden(f"{text}: the reserved image of this machine can't be removed")
        removed: list[Removed] = []
        names = self._catalog.names(image)
        by_name = not image.removeprefix("sha256:").startswith(text.removeprefix("sha256:"))
        if by_name:
            for used in (image, *self._indexes.beside(image)) if not force and _single(names) else ():
                if users := self._users().using(used):
                    raise Conflict(
                        f'conflict: unable to remove repository reference "{text}" (must force) - '
                        f"container {users[0].id[:12]} is using its referenced image {used[7:19]}"
                    )
            going = self._named(text, names)
            if set(names) - set(going):
                self._untag(image, going, removed)
                return removed
        else:
            going = names if _single(names) else []
        self._delete(image, removed, force=force, prune=prune, quiet=by_name, going=going)
        return removed

    def _named(self, text: str, names: list[Reference]) -> list[Reference]:
        """The name that was given; with a repository's last tag its digests go too."""
        given = parse_reference(text).with_default_tag()
        gone = [name for name in names if str(name) == str(given)]
        if given.digest:
            gone = [name for name in names if name.digest == given.digest and name.name == given.name]
        rest = [name for name in names if name not in gone and name.name == given.name]
        if not given.digest and all(name.digest for name in rest):
            gone += rest
        return gone

    def _untag(self, image: Digest, names: Sequence[Reference], removed: list[Removed]) -> None:
        if names:
            self._catalog.untag(names)
        self._tell_untagged(image, names, removed)

    def _tell_untagged(self, image: Digest, names: Sequence[Reference], removed: list[Removed]) -> None:
        for name in names:
            removed.append(Untagged(name.familiar))
            self._publish("untag", image, {"name": name.familiar})

    def _conflict(self, image: Digest, *, force: bool, named: bool) -> tuple[str, bool, bool] | None:
        """(reason, whether force can't help, whether a container is it). named: it has names that stay."""
        users = self._users().using(image)
        running = next((user for user in users if user.running), None)
        if self._catalog.children(image):
            return "image has dependent child images", True, False
        if running:
            return f"image is being used by running container {running.id[:12]}", True, True
        if force:
            return None
        if named:
            return "image is referenced in multiple repositories", False, False
        if users:
            return f"image is being used by stopped container {users[0].id[:12]}", False, True
        return None

    def _delete(
        self,
        image: Digest,
        removed: list[Removed],
        *,
        force: bool,
        prune: bool,
        quiet: bool,
        going: Sequence[Reference] = (),
    ) -> None:
        """going: names that go in any case. They go with the image, in one transaction: a crash leaves none without."""
        while True:
            names = self._catalog.names(image)
            kept = [name for name in names if name not in going]
            conflict = self._conflict(image, force=force, named=bool(kept))
            if conflict and quiet and (kept or conflict[2] or conflict[1]):
                self._untag(image, going, removed)
                return
            if conflict:
                reason, hard, _ = conflict
                how = "cannot be forced" if hard else "must be forced"
                raise Conflict(f"conflict: unable to delete {image[7:19]} ({how}) - {reason}")
            before = self._readable(image)
            self._catalog.remove(image)
            self._tell_untagged(image, names, removed)
            removed.append(Deleted(image))
            self._publish("delete", image, {"name": image})
            needed = {chain for other in self._catalog.images() for chain in chain_ids(other.config.diff_ids)}
            if before is None:
                return
            removed += [Deleted(chain) for chain in reversed(chain_ids(before.config.diff_ids)) if chain not in needed]
            if not prune or before.parent is None or self._catalog_lacks(before.parent):
                return
            # a parent goes only where nothing else wants it
            image, force, quiet, going = before.parent, False, True, ()

    def _readable(self, image: Digest) -> Image | None:
        """None for one whose documents are damaged: that must not keep it from being removed."""
        try:
            return self._catalog.image(image)
        except TiffinError:
            return None

    def _catalog_lacks(self, image: Digest) -> bool:
        return all(other.id != image for other in self._catalog.images())

    def unused(self, *, dangling: bool) -> list[Digest]:
        """Images that prune may take: without a name (dangling), or whatever no container uses."""
        found = []
        users = self._users()
        hidden = self._indexes.hidden()
        images = [image for image in self._catalog.images() if image.id not in hidden]
        parents = {image.parent for image in images}
        for image in images:
            nameless = not image.repo_tags and not image.repo_digests
            if image.reserved or (nameless and image.id in parents) or (dangling and image.repo_tags):
                continue
            if not any(users.using(one) for one in (image.id, *self._indexes.beside(image.id))):
                found.append(image.id)
        return found

    def prune(self, image: Digest) -> list[Removed]:
        """Remove one of `unused` with all its names; nothing where it has come into use meanwhile."""
        removed: list[Removed] = []
        try:
            for name in self._catalog.names(image):
                if name in self._catalog.names(image):  # a repository's digests go with its last tag
                    removed += self.remove(name.familiar, force=False, prune=True)
            if not removed:
                removed += self.remove(image, force=False, prune=True)
        except (Conflict, NotFound):
            pass  # it is needed after all, or gone with another
        return removed
