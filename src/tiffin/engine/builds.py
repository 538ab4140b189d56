"""Builds: the solver with images to stand on, containers to run in, and images as the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tiffin.build.solve.events import Report, silent
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.solved import Solved
from tiffin.errors import Unsupported
from tiffin.model.digest import Digest
from tiffin.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Exported:
    """digest is the manifest's, config the image's ID."""

    digest: Digest
    config: Digest
    names: tuple[Reference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRecord:
    """A cached step as `docker builder du` shows it. Times in nanoseconds since the epoch, last_used 0 for never."""

    id: Digest
    parents: tuple[Digest, ...]
    type: str
    description: str
    in_use: bool
    shared: bool
    size: int
    created: int
    last_used: int
    usage_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """keep_storage, reserved_space, max_used_space, min_free_space in bytes, 0 for none; filters as the API has them:
    until, id, parent, type, description, inuse, shared, private; each a tuple of values."""

    all: bool = False
    keep_storage: int = 0
    max_used_space: int = 0
    min_free_space: int = 0
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Builds:
    async def solve(self, request: BuildRequest, report: Report = silent) -> Solved:
        """Run what the target needs. Raises DockerfileError (lines), tiffin.errors; cancelling kills what runs.

        A failing step raises build.solve.failures.StepFailed with its label, span and, for RUN, the exit code.
        """
        raise Unsupported("building images is not part of this version; load, import or pull them")

    async def export(
        self,
        solved: Solved,
        names: Sequence[Reference] = (),
        report: Report = silent,
        *,
        annotations: Mapping[str, str] | None = None,
    ) -> Exported:
        """Store the result as an image and give it its names (without any it is dangling, as in docker).

        Files for `-o type=local|tar|docker|oci` come from `solved.opened()` and `snapshots.pack`, or from
        `images.save` of the exported image.
        """
        raise Unsupported("building images is not part of this version; load, import or pull them")

    def usage(self) -> list[CacheRecord]:
        """What the cache holds, oldest first. Blocks."""
        raise Unsupported("building images is not part of this version; load, import or pull them")

    async def prune(self, request: PruneRequest) -> tuple[list[CacheRecord], int]:
        """What was removed, and the bytes freed."""
        raise Unsupported("building images is not part of this version; load, import or pull them")
