"""Networks, and how containers are on them (Engine API v1.51: `Network`, `EndpointSettings`, `PortMap`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tiffin.model.container import EndpointRequest
from tiffin.model.container_host import PortBinding


@dataclass(frozen=True, slots=True)
class Pool:
    """One subnet of a network in CIDR text; `range` is where addresses are taken from, "" for all of it."""

    subnet: str
    gateway: str = ""
    range: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)
    gateway_chosen: bool = False
    """The subnet was asked for without a gateway: docker does not show the one that it then has."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network as it was created. `created` is nanoseconds since the epoch.

    `driver` is bridge, macvlan, ipvlan, host or null.
    """

    id: str
    name: str
    driver: str
    created: int
    pools: tuple[Pool, ...] = ()
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ipam_options: Mapping[str, str] | None = None
    predefined: bool = False
    addressed: bool = False
    """The subnets are the user's choice, so that containers may ask for fixed addresses."""

    @property
    def bridge(self) -> str:
        """The bridge's interface name."""
        return self.options.get("com.docker.network.bridge.name") or f"br-{self.id[:12]}"

    @property
    def on_link(self) -> bool:
        """Its containers are on the wire of one of the host's links."""
        return self.driver in ("macvlan", "ipvlan")

    @property
    def mtu(self) -> int:
        return int(self.options.get("com.docker.network.driver.mtu") or 1500)

    @property
    def is_default(self) -> bool:
        """The default bridge, where names don't resolve and aliases are refused."""
        return self.predefined and self.driver == "bridge"


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """A subnet as a client asks for it; "" leaves the choice open."""

    subnet: str = ""
    gateway: str = ""
    range: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """What a client asks of a new network (`POST /networks/create`)."""

    name: str
    driver: str = "bridge"
    pools: tuple[PoolRequest, ...] = ()
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: str = ""
    ipam_driver: str = "default"
    ipam_options: Mapping[str, str] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place on one network. Addresses are text without prefix, "" where the network has none.

    `interface` is the name inside, `host_interface` the veth's end outside; both "" on `host` and `none`.
    """

    network_id: str
    network: str
    id: str
    driver: str
    interface: str = ""
    host_interface: str = ""
    mac_address: str = ""
    ipv4: str = ""
    ipv4_prefix: int = 0
    ipv4_gateway: str = ""
    ipv6: str = ""
    ipv6_prefix: int = 0
    ipv6_gateway: str = ""
    mtu: int = 1500
    isolated: bool = False
    relayed: bool = False
    """What is published here is served by the host's sockets, not translated."""
    gateway: bool = False
    """The container's default route goes this way."""
    dns_names: tuple[str, ...] | None = None
    request: EndpointRequest = field(default_factory=EndpointRequest)


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the host that leads to a port of the container. `protocol` is tcp, udp or sctp.

    Host port 0: the container's own address leads there (gateway mode routed).
    """

    container_port: int
    protocol: str
    host_ip: str
    host_port: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a container may reach where a network's containers may not talk to each other: a link's other end."""

    source: str
    target: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Everything about one running container's network: kept while it runs, gone when it ends.

    `sysctls` are to be set inside, after the interfaces are there: names as in /proc/sys with dots, an interface's own
    dots as slashes.
    """

    container_id: str
    sandbox_id: str
    endpoints: tuple[Endpoint, ...] = ()
    published: tuple[Published, ...] = ()
    exposed: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    container_name: str = ""
    nameservers: tuple[str, ...] = ()
    """`--dns`: where names are asked that are no container's; the host's resolvers without."""
    allowed: tuple[Allowed, ...] = ()

    @property
    def named(self) -> bool:
        """The container is on a user network, so that a name server of its own answers it."""
        return any(one.interface and one.dns_names is not None for one in self.endpoints)

    def ports(self) -> dict[str, tuple[PortBinding, ...] | None]:
        """As `inspect` shows them: `80/tcp` to where it is published, None where it is only exposed."""
        found: dict[str, list[PortBinding] | None] = dict.fromkeys(self.exposed)
        for one in self.published:
            key = f"{one.container_port}/{one.protocol}"
            entries = found.get(key) or []
            entries.append(PortBinding(one.host_ip, str(one.host_port or "")))
            found[key] = entries
        return {key: None if entries is None else tuple(entries) for key, entries in found.items()}

    def on(self, network_id: str) -> Endpoint | None:
        """The endpoint on a network."""
        return next((endpoint for endpoint in self.endpoints if endpoint.network_id == network_id), None)
