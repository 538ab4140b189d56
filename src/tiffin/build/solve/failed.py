"""RUNs that failed, with the files they have left: the newest few, each until somebody has looked at it.

They are known to the running daemon alone; the next one removes their working copies at its start.
"""

import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tiffin.build.options import BuildOptions
from tiffin.build.solve.contents import Hashes
from tiffin.build.solve.directories import Directories, erase
from tiffin.build.solve.request import BuildRequest, Nobody
from tiffin.build.solve.values import EMPTY, Files, Stack, Value
from tiffin.build.steps import BindMount, CacheMount, RunCommand
from tiffin.errors import NotFound, TiffinError
from tiffin.snapshots import trees
from tiffin.snapshots.directories import opened

if TYPE_CHECKING:
    from tiffin.build.solve.store import Store

MOST = 4
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Failed:
    """One of them.

    id      the key of its working copy, above `below`; size: bytes that the copy takes
    inputs  what its mounts read
    undo    lets go of what is kept for it
    at      ns since the epoch
    """

    id: str
    step: RunCommand
    code: int
    size: int
    below: Stack
    inputs: tuple[Value, ...]
    request: BuildRequest
    undo: ExitStack
    at: int = field(default_factory=time.time_ns)


class FailedSteps:
    """Any thread."""

    def __init__(self, store: "Store", most: int = MOST) -> None:
        self._store = store
        self._most = most
        self._guard = threading.Lock()
        self._kept: dict[str, Failed] = {}  # oldest first
        self._open: set[str] = set()

    def keep(
        self,
        key: str,
        step: RunCommand,
        code: int,
        below: Stack,
        inputs: Iterable[Value],
        request: BuildRequest,
        directories: Directories,
    ) -> bool:
        """Keep a working copy, with what its mounts need; the oldest goes for it. False where that does not work."""
        mounted = {one.input for one in step.mounts if isinstance(one, BindMount | CacheMount)}
        undo = ExitStack()
        try:
            self._hold(below, undo)
            values = tuple(
                self._lasting(one, directories, undo) if at in mounted else EMPTY for at, one in enumerate(inputs)
            )
            size = self._store.snapshots.usage(key).size
        except (OSError, TiffinError):
            undo.close()
            self._store.snapshots.remove(key)
            return False
        bare = replace(
            request, dockerfile=b"", options=BuildOptions(), contexts={}, results={}, main=None, client=Nobody()
        )
        with self._guard:
            self._kept[key] = Failed(key, step, code, size, below, values, bare, undo)
            surplus = list(self._kept)[: -self._most]
        for one in surplus:
            self.remove(one)
        return True

    def _hold(self, stack: Stack, undo: ExitStack) -> None:
        self._store.holds.take(stack)
        undo.callback(self._store.holds.release, stack)

    def _lasting(self, value: Value, directories: Directories, undo: ExitStack) -> Value:
        """A client's directory is another one with the next build: it is copied."""
        if isinstance(value, Stack):
            self._hold(value, undo)
            return value
        path = directories.make_scratch()
        undo.callback(erase, path)
        with opened(value.path) as given, opened(path) as target:
            trees.copy(given, target)
        return Files(path, Hashes())

    def listed(self) -> list[Failed]:
        """Newest first; without those that somebody looks at."""
        with self._guard:
            return list(reversed(self._kept.values()))

    def ids(self) -> set[str]:
        """The working copies, those in use too."""
        with self._guard:
            return {*self._kept, *self._open}

    def take(self, id: str) -> Failed:
        """One for oneself; `done` or `give_back` ends that. "": the newest. NotFound."""
        with self._guard:
            found = [one for one in reversed(self._kept.values()) if one.id.startswith(id)]
            if not found or (id and len(found) > 1):
                known = ", ".join(one.id[:_SHORT] for one in reversed(self._kept.values())) or "none"
                raise NotFound(f"no failed step {id[:_SHORT] or 'is kept'}; those that are kept: {known}")
            taken = self._kept.pop(found[0].id)
            self._open.add(taken.id)
            return taken

    def give_back(self, failed: Failed) -> None:
        """As if it had not been taken."""
        with self._guard:
            self._open.discard(failed.id)
            self._kept[failed.id] = failed

    def done(self, failed: Failed) -> None:
        """Remove what `take` gave. Blocks."""
        self._store.snapshots.remove(failed.id)
        failed.undo.close()
        with self._guard:
            self._open.discard(failed.id)

    def remove(self, id: str) -> bool:
        """False where it is gone, or in use. Blocks."""
        with self._guard:
            failed = self._kept.pop(id, None)
            if failed is not None:
                self._open.add(id)
        if failed is not None:
            self.done(failed)
        return failed is not None
