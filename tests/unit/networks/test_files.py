"""What the name files of a container say."""

import pytest

from tiffin.errors import Invalid
from tiffin.model.network import Endpoint, Endpoints
from tiffin.networks.files import hosts, resolv_conf, upstreams

HOST = """\
# made by somebody
nameserver 127.0.0.53
nameserver 192.0.2.1
nameserver fe80::1%eth0
nameserver 2001:db8::53
search example.com corp
options edns0 trust-ad
"""


def endpoints(ipv4: str = "172.17.0.2", ipv6: str = "") -> Endpoints:
    return Endpoints("c", "s", (Endpoint("n", "bridge", "e", "bridge", ipv4=ipv4, ipv6=ipv6),))


def test_hosts_has_localhost_then_extra_hosts_then_itself() -> None:
    lines = hosts(endpoints(), hostname="web", domainname="example.com", extra=["db:10.0.0.5"]).splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-2:] == ["10.0.0.5\tdb", "172.17.0.2\tweb.example.com web"]


def test_each_address_of_the_container_is_listed() -> None:
    text = hosts(endpoints(ipv6="fd00::2"), hostname="web")
    assert text.endswith("172.17.0.2\tweb\nfd00::2\tweb\n")


@pytest.mark.parametrize("entry", ["db:fd00::5", "db=fd00::5", "db:[fd00::5]"])
def test_extra_hosts_may_be_ipv6(entry: str) -> None:
    assert "fd00::5\tdb\n" in hosts(None, hostname="", extra=[entry])


def test_host_gateway_stands_for_the_bridges_address() -> None:
    assert "172.17.0.1\thost\n" in hosts(None, hostname="", extra=["host:host-gateway"], host_gateway="172.17.0.1")
    with pytest.raises(Invalid, match="host-gateway"):
        hosts(None, hostname="", extra=["host:host-gateway"])
    with pytest.raises(Invalid, match="invalid IP address in add-host"):
        hosts(None, hostname="", extra=["host:nonsense"])


def test_links_are_listed() -> None:
    assert "172.17.0.9\tdb 0123 database\n" in hosts(
        None, hostname="", links=[("172.17.0.9", ("db", "0123", "database"))]
    )


def test_resolvers_on_the_hosts_loopback_are_left_out() -> None:
    text = resolv_conf(HOST)
    assert text.splitlines() == [
        "nameserver 192.0.2.1",
        "nameserver 2001:db8::53",
        "search example.com corp",
        "options edns0 trust-ad",
    ]


def test_host_network_keeps_them() -> None:
    assert upstreams(HOST, keep_loopback=True)[0] == "127.0.0.53"


def test_public_resolvers_step_in_when_none_is_left() -> None:
    assert upstreams("nameserver 127.0.0.1\n") == ["8.8.8.8", "8.8.4.4"]


def test_what_is_asked_for_replaces_the_hosts() -> None:
    text = resolv_conf(HOST, nameservers=["9.9.9.9"], search=["."], options=["ndots:2"])
    assert text == "nameserver 9.9.9.9\noptions ndots:2\n"
