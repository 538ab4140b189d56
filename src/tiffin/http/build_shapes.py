"""Records of the build cache as the API has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from tiffin.engine.moments import rfc3339
from tiffin.http.request import Request
from tiffin.wire import build as wire

if TYPE_CHECKING:
    from tiffin.engine import builds_prune


def cache_record(request: Request, record: builds_prune.CacheRecord) -> wire.CacheRecord:
    """One of GET /system/df."""
    several = request.since("1.42")
    return wire.CacheRecord(
        id=record.id,
        parent=UNSET if several else (record.parents[0] if record.parents else ""),
        parents=(list(record.parents) or UNSET) if several else UNSET,
        type=record.type,
        description=record.description,
        in_use=record.in_use,
        shared=record.shared,
        size=record.size,
        created_at=rfc3339(record.created),
        last_used_at=rfc3339(record.last_used) if record.last_used else None,
        usage_count=record.usage_count,
    )
