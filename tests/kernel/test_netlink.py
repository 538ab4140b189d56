"""Links, addresses, routes and tables through our own netlink codec, compared with what ip and nft show."""

import errno
import ipaddress
from collections.abc import Iterator

import pytest

from rig.netns import Namespace
from tiffin.netlink import expressions as ex
from tiffin.netlink import links, nftables, routing
from tiffin.netlink.socket import NETLINK_NETFILTER, Socket

pytestmark = pytest.mark.root


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


@pytest.fixture
def socket(namespace: Namespace) -> Iterator[Socket]:
    with Socket(fd=namespace.netlink) as made:
        yield made


def test_socket_given_by_descriptor_acts_on_its_own_namespace(namespace: Namespace, socket: Socket) -> None:
    socket.request(links.create_bridge("br0", address="02:42:00:00:00:01", mtu=1400))
    found = links.look_up(socket, "br0")
    assert found is not None
    assert (found.kind, found.up, found.mtu, found.address) == ("bridge", True, 1400, "02:42:00:00:00:01")
    assert "br0" in namespace.run("ip", "link")
    with Socket() as here:
        assert links.look_up(here, "br0") is None


def test_closing_leaves_the_owners_descriptor_open(namespace: Namespace) -> None:
    with Socket(fd=namespace.netlink):
        pass
    with Socket(fd=namespace.netlink) as again:
        assert links.look_up(again, "lo") is not None


def test_refusal_carries_the_kernels_words_and_the_subject(socket: Socket) -> None:
    with pytest.raises(OSError) as refused:
        socket.request(links.create_bridge("a" * 20), subject="a" * 20)
    assert refused.value.errno == errno.ERANGE
    assert refused.value.filename == "a" * 20
    assert "Attribute failed policy validation" in refused.value.strerror


def test_first_failure_is_raised_and_later_requests_are_done(socket: Socket) -> None:
    with pytest.raises(FileExistsError):
        socket.request(links.create_bridge("a"), links.create_bridge("a"), links.create_bridge("b"))
    assert links.look_up(socket, "b") is not None


def test_veth_is_born_in_the_other_namespace(namespace: Namespace, socket: Socket) -> None:
    other = Namespace()
    try:
        socket.request(links.create_bridge("br0"))
        bridge = links.look_up(socket, "br0")
        assert bridge is not None
        mac = "02:42:ac:11:00:02"
        socket.request(
            links.create_veth(
                "veth1", bridge=bridge.index, mtu=1400, peer="eth0", peer_address=mac, namespace=other.namespace
            )
        )
        near = links.look_up(socket, "veth1")
        with Socket(fd=other.netlink) as inside:
            far = links.look_up(inside, "eth0")
        assert near is not None and far is not None
        assert (near.master, near.up, near.mtu) == (bridge.index, True, 1400)
        assert (far.address, far.up, far.mtu) == (mac, False, 1400)
    finally:
        other.close()


def test_addresses_and_default_route_of_both_families(namespace: Namespace, socket: Socket) -> None:
    socket.request(links.create_bridge("br0"))
    link = links.look_up(socket, "br0")
    assert link is not None
    four, six = ipaddress.ip_interface("10.1.2.3/24"), ipaddress.ip_interface("fd00::3/64")
    socket.request(routing.add_address(link.index, four), routing.add_address(link.index, six))
    gateways = [ipaddress.ip_address("10.1.2.1"), ipaddress.ip_address("fd00::1")]
    socket.request(*(routing.add_default_route(one, link.index) for one in gateways))
    assert {one.interface for one in routing.addresses(socket) if one.link == link.index} >= {four, six}
    assert [one.gateway for one in routing.routes(socket) if not one.destination.prefixlen] == gateways
    assert "brd 10.1.2.255" in namespace.run("ip", "addr", "show", "br0")
    socket.request(routing.remove_address(link.index, four), routing.remove_default_route(gateways[1], link.index))
    assert "10.1.2.3" not in namespace.run("ip", "addr", "show", "br0")


def test_link_is_changed_and_removed(namespace: Namespace, socket: Socket) -> None:
    socket.request(links.create_bridge("br0"))
    link = links.look_up(socket, "br0")
    assert link is not None
    namespace.run("ip", "link", "set", "br0", "down")
    socket.request(links.change(link.index, name="br1", mtu=1300, address="02:42:00:00:00:09"))
    changed = links.look_up(socket, "br1")
    assert changed is not None
    assert (changed.index, changed.mtu, changed.address) == (link.index, 1300, "02:42:00:00:00:09")
    socket.request(links.remove(name="br1"))
    assert links.look_up(socket, "br1") is None


def test_long_lists_are_read_to_their_end(socket: Socket) -> None:
    socket.request(*(links.create_bridge(f"br{number}") for number in range(100)))
    assert len([link for link in links.listing(socket) if link.kind == "bridge"]) == 100


def test_batch_is_done_whole_or_not_at_all(namespace: Namespace) -> None:
    netfilter = namespace.inside(lambda: Socket(NETLINK_NETFILTER))
    with netfilter:
        good = nftables.Batch("t")
        good.clear()
        good.add_set("ports", (nftables.TYPE_PROTOCOL, nftables.TYPE_PORT))
        good.commit(netfilter)
        bad = nftables.Batch("t")
        bad.add_elements("ports", [(b"\6\0\0\0\x1f\x90\0\0", None)])
        bad.add_rule("missing", ex.verdict(ex.NF_DROP))
        with pytest.raises(FileNotFoundError):
            bad.commit(netfilter)
        assert "8080" not in namespace.run("nft", "list", "ruleset")


def test_ten_thousand_elements_go_in_one_batch(namespace: Namespace) -> None:
    netfilter = namespace.inside(lambda: Socket(NETLINK_NETFILTER))
    with netfilter:
        batch = nftables.Batch("t")
        batch.clear()
        batch.add_set("ports", (nftables.TYPE_PORT,))
        batch.add_elements("ports", [(port.to_bytes(2, "big") + b"\0\0", None) for port in range(1, 10001)])
        batch.commit(netfilter)
    assert namespace.run("nft", "list", "ruleset").count(",") == 9999


def test_rules_read_as_they_were_meant(namespace: Namespace) -> None:
    netfilter = namespace.inside(lambda: Socket(NETLINK_NETFILTER))
    with netfilter:
        batch = nftables.Batch("t")
        batch.clear()
        batch.add_base_chain("c", "filter", nftables.FORWARD, 0)
        name = ex.interface_name("br0")
        batch.add_rule("c", ex.meta(ex.META_IIFNAME), ex.compare(name), ex.verdict(ex.NF_DROP))
        batch.add_rule("c", ex.conntrack(ex.CT_STATUS), ex.bits(ex.IPS_DST_NAT), ex.verdict(ex.NF_ACCEPT))
        batch.commit(netfilter)
    shown = namespace.run("nft", "list", "ruleset")
    assert 'iifname "br0" drop' in shown
    assert "ct status dnat accept" in shown
