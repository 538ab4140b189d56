"""Where a registry is reached: Docker Hub's several names, mirrors of any registry, registries without TLS."""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tiffin.errors import Invalid
from tiffin.model.reference import DEFAULT_DOMAIN

HUB = "registry-1.docker.io"
ANY = "*"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """url: scheme and host, without a slash at its end. prefix: put before a repository's path on a mirror.

    authority: host and port as certs.d and insecure registries name it.
    """

    url: str
    authority: str
    verify: bool = True
    mirror: bool = False
    prefix: str = ""
    namespace: str = ""
    """The registry a mirror of all registries is asked about (`?ns=`), empty otherwise."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """What the configuration says of registries. mirrors: by domain; `*` for those that have none of their own."""

    insecure: tuple[str, ...] = ()
    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def pulling(self, domain: str) -> list[Endpoint]:
        """Where to ask, in order: mirrors, then the registry itself."""
        own = self.mirrors.get(domain)
        listed = own if own is not None else self.mirrors.get(ANY, ())
        found = [self._mirror(url, domain if own is None else "") for url in listed]
        return [*found, *self.pushing(domain)]

    def pushing(self, domain: str) -> list[Endpoint]:
        """The registry itself: TLS first, then plain HTTP for an insecure one."""
        host = HUB if domain == DEFAULT_DOMAIN else domain
        if not self.is_insecure(host):
            return [Endpoint(f"https://{host}", host)]
        return [Endpoint(f"{scheme}://{host}", host, verify=False) for scheme in ("https", "http")]

    def _mirror(self, url: str, namespace: str) -> Endpoint:
        parts = urlsplit(url)
        verify = not self.is_insecure(parts.netloc)
        prefix = parts.path.strip("/")
        return Endpoint(f"{parts.scheme}://{parts.netloc}", parts.netloc, verify, True, prefix, namespace)

    def is_insecure(self, authority: str) -> bool:
        """Listed by name or network, or on loopback, as dockerd rules."""
        if authority in self.insecure:
            return True
        host = urlsplit(f"//{authority}").hostname or authority
        networks = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]
        for item in self.insecure:
            try:
                networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError:
                continue
        return any(address in network for address in _addresses(host) for network in networks)


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    if host == HUB or host.endswith(".docker.io"):
        return []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]


def check_mirror(url: str, *, path: bool = False) -> str:
    """A mirror's URL as it is kept. Invalid in dockerd's words; path: whether one may be given."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise Invalid(f'invalid mirror: unsupported scheme "{parts.scheme}" in "{url}"')
    if not parts.hostname:
        raise Invalid(f'invalid mirror: no host in "{url}"')
    if parts.query or parts.fragment or (parts.path.strip("/") and not path):
        raise Invalid(f'invalid mirror: path, query, or fragment at end of the URI "{url}"')
    if parts.username is not None:
        raise Invalid(f'invalid mirror: username/password not allowed in URI "{parts.scheme}://xxxxx@{parts.hostname}"')
    return url.rstrip("/")
