"""Which driver does the kernel's half of a network. Blocking; raises OSError, Unsupported, Invalid."""

from tiffin.model.network import Endpoint, Network
from tiffin.networks import bridges, sublinks


def ensure(network: Network, *, fresh: bool = False) -> None:
    """Have on the host what the network needs. `fresh`: it has just been asked for."""
    if network.driver == "bridge":
        bridges.ensure(network)
    elif network.on_link:
        sublinks.ensure(network, probe=fresh)


def remove(network: Network) -> str:
    """Take it away again: the name of a link that is out of the way and for `bridges.remove_links` to delete, or ""."""
    if network.driver == "bridge":
        return bridges.set_aside(network)
    if network.on_link:
        sublinks.remove(network)
    return ""


def attach(network: Network, endpoint: Endpoint, *, netlink: int, namespace: int, hairpin: bool = False) -> None:
    """Give a namespace its interface on the network; see `bridges.attach`."""
    if network.on_link:
        sublinks.attach(network, endpoint, netlink=netlink, namespace=namespace)
    else:
        bridges.attach(network, endpoint, netlink=netlink, namespace=namespace, hairpin=hairpin)


def detach(endpoint: Endpoint, *, netlink: int) -> None:
    """Take an interface from a running container."""
    if endpoint.host_interface:
        bridges.detach(endpoint)
    else:
        sublinks.detach(endpoint, netlink=netlink)
