"""What the container use cases need of other domains and of the runtime: small Protocols, owned by the consumer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tiffin.model.digest import Digest
from tiffin.model.image import Image
from tiffin.model.mount import Mount
from tiffin.model.platform import Platform
from tiffin.runtime.launcher import Attachment, Exit, Networking, Running
from tiffin.snapshots.snapshotter import Change, Usage


class Images(Protocol):
    """The local images."""

    def get(self, reference: str) -> Image:
        """By name, id or prefix of an id. Raises NotFound `No such image: x:latest`."""
        ...

    def chosen(self, reference: str, platform: Platform | None) -> Image:
        """As `get`; with a platform, that one's image of the name. NotFound where it isn't here."""
        ...

    def meant(self, name: str) -> set[Digest]:
        """The images that a name stands for, several of an index of platforms. Empty for none."""
        ...


class Snapshots(Protocol):
    """A container's layer over its image's, named by the container's id."""

    @property
    def name(self) -> str: ...
    def prepare(self, key: str, parent: Digest | None) -> tuple[Mount, ...]: ...
    def view(self, key: str, parent: Digest | None) -> tuple[Mount, ...]: ...
    def mounts(self, key: str) -> tuple[Mount, ...]: ...
    def changes(self, key: str, ignore: Collection[bytes] = ()) -> list[Change]: ...
    def diff(self, key: str, ignore: Collection[bytes] = ()) -> Iterator[bytes]: ...
    def usage(self, key: str) -> Usage: ...
    def snapshots(self) -> Collection[str]: ...
    def remove(self, key: str, later: Callable[[Callable[[], None]], None] = ...) -> None: ...


class Launcher(Protocol):
    """Starts containers, and finds those that an earlier daemon started: `runtime.launcher.Forkserver`."""

    async def start(
        self,
        plan: Mapping[str, Any],
        *,
        attachments: Sequence[Attachment] = (),
        network: Networking | None = None,
    ) -> Running: ...
    def prepare(self, plan: Mapping[str, Any]) -> Running: ...
    async def adopt(self, container_id: str, state_dir: Path) -> Running | Exit: ...
