"""The name server at 127.0.0.11: what a container hears, and who is asked what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from kernel.network_host import NEIGHBOUR, Containers, Host
from rig.netns import Namespace
from rig.waiting import eventually
from tiffin.model.container import EndpointRequest
from tiffin.networks import dns_message as dns
from tiffin.networks import files
from unit.networks.test_dns_message import question

pytestmark = pytest.mark.root

SERVER = ("127.0.0.11", 53)
ELSEWHERE = "192.0.2.7"
Reply = Callable[[bytes], bytes | None]


def ask(inside: Namespace, name: str, kind: int = dns.A, *, size: int = 0) -> bytes:
    with inside.open(SERVER[0], socket.SOCK_DGRAM) as client:
        client.connect(SERVER)
        client.send(question(name, kind, size=size))
        return client.recv(65535)


def ask_over_tcp(inside: Namespace, name: str) -> bytes:
    with inside.open(SERVER[0]) as client:
        client.connect(SERVER)
        asked = question(name)
        client.sendall(len(asked).to_bytes(2, "big") + asked)
        with client.makefile("rb") as stream:
            return stream.read(int.from_bytes(stream.read(2), "big"))


def address(reply: bytes) -> str:
    """The last record's."""
    assert (dns.code_of(reply), reply[6:8]) == (dns.NOERROR, b"\0\1")
    return socket.inet_ntoa(reply[-4:])


def elsewhere(asked: bytes) -> bytes:
    """What a resolver says that knows every name."""
    return dns.answer(dns.read(asked), [dns.address_record(ELSEWHERE)], limit=dns.LARGEST)


def says(code: int) -> Reply:
    return lambda asked: dns.answer(dns.read(asked), code=code, limit=dns.LARGEST)


class Outside:
    """A resolver elsewhere; `asked` has (transport, client's address, question) of each."""

    def __init__(self, where: Namespace, address: str, reply: Reply = elsewhere) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self._reply = reply
        self._udp = where.listen(53, address, socket.SOCK_DGRAM)
        self._tcp = where.listen(53, address)
        self._closing = False
        for sock in (self._udp, self._tcp):
            sock.settimeout(0.1)
        self._threads = [threading.Thread(target=self._serve, args=(one,)) for one in (self._datagrams, self._streams)]
        for thread in self._threads:
            thread.start()

    def _serve(self, work: Callable[[], None]) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                work()

    def _datagrams(self) -> None:
        asked, client = self._udp.recvfrom(65535)
        self.asked.append(("udp", client[0], asked))
        reply = self._reply(asked)
        if reply is not None:
            self._udp.sendto(reply, client)

    def _streams(self) -> None:
        connection, client = self._tcp.accept()
        with connection, connection.makefile("rwb") as stream:
            asked = stream.read(int.from_bytes(stream.read(2), "big"))
            self.asked.append(("tcp", client[0], asked))
            reply = self._reply(asked) or b""
            stream.write(len(reply).to_bytes(2, "big") + reply)

    def close(self) -> None:
        self._closing = True
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()


@pytest.fixture
def outside(host: Host) -> Iterator[Callable[..., Outside]]:
    """Makes resolvers."""
    made: list[Outside] = []

    def make(where: Namespace, address: str, reply: Reply = elsewhere) -> Outside:
        made.append(Outside(where, address, reply))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def client(host: Host, container: Containers) -> Callable[..., Namespace]:
    """Runs a container on a new network and gives its namespace."""

    def run(*servers: str, **options: bool) -> Namespace:
        host.create("net", **options)
        one = container("net", dns=servers or (NEIGHBOUR,))
        host.run(one)
        return host.inside(one)

    return run


def test_containers_find_each_other_over_udp_and_tcp(
    host: Host, container: Containers, client: Callable[..., Namespace]
) -> None:
    inside = client()
    server = container("net")
    host.run(server)
    assert address(ask(inside, server.name)) == "172.18.0.3"
    assert address(ask_over_tcp(inside, f"{server.name}.NET")) == "172.18.0.3"
    host.end(server)
    assert dns.code_of(ask(inside, server.name)) == dns.SERVFAIL


def test_container_may_have_a_name_server_of_its_own(client: Callable[..., Namespace], container: Containers) -> None:
    inside = client()
    with (
        inside.listen(53, kind=socket.SOCK_DGRAM) as udp,
        inside.listen(53) as tcp,
        inside.open("127.0.0.1", socket.SOCK_DGRAM) as asking,
    ):
        asking.sendto(b"question", ("127.0.0.1", 53))
        assert udp.recv(100) == b"question"
        assert inside.reaches("127.0.0.1", 53, tcp)
        assert address(ask(inside, "c1")) == "172.18.0.2"


def test_other_names_are_asked_from_the_containers_network(
    host: Host, client: Callable[..., Namespace], outside: Callable[..., Outside]
) -> None:
    resolver = outside(host.neighbour, NEIGHBOUR)
    inside = client()
    assert address(ask(inside, "example.com")) == ELSEWHERE
    ((transport, seen, _),) = resolver.asked
    assert (transport, seen) == ("udp", "198.51.100.1")
    tracked = host.namespace.run("cat", "/proc/net/nf_conntrack", check=False)
    assert not tracked or "src=172.18.0.2" in tracked


def test_question_passes_as_it_is_with_its_extensions(
    host: Host, client: Callable[..., Namespace], outside: Callable[..., Outside]
) -> None:
    resolver = outside(host.neighbour, NEIGHBOUR)
    ask(client(), "Example.COM", 65, size=4000)
    assert resolver.asked[0][2][2:] == question("Example.COM", 65, size=4000)[2:]


def test_known_name_without_address_of_a_kind_is_asked_nowhere(
    host: Host, client: Callable[..., Namespace], outside: Callable[..., Outside]
) -> None:
    resolver = outside(host.neighbour, NEIGHBOUR)
    reply = ask(client(), "c1", dns.AAAA)
    assert (dns.code_of(reply), reply[6:8], resolver.asked) == (dns.NOERROR, b"\0\0", [])


@pytest.mark.parametrize("code", [dns.SERVFAIL, dns.REFUSED])
def test_next_resolver_is_asked_where_one_fails(
    host: Host, client: Callable[..., Namespace], outside: Callable[..., Outside], code: int
) -> None:
    host.neighbour.run("ip", "addr", "add", "198.51.100.10/32", "dev", "lo")
    host.neighbour.run("ip", "addr", "add", "198.51.100.11/32", "dev", "lo")
    outside(host.neighbour, NEIGHBOUR, says(code))
    last = outside(host.neighbour, "198.51.100.11")
    # at the second address nobody listens
    assert address(ask(client(NEIGHBOUR, "198.51.100.10", "198.51.100.11"), "example.com")) == ELSEWHERE
    assert len(last.asked) == 1


def test_next_resolver_is_asked_where_one_is_silent(
    host: Host, client: Callable[..., Namespace], outside: Callable[..., Outside]
) -> None:
    host.neighbour.run("ip", "addr", "add", "198.51.100.10/32", "dev", "lo")
    outside(host.neighbour, NEIGHBOUR, lambda asked: None)
    outside(host.neighbour, "198.51.100.10")
    assert address(ask(client(NEIGHBOUR, "198.51.100.10"), "example.com")) == ELSEWHERE


def test_no_such_name_is_an_answer(
    host: Host, client: Callable[..., Namespace], outside: Callable[..., Outside]
) -> None:
    host.neighbour.run("ip", "addr", "add", "198.51.100.10/32", "dev", "lo")
    outside(host.neighbour, NEIGHBOUR, says(dns.NXDOMAIN))
    second = outside(host.neighbour, "198.51.100.10")
    assert dns.code_of(ask(client(NEIGHBOUR, "198.51.100.10"), "example.com")) == dns.NXDOMAIN
    assert not second.asked


def test_answer_too_long_for_a_datagram_comes_over_tcp(
    host: Host, client: Callable[..., Namespace], outside: Callable[..., Outside]
) -> None:
    def long(asked: bytes) -> bytes:
        limit = dns.LARGEST if resolver.asked[-1][0] == "tcp" else 512
        return dns.answer(dns.read(asked), [dns.address_record(ELSEWHERE)] * 1000, limit=limit)

    resolver = outside(host.neighbour, NEIGHBOUR, long)
    inside = client()
    assert dns.is_cut_off(ask(inside, "example.com"))
    whole = ask_over_tcp(inside, "example.com")
    assert whole[6:8] == (1000).to_bytes(2, "big")
    assert [transport for transport, _, _ in resolver.asked] == ["udp", "tcp"]


def test_resolver_on_the_hosts_loopback_is_asked_from_the_host(
    host: Host, container: Containers, outside: Callable[..., Outside], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "host_resolv_conf", lambda: "nameserver 127.0.0.53\n")
    resolver = outside(host.namespace, "127.0.0.53")
    host.create("net")
    host.create("inner", internal=True)
    one, shut_in = container("net"), container("inner")
    host.run(one)
    host.run(shut_in)
    assert address(ask(host.inside(one), "example.com")) == ELSEWHERE
    assert [seen for _, seen, _ in resolver.asked] == ["127.0.0.1"]
    assert dns.code_of(ask(host.inside(shut_in), "secret.example.com")) == dns.SERVFAIL
    assert len(resolver.asked) == 1, "an internal network's question got out"
    assert address(ask(host.inside(shut_in), shut_in.name)) == "172.19.0.2"


def test_question_during_a_restart_is_answered_afterwards(host: Host, container: Containers) -> None:
    host.create("net")
    one = container("net")
    host.run(one)
    host.stop()
    with host.inside(one).open(SERVER[0], socket.SOCK_DGRAM) as client, host.inside(one).open(SERVER[0]) as stream:
        client.connect(SERVER)
        client.send(question(one.name))
        stream.connect(SERVER)
        stream.sendall(b"\0" + bytes((len(question(one.name)),)) + question(one.name))
        host.start(running=(one.id,))
        assert address(client.recv(512)) == "172.18.0.2"
        assert stream.recv(2)


def test_question_that_was_read_is_answered_before_the_daemon_ends(
    host: Host, client: Callable[..., Namespace], outside: Callable[..., Outside]
) -> None:
    ends = threading.Event()

    def late(asked: bytes) -> bytes:
        ends.wait()
        return elsewhere(asked)

    resolver, inside = outside(host.neighbour, NEIGHBOUR, late), client()
    with inside.open(SERVER[0], socket.SOCK_DGRAM) as asking:
        asking.connect(SERVER)
        asking.send(question("example.com"))
        eventually(lambda: resolver.asked)
        # the daemon has begun to end by the time the answer comes
        closing = asyncio.run_coroutine_threadsafe(host.networks.resolvers.close(), host.loop.loop)
        ends.set()
        assert address(asking.recv(512)) == ELSEWHERE
        closing.result(60)


def test_each_question_is_logged_with_who_answered(
    host: Host,
    client: Callable[..., Namespace],
    outside: Callable[..., Outside],
    caplog: pytest.LogCaptureFixture,
) -> None:
    outside(host.neighbour, NEIGHBOUR)
    inside = client()
    with caplog.at_level(logging.DEBUG, "tiffin.networks.resolver"):
        ask(inside, "c1")
        ask(inside, "Example.com")
    ours, other = (one.getMessage() for one in caplog.records if one.name == "tiffin.networks.resolver")
    assert ours == "query c1 c1 A: NOERROR, 1 records (answered)"
    assert re.fullmatch(r"query c1 example\.com A: NOERROR, 1 records \(198\.51\.100\.9 after \d+\.\d ms\)", other)


def test_sockets_that_were_lost_are_replaced(host: Host, container: Containers) -> None:
    host.create("net")
    one = container("net")
    host.run(one)
    host.stop()
    host.inside(one).offer_resolver()
    host.start(running=(one.id,))
    assert address(ask(host.inside(one), one.name)) == "172.18.0.2"


def test_container_that_joins_a_user_network_while_it_runs_gets_names(host: Host, container: Containers) -> None:
    network = host.create("net")
    one = container()
    host.run(one)
    inside = host.inside(one)
    inside.offer_resolver()
    host.loop.do(host.networks.connect(network.id, one, EndpointRequest(aliases=("www",)), inside))
    assert address(ask(inside, "www")) == "172.18.0.2"
    host.loop.do(host.networks.disconnect(network.id, one.id, inside))
    assert dns.code_of(ask(inside, "www")) != dns.NOERROR
