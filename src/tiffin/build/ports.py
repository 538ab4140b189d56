"""EXPOSE operands: `80`, `53/udp`, `7000-7002`, and the forms with an address or host port that docker run has."""

import ipaddress
from collections.abc import Callable

from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.gotext import quoted
from tiffin.build.dockerfile.rules import Rule
from tiffin.build.dockerfile.source import DockerfileError

_PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST = 65535


def parse_port(text: str, report: Callable[[Rule, str], None]) -> list[str]:
    """`port/protocol` for each port of the range. DockerfileError in BuildKit's words."""
    address, host, container = _split(text)
    container, _, protocol = container.partition("/")
    if not container:
        raise DockerfileError(f"invalid port: {quoted(text)}: no port specified")
    if protocol and protocol.lower() not in _PROTOCOLS:
        raise DockerfileError(f"invalid port: {quoted(text)}: invalid proto: {protocol}")
    if protocol != protocol.lower():
        report(rules.EXPOSE_PROTO_CASING, f"Defined protocol '{text}' in EXPOSE instruction should be lowercase")
    if address or host:
        message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"
        report(rules.EXPOSE_INVALID_FORMAT, message)
    _check_address(address)
    first, last = _range(container, "invalid containerPort: ")
    if host:
        host_first, host_last = _range(host, "invalid hostPort: ")
        if last - first != host_last - host_first and last != first:
            raise DockerfileError(f"invalid ranges specified for container and host Ports: {container} and {host}")
    return [f"{number}/{protocol.lower() or 'tcp'}" for number in range(first, last + 1)]


def _split(text: str) -> tuple[str, str, str]:
    *rest, container = text.split(":")
    host = rest.pop() if rest else ""
    return ":".join(rest), host, container


def _check_address(address: str) -> None:
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        if bare:
            ipaddress.ip_address(bare)
    except ValueError:
        raise DockerfileError(f"invalid IP address: {bare}") from None


def _range(text: str, message: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        low = _number(first)
        high = _number(last) if dash and last != first else low
    except ValueError:
        raise DockerfileError(message + text) from None
    if high < low:
        raise DockerfileError(message + text)
    return low, high


def _number(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isdecimal() or not digits.isascii() or not 0 <= int(text) <= _HIGHEST:
        raise ValueError(text)
    return int(text)
