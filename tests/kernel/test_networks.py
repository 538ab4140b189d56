"""What a container gets on a network, and what becomes of it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from kernel.network_host import HERE, NEIGHBOUR, Containers, Host, published
from rig.netns import Namespace
from rig.waiting import eventually
from tiffin.errors import Conflict, Forbidden, Internal, Invalid, NotFound, TiffinError
from tiffin.model.container import Container, EndpointIPAM, EndpointRequest
from tiffin.model.container_host import PortBinding
from tiffin.model.network import PoolRequest
from tiffin.networks.definition import Defaults
from tiffin.networks.ports import PortTaken

pytestmark = pytest.mark.root


def test_default_bridge_gives_address_gateway_and_mac(host: Host, container: Containers) -> None:
    one = container()
    (endpoint,) = host.run(one).endpoints
    assert (endpoint.ipv4, endpoint.ipv4_prefix, endpoint.ipv4_gateway) == ("172.17.0.2", 16, "172.17.0.1")
    inside = host.inside(one)
    assert "inet 172.17.0.2/16" in inside.run("ip", "-4", "addr", "show", "eth0")
    assert "default via 172.17.0.1 dev eth0" in inside.run("ip", "route")
    assert f"link/ether {endpoint.mac_address}" in inside.run("ip", "link", "show", "eth0")
    assert endpoint.mac_address == "02:42:ac:11:00:02"


def test_interface_has_no_ipv6_address_where_ipv6_is_off(host: Host, container: Containers) -> None:
    one = container()
    endpoints = host.run(one)
    assert "inet6" not in host.inside(one).run("ip", "addr", "show", "eth0")
    assert endpoints.sysctls == {"net.ipv6.conf.eth0.disable_ipv6": "1"}


def test_taken_port_is_refused_with_dockers_words(host: Host, container: Containers) -> None:
    host.run(container(ports=published("8000")))
    with pytest.raises(PortTaken, match=r"Bind for 0\.0\.0\.0:8000 failed: port is already allocated"):
        host.reserve(container(ports=published("8000")))
    with pytest.raises(PortTaken, match=r"Bind for 127\.0\.0\.1:8000 failed: port is already allocated"):
        host.reserve(container(ports=published("8000", "127.0.0.1")))


def test_port_of_a_host_process_is_refused_and_nothing_stays(host: Host, container: Containers) -> None:
    one = container(ports={"80/tcp": (PortBinding("", "8001"), PortBinding("", "8000"))})
    with host.namespace.listen(8000):
        expected = r"failed to bind host port for 0\.0\.0\.0:8000:172\.17\.0\.2:80/tcp: address already in use"
        with pytest.raises(PortTaken, match=expected):
            host.reserve(one)
    host.reserve(one)


def test_host_process_cannot_take_a_published_port(host: Host, container: Containers) -> None:
    host.run(container(ports=published("8000")))
    with host.namespace.open("0.0.0.0") as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            late.bind(("0.0.0.0", 8000))


def test_ephemeral_ports_and_exposed_ones_are_listed(host: Host, container: Containers) -> None:
    endpoints = host.reserve(container(ports={"80/tcp": None}, exposed=("9/udp",)))
    shown = endpoints.ports()
    assert shown["9/udp"] is None
    (four, six) = shown["80/tcp"] or ()
    assert (four.host_ip, six.host_ip) == ("0.0.0.0", "::")
    assert four.host_port == six.host_port
    assert 32768 <= int(four.host_port) <= 60999


def test_released_address_and_port_serve_the_next_container_at_once(host: Host, container: Containers) -> None:
    for _ in range(5):
        one = container(ports=published("8000"))
        (endpoint,) = host.run(one).endpoints
        assert endpoint.ipv4 == "172.17.0.2"
        with host.inside(one).listen(80) as listening:
            assert host.neighbour.reaches(HERE, 8000, listening)
            assert host.namespace.reaches("172.17.0.2", 80, listening)
        host.end(one)


def test_links_and_rules_go_with_the_container(host: Host, container: Containers) -> None:
    before = host.rules()
    one = container(ports=published("8000"))
    host.run(one)
    assert before != host.rules()
    host.end(one)
    assert host.rules() == before
    eventually(lambda: "veth" not in host.links(), what="the veth is gone")


def test_subnet_in_use_on_the_host_is_avoided(tmp_path: Path) -> None:
    host = Host(tmp_path)
    try:
        host.stop()
        (tmp_path / "ledger.db").unlink()
        host.namespace.run("ip", "link", "del", "tiffin0")
        host.namespace.run("ip", "route", "add", "172.17.5.0/24", "via", NEIGHBOUR)
        host.start()
        assert host.networks.get("bridge").pools[0].subnet == "172.18.0.0/16"
    finally:
        host.close()


def test_daemons_options_shape_the_default_bridge(host: Host, container: Containers) -> None:
    host.stop()
    host.start(defaults=Defaults(bip="10.40.0.1/24", fixed_cidr="10.40.0.64/26", mtu=1400, icc=False))
    assert "inet 10.40.0.1/24" in host.namespace.run("ip", "addr", "show", "tiffin0")
    assert "172.17" not in host.namespace.run("ip", "addr", "show", "tiffin0")
    server, client = container(), container()
    assert host.run(server).endpoints[0].ipv4 == "10.40.0.64"
    host.run(client)
    assert "mtu 1400" in host.inside(client).run("ip", "link", "show", "eth0")
    with host.inside(server).listen(80) as listening:
        assert host.inside(client).is_kept_from("10.40.0.64", 80, listening), "icc is off"
        assert host.namespace.reaches("10.40.0.64", 80, listening)


def test_default_bridge_has_ipv6_where_it_is_switched_on(host: Host, container: Containers) -> None:
    host.stop()
    host.start(defaults=Defaults(ipv6=True, fixed_cidr_v6="fd00:17::/64"))
    one = container()
    (endpoint,) = host.run(one).endpoints
    assert (endpoint.ipv4, endpoint.ipv6, endpoint.ipv6_gateway) == ("172.17.0.2", "fd00:17::2", "fd00:17::1")
    assert "default via fd00:17::1" in host.inside(one).run("ip", "-6", "route")


def test_bridge_of_the_users_own_is_taken_as_it_is(host: Host, container: Containers) -> None:
    host.stop()
    host.namespace.run("ip", "link", "add", "mine", "type", "bridge")
    host.namespace.run("ip", "addr", "add", "10.41.0.7/24", "dev", "mine")
    host.namespace.run("ip", "addr", "add", "10.42.0.7/24", "dev", "mine")
    host.start(defaults=Defaults(bridge="mine"))
    (endpoint,) = host.run(container()).endpoints
    assert (endpoint.ipv4, endpoint.ipv4_gateway) == ("10.41.0.1", "10.41.0.7")
    assert "10.42.0.7/24" in host.namespace.run("ip", "addr", "show", "mine")


def test_without_a_default_bridge_containers_have_no_network(host: Host, container: Containers) -> None:
    host.stop()
    host.start(defaults=Defaults(bridge="none"))
    assert [network.name for network in host.networks.all()] == ["host", "none"]
    (endpoint,) = host.run(container()).endpoints
    assert (endpoint.network, endpoint.interface) == ("none", "")


def test_daemon_starts_where_bridges_are_impossible(host: Host, container: Containers) -> None:
    host.stop()
    host.namespace.run("ip", "link", "del", "tiffin0")
    other = Namespace()
    host.namespace.run("ip", "link", "add", "tiffin0", "type", "veth", "peer", "name", "x", "netns", other.path)
    host.start()
    host.run(container("none"))
    with pytest.raises(Internal, match="tiffin0: a link of that name exists and is no bridge"):
        host.run(container())
    other.close()


def test_network_requests_are_refused_in_dockers_words(host: Host) -> None:
    host.create("one", pools=(PoolRequest("10.50.0.0/24"),))
    cases: tuple[tuple[type[TiffinError], str, dict[str, Any]], ...] = (
        (Conflict, "network with name one already exists", {"name": "one"}),
        (Forbidden, "operation is not permitted on predefined host network", {"name": "host"}),
        (
            Forbidden,
            "Pool overlaps with other one on this address space",
            {"name": "two", "pools": (PoolRequest("10.50.0.128/25"),)},
        ),
        (NotFound, 'plugin "nope" not found', {"name": "two", "driver": "nope"}),
        (Invalid, "invalid subnet 10.1", {"name": "two", "pools": (PoolRequest("10.1"),)}),
        (
            Invalid,
            "it should be 10.51.0.0/24",
            {"name": "two", "pools": (PoolRequest("10.51.0.7/24"),)},
        ),
    )
    for kind, words, request in cases:
        with pytest.raises(kind) as refused:
            host.create(**request)
        assert words in str(refused.value)
    assert [network.name for network in host.networks.all()] == ["bridge", "host", "none", "one"]


def test_network_with_containers_is_not_removed(host: Host, container: Containers) -> None:
    network = host.create("one")
    holder = container("one")
    host.run(holder)
    with pytest.raises(Forbidden, match=r"network one has active endpoints \(name:"):
        host.loop.do(host.networks.remove("one"))
    with pytest.raises(Forbidden, match="bridge is a pre-defined network and cannot be removed"):
        host.loop.do(host.networks.remove("bridge"))
    host.end(holder)
    host.loop.do(host.networks.remove("one"))
    assert network.bridge not in host.links()
    assert network.bridge not in host.rules()
    with pytest.raises(NotFound, match="network one not found"):
        host.networks.get("one")


def test_fixed_address_and_mac_are_honoured_and_kept_apart(host: Host, container: Containers) -> None:
    host.create("one", pools=(PoolRequest("10.50.0.0/24"),))
    request = EndpointRequest(EndpointIPAM(ipv4_address="10.50.0.77"), mac_address="02:42:00:11:22:33")
    first = container(requests={"one": request})
    (endpoint,) = host.run(first).endpoints
    assert (endpoint.ipv4, endpoint.mac_address) == ("10.50.0.77", "02:42:00:11:22:33")
    assert "02:42:00:11:22:33" in host.inside(first).run("ip", "link", "show", "eth0")
    with pytest.raises(Forbidden, match="Address already in use"):
        host.reserve(container(requests={"one": request}))
    with pytest.raises(Invalid, match="user specified IP address is supported on user defined networks only"):
        host.reserve(container(requests={"bridge": EndpointRequest(EndpointIPAM("172.17.0.9"))}))


def test_running_container_is_connected_and_disconnected(host: Host, container: Containers) -> None:
    host.create("more")
    one, two = container(), container("more")
    host.run(one)
    host.run(two)
    host.loop.do(host.networks.connect("more", one, EndpointRequest(), host.inside(one)))
    with host.inside(two).listen(80) as listening:
        assert host.inside(one).reaches("172.18.0.2", 80, listening) == "172.18.0.3"
        assert "default via 172.17.0.1" in host.inside(one).run("ip", "route")
        with pytest.raises(Forbidden, match="endpoint with name c1 already exists in network more"):
            host.loop.do(host.networks.connect("more", one, EndpointRequest(), host.inside(one)))
        host.loop.do(host.networks.disconnect("more", one.id, host.inside(one)))
        assert "eth1" not in host.inside(one).run("ip", "link")
        assert host.inside(one).is_kept_from("172.18.0.2", 80, listening)


def test_way_out_and_ports_follow_the_networks_of_a_running_container(host: Host, container: Containers) -> None:
    for name in ("a", "b", "c"):
        host.create(name)
    one = container("b", ports=published("8000"))
    host.run(one)
    inside = host.inside(one)

    def way() -> str:
        return inside.run("ip", "route", "show", "default").split()[2]

    with inside.listen(80) as listening:
        host.loop.do(host.networks.connect("a", one, EndpointRequest(), inside))
        assert way() == "172.19.0.1", "a connection on it would be cut"
        host.loop.do(host.networks.connect("c", one, EndpointRequest(gw_priority=1), inside))
        assert way() == "172.20.0.1", "asked for"
        assert host.neighbour.reaches(HERE, 8000, listening)
        host.loop.do(host.networks.disconnect("c", one.id, inside))
        assert way() == "172.18.0.1", "the first in the alphabet"
        assert host.neighbour.reaches(HERE, 8000, listening)
        assert host.namespace.reaches("::1", 8000, listening)
        host.loop.do(host.networks.disconnect("b", one.id, inside))
        host.loop.do(host.networks.disconnect("a", one.id, inside))
        assert inside.run("ip", "route") == ""
        assert host.neighbour.is_kept_from(HERE, 8000, listening)
    assert "8000" not in host.rules()


def test_container_on_two_networks_leaves_by_the_higher_priority(host: Host, container: Containers) -> None:
    host.create("a")
    host.create("b")
    one = container(requests={"a": EndpointRequest(), "b": EndpointRequest(gw_priority=10)})
    host.run(one)
    assert "default via 172.19.0.1 dev eth1" in host.inside(one).run("ip", "route")


def test_rest_of_a_broken_start_is_replaced(host: Host, container: Containers) -> None:
    one = container()
    endpoints = host.reserve(one)
    name = endpoints.endpoints[0].host_interface
    host.namespace.run("ip", "link", "add", name, "type", "veth", "peer", "name", "leftover")
    sandbox = host.sandboxes[one.id] = Namespace()
    host.loop.do(host.networks.attach(endpoints, sandbox))
    assert "eth0" in sandbox.run("ip", "link")


def test_failed_attach_says_why_and_release_clears_up(host: Host, container: Containers) -> None:
    one = container(ports=published("8000"))
    endpoints = host.reserve(one)
    sandbox = Namespace()
    sandbox.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "inside")
    with pytest.raises(Internal, match="failed to set up container networking"):
        host.loop.do(host.networks.attach(endpoints, sandbox))
    host.loop.do(host.networks.release(one.id))
    sandbox.close()
    host.run(container(ports=published("8000")))


def test_host_and_none_have_endpoints_without_interfaces(host: Host, container: Containers) -> None:
    for name in ("host", "none"):
        endpoints = host.run(container(name, ports=published("8000")))
        assert [one.interface for one in endpoints.endpoints] == [""]
        assert endpoints.published == ()


def test_everything_that_happens_is_told(host: Host, container: Containers) -> None:
    host.create("net")
    one = container("net")
    host.run(one)
    host.end(one)
    host.loop.do(host.networks.remove("net"))
    expected = [("create", ""), ("connect", one.id), ("disconnect", one.id), ("destroy", "")]
    assert host.told == [(action, "net", who) for action, who in expected]


def test_many_containers_at_once_share_nothing_and_leave_nothing(host: Host, container: Containers) -> None:
    before = host.rules()
    for name in ("a", "b"):
        host.create(name)
    records = [container(("a", "b")[number % 2], ports={"80/tcp": None}) for number in range(40)]

    async def live(one: Container) -> tuple[str, int]:
        endpoints = await host.networks.reserve(one)
        sandbox = await asyncio.to_thread(Namespace)
        await host.networks.attach(endpoints, sandbox)
        found = endpoints.endpoints[0].ipv4, endpoints.published[0].host_port
        attached.append(found)
        if len(attached) == len(records):
            everybody.set()
        await everybody.wait()
        sandbox.close()
        await host.networks.release(one.id)
        return found

    async def all_of_them() -> list[tuple[str, int]]:
        return await asyncio.gather(*(live(one) for one in records))

    attached: list[tuple[str, int]] = []
    everybody = asyncio.Event()
    found = host.loop.do(all_of_them())
    assert len({address for address, _ in found}) == len({port for _, port in found}) == len(records)
    for name in ("a", "b"):
        host.loop.do(host.networks.remove(name))
    assert host.rules() == before
    assert host.networks.containers(host.networks.get("bridge").id) == {}
    eventually(lambda: "veth" not in host.links(), what="the veths are gone")
    assert host.run(container()).endpoints[0].ipv4 == "172.17.0.2"
