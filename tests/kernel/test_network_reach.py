"""Who reaches whom: between namespaces that play host, containers and neighbour."""

from __future__ import annotations

import socket

import pytest

from kernel.network_host import HERE, NEIGHBOUR, Containers, Host, published
from rig.netns import Namespace
from tiffin.errors import Invalid
from tiffin.model.container_host import PortBinding
from tiffin.model.network import PoolRequest
from tiffin.networks.definition import GATEWAY_MODE

pytestmark = pytest.mark.root


def test_containers_on_one_network_reach_each_other_unmasked(host: Host, container: Containers) -> None:
    server, client = container(), container()
    host.run(server)
    host.run(client)
    with host.inside(server).listen(80) as listening:
        assert host.inside(client).reaches("172.17.0.2", 80, listening) == "172.17.0.3"


def test_networks_are_isolated_from_each_other(host: Host, container: Containers) -> None:
    host.create("other")
    server, client = container(), container("other")
    host.run(server)
    host.run(client)
    with host.inside(server).listen(80) as listening:
        assert host.inside(client).is_kept_from("172.17.0.2", 80, listening)


def test_container_goes_out_under_the_hosts_address(host: Host, container: Containers) -> None:
    one = container()
    host.run(one)
    with host.neighbour.listen(80) as listening:
        assert host.inside(one).reaches(NEIGHBOUR, 80, listening) == HERE


def test_internal_network_leads_nowhere(host: Host, container: Containers) -> None:
    host.create("inner", internal=True)
    server, client = container("inner"), container("inner")
    host.run(server)
    host.run(client)
    assert "default" not in host.inside(client).run("ip", "route")
    host.inside(client).run("ip", "route", "add", "default", "via", "172.18.0.1")
    with host.neighbour.listen(80) as outside, host.inside(server).listen(80) as listening:
        assert host.inside(client).is_kept_from(NEIGHBOUR, 80, outside)
        assert host.inside(client).reaches("172.18.0.2", 80, listening) == "172.18.0.3"


def test_published_port_is_reached_from_everywhere(host: Host, container: Containers) -> None:
    host.create("other")
    server, beside, elsewhere = container(ports=published("8000")), container(), container("other")
    for one in (server, beside, elsewhere):
        host.run(one)
    with host.inside(server).listen(80) as listening:
        assert host.neighbour.reaches(HERE, 8000, listening) == NEIGHBOUR, "from outside, under its own address"
        assert host.namespace.reaches("127.0.0.1", 8000, listening), "from the host's loopback"
        assert host.namespace.reaches("::1", 8000, listening), "over IPv6 to a container without"
        assert host.namespace.reaches(HERE, 8000, listening), "from the host by its own address"
        assert host.inside(beside).reaches("172.17.0.1", 8000, listening), "from the same network"
        assert host.inside(elsewhere).reaches(HERE, 8000, listening), "from another network"
        assert host.inside(server).reaches("172.17.0.1", 8000, listening), "from itself"


def test_published_udp_port_answers_under_the_hosts_address(host: Host, container: Containers) -> None:
    server = container(ports=published("5353", port="53/udp"))
    host.run(server)
    with (
        host.inside(server).listen(53, kind=socket.SOCK_DGRAM) as listening,
        host.neighbour.open(HERE, socket.SOCK_DGRAM) as client,
    ):
        client.connect((HERE, 5353))
        client.send(b"question")
        question, seen = listening.recvfrom(100)
        listening.sendto(b"answer", seen)
        assert (question, client.recv(100)) == (b"question", b"answer")


def test_udp_client_that_goes_on_sending_reaches_the_next_container(host: Host, container: Containers) -> None:
    with host.neighbour.open(HERE, socket.SOCK_DGRAM) as client:
        client.connect((HERE, 5353))
        for address in ("172.17.0.2", "172.17.0.3"):
            server = container(ports=published("5353", port="53/udp"))
            host.run(server)
            with host.inside(server).listen(53, kind=socket.SOCK_DGRAM) as listening:
                client.send(address.encode())
                assert listening.recv(100) == address.encode()
            host.end(server)
            host.run(container())  # so that the next one gets another address


def test_unpublished_port_is_not_reached_from_outside(host: Host, container: Containers) -> None:
    server = container(ports=published("8000"))
    host.run(server)
    host.neighbour.run("ip", "route", "add", "172.17.0.0/16", "via", HERE)
    with host.inside(server).listen(80) as listening, host.inside(server).listen(81) as other:
        assert host.neighbour.is_kept_from("172.17.0.2", 80, listening), "not even a published one directly"
        assert host.neighbour.is_kept_from("172.17.0.2", 81, other)
        assert host.neighbour.is_kept_from(HERE, 81, other)


def test_port_on_loopback_is_for_the_host_alone(host: Host, container: Containers) -> None:
    server, beside = container(ports=published("8000", "127.0.0.1")), container()
    host.run(server)
    host.run(beside)
    pretend_loopback_is_there(host.neighbour, _cable(host.neighbour), HERE, NEIGHBOUR)
    # as other software may have it; without, the kernel drops such packets by itself
    host.namespace.run("sysctl", "-qw", f"net.ipv4.conf.{_cable(host.namespace)}.route_localnet=1")
    with host.inside(server).listen(80) as listening:
        assert host.namespace.reaches("127.0.0.1", 8000, listening)
        assert host.neighbour.is_kept_from(HERE, 8000, listening)
        assert host.neighbour.is_kept_from("127.0.0.1", 8000, listening), "a packet made to look local"
        assert host.inside(beside).is_kept_from("172.17.0.1", 8000, listening)


def pretend_loopback_is_there(attacker: Namespace, link: str, gateway: str, own: str) -> None:
    """Send what goes to 127.0.0.1 over the wire."""
    attacker.run("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    attacker.run("sysctl", "-qw", f"net.ipv4.conf.{link}.route_localnet=1")
    attacker.run("ip", "route", "add", "127.0.0.1", "via", gateway, "src", own)


def test_container_does_not_reach_the_hosts_loopback(host: Host, container: Containers) -> None:
    one = container()
    host.run(one)
    inside = host.inside(one)
    pretend_loopback_is_there(inside, "eth0", "172.17.0.1", "172.17.0.2")
    with host.namespace.listen(631, "127.0.0.1") as service:
        assert inside.is_kept_from("127.0.0.1", 631, service)


def test_dual_stack_network_publishes_over_both_families(host: Host, container: Containers) -> None:
    host.neighbour.run("ip", "addr", "add", "2001:db8::9/64", "dev", _cable(host.neighbour), "nodad")
    host.namespace.run("ip", "addr", "add", "2001:db8::1/64", "dev", _cable(host.namespace), "nodad")
    pools = (PoolRequest("10.60.0.0/24"), PoolRequest("fd00:60::/64"))
    host.create("dual", ipv6=True, pools=pools)
    one, two = container("dual", ports=published("8000")), container("dual")
    (endpoint,) = host.run(one).endpoints
    host.run(two)
    assert (endpoint.ipv4, endpoint.ipv6) == ("10.60.0.2", "fd00:60::2")
    with host.inside(one).listen(80, "::") as listening:
        assert host.inside(two).reaches("fd00:60::2", 80, listening) == "fd00:60::3"
        assert host.neighbour.reaches("2001:db8::1", 8000, listening) == "2001:db8::9"
        assert host.namespace.reaches("::1", 8000, listening)
        assert host.inside(two).reaches("10.60.0.2", 80, listening) == "::ffff:10.60.0.3"


def test_unprotected_network_is_reached_directly_but_not_from_other_networks(host: Host, container: Containers) -> None:
    host.create("bare", options={f"{GATEWAY_MODE}4": "nat-unprotected"})
    server, client, beside = container("bare", ports=published("8000")), container(), container("bare")
    for one in (server, client, beside):
        host.run(one)
    host.neighbour.run("ip", "route", "add", "172.18.0.0/16", "via", HERE)
    with host.inside(server).listen(80) as listening, host.inside(server).listen(81) as other:
        assert host.neighbour.reaches("172.18.0.2", 81, other) == NEIGHBOUR
        assert host.neighbour.reaches(HERE, 8000, listening) == NEIGHBOUR
        assert host.inside(client).is_kept_from("172.18.0.2", 81, other)
        assert host.inside(beside).reaches("172.18.0.2", 81, other) == "172.18.0.3"


def test_routed_network_is_reached_at_its_own_addresses(host: Host, container: Containers) -> None:
    host.create("plain", options={f"{GATEWAY_MODE}4": "routed"})
    server, client = container("plain", ports=published("8000")), container()
    endpoints = host.run(server)
    host.run(client)
    assert endpoints.ports() == {"80/tcp": (PortBinding("0.0.0.0", ""),)}
    host.neighbour.run("ip", "route", "add", "172.18.0.0/16", "via", HERE)
    inside = host.inside(server)
    with inside.listen(80) as listening, inside.listen(81) as other, host.neighbour.listen(80) as outside:
        assert host.neighbour.reaches("172.18.0.2", 80, listening) == NEIGHBOUR
        assert host.inside(client).reaches("172.18.0.2", 80, listening), "from another network"
        assert host.neighbour.is_kept_from("172.18.0.2", 81, other), "what is not published"
        assert host.neighbour.is_kept_from(HERE, 8000, listening), "no port of the host"
        assert inside.reaches(NEIGHBOUR, 80, outside) == "172.18.0.2", "under its own address"
    host.neighbour.run("busybox", "ping", "-c1", "-W30", "172.18.0.2")
    host.end(server)
    assert "172.18.0.2 . " not in host.rules()


def test_host_is_not_on_an_isolated_network(host: Host, container: Containers) -> None:
    with pytest.raises(Invalid, match="gateway mode 'isolated' can only be used for an internal network"):
        host.create("wrong", options={f"{GATEWAY_MODE}4": "isolated"})
    network = host.create("alone", internal=True, options={f"{GATEWAY_MODE}4": "isolated"})
    assert "inet " not in host.namespace.run("ip", "addr", "show", network.bridge)
    one, two = container("alone"), container("alone")
    host.run(one)
    host.run(two)
    with host.inside(one).listen(80) as listening:
        assert host.inside(two).reaches("172.18.0.2", 80, listening) == "172.18.0.3"
        assert host.namespace.is_kept_from("172.18.0.2", 80, listening)


def _cable(namespace: Namespace) -> str:
    return namespace.run("ip", "-o", "link", "show", "type", "veth").split(": ")[1].split("@")[0]
