"""What the solver needs of others, said by itself: base images, processes, and a place to look names up."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from tiffin.build.options import ImageRequest, ResolvedImage
from tiffin.build.solve.events import Report
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.values import Stack
from tiffin.build.steps import ImageSource, RunCommand
from tiffin.model.digest import Digest
from tiffin.model.mount import Mount

Mounting = Callable[[Sequence[Mount]], int]
"""A snapshot's mounts as a detached mount: fd. Raises OSError."""

OwnerOf = Callable[[int, str], tuple[int, int]]
"""(root, `user[:group]`) to uid and gid, by the passwd and group files of the root. Raises Invalid."""


class Bases(Protocol):
    """Images to stand on. What they gave stays until the build has ended."""

    async def resolve(
        self, asked: ImageRequest, request: BuildRequest, vertex: Digest, report: Report
    ) -> ResolvedImage:
        """Here, or pulled. Raises NotFound in docker's words."""
        ...

    def layers(self, step: ImageSource) -> Stack:
        """The layers of an image that was resolved."""
        ...


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory or file of this machine in the container; `subpath` is resolved inside `source` at the start."""

    source: str
    target: str
    subpath: str = ""
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Process:
    """A RUN. snapshot: the key of its root, above `chain`; environment: complete but for HOME and what engines set.

    targets   where its mounts are, links resolved in the root as it was before: what is made there is the engine's
    """

    snapshot: str
    chain: Digest | None
    step: RunCommand
    environment: tuple[str, ...]
    binds: tuple[Bind, ...] = ()
    tmpfs: tuple[tuple[str, int], ...] = ()
    targets: tuple[bytes, ...] = ()


class Runner(Protocol):
    async def run(self, process: Process, request: BuildRequest, output: Callable[[int, bytes], None]) -> int:
        """The exit status, when the process and all it started have ended. Cancelled, it is killed.

        output is called with 1 or 2 and bytes, on the loop. Raises Invalid for what can't be started (127's and 126's
        included, in docker's words).
        """
        ...

    @property
    def own(self) -> Collection[bytes]:
        """Paths that the engine makes in every root: no change of a process's."""
        ...
