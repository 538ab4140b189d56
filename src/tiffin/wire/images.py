"""The shapes of /images, /commit and their kin (Engine API v1.51). Attribute names are the API's, in snake case."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field


class PlatformOf(Struct, kw_only=True, omit_defaults=True):
    """A platform of an index, as the index has it."""

    architecture: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: list[str] = field(default_factory=list, name="os.features")
    variant: str = ""


class OciDescriptor(Struct, rename="camel", kw_only=True, omit_defaults=True):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = field(default_factory=dict)
    platform: PlatformOf | None = None


class ManifestSize(Struct, rename="pascal", kw_only=True):
    """bytes; total: with what is unpacked."""

    content: int
    total: int


class Unpacked(Struct, rename="pascal", kw_only=True):
    unpacked: int


class ImageData(Struct, rename="pascal", kw_only=True):
    """containers: the IDs of those that use it."""

    platform: PlatformOf
    containers: list[str]
    size: Unpacked


class AttestationData(Struct, rename="pascal", kw_only=True):
    """The digest of the manifest that is attested."""

    for_: str = field(name="For")


class ManifestSummary(Struct, rename="pascal", kw_only=True):
    """One manifest of an image (1.47). kind: image, attestation or unknown."""

    id: str = field(name="ID")
    descriptor: OciDescriptor
    available: bool
    size: ManifestSize
    kind: str
    image_data: ImageData | UnsetType = UNSET
    attestation_data: AttestationData | UnsetType = UNSET


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
    manifests: list[ManifestSummary] | UnsetType = UNSET  # 1.47, where asked for
    descriptor: OciDescriptor | UnsetType = UNSET  # beside it, 1.48


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
    descriptor: OciDescriptor | UnsetType = UNSET  # 1.48, as the next: where asked for
    manifests: list[ManifestSummary] | UnsetType = UNSET


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
    """The body of PUT /distribution/{name}/manifest (tiffin's own). sources: `host/path@digest`, other repositories."""

    media_type: str
    document: bytes
    sources: list[str] = field(default_factory=list)


class PublishedList(Struct, rename="pascal", kw_only=True):
    """Its answer."""

    digest: str
