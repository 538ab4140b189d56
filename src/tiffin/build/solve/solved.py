"""What a build has made: layers and a configuration, not yet an image."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from tiffin.build.drafts import ImageDraft
from tiffin.build.plan import BuildPlan
from tiffin.model.digest import Digest


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """diff is the digest of the plain tar; blob the stored form of it: the same, or compressed (a base image's)."""

    diff: Digest
    blob: Digest


class Solved(Protocol):
    """Its layers stay until `release`, whatever is pruned meanwhile."""

    @property
    def plan(self) -> BuildPlan: ...

    @property
    def image(self) -> ImageDraft: ...

    @property
    def layers(self) -> tuple[LayerBlob, ...]: ...

    def document(self) -> bytes:
        """The image's configuration."""
        ...

    def opened(self) -> AbstractContextManager[int]:
        """Its root directory, read-only, as an fd: for `linux.paths.open_in`. Blocks while it is mounted."""
        ...

    def release(self) -> None:
        """Once; afterwards nothing of it may be used."""
        ...
