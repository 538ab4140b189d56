"""Two hosts on a cable: what a neighbour reaches, what it does not, and other firewalls on this host."""

from __future__ import annotations

import socket
import struct

import pytest

from kernel.network_host import HERE, NEIGHBOUR, Containers, Host, published
from rig.netns import Namespace
from rig.waiting import eventually
from tiffin.errors import Unsupported
from tiffin.model.container_host import PortBinding
from tiffin.model.network import PoolRequest
from tiffin.networks.definition import OBEY_INPUT, Defaults

pytestmark = pytest.mark.root


def cable(namespace: Namespace) -> str:
    return namespace.run("ip", "-o", "link", "show", "type", "veth").split(": ")[1].split("@")[0]


def mac(namespace: Namespace) -> bytes:
    text = namespace.run("cat", f"/sys/class/net/{cable(namespace)}/address", check=False).strip()
    if not text:  # /sys is another namespace's
        text = namespace.run("ip", "-o", "link", "show", cable(namespace)).split("link/ether ")[1].split()[0]
    return bytes.fromhex(text.replace(":", ""))


def crafted(source: str, target: str, port: int) -> bytes:
    """An IPv4 packet with a SYN, checksums right."""

    def checksum(data: bytes) -> int:
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return ~total & 0xFFFF

    ends = socket.inet_aton(source) + socket.inet_aton(target)
    tcp = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 5 << 4, 2, 64240, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(ends + struct.pack("!HH", 6, len(tcp)) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + ends
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


def send_frame(sender: Namespace, to: bytes, packet: bytes) -> None:
    with sender.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as raw:
        raw.bind((cable(sender), 0x0800))
        raw.send(to + mac(sender) + b"\x08\x00" + packet)


class Wiretap:
    """All that an interface gets."""

    def __init__(self, namespace: Namespace, link: str) -> None:
        self._socket = namespace.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        self._socket.bind((link, 3))
        self._socket.setblocking(False)

    def __enter__(self) -> Wiretap:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def crafted(self) -> list[bytes]:
        """Those frames since the last look that `crafted` made."""
        found = []
        while True:
            try:
                frame = self._socket.recv(2048)
            except BlockingIOError:
                return found
            if frame[12:14] == b"\x08\x00" and frame[34:36] == struct.pack("!H", 40000):
                found.append(frame)


def test_a_port_on_loopback_hears_no_packet_from_the_wire(host: Host, container: Containers) -> None:
    server = container(ports=published("8000", "127.0.0.1"))
    host.run(server)
    host.namespace.run("sysctl", "-qw", f"net.ipv4.conf.{cable(host.namespace)}.route_localnet=1")
    inside = host.inside(server)
    with inside.listen(80) as listening:
        assert host.namespace.reaches("127.0.0.1", 8000, listening)
        with Wiretap(inside, "eth0") as tap:
            for source in (NEIGHBOUR, HERE, "127.0.0.1"):
                for target in ("127.0.0.1", HERE, "172.17.0.2"):
                    send_frame(host.neighbour, mac(host.namespace), crafted(source, target, 8000))
                    send_frame(host.neighbour, mac(host.namespace), crafted(source, target, 80))
            # what was sent before has passed by when this answer is there
            host.neighbour.run("busybox", "ping", "-c1", "-W30", HERE)
            assert host.namespace.reaches("127.0.0.1", 8000, listening)
            assert tap.crafted() == []


def test_a_published_port_hears_packets_from_the_wire(host: Host, container: Containers) -> None:
    """The same means show what does arrive."""
    host.run(server := container(ports=published("8000")))
    with Wiretap(host.inside(server), "eth0") as tap:
        send_frame(host.neighbour, mac(host.namespace), crafted(NEIGHBOUR, HERE, 8000))
        eventually(tap.crafted)


def test_a_range_is_reached_at_each_of_its_ports_and_no_other(host: Host, container: Containers) -> None:
    ports = {f"{number}/tcp": (PortBinding("", str(number)),) for number in range(9000, 9100)}
    server = container(ports=ports)
    host.run(server)
    assert "tcp . 9000-9099 : 172.17.0.2" in host.rules()
    for number in (9000, 9050, 9099):
        with host.inside(server).listen(number) as listening:
            assert host.neighbour.reaches(HERE, number, listening) == NEIGHBOUR
            assert host.namespace.reaches("127.0.0.1", number, listening)
            assert host.namespace.reaches("::1", number, listening)
    with host.inside(server).listen(9100) as listening:
        assert host.neighbour.is_kept_from(HERE, 9100, listening)
    host.end(server)
    assert "9000-9099" not in host.rules()
    again = container(ports=ports)
    host.run(again)
    host.end(again)


def test_ranges_survive_a_restart_of_the_daemon(host: Host, container: Containers) -> None:
    ports = {f"{number}/tcp": (PortBinding("", str(number)),) for number in range(9000, 9010)}
    server = container(ports=ports)
    host.run(server)
    host.stop()
    host.start((server.id,))
    with host.inside(server).listen(9005) as listening:
        assert host.neighbour.reaches(HERE, 9005, listening) == NEIGHBOUR
        assert host.namespace.reaches("::1", 9005, listening)
    host.end(server)
    assert "9000-9009" not in host.rules()


def test_internal_networks_neither_send_nor_hear(host: Host, container: Containers) -> None:
    host.create("inner", internal=True, pools=(PoolRequest("10.66.0.0/24"),))
    host.create("outer", pools=(PoolRequest("10.67.0.0/24"),))
    server, outer = container("inner", ports=published("8000")), container("outer")
    endpoints = host.run(server)
    host.run(outer)
    assert endpoints.published == (), "there is nowhere to publish to"
    for one in (host.neighbour, host.inside(outer)):
        one.run("ip", "route", "replace", "10.66.0.0/24", "via", HERE if one is host.neighbour else "10.67.0.1")
    inside = host.inside(server)
    inside.run("ip", "route", "add", "default", "via", "10.66.0.1")
    with inside.listen(80) as listening, host.neighbour.listen(80) as away, host.inside(outer).listen(80) as beside:
        assert host.neighbour.is_kept_from("10.66.0.2", 80, listening)
        assert host.inside(outer).is_kept_from("10.66.0.2", 80, listening)
        assert inside.is_kept_from(NEIGHBOUR, 80, away)
        assert inside.is_kept_from("10.67.0.2", 80, beside)


def test_hairpin_reaches_a_port_of_its_own_and_of_a_neighbour(host: Host, container: Containers) -> None:
    host.create("net", pools=(PoolRequest("10.66.0.0/24"),))
    one, two = container("net", ports=published("8001")), container("net", ports=published("8002"))
    host.run(one)
    host.run(two)
    with host.inside(one).listen(80) as first, host.inside(two).listen(80) as second:
        for asking in (one, two):
            assert host.inside(asking).reaches(HERE, 8001, first)
            assert host.inside(asking).reaches(HERE, 8002, second)
            assert host.inside(asking).reaches("10.66.0.1", 8002, second)


def test_ipv6_is_off_where_the_network_has_none(host: Host, container: Containers) -> None:
    host.create("net", pools=(PoolRequest("10.66.0.0/24"),))
    one = container("net")
    endpoints = host.run(one)
    assert endpoints.sysctls["net.ipv6.conf.eth0.disable_ipv6"] == "1"
    host.neighbour.run("ip", "addr", "add", "2001:db8::9/64", "dev", cable(host.neighbour), "nodad")
    host.namespace.run("ip", "addr", "add", "2001:db8::1/64", "dev", cable(host.namespace), "nodad")
    inside = host.inside(one)
    inside.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
    with host.neighbour.listen(80, "::") as listening:
        assert inside.is_kept_from("2001:db8::9", 80, listening)


def test_another_owners_drop_is_final(host: Host, container: Containers) -> None:
    """firewalld and ufw in nftables: their policies for forwarded packets count, whoever translated them."""
    server = container(ports=published("8000"))
    host.run(server)
    host.namespace.run("nft", "add", "table", "inet", "firewalld")
    base = "{ type filter hook forward priority 10; policy drop; }"
    host.namespace.run("nft", "add", "chain", "inet", "firewalld", "filter_FORWARD", base)
    with host.inside(server).listen(80) as listening:
        assert host.neighbour.is_kept_from(HERE, 8000, listening)
        (warning,) = host.loop.call(host.networks.warnings)
        assert warning.startswith(
            "the firewall table inet firewalld (chain filter_FORWARD) drops what this host forwards"
        )
        rule = ["inet", "firewalld", "filter_FORWARD", "ct", "state", "established,related", "accept"]
        host.namespace.run("nft", "add", "rule", *rule)
        rule = ["inet", "firewalld", "filter_FORWARD", "oifname", "tiffin0", "ct", "status", "dnat", "accept"]
        host.namespace.run("nft", "add", "rule", *rule)
        assert host.neighbour.reaches(HERE, 8000, listening) == NEIGHBOUR
        assert host.loop.call(host.networks.warnings) == []
    host.end(server)
    host.stop()
    host.start()
    assert "filter_FORWARD" in host.rules(), "the table of somebody else is left alone"


def drop_input(host: Host, port: int) -> None:
    """As ufw does what is not allowed."""
    host.namespace.run("nft", "add", "table", "inet", "ufw")
    host.namespace.run("nft", "add", "chain", "inet", "ufw", "input", "{ type filter hook input priority 0; }")
    host.namespace.run(
        "nft",
        "add",
        "rule",
        "inet",
        "ufw",
        "input",
        "iifname",
        cable(host.namespace),
        "tcp",
        "dport",
        str(port),
        "drop",
    )


def test_published_ports_obey_input_where_that_is_asked_for(host: Host, container: Containers) -> None:
    host.create("plain")
    host.create("careful", options={OBEY_INPUT: "true"})
    plain, careful = container("plain", ports=published("8001")), container("careful", ports=published("8002"))
    host.run(plain)
    endpoints = host.run(careful)
    assert {one.host_port for one in endpoints.published} == {8002}
    with host.inside(plain).listen(80) as first, host.inside(careful).listen(80) as second:
        assert host.neighbour.reaches(HERE, 8002, second)
        assert host.namespace.reaches("127.0.0.1", 8002, second)
        for port in (8001, 8002):
            drop_input(host, port)
        assert host.neighbour.reaches(HERE, 8001, first) == NEIGHBOUR, "as docker has it, input rules don't count"
        assert host.neighbour.is_kept_from(HERE, 8002, second)
        assert host.namespace.reaches("127.0.0.1", 8002, second), "over the host's own loopback nothing is dropped"
    with pytest.raises(Unsupported, match="only tcp is published, not udp"):
        host.run(container("careful", ports=published("53", port="53/udp")))


def test_ports_are_published_on_loopback_where_that_is_the_default(host: Host, container: Containers) -> None:
    host.stop()
    binding = {"bridge": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}}
    host.start(defaults=Defaults(host_ip="127.0.0.1", options=binding))
    host.create("net", pools=(PoolRequest("10.66.0.0/24"),))
    for number, one in enumerate((container(ports=published("8001")), container("net", ports=published("8002"))), 1):
        host.run(one)
        with host.inside(one).listen(80) as listening:
            assert host.namespace.reaches("127.0.0.1", 8000 + number, listening)
            assert host.neighbour.is_kept_from(HERE, 8000 + number, listening)
    everywhere = container("net", ports=published("8003", "0.0.0.0"))
    host.run(everywhere)
    with host.inside(everywhere).listen(80) as listening:
        assert host.neighbour.reaches(HERE, 8003, listening) == NEIGHBOUR, "an address that is named counts"


def test_sctp_is_translated_like_the_others(host: Host, container: Containers) -> None:
    endpoints = host.run(container(ports=published("9899", port="9899/sctp")))
    assert {(one.protocol, one.host_port) for one in endpoints.published} == {("sctp", 9899)}
    assert "sctp . 9899 : 172.17.0.2 . 9899" in host.rules() or "sctp . 9899 : 172.17.0.2" in host.rules()


def test_linked_containers_reach_each_other_where_others_may_not(host: Host, container: Containers) -> None:
    host.stop()
    host.start(defaults=Defaults(icc=False))
    server, client, stranger = container(), container(), container()
    for one in (server, client, stranger):
        host.run(one)
    with host.inside(server).listen(80) as listening, host.inside(server).listen(81) as other:
        assert host.inside(client).is_kept_from("172.17.0.2", 80, listening)
        host.loop.do(host.networks.allow(client.id, [("172.17.0.2", "tcp", 80)]))
        assert host.inside(client).reaches("172.17.0.2", 80, listening) == "172.17.0.3"
        assert host.inside(client).is_kept_from("172.17.0.2", 81, other)
        assert host.inside(stranger).is_kept_from("172.17.0.2", 80, listening)
        host.stop()
        host.start(tuple(host.sandboxes), Defaults(icc=False))
        assert host.inside(client).reaches("172.17.0.2", 80, listening) == "172.17.0.3"
    assert "172.17.0.3 . 172.17.0.2 . tcp . 80" in host.rules()
    host.end(client)
    assert "172.17.0.3 . 172.17.0.2" not in host.rules()
