"""Directories that builds keep: clients' contexts between builds, RUN's cache mounts, and scratch space.

contexts/<hex>/{tree/,hashes}    what a client has sent under a key, and the digests of its files
mounts/<hex>/{tree/,about}       a RUN --mount=type=cache, by its id
scratch/<random>/                gone with the build, or at the next start
"""

import asyncio
import hashlib
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tiffin.snapshots import trees
from tiffin.snapshots.directories import opened


@dataclass(frozen=True, slots=True)
class Kept:
    """One of them as `builder du` shows it; times in ns."""

    kind: str
    name: str
    path: Path
    size: int
    created: int
    used: int


class Directories:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._busy: Counter[Path] = Counter()
        self._locks: dict[Path, asyncio.Lock] = {}
        for name in ("contexts", "mounts", "scratch"):
            (root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (root / "scratch").iterdir():
            erase(path)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory, removed at the end. Blocks."""
        path = self.make_scratch()
        try:
            yield path
        finally:
            erase(path)

    def make_scratch(self) -> Path:
        """As `scratch`, for the caller to `erase`."""
        path = self.root / "scratch" / secrets.token_hex(8)
        path.mkdir(mode=0o755)
        return path

    @contextmanager
    def context(self, key: str) -> Iterator[Path]:
        """What is kept under a key, for this build alone; scratch space while another build has it, or without key."""
        path = self.root / "contexts" / _hex(key)
        if not key or self._busy[path]:
            with self.scratch() as path:
                yield _prepared(path, key)
            return
        self._busy[path] += 1
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            yield _prepared(path, key)
            os.utime(path)
        finally:
            self._busy[path] -= 1

    @asynccontextmanager
    async def mount(self, id: str, sharing: str) -> AsyncIterator[Path]:
        """A cache mount's directory. locked: one holder at a time; private: another one beside a busy one."""
        path = self.root / "mounts" / _hex(id)
        if sharing == "private":
            number = 0
            while self._busy[path]:
                number += 1
                path = self.root / "mounts" / _hex(f"{id}\0{number}")
        lock = self._locks.setdefault(path, asyncio.Lock())
        if sharing == "locked":
            await lock.acquire()
        self._busy[path] += 1
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            yield _prepared(path, id) / "tree"
            with suppress(FileNotFoundError):
                os.utime(path)
        finally:
            self._busy[path] -= 1
            if sharing == "locked":
                lock.release()

    def kept(self) -> list[Kept]:
        """Contexts and cache mounts. Blocks."""
        found = []
        for kind, directory in (("source.local", "contexts"), ("exec.cachemount", "mounts")):
            for path in (self.root / directory).iterdir():
                with suppress(OSError, ValueError):
                    about = json.loads((path / "about").read_bytes())
                    with opened(path / "tree") as fd:
                        size, _ = trees.usage(fd)
                    found.append(Kept(kind, about["name"], path, size, about["created"], path.stat().st_mtime_ns))
        return found

    def is_busy(self, kept: Kept) -> bool:
        return bool(self._busy[kept.path])

    def remove(self, kept: Kept) -> bool:
        """False where a build has it."""
        if self._busy[kept.path]:
            return False
        aside = self.root / "scratch" / secrets.token_hex(8)
        with suppress(FileNotFoundError):
            kept.path.rename(aside)
            erase(aside)
        return True


def _prepared(path: Path, name: str) -> Path:
    if not (path / "about").exists():
        (path / "tree").mkdir(mode=0o755, exist_ok=True)
        partial = path / "about.partial"
        partial.write_text(json.dumps({"name": name, "created": time.time_ns()}))
        partial.rename(path / "about")
    return path


def _hex(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def erase(path: Path) -> None:
    """Remove a tree by descriptors: nothing in it leads outside."""
    if path.parent.exists():
        with opened(path.parent) as fd:
            trees.remove(fd, os.fsencode(path.name))
