"""The driver `copy`: every layer is the whole tree up to it, every snapshot a copy. For machines without overlayfs.

    layers/<hex of the chain ID>/
    active/<key>/

Costs space and time instead of a kernel feature; extents are shared where the file system can.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from tiffin.content import crash
from tiffin.content.compression import Readable
from tiffin.content.ledger import Ledger
from tiffin.errors import Conflict, Unsupported
from tiffin.linux import disk
from tiffin.model.digest import Digest, hex_of
from tiffin.model.mount import Mount
from tiffin.snapshots import changes as changing
from tiffin.snapshots import trees
from tiffin.snapshots.compare import difference, outline
from tiffin.snapshots.directories import Directories, opened
from tiffin.snapshots.extract import extract
from tiffin.snapshots.records import Records, chain_of, checked_key
from tiffin.snapshots.snapshotter import Change, ChangeKind, Content, Later, Layer, Usage, at_once
from tiffin.snapshots.whiteouts import RemovingWhiteouts


class Copy:
    name = "copy"
    independent = False

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self._directories = Directories(root)
        self._records = Records(ledger, self.name)
        self._empty = root / "empty"
        self._empty.mkdir(mode=0o755, exist_ok=True)
        known = {hex_of(layer.chain) for layer in self._records.layers()}
        self._directories.leftovers(known, self._records.snapshots())

    def apply(self, parent: Digest | None, diff: Digest, stream: Readable, *, plain: Path | None = None) -> Layer:
        chain = chain_of(parent, diff)
        with self._directories.exclusive(chain):
            known = self._records.layer(chain)
            if known is not None:
                return known
            layer = Layer(chain, parent, diff, self._bring(chain, parent, stream))
            self._records.add_layer(layer)
            crash.point("layer-recorded")
            return layer

    def foresee(self, diff: Digest, plain: Path) -> None:
        pass

    def _bring(self, chain: Digest, parent: Digest | None, stream: Readable) -> int:
        with self._directories.staged() as staged, opened(staged) as root:
            self._fill(root, parent)
            size = extract(root, stream, whiteouts=RemovingWhiteouts())
            self._directories.settle(staged, self._directory(chain))
        return size

    def _fill(self, root: int, parent: Digest | None) -> None:
        if parent is not None:
            self._records.lineage(parent)
            with opened(self._directory(parent)) as source:
                trees.copy(source, root)

    def _directory(self, chain: Digest | None) -> Path:
        return self._directories.layers / hex_of(chain) if chain else self._empty

    def layer(self, chain: Digest) -> Layer | None:
        return self._records.layer(chain)

    def layers(self) -> list[Layer]:
        return self._records.layers()

    def adopt(self, diff: Digest, directory: Path, hidden: Collection[Path]) -> Layer:
        raise Unsupported(f"the copy driver would have to copy all of {directory}: this image needs overlayfs")

    def prepare(self, key: str, parent: Digest | None) -> tuple[Mount, ...]:
        path = self._directories.active / checked_key(key)
        self._records.add_snapshot(key, parent, True)
        if path.exists():
            self._directories.remove(path)
        try:
            with self._directories.staged() as staged:
                with opened(staged) as root:
                    self._fill(root, parent)
                staged.rename(path)
        except BaseException:
            self._records.remove_snapshot(key)
            raise
        return self.mounts(key)

    def view(self, key: str, parent: Digest | None) -> tuple[Mount, ...]:
        self._records.add_snapshot(checked_key(key), parent, False)
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        parent, writable = self._records.snapshot(key)
        source = self._directories.active / key if writable else self._directory(parent)
        return (Mount("bind", str(source), ("rbind",) if writable else ("rbind", "ro")),)

    def parent(self, key: str) -> Digest | None:
        return self._records.snapshot(key)[0]

    def snapshots(self) -> list[str]:
        return self._records.snapshots()

    def commit(self, key: str, diff: Digest) -> Layer:
        parent, _ = self._records.snapshot(key)
        chain = chain_of(parent, diff)
        size = self.usage(key).size
        with self._directories.exclusive(chain):
            self._directories.settle(self._directories.active / key, self._directory(chain))
            layer = Layer(chain, parent, diff, size)
            self._records.add_layer(layer)
        self.remove(key)
        return layer

    def changes(self, key: str, ignore: Collection[bytes] = ()) -> list[Change]:
        parent, _ = self._records.snapshot(key)
        with opened(self._directories.active / key) as current, opened(self._directory(parent)) as before:
            return changing.of_trees(current, before, ignore)

    def diff(self, key: str, ignore: Collection[bytes] = ()) -> Iterator[bytes]:
        changes = self.changes(key, ignore)
        with opened(self._directories.active / key) as root:
            yield from changing.layer_tar(root, changes)

    def usage(self, key: str) -> Usage:
        """What the container changed: the copies of its image's files are the driver's doing, not its."""
        _, writable = self._records.snapshot(key)
        if not writable:
            return Usage(0, 0)
        size = inodes = 0
        with opened(self._directories.active / key) as root:
            for change in self.changes(key):
                if change.kind is ChangeKind.DELETED:
                    continue
                inodes += 1
                size += changing.file_size(root, change.path)
        return Usage(size, inodes)

    def remove(self, key: str, later: Later = at_once) -> None:
        path = self._directories.active / checked_key(key)
        self._records.remove_snapshot(key)
        crash.point("snapshot-removed")
        self._directories.remove(path, later)

    def sweep(self, wanted: Iterable[Digest]) -> int:
        gone = self._records.remove_unwanted(wanted)
        crash.point("layers-forgotten")
        for layer in gone:
            with self._directories.exclusive(layer.chain):
                if self._records.layer(layer.chain) is None:  # nobody has brought it again
                    self._directories.remove(self._directory(layer.chain))
        return sum(layer.size for layer in gone)

    def unused(self, wanted: Iterable[Digest]) -> list[Layer]:
        return self._records.unwanted(wanted)

    def problem(self, layer: Layer, sound: Callable[[Path], bool], content: Content | None, *, thorough: bool) -> str:
        path = self._directory(layer.chain)
        if not path.is_dir():
            return f"is missing: {path}"
        if not thorough or content is None:
            return ""
        with self._directories.staged() as staged, opened(staged) as root, content() as stream:
            self._fill(root, layer.parent)
            contents = outline(root, stream, RemovingWhiteouts())
            found = difference(staged, path, contents)
        return f"is damaged: {path}: {found}" if found else ""

    def rebuild(self, layer: Layer, stream: Readable, *, plain: Path | None = None) -> None:
        with self._directories.exclusive(layer.chain):
            path = self._directory(layer.chain)
            if path.exists():
                if (layer.chain, False) in [self._records.snapshot(key) for key in self._records.snapshots()]:
                    raise Conflict(f"layer {layer.diff[7:19]}: containers look at it; remove them first")
                self._directories.remove(path)
            self._bring(layer.chain, layer.parent, stream)

    def tar(self, diff: Digest) -> Path | None:
        return None

    def lost(self) -> list[str]:
        return [key for key in self._records.writable() if not (self._directories.active / key).is_dir()]

    def strays(self) -> list[Path]:
        known = {hex_of(layer.chain) for layer in self._records.layers()}
        return self._directories.strays(known, self._records.snapshots())

    def clear(self, stray: Path) -> None:
        self._directories.remove(stray)

    def count(self, usage: disk.Usage) -> None:
        usage.tree(self._directories.layers)

    def close(self) -> None:
        pass
