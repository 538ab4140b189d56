"""Addresses, routes and neighbours (rtnetlink(7), linux/rtnetlink.h, linux/neighbour.h). IPv4 and IPv6 alike."""

import ipaddress
import socket as sockets
import struct
from dataclasses import dataclass

from tiffin.netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message, attribute, attributes, u32
from tiffin.netlink.socket import Socket

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWNEIGH, _RTM_DELNEIGH = 28, 29

_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_RT_TABLE_MAIN, _RTPROT_BOOT, _RTPROT_STATIC, _RTN_UNICAST = 254, 3, 4, 1
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_STALE, _NUD_NOARP = 0x04, 0x40
_NTF_MASTER = 0x04

_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst, src, tos, table, protocol, scope, type, flags
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type


@dataclass(frozen=True, slots=True)
class Address:
    """An address on the link with that index."""

    link: int
    interface: IPInterface


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table; `destination` of prefix length 0 is the default."""

    destination: IPNetwork
    gateway: IPAddress | None
    link: int


def _family(version: int) -> int:
    return sockets.AF_INET if version == 4 else sockets.AF_INET6


def add_address(link: int, address: IPInterface) -> Message:
    """Give a link an address. IPv6 ones are usable at once: a lease is unique, so nobody has to be asked."""
    packed = address.ip.packed
    flags = _IFA_F_NODAD if address.version == 6 else 0
    payload = _ADDRESS.pack(_family(address.version), address.network.prefixlen, flags, _RT_SCOPE_UNIVERSE, link)
    payload += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if address.version == 4 and address.network.prefixlen < 31:
        payload += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    return Message(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload)


def remove_address(link: int, address: IPInterface) -> Message:
    """Take an address from a link."""
    packed = address.ip.packed
    payload = _ADDRESS.pack(_family(address.version), address.network.prefixlen, 0, 0, link)
    return Message(_RTM_DELADDR, 0, payload + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed))


def addresses(socket: Socket) -> list[Address]:
    """Every address in the socket's namespace."""
    found = []
    for payload in socket.dump(Message(_RTM_GETADDR, 0, _ADDRESS.pack(sockets.AF_UNSPEC, 0, 0, 0, 0))):
        family, prefix, _, _, link = _ADDRESS.unpack_from(payload)
        values = attributes(payload, _ADDRESS.size)
        packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
        if packed is not None and family in (sockets.AF_INET, sockets.AF_INET6):
            found.append(Address(link, ipaddress.ip_interface((packed, prefix))))
    return found


def add_default_route(gateway: IPAddress, link: int) -> Message:
    """The default route through `gateway`, or with 0.0.0.0 or :: to whoever is on the link; it replaces another."""
    family = _family(gateway.version)
    scope = _RT_SCOPE_LINK if gateway.is_unspecified else _RT_SCOPE_UNIVERSE
    payload = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, scope, _RTN_UNICAST, 0) + u32(_RTA_OIF, link)
    if not gateway.is_unspecified:
        payload += attribute(_RTA_GATEWAY, gateway.packed)
    return Message(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, payload)


def remove_default_route(gateway: IPAddress, link: int) -> Message:
    """Take back what `add_default_route` did."""
    family = _family(gateway.version)
    payload = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, 0, _RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0)
    return Message(_RTM_DELROUTE, 0, payload + attribute(_RTA_GATEWAY, gateway.packed) + u32(_RTA_OIF, link))


def routes(socket: Socket) -> list[Route]:
    """The main table's unicast routes of both families."""
    found = []
    for family in (sockets.AF_INET, sockets.AF_INET6):
        request = Message(_RTM_GETROUTE, 0, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
        for payload in socket.dump(request):
            head = _ROUTE.unpack_from(payload)
            if head[4] != _RT_TABLE_MAIN or head[7] != _RTN_UNICAST:
                continue
            values = attributes(payload, _ROUTE.size)
            zero = b"\0" * (4 if family == sockets.AF_INET else 16)
            destination = ipaddress.ip_network((values.get(_RTA_DST, zero), head[1]))
            gateway = ipaddress.ip_address(values[_RTA_GATEWAY]) if _RTA_GATEWAY in values else None
            found.append(Route(destination, gateway, int.from_bytes(values.get(_RTA_OIF, b"\0"), "little")))
    return found


def add_neighbour(link: int, address: IPAddress, mac: bytes) -> Message:
    """Say who has an address, as a hint that the kernel verifies on use; replaces what it remembers."""
    payload = _NEIGHBOUR.pack(_family(address.version), link, _NUD_STALE, 0, 0)
    payload += attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, mac)
    return Message(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, payload)


def add_forwarding(port: int, mac: bytes) -> Message:
    """Say behind which bridge port a MAC is, as long as that port is there or until a frame comes from another.

    An entry that ages like a learned one is refused (EPERM) until the bridge has noted that the port has a carrier.
    """
    payload = _NEIGHBOUR.pack(sockets.AF_BRIDGE, port, _NUD_NOARP, _NTF_MASTER, 0) + attribute(_NDA_LLADDR, mac)
    return Message(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, payload)
