"""What a driver of layers does, whatever it keeps them as.

Vocabulary, as containerd's: a *layer* is committed, read-only and named by its chain ID; a *snapshot* is active,
writable (or a view, read-only) and named by a key, such as a container's ID. A driver gives mounts, it makes none.
All calls block; they may come from any thread.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from tiffin.content.compression import Readable
from tiffin.linux import disk
from tiffin.model.digest import Digest
from tiffin.model.mount import Mount

Content = Callable[[], AbstractContextManager[Readable]]
"""Opens the plain tar of a layer, from its beginning."""

Later = Callable[[Callable[[], None]], None]


def at_once(call: Callable[[], None]) -> None:
    """The `Later` that does not wait."""
    call()


class ChangeKind(Enum):
    """docker's numbers (`GET /containers/{id}/changes`)."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    path: bytes  # absolute, as the container sees it
    kind: ChangeKind


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of file data and number of inodes that removing it would free."""

    size: int
    inodes: int


@dataclass(frozen=True, slots=True)
class Layer:
    chain: Digest
    parent: Digest | None
    diff: Digest
    size: int


class Snapshotter(Protocol):
    """Raises NotFound for unknown names, Conflict for a key that is taken, Invalid for hostile archives,
    Unavailable when space runs out."""

    @property
    def name(self) -> str: ...

    @property
    def independent(self) -> bool:
        """Whether layers may be applied in any order, several at once, before their parents."""
        ...

    def apply(self, parent: Digest | None, diff: Digest, stream: Readable, *, plain: Path | None = None) -> Layer:
        """Commit the plain tar stream of a layer on top of its parent. Existing layers are not read again.

        plain: a file of just that content, if there is one that was verified and never changes (an uncompressed blob):
        a driver that can use it as it lies links it and leaves the stream unread.

        The stream is read to its end before the layer can be seen: one that verifies itself (`content.verified`)
        and raises there leaves nothing.
        """
        ...

    def foresee(self, diff: Digest, plain: Path) -> None:
        """A file has come that will be a layer's content, or never: a driver may make of it what it will need.

        Nothing is raised. What no layer has needed goes with the next `sweep`.
        """
        ...

    def layer(self, chain: Digest) -> Layer | None: ...

    def layers(self) -> list[Layer]: ...

    def adopt(self, diff: Digest, directory: Path, hidden: Collection[Path]) -> Layer:
        """A base layer that is a directory of the machine itself, less `hidden` (absolute paths in it). Not kept."""
        ...

    def prepare(self, key: str, parent: Digest | None) -> tuple[Mount, ...]: ...

    def view(self, key: str, parent: Digest | None) -> tuple[Mount, ...]: ...

    def mounts(self, key: str) -> tuple[Mount, ...]: ...

    def parent(self, key: str) -> Digest | None: ...

    def snapshots(self) -> list[str]: ...

    def commit(self, key: str, diff: Digest) -> Layer:
        """Turn a snapshot into the layer `diff` above its parent; the key is gone afterwards."""
        ...

    def changes(self, key: str, ignore: Collection[bytes] = ()) -> list[Change]:
        """What differs from the parent, sorted by path. ignore: paths that the engine made, mount points above all."""
        ...

    def diff(self, key: str, ignore: Collection[bytes] = ()) -> Iterator[bytes]:
        """The same as a layer's tar stream with OCI whiteouts."""
        ...

    def usage(self, key: str) -> Usage: ...

    def remove(self, key: str, later: Later = at_once) -> None:
        """Remove a snapshot; nothing happens where there is none. later: is given what may be done by and by."""
        ...

    def sweep(self, wanted: Iterable[Digest]) -> int:
        """Remove the layers that are neither wanted chains nor below one or below a snapshot; the bytes freed."""
        ...

    def count(self, usage: disk.Usage) -> None:
        """Add what all layers take on the disk."""
        ...

    # -- what `system check` asks --------------------------------------------------------------------------------------

    def unused(self, wanted: Iterable[Digest]) -> list[Layer]:
        """The layers that `sweep` would remove."""
        ...

    def problem(self, layer: Layer, sound: Callable[[Path], bool], content: Content | None, *, thorough: bool) -> str:
        """What is wrong with a layer's files, in words that continue "layer x"; `` where nothing is.

        sound: whether a file is known to have the layer's content already. content: gives the layer's plain tar, where
        that is here. thorough: contents are compared as well.
        """
        ...

    def rebuild(self, layer: Layer, stream: Readable, *, plain: Path | None = None) -> None:
        """Make a layer's files anew, see `apply`. Conflict where that would take them from containers."""
        ...

    def tar(self, diff: Digest) -> Path | None:
        """The layer's tar, where the driver keeps such a file."""
        ...

    def lost(self) -> list[str]:
        """Writable snapshots whose files are gone."""
        ...

    def strays(self) -> list[Path]:
        """Directories that belong to no layer and no snapshot."""
        ...

    def clear(self, stray: Path) -> None:
        """Remove one of `strays`."""
        ...

    def close(self) -> None:
        """Let go of what the driver holds in this process and its mount namespace. Mounted snapshots stay usable."""
        ...
