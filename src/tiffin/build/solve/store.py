"""Layers that builds make: working copies of a stack, and what became of them as a layer and its blob.

Everything here blocks and may be called from any thread.
"""

import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tiffin.build.solve.failed import FailedSteps
from tiffin.build.solve.ports import Mounting
from tiffin.build.solve.solved import LayerBlob
from tiffin.build.solve.values import Files, Stack, Value
from tiffin.content import crash
from tiffin.content.blobs import CHUNK, BlobStore
from tiffin.content.compression import decompressed
from tiffin.content.verified import Verified
from tiffin.linux import paths
from tiffin.model.digest import Digest
from tiffin.snapshots import Snapshotter
from tiffin.snapshots.pack import END, Packer

_SECOND = 1_000_000_000
Arriving = Callable[[], AbstractContextManager[None]]


class Holds:
    """What running builds need, counted: layers by chain ID, blobs by digest. Sweeps ask for both."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._chains: Counter[Digest] = Counter()
        self._blobs: Counter[Digest] = Counter()

    def take(self, stack: Stack) -> None:
        self._count(stack, 1)

    def release(self, stack: Stack) -> None:
        self._count(stack, -1)

    def _count(self, stack: Stack, by: int) -> None:
        with self._guard:
            for counter, names in ((self._chains, [stack.chain]), (self._blobs, [one.blob for one in stack.layers])):
                for name in names:
                    if name is not None:
                        counter[name] += by
                        if not counter[name]:
                            del counter[name]

    def chains(self) -> list[Digest]:
        with self._guard:
            return list(self._chains)

    def blobs(self) -> list[Digest]:
        with self._guard:
            return list(self._blobs)


class Store:
    """arriving: around everything between a layer's birth and the record that keeps it."""

    def __init__(self, snapshots: Snapshotter, blobs: BlobStore, mounting: Mounting, arriving: Arriving) -> None:
        self.snapshots = snapshots
        self.blobs = blobs
        self.holds = Holds()
        self.failed = FailedSteps(self)
        self.copies: set[str] = set()
        """Working copies and views that are in use."""
        self._mounting = mounting
        self._arriving = arriving

    @contextmanager
    def opened(self, value: Value) -> Iterator[int]:
        """A value's root, for reading: fd."""
        if isinstance(value, Files):
            fd = os.open(value.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
            return
        key = new_key()
        self.copies.add(key)
        try:
            mounts = self.snapshots.view(key, value.chain)
            fd = self._mounting(mounts)
            try:
                yield fd
            finally:
                os.close(fd)
        finally:
            self.snapshots.remove(key)
            self.copies.discard(key)

    @contextmanager
    def working(self, below: Stack) -> Iterator[tuple[str, int]]:
        """A writable copy: its key and its root's fd. Removed at the end, unless it was committed."""
        with self.copy(below) as key:
            fd = self.mounted(key)
            try:
                yield key, fd
            finally:
                os.close(fd)

    def mounted(self, key: str) -> int:
        """A working copy's root: an fd, for the caller to close."""
        return self._mounting(self.snapshots.mounts(key))

    @contextmanager
    def copy(self, below: Stack) -> Iterator[str]:
        """A writable copy, mounted nowhere."""
        key = new_key()
        self.copies.add(key)
        try:
            self.snapshots.prepare(key, below.chain)
            yield key
        finally:
            self.snapshots.remove(key)
            self.copies.discard(key)

    def committed(
        self,
        below: Stack,
        key: str,
        keep: Callable[[Stack], None],
        *,
        ignore: Collection[bytes] = (),
        epoch: int | None = None,
    ) -> Stack:
        """A working copy's changes as a layer above `below`. epoch, s: later times become this one.

        keep: writes the record that refers to the layer.
        """
        if epoch is not None:
            fd = self.mounted(key)
            try:
                _clamp(fd, [change.path for change in self.snapshots.changes(key, ignore)], epoch * _SECOND)
            finally:
                os.close(fd)
        return self.added(below, self.snapshots.diff(key, ignore), keep)

    def added(self, below: Stack, tar: Iterable[bytes], keep: Callable[[Stack], None]) -> Stack:
        """A layer's tar above `below`."""
        with self.blobs.lease() as lease, self._arriving():
            with self.blobs.writer(lease) as writer:
                for piece in tar:
                    writer.write(piece)
                diff = writer.commit()
            crash.point("build-blob-written")
            with self.blobs.open(diff) as file:
                self.snapshots.apply(
                    below.chain, diff, Verified(file, diff, f"layer {diff[7:19]}"), plain=self.blobs.path(diff)
                )
            made = Stack((*below.layers, LayerBlob(diff, diff)))
            crash.point("build-layer-applied")
            keep(made)
        return made

    def restacked(self, below: Stack, layers: Iterable[LayerBlob], keep: Callable[[Stack], None]) -> Stack:
        """Layers that exist, above others than they were made on."""
        with self.blobs.lease() as lease, self._arriving():
            stack = below
            for layer in layers:
                self.blobs.lease_blob(lease, layer.blob)
                stack = self._above(stack, layer)
            keep(stack)
        return stack

    def missing(self, stack: Stack) -> list[LayerBlob]:
        """Layers whose blobs are not here."""
        return [layer for layer in stack.layers if not self.blobs.exists(layer.blob)]

    def assembled(self, stack: Stack, strange: Collection[LayerBlob], keep: Callable[[Stack], None]) -> None:
        """Apply what is not yet of a stack whose blobs are here, leased; held afterwards.

        strange: blobs of which it is only said that they are these layers. Raises Invalid for one that is not.
        """
        with self._arriving():
            below = Stack()
            for layer in stack.layers:
                above = Stack((*below.layers, layer))
                assert above.chain is not None
                if layer in strange or self.snapshots.layer(above.chain) is None:
                    self._above(below, layer)
                below = above
            keep(stack)
            self.holds.take(stack)

    def _above(self, below: Stack, layer: LayerBlob) -> Stack:
        with self.blobs.open(layer.blob) as file:
            plain = self.blobs.path(layer.blob) if layer.blob == layer.diff else None
            tar = Verified(decompressed(file)[1], layer.diff, f"layer {layer.diff[7:19]}")
            self.snapshots.apply(below.chain, layer.diff, tar, plain=plain)
            while plain is None and tar.read(CHUNK):
                pass  # a driver that knows the layer has not read what is said to be its blob
        return Stack((*below.layers, layer))

    def size(self, stack: Stack) -> int:
        """Bytes of the topmost layer's files."""
        layer = self.snapshots.layer(stack.chain) if stack.chain else None
        return layer.size if layer else 0

    def layer_of(self, files: Files, keep: Callable[[Stack], None]) -> Stack:
        """A directory as a layer of its own."""
        with self.opened(files) as root:
            return self.added(Stack(), _packed(root), keep)

    def hold(self, stack: Stack) -> bool:
        """Keep it from every sweep if all of it is there still. Waits for a sweep that is under way."""
        with self._arriving(), self.blobs.lease() as lease:
            for layer in stack.layers:
                self.blobs.lease_blob(lease, layer.blob)
            self.holds.take(stack)
            if self._is_whole(stack):
                return True
            self.holds.release(stack)
            return False

    def _is_whole(self, stack: Stack) -> bool:
        chain = stack.chain
        return (chain is None or self.snapshots.layer(chain) is not None) and all(
            self.blobs.exists(layer.blob) for layer in stack.layers
        )


def new_key() -> str:
    """Like a container's ID: what a crash leaves is found as theirs is."""
    return secrets.token_hex(32)


def _clamp(root: int, changed: Iterable[bytes], latest: int) -> None:
    """latest: ns. What is gone, or was made by the engine alone, is passed over."""
    for path in changed:
        try:
            fd = paths.open_in(root, path.lstrip(b"/"), os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(fd).st_mtime_ns > latest:
                directory, _, name = path.lstrip(b"/").rpartition(b"/")
                above = paths.open_in(root, directory, os.O_PATH | os.O_DIRECTORY)
                try:
                    os.utime(name, ns=(latest, latest), dir_fd=above, follow_symlinks=False)
                finally:
                    os.close(above)
        finally:
            os.close(fd)


def _packed(root: int) -> Iterator[bytes]:
    yield from Packer().tree(root)
    yield END
