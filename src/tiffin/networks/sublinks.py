"""The kernel's half of networks on a link of the host, drivers macvlan and ipvlan. Blocking; raises OSError.

Containers are then neighbours of the host on its own wire: nothing of them is translated, published or filtered here.
"""

import errno
import functools
from collections.abc import Iterator
from contextlib import contextmanager

from tiffin.errors import Invalid, Unsupported
from tiffin.model.network import Endpoint, Network
from tiffin.netlink import links
from tiffin.netlink.message import Message
from tiffin.netlink.socket import Socket
from tiffin.networks import bridges, definition

_OURS = "tiffin network "


def parent_of(network: Network) -> str:
    """The host's link that it is on; without one it has a dummy of its own, which leads nowhere."""
    return network.options.get(definition.PARENT) or f"dm-{network.id[:12]}"


@functools.cache
def made_here() -> tuple[str, ...]:
    """Those of the drivers whose links this kernel knows."""
    with Socket() as socket:
        return tuple(kind for kind in definition.SUBLINKS if links.is_known(socket, kind))


def ensure(network: Network, *, probe: bool = False) -> None:
    """Have its parent there. `probe`: see whether the kernel would make such links on it.

    Raises Unsupported where the kernel has no such links, Invalid where there is no such parent.
    """
    with Socket() as socket, _explained(network):
        parent = links.look_up(socket, parent_of(network)) or _make_parent(socket, network)
        if probe:
            name = f"probe{network.id[:8]}"
            socket.request(_create(network, name, parent, "", None), links.remove(name=name), subject=parent.name)


def _make_parent(socket: Socket, network: Network) -> links.Link:
    name, alias = parent_of(network), _OURS + network.id
    lower, dot, number = name.rpartition(".")
    if not network.options.get(definition.PARENT):
        create = links.create_dummy(name, alias=alias)
    elif dot and number.isdecimal() and 0 < int(number) < 4095:
        below = links.look_up(socket, lower)
        if below is None:
            raise Invalid(f"parent interface {lower} was not found on this host, so {name} can't be made on it")
        create = links.create_vlan(name, link=below.index, number=int(number), alias=alias)
    else:
        raise Invalid(f"parent interface {name} was not found on this host; `ip link` lists those that are")
    socket.request(create, subject=name)
    found = links.look_up(socket, name)
    assert found is not None
    return found


def remove(network: Network) -> None:
    """Remove the parent, if it was made for this network."""
    with Socket() as socket:
        parent = links.look_up(socket, parent_of(network))
        if parent is not None and parent.alias == _OURS + network.id:
            socket.request(links.remove(index=parent.index), subject=parent.name)


def attach(network: Network, endpoint: Endpoint, *, netlink: int, namespace: int) -> None:
    """Give a namespace its interface on the network; see `bridges.attach`."""
    ensure(network)
    with Socket() as outside, Socket(fd=netlink) as inside, _explained(network):
        parent = links.look_up(outside, parent_of(network))
        assert parent is not None
        create = _create(network, endpoint.interface, parent, endpoint.mac_address, namespace, mtu=endpoint.mtu)
        outside.request(create, subject=endpoint.interface)
        found = links.parse(inside.request(links.find(endpoint.interface), subject=endpoint.interface)[0][0])
        inside.request(*bridges.configuration(endpoint, found.index), subject=endpoint.interface)


def detach(endpoint: Endpoint, *, netlink: int) -> None:
    """Take an interface from a running container; one that is gone is no error."""
    with Socket(fd=netlink) as inside:
        if links.look_up(inside, endpoint.interface) is not None:
            inside.request(links.remove(name=endpoint.interface), subject=endpoint.interface)


def _create(
    network: Network, name: str, parent: links.Link, address: str, namespace: int | None, *, mtu: int = 0
) -> Message:
    make = links.create_macvlan if network.driver == "macvlan" else links.create_ipvlan
    mode, flag = definition.sublink_mode(network.driver, network.options)
    return make(name, link=parent.index, mode=mode, flag=flag, address=address, mtu=mtu, namespace=namespace)


@contextmanager
def _explained(network: Network) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        raise Unsupported(
            f"cannot use network {network.name}: this kernel can't make the links that it needs, {network.driver} on"
            f" {parent_of(network)} ({error.strerror}); load the modules, or use driver bridge"
        ) from error
