"""What each layer of an image adds, changes, hides and wastes: read from the stored tars, nothing is unpacked.

adds     names that were not there below
changes  files whose name was there already, with a copy of their own; directories count where owner or mode differ
hides    what was there below and is removed, by whiteouts or by something else in its place
wastes   bytes of this very layer that layers above it have changed or hidden: they are stored and never seen

Sizes are of files' data. A hard link has the bytes of its file, once: they are wasted with the last name.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from heapq import nlargest

from tiffin.content.blobs import BlobStore
from tiffin.content.compression import Readable, decompressed
from tiffin.errors import Invalid, Unsupported
from tiffin.model.digest import Digest
from tiffin.model.image import Image
from tiffin.snapshots import Snapshotter
from tiffin.snapshots.extract import clean
from tiffin.snapshots.tar import Entry, Kind, TarReader
from tiffin.snapshots.whiteouts import OPAQUE, hidden_name

Parts = tuple[bytes, ...]
_LIST = 100_000
"""Paths that are remembered of a layer, in order to name the largest."""


@dataclass(slots=True)
class Tally:
    """names: how many; size: bytes; largest: paths with their bytes, largest first."""

    names: int = 0
    size: int = 0
    largest: list[tuple[str, int]] = field(default_factory=list)

    def count(self, path: Parts, size: int) -> None:
        self.names += 1
        self.size += size
        if size and len(self.largest) < _LIST:
            self.largest.append(("/" + b"/".join(path).decode("utf-8", "surrogateescape"), size))


@dataclass(slots=True)
class LayerContent:
    """One layer. instruction: what made it, "" where the image does not say; size: bytes of files in its tar."""

    diff: Digest
    instruction: str
    size: int = 0
    added: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)
    hidden: Tally = field(default_factory=Tally)
    wasted: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class _File:
    """What names lead to. layer: where it is stored."""

    layer: LayerContent
    size: int
    names: int = 1


@dataclass(slots=True)
class _Node:
    """file: None for a directory; about: owner and mode."""

    file: _File | None = None
    about: tuple[int, int, int] | None = None
    children: dict[bytes, "_Node"] = field(default_factory=dict)


def contents(image: Image, blobs: BlobStore, snapshots: Snapshotter, largest: int) -> list[LayerContent]:
    """Lowest layer first, with the names of so many of the largest files. Blocks. Unsupported, Invalid, NotFound."""
    if image.reserved:
        raise Unsupported("the reserved image of this machine has no layers that are stored")
    made = [str(one.get("created_by") or "") for one in image.config.history if not one.get("empty_layer")]
    made += [""] * len(image.config.diff_ids)
    root, layers = _Node(about=(0, 0, 0o755)), []
    with ExitStack() as undo:
        lease = undo.enter_context(blobs.lease())
        for diff, descriptor, instruction in zip(image.config.diff_ids, image.manifest.layers, made, strict=False):
            tar = snapshots.tar(diff)
            if tar is None:
                blobs.lease_blob(lease, descriptor.digest)
            with blobs.open(descriptor.digest) if tar is None else open(tar, "rb", buffering=0) as file:
                layer = LayerContent(diff, instruction)
                _Reading(root, layer).read(decompressed(file)[1])
                layers.append(layer)
    for layer in layers:
        for tally in (layer.added, layer.changed, layer.hidden, layer.wasted):
            tally.largest = nlargest(largest, tally.largest, key=lambda one: one[1])
    return layers


class _Reading:
    """One layer, laid over those below it."""

    def __init__(self, root: _Node, layer: LayerContent) -> None:
        self._root, self._layer = root, layer

    def read(self, stream: Readable) -> None:
        entries: list[tuple[Parts, Entry]] = []
        gone: list[Parts] = []
        emptied: list[Parts] = []
        for entry in TarReader(stream):
            path = clean(entry.name)
            if not path:
                continue
            hidden = hidden_name(path[-1])
            if path[-1] == OPAQUE:
                emptied.append(path[:-1])
            elif hidden is not None:
                gone.append((*path[:-1], hidden))
            else:
                entries.append((path, entry))
        # whiteouts are about what is below, wherever in the archive they stand
        self._hide(gone, emptied)
        own: set[Parts] = set()
        for path, entry in entries:
            self._place(path, entry, path in own)
            own.add(path)

    def _hide(self, gone: Iterable[Parts], emptied: Iterable[Parts]) -> None:
        for path in gone:
            above = self._find(path[:-1])
            node = above.children.pop(path[-1], None) if above else None
            if node is not None:
                self._remove(node, path, self._layer.hidden)
        for path in emptied:
            node = self._find(path)
            for name, child in (node.children if node else {}).items():
                self._remove(child, (*path, name), self._layer.hidden)
            if node is not None:
                node.children = {}

    def _find(self, path: Parts) -> _Node | None:
        node: _Node | None = self._root
        for name in path:
            node = node.children.get(name) if node else None
        return node

    def _place(self, path: Parts, entry: Entry, again: bool) -> None:
        above = self._root
        for depth, name in enumerate(path[:-1], 1):
            child = above.children.get(name)
            if child is None or child.file is not None:
                # a parent that the archive does not name
                self._replace(child, path[:depth], self._layer.hidden)
                child = above.children[name] = _Node(about=(0, 0, 0o755))
            above = child
        former = above.children.get(path[-1])
        about = (entry.uid, entry.gid, entry.mode)
        if entry.kind is Kind.DIRECTORY:
            if former is not None and former.file is None:
                if former.about != about and not again:
                    self._layer.changed.count(path, 0)
                former.about = about
                return
            made = _Node(about=about)
        else:
            made = _Node(self._file(entry), about)
        size = made.file.size if made.file is not None and made.file.names == 1 else 0
        if former is not None and former.file is None:
            self._replace(former, path, self._layer.hidden)
            former = None
        tally = self._layer.added if former is None else self._layer.changed
        if not again:
            tally.count(path, size)
        self._replace(former, path, None)
        above.children[path[-1]] = made
        self._layer.size += size

    def _file(self, entry: Entry) -> _File:
        if entry.kind is Kind.LINK:
            target = self._find(clean(entry.link))
            if target is None or target.file is None:
                name = entry.link[:200].decode("utf-8", "backslashreplace")
                raise Invalid(f"the layer has a hard link to {name!r}, which is not there")
            target.file.names += 1
            return target.file
        return _File(self._layer, entry.size)

    def _replace(self, node: _Node | None, path: Parts, tally: Tally | None) -> None:
        if node is not None:
            self._remove(node, path, tally)

    def _remove(self, node: _Node, path: Parts, tally: Tally | None) -> None:
        """Names that are seen no longer; the bytes of their files count where they are stored."""
        for where, one in _below(node, path):
            size = 0
            if one.file is not None:
                one.file.names -= 1
                size = 0 if one.file.names else one.file.size
                if size and one.file.layer is not self._layer:
                    one.file.layer.wasted.count(where, size)
            if tally is not None:
                tally.count(where, size)


def _below(node: _Node, path: Parts) -> Iterator[tuple[Parts, _Node]]:
    """A node and what is below it."""
    waiting = [(path, node)]
    while waiting:
        where, one = waiting.pop()
        yield where, one
        waiting += [((*where, name), child) for name, child in one.children.items()]
