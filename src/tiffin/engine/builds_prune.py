"""What the build cache takes, and how it is made smaller."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from tiffin.build.solve.cache import Brought, Cache
from tiffin.build.solve.directories import Directories, Kept
from tiffin.build.solve.failed import Failed
from tiffin.build.solve.store import Store
from tiffin.engine.moments import moment
from tiffin.errors import Invalid
from tiffin.images import Images
from tiffin.model.digest import Digest, chain_ids, digest_of, hex_of

FILTERS = frozenset(
    ("until", "unused-for", "id", "parent", "type", "description", "inuse", "mutable", "immutable", "shared", "private")
) | {"label", "label!"}  # which `system prune` hands on; no cached step has labels
_ID = 25  # characters, as BuildKit's


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRecord:
    """A cached step as `docker builder du` shows it. Times in nanoseconds since the epoch, last_used 0 for never.

    type     regular, source.local, source.http, exec.cachemount, internal (what a failed step has left)
    shared   an image has the layer too: pruning it frees nothing
    """

    id: str
    parents: tuple[str, ...] = ()
    type: str
    description: str
    in_use: bool = False
    shared: bool = False
    mutable: bool = False
    size: int
    created: int
    last_used: int = 0
    usage_count: int = 0


_FLAGS: Mapping[str, Callable[[CacheRecord], bool]] = {
    "inuse": lambda one: one.in_use,
    "shared": lambda one: one.shared,
    "private": lambda one: not one.shared,
    "mutable": lambda one: one.mutable,
    "immutable": lambda one: not one.mutable,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """keep_storage, max_used_space, min_free_space in bytes, 0 for none: see `kept_bytes`.

    filters as the API has them, each a tuple of values; without `all` what images share stays.
    """

    all: bool = False
    keep_storage: int = 0
    max_used_space: int = 0
    min_free_space: int = 0
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Item:
    record: CacheRecord
    remove: Callable[[], bool]
    freed: int = 0


def usage(cache: Cache, directories: Directories, store: Store, images: Images) -> list[CacheRecord]:
    """Oldest first. Blocks."""
    return [item.record for item in _items(cache, directories, store, images)]


def _items(cache: Cache, directories: Directories, store: Store, images: Images) -> list[_Item]:
    held, imaged = set(store.holds.chains()), {
        chain for image in images.catalog.images() for chain in chain_ids(image.config.diff_ids)
    }  # fmt: skip
    items = []
    for step in cache.steps():
        record = CacheRecord(
            id=_id(step.key),
            parents=tuple(_id(Digest(parent)) for parent in step.parents),
            type=step.kind,
            description=step.label,
            in_use=step.stack.chain in held,
            shared=step.stack.chain in imaged,
            size=step.size,
            created=step.created,
            last_used=step.used,
            usage_count=step.uses,
        )
        items.append(_Item(record, partial(cache.remove, [step.key])))
    items += [_brought(one, cache, held, imaged) for one in cache.brought()]
    items += [_directory(kept, directories) for kept in directories.kept()]
    items += [_failed(one, store) for one in store.failed.listed()]
    blobs = set(store.holds.blobs())
    for one in cache.downloads():
        record = CacheRecord(
            id=_id(digest_of(one.source.encode())),
            type="source.http",
            description=one.source,
            in_use=one.blob in blobs,
            size=one.size,
            created=one.created,
            last_used=one.used,
            usage_count=one.uses,
        )
        items.append(_Item(record, partial(cache.remove_downloads, [one.source])))
    return sorted(items, key=lambda item: item.record.created)


def _brought(one: Brought, cache: Cache, held: Collection[Digest | None], imaged: Collection[Digest | None]) -> _Item:
    chain = one.stack.chain
    assert chain is not None
    record = CacheRecord(
        id=_id(digest_of(f"brought\0{chain}".encode())),
        type="regular",
        description=f"imported: {one.label}",
        in_use=chain in held,
        shared=chain in imaged,
        size=one.size,
        created=one.created,
    )
    return _Item(record, partial(cache.remove_brought, chain))


def _directory(kept: Kept, directories: Directories) -> _Item:
    what = "cached mount" if kept.kind == "exec.cachemount" else "local source for"
    record = CacheRecord(
        id=_id(digest_of(f"{kept.kind}\0{kept.name}".encode())),
        type=kept.kind,
        description=f"{what} {kept.name}",
        in_use=directories.is_busy(kept),
        mutable=True,
        size=kept.size,
        created=kept.created,
        last_used=kept.used,
    )
    return _Item(record, lambda: directories.remove(kept), kept.size)


def _failed(one: Failed, store: Store) -> _Item:
    record = CacheRecord(
        id=one.id[:_ID],
        type="internal",
        description=f"left by the failed {one.step.label}",
        mutable=True,
        size=one.size,
        created=one.at,
    )
    return _Item(record, lambda: store.failed.remove(one.id), one.size)


def _id(digest: Digest) -> str:
    return hex_of(digest)[:_ID]


def prune(
    request: PruneRequest, cache: Cache, directories: Directories, store: Store, images: Images
) -> tuple[list[CacheRecord], int]:
    """What was removed, and the bytes freed. Blocks. Raises Invalid for filters that make no sense."""
    unknown = set(request.filters) - FILTERS
    if unknown:
        raise Invalid(f"invalid filter '{sorted(unknown)[0]}'")
    items = _items(cache, directories, store, images)
    total = sum(item.record.size for item in items)
    may_stay = kept_bytes(request, total, shutil.disk_usage(directories.root).free)
    removed, freed = [], 0
    for item in sorted(items, key=lambda item: item.record.last_used or item.record.created):
        record = item.record
        if record.in_use or (record.shared and not request.all) or not _matches(record, request.filters):
            continue
        if may_stay is not None and total <= may_stay:
            break
        if item.remove():
            removed.append(record)
            total -= record.size
            freed += item.freed
    if removed:
        cache.notes.tidy()
        freed += images.collect()
    return removed, freed


def kept_bytes(request: PruneRequest, total: int, free: int) -> int | None:
    """How much of `total` may stay: less than max_used_space, and so much less that min_free_space is free, but never
    less than keep_storage. None where no limit was given: nothing stays."""
    if not request.max_used_space and not request.min_free_space:
        return request.keep_storage or None
    most = request.max_used_space or total
    lacking = max(request.min_free_space - free, 0)
    return max(min(most, total - lacking), request.keep_storage)


def _matches(record: CacheRecord, filters: Mapping[str, tuple[str, ...]]) -> bool:
    for name, values in filters.items():
        if name in ("until", "unused-for"):
            before = min(moment(value, time.time_ns()) for value in values)
            if (record.last_used or record.created) >= before:
                return False
        elif name in ("label", "label!"):
            if name == "label":
                return False
        elif name in _FLAGS:
            if _FLAGS[name](record) == all(value in ("0", "false") for value in values):
                return False
        else:
            having = {"id": (record.id,), "parent": record.parents, "type": (record.type,)}
            texts = having.get(name, (record.description,))
            if not any(_is(text, value, name) for text in texts for value in values):
                return False
    return True


def _is(text: str, value: str, name: str) -> bool:
    if name == "description":
        return value.removeprefix("~=") in text
    return text.startswith(value) if name in ("id", "parent") else text == value
