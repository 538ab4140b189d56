"""The drivers `overlay` and `erofs`: a snapshot is an upper directory above layers that overlayfs understands.

    layers/<hex of the diff ID>/            as `Layers` keeps them: whiteouts are 0/0 devices, trusted.overlay.opaque
    active/<key>/{upper,work}

Layers are stored by diff ID, as their form doesn't depend on what is below: images share them in any order.
"""

import contextlib
import io
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from tiffin.content import crash
from tiffin.content.compression import Readable
from tiffin.content.ledger import Ledger
from tiffin.errors import Invalid, TiffinError, Unsupported
from tiffin.linux import disk
from tiffin.model.digest import Digest, hex_of
from tiffin.model.mount import Mount
from tiffin.snapshots import changes as changing
from tiffin.snapshots import trees
from tiffin.snapshots.directories import Directories, opened
from tiffin.snapshots.records import Records, chain_of, checked_key
from tiffin.snapshots.snapshotter import Change, Content, Later, Layer, Usage, at_once

# Off, where the kernel knows them: a renamed directory or a metadata-only copy would make the upper directory
# mean nothing without its lower ones, and it is read as a layer.
_OFF = ("index", "redirect_dir", "metacopy")
_PARAMETERS = Path("/sys/module/overlay/parameters")


class Layers(Protocol):
    """How layers are kept. One that is brought is whole and durable, or raises and leaves nothing."""

    @property
    def options(self) -> tuple[str, ...]:
        """Options that an overlay above them has."""
        ...

    @property
    def indexed(self) -> bool:
        """Whether a plain tar costs next to nothing to bring."""
        ...

    def has(self, diff: Digest) -> bool: ...

    def path(self, diff: Digest) -> Path:
        """The layer as a directory, in overlayfs's form."""
        ...

    def measure(self, diff: Digest) -> int:
        """The bytes of its files, found out."""
        ...

    def bring(self, diff: Digest, stream: Readable, plain: Path | None) -> int:
        """Keep a layer's tar; the bytes of its files. plain: a file of just that content, which never changes."""
        ...

    def renew(self, diff: Digest, plain: Path | None) -> None:
        """The content of a layer that is there has come once more: what it has of it may be damaged."""
        ...

    def bring_changes(self, diff: Digest, upper: Path, tar: Iterator[bytes]) -> int:
        """Keep what an upper directory holds, which nobody needs there afterwards; `tar` is the same as a stream."""
        ...

    def problem(self, diff: Digest, sound: Callable[[Path], bool], content: Content | None, *, thorough: bool) -> str:
        """See `Snapshotter.problem`."""
        ...

    def rebuild(self, diff: Digest, stream: Readable, plain: Path | None, used: bool) -> None:
        """Make a layer anew. used: snapshots stand on it. Conflict where it can't be replaced under them."""
        ...

    def tar(self, diff: Digest) -> Path | None: ...

    def strays(self) -> list[Path]:
        """What is in none of the layers' directories, and of no layer."""
        ...

    def clear(self, stray: Path) -> bool:
        """Remove one of `strays`; False where it is none of these."""
        ...

    def freed(self, diff: Digest, size: int) -> int:
        """The bytes that removing a layer frees on the disk, where its files have `size`."""
        ...

    def remove(self, diff: Digest) -> None: ...

    def close(self) -> None: ...


class Overlay:
    independent = True

    def __init__(
        self,
        name: str,
        root: Path,
        ledger: Ledger,
        layers: Callable[[Directories], Layers],
        *,
        userxattr: bool = False,
    ) -> None:
        self.name = name
        if any(character in str(root) for character in ":,\\"):
            raise Invalid(f"{root}: the data root's path must not contain ':', ',' or '\\'")
        self._directories = Directories(root)
        self._records = Records(ledger, self.name)
        self._layers = layers(self._directories)
        self._options = tuple(f"{name}=off" for name in _OFF if (_PARAMETERS / name).exists() and not userxattr)
        self._options += (*self._layers.options, *(("userxattr",) if userxattr else ()))
        self._adopted: dict[Digest, tuple[Path, frozenset[Path]]] = {}
        self._foreseen: dict[Digest, int] = {}  # brought, and needed by no layer yet: their sizes
        self._empty = root / "empty"
        self._empty.mkdir(mode=0o755, exist_ok=True)
        self._directories.leftovers({hex_of(layer.diff) for layer in self._records.layers()}, self._records.snapshots())

    def apply(self, parent: Digest | None, diff: Digest, stream: Readable, *, plain: Path | None = None) -> Layer:
        chain = chain_of(parent, diff)
        with self._directories.exclusive(diff):
            known = self._records.layer(chain)
            if known is not None:
                self._layers.renew(diff, plain)
                return known
            size = self._size_of(diff)
            if size is None:
                size = self._layers.bring(diff, stream, plain)
            return self._record(Layer(chain, parent, diff, size))

    def foresee(self, diff: Digest, plain: Path) -> None:
        if not self._layers.indexed:
            return
        with self._directories.exclusive(diff), contextlib.suppress(TiffinError, OSError):  # `apply` says what is wrong
            if not self._layers.has(diff):
                self._foreseen[diff] = self._layers.bring(diff, io.BytesIO(), plain)

    def _forget_foreseen(self) -> None:
        for diff in tuple(self._foreseen):
            with self._directories.exclusive(diff):
                if self._foreseen.pop(diff, None) is not None:
                    self._layers.remove(diff)

    def _size_of(self, diff: Digest) -> int | None:
        """The size of a diff that another chain has brought already."""
        if not self._layers.has(diff):
            return None
        if diff in self._foreseen:
            return self._foreseen.pop(diff)
        for layer in self._records.layers():
            if layer.diff == diff:
                return layer.size
        return self._layers.measure(diff)  # its record is gone, its removal has not begun

    def _record(self, layer: Layer) -> Layer:
        self._records.add_layer(layer)
        crash.point("layer-recorded")
        return layer

    def _directory(self, diff: Digest) -> Path:
        adopted = self._adopted.get(diff)
        return adopted[0] if adopted else self._layers.path(diff)

    def layer(self, chain: Digest) -> Layer | None:
        return self._records.layer(chain)

    def layers(self) -> list[Layer]:
        return self._records.layers()

    def adopt(self, diff: Digest, directory: Path, hidden: Collection[Path]) -> Layer:
        self._adopted[diff] = (directory, frozenset(hidden))
        layer = Layer(diff, None, diff, 0)
        self._records.adopt(layer)
        return layer

    def prepare(self, key: str, parent: Digest | None) -> tuple[Mount, ...]:
        path = self._directories.active / checked_key(key)
        lineage = self._records.add_snapshot(key, parent, True)
        crash.point("snapshot-recorded")
        try:
            os.mkdir(path, 0o710)
        except FileExistsError:  # of a snapshot whose record did not survive
            self._directories.remove(path)
            os.mkdir(path, 0o710)
        upper, work = f"{path}/upper", f"{path}/work"
        for directory in (upper, work):
            os.mkdir(directory)
            os.chmod(directory, 0o755)
        if lineage:
            # the upper directory is the root that the container sees
            status = os.stat(self._directory(lineage[0].diff))
            os.chown(upper, status.st_uid, status.st_gid)
            os.chmod(upper, stat.S_IMODE(status.st_mode))
        if self._adopted:
            self._hide(lineage, path / "upper")
        return self._mounts(key, lineage, True)

    def _hide(self, lineage: list[Layer], upper: Path) -> None:
        for layer in lineage:
            directory, hidden = self._adopted.get(layer.diff, (upper, frozenset()))
            for path in hidden:
                inside = path.relative_to(directory)
                target = upper / inside
                for level in reversed(inside.parents[:-1]):
                    (upper / level).mkdir(exist_ok=True)
                    with opened(upper / level.parent) as fd:
                        trees.copy_times_and_owner((directory / level).stat(), fd, os.fsencode(level.name))
                if not target.exists() and path.exists():
                    os.mknod(target, stat.S_IFCHR, 0)

    def view(self, key: str, parent: Digest | None) -> tuple[Mount, ...]:
        return self._mounts(key, self._records.add_snapshot(checked_key(key), parent, False), False)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        parent, writable = self._records.snapshot(key)
        return self._mounts(key, self._records.lineage(parent), writable)

    def _mounts(self, key: str, lineage: list[Layer], writable: bool) -> tuple[Mount, ...]:
        lower = self._lower(lineage)
        if not writable and len(lower) == 1:  # overlayfs wants two layers or an upper directory
            return (Mount("bind", str(lower[0]), ("rbind", "ro")),)
        options: tuple[str, ...] = ("lowerdir=" + ":".join(map(str, lower)),)
        if writable:
            path = self._directories.active / key
            options += (f"upperdir={path}/upper", f"workdir={path}/work")
        return (Mount("overlay", "overlay", options + self._options + (() if writable else ("ro",))),)

    def _lower(self, lineage: list[Layer]) -> list[Path]:
        # once each (else ELOOP): of a layer that occurs twice the upper one hides the lower one whole
        directories = list(dict.fromkeys(self._directory(layer.diff) for layer in lineage))
        if len(lineage) > 1 and lineage[-1].diff in self._adopted:
            base = directories[-1]
            if (
                self._directories.root.is_relative_to(base)
                and self._directories.root.stat().st_dev == base.stat().st_dev
            ):
                # overlayfs refuses a layer inside a layer (ELOOP)
                raise Unsupported(
                    f"layers above {base} can't be mounted while the data root lies on the same file system: "
                    "start the daemon with --data-root on another one"
                )
        return directories or [self._empty]

    def parent(self, key: str) -> Digest | None:
        return self._records.snapshot(key)[0]

    def snapshots(self) -> list[str]:
        return self._records.snapshots()

    def commit(self, key: str, diff: Digest) -> Layer:
        parent, _ = self._records.snapshot(key)
        chain = chain_of(parent, diff)
        with self._directories.exclusive(diff):
            size = self._size_of(diff)
            if size is None:
                upper = self._directories.active / key / "upper"
                size = self._layers.bring_changes(diff, upper, self.diff(key))
            layer = self._record(Layer(chain, parent, diff, size))
        self.remove(key)
        return layer

    def changes(self, key: str, ignore: Collection[bytes] = ()) -> list[Change]:
        parent, _ = self._records.snapshot(key)
        lineage = self._records.lineage(parent)
        hidden = {
            b"/" + os.fsencode(path.relative_to(self._adopted[layer.diff][0]))
            for layer in lineage
            if layer.diff in self._adopted
            for path in self._adopted[layer.diff][1]
        }
        lower = changing.Lower([self._directory(layer.diff) for layer in lineage])
        with opened(self._directories.active / key / "upper") as upper:
            return changing.of_overlay(upper, lower, hidden | set(ignore))

    def diff(self, key: str, ignore: Collection[bytes] = ()) -> Iterator[bytes]:
        changes = self.changes(key, ignore)
        with opened(self._directories.active / key / "upper") as upper:
            yield from changing.layer_tar(upper, changes)

    def usage(self, key: str) -> Usage:
        _, writable = self._records.snapshot(key)
        if not writable:
            return Usage(0, 0)
        with opened(self._directories.active / key / "upper") as upper:
            return Usage(*trees.usage(upper))

    def remove(self, key: str, later: Later = at_once) -> None:
        path = self._directories.active / checked_key(key)
        self._records.remove_snapshot(key)
        crash.point("snapshot-removed")
        self._directories.remove(path, later)

    def sweep(self, wanted: Iterable[Digest]) -> int:
        gone = self._records.remove_unwanted(wanted)
        crash.point("layers-forgotten")
        self._forget_foreseen()
        kept = {layer.diff for layer in self._records.layers()}
        freed = 0
        for diff, size in {layer.diff: layer.size for layer in gone}.items():
            if diff in kept:
                continue
            with self._directories.exclusive(diff):
                if not any(layer.diff == diff for layer in self._records.layers()):
                    freed += self._layers.freed(diff, size)
                    self._layers.remove(diff)
        return freed

    def unused(self, wanted: Iterable[Digest]) -> list[Layer]:
        return self._records.unwanted(wanted)

    def problem(self, layer: Layer, sound: Callable[[Path], bool], content: Content | None, *, thorough: bool) -> str:
        if layer.diff in self._adopted:
            return ""
        if layer.parent is not None and self._records.layer(layer.parent) is None:
            return f"stands on layer {layer.parent}, of which there is no record"
        return self._layers.problem(layer.diff, sound, content, thorough=thorough)

    def rebuild(self, layer: Layer, stream: Readable, *, plain: Path | None = None) -> None:
        with self._directories.exclusive(layer.diff):
            self._layers.rebuild(layer.diff, stream, plain, self._is_used(layer.diff))

    def _is_used(self, diff: Digest) -> bool:
        parents = {self._records.snapshot(key)[0] for key in self._records.snapshots()}
        return any(layer.diff == diff for parent in parents for layer in self._records.lineage(parent))

    def tar(self, diff: Digest) -> Path | None:
        return self._layers.tar(diff)

    def lost(self) -> list[str]:
        return [key for key in self._records.writable() if not (self._directories.active / key / "upper").is_dir()]

    def strays(self) -> list[Path]:
        known = {hex_of(diff) for diff in (*(layer.diff for layer in self._records.layers()), *tuple(self._foreseen))}
        return self._directories.strays(known, self._records.snapshots()) + self._layers.strays()

    def clear(self, stray: Path) -> None:
        if not self._layers.clear(stray):
            self._directories.remove(stray)

    def count(self, usage: disk.Usage) -> None:
        usage.tree(self._directories.layers)

    def close(self) -> None:
        self._layers.close()
