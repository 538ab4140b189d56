"""The kernel's half of a network: the bridge, its settings, and the veth pairs on it. Blocking; raises OSError."""

import errno
import ipaddress
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tiffin.model.network import Endpoint, Network, Pool
from tiffin.netlink import links, routing
from tiffin.netlink.message import Message
from tiffin.netlink.socket import Socket
from tiffin.networks import definition, placing
from tiffin.networks.addresses import IPNetwork, mac_of

DEFAULT = "tiffin0"
"""The default bridge's name where none is configured."""

_SYSCTL = Path("/proc/sys/net")
_OURS = "tiffin network "
_ASIDE = "tiffin network removed"


@dataclass(frozen=True, slots=True)
class Taken:
    """What is in use on this host: the subnets of addresses and routes, each with its link's name."""

    subnet: IPNetwork
    link: str


def taken(besides: Collection[str] = ()) -> list[Taken]:
    """Subnets that a new network must keep clear of, but those on the links named in `besides`."""
    with Socket() as socket:
        names = {link.index: link.name for link in links.listing(socket)}
        found = [(one.interface.network, one.link) for one in routing.addresses(socket)]
        # a default route covers everything and is no clash
        found += [(one.destination, one.link) for one in routing.routes(socket) if one.destination.prefixlen]
    named = {Taken(subnet, names.get(link, "")) for subnet, link in found if not subnet.is_link_local}
    return sorted((one for one in named if one.link not in besides), key=lambda one: (one.link, str(one.subnet)))


def forward() -> None:
    """Let the kernel forward packets between links; without it containers reach nobody."""
    _set("ipv4/ip_forward", "1")


def forward_v6() -> None:
    """The same for IPv6.

    A host that forwards ignores router advertisements; links that live from them are told to listen on (accept_ra 2).
    """
    for path in (_SYSCTL / "ipv6/conf").glob("*/accept_ra"):
        if path.parent.name not in ("all", "default") and path.read_text().strip() == "1":
            path.write_text("2")
    _set("ipv6/conf/all/forwarding", "1")


def address_of(name: str) -> str:
    """The IPv4 address of a bridge with its prefix length, "" when there is no such bridge or it has none."""
    with Socket() as socket:
        link = links.look_up(socket, name)
        found = [one.interface for one in routing.addresses(socket) if link is not None and one.link == link.index]
    return next((str(one) for one in found if one.version == 4), "")


def ensure(network: Network) -> None:
    """Make the network's bridge, or bring one that is there into line: up, its gateways as addresses."""
    with Socket() as socket:
        link = links.look_up(socket, network.bridge)
        if link is None:
            first = [ipaddress.ip_address(pool.gateway) for pool in network.pools if pool.gateway]
            # a MAC of its own: else a bridge takes the lowest of its ports', and changes it as containers come and go
            address = mac_of(first[0]) if first else ""
            create = links.create_bridge(network.bridge, address=address, mtu=network.mtu)
            socket.request(create, links.note(network.bridge, _OURS + network.id), subject=network.bridge)
            link = links.look_up(socket, network.bridge)
            assert link is not None
        elif link.kind != "bridge":
            raise OSError(errno.EEXIST, "a link of that name exists and is no bridge", network.bridge)
        _settings(network)
        wanted = gateways(network)
        present = {one.interface for one in routing.addresses(socket) if one.link == link.index}
        changes = [routing.add_address(link.index, one) for one in wanted if one not in present]
        # the default bridge may have got another subnet (--bip) since
        stale = [one for one in present if one not in wanted and not one.is_link_local and _is_ours(network)]
        changes += [routing.remove_address(link.index, one) for one in stale]
        if not link.up:
            changes.append(links.set_up(link.index))
        if changes:
            socket.request(*changes, subject=network.bridge)


def _is_ours(network: Network) -> bool:
    """Not a bridge of the user's own, whose further addresses are none of our business."""
    return network.bridge in (DEFAULT, f"br-{network.id[:12]}")


def gateways(network: Network) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """The addresses that its bridge has."""
    return [
        ipaddress.ip_interface(f"{pool.gateway}/{pool.subnet.partition('/')[2]}")
        for pool in network.pools
        if pool.gateway and not _isolated(network, pool)
    ]


def _isolated(network: Network, pool: Pool) -> bool:
    # the host itself stays away from the network
    return definition.gateway_mode(network, ipaddress.ip_network(pool.subnet).version) == "isolated"


def _settings(network: Network) -> None:
    # so that the host's own 127.0.0.1 can be published; `firewall` keeps containers from it
    _set(f"ipv4/conf/{network.bridge}/route_localnet", "1")
    if not definition.flag(network.options, definition.ICC, True):
        # its ports don't see each other: the host answers for them, and `firewall` says who gets through
        _set(f"ipv4/conf/{network.bridge}/proxy_arp_pvlan", "1")
    conf = f"ipv6/conf/{network.bridge}"
    if network.ipv6:
        _set(f"{conf}/disable_ipv6", "0")
        _set(f"{conf}/accept_ra", "0")
    elif (_SYSCTL / conf).exists():
        # containers must not find the host by a link-local address where IPv6 is off
        _set(f"{conf}/disable_ipv6", "1")


def set_aside(network: Network) -> str:
    """Take the bridge out of the way under another name, which is returned: `remove_links` does the rest.

    That takes the kernel 20 to 40 ms, in which no link of the namespace can be changed; this a millisecond. Of a bridge
    that was there before the network only the name is left to return, "", as of one that is gone already.
    """
    with Socket() as socket:
        link = links.look_up(socket, network.bridge)
        if link is None or not (link.alias.startswith(_OURS) or link.name == f"br-{network.id[:12]}"):
            return ""
        aside = f"gone-{link.index}"
        down, away = links.set_down(link.index), links.change(link.index, name=aside, alias=_ASIDE)
        socket.request(down, away, subject=network.bridge)
        # a network of the same subnet may come at once
        for one in routing.addresses(socket):
            if one.link == link.index:
                with suppress(OSError):  # it went with the one before
                    socket.request(routing.remove_address(link.index, one.interface), subject=aside)
        return aside


def set_aside_before() -> list[str]:
    """The bridges that were set aside and are still there."""
    with Socket() as socket:
        return [link.name for link in links.listing(socket) if link.kind == "bridge" and link.alias == _ASIDE]


def remove_links(names: Iterable[str]) -> None:
    """Remove links by name, ignoring those that are gone."""
    with Socket() as socket:
        for name in names:
            try:
                socket.request(links.remove(name=name), subject=name)
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise


def stale_ports(bridge_names: Collection[str], known: Collection[str]) -> list[str]:
    """Veth ends on these bridges that no endpoint knows of."""
    with Socket() as socket:
        listed = links.listing(socket)
    indices = {link.index for link in listed if link.name in bridge_names}
    return [link.name for link in listed if link.kind == "veth" and link.master in indices and link.name not in known]


def attach(network: Network, endpoint: Endpoint, *, netlink: int, namespace: int, hairpin: bool = False) -> None:
    """Give a namespace its interface on the network.

    `netlink` is the fd of a NETLINK_ROUTE socket made inside, `namespace` one of the namespace itself.
    `hairpin` lets the container reach ports that it publishes itself: where br_netfilter is loaded such packets turn
    round in the bridge.
    The pair is made with our end on the bridge; then the index inside is asked for; then addresses, up, routes.
    """
    with Socket() as outside, Socket(fd=netlink) as inside:
        bridge = _bridge(outside, network)
        create = links.create_veth(
            endpoint.host_interface,
            bridge=bridge.index,
            mtu=endpoint.mtu,
            peer=endpoint.interface,
            peer_address=endpoint.mac_address,
            namespace=namespace,
        )
        try:
            outside.request(create, subject=endpoint.host_interface)
        except FileExistsError:
            # the name is made from the endpoint's id: what is there is the rest of a start that was broken off
            outside.request(links.remove(name=endpoint.host_interface), create, subject=endpoint.host_interface)
        found = links.parse(inside.request(links.find(endpoint.interface), subject=endpoint.interface)[0][0])
        inside.request(*configuration(endpoint, found.index), subject=endpoint.interface)
        _introduce(outside, endpoint, bridge.index, hairpin)


def _bridge(socket: Socket, network: Network) -> links.Link:
    found = links.look_up(socket, network.bridge)
    if found is None or found.kind != "bridge":
        # somebody deleted it under our feet, or there never was one: then this says why
        ensure(network)
        found = links.look_up(socket, network.bridge)
        assert found is not None
    return found


def configuration(endpoint: Endpoint, index: int) -> Sequence[Message]:
    """What an interface gets within: up, its addresses, the way out."""
    changes = [] if endpoint.ipv6 else [links.without_link_local(index)]
    changes.append(links.set_up(index))
    if endpoint.ipv4:
        interface = ipaddress.ip_interface(f"{endpoint.ipv4}/{endpoint.ipv4_prefix}")
        changes.append(routing.add_address(index, interface))
    if endpoint.ipv6:
        interface = ipaddress.ip_interface(f"{endpoint.ipv6}/{endpoint.ipv6_prefix}")
        changes.append(routing.add_address(index, interface))
    for text in placing.link_local(endpoint.request):
        interface = ipaddress.ip_interface(f"{text}/{64 if ':' in text else 16}")
        if interface.version == 4 or endpoint.ipv6:
            changes.append(routing.add_address(index, interface))
    return [*changes, *_way_out(endpoint, index)]


def _way_out(endpoint: Endpoint, index: int) -> list[Message]:
    if not endpoint.gateway:
        return []
    gateways = (endpoint.ipv4_gateway, endpoint.ipv6_gateway)
    return [routing.add_default_route(ipaddress.ip_address(one), index) for one in gateways if one]


def lead_out(endpoint: Endpoint, *, netlink: int) -> None:
    """Make an interface that is there the container's way out, in place of another."""
    with Socket(fd=netlink) as inside:
        found = links.parse(inside.request(links.find(endpoint.interface), subject=endpoint.interface)[0][0])
        inside.request(*_way_out(endpoint, found.index), subject=endpoint.interface)


def _introduce(socket: Socket, endpoint: Endpoint, bridge: int, hairpin: bool) -> None:
    """Tell the bridge and the host where the MAC is now.

    The last holder's veth may still be a port (the kernel takes namespaces down at leisure), and frames would go there.
    """
    port = links.look_up(socket, endpoint.host_interface)
    assert port is not None
    mac = links.mac(endpoint.mac_address)
    changes = [routing.add_forwarding(port.index, mac)]
    if endpoint.ipv4 and endpoint.mac_address != mac_of(ipaddress.ip_address(endpoint.ipv4)):
        changes.append(routing.add_neighbour(bridge, ipaddress.ip_address(endpoint.ipv4), mac))
    if endpoint.ipv6:
        changes.append(routing.add_neighbour(bridge, ipaddress.ip_address(endpoint.ipv6), mac))
    if endpoint.isolated or hairpin:
        changes.append(links.set_port(port.index, isolated=endpoint.isolated, hairpin=hairpin))
    socket.request(*changes, subject=endpoint.host_interface)


def detach(endpoint: Endpoint) -> None:
    """Take an interface from a running container: both ends go."""
    remove_links([endpoint.host_interface])


def _set(name: str, value: str) -> None:
    path = _SYSCTL / name
    if path.read_text().strip() != value:
        path.write_text(value)
