"""Places on networks: addresses, MAC and names for a container's endpoint, taken from the leases and given back."""

import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from tiffin.errors import Invalid
from tiffin.model.container import Container, EndpointIPAM, EndpointRequest
from tiffin.model.network import Endpoint, Network, Pool
from tiffin.netlink.links import mac
from tiffin.networks import definition
from tiffin.networks.addresses import Leases, address_of, mac_of

_INTERFACE = "com.docker.network.endpoint.ifname"
_SYSCTLS = "com.docker.network.endpoint.sysctls"
_SETTING = re.compile(r"(net\.(?:ipv[46]\.(?:conf|neigh)|mpls\.conf)\.)IFNAME(\.[a-z0-9_]+)", re.IGNORECASE)


class Places:
    """The leases of every network with addresses."""

    def __init__(self) -> None:
        self._leases: dict[str, tuple[Leases, ...]] = {}

    def open(self, network: Network) -> None:
        """Begin to lease a network's addresses."""
        self._leases[network.id] = tuple(Leases(pool) for pool in network.pools)

    def close(self, network_id: str) -> None:
        """Forget a network."""
        self._leases.pop(network_id, None)

    def take(self, network: Network, container: Container, request: EndpointRequest, interface: str) -> Endpoint:
        """A place on a network. Raises Invalid, Forbidden for fixed addresses that can't be had, Internal when full."""
        blank = Endpoint(network.id, network.name, secrets.token_hex(32), network.driver, request=request)
        if network.driver != "bridge" and not network.on_link:
            return blank
        check(network, request)
        link_local(request)
        _own_sysctls(request.driver_opts or {}, interface)
        chosen = request.driver_opts.get(_INTERFACE, "") if request.driver_opts else ""
        endpoint = replace(
            blank,
            interface=_interface_name(chosen) if chosen else interface,
            host_interface="" if network.on_link else f"veth{blank.id[:7]}",
            # on a link of the host it is that one's, unless something else is said
            mtu=0 if network.on_link and definition.MTU not in network.options else network.mtu,
            isolated=not network.on_link and not definition.flag(network.options, definition.ICC, True),
            relayed=not network.on_link and definition.flag(network.options, definition.OBEY_INPUT, False),
            dns_names=None if network.is_default else dns_names(container, request),
        )
        with ExitStack() as undo:
            for leases, pool in zip(self._leases[network.id], network.pools, strict=True):
                version = leases.subnet.version
                if getattr(endpoint, f"ipv{version}"):
                    continue  # a further pool of the same family
                wanted = _wanted(request, version)
                if wanted and address_of(wanted) not in leases.subnet and self._elsewhere(network, wanted):
                    continue
                address = leases.take() if not wanted else address_of(wanted)
                if wanted:
                    leases.take_this(address)
                undo.callback(leases.give_back, address)
                gateway = "" if network.internal else _gateway(network, pool)
                endpoint = _with_address(endpoint, version, str(address), leases.subnet.prefixlen, gateway)
            if network.driver != "ipvlan":  # there it is the parent's
                endpoint = replace(endpoint, mac_address=_mac(request, endpoint))
            undo.pop_all()
        return endpoint

    def retake(self, endpoint: Endpoint) -> None:
        """Lease again what a running container has."""
        for leases, address in self._of(endpoint):
            leases.take_this(address)

    def give_back(self, endpoint: Endpoint) -> None:
        """Free an endpoint's addresses."""
        for leases, address in self._of(endpoint):
            leases.give_back(address)

    def leases(self, network_id: str) -> tuple[Leases, ...]:
        """The leases of a network, one of each pool."""
        return self._leases.get(network_id, ())

    def _of(self, endpoint: Endpoint) -> list[tuple[Leases, ipaddress.IPv4Address | ipaddress.IPv6Address]]:
        found = []
        for text in (endpoint.ipv4, endpoint.ipv6):
            address = ipaddress.ip_address(text) if text else None
            for leases in self._leases.get(endpoint.network_id, ()):
                if address is not None and address in leases.subnet:
                    found.append((leases, address))
        return found

    def _elsewhere(self, network: Network, wanted: str) -> bool:
        return any(address_of(wanted) in leases.subnet for leases in self._leases[network.id])


def _gateway(network: Network, pool: Pool) -> str:
    if network.driver == "ipvlan" and network.options.get("ipvlan_mode", "l2").startswith("l3"):
        # routed by the kernel without regard to the wire: everybody is a neighbour
        return "0.0.0.0" if ":" not in pool.subnet else "::"
    return pool.gateway


def _with_address(endpoint: Endpoint, version: int, address: str, prefix: int, gateway: str) -> Endpoint:
    if version == 4:
        return replace(endpoint, ipv4=address, ipv4_prefix=prefix, ipv4_gateway=gateway)
    return replace(endpoint, ipv6=address, ipv6_prefix=prefix, ipv6_gateway=gateway)


def _wanted(request: EndpointRequest, version: int) -> str:
    ipam = request.ipam_config or EndpointIPAM()
    return ipam.ipv4_address if version == 4 else ipam.ipv6_address


def problems(network: Network, request: EndpointRequest) -> list[str]:
    """What of a request a network can't give, in docker's words."""
    found = []
    fixed = {version: text for version in (4, 6) if (text := _wanted(request, version))}
    if fixed and network.predefined:
        found.append("user specified IP address is supported on user defined networks only")
    if request.aliases and network.is_default:
        found.append("network-scoped alias is supported only for containers in user defined networks")
    found += [f"invalid IPv{version} address: {text}" for version, text in fixed.items() if not _is(version, text)]
    for version, text in fixed.items():
        subnets = [ipaddress.ip_network(pool.subnet) for pool in network.pools if network.addressed]
        subnets = [subnet for subnet in subnets if subnet.version == version]
        if not subnets:
            found.append(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
        elif not _is(version, text) or not any(ipaddress.ip_address(text) in subnet for subnet in subnets):
            found.append(f"no configured subnet or ip-range contain the IP address {text}")
    return found


def check(network: Network, request: EndpointRequest) -> None:
    """Raises Invalid with the list of `problems` as docker shows it."""
    found = problems(network, request)
    if found:
        shown = found[0] if len(found) == 1 else "\n".join(f"* {one}" for one in found)
        raise Invalid(f"invalid endpoint settings:\n{shown}")


def _is(version: int, text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def link_local(request: EndpointRequest) -> tuple[str, ...]:
    """The addresses that an interface shall have besides its own. Raises Invalid."""
    wanted = (request.ipam_config and request.ipam_config.link_local_ips) or ()
    for text in wanted:
        if not (_is(4, text) or _is(6, text)) or not ipaddress.ip_address(text).is_link_local:
            raise Invalid(f"invalid link local IP address: {text}")
    return wanted


def _interface_name(name: str) -> str:
    if not 0 < len(name) <= 15 or not re.fullmatch(r"[^\s/:]+", name) or name in (".", "..", "lo", "all", "default"):
        raise Invalid(f"invalid interface name {name!r}: at most 15 characters, no slash, colon or space")
    return name


def fixed_mac(text: str) -> str:
    """A MAC address as the kernel writes it. Raises Invalid."""
    try:
        packed = mac(text)
    except ValueError as error:
        raise Invalid(f"invalid MAC address {text}") from error
    if packed[0] & 1:
        raise Invalid(f"invalid MAC address {text}: it is a multicast address")
    return packed.hex(":")


def _mac(request: EndpointRequest, endpoint: Endpoint) -> str:
    if request.mac_address:
        return fixed_mac(request.mac_address)
    if endpoint.ipv4:
        return mac_of(ipaddress.ip_address(endpoint.ipv4))
    return "02:42:" + secrets.token_bytes(4).hex(":")


def dns_names(container: Container, request: EndpointRequest) -> tuple[str, ...]:
    """By which names the container is known on a user network: its own, aliases, short id, hostname."""
    names = [container.name, *(request.aliases or ()), container.short_id, container.config.hostname]
    return tuple(dict.fromkeys(name for name in names if name))


def with_gateway(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Decide who leads out: the highest priority, then the network's name in the alphabet."""
    able = [one for one in endpoints if one.ipv4_gateway or one.ipv6_gateway]
    if not able:
        return tuple(replace(one, gateway=False) for one in endpoints)
    chosen = min(able, key=lambda one: (-one.request.gw_priority, one.network))
    return tuple(replace(one, gateway=one.id == chosen.id) for one in endpoints)


def next_interface(network: Network, used: Sequence[Endpoint]) -> str:
    """`eth0`, or the first number that is free."""
    prefix = network.options.get(definition.INTERFACE_PREFIX) or "eth"
    names = {one.interface for one in used}
    return next(name for number in range(len(names) + 1) if (name := f"{prefix}{number}") not in names)


def sysctls(endpoints: Sequence[Endpoint], *, ipv6: bool) -> Mapping[str, str]:
    """Settings inside: IPv6 off where the network has none, and never a route from somebody's advertisement.

    `ipv6` tells whether the kernel has IPv6 at all.
    """
    found: dict[str, str] = {}
    for one in endpoints:
        if ipv6 and one.interface:
            place = f"net.ipv6.conf.{one.interface.replace('.', '/')}"
            if one.ipv6:
                found[f"{place}.accept_ra"] = "0"
            else:
                found[f"{place}.disable_ipv6"] = "1"
        found |= _own_sysctls(one.request.driver_opts or {}, one.interface)
    return found


def _own_sysctls(options: Mapping[str, str], interface: str) -> dict[str, str]:
    """Those that the endpoint's options ask for: `net.ipv4.conf.IFNAME.log_martians=1,…`. Raises Invalid."""
    found = {}
    for setting in filter(None, options.get(_SYSCTLS, "").split(",")):
        name, equals, value = setting.strip().partition("=")
        if not equals or not _SETTING.fullmatch(name):
            raise Invalid(
                f"invalid endpoint sysctl setting {setting!r}: write net.ipv4.conf.IFNAME.NAME=VALUE; ipv6 and neigh,"
                " and mpls.conf, are possible as well"
            )
        found[_SETTING.sub(rf"\g<1>{interface.replace('.', '/')}\g<2>", name)] = value
    return found
