"""The shapes of /build and /build/prune (Engine API v1.51)."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field


class ErrorDetail(Struct, omit_defaults=True):
    """code: the exit status of the command that failed."""

    code: int = 0
    message: str = ""


class ProgressDetail(Struct, kw_only=True, omit_defaults=True):
    current: int = 0
    total: int = 0


_CAMEL = {"progress_detail": "progressDetail", "error_detail": "errorDetail"}


class Line(Struct, rename=_CAMEL, kw_only=True, omit_defaults=True):
    """One line of a build's stream."""

    stream: str = ""
    status: str = ""
    id: str = ""
    progress_detail: ProgressDetail | UnsetType = UNSET
    error_detail: ErrorDetail | UnsetType = UNSET
    error: str = ""
    aux: Any = UNSET


class Pruned(Struct, rename="pascal", kw_only=True):
    """POST /build/prune."""

    caches_deleted: list[str] | None
    space_reclaimed: int


class CacheRecord(Struct, rename="pascal", kw_only=True):
    """A build cache record of GET /system/df."""

    id: str = field(name="ID")
    parent: str | UnsetType = UNSET  # below 1.42
    parents: list[str] | UnsetType = UNSET
    type: str
    description: str
    in_use: bool
    shared: bool
    size: int
    created_at: str
    last_used_at: str | None
    usage_count: int
