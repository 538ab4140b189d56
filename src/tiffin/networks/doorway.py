"""How a container's questions to 127.0.0.11, port 53, get to the daemon. Blocking; raises OSError.

The sockets listen on a port that the kernel chose, so that the container may have a name server of its own on port 53
of every address. What goes to 127.0.0.11:53 is sent there by a small nftables table in the container's network
namespace: ports are rewritten as packets leave, in both directions, which needs no connection tracking; that would
cost every packet of the container something.
"""

import socket
from functools import lru_cache

from tiffin.netlink import expressions as ex
from tiffin.netlink.nftables import OUTPUT, POSTROUTING, Batch
from tiffin.netlink.socket import NETLINK_NETFILTER, Socket

ADDRESS = "127.0.0.11"

_TABLE = "tiffin-resolver"
_PORT = 53
_IP_FREEBIND = 15
_BEFORE_CONNTRACK, _AFTER_NAT = -300, 300
_SOURCE, _DESTINATION = 12, 16
_SOURCE_PORT, _DESTINATION_PORT = 0, 2
_CHECKSUMS = {socket.IPPROTO_UDP: 6, socket.IPPROTO_TCP: 16}


def is_open(datagrams: socket.socket) -> bool:
    """Whether a socket has been through `open_to` already."""
    return bool(datagrams.getsockname()[1])


def open_to(datagrams: socket.socket, listener: socket.socket, netfilter: int, *, anew: bool = False) -> None:
    """Let the container's questions arrive at these sockets, all made in its namespace. `anew`: others were there."""
    for sock in (datagrams, listener):
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # lo may not be up yet
    datagrams.bind((ADDRESS, 0))
    port = datagrams.getsockname()[1]
    listener.bind((ADDRESS, port))
    listener.listen(64)
    with Socket(NETLINK_NETFILTER, fd=netfilter) as inside:
        _ruleset(port, anew).commit(inside)


@lru_cache(64)
def _ruleset(port: int, anew: bool) -> Batch:
    batch = Batch(_TABLE)
    # to delete a table that is not there takes the kernel a grace period, milliseconds
    batch.clear() if anew else batch.add_table()
    batch.add_base_chain("questions", "filter", OUTPUT, _BEFORE_CONNTRACK)
    batch.add_base_chain("answers", "filter", POSTROUTING, _AFTER_NAT)
    for protocol in _CHECKSUMS:
        batch.add_rule("questions", *_rewrite(protocol, _DESTINATION, _DESTINATION_PORT, _PORT, port))
        batch.add_rule("answers", *_rewrite(protocol, _SOURCE, _SOURCE_PORT, port, _PORT))
    return batch


def _rewrite(protocol: int, address_at: int, port_at: int, before: int, after: int) -> tuple[bytes, ...]:
    return (
        *(ex.meta(ex.META_NFPROTO), ex.compare(bytes((socket.AF_INET,)))),
        *(ex.payload(ex.NETWORK_HEADER, address_at, 4), ex.compare(socket.inet_aton(ADDRESS))),
        *(ex.meta(ex.META_L4PROTO), ex.compare(bytes((protocol,)))),
        *(ex.payload(ex.TRANSPORT_HEADER, port_at, 2), ex.compare(before.to_bytes(2, "big"))),
        ex.load(after.to_bytes(2, "big")),
        ex.write(ex.TRANSPORT_HEADER, port_at, 2, _CHECKSUMS[protocol]),
    )
