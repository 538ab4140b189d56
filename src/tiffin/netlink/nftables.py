"""nftables: batches that the kernel carries out whole or not at all (linux/netfilter/nf_tables.h)."""

import itertools
import socket as sockets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tiffin.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    Message,
    attribute,
    attributes,
    be32,
    nested,
    string,
    text,
)
from tiffin.netlink.socket import NETLINK_NETFILTER, Socket

INET = 1
"""The family that sees IPv4 and IPv6."""
FAMILIES = {INET: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"}

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = 0, 1, 2, 3, 4

TYPE_IPV4, TYPE_IPV6, TYPE_PROTOCOL, TYPE_PORT, TYPE_INTERFACE = 7, 8, 12, 13, 41
"""nft's numbers for what a key means. The kernel only keeps them, `nft list` needs them."""

_LENGTHS = {TYPE_IPV4: 4, TYPE_IPV6: 16, TYPE_PROTOCOL: 4, TYPE_PORT: 4, TYPE_INTERFACE: 16}
_WIDTHS = {TYPE_IPV4: 4, TYPE_IPV6: 16, TYPE_PROTOCOL: 1, TYPE_PORT: 2}
_SUBSYSTEM = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN = 0, 1, 2, 3, 4
_NEWRULE, _GETRULE, _DELRULE, _NEWSET, _NEWSETELEM, _DELSETELEM = 6, 7, 8, 9, 12, 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SET_INTERVAL, _SET_MAP, _SET_CONCAT = 4, 8, 0x80
_LIST_ELEM = 1
_DATA_VALUE = 1
_ELEMENTS = 400  # in a message: an attribute ends at 64 KiB

Element = tuple[bytes | tuple[bytes, bytes], bytes | None]
"""A key, or the first and the last of an interval, and what a map holds for it. Each part of a concatenation is padded
to four bytes; an interval of a concatenation is one of each part."""


class Batch:
    """A transaction being written down; nothing happens before `commit`."""

    def __init__(self, table: str) -> None:
        self._table = text(1, table)
        self._name = table
        self._messages: list[Message] = []
        self._sets = itertools.count(1)

    def _add(self, kind: int, flags: int, *attributes: bytes) -> None:
        payload = bytes((INET, 0, 0, 0)) + b"".join(attributes)
        self._messages.append(Message(_SUBSYSTEM | kind, flags, payload))

    def clear(self) -> None:
        """Empty the table, making it first where it is missing: deleting needs one, so it is made, deleted, made."""
        self.add_table()
        self.delete_table()
        self.add_table()

    def add_table(self) -> None:
        """Make the table, if it isn't there."""
        self._add(_NEWTABLE, NLM_F_CREATE, self._table)

    def delete_table(self) -> None:
        """Delete the table with everything in it."""
        self._add(_DELTABLE, 0, self._table)

    def add_chain(self, name: str) -> None:
        """A chain to jump to."""
        self._add(_NEWCHAIN, NLM_F_CREATE, self._table, text(3, name))

    def add_base_chain(self, name: str, kind: str, hook: int, priority: int) -> None:
        """A chain that packets reach at a hook: `kind` is filter or nat. What passes it is accepted."""
        place = nested(4, be32(1, hook), be32(2, priority))
        self._add(_NEWCHAIN, NLM_F_CREATE, self._table, text(3, name), place, be32(5, 1), text(7, kind))

    def add_set(self, name: str, key: Sequence[int], value: Sequence[int] = (), *, intervals: bool = False) -> None:
        """A hash set of keys made of these types, or a map when there is a `value`; or one of `intervals` of keys."""
        flags = (_SET_MAP if value else 0) | (_SET_INTERVAL | _SET_CONCAT if intervals else 0)
        parts = [self._table, text(2, name), be32(3, flags)]
        parts += [be32(4, _type(key)), be32(5, _length(key))]
        if value:
            parts += [be32(6, _type(value)), be32(7, _length(value))]
        parts.append(be32(10, next(self._sets)))
        if intervals:
            parts.append(nested(9, nested(2, *(nested(_LIST_ELEM, be32(1, _WIDTHS[part])) for part in key))))
        if TYPE_INTERFACE in key:
            # for `nft list` only: names lie in the key as in memory, not as a number in network order
            parts.append(attribute(13, b"\x00\x04" + (1).to_bytes(4, "little")))
        self._add(_NEWSET, NLM_F_CREATE, *parts)

    def add_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Add to a set or map; an element that is there with the same value is no error."""
        self._elements(_NEWSETELEM, NLM_F_CREATE, name, elements)

    def delete_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Take from a set or map; one that is missing fails the batch with ENOENT."""
        self._elements(_DELSETELEM, 0, name, elements)

    def _elements(self, kind: int, flags: int, name: str, elements: Iterable[Element]) -> None:
        encoded = [_element(*element) for element in elements]
        for start in range(0, len(encoded), _ELEMENTS):
            part = nested(3, *encoded[start : start + _ELEMENTS])
            self._add(kind, flags, self._table, text(2, name), part)

    def add_rule(self, chain: str, *expressions: bytes) -> None:
        """Append a rule; see `expressions`."""
        self._add(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, self._table, text(2, chain), nested(4, *expressions))

    def clear_rules(self) -> None:
        """Delete every rule of the table; chains and sets stay."""
        self._add(_DELRULE, 0, self._table)

    def clear_set(self, name: str) -> None:
        """Delete every element of a set."""
        self._add(_DELSETELEM, 0, self._table, text(2, name))

    def commit(self, socket: Socket | None = None) -> None:
        """Have it carried out. Raises OSError, and then nothing has changed."""
        if not self._messages:
            return
        bracket = bytes((sockets.AF_UNSPEC, 0)) + (10).to_bytes(2, "big")
        messages = [Message(_BATCH_BEGIN, 0, bracket), *self._messages, Message(_BATCH_END, 0, bracket)]
        if socket is not None:
            socket.batch(messages, subject=f"nftables table {self._name}")
            return
        with Socket(NETLINK_NETFILTER) as fresh:
            fresh.batch(messages, subject=f"nftables table {self._name}")


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of anybody's. `hook` is None for one to jump to; `drops`: what no rule decides on is dropped."""

    family: int
    table: str
    name: str
    hook: int | None
    drops: bool


def chains() -> list[Chain]:
    """Every chain of IPv4, IPv6 and both. Raises OSError."""
    with Socket(NETLINK_NETFILTER) as socket:
        found = socket.dump(Message(_SUBSYSTEM | _GETCHAIN, 0, bytes((sockets.AF_UNSPEC, 0, 0, 0))))
    return [one for one in map(_chain, found) if one.family in (INET, sockets.AF_INET, sockets.AF_INET6)]


def _chain(payload: bytes) -> Chain:
    values = attributes(payload, 4)
    place = attributes(values[4]).get(1) if 4 in values else None
    return Chain(
        family=payload[0],
        table=string(values[1]),
        name=string(values[3]),
        hook=int.from_bytes(place, "big") if place else None,
        drops=values.get(5) == bytes(4),
    )


def rules(family: int, table: str) -> list[bytes]:
    """A table's rules as the kernel tells them. Raises OSError."""
    request = Message(_SUBSYSTEM | _GETRULE, 0, bytes((family, 0, 0, 0)) + text(1, table))
    with Socket(NETLINK_NETFILTER) as socket:
        return socket.dump(request, subject=f"nftables table {table}")


def has_table(name: str) -> bool:
    """Whether there is a table of that name. Raises OSError."""
    request = Message(_SUBSYSTEM | _GETTABLE, 0, bytes((INET, 0, 0, 0)) + text(1, name))
    with Socket(NETLINK_NETFILTER) as socket:
        try:
            socket.request(request, subject=f"nftables table {name}")
        except FileNotFoundError:
            return False
    return True


def _type(parts: Sequence[int]) -> int:
    number = 0
    for part in parts:
        number = number << 6 | part  # as nft packs concatenations
    return number


def _length(parts: Sequence[int]) -> int:
    return sum(_LENGTHS[part] for part in parts)


def _element(key: bytes | tuple[bytes, bytes], value: bytes | None) -> bytes:
    first, last = key if isinstance(key, tuple) else (key, None)
    parts = [nested(1, attribute(_DATA_VALUE, first))]
    if last is not None:
        parts.append(nested(10, attribute(_DATA_VALUE, last)))
    if value is not None:
        parts.append(nested(2, attribute(_DATA_VALUE, value)))
    return nested(_LIST_ELEM, *parts)
