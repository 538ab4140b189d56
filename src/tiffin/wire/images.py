"""The shapes of /images, /commit and their kin (Engine API v1.51). Attribute names are the API's, in snake case."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field


class Summary(Struct, rename="pascal", kw_only=True):
    """One image of GET /images/json. sizes in bytes, -1 where nobody asked; created in seconds since the epoch."""

    id: str
    parent_id: str
    repo_tags: list[str]
    repo_digests: list[str]
    created: int
    size: int
    shared_size: int
    virtual_size: int | UnsetType = UNSET  # below 1.44
    labels: dict[str, str] | None
    containers: int


class GraphDriver(Struct, rename="pascal", kw_only=True):
    name: str
    data: dict[str, str] | None


class RootFS(Struct, rename="pascal", kw_only=True):
    type: str = "layers"
    layers: list[str]


class Metadata(Struct, rename="pascal", kw_only=True):
    last_tag_time: str


class Inspected(Struct, rename="pascal", kw_only=True):
    """GET /images/{name}/json."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str
    comment: str
    created: str | UnsetType = UNSET
    container: str | UnsetType = UNSET  # below 1.45, as the next
    container_config: dict[str, Any] | UnsetType = UNSET
    docker_version: str
    author: str
    config: dict[str, Any]
    architecture: str
    variant: str | UnsetType = UNSET
    os: str
    size: int
    virtual_size: int | UnsetType = UNSET  # below 1.44
    graph_driver: GraphDriver
    root_fs: RootFS = field(name="RootFS")
    metadata: Metadata


class HistoryItem(Struct, rename="pascal", kw_only=True):
    """One instruction of GET /images/{name}/history, newest first."""

    id: str
    created: int
    created_by: str
    tags: list[str] | None
    size: int
    comment: str


class Removal(Struct, rename="pascal", kw_only=True, omit_defaults=True):
    """Either of the two, in DELETE /images/{name} and in a prune."""

    untagged: str = ""
    deleted: str = ""


class Pruned(Struct, rename="pascal", kw_only=True):
    """POST /images/prune."""

    images_deleted: list[Removal] | None
    space_reclaimed: int


class Committed(Struct, rename="pascal", kw_only=True):
    """POST /commit."""

    id: str


class ProgressDetail(Struct, kw_only=True, omit_defaults=True):
    current: int = 0
    total: int = 0


class ErrorDetail(Struct):
    message: str


_CAMEL = {"progress_detail": "progressDetail", "error_detail": "errorDetail"}


class Line(Struct, rename=_CAMEL, kw_only=True, omit_defaults=True):
    """One line of load, import, pull and push: a text for the user, the state of one layer, or `aux` for programs."""

    stream: str = ""
    status: str = ""
    progress_detail: ProgressDetail | UnsetType = UNSET
    progress: str = ""
    id: str = ""
    error_detail: ErrorDetail | UnsetType = UNSET
    error: str = ""
    aux: Any = UNSET


class Login(Struct, rename="pascal", kw_only=True):
    """POST /auth."""

    identity_token: str
    status: str


class PlatformOf(Struct, kw_only=True, omit_defaults=True):
    """A platform of an index, as the index has it."""

    architecture: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: list[str] = field(default_factory=list, name="os.features")
    variant: str = ""


class Described(Struct, rename="camel", kw_only=True):
    media_type: str
    digest: str
    size: int


class Distributed(Struct, rename="pascal", kw_only=True):
    """GET /distribution/{name}/json."""

    descriptor: Described
    platforms: list[PlatformOf]


class RemoteManifest(Struct, rename="pascal", kw_only=True):
    """GET /distribution/{name}/manifest (tiffin's own): documents in base64. config: null for an index."""

    media_type: str
    digest: str
    size: int
    document: bytes
    config: bytes | None


class ManifestList(Struct, rename="pascal", kw_only=True):
    """The body of PUT /distribution/{name}/manifest (tiffin's own). sources: `host/path@digest` in other repositories."""

    media_type: str
    document: bytes
    sources: list[str] = field(default_factory=list)


class PublishedList(Struct, rename="pascal", kw_only=True):
    """Its answer."""

    digest: str
