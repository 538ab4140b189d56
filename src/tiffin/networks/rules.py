"""What is in the one nftables table of ours: publishing, masquerade, isolation.

`ruleset` is pure: networks and published ports in, a batch out that replaces the whole table in one transaction. A
network costs a few rules, a published port only an element of a map, so containers come and go by one small message.

    prerouting, output   a packet to an address of this host looks its port up and is sent on to the container
    postrouting          leaving packets of a network get the host's address; so do those that would come back directly
    forward              within a bridge: yes; what was published: yes; from elsewhere into a bridge: no
    loopback             127.0.0.0/8 never comes from a container

The host's own 127.0.0.1 is published by the same map rather than by a proxy process, which would cost a copy of every
byte: that takes route_localnet on the bridge (`bridges`), which alone would let containers reach services on the host's
loopback, hence the chain `loopback`.
Other tables (Docker's, firewalld's, ufw's) stay untouched; what they drop in their own hooks stays dropped.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tiffin.model.network import Allowed, Published
from tiffin.netlink import expressions as ex
from tiffin.netlink.nftables import (
    FORWARD,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    TYPE_INTERFACE,
    TYPE_IPV4,
    TYPE_IPV6,
    TYPE_PORT,
    TYPE_PROTOCOL,
    Batch,
    Element,
)
from tiffin.networks.ports import PROTOCOLS, version_of

TABLE = "tiffin"

_FILTER, _DSTNAT, _SRCNAT, _RAW = 0, -100, 100, -300
_V4: int = socket.AF_INET
_V6: int = socket.AF_INET6
_SOURCE, _DESTINATION, _DESTINATION_PORT = {_V4: 12, _V6: 8}, {_V4: 16, _V6: 24}, 2
_LENGTH = {_V4: 4, _V6: 16}
_TYPE = {_V4: TYPE_IPV4, _V6: TYPE_IPV6}
_FAMILY = {4: _V4, 6: _V6}
_OPEN = {_V4: "open4", _V6: "open6"}
_RANGES = {_V4: "ranges4", _V6: "ranges6"}
_ICMP = {_V4: socket.IPPROTO_ICMP, _V6: socket.IPPROTO_ICMPV6}


@dataclass(frozen=True, slots=True)
class Bridge:
    """What the rules have to know of a network. `subnets` as CIDR text."""

    name: str
    subnets: tuple[str, ...]
    masquerade: bool = True
    internal: bool = False
    within: bool = True
    """Containers on it may talk to each other."""
    unprotected: tuple[int, ...] = ()
    """IP versions in which everything that gets to this host may go on to it, published or not."""
    routed: tuple[int, ...] = ()
    """IP versions in which addresses are not translated: what is published is reached at the container's own."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A published port and the container's address of the same family. Host port 0: it is reached at that address."""

    published: Published
    address: str


def ruleset(bridges: Sequence[Bridge], mappings: Iterable[Mapping], allowed: Iterable[Allowed] = ()) -> Batch:
    """The whole table, replacing what is there."""
    batch = Batch(TABLE)
    batch.clear()
    batch.add_set("bridges", (TYPE_INTERFACE,))
    batch.add_set("links", (TYPE_IPV4, TYPE_IPV4, TYPE_PROTOCOL, TYPE_PORT))
    for family in (_V4, _V6):
        kind = _TYPE[family]
        batch.add_set(_map(family, everywhere=True), (TYPE_PROTOCOL, TYPE_PORT), (kind, TYPE_PORT))
        batch.add_set(_map(family, everywhere=False), (TYPE_PROTOCOL, TYPE_PORT, kind), (kind, TYPE_PORT))
        batch.add_set(_RANGES[family], (TYPE_PROTOCOL, TYPE_PORT), (kind,), intervals=True)
        batch.add_set(_OPEN[family], (kind, TYPE_PROTOCOL, TYPE_PORT))
    batch.add_chain("publish")
    batch.add_base_chain("prerouting", "nat", PREROUTING, _DSTNAT)
    batch.add_base_chain("output", "nat", OUTPUT, _DSTNAT)
    batch.add_base_chain("postrouting", "nat", POSTROUTING, _SRCNAT)
    batch.add_base_chain("forward", "filter", FORWARD, _FILTER)
    batch.add_base_chain("loopback", "filter", PREROUTING, _RAW)
    wire(batch, bridges)
    publish(batch, mappings)
    batch.add_elements("links", [(link(one), None) for one in allowed])
    return batch


def wire(batch: Batch, bridges: Sequence[Bridge]) -> None:
    """The rules, in a table that has none."""
    batch.add_elements("bridges", [(ex.interface_name(bridge.name), None) for bridge in bridges])
    _publish(batch)
    _leave(batch, bridges)
    _forward(batch, bridges)
    batch.add_rule("loopback", ex.meta(ex.META_IIFNAME), ex.look_up("bridges"), *_local(_V4), *_drop())


def publish(batch: Batch, mappings: Iterable[Mapping]) -> None:
    """Publish ports in a table that is there."""
    for name, elements in _elements(mappings).items():
        batch.add_elements(name, elements)


def withdraw(batch: Batch, mappings: Iterable[Mapping]) -> None:
    """Stop publishing."""
    for name, elements in _elements(mappings).items():
        batch.delete_elements(name, [(key, None) for key, _ in elements])


def _map(family: int, *, everywhere: bool) -> str:
    return f"publish{4 if family == _V4 else 6}{'' if everywhere else '_at'}"


def _elements(mappings: Iterable[Mapping]) -> dict[str, list[Element]]:
    found: dict[str, list[Element]] = {}
    singles, ranges = _runs(mappings)
    for first, last in ranges:
        protocol = _word(PROTOCOLS[first.published.protocol].to_bytes(1, "big"))
        ends = tuple(protocol + _port(one.published.host_port) for one in (first, last))
        target = ipaddress.ip_address(first.address)
        found.setdefault(_RANGES[_FAMILY[target.version]], []).append(((ends[0], ends[1]), target.packed))
    for one in singles:
        host = ipaddress.ip_address(one.published.host_ip)
        target = ipaddress.ip_address(one.address)
        protocol = _word(PROTOCOLS[one.published.protocol].to_bytes(1, "big"))
        if not one.published.host_port:
            key = target.packed + protocol + _port(one.published.container_port)
            found.setdefault(_OPEN[_FAMILY[target.version]], []).append((key, None))
            continue
        key = protocol + _port(one.published.host_port)
        if not host.is_unspecified:
            key += host.packed
        name = _map(_V4 if host.version == 4 else _V6, everywhere=host.is_unspecified)
        found.setdefault(name, []).append((key, target.packed + _port(one.published.container_port)))
    return found


def _runs(mappings: Iterable[Mapping]) -> tuple[list[Mapping], list[tuple[Mapping, Mapping]]]:
    """What is published port by port, and first and last of each range whose ports keep their numbers."""
    singles: list[Mapping] = []
    alike: dict[tuple[str, str, str], list[Mapping]] = {}
    for one in mappings:
        published = one.published
        same = published.host_port == published.container_port and published.host_ip in ("0.0.0.0", "::")
        if same and version_of(one.address) == version_of(published.host_ip):
            alike.setdefault((published.protocol, published.host_ip, one.address), []).append(one)
        else:
            singles.append(one)
    ranges = []
    for found in alike.values():
        found.sort(key=lambda one: one.published.host_port)
        begin = 0
        for end in range(1, len(found) + 1):
            if end < len(found) and found[end].published.host_port == found[end - 1].published.host_port + 1:
                continue
            if end - begin > 1:
                ranges.append((found[begin], found[end - 1]))
            else:
                singles.append(found[begin])
            begin = end
    return singles, ranges


def link(one: Allowed) -> bytes:
    """The element of the set `links` that lets it through."""
    ends = ipaddress.IPv4Address(one.source).packed + ipaddress.IPv4Address(one.target).packed
    return ends + _word(PROTOCOLS[one.protocol].to_bytes(1, "big")) + _port(one.port)


def _word(value: bytes) -> bytes:
    return value.ljust(4, b"\0")


def _port(number: int) -> bytes:
    return _word(number.to_bytes(2, "big"))


def _publish(batch: Batch) -> None:
    for family in (_V4, _V6):
        for everywhere in (False, True):
            batch.add_rule("publish", *_translate(family, everywhere=everywhere))
        batch.add_rule("publish", *_translate_range(family))
    mine = (ex.destination_type(), ex.compare(ex.RTN_LOCAL.to_bytes(4, "little")))
    jump = ex.verdict(ex.NFT_JUMP, "publish")
    # a port on 127.0.0.1 is for this host alone, whatever a neighbour writes into its packets
    batch.add_rule("prerouting", *_local(_V4), ex.verdict(ex.NF_ACCEPT))
    batch.add_rule("prerouting", *mine, jump)
    # there is no route_localnet for IPv6: `relay` serves ::1
    loopback = ipaddress.IPv6Address("::1").packed
    to_loopback = ex.payload(ex.NETWORK_HEADER, _DESTINATION[_V6], _LENGTH[_V6]), ex.compare(loopback)
    batch.add_rule("output", *_family(_V6), *to_loopback, ex.verdict(ex.NF_ACCEPT))
    batch.add_rule("output", *mine, jump)


def _translate(family: int, *, everywhere: bool) -> tuple[bytes, ...]:
    address_at = ex.payload(ex.NETWORK_HEADER, _DESTINATION[family], _LENGTH[family], ex.REG32_02)
    return (
        *_family(family),
        ex.meta(ex.META_L4PROTO, ex.REG32_00),
        ex.payload(ex.TRANSPORT_HEADER, _DESTINATION_PORT, 2, ex.REG32_01),
        *(() if everywhere else (address_at,)),
        ex.look_up(_map(family, everywhere=everywhere), into=ex.REG32_00),
        ex.destination_nat(family, ex.REG32_00, ex.REG32_00 + _LENGTH[family] // 4),
    )


def _translate_range(family: int) -> tuple[bytes, ...]:
    return (
        *_family(family),
        ex.meta(ex.META_L4PROTO, ex.REG32_00),
        ex.payload(ex.TRANSPORT_HEADER, _DESTINATION_PORT, 2, ex.REG32_01),
        ex.look_up(_RANGES[family], into=ex.REG32_00),
        ex.destination_nat(family, ex.REG32_00),
    )


def _leave(batch: Batch, bridges: Sequence[Bridge]) -> None:
    for bridge in bridges:
        # from the host's 127.0.0.1: the container could not answer that
        batch.add_rule("postrouting", *_out(bridge.name), *_local(_V4, _SOURCE), ex.masquerade())
        for subnet in map(ipaddress.ip_network, bridge.subnets):
            # to a port that a neighbour on the same bridge publishes: its answer would not pass here otherwise
            batch.add_rule("postrouting", *_out(bridge.name), *_from(subnet), *_redirected(), ex.masquerade())
            if bridge.masquerade and not bridge.internal and subnet.version not in bridge.routed:
                batch.add_rule("postrouting", *_from(subnet), *_out(bridge.name, equal=False), ex.masquerade())


def _forward(batch: Batch, bridges: Sequence[Bridge]) -> None:
    into = ex.meta(ex.META_OIFNAME), ex.look_up("bridges")
    accept = ex.verdict(ex.NF_ACCEPT)
    for bridge in bridges:
        # with br_netfilter loaded, frames within a bridge come by here as well
        if bridge.within:
            batch.add_rule("forward", *_in(bridge.name), *_out(bridge.name), accept)
        elif not bridge.internal:
            # its ports are apart, and the host answers for each: what is linked comes by here (`bridges`)
            batch.add_rule("forward", *_in(bridge.name), *_out(bridge.name), *_known(), accept)
            batch.add_rule("forward", *_in(bridge.name), *_out(bridge.name), *_linked(), accept)
        if bridge.internal or not bridge.within:
            batch.add_rule("forward", *_in(bridge.name), *_out(bridge.name), *_drop())
        if bridge.internal:
            batch.add_rule("forward", *_in(bridge.name), *_drop())
            batch.add_rule("forward", *_out(bridge.name), *_drop())
    batch.add_rule("forward", *into, *_known(), accept)
    batch.add_rule("forward", *into, *_redirected(), accept)
    _reach_directly(batch, bridges)
    # neither another network's containers nor the neighbours of this host that set a route
    batch.add_rule("forward", *into, *_drop())


def _known() -> tuple[bytes, ...]:
    return ex.conntrack(ex.CT_STATE), ex.bits(ex.CT_STATE_ESTABLISHED | ex.CT_STATE_RELATED)


def _linked() -> tuple[bytes, ...]:
    return (
        *_family(_V4),
        ex.payload(ex.NETWORK_HEADER, _SOURCE[_V4], 4, ex.REG32_00),
        ex.payload(ex.NETWORK_HEADER, _DESTINATION[_V4], 4, ex.REG32_01),
        ex.meta(ex.META_L4PROTO, ex.REG32_02),
        ex.payload(ex.TRANSPORT_HEADER, _DESTINATION_PORT, 2, ex.REG32_03),
        ex.look_up("links"),
    )


def _reach_directly(batch: Batch, bridges: Sequence[Bridge]) -> None:
    """What may go to a container's own address, by its network's gateway mode."""
    accept = ex.verdict(ex.NF_ACCEPT)
    elsewhere = ex.meta(ex.META_IIFNAME), ex.look_up("bridges", absent=True)
    for bridge in bridges:
        for version in bridge.unprotected:
            batch.add_rule("forward", *elsewhere, *_out(bridge.name), *_family(_FAMILY[version]), accept)
        for version in bridge.routed:
            family = _FAMILY[version]
            ping = ex.meta(ex.META_L4PROTO), ex.compare(bytes((_ICMP[family],)))
            batch.add_rule("forward", *_out(bridge.name), *_family(family), *ping, accept)
            batch.add_rule("forward", *_out(bridge.name), *_published_as_it_is(family), accept)


def _published_as_it_is(family: int) -> tuple[bytes, ...]:
    after = ex.REG32_00 + _LENGTH[family] // 4
    return (
        *_family(family),
        ex.payload(ex.NETWORK_HEADER, _DESTINATION[family], _LENGTH[family], ex.REG32_00),
        ex.meta(ex.META_L4PROTO, after),
        ex.payload(ex.TRANSPORT_HEADER, _DESTINATION_PORT, 2, after + 1),
        ex.look_up(_OPEN[family]),
    )


def _family(family: int) -> tuple[bytes, ...]:
    return ex.meta(ex.META_NFPROTO), ex.compare(bytes((family,)))


def _in(name: str) -> tuple[bytes, ...]:
    return ex.meta(ex.META_IIFNAME), ex.compare(ex.interface_name(name))


def _out(name: str, *, equal: bool = True) -> tuple[bytes, ...]:
    return ex.meta(ex.META_OIFNAME), ex.compare(ex.interface_name(name), equal=equal)


def _from(subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[bytes, ...]:
    family = _V4 if subnet.version == 4 else _V6
    return (
        *_family(family),
        ex.payload(ex.NETWORK_HEADER, _SOURCE[family], _LENGTH[family]),
        ex.mask(subnet.netmask.packed),
        ex.compare(subnet.network_address.packed),
    )


def _local(family: int, side: dict[int, int] = _DESTINATION) -> tuple[bytes, ...]:
    return *_family(family), ex.payload(ex.NETWORK_HEADER, side[family], 1), ex.compare(b"\x7f")


def _redirected() -> tuple[bytes, ...]:
    return ex.conntrack(ex.CT_STATUS), ex.bits(ex.IPS_DST_NAT)


def _drop() -> tuple[bytes, ...]:
    return (ex.verdict(ex.NF_DROP),)
