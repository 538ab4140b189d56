"""What a build is asked for, and what it may ask back of whoever asked for it."""

import hashlib
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from tiffin.build.options import BuildOptions
from tiffin.build.steps import Step
from tiffin.content.blobs import BlobWriter
from tiffin.errors import Invalid
from tiffin.model.container_host import HostConfig
from tiffin.model.descriptor import Descriptor
from tiffin.model.digest import Digest
from tiffin.registry.credentials import NOBODY, Credentials

if TYPE_CHECKING:
    from tiffin.build.solve.solved import Solved


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a context a build takes.

    paths    relative, sorted; wildcards (Go's filepath.Match) possible; symlinks on the way are to be followed, so that
             what they lead to comes too. Empty: all of it
    exclude  ignore patterns (`dockerfile.ignore`), already read from .dockerignore
    """

    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Context(Protocol):
    """A directory of the client's."""

    @property
    def key(self) -> str:
        """Names the directory across builds (BuildKit's shared key): what was sent before is kept under it, and
        `take` finds it again in `into`. Empty: nothing is kept."""
        ...

    async def take(self, wanted: Wanted, into: Path, progress: "Progress") -> Path:
        """Bring what is wanted; gives the directory that holds it: `into`, or one that lies ready.

        `into` is empty, or holds what the last build with this key took (of a former state: files may have changed,
        vanished, or not been wanted then). Afterwards it is the client's, with modes and mtimes; owners are 0:0. A file
        that did not change must not be written again: its inode and ctime say that its digest is still known. More than
        what is wanted does no harm, as steps look for paths. No link in what the client sends may lead a write out of
        `into`. Raises tiffin.errors.
        """
        ...


class Progress(Protocol):
    def __call__(self, current: int, total: int = 0) -> None:
        """Bytes so far. On the event loop's thread."""
        ...


class Client(Protocol):
    """Who asked for the build."""

    async def secret(self, id: str) -> bytes | None:
        """None where there is none of this name."""
        ...

    async def has_agent(self, id: str) -> bool:
        """Whether an ssh agent can be reached under this name."""
        ...

    async def agent(self, id: str, connection: socket.socket) -> None:
        """Relay one connection of a process in a RUN to the ssh agent until either side ends, and close it."""
        ...

    async def credentials(self, domain: str) -> Credentials:
        """For a registry; NOBODY where there are none."""
        ...

    async def store(self, id: str) -> "CacheStore":
        """A directory of the client's that holds caches. Raises Invalid where it offers none of this name."""
        ...


class CacheStore(Protocol):
    """Where a cache is kept: a repository, or a directory of the client's. Methods raise tiffin.errors."""

    async def read(self, blob: Digest, most: int) -> bytes:
        """A small blob, or a manifest, as it lies there: the reader verifies it. Invalid above `most` bytes."""
        ...

    async def fetch(self, blob: Descriptor, writer: BlobWriter, told: Callable[[int], None]) -> None:
        """Write a blob's bytes, for the caller to verify. told: bytes so far. Invalid for more than were promised."""
        ...

    async def has(self, blob: Digest) -> bool: ...

    async def put(self, blob: Descriptor, opened: Callable[[], BinaryIO]) -> None:
        """Send a blob that is not there yet."""
        ...


class Nobody:
    """A client that gives nothing."""

    async def secret(self, id: str) -> bytes | None:
        return None

    async def has_agent(self, id: str) -> bool:
        return False

    async def agent(self, id: str, connection: socket.socket) -> None:
        connection.close()

    async def credentials(self, domain: str) -> Credentials:
        return NOBODY

    async def store(self, id: str) -> CacheStore:
        raise Invalid("local caches need a client with a session: docker buildx, or tiffin build")


@dataclass(frozen=True, slots=True)
class CachePlace:
    """A cache to import or to export: type (registry, local, inline) and what was said about it."""

    type: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As progress names it; BuildKit has a number of its own for those that are not in a registry."""
        if self.type == "registry" and self.attributes.get("ref"):
            return self.attributes["ref"]
        text = json.dumps([self.type, sorted(self.attributes.items())]).encode()
        return f"{self.type}:{int.from_bytes(hashlib.sha256(text).digest()[:8], 'big')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One platform's build.

    options       `ignore` must hold the patterns that apply to the main context
    name          of the Dockerfile, for messages
    contexts      by name: "context", and what `local:NAME` in options.contexts says
    main          where the main context comes from, if not from the client (a HttpSource or GitSource)
    results       builds of the same client by id, for `input:ID` in options.contexts
    pull          ask the registry for base images though they are here
    cache_from    images whose steps may be used. None: every step in the cache
    imports       caches of other builders, which this build then trusts and no other
    inline        the image shall carry one
    whole_trail   keep the layers of every step as long as the result: a cache of all of them is to be exported
    entitlements  "network.host", "security.insecure": what RUN may ask for
    explain       tell of each step why it was, or was not, taken from the cache
    host          limits and settings of the containers that RUN gets: memory, cpu, shm_size, ulimits, cgroup_parent,
                  extra_hosts, security_opt, network_mode ("default": as options.network says)
    """

    dockerfile: bytes
    options: BuildOptions
    name: str = "Dockerfile"
    contexts: Mapping[str, Context] = field(default_factory=dict)
    main: Step | None = None
    results: "Mapping[str, Solved]" = field(default_factory=dict)
    client: Client = field(default_factory=Nobody)
    pull: bool = False
    explain: bool = False
    cache_from: tuple[str, ...] | None = None
    imports: tuple[CachePlace, ...] = ()
    inline: bool = False
    whole_trail: bool = False
    entitlements: frozenset[str] = frozenset()
    host: HostConfig = field(default_factory=HostConfig)
