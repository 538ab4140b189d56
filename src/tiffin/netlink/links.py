"""Links: bridges, veth pairs, dummies, and what can be changed about them (rtnetlink(7), linux/if_link.h)."""

import errno
import socket as sockets
import struct
from dataclasses import dataclass

from tiffin.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attributes,
    nested,
    string,
    text,
    u8,
    u16,
    u32,
)
from tiffin.netlink.socket import Socket

IFF_UP = 0x1
IFNAMSIZ = 16

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_PROTINFO, _IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 12, 18, 20, 26, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_IFLA_VLAN_ID = 1
_IFLA_MACVLAN_MODE, _IFLA_MACVLAN_FLAGS = 1, 2
_IFLA_IPVLAN_MODE, _IFLA_IPVLAN_FLAGS = 1, 2
_IFLA_BR_FORWARD_DELAY, _IFLA_BR_STP_STATE = 1, 5
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33
_IFLA_INET6_ADDR_GEN_MODE = 8
_IN6_ADDR_GEN_MODE_NONE = 1

_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_U32 = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel lists it. `master` is the bridge's index or 0; `address` the MAC in text."""

    index: int
    name: str
    kind: str
    master: int
    up: bool
    mtu: int
    address: str
    alias: str


def mac(text_: str) -> bytes:
    """`02:42:ac:11:00:02` as bytes. Raises ValueError."""
    value = bytes.fromhex(text_.replace(":", "").replace("-", ""))
    if len(value) != 6:
        raise ValueError(f"{text_} is not a MAC address")
    return value


def _header(index: int = 0, *, up: bool = False, family: int = sockets.AF_UNSPEC) -> bytes:
    flags = IFF_UP if up else 0
    return _INFO.pack(family, 0, index, flags, flags)


def create_bridge(name: str, *, address: str = "", mtu: int = 0) -> Message:
    """A bridge that is up, without spanning tree, forwarding at once."""
    data = nested(_IFLA_INFO_DATA, u32(_IFLA_BR_FORWARD_DELAY, 0), u32(_IFLA_BR_STP_STATE, 0))
    parts = [text(_IFLA_IFNAME, name), nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"), data)]
    if address:
        parts.append(attribute(_IFLA_ADDRESS, mac(address)))
    if mtu:
        parts.append(u32(_IFLA_MTU, mtu))
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _header(up=True) + b"".join(parts))


def create_veth(name: str, *, bridge: int, mtu: int, peer: str, peer_address: str, namespace: int) -> Message:
    """A veth pair in one message: our end up and a port of `bridge`, the peer born in the namespace (an fd).

    The peer gets its name and MAC but stays down: first its IPv6 settings must be made, from within.
    """
    far = _header() + text(_IFLA_IFNAME, peer) + attribute(_IFLA_ADDRESS, mac(peer_address))
    far += u32(_IFLA_NET_NS_FD, namespace)
    near = text(_IFLA_IFNAME, name) + u32(_IFLA_MASTER, bridge)
    if mtu:
        far += u32(_IFLA_MTU, mtu)
        near += u32(_IFLA_MTU, mtu)
    data = nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, far))
    near += nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "veth"), data)
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _header(up=True) + near)


def create_dummy(name: str, *, alias: str) -> Message:
    """A link that leads nowhere, up. `alias` is a note that stays with it."""
    return _make(name, "dummy", b"", text(_IFLA_IFALIAS, alias))


def create_vlan(name: str, *, link: int, number: int, alias: str) -> Message:
    """A VLAN on another link, up. `alias` is a note that stays with it."""
    return _make(name, "vlan", u16(_IFLA_VLAN_ID, number), u32(_IFLA_LINK, link), text(_IFLA_IFALIAS, alias))


def create_macvlan(
    name: str, *, link: int, mode: int, flag: int, address: str, mtu: int, namespace: int | None
) -> Message:
    """A link with a MAC of its own on another one, down, in a namespace (an fd). mode: MACVLAN_MODE_*."""
    parts = _beneath(link, address, mtu, namespace)
    return _make(name, "macvlan", u32(_IFLA_MACVLAN_MODE, mode) + u16(_IFLA_MACVLAN_FLAGS, flag), *parts, up=False)


def create_ipvlan(
    name: str, *, link: int, mode: int, flag: int, address: str, mtu: int, namespace: int | None
) -> Message:
    """A link that shares another one's MAC, down, in a namespace (an fd). mode, flag: IPVLAN_MODE_*, IPVLAN_F_*."""
    parts = _beneath(link, "", mtu, namespace)
    return _make(name, "ipvlan", u16(_IFLA_IPVLAN_MODE, mode) + u16(_IFLA_IPVLAN_FLAGS, flag), *parts, up=False)


def _beneath(link: int, address: str, mtu: int, namespace: int | None) -> list[bytes]:
    parts = [u32(_IFLA_LINK, link)]
    if address:
        parts.append(attribute(_IFLA_ADDRESS, mac(address)))
    if mtu:
        parts.append(u32(_IFLA_MTU, mtu))
    if namespace is not None:
        parts.append(u32(_IFLA_NET_NS_FD, namespace))
    return parts


def _make(name: str, kind: str, data: bytes, *attributes: bytes, up: bool = True) -> Message:
    information = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind), nested(_IFLA_INFO_DATA, data))
    payload = _header(up=up) + text(_IFLA_IFNAME, name) + b"".join(attributes) + information
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload)


def set_up(index: int) -> Message:
    """Bring a link up, by index."""
    return Message(_RTM_NEWLINK, 0, _header(index, up=True))


def without_link_local(index: int) -> Message:
    """Let a link make itself no IPv6 address; before it comes up, as one message brings it up first in old kernels."""
    mode = u8(_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE)
    return Message(_RTM_NEWLINK, 0, _header(index) + nested(_IFLA_AF_SPEC, nested(sockets.AF_INET6, mode)))


def set_down(index: int) -> Message:
    """Take a link down, by index."""
    return Message(_RTM_NEWLINK, 0, _INFO.pack(sockets.AF_UNSPEC, 0, index, 0, IFF_UP))


def note(name: str, alias: str) -> Message:
    """Give a link a note that stays with it, by name: what is asked for together with a bridge, the kernel forgets."""
    return Message(_RTM_SETLINK, 0, _header() + text(_IFLA_IFNAME, name) + text(_IFLA_IFALIAS, alias))


def change(
    index: int, *, name: str = "", mtu: int = 0, address: str = "", master: int | None = None, alias: str = ""
) -> Message:
    """Rename, resize, readdress, move to another bridge (0: none), give a note.

    Before Linux 6.2 a link that is up is not renamed.
    """
    parts = []
    if name:
        parts.append(text(_IFLA_IFNAME, name))
    if mtu:
        parts.append(u32(_IFLA_MTU, mtu))
    if address:
        parts.append(attribute(_IFLA_ADDRESS, mac(address)))
    if master is not None:
        parts.append(u32(_IFLA_MASTER, master))
    if alias:
        parts.append(text(_IFLA_IFALIAS, alias))
    return Message(_RTM_NEWLINK, 0, _header(index) + b"".join(parts))


def set_port(index: int, *, hairpin: bool | None = None, isolated: bool | None = None) -> Message:
    """Change a bridge port: `hairpin` sends frames back where they came from, `isolated` ports don't see each other."""
    parts = []
    if hairpin is not None:
        parts.append(u8(_IFLA_BRPORT_MODE, hairpin))
    if isolated is not None:
        parts.append(u8(_IFLA_BRPORT_ISOLATED, isolated))
    return Message(_RTM_SETLINK, 0, _header(index, family=sockets.AF_BRIDGE) + nested(_IFLA_PROTINFO, *parts))


def remove(*, index: int = 0, name: str = "") -> Message:
    """Delete a link (both ends of a veth)."""
    return Message(_RTM_DELLINK, 0, _header(index) + (text(_IFLA_IFNAME, name) if name else b""))


def is_known(socket: Socket, kind: str) -> bool:
    """Whether the kernel makes links of a kind that lie on another: asked for one on none, it says what is missing."""
    information = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind))
    try:
        socket.request(Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _header() + information), subject=kind)
    except OSError as error:
        return error.errno == errno.EINVAL
    return True


def find(name: str) -> Message:
    """Ask for one link; `parse` reads the answer."""
    return Message(_RTM_GETLINK, 0, _header() + text(_IFLA_IFNAME, name))


def look_up(socket: Socket, name: str) -> Link | None:
    """The link of that name, None where there is none."""
    try:
        return parse(socket.request(find(name), subject=name)[0][0])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def listing(socket: Socket) -> list[Link]:
    """Every link of the socket's namespace."""
    return [parse(payload) for payload in socket.dump(Message(_RTM_GETLINK, 0, _header()))]


def parse(payload: bytes) -> Link:
    """An RTM_NEWLINK payload."""
    _, _, index, flags, _ = _INFO.unpack_from(payload)
    found = attributes(payload, _INFO.size)
    information = attributes(found.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=string(found.get(_IFLA_IFNAME, b"")),
        kind=string(information.get(_IFLA_INFO_KIND, b"")),
        master=_U32.unpack(found[_IFLA_MASTER])[0] if _IFLA_MASTER in found else 0,
        up=bool(flags & IFF_UP),
        mtu=_U32.unpack(found[_IFLA_MTU])[0] if _IFLA_MTU in found else 0,
        address=found.get(_IFLA_ADDRESS, b"").hex(":"),
        alias=string(found.get(_IFLA_IFALIAS, b"")),
    )
