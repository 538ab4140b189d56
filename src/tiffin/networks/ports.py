"""Host ports: what is asked for, which are free, and holding them.

A published port is held by a listening socket, so that no other process can take it while the firewall sends its
packets elsewhere. Nothing arrives on the IPv4 ones; the IPv6 ones are accepted from by `relay` where the container
has no IPv6 address.
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tiffin.errors import Internal, Invalid
from tiffin.model.container_host import PortBinding
from tiffin.model.network import Published

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}

EVERYWHERE = {4: "0.0.0.0", 6: "::"}
_ALONE = {address: (address,) for address in EVERYWHERE.values()}
"""One tuple for all: there may be a thousand ports."""

Key = tuple[str, str, int]
"""Protocol, host address, host port."""


class PortTaken(Internal):
    """A port is held, by a container or by another process. dockerd answers 500 here."""


@dataclass(frozen=True, slots=True)
class PortRequest:
    """One container port to be published on a host port from `low` to `high`; 0 to 0 is any ephemeral one.

    `host_ip` "" means every address of both families.
    """

    container_port: int
    protocol: str
    host_ip: str
    low: int
    high: int


def split(port: str) -> tuple[int, int, str]:
    """`80/tcp`, `80`, `80-90/udp` as first, last, protocol. Raises Invalid."""
    numbers, _, protocol = port.partition("/")
    low, _, high = numbers.partition("-")
    try:
        first, last = int(low), int(high or low)
    except ValueError as error:
        raise Invalid(f'invalid port specification: "{port}"') from error
    if not 0 < first <= last <= 65535:
        raise Invalid(f'invalid port specification: "{port}"')
    if (protocol := protocol.lower() or "tcp") not in PROTOCOLS:
        raise Invalid(f'invalid port specification: "{port}": the protocol must be tcp, udp or sctp')
    return first, last, protocol


def requests(
    bindings: Mapping[str, Sequence[PortBinding] | None] | None,
    exposed: Iterable[str] = (),
    *,
    publish_all: bool = False,
) -> list[PortRequest]:
    """What a container's `PortBindings` ask for; with `publish_all` exposed ports without a binding as well.

    A binding without a host port, and an empty list of bindings, take an ephemeral one. Raises Invalid.
    """
    wanted: list[PortRequest] = []
    for port, entries in (bindings or {}).items():
        first, last, protocol = split(port)
        for container_port in range(first, last + 1):
            for entry in entries or (PortBinding(),):
                low, high = _host_range(entry.host_port)
                if last > first and high - low == last - first:  # ranges of one length are matched one to one
                    low = high = low + container_port - first
                wanted.append(PortRequest(container_port, protocol, _host_ip(entry.host_ip), low, high))
    if publish_all:
        for port in expand(exposed):
            number, _, protocol = split(port)
            if port not in (bindings or {}):
                wanted.append(PortRequest(number, protocol, "", 0, 0))
    return wanted


def expand(exposed: Iterable[str]) -> list[str]:
    """Exposed ports with ranges spelled out, each with its protocol."""
    found = []
    for port in exposed:
        first, last, protocol = split(port)
        found += [f"{number}/{protocol}" for number in range(first, last + 1)]
    return found


def _host_range(text: str) -> tuple[int, int]:
    low, _, high = (text or "0").partition("-")
    try:
        first, last = int(low), int(high or low)
    except ValueError as error:
        raise Invalid(f"invalid port specification: {text!r}") from error
    if not 0 <= first <= last <= 65535:
        raise Invalid(f"invalid port specification: {text!r}")
    return first, last


def _host_ip(text: str) -> str:
    if not text:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise Invalid(f"invalid IP address in port binding: {text!r}") from error


def as_it_is(wanted: Iterable[PortRequest], versions: Collection[int]) -> list[Published]:
    """Ports that are reached at the container's own address in these IP versions: none of the host's is taken."""
    return [
        Published(one.container_port, one.protocol, EVERYWHERE[version], 0)
        for one in wanted
        for version in versions
        if not one.host_ip or version_of(one.host_ip) == version
    ]


def version_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


class Ports:
    """The host ports that are held."""

    def __init__(self) -> None:
        self._held: dict[Key, socket.socket | None] = {}
        self._numbers: dict[tuple[str, int, int], tuple[str, ...]] = {}  # protocol, IP version, port: the addresses
        self._next = 0

    def take(
        self, wanted: Sequence[PortRequest], target: str, *, default_ip: str = "", versions: Collection[int] = (4, 6)
    ) -> list[Published]:
        """Hold them all or none. Raises PortTaken.

        `target` is the container's address, for the error; `default_ip` where ports without an address go, "" for
        everywhere; `versions` are the IP versions in which ports of the host are taken.
        """
        taken: list[Published] = []
        with ExitStack() as undo:
            undo.callback(lambda: self.give_back(taken))
            # fixed ports first, or an ephemeral one may sit on a port that is asked for by number
            order = sorted(range(len(wanted)), key=lambda place: wanted[place].low == 0)
            found: dict[int, list[Published]] = {}
            for place in order:
                found[place] = self._take(wanted[place], target, default_ip, versions)
                taken += found[place]
            undo.pop_all()
        return [one for place in range(len(wanted)) for one in found[place]]

    def retake(self, published: Sequence[Published]) -> None:
        """Hold again what a running container has, after a restart of the daemon.

        A port that another process took meanwhile is only noted as ours: the firewall sends its packets to the
        container before that process sees them.
        """
        for one in published:
            if not one.host_port:
                continue
            try:
                held = _hold(one.protocol, one.host_ip, one.host_port)
            except OSError:
                held = None
            self._note(one.protocol, one.host_ip, one.host_port, held)

    def give_back(self, published: Iterable[Published]) -> None:
        """Let go of ports; those that aren't held are ignored."""
        for one in published:
            held = self._held.pop((one.protocol, one.host_ip, one.host_port), None)
            place = (one.protocol, version_of(one.host_ip), one.host_port)
            if rest := tuple(address for address in self._numbers.get(place, ()) if address != one.host_ip):
                self._numbers[place] = rest
            else:
                self._numbers.pop(place, None)
            if held is not None:
                held.close()

    def listener(self, one: Published) -> socket.socket | None:
        """The socket that holds a port."""
        return self._held.get((one.protocol, one.host_ip, one.host_port))

    def close(self) -> None:
        """Let go of everything."""
        for held in self._held.values():
            if held is not None:
                held.close()
        self._held.clear()
        self._numbers.clear()

    def _take(self, wanted: PortRequest, target: str, default_ip: str, versions: Collection[int]) -> list[Published]:
        asked = wanted.host_ip or default_ip
        addresses = [asked] if asked else ["0.0.0.0", "::"] if _has_ipv6() else ["0.0.0.0"]
        addresses = [one for one in addresses if version_of(one) in versions]
        if not addresses:
            return []
        choices = self._ephemeral() if wanted.low == 0 else range(wanted.low, wanted.high + 1)
        failure: PortTaken | None = None
        for port in choices:
            try:
                return self._take_one(wanted, addresses, port, target)
            except PortTaken as error:
                failure = error
        raise failure or PortTaken(f"Bind for {addresses[0]}:0 failed: all ports are allocated")

    def _take_one(self, wanted: PortRequest, addresses: Sequence[str], port: int, target: str) -> list[Published]:
        taken: list[Published] = []
        for address in addresses:
            shown = f"[{address}]" if ":" in address else address
            try:
                if self._clashes(wanted.protocol, address, port):
                    raise PortTaken(f"Bind for {shown}:{port} failed: port is already allocated")
                try:
                    held = _hold(wanted.protocol, address, port)
                except OSError as error:
                    reason = "address already in use" if error.errno == errno.EADDRINUSE else _reason(error)
                    leads = f"{shown}:{port}:{target}:{wanted.container_port}/{wanted.protocol}"
                    raise PortTaken(f"failed to bind host port for {leads}: {reason}") from error
            except PortTaken:
                self.give_back(taken)
                raise
            self._note(wanted.protocol, address, port, held)
            taken.append(Published(wanted.container_port, wanted.protocol, address, port))
        return taken

    def _clashes(self, protocol: str, address: str, port: int) -> bool:
        version = version_of(address)
        held = self._numbers.get((protocol, version, port), ())
        return bool(held) if address == EVERYWHERE[version] else address in held or EVERYWHERE[version] in held

    def _note(self, protocol: str, address: str, port: int, held: socket.socket | None) -> None:
        self._held[protocol, address, port] = held
        place = (protocol, version_of(address), port)
        alone = _ALONE.get(address) or (address,)
        self._numbers[place] = (*self._numbers[place], address) if place in self._numbers else alone

    def _ephemeral(self) -> Iterable[int]:
        low, high = ephemeral_range()
        count = high - low + 1
        start = self._next % count
        # goes round, so that a port just given back is not given to the next container
        for step in range(count):
            self._next = start + step + 1
            yield low + (start + step) % count


def ephemeral_range() -> tuple[int, int]:
    """The kernel's range for ports that nobody asked for by number."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            low, high = map(int, file.read().split())
    except (OSError, ValueError):
        return 32768, 60999
    return low, high


def _has_ipv6() -> bool:
    try:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6") as file:
            return file.read().strip() == "0"
    except OSError:
        return False


def _hold(protocol: str, address: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        held = socket.socket(family, _KINDS[protocol] | socket.SOCK_CLOEXEC, PROTOCOLS[protocol])
    except OSError as error:
        if protocol == "sctp" and error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            return None  # without the kernel's own SCTP no process can listen either
        raise
    with ExitStack() as undo:
        undo.callback(held.close)
        held.setblocking(False)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol != "udp":
            # connections of a process that is gone may linger on the port (TIME_WAIT); one that listens still clashes
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, port))
        if protocol != "udp":
            held.listen(socket.SOMAXCONN)
        undo.pop_all()
    return held


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
