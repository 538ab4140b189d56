"""`images`, `history`: what is shown, in docker's order and by docker's filters."""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tiffin.errors import Invalid, NotFound
from tiffin.images.catalog import Catalog
from tiffin.images.indexes import Indexes
from tiffin.model.digest import chain_ids
from tiffin.model.image import Image
from tiffin.model.reference import parse_reference
from tiffin.snapshots import Snapshotter

FILTERS = frozenset({"dangling", "label", "before", "since", "reference", "until"})
_FRACTION = re.compile(r"(\.\d{1,6})\d*")


@dataclass(frozen=True, slots=True)
class Query:
    """Which images: `until` in seconds since the epoch; a filter's values are alternatives, labels must all match."""

    all: bool = False
    dangling: bool | None = None
    labels: Sequence[str] = ()
    without_labels: Sequence[str] = ()
    before: Sequence[str] = ()
    since: Sequence[str] = ()
    references: Sequence[str] = ()
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of an image's history. id: the image's for the last, else `<missing>`; size in bytes."""

    id: str
    created: int
    created_by: str
    tags: tuple[str, ...]
    size: int
    comment: str


def created_seconds(text: str | None) -> float:
    """Seconds since the epoch; 0 where an image doesn't say."""
    if not text:
        return 0.0
    try:
        moment = datetime.fromisoformat(_FRACTION.sub(r"\1", text).replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def labels_match(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    for item in wanted:
        key, equals, value = item.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


class Listing:
    def __init__(self, catalog: Catalog, indexes: Indexes, snapshots: Snapshotter) -> None:
        self._catalog = catalog
        self._indexes = indexes
        self._snapshots = snapshots

    def images(self, query: Query) -> list[Image]:
        """Newest first."""
        oldest = self._limit(query.since, max)
        newest = self._limit(query.before, min)
        found = []
        hidden = self._indexes.hidden()  # they are shown with the image that has their index's name
        images = [image for image in self._catalog.images() if image.id not in hidden]
        parents = {image.parent for image in images}
        for image in images:
            created = created_seconds(image.created)
            nameless = not image.repo_tags and not image.repo_digests
            dangling = nameless and image.id not in parents
            if query.dangling is not None and query.dangling != dangling:
                continue
            if not query.all and query.dangling is None and nameless and image.id in parents:
                continue
            if (oldest is not None and created <= oldest) or (newest is not None and created >= newest):
                continue
            if query.until is not None and created > query.until:
                continue
            if not labels_match(image.config.labels, query.labels):
                continue
            if any(labels_match(image.config.labels, [item]) for item in query.without_labels):
                continue
            if query.references:
                kept = _matching(image, query.references)
                if kept is None:
                    continue
                image = kept
            found.append(image)
        return sorted(found, key=lambda image: created_seconds(image.created), reverse=True)

    def _limit(self, names: Sequence[str], choose: Callable[[list[float]], float]) -> float | None:
        moments = []
        for name in names:
            try:
                moments.append(created_seconds(self._catalog.get(name).created))
            except NotFound as error:
                raise NotFound(f"No such image: {name}") from error
        return choose(moments) if moments else None

    def history(self, image: Image) -> list[Step]:
        """Newest first."""
        chains = iter(chain_ids(image.config.diff_ids))
        steps = []
        for entry in image.config.history:
            size = 0
            if not entry.get("empty_layer"):
                chain = next(chains, None)
                layer = self._snapshots.layer(chain) if chain else None
                size = layer.size if layer else 0
            created = int(created_seconds(str(entry.get("created") or "")))
            words = str(entry.get("created_by") or ""), str(entry.get("comment") or "")
            steps.append(Step("<missing>", created, words[0], (), size, words[1]))
        if not steps:
            steps.append(Step("<missing>", int(created_seconds(image.created)), "", (), image.size, ""))
        last = steps.pop()
        steps.append(Step(image.id, last.created, last.created_by, image.repo_tags, last.size, last.comment))
        return steps[::-1]


def _matching(image: Image, patterns: Sequence[str]) -> Image | None:
    """The image with the names that a pattern matches."""
    tags = tuple(name for name in image.repo_tags if any(_matches(pattern, name) for pattern in patterns))
    digests = tuple(name for name in image.repo_digests if any(_matches(pattern, name) for pattern in patterns))
    if not tags and not digests:
        return None
    return replace(image, repo_tags=tags, repo_digests=digests)


def _matches(pattern: str, name: str) -> bool:
    """A shell pattern against the familiar name, with and without its tag; `*` does not cross a slash."""
    reference = parse_reference(name)
    shown = (reference.familiar, reference.familiar_name)
    if "[" in pattern and "]" not in pattern:
        raise Invalid(f"invalid filter 'reference={pattern}': syntax error in pattern")
    return any(
        text.count("/") == pattern.count("/")
        and all(
            fnmatch.fnmatchcase(part, wanted) for part, wanted in zip(text.split("/"), pattern.split("/"), strict=True)
        )
        for text in shown
    )
