"""What the drivers that unpack layers into directories share: staging, durable renames, left-overs."""

import os
import secrets
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tiffin.content import crash
from tiffin.content.blobs import sync_directory
from tiffin.linux.syscalls import INT, function
from tiffin.snapshots import trees
from tiffin.snapshots.snapshotter import Later, at_once

_syncfs = function("syncfs", INT)


class Directories:
    """`root/{layers,active,staging}`. A layer appears in `layers` whole and durable, or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers = root / "layers"
        self.active = root / "active"
        self.staging = root / "staging"
        self._locks: dict[str, tuple[threading.Lock, int]] = {}
        self._guard = threading.Lock()
        self._busy: set[str] = set()  # names in `staging` that somebody fills or empties, or that are about to go
        for directory in (self.layers, self.active, self.staging):
            directory.mkdir(mode=0o710, parents=True, exist_ok=True)
        self.clear_staging()

    def clear_staging(self) -> None:
        for name in os.listdir(self.staging):
            self.remove(self.staging / name)

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A fresh directory; whatever is still there at the end is removed."""
        path = self.staging / secrets.token_hex(8)
        self._busy.add(path.name)
        path.mkdir(mode=0o755)
        path.chmod(0o755)
        try:
            yield path
        finally:
            if path.exists():
                self.remove(path)
            self._busy.discard(path.name)

    def settle(self, staged: Path, target: Path, *, synced: bool = False) -> None:
        """Make a staged tree durable under its name. One that is already there wins. synced: its files are durable."""
        if not synced:
            with opened(staged) as fd:
                # syncfs, not fsync of each file: one barrier for a whole layer
                _syncfs(fd)
        crash.point("layer-synced")
        try:
            os.rename(staged, target)
        except OSError:
            if not target.exists():
                raise
            return
        sync_directory(target.parent)
        crash.point("layer-renamed")

    def remove(self, path: Path, later: Later = at_once) -> None:
        """Out of sight first, then away: a crash in between leaves only what the next start clears."""
        self._busy.add(path.name)
        later(partial(self._remove, path))

    def _remove(self, path: Path) -> None:
        aside = path if path.parent == self.staging else self.staging / secrets.token_hex(8)
        self._busy.add(aside.name)
        try:
            if aside != path:
                try:
                    os.rename(path, aside)
                except FileNotFoundError:
                    return
                crash.point("tree-aside")
            with opened(self.staging) as fd:
                trees.remove(fd, os.fsencode(aside.name))
        finally:
            self._busy -= {path.name, aside.name}

    def strays(self, layers: Collection[str], active: Collection[str]) -> list[Path]:
        """What has no record, and what is in `staging` and on nobody's mind."""
        known = ((self.layers, layers), (self.active, active), (self.staging, ()))
        busy = set(self._busy)
        return [
            directory / name
            for directory, names in known
            for name in sorted(set(os.listdir(directory)) - busy - set(names))
        ]

    def leftovers(self, layers: Collection[str], active: Collection[str]) -> None:
        """Remove what has no record."""
        for path in self.strays(layers, active):
            self.remove(path)

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """One thread at a time for a name: two images that share a layer unpack it once."""
        with self._guard:
            lock, waiting = self._locks.get(name, (threading.Lock(), 0))
            self._locks[name] = (lock, waiting + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, waiting = self._locks[name]
                if waiting == 1:
                    del self._locks[name]
                else:
                    self._locks[name] = (lock, waiting - 1)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
