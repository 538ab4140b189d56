"""Layers for the suite of snapshot drivers, and what is to be seen of them."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiffin.engine.container_root import opened
from tiffin.model.digest import Digest, digest_of
from tiffin.model.mount import Mount
from tiffin.snapshots import Layer, Snapshotter
from tiffin.snapshots.tar import END, Entry, Kind, entry_header, padding


def tar(*entries: Entry | tuple[Entry, bytes]) -> bytes:
    parts = []
    for item in entries:
        entry, data = item if isinstance(item, tuple) else (item, b"")
        entry.size = len(data)
        parts.append(entry_header(entry) + data + padding(len(data)))
    return b"".join(parts) + END


def file(name: str, data: str = "", **attributes: int) -> tuple[Entry, bytes]:
    return Entry(name.encode(), **{"mode": 0o644, **attributes}), data.encode()  # type: ignore[arg-type]


def directory(name: str, mode: int = 0o755) -> Entry:
    return Entry(name.encode(), Kind.DIRECTORY, mode)


BASE = tar(
    directory("etc"),
    file("etc/hosts", "one"),
    file("etc/passwd", "root"),
    directory("var"),
    directory("var/lib"),
    file("var/lib/a", "a"),
    file("var/lib/b", "b"),
    file("bin"),
    Entry(b"link", Kind.SYMLINK, 0o777, link=b"etc/hosts"),
    file("suid", "x", mode=0o4755, uid=7, gid=8),
)
SECOND = tar(
    file("etc/.wh.hosts"),
    file("etc/new", "new"),
    directory("var/lib"),
    file("var/lib/.wh..wh..opq"),
    file("var/lib/c", "c"),
)


def apply(snapshots: Snapshotter, parent: Digest | None, data: bytes) -> Layer:
    return snapshots.apply(parent, digest_of(data), io.BytesIO(data))


def image(snapshots: Snapshotter) -> Digest:
    return apply(snapshots, apply(snapshots, None, BASE).chain, SECOND).chain


@contextmanager
def mounted(layers: tuple[Mount, ...]) -> Iterator[Path]:
    """The mounts of a snapshot, attached nowhere, by a path."""
    with opened(layers) as fd:
        yield Path(f"/proc/self/fd/{fd}")


def tree(root: Path) -> dict[str, str]:
    found = {}
    for path, directories, files in os.walk(f"{root}/"):
        for name in (*directories, *files):
            full = Path(path) / name
            inside = str(full).removeprefix(f"{root}/")
            if full.is_symlink():
                found[inside] = "-> " + os.readlink(full)
            else:
                found[inside] = "/" if full.is_dir() else full.read_text()
    return found
