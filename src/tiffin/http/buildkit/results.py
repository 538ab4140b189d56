"""What a build has come to: a result, or one for each platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiffin.build.solve.solved import Solved


@dataclass(frozen=True, slots=True)
class Built:
    """results: by platform, in the order that was asked for. several: told as a list, though it be of one."""

    results: Mapping[str, Solved]
    several: bool = False

    @property
    def only(self) -> Solved | None:
        """The one result of a build for one platform."""
        return next(iter(self.results.values())) if len(self.results) == 1 else None
