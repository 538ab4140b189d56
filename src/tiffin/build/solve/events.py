"""What a build tells while it works, as one stream: enough for BuildKit's status and for the classic builder's lines.

A vertex is a step of the graph, or something the engine does around it (looking up a base image, exporting). `digest`
names it; `inputs` are the vertices it waits for. Times are nanoseconds since the epoch. For each vertex, in this order:

    VertexStarted → any of VertexLog, VertexProgress, VertexWarning → VertexCompleted
    VertexStarted(cached=True) → VertexCompleted                                          taken from the cache
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import time_ns

from tiffin.build.dockerfile.rules import Finding
from tiffin.model.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexStarted:
    digest: Digest
    name: str
    inputs: tuple[Digest, ...] = ()
    cached: bool = False
    at: int = field(default_factory=time_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexCompleted:
    """error is empty where it went well; the build's own exception says more."""

    digest: Digest
    error: str = ""
    at: int = field(default_factory=time_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexLog:
    """What a step printed. stream 1 is stdout, 2 stderr. Never holds a secret that the engine handed out."""

    digest: Digest
    stream: int
    data: bytes
    at: int = field(default_factory=time_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexProgress:
    """A part of a vertex's work, `id` ("extracting sha256:…", "transferring context:"); total 0 where it is unknown.

    Reported when it starts, while it goes on, and once with done=True.
    """

    digest: Digest
    id: str
    current: int = 0
    total: int = 0
    done: bool = False
    started: int = 0
    at: int = field(default_factory=time_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexWarning:
    """A build check's finding; `digest` is the vertex of the Dockerfile."""

    digest: Digest
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexExplained:
    """Why a step was, or was not, taken from the cache; told after its start, where the request says `explain`.

    part is what of its key differs (`keys.Part.name`), "" where nothing does.
    """

    digest: Digest
    part: str
    reason: str
    at: int = field(default_factory=time_ns)


Event = VertexStarted | VertexCompleted | VertexLog | VertexProgress | VertexWarning | VertexExplained
Report = Callable[[Event], None]
"""Called on the event loop's thread, in order. Must not block."""


def silent(_: Event) -> None:
    """Reports nothing."""
