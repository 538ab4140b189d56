"""`-p` and `--expose`: `[address:][host port[-end]:]container port[-end][/protocol]`."""

from __future__ import annotations

from tiffin.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    Bindings = dict[str, list[dict[str, str]]]

_PROTOCOLS = ("tcp", "udp", "sctp")


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def port_range(text: str) -> tuple[int, int]:
    """First and last port. Raises ValueError with Go's words."""
    if not text:
        raise ValueError("empty string specified for ports")
    first, dash, last = text.partition("-")
    ports = []
    for part in (first, last if dash else first):
        if not part.isdigit():
            raise ValueError(f'strconv.ParseUint: parsing "{part}": invalid syntax')
        if int(part) > 65535:
            raise ValueError(f'strconv.ParseUint: parsing "{part}": value out of range')
        ports.append(int(part))
    if ports[1] < ports[0]:
        raise ValueError(f"invalid range specified for port: {text}")
    return ports[0], ports[1]


def _split(spec: str) -> tuple[str, str, str, str]:
    address_and_host, _, container = spec.rpartition(":")
    address, _, host = address_and_host.rpartition(":")
    port, _, protocol = container.partition("/")
    if address.startswith("["):
        if not address.endswith("]"):
            raise Invalid(f"invalid IP address {address}: address {address}:: missing ']' in address")
        address = address[1:-1]
    return address, host, port, protocol or "tcp"


def parse(spec: str) -> Bindings:
    """One -p as the API's PortBindings. Raises Invalid."""
    address, host, container, protocol = _split(spec)
    if address and not is_address(address):
        raise Invalid(f"invalid IP address: {address}")
    if not container:
        raise Invalid(f"no port specified: {spec}<empty>")
    try:
        first, last = port_range(container)
    except ValueError as error:
        raise Invalid(f"invalid containerPort: {container}") from error
    host_first = host_last = 0
    if host:
        try:
            host_first, host_last = port_range(host)
        except ValueError as error:
            raise Invalid(f"invalid hostPort: {host}") from error
        if last - first != host_last - host_first and last != first:
            text = f"invalid ranges specified for container and host Ports: {container} and {host}"
            raise Invalid(text)
    if protocol.lower() not in _PROTOCOLS:
        raise Invalid(f"invalid proto: {protocol}")
    bindings: Bindings = {}
    for offset in range(last - first + 1):
        chosen = str(host_first + offset) if host else ""
        if first == last and host_first != host_last:
            # one port inside, a range outside: the daemon takes a free one of the range
            chosen = f"{host_first}-{host_last}"
        bindings[f"{first + offset}/{protocol.lower()}"] = [{"HostIp": address, "HostPort": chosen}]
    return bindings


def _plain(spec: str) -> str:
    """`published=80,target=8000,protocol=udp` in the short notation."""
    if "=" not in spec:
        return spec
    fields = {"protocol": "tcp", "published": "", "target": ""}
    for item in spec.split(","):
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise Invalid(f"invalid publish opts format (should be name=value but got '{item}')")
        fields[key] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def publish(specs: list[str]) -> Bindings:
    """All -p together."""
    bindings: Bindings = {}
    for spec in specs:
        for port, targets in parse(_plain(spec)).items():
            bindings.setdefault(port, []).extend(targets)
    return bindings


def expose(specs: list[str]) -> list[str]:
    """All --expose together, as `port/protocol`."""
    ports = []
    for spec in specs:
        if ":" in spec:
            raise Invalid(f"invalid port format for --expose: {spec}")
        port, _, protocol = spec.partition("/")
        try:
            first, last = port_range(port)
        except ValueError as error:
            raise Invalid(f"invalid range format for --expose: {spec}, error: {error}") from error
        ports += [f"{number}/{(protocol or 'tcp').lower()}" for number in range(first, last + 1)]
    return ports
