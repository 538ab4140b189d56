"""The shapes of /volumes (Engine API v1.51)."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from tiffin.wire.containers_host import rename


class VolumeCreate(Struct, rename=rename, kw_only=True):
    """POST /volumes/create."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class VolumeCopy(Struct, rename=rename, kw_only=True):
    """POST /tiffin/volumes/{name}/copy. Without labels it gets those of the first."""

    name: str = ""
    labels: dict[str, str] | None = None


class VolumeRename(Struct, rename=rename, kw_only=True):
    """POST /tiffin/volumes/{name}/rename."""

    name: str = ""


class UsageData(Struct, rename=rename, kw_only=True):
    """Only in GET /system/df."""

    size: int
    ref_count: int


class Volume(Struct, rename=rename, kw_only=True):
    """GET /volumes/{name}, and an entry of GET /volumes."""

    created_at: str
    driver: str
    labels: dict[str, str] | None
    mountpoint: str
    name: str
    options: dict[str, str] | None
    scope: str = "local"
    status: dict[str, Any] | UnsetType = UNSET
    usage_data: UsageData | UnsetType = UNSET


class VolumeList(Struct, rename=rename, kw_only=True):
    volumes: list[Volume]
    warnings: list[str] | None = None


class VolumesPruned(Struct, rename=rename, kw_only=True):
    volumes_deleted: list[str] | None
    space_reclaimed: int
