"""Volumes: named directories that outlive containers (Engine API v1.51, `Volume`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    scope: str = "local"
    status: Mapping[str, Any] = field(default_factory=dict)
    """What its driver says of it."""
    staged: str = ""
    """The name of the directory that is to become its own, while that is being done."""

    @property
    def anonymous(self) -> bool:
        return ANONYMOUS in self.labels


@dataclass(frozen=True, slots=True)
class VolumeUsage:
    """`size` in bytes on disk, -1 when it can't be told; `references` counts the containers that have it."""

    size: int
    references: int
