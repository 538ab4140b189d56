"""The shapes of /networks (Engine API v1.51)."""

from msgspec import Struct, field

from tiffin.wire.containers import EndpointRequest
from tiffin.wire.containers_host import rename


class IPAMConfig(Struct, rename=rename, kw_only=True, omit_defaults=True):
    subnet: str = ""
    ip_range: str = field(default="", name="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] | None = None
    aux_address: dict[str, str] | None = None  # what the specification's prose calls it


class IPAM(Struct, rename=rename, kw_only=True):
    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IPAMConfig] | None = None


class ConfigReference(Struct, rename=rename, kw_only=True):
    network: str = ""


class NetworkCreate(Struct, rename=rename, kw_only=True):
    """POST /networks/create."""

    name: str = ""
    driver: str = "bridge"
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    ipam: IPAM | None = field(default=None, name="IPAM")
    enable_ipv4: bool | None = field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = field(default=None, name="EnableIPv6")
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class NetworkCreated(Struct, rename=rename, kw_only=True):
    id: str = field(name="Id")
    warning: str = ""


class NetworkConnect(Struct, rename=rename, kw_only=True):
    """POST /networks/{id}/connect."""

    container: str = ""
    endpoint_config: EndpointRequest | None = None


class NetworkDisconnect(Struct, rename=rename, kw_only=True):
    """POST /networks/{id}/disconnect."""

    container: str = ""
    force: bool = False


class NetworkContainer(Struct, rename=rename, kw_only=True):
    name: str
    endpoint_id: str = field(name="EndpointID")
    mac_address: str
    ipv4_address: str = field(name="IPv4Address")
    ipv6_address: str = field(name="IPv6Address")


class Network(Struct, rename=rename, kw_only=True):
    """GET /networks/{id}, and an entry of GET /networks."""

    name: str
    id: str = field(name="Id")
    created: str
    scope: str
    driver: str
    enable_ipv4: bool = field(name="EnableIPv4")
    enable_ipv6: bool = field(name="EnableIPv6")
    ipam: IPAM = field(name="IPAM")
    internal: bool
    attachable: bool
    ingress: bool
    config_from: ConfigReference
    config_only: bool
    containers: dict[str, NetworkContainer]
    options: dict[str, str]
    labels: dict[str, str]


class NetworksPruned(Struct, rename=rename, kw_only=True):
    networks_deleted: list[str] | None
