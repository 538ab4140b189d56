"""Connections that the kernel tracks, and making it forget some (linux/netfilter/nfnetlink_conntrack.h)."""

import errno
import socket as sockets
from collections.abc import Collection

from tiffin.netlink.message import Message, attribute, attributes, nested
from tiffin.netlink.socket import NETLINK_NETFILTER, Socket

_SUBSYSTEM = 1 << 8
_GET, _DELETE = 1, 2
_TUPLE_ORIG, _ID = 1, 12
_TUPLE_PROTO = 2
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_HEADER = 4  # struct nfgenmsg: family, version, resource id


def forget_udp(ports: Collection[int], socket: Socket | None = None) -> int:
    """Forget UDP flows that came for these destination ports: how many there were. Raises OSError.

    A flow keeps the way it was given at its first packet for as long as packets come. After a port was published
    anew, an old flow would go on to wherever the port led before, or to the host.
    """
    if socket is None:
        with Socket(NETLINK_NETFILTER) as fresh:
            return forget_udp(ports, fresh)
    doomed = []
    try:
        flows = socket.dump(Message(_SUBSYSTEM | _GET, 0, bytes((sockets.AF_UNSPEC, 0, 0, 0))))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return 0  # a kernel without nf_conntrack_netlink: nobody but the flow itself can end it
        raise
    for payload in flows:
        values = attributes(payload, _HEADER)
        origin = values.get(_TUPLE_ORIG, b"")
        protocol = attributes(attributes(origin).get(_TUPLE_PROTO, b""))
        port = int.from_bytes(protocol.get(_PROTO_DST_PORT, b""), "big")
        if protocol.get(_PROTO_NUM) == bytes((sockets.IPPROTO_UDP,)) and port in ports:
            # the id makes sure that it is this flow and not a later one between the same ends
            exactly = nested(_TUPLE_ORIG, origin) + attribute(_ID, values[_ID])
            doomed.append(Message(_SUBSYSTEM | _DELETE, 0, payload[:_HEADER] + exactly))
    for one in doomed:
        try:
            socket.request(one)
        except FileNotFoundError:
            continue  # it ended meanwhile
    return len(doomed)
