"""Names of containers, as containers hear them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tiffin.model.container import EndpointRequest
from tiffin.model.network import Endpoint
from tiffin.networks import dns_message as dns
from tiffin.networks.names import Names
from unit.networks.test_dns_message import question


def place(name: str, address: str, *more: str, network: str = "net", ipv6: str = "") -> Endpoint:
    return Endpoint(
        network_id=f"id-{network}",
        network=network,
        id=f"{name}-{network}-{address}",
        driver="bridge",
        interface="eth0",
        ipv4=address,
        ipv6=ipv6,
        dns_names=(name, *more),
    )


ME = place("me", "10.0.0.1")


@pytest.fixture
def names() -> Names:
    made = Names()
    for one in (
        ME,
        place("Web", "10.0.0.2", "www", "0123456789ab"),
        place("two", "10.0.0.3", "www", ipv6="fd00::3"),
        place("far", "10.1.0.2", network="other"),
    ):
        made.add(one)
    return made


def ask(names: Names, name: str, kind: int = dns.A, *, who: Endpoint = ME) -> set[str] | None:
    read = dns.read(question(name, kind))
    reply = names.answer(read, [who], limit=512)
    if reply is None:
        return None
    assert dns.code_of(reply) == dns.NOERROR
    length = {dns.A: 4, dns.AAAA: 16}.get(kind, 0)
    rest = reply[12 + len(read.text) :]
    found = set()
    while rest:
        size = int.from_bytes(rest[10:12], "big")
        assert not length or size == length
        found.add(rest[12 : 12 + size].hex())
        rest = rest[12 + size :]
    return found


def test_container_is_known_by_name_alias_and_short_id_in_any_case(names: Names) -> None:
    for name in ("web", "WEB", "0123456789AB", "web.net", "Web.NET"):
        assert ask(names, name) == {"0a000002"}, name


def test_alias_of_several_gives_all_addresses(names: Names) -> None:
    assert ask(names, "www") == {"0a000002", "0a000003"}


def test_order_of_several_changes(names: Names) -> None:
    read = dns.read(question("www"))
    assert len({names.answer(read, [ME], limit=512) for _ in range(100)}) == 2


def test_known_name_without_such_a_record_is_not_asked_elsewhere(names: Names) -> None:
    assert ask(names, "web", dns.AAAA) == set()
    assert ask(names, "two", dns.AAAA) == {"fd000000000000000000000000000003"}
    assert ask(names, "web", 15) == set()


def test_other_networks_names_are_not_known(names: Names) -> None:
    assert ask(names, "far") is None
    assert ask(names, "far.other") is None
    assert ask(names, "web.other") is None


def test_address_has_a_name(names: Names) -> None:
    assert ask(names, "2.0.0.10.in-addr.arpa", dns.PTR) == {b"\3Web\3net\0".hex()}
    assert ask(names, "2.0.1.10.in-addr.arpa", dns.PTR) is None


def test_link_is_the_asking_ones_own(names: Names) -> None:
    linked = replace(ME, request=EndpointRequest(links=("Web:bar",)))
    assert ask(names, "bar", who=linked) == {"0a000002"}
    assert ask(names, "bar") is None


def test_what_is_removed_is_forgotten(names: Names) -> None:
    gone = place("two", "10.0.0.3", "www", ipv6="fd00::3")
    names.remove(gone)
    names.remove(gone)
    assert ask(names, "two") is None
    assert ask(names, "www") == {"0a000002"}
    assert ask(names, "3.0.0.10.in-addr.arpa", dns.PTR) is None
