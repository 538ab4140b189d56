"""What keeps volumes: the driver `local`, and whatever plugin speaks docker's protocol. Calls block."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tiffin.model.volume import Volume


@dataclass(frozen=True, slots=True)
class Found:
    """A volume as its driver knows it. `mountpoint` is "" where the driver tells it only once it is mounted."""

    name: str
    mountpoint: str = ""
    created: int = 0
    status: Mapping[str, Any] = field(default_factory=dict)


class Driver(Protocol):
    """Raises TiffinError with text that names the driver."""

    @property
    def name(self) -> str: ...

    @property
    def scope(self) -> str:
        """`local`, or `global` where every machine with this driver sees the same volumes."""
        ...

    def create(self, name: str, options: Mapping[str, str]) -> Found:
        """Make a volume. One of that name may be there already: the driver decides what that means."""
        ...

    def remove(self, volume: Volume) -> None:
        """With its files."""
        ...

    def mount(self, volume: Volume, holder: str) -> str:
        """The host's path of its files, there until `unmount` for the same holder (a container's id)."""
        ...

    def unmount(self, volume: Volume, holder: str) -> None: ...

    def find(self, name: str) -> Found | None: ...

    def all(self) -> list[Found]: ...
