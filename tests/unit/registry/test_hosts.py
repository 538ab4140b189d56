"""Where registries are reached."""

import socket
from typing import Any

import pytest

from tiffin.errors import Invalid
from tiffin.registry.hosts import Hosts, check_mirror


@pytest.fixture(autouse=True)
def no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only localhost has addresses: nothing is asked of the network."""

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def urls(hosts: Hosts, domain: str) -> list[str]:
    return [endpoint.url for endpoint in hosts.pulling(domain)]


def test_docker_io_is_docker_hub() -> None:
    assert urls(Hosts(), "docker.io") == ["https://registry-1.docker.io"]


def test_loopback_is_tried_with_tls_first_and_never_verified() -> None:
    endpoints = Hosts().pushing("127.1.2.3:5000")
    assert [endpoint.url for endpoint in endpoints] == ["https://127.1.2.3:5000", "http://127.1.2.3:5000"]
    assert not any(endpoint.verify for endpoint in endpoints)
    assert len(Hosts().pushing("localhost:5000")) == 2
    assert len(Hosts().pushing("[::1]:5000")) == 2


def test_insecure_registries_are_named_by_host_or_network() -> None:
    hosts = Hosts(("r.invalid:5000", "192.0.2.0/24"))
    assert hosts.is_insecure("r.invalid:5000")
    assert not hosts.is_insecure("r.invalid:5001")
    assert hosts.is_insecure("192.0.2.7:443")
    assert not hosts.is_insecure("198.51.100.1")


def test_mirrors_come_first_and_only_for_their_registry() -> None:
    mirrors = {
        "docker.io": ["https://m.invalid"],
        "quay.io": ["https://n.invalid/proxy/quay"],
        "*": ["http://o.invalid"],
    }
    hosts = Hosts(mirrors=mirrors)
    assert urls(hosts, "docker.io") == ["https://m.invalid", "https://registry-1.docker.io"]
    mirror, own = hosts.pulling("quay.io")
    assert (mirror.url, mirror.prefix, mirror.namespace) == ("https://n.invalid", "proxy/quay", "")
    assert not own.mirror
    other, _ = hosts.pulling("ghcr.io")
    assert (other.url, other.namespace) == ("http://o.invalid", "ghcr.io")
    assert [endpoint.url for endpoint in hosts.pushing("quay.io")] == ["https://quay.io"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x", "unsupported scheme"),
        ("https://u:secret@x", "username/password not allowed"),
        ("https://x/path", "path, query, or fragment"),
        ("https://x?q", "path, query, or fragment"),
        ("https://", "no host"),
    ],
)
def test_mirrors_that_can_not_be_are_refused_without_showing_passwords(url: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        check_mirror(url)
    assert "secret" not in str(refused.value)
    assert check_mirror("https://x/") == "https://x"
