"""Which subnets networks get, and which addresses containers. Pure: what is taken is told, nothing is asked."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tiffin.errors import Forbidden, Internal, Invalid
from tiffin.model.network import Pool

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

OVERLAP = "invalid pool request: Pool overlaps with other one on this address space"
CONFIG = "invalid network config:\n"


@dataclass(frozen=True, slots=True)
class AddressSpace:
    """`base` is cut into subnets of prefix length `size` (dockerd's `--default-address-pool`)."""

    base: IPNetwork
    size: int


DEFAULT_SPACES: tuple[AddressSpace, ...] = (
    *(AddressSpace(ipaddress.ip_network(f"172.{second}.0.0/16"), 16) for second in range(17, 32)),
    AddressSpace(ipaddress.ip_network("192.168.0.0/16"), 20),
    # RFC 4193's prefix for local use; daemons that need stable subnets configure a /48 of their own
    AddressSpace(ipaddress.ip_network("fd74:6966:6669::/48"), 64),
)


def parse_space(text: str) -> AddressSpace:
    """`base=10.10.0.0/16,size=24`. Raises Invalid."""
    try:
        parts = dict(part.split("=", 1) for part in text.split(","))
        base = ipaddress.ip_network(parts["base"])
        size = int(parts["size"])
    except (ValueError, KeyError) as error:
        raise Invalid(f"invalid default address pool {text!r}: write base=10.10.0.0/16,size=24") from error
    if not base.prefixlen <= size <= base.max_prefixlen - 2:
        raise Invalid(f"invalid default address pool {text!r}: size must be from {base.prefixlen} on")
    return AddressSpace(base, size)


def overlaps(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether two subnets share addresses; those of different families never do."""
    return one.version == other.version and one.overlaps(other)


def within(inner: IPNetwork, outer: IPNetwork) -> bool:
    """Whether all of a subnet lies in another."""
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def choose_subnet(version: int, spaces: Sequence[AddressSpace], taken: Mapping[IPNetwork, str]) -> IPNetwork:
    """The first free subnet. Raises Internal naming what is in the way when there is none.

    taken: subnets in use, each with who has it: `network web`, or a link of the host.
    """
    for space in spaces:
        if space.base.version != version:
            continue
        for candidate in space.base.subnets(new_prefix=space.size):
            clashes = [other for other in taken if overlaps(candidate, other)]
            if not clashes:
                return candidate
            if any(within(space.base, other) for other in clashes):
                break  # all of the space is covered; a /48 has too many subnets to try
    named = ", ".join(f"{one} ({holder})" for one, holder in taken.items() if one.version == version)
    raise Internal(
        "all predefined address pools have been fully subnetted: "
        f"in use are {named or 'none'}; give --subnet, remove networks, or configure default-address-pools"
    )


def address_of(text: str, what: str = "address") -> IPAddress:
    """Parse; raises Invalid."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise Invalid(f"invalid {what} {text}: not an IP address") from error


def mac_of(address: IPAddress) -> str:
    """A locally administered MAC made from an IPv4 address, as docker's were for ten years.

    One address then always has one MAC, and no neighbour's cache is wrong after the address went to another container.
    """
    tail = address.packed[-4:]
    return "02:42:" + tail.hex(":")


class Leases:
    """The addresses of one pool that are taken: gateway, auxiliary ones, containers'."""

    def __init__(self, pool: Pool) -> None:
        self.subnet: IPNetwork = ipaddress.ip_network(pool.subnet)
        self._range: IPNetwork = ipaddress.ip_network(pool.range) if pool.range else self.subnet
        self._taken: set[int] = {int(ipaddress.ip_address(text)) for text in pool.auxiliary.values()}
        if pool.gateway:
            self._taken.add(int(ipaddress.ip_address(pool.gateway)))
        self._lowest = int(self._range.network_address)
        self._reserved = frozenset(self._taken)

    def containers(self) -> list[IPAddress]:
        """What is taken beside the gateway and the auxiliary addresses."""
        return [self._address(value) for value in sorted(self._taken - self._reserved)]

    def _usable(self, value: int) -> bool:
        if self.subnet.num_addresses <= 2:
            return True
        if value == int(self.subnet.network_address):
            return False
        return self.subnet.version == 6 or value != int(self.subnet.broadcast_address)

    def _candidates(self) -> Iterator[int]:
        return iter(range(self._lowest, int(self._range.broadcast_address) + 1))

    def take(self) -> IPAddress:
        """The lowest free address. Raises Internal when there is none."""
        for value in self._candidates():
            if value not in self._taken and self._usable(value):
                self._taken.add(value)
                self._lowest = value + 1  # everything below is taken
                return self._address(value)
        raise Internal(
            f"no available IPv{self.subnet.version} addresses on this network's address pools: {self.subnet}"
        )

    def take_this(self, address: IPAddress) -> None:
        """A fixed address. Raises Forbidden `Address already in use`, Invalid where it is not the pool's."""
        if address not in self.subnet or not self._usable(int(address)):
            raise Invalid(f"no configured subnet contains IP address {address}")
        if int(address) in self._taken:
            raise Forbidden("Address already in use")
        self._taken.add(int(address))

    def give_back(self, address: IPAddress) -> None:
        """Free an address; one that is free already is no error."""
        value = int(address)
        self._taken.discard(value)
        if int(self._range.network_address) <= value < self._lowest:
            self._lowest = value

    def _address(self, value: int) -> IPAddress:
        return ipaddress.IPv4Address(value) if self.subnet.version == 4 else ipaddress.IPv6Address(value)


def check_pool(pool: Pool, taken: Mapping[IPNetwork, str]) -> None:
    """Raises Forbidden with docker's words when a subnet overlaps, Invalid when its parts don't fit together."""
    subnet = ipaddress.ip_network(pool.subnet)
    for other, holder in taken.items():
        if overlaps(subnet, other):
            raise Forbidden(f"{OVERLAP}: {subnet} and {other} ({holder})")
    if pool.gateway and address_of(pool.gateway, "gateway") not in subnet:
        raise Invalid(f"{CONFIG}invalid gateway {pool.gateway}: parent subnet {subnet} doesn't contain this address")
    for name, text in pool.auxiliary.items():
        if address_of(text, name) not in subnet:
            raise Invalid(
                f"{CONFIG}invalid auxiliary address {name}: parent subnet {subnet} doesn't contain this address"
            )
    if pool.range and not within(ipaddress.ip_network(pool.range), subnet):
        raise Invalid(f"{CONFIG}invalid ip-range {pool.range}: parent subnet {subnet} doesn't contain ip-range")
