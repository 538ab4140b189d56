"""What /etc/hosts, /etc/hostname and /etc/resolv.conf of a container say."""

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

from tiffin.errors import Invalid
from tiffin.model.network import Endpoint, Endpoints
from tiffin.networks import doorway

_LOCAL_V4 = "127.0.0.1\tlocalhost\n"
_LOCAL_V6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
_FALLBACK = ("8.8.8.8", "8.8.4.4")


def hosts(
    endpoints: Endpoints | None,
    *,
    hostname: str,
    domainname: str = "",
    extra: Sequence[str] = (),
    host_gateway: str = "",
    links: Sequence[tuple[str, Sequence[str]]] = (),
) -> str:
    """/etc/hosts: localhost, extra hosts (`NAME:IP`, `NAME=IP`), links (address, names), then the container itself.

    `host_gateway` is what the extra host address `host-gateway` stands for. Raises Invalid.
    """
    lines = [_LOCAL_V4, _LOCAL_V6]
    lines += [_extra_host(entry, host_gateway) for entry in extra]
    lines += [f"{address}\t{' '.join(names)}\n" for address, names in links]
    for endpoint in endpoints.endpoints if endpoints is not None else ():
        lines.append(own_lines(endpoint, hostname, domainname))
    return "".join(lines)


def own_lines(endpoint: Endpoint, hostname: str, domainname: str = "") -> str:
    """What /etc/hosts says of the container itself on one network."""
    own = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    return "".join(f"{address}\t{own}\n" for address in (endpoint.ipv4, endpoint.ipv6) if address)


def _extra_host(entry: str, host_gateway: str) -> str:
    # a name has no colon, an IPv6 address may have; `=` is the newer spelling
    separator = "=" if "=" in entry.partition(":")[0] else ":"
    name, _, address = entry.partition(separator)
    address = address.strip("[]")
    if address == "host-gateway":
        if not host_gateway:
            raise Invalid("unable to derive the IP value for host-gateway: the default bridge network is disabled")
        address = host_gateway
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise Invalid(f"invalid IP address in add-host: {address!r}") from error
    return f"{address}\t{name}\n"


def resolv_conf(
    host: str,
    *,
    nameservers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    keep_loopback: bool = False,
    embedded: bool = False,
) -> str:
    """/etc/resolv.conf made from the host's text; what is given replaces what the host has.

    Resolvers on the host's loopback can't be reached from a namespace and are left out unless `keep_loopback`.
    `embedded` is for containers on user networks: a name server at 127.0.0.11 knows their names, and asks the others
    (`upstreams`) for the rest.
    """
    found = _parse(host)
    servers = upstreams(host, nameservers=nameservers, keep_loopback=keep_loopback)
    if embedded:
        servers = [doorway.ADDRESS]
    chosen = list(search) if search else found["search"]
    if chosen == ["."]:  # docker's way to ask for none
        chosen = []
    flags = list(options) if options else found["options"]
    if embedded and not any(flag.startswith("ndots:") for flag in flags):
        flags.append("ndots:0")  # a name without a dot may be a container's: it is asked for as it is
    lines = [f"nameserver {server}\n" for server in servers]
    if chosen:
        lines.append(f"search {' '.join(chosen)}\n")
    if flags:
        lines.append(f"options {' '.join(flags)}\n")
    return "".join(lines)


def upstreams(host: str, *, nameservers: Sequence[str] = (), keep_loopback: bool = False) -> list[str]:
    """The resolvers that are asked in the end."""
    if nameservers:
        return list(nameservers)
    found = _parse(host)["nameserver"]
    if keep_loopback:
        return found
    usable = [server for server in found if not _on_host_only(server)]
    # docker falls back to the same two when nothing is left
    return usable or list(_FALLBACK)


def host_resolv_conf() -> str:
    """The host's own /etc/resolv.conf, "" without; where it only names systemd-resolved, what that one asks."""
    text = _text("/etc/resolv.conf")
    if _parse(text)["nameserver"] == ["127.0.0.53"]:
        return _text("/run/systemd/resolve/resolv.conf") or text
    return text


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _on_host_only(server: str) -> bool:
    try:
        address = ipaddress.ip_address(server.partition("%")[0])
    except ValueError:
        return True
    # a zone names a link of the host
    return address.is_loopback or "%" in server


def _parse(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in text.splitlines():
        words: Iterable[str] = line.split("#")[0].split(";")[0].split()
        keyword, *values = words or [""]
        if keyword == "nameserver" and values:
            found["nameserver"].append(values[0])
        elif keyword in ("search", "domain"):  # the last one counts (resolv.conf(5))
            found["search"] = values
        elif keyword == "options":
            found["options"] += values
    return found
