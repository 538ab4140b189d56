"""What nftables rules are made of (linux/netfilter/nf_tables.h): each function gives one encoded expression.

A rule is a list of expressions run in order; one that does not match ends the rule. Values travel in registers:
REG_1 is 16 bytes wide and the same storage as the four 32-bit registers REG32_00 to REG32_03. The shapes below are
those that `nft --debug=netlink` prints.
"""

from tiffin.netlink.message import attribute, be32, nested, text

REG_VERDICT = 0
REG32_00, REG32_01, REG32_02, REG32_03, REG32_04, REG32_05 = 8, 9, 10, 11, 12, 13

NF_DROP, NF_ACCEPT = 0, 1
NFT_JUMP, NFT_RETURN = -3, -5

META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 6, 7, 15, 16
CT_STATE, CT_STATUS = 0, 2
CT_STATE_ESTABLISHED, CT_STATE_RELATED = 2, 4
IPS_DST_NAT = 0x20
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
RTN_LOCAL = 2

_LIST_ELEM = 1
_DATA_VALUE, _DATA_VERDICT = 1, 2


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(_LIST_ELEM, text(1, name), nested(2, *attributes))


def meta(key: int, register: int = REG32_00) -> bytes:
    """Load a property of the packet."""
    return _expression("meta", be32(2, key), be32(1, register))


def payload(base: int, offset: int, length: int, register: int = REG32_00) -> bytes:
    """Load bytes of a header."""
    return _expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


def write(base: int, offset: int, length: int, checksum: int, register: int = REG32_00) -> bytes:
    """Store bytes into a header; the Internet checksum at `checksum` in the same header goes with them."""
    place = be32(5, register), be32(2, base), be32(3, offset), be32(4, length)
    return _expression("payload", *place, be32(6, 1), be32(7, checksum))


def load(value: bytes, register: int = REG32_00) -> bytes:
    """Load a value."""
    return _expression("immediate", be32(1, register), nested(2, attribute(_DATA_VALUE, value)))


def conntrack(key: int, register: int = REG32_00) -> bytes:
    """Load a property of the connection."""
    return _expression("ct", be32(1, register), be32(2, key))


def destination_type(register: int = REG32_00) -> bytes:
    """Load what the routing table says of the destination address (RTN_LOCAL: one of ours)."""
    return _expression("fib", be32(1, register), be32(2, 3), be32(3, 2))


def compare(value: bytes, *, equal: bool = True, register: int = REG32_00) -> bytes:
    """Match when the register holds `value` (or does not)."""
    return _expression("cmp", be32(1, register), be32(2, 0 if equal else 1), nested(3, attribute(_DATA_VALUE, value)))


def mask(value: bytes, register: int = REG32_00) -> bytes:
    """Keep these bits of the register."""
    zero = attribute(_DATA_VALUE, b"\0" * len(value))
    return _expression(
        "bitwise",
        be32(1, register),
        be32(2, register),
        be32(3, len(value)),
        nested(4, attribute(_DATA_VALUE, value)),
        nested(5, zero),
    )


def bits(value: int, register: int = REG32_00) -> bytes:
    """Match when any of these bits (machine order, as conntrack has them) is set."""
    packed = value.to_bytes(4, "little")
    return mask(packed, register) + compare(b"\0" * 4, equal=False, register=register)


def look_up(name: str, *, register: int = REG32_00, into: int | None = None, absent: bool = False) -> bytes:
    """Match when the register's value is in a set; with `into`, load what a map says. `absent` turns a set around."""
    parts = [text(1, name), be32(2, register)]
    if into is not None:
        parts.append(be32(3, into))
    if absent:
        parts.append(be32(5, 1))
    return _expression("lookup", *parts)


def destination_nat(family: int, address: int, port: int | None = None) -> bytes:
    """Send the connection to the address and port that the registers hold; without one the port stays."""
    to_port = () if port is None else (be32(5, port),)
    return _expression("nat", be32(1, 1), be32(2, family), be32(3, address), *to_port)


def masquerade() -> bytes:
    """Give the connection the outgoing link's address as its source."""
    return _expression("masq")


def verdict(code: int, chain: str = "") -> bytes:
    """End the rule: NF_ACCEPT, NF_DROP, NFT_RETURN, or NFT_JUMP to a chain."""
    parts = [be32(1, code)]
    if chain:
        parts.append(text(2, chain))
    return _expression("immediate", be32(1, REG_VERDICT), nested(2, nested(_DATA_VERDICT, *parts)))


def interface_name(name: str) -> bytes:
    """An interface's name as the registers hold it: 16 bytes, padded with zeros."""
    return name.encode().ljust(16, b"\0")
