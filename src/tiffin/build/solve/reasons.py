"""What is told of a step where a build shall explain itself: why it was, or was not, cached; sizes and times."""

import time
from collections.abc import Mapping

from tiffin.build.keys import Part
from tiffin.build.plan import BuildPlan
from tiffin.build.solve.cache import IMPORTED, Cache
from tiffin.build.solve.cache import Step as Record
from tiffin.build.solve.explaining import explain
from tiffin.build.solve.notes import Listing, shortened
from tiffin.build.solve.request import BuildRequest
from tiffin.build.steps import ImageSource, Step
from tiffin.model.digest import Digest

_UNITS = ("B", "kB", "MB", "GB", "TB")


class Reasons:
    """Of one build. listings: what it has read itself, by digest. Blocks; any thread."""

    def __init__(self, cache: Cache, plan: BuildPlan, request: BuildRequest) -> None:
        self._cache, self._plan = cache, plan
        self._project = next((context.key for context in request.contexts.values() if context.key), "")
        self.listings: dict[Digest, Listing] = {}

    def cached(self, record: Record) -> str:
        """Of a step that was found."""
        took = self._cache.notes.took(record.key)
        ago = f"made {_span(time.time_ns() - record.created)} ago"
        if record.kind == IMPORTED:
            return f"an imported cache has it; {ago}"
        within = f" in {_span(took)}" if took is not None else ""
        return f"nothing that it depends on has changed; {ago}{within}, {_size(record.size)}"

    def missed(self, step: Step, label: str, parts: tuple[Part, ...]) -> tuple[str, str]:
        """The part that differs, and a sentence."""
        bases = [self._name(one) for one in step.inputs]
        known, own = self._cache.steps(), self._cache.notes.keys(self._project) if self._project else ()
        return explain(known, own, label, parts, bases, self._listing)

    def made(self, size: int, took: int) -> str:
        """Of a step that was run."""
        return f"made in {_span(took)}, {_size(size)}"

    def keep(self, key: Digest, took: int, parts: tuple[Part, ...]) -> None:
        """For the builds to come."""
        read: Mapping[Digest, Listing] = {
            digest: listing
            for digest, listing in self.listings.items()
            if any(part.name.startswith("files ") and digest in part.value for part in parts)
        }
        self._cache.notes.add(key, took, self._project, read)

    def _listing(self, digest: Digest) -> Mapping[bytes, bytes] | None:
        own = self.listings.get(digest)
        return self._cache.notes.listing(digest) if own is None else shortened(own)

    def _name(self, digest: Digest | None) -> str:
        step = self._plan.steps.get(digest) if digest else None
        if isinstance(step, ImageSource):
            return f"FROM {step.reference}"
        return step.label if step else ""


def _span(nanoseconds: int) -> str:
    seconds = max(0, nanoseconds) / 1e9
    for most, unit, each in ((60, "s", 1), (3600, "min", 60), (86400, "h", 3600)):
        if seconds < most:
            return f"{seconds / each:.1f}{unit}"
    return f"{seconds / 86400:.0f} days"


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}{_UNITS[-1]}"
