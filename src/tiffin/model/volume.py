"""Volumes: named directories that outlive containers (Engine API v1.51, `Volume`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ANONYMOUS = "com.docker.volume.anonymous"
"""The label of a volume that nobody gave a name."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume. `mountpoint` is the host's path of its files, `created` nanoseconds since the epoch."""

    name: str
    mountpoint: str
    created: int
    driver: str = "local"
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def anonymous(self) -> bool:
        return ANONYMOUS in self.labels


@dataclass(frozen=True, slots=True)
class VolumeUsage:
    """`size` in bytes on disk, -1 when it can't be told; `references` counts the containers that have it."""

    size: int
    references: int
