"""What a build is asked for, and what it may ask back of whoever asked for it."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tiffin.build.options import BuildOptions
from tiffin.build.steps import Step
from tiffin.model.container_host import HostConfig
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
    imports       images that may carry a cache, which this build then trusts and no other
    inline        the image shall carry one
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
    imports: tuple[str, ...] = ()
    inline: bool = False
    entitlements: frozenset[str] = frozenset()
    host: HostConfig = field(default_factory=HostConfig)
